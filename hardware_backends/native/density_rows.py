"""Noisy circuits on the Pauli vectors of 16 samples, compiled by Numba.

A *tile* is 16 samples, one per lane; see ``density_vectors.py`` for the rows. Channels cannot be
un-applied, so the backward pass runs forward again and keeps the Pauli vector before each matrix
that a gradient is wanted of. To bound the memory it does so for one *segment* of the operations
after the other, from the last to the first; where there are several, it has marked where each
begins.
"""

from __future__ import annotations

from numba import njit

from nisqkit.hardware_backends.native.compiling import INLINE, INNER, OPTIONS, PART
from nisqkit.hardware_backends.native.density_matrices import (
    BY_MATRIX,
    own_angles,
    own_gradients,
    own_matrices,
)
from nisqkit.hardware_backends.native.density_schedule import ONE, TWO
from nisqkit.hardware_backends.native.density_vectors import (
    NO_DIGIT,
    fill,
    join,
    join_back,
    lane_sum,
    move,
    move_back,
    move_overlaps,
    overlaps,
    turn,
    turn_back,
)
from nisqkit.hardware_backends.native.packed import rows_like
from nisqkit.hardware_backends.native.vectors import copy, scaled_add

KIND, A, B, OWN, ROW, SOURCE, TRAINED, PLACE = range(8)
"""Columns of the table of operations: `ONE`, `TWO` or `MOVE`; the bits of the qubits' digits;
whether the matrix is each sample's own; its first row, among those of the samples, the shared ones
or the scales; of a move, the row of the sources; whether the derivative by the matrix is wanted;
and where it goes, among those of the samples or the shared ones."""

OWN_MATRICES, OUTPUTS, KEPT, BY_OWN, COSTATE, MARKS = range(8, 14)
"""Parts of the memory, after those of ``density_matrices.py``: matrices of the samples; components
that are measured; Pauli vectors; derivatives by the samples' matrices; the co-state; Pauli vectors
where segments begin."""


@njit(**INLINE)
def row_of(ops, k):  # type: ignore[no-untyped-def]
    """Row ``k`` of the table as a tuple."""
    return (
        ops[k, 0], ops[k, 1], ops[k, 2], ops[k, 3], ops[k, 4], ops[k, 5], ops[k, 6], ops[k, 7],
    )  # fmt: skip


@njit(**INNER)
def apply(z, x, op, matrices, sources, scales):  # type: ignore[no-untyped-def]
    """``z = M x``; ``z`` and ``x`` may be the same."""
    if op[KIND] == ONE:
        turn(z, x, len(x) // 4, op[A], matrices, op[ROW])
    elif op[KIND] == TWO:
        join(z, x, len(x) // 16, op[A], op[B], matrices, op[ROW])
    else:
        move(z, x, len(x) // 16, op[A], op[B], sources, op[SOURCE], scales, op[ROW])


@njit(**INNER)
def apply_back(z, op, matrices, sources, scales):  # type: ignore[no-untyped-def]
    """The transpose of the matrix, in place."""
    if op[KIND] == ONE:
        turn_back(z, z, len(z) // 4, op[A], matrices, op[ROW])
    elif op[KIND] == TWO:
        join_back(z, z, len(z) // 16, op[A], op[B], matrices, op[ROW])
    else:
        move_back(z, z, len(z) // 16, op[A], op[B], sources, op[SOURCE], scales, op[ROW])


@njit(**INNER)
def overlap(y, at, costate, x, op, sources):  # type: ignore[no-untyped-def]
    """Derivative by the matrix, or by the scales of a move, into rows ``at, ...`` of ``y``."""
    if op[KIND] == ONE:
        groups, d = len(x) // 4, 1 << op[A]
        overlaps(y, at, 4, costate, x, groups, op[A], NO_DIGIT, d, 2 * d, 3 * d, 0, d, 2 * d, 3 * d)
    elif op[KIND] == TWO:
        low, high = min(op[A], op[B]), max(op[A], op[B])
        for r in range(1, 16, 3):
            for c in range(0, 16, 4):
                c1, c2, c3 = digits(op, r), digits(op, r + 1), digits(op, r + 2)
                x0, x1, x2, x3 = (
                    digits(op, c),
                    digits(op, c + 1),
                    digits(op, c + 2),
                    digits(op, c + 3),
                )
                entry = at + 16 * (r - 1) + c
                groups = len(x) // 16
                overlaps(
                    y, entry, 16, costate, x, groups, low, high, c1, c2, c3, x0, x1, x2, x3
                )  # fmt: skip
    else:
        move_overlaps(y, at, costate, x, len(x) // 16, op[A], op[B], sources, op[SOURCE])


@njit(**INLINE)
def digits(op, k):  # type: ignore[no-untyped-def]
    """How far row ``k`` of a group on two qubits is from its base."""
    return ((k & 3) << op[A]) + ((k >> 2) << op[B])


@njit(**INLINE)
def size_of(op):  # type: ignore[no-untyped-def]
    """Number of entries of a matrix, or of scales of a move."""
    return 12 if op[KIND] == ONE else (240 if op[KIND] == TWO else 15)


@njit(**INNER)
def begin_state(x, tile, starts, given):  # type: ignore[no-untyped-def]
    """All qubits in state 0, or the Pauli vectors ``given`` (batch, rows), if there are any.

    ``starts``: the rows of the Pauli strings of I and Z alone.
    """
    x[:] = 0
    if given.shape[1] > 0:
        for lane in range(min(16, len(given) - 16 * tile)):
            for row in range(len(x)):
                x[row, lane] = given[16 * tile + lane, row]
    else:
        for k in range(len(starts)):
            fill(x, starts[k], 1)


@njit(**INNER)
def hadamard(m):  # type: ignore[no-untyped-def]
    """The Walsh-Hadamard transform of the rows, in place."""
    step = 1
    while step < len(m):
        for i in range(len(m)):
            if not i & step:
                for lane in range(16):
                    one, two = m[i, lane], m[i + step, lane]
                    m[i, lane] = one + two
                    m[i + step, lane] = one - two
        step *= 2


@njit(**INNER)
def measure(x, tile, measured, m, y):  # type: ignore[no-untyped-def]
    """Outputs (batch, K) of a tile.

    ``measured``: the rows of the Pauli strings (S,) and their coefficients (K, S); none for
    probabilities. ``m`` (S + 1, 16) is for intermediate results.
    """
    where, coefficients = measured
    count, last = min(16, len(y) - 16 * tile), len(where)
    for s in range(last):
        copy(m, s, x, where[s])
    if len(coefficients) == 0:
        hadamard(m[:last])
        for k in range(y.shape[1]):
            for lane in range(count):
                y[16 * tile + lane, k] = m[k, lane] / last
        return
    for k in range(y.shape[1]):
        fill(m, last, 0)
        for s in range(last):
            if coefficients[k, s] != 0:
                scaled_add(m, last, coefficients[k, s], m, s)
        for lane in range(count):
            y[16 * tile + lane, k] = m[last, lane]


@njit(**INNER)
def measure_back(x, tile, measured, m, grad):  # type: ignore[no-untyped-def]
    """The final co-state of a tile: the gradient by its Pauli vector."""
    where, coefficients = measured
    count, last = min(16, len(grad) - 16 * tile), len(where)
    m[:] = 0
    if len(coefficients) == 0:
        for k in range(last):
            for lane in range(count):
                m[k, lane] = grad[16 * tile + lane, k] / last
        hadamard(m[:last])
    else:
        for k in range(grad.shape[1]):
            for lane in range(count):
                m[last, lane] = grad[16 * tile + lane, k]
            for s in range(last):
                if coefficients[k, s] != 0:
                    scaled_add(m, s, coefficients[k, s], m, last)
    x[:] = 0
    for s in range(last):
        copy(x, where[s], m, s)


@njit(**INNER)
def run(kept, size, store, ops, own, shared, moves):  # type: ignore[no-untyped-def]
    """Apply operations to the first Pauli vector of ``kept``; returns the place of the last result.

    If ``store`` is 1, what is before an operation whose derivative is wanted stays, and the result
    goes to the next place; if it is 0, all is in place.
    """
    at = 0
    for k in range(len(ops)):
        op = row_of(ops, k)
        x = kept[at * size : (at + 1) * size]
        at += store * op[TRAINED]
        z = kept[at * size : (at + 1) * size]
        apply(z, x, op, own if op[OWN] else shared, moves[0], moves[1])
    return at


@njit(**PART)
def forward_tile(tile, inputs, weights, matrices, rows, layout, angles, circuit, measured, y):  # type: ignore[no-untyped-def]
    """One tile; see `forward_tiles`."""
    forms, tables, coefficients = matrices
    ops, shared, moves, starts, given = circuit
    own = rows[layout[OWN_MATRICES] : layout[OWN_MATRICES + 1]]
    x = rows[layout[KEPT] : layout[KEPT + 1]]
    own_angles(tile, inputs, weights, forms, tables, rows, layout, angles)
    own_matrices(tables, coefficients, rows, layout, own)
    begin_state(x, tile, starts, given)
    for k in range(len(ops)):
        op = row_of(ops, k)
        apply(x, x, op, own if op[OWN] else shared, moves[0], moves[1])
    measure(x, tile, measured, rows[layout[OUTPUTS] : layout[OUTPUTS + 1]], y)


@njit(**PART)
def backward_tile(  # type: ignore[no-untyped-def]
    tile, inputs, weights, matrices, rows, layout, angles, circuit, measured, cuts, first, grad,
    sums, slopes, g_given,
):  # fmt: skip
    """One tile; see `backward_tiles`."""
    forms, tables, coefficients = matrices
    ops, shared, moves, starts, given = circuit
    own = rows[layout[OWN_MATRICES] : layout[OWN_MATRICES + 1]]
    kept = rows[layout[KEPT] : layout[KEPT + 1]]
    y = rows[layout[BY_MATRIX] : layout[BY_MATRIX + 1]]
    by_own = rows[layout[BY_OWN] : layout[BY_OWN + 1]]
    costate = rows[layout[COSTATE] : layout[COSTATE + 1]]
    size, last, marks = len(starts) ** 2, len(cuts) - 2, layout[MARKS]
    own_angles(tile, inputs, weights, forms, tables, rows, layout, angles)
    own_matrices(tables, coefficients, rows, layout, own)
    by_own[:] = 0
    begin_state(kept[:size], tile, starts, given)
    measure_back(costate, tile, measured, rows[layout[OUTPUTS] : layout[OUTPUTS + 1]], grad)
    # the segments in order but the last, which leaves marks, and then all of them from the last
    for step in range(2 * last + 1):
        s = min(step, 2 * last - step)
        mark = rows[marks + s * size : marks + (s + 1) * size]
        end = cuts[s + 1]
        if step < last:
            copy_rows(mark, kept)
        else:
            if step > last:
                copy_rows(kept, mark)
            while end > cuts[s] and not ops[end - 1, TRAINED]:
                end -= 1
            end = max(end - 1, cuts[s])  # the last one's result is not needed
        at = run(kept, size, int(step >= last), ops[cuts[s] : end], own, shared, moves)
        if step < last:
            continue
        for k in range(cuts[s + 1] - 1, max(first, cuts[s]) - 1, -1):
            op = row_of(ops, k)
            if op[TRAINED]:
                x = kept[at * size : (at + 1) * size]
                at -= 1
                overlap(by_own if op[OWN] else y, op[PLACE] * op[OWN], costate, x, op, moves[0])
                if not op[OWN]:
                    for e in range(size_of(op)):
                        lane_sum(y, e, sums, op[PLACE] + e)
            if k > first or given.shape[1] > 0:
                apply_back(costate, op, own if op[OWN] else shared, moves[0], moves[1])
    own_gradients(tile, tables, coefficients, rows, layout, by_own, slopes)
    if given.shape[1] > 0:
        for lane in range(min(16, len(given) - 16 * tile)):
            for row in range(size):
                g_given[16 * tile + lane, row] = costate[row, lane]


@njit(**INNER)
def copy_rows(z, x):  # type: ignore[no-untyped-def]
    """The first rows of one as the first rows of the other, as many as both have."""
    for k in range(min(len(z), len(x))):
        copy(z, k, x, k)


@njit(**OPTIONS)
def forward_tiles(begin, end, inputs, weights, matrices, layout, circuit, measured, y):  # type: ignore[no-untyped-def]
    """Outputs ``y`` (batch, K) of the tiles ``begin <= tile < end``.

    - ``matrices``: forms, tables and coefficients of the samples' own matrices; see
      ``density_matrices.py``.
    - ``layout``: of the memory.
    - ``circuit``: the table of operations; the matrices that all samples share; sources (M, 16) and
      scales (15 M, 16) of moves; ``starts, given``: see `begin_state`.
    - ``measured``: see `measure`.
    """
    rows, angles = rows_like(layout[-1], y), rows_like(1, matrices[0][3])
    for tile in range(begin, end):
        forward_tile(tile, inputs, weights, matrices, rows, layout, angles, circuit, measured, y)


@njit(**OPTIONS)
def backward_tiles(  # type: ignore[no-untyped-def]
    begin, end, inputs, weights, matrices, layout, circuit, measured, cuts, first, grad,
    sums, slopes, g_given,
):  # fmt: skip
    """Derivatives for the tiles ``begin <= tile < end``; arguments as in `forward_tiles`.

    - ``cuts`` (S + 1,): the operations at which segments begin, and the end.
    - ``first``: what comes before this operation is not differentiated.
    - ``sums`` (end - begin, places) float64: filled with the derivatives by what all samples share.
    - ``slopes`` (batch, F): filled with those by the samples' own angles.
    - ``g_given``: filled with those by ``given``.
    """
    rows, angles = rows_like(layout[-1], grad), rows_like(1, matrices[0][3])
    for tile in range(begin, end):
        backward_tile(
            tile, inputs, weights, matrices, rows, layout, angles, circuit, measured, cuts, first,
            grad, sums[tile - begin], slopes, g_given,
        )  # fmt: skip
