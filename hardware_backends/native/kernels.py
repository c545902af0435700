"""Numba kernels of the native engine.

The state of a *unit* is two arrays ``re, im`` of shape ``(rows, 16)``. Either the lanes are 16
samples and the rows the ``2**n`` amplitudes, or the lanes are the 16 amplitudes of four qubits of
one sample and the rows those of the others. A qubit on the rows is a pair of bit masks ``(v, w)``:
rows ``i`` and ``i ^ v`` differ in the qubit alone, and it is 1 where ``i & w`` has an odd number of
ones. So CX gates move no data: they change the masks of the gates after them.

Matrices are built and differentiated 16 at a time: a *group* is up to 16 matrices made of the same
kinds of factors, one per lane. Entry ``e`` of group ``g`` is row ``16 g + e``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from nisqkit.hardware_backends.native.vectors import (
    mix,
    mix_adjoint,
    mix_transposed,
    multiply_add,
    multiply_add_conjugate,
    negate,
    odd,
    pair,
    pair_lanes,
    pair_overlap_sums,
    pair_overlaps,
    product_add,
    quad,
    quad_lanes,
    quad_overlap_sums,
    quad_overlaps,
    scaled_add,
    swap,
    transpose,
    wave,
)

ONE, TWO, CX, CZ, LANES_OUT = range(5)
"""Kinds of operations; the last exchanges the four lane qubits with four row bits."""

KIND, V1, W1, V2, W2, P1, P2, SOURCE, ROW, LANE, TRAINED = range(11)
"""Columns of the table of operations; see `Operations` in ``operations.py``."""

SHARED, OWN = 0, 1
"""Sources of a matrix: the groups that all samples share, or those of the sample itself."""

# No fast-math: results must not depend on where a kernel is inlined. `vectors` writes out each
# multiply-add.
_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
_INLINE: dict[str, Any] = {**_OPTIONS, "forceinline": True}


@njit(**_OPTIONS)
def rows_like(count, like):  # type: ignore[no-untyped-def]
    """``(count, 16)`` numbers from a cache line on: rows across two lines take longer."""
    raw = np.empty(16 * count + 16, like.dtype)
    skip = (-raw.ctypes.data % 64) // like.itemsize
    return raw[skip : skip + 16 * count].reshape(count, 16)


@njit(**_OPTIONS)
def factor(f, count, table, cos, sin, out_re, out_im):  # type: ignore[no-untyped-def]
    """The first ``count`` entries of factor ``f``, ``C0 + cos C1 + sin C2``, one per row."""
    for e in range(count):
        c0, c1, c2 = table[f, 0, e], table[f, 1, e], table[f, 2, e]
        wave(out_re, e, c0.real, c1.real, c2.real, cos, sin, f)
        wave(out_im, e, c0.imag, c1.imag, c2.imag, cos, sin, f)


@njit(**_OPTIONS)
def build(groups, pairs, table, cos, sin, u_re, u_im):  # type: ignore[no-untyped-def]
    """Matrices ``F_last ... F_first`` of every group.

    - ``groups`` (G, 3): first factor, last factor + 1, dimension.
    - ``pairs`` (F, 5): number of row pairs that the factor's 2x2 matrix mixes, and the pairs; 0
      for a full 4x4 matrix.
    - ``table`` (F, 3, 16) complex: the factor's coefficients, row by row.
    - ``cos, sin`` (F, 16): of frequency times angle, for each lane.
    - ``u_re, u_im`` (16 G, 16): filled.
    """
    f_re, f_im = rows_like(16, u_re), rows_like(16, u_re)
    t_re, t_im = rows_like(16, u_re), rows_like(16, u_re)
    for g in range(len(groups)):
        dim, base = groups[g, 2], 16 * g
        for e in range(dim * dim):
            for lane in range(16):
                u_re[base + e, lane] = 1 if e % (dim + 1) == 0 else 0
                u_im[base + e, lane] = 0
        for f in range(groups[g, 0], groups[g, 1]):
            factor(f, 4 if pairs[f, 0] else 16, table, cos, sin, f_re, f_im)
            if pairs[f, 0]:
                for k in range(pairs[f, 0]):
                    p, q = base + dim * pairs[f, 1 + 2 * k], base + dim * pairs[f, 2 + 2 * k]
                    for c in range(dim):
                        mix(u_re, u_im, p + c, q + c, f_re, f_im)
            else:
                t_re[:] = 0
                t_im[:] = 0
                for r in range(4):
                    for m in range(4):
                        for c in range(4):
                            x, y = 4 * r + m, base + 4 * m + c
                            multiply_add(t_re, t_im, 4 * r + c, f_re, f_im, x, u_re, u_im, y)
                u_re[base : base + 16] = t_re
                u_im[base : base + 16] = t_im


@njit(**_OPTIONS)
def chain(groups, pairs, table, generator, trained, cos, sin, y_re, y_im, grad):  # type: ignore[no-untyped-def]
    """Gradients of the angles from overlaps; ``y`` is used up.

    With ``y_ac = sum conj(costate_a) state_c`` after the matrix, the gradient of the angle of the
    last factor ``exp(i angle G)`` is ``2 Re(i sum_ac G_ac y_ac)``, and ``F^T y F^*`` is the same
    overlap before that factor.

    - ``groups, pairs, table, cos, sin``: as in `build`.
    - ``generator`` (F, 16) complex: G of each factor, row by row.
    - ``trained`` (F,): whether the factor has an angle.
    - ``y_re, y_im`` (16 G, 16).
    - ``grad`` (F, 16): filled where a factor has an angle.
    """
    f_re, f_im = rows_like(16, y_re), rows_like(16, y_re)
    t_re, t_im = rows_like(16, y_re), rows_like(16, y_re)
    for g in range(len(groups)):
        dim, base = groups[g, 2], 16 * g
        for f in range(groups[g, 1] - 1, groups[g, 0] - 1, -1):
            if trained[f]:
                grad[f] = 0
                if pairs[f, 0]:
                    for k in range(pairs[f, 0]):
                        p, q = pairs[f, 1 + 2 * k], pairs[f, 2 + 2 * k]
                        for e, row in enumerate(
                            (p * dim + p, p * dim + q, q * dim + p, q * dim + q)
                        ):
                            add_generator(grad, f, generator[f, e], y_re, y_im, base + row)
                else:
                    for e in range(16):
                        add_generator(grad, f, generator[f, e], y_re, y_im, base + e)
            if f == groups[g, 0]:
                break
            factor(f, 4 if pairs[f, 0] else 16, table, cos, sin, f_re, f_im)
            if pairs[f, 0]:
                for k in range(pairs[f, 0]):
                    p, q = base + dim * pairs[f, 1 + 2 * k], base + dim * pairs[f, 2 + 2 * k]
                    for c in range(dim):
                        mix_transposed(y_re, y_im, p + c, q + c, f_re, f_im)
                for k in range(pairs[f, 0]):
                    p, q = base + pairs[f, 1 + 2 * k], base + pairs[f, 2 + 2 * k]
                    for r in range(dim):
                        mix_adjoint(y_re, y_im, p + dim * r, q + dim * r, f_re, f_im)
            else:
                t_re[:] = 0
                t_im[:] = 0
                for r in range(4):
                    for m in range(4):
                        for c in range(4):
                            x, y = 4 * m + r, base + 4 * m + c
                            multiply_add(t_re, t_im, 4 * r + c, f_re, f_im, x, y_re, y_im, y)
                y_re[base : base + 16] = 0
                y_im[base : base + 16] = 0
                for r in range(4):
                    for m in range(4):
                        for c in range(4):
                            x, y, z = 4 * r + m, 4 * m + c, base + 4 * r + c
                            multiply_add_conjugate(y_re, y_im, z, t_re, t_im, x, f_re, f_im, y)


@njit(**_OPTIONS)
def add_generator(grad, f, entry, y_re, y_im, row):  # type: ignore[no-untyped-def]
    """``grad[f] += 2 Re(i * entry * y[row])``."""
    if entry.real != 0:
        scaled_add(grad, f, -2 * entry.real, y_im, row)
    if entry.imag != 0:
        scaled_add(grad, f, -2 * entry.imag, y_re, row)


@njit(**_OPTIONS)
def dagger(groups, u_re, u_im):  # type: ignore[no-untyped-def]
    """Conjugate transpose of every matrix."""
    d_re, d_im = rows_like(len(u_re), u_re), rows_like(len(u_im), u_im)
    d_re[:] = 0
    d_im[:] = 0
    for g in range(len(groups)):
        dim, base = groups[g, 2], 16 * g
        for r in range(dim):
            for c in range(dim):
                d_re[base + r * dim + c] = u_re[base + c * dim + r]
                d_im[base + r * dim + c] = -u_im[base + c * dim + r]
    return d_re, d_im


@njit(**_INLINE)
def operation(ops, k):  # type: ignore[no-untyped-def]
    """Row ``k`` of the table as a tuple: a view would be counted by all threads at once."""
    return (
        ops[k, 0], ops[k, 1], ops[k, 2], ops[k, 3], ops[k, 4], ops[k, 5],
        ops[k, 6], ops[k, 7], ops[k, 8], ops[k, 9], ops[k, 10],
    )  # fmt: skip


@njit(**_INLINE)
def one_base(g, p):  # type: ignore[no-untyped-def]
    """The ``g``-th row whose bit ``p`` is zero."""
    low = (1 << p) - 1
    return ((g & ~low) << 1) | (g & low)


@njit(**_OPTIONS)
def entries_of_pair(u_re, u_im, row, lane):  # type: ignore[no-untyped-def]
    """A 2x2 matrix as the tuple that `pair` takes."""
    return (
        u_re[row, lane], u_re[row + 1, lane], u_re[row + 2, lane], u_re[row + 3, lane],
        u_im[row, lane], u_im[row + 1, lane], u_im[row + 2, lane], u_im[row + 3, lane],
    )  # fmt: skip


@njit(**_OPTIONS)
def entries_of_quad(u_re, u_im, row, lane, u, at):  # type: ignore[no-untyped-def]
    """Fill row ``at`` of ``u`` with a 4x4 matrix as `quad` takes it."""
    for e in range(16):
        u[at, e] = u_re[row + e, lane]
        u[at, 16 + e] = u_im[row + e, lane]


@njit(**_OPTIONS)
def quads(ops, u_re, u_im):  # type: ignore[no-untyped-def]
    """The shared 4x4 matrix of every operation as `quad` takes it."""
    u = np.empty((len(ops), 32), u_re.dtype)
    for k in range(len(ops)):
        if ops[k, KIND] == TWO and ops[k, SOURCE] == SHARED:
            entries_of_quad(u_re, u_im, ops[k, ROW], ops[k, LANE], u, k)
    return u


@njit(**_INLINE)
def apply_one(re, im, op, per_lane, lane, u_re, u_im):  # type: ignore[no-untyped-def]
    """A 2x2 matrix on one qubit of the rows."""
    v, w, p, row = op[V1], op[W1], op[P1], op[ROW]
    if per_lane:
        for g in range(re.shape[0] // 2):
            i = one_base(g, p)
            i ^= v * odd(i & w)
            pair_lanes(re, im, i, i ^ v, u_re, u_im, row)
    else:
        u = entries_of_pair(u_re, u_im, row, lane)
        for g in range(re.shape[0] // 2):
            i = one_base(g, p)
            i ^= v * odd(i & w)
            pair(re, im, i, i ^ v, u)


@njit(**_INLINE)
def two_base(g, op):  # type: ignore[no-untyped-def]
    """The ``g``-th row on which both qubits of an operation are zero."""
    i = one_base(one_base(g, min(op[P1], op[P2])), max(op[P1], op[P2]))
    return i ^ (op[V1] * odd(i & op[W1])) ^ (op[V2] * odd(i & op[W2]))


@njit(**_INLINE)
def apply_two(re, im, op, u, at):  # type: ignore[no-untyped-def]
    """A 4x4 matrix on two qubits of the rows: row ``at`` of ``u``."""
    v1, v2 = op[V1], op[V2]
    for g in range(re.shape[0] // 4):
        i = two_base(g, op)
        quad(re, im, i, i ^ v1, i ^ v2, i ^ v1 ^ v2, u, at)


@njit(**_OPTIONS)
def apply_two_lanes(re, im, op, u_re, u_im):  # type: ignore[no-untyped-def]
    """A 4x4 matrix per lane on two qubits of the rows."""
    v1, v2, row = op[V1], op[V2], op[ROW]
    for g in range(re.shape[0] // 4):
        i = two_base(g, op)
        quad_lanes(re, im, i, i ^ v1, i ^ v2, i ^ v1 ^ v2, u_re, u_im, row)


@njit(**_INLINE)
def apply(re, im, k, op, s_re, s_im, s_quads, own_re, own_im, sample, scratch):  # type: ignore[no-untyped-def]
    """The matrix of operation ``k``; arguments as in `forward`."""
    own = op[SOURCE] == OWN
    if op[KIND] == ONE:
        if own:
            apply_one(re, im, op, sample < 0, sample, own_re, own_im)
        else:
            apply_one(re, im, op, False, op[LANE], s_re, s_im)
    elif not own:
        apply_two(re, im, op, s_quads, k)
    elif sample < 0:
        apply_two_lanes(re, im, op, own_re, own_im)
    else:
        entries_of_quad(own_re, own_im, op[ROW], sample, scratch, 0)
        apply_two(re, im, op, scratch, 0)


@njit(**_OPTIONS)
def apply_simple(re, im, op):  # type: ignore[no-untyped-def]
    """CX, CZ, or an exchange of lanes and rows: no arithmetic, and each its own inverse."""
    if op[KIND] == CX:
        for g in range(re.shape[0] // 4):
            i = two_base(g, op) ^ op[V1]
            swap(re, i, i ^ op[V2])
            swap(im, i, i ^ op[V2])
    elif op[KIND] == CZ:
        for g in range(re.shape[0] // 4):
            i = two_base(g, op) ^ op[V1] ^ op[V2]
            negate(re, i)
            negate(im, i)
    else:
        exchange(re, op)
        exchange(im, op)


@njit(**_OPTIONS)
def exchange(x, op):  # type: ignore[no-untyped-def]
    """Exchange lane bit ``k`` with the ``k``-th of the four row bits in columns V1 to W2."""
    low = sorted4((op[V1], op[W1], op[V2], op[W2]))
    a, b, c, d = 1 << op[V1], 1 << op[W1], 1 << op[V2], 1 << op[W2]
    for g in range(x.shape[0] // 16):
        i = one_base(one_base(one_base(one_base(g, low[0]), low[1]), low[2]), low[3])
        transpose(x, i, a, b, c, d)


@njit(**_OPTIONS)
def sorted4(bits):  # type: ignore[no-untyped-def]
    """Four numbers in ascending order."""
    a, b, c, d = bits
    a, b = min(a, b), max(a, b)
    c, d = min(c, d), max(c, d)
    a, c = min(a, c), max(a, c)
    b, d = min(b, d), max(b, d)
    return a, min(b, c), max(b, c), d


@njit(**_OPTIONS)
def forward(re, im, ops, s_re, s_im, s_quads, own_re, own_im, sample):  # type: ignore[no-untyped-def]
    """Run all operations on one unit, in place.

    - ``re, im`` (rows, 16).
    - ``ops``: table of operations.
    - ``s_re, s_im``: shared matrices.
    - ``own_re, own_im``: matrices of the 16 samples of this tile.
    - ``sample``: which of the 16 samples the unit is, or -1 if its lanes are the samples.
    """
    u = np.empty((1, 32), re.dtype)
    for k in range(len(ops)):
        op = operation(ops, k)
        if op[KIND] > TWO:
            apply_simple(re, im, op)
            continue
        apply(re, im, k, op, s_re, s_im, s_quads, own_re, own_im, sample, u)


@njit(**_OPTIONS)
def overlap(c_re, c_im, re, im, op, m_re, m_im, first):  # type: ignore[no-untyped-def]
    """Add ``conj(costate_r) state_c`` to rows ``first ...`` of ``m``, per lane."""
    groups = re.shape[0] // 2
    if op[KIND] == ONE:
        v, w, p = op[V1], op[W1], op[P1]
        pair_overlaps(c_re, c_im, re, im, groups, p, v, w, m_re, m_im, first)
    else:
        low, high = min(op[P1], op[P2]), max(op[P1], op[P2])
        v1, w1, v2, w2 = op[V1], op[W1], op[V2], op[W2]
        quad_overlaps(c_re, c_im, re, im, groups // 2, low, high, v1, w1, v2, w2, m_re, m_im, first)


@njit(**_INLINE)
def overlap_sums(c_re, c_im, re, im, op, sums):  # type: ignore[no-untyped-def]
    """`overlap`, summed over the lanes: real parts, then imaginary parts."""
    groups = re.shape[0] // 2
    if op[KIND] == ONE:
        pair_overlap_sums(c_re, c_im, re, im, groups, op[P1], op[V1], op[W1], sums)
    else:
        low, high = min(op[P1], op[P2]), max(op[P1], op[P2])
        v1, w1, v2, w2 = op[V1], op[W1], op[V2], op[W2]
        quad_overlap_sums(c_re, c_im, re, im, groups // 2, low, high, v1, w1, v2, w2, sums)


@njit(**_OPTIONS)
def backward(  # type: ignore[no-untyped-def]
    re, im, c_re, c_im, ops, s_re, s_im, s_quads, own_re, own_im, sample, sy, own_y_re, own_y_im
):
    """Un-apply all operations on state and co-state, and collect the overlaps; in place.

    - ``re, im``: the final state; afterwards the initial one.
    - ``c_re, c_im``: the co-state ``sum_k g_k O_k psi``; afterwards that of the initial state.
    - ``ops, sample``: as in `forward`.
    - ``s_re, s_im, own_re, own_im``: conjugate transposes of the matrices.
    - ``sy`` (2, 16 G, 16) float64: overlaps for the shared matrices are added.
    - ``own_y_re, own_y_im``: the same for those of the samples.
    """
    sums = np.empty(32, re.dtype)
    u = np.empty((1, 32), re.dtype)
    for k in range(len(ops) - 1, -1, -1):
        op = operation(ops, k)
        if op[KIND] > TWO:
            apply_simple(re, im, op)
            apply_simple(c_re, c_im, op)
            continue
        own, row = op[SOURCE] == OWN, op[ROW]
        if op[TRAINED]:
            if own and sample < 0:
                overlap(c_re, c_im, re, im, op, own_y_re, own_y_im, row)
            else:
                overlap_sums(c_re, c_im, re, im, op, sums)
                size = 4 if op[KIND] == ONE else 16
                for e in range(size):
                    if own:
                        own_y_re[row + e, sample] += sums[e]
                        own_y_im[row + e, sample] += sums[size + e]
                    else:
                        sy[0, row + e, op[LANE]] += sums[e]
                        sy[1, row + e, op[LANE]] += sums[size + e]
        apply(re, im, k, op, s_re, s_im, s_quads, own_re, own_im, sample, u)
        apply(c_re, c_im, k, op, s_re, s_im, s_quads, own_re, own_im, sample, u)


@njit(**_OPTIONS)
def expectations(re, im, strings, out):  # type: ignore[no-untyped-def]
    """``out[s, lane] = <P_s>``, over the lane's amplitudes; see `expectations_of_rows`."""
    expectations_of_rows(0, re.shape[0], re, im, strings, out)


@njit(**_OPTIONS)
def expectations_of_rows(first, last, re, im, strings, out):  # type: ignore[no-untyped-def]
    """The part of ``<P_s>`` that comes from the rows ``first <= j < last``.

    ``strings`` is (S, 4): row mask of the flips, row mask of the signs, lane mask of the flips,
    number of Y modulo 4; those without flips come first. Signs by lane are left to the caller.
    """
    out[:] = 0
    p = rows_like(1, re)
    diagonal = count_diagonal(strings)
    if diagonal:
        for j in range(first, last):
            p[:] = 0
            product_add(p, 0, 1.0, re, j, re, j)
            product_add(p, 0, 1.0, im, j, im, j)
            for s in range(diagonal):
                scaled_add(out, s, 1.0 - 2.0 * odd(j & strings[s, 1]), p, 0)
    for s in range(diagonal, len(strings)):
        x, z, lanes, ys = strings[s, 0], strings[s, 1], strings[s, 2], strings[s, 3]
        turn = 1.0 if ys == 0 or ys == 3 else -1.0
        for j in range(first, last):
            i = j ^ x
            sign = turn * (1.0 - 2.0 * odd(j & z))
            if lanes:
                for lane in range(16):
                    k = lane ^ lanes
                    if ys % 2 == 0:
                        out[s, lane] += sign * (re[i, k] * re[j, lane] + im[i, k] * im[j, lane])
                    else:
                        out[s, lane] += sign * (re[i, k] * im[j, lane] - im[i, k] * re[j, lane])
            elif ys % 2 == 0:
                product_add(out, s, sign, re, i, re, j)
                product_add(out, s, sign, im, i, im, j)
            else:
                product_add(out, s, sign, re, i, im, j)
                product_add(out, s, -sign, im, i, re, j)


@njit(**_OPTIONS)
def count_diagonal(strings):  # type: ignore[no-untyped-def]
    """How many strings at the beginning have no flips."""
    count = 0
    while count < len(strings) and strings[count, 0] == 0 and strings[count, 2] == 0:
        count += 1
    return count


@njit(**_OPTIONS)
def costate(re, im, strings, h, c_re, c_im):  # type: ignore[no-untyped-def]
    """``c = sum_s h[s, lane] P_s psi``, with the signs by lane in ``h``."""
    costate_of_rows(0, re.shape[0], re, im, strings, h, c_re, c_im)


@njit(**_OPTIONS)
def costate_of_rows(first, last, re, im, strings, h, c_re, c_im):  # type: ignore[no-untyped-def]
    """The rows ``first <= i < last`` of `costate`; ``strings`` as in `expectations_of_rows`."""
    p = rows_like(1, re)
    diagonal = count_diagonal(strings)
    for i in range(first, last):
        p[:] = 0
        for s in range(diagonal):
            scaled_add(p, 0, 1.0 - 2.0 * odd(i & strings[s, 1]), h, s)
        c_re[i] = 0
        c_im[i] = 0
        product_add(c_re, i, 1.0, p, 0, re, i)
        product_add(c_im, i, 1.0, p, 0, im, i)
    for s in range(diagonal, len(strings)):
        x, z, lanes, ys = strings[s, 0], strings[s, 1], strings[s, 2], strings[s, 3]
        turn = 1.0 if ys == 0 or ys == 1 else -1.0
        for i in range(first, last):
            j = i ^ x
            sign = turn * (1.0 - 2.0 * odd(j & z))
            if lanes:
                for k in range(16):
                    lane = k ^ lanes
                    if ys % 2 == 0:
                        c_re[i, k] += sign * h[s, lane] * re[j, lane]
                        c_im[i, k] += sign * h[s, lane] * im[j, lane]
                    else:
                        c_re[i, k] -= sign * h[s, lane] * im[j, lane]
                        c_im[i, k] += sign * h[s, lane] * re[j, lane]
            elif ys % 2 == 0:
                product_add(c_re, i, sign, h, s, re, j)
                product_add(c_im, i, sign, h, s, im, j)
            else:
                product_add(c_re, i, -sign, h, s, im, j)
                product_add(c_im, i, sign, h, s, re, j)


@njit(**_OPTIONS)
def waves(inputs, weights, first, column, coefficient, constant, out):  # type: ignore[no-untyped-def]
    """``out[b, r] = constant[r] + sum_k coefficient[k] parameter[column[k]]``, affine forms.

    The terms of form ``r`` are ``first[r] <= k < first[r + 1]``; parameters are the inputs of
    sample ``b``, then the weights. Without inputs, ``out`` has one row.
    """
    n = inputs.shape[1]
    for b in range(out.shape[0]):
        for r in range(out.shape[1]):
            total = constant[r]
            for k in range(first[r], first[r + 1]):
                c = column[k]
                total += coefficient[k] * np.float64(inputs[b, c] if c < n else weights[c - n])
            out[b, r] = total


@njit(**_OPTIONS)
def pull_back(slopes, used, first, column, coefficient, g_inputs, g_weights):  # type: ignore[no-untyped-def]
    """Add the gradients of the parameters, from those of their affine forms; see `waves`."""
    n = g_inputs.shape[1]
    for b in range(slopes.shape[0]):
        for r in range(slopes.shape[1]):
            if used[r]:
                for k in range(first[r], first[r + 1]):
                    c = column[k]
                    if c < n:
                        g_inputs[b, c] += coefficient[k] * slopes[b, r]
                    else:
                        g_weights[c - n] += coefficient[k] * np.float64(slopes[b, r])


@njit(**_OPTIONS)
def own_matrices(tile, cos, sin, groups, pairs, table, c_rows, s_rows, u_re, u_im):  # type: ignore[no-untyped-def]
    """Build the matrices of the 16 samples of a tile.

    ``cos, sin`` are (batch, F), and their rows go into ``c_rows, s_rows`` (F, 16); lanes without a
    sample get angle zero.
    """
    for f in range(cos.shape[1]):
        for lane in range(16):
            b = 16 * tile + lane
            c_rows[f, lane] = cos[b, f] if b < cos.shape[0] else 1.0
            s_rows[f, lane] = sin[b, f] if b < cos.shape[0] else 0.0
    build(groups, pairs, table, c_rows, s_rows, u_re, u_im)


@njit(**_OPTIONS)
def forward_units(  # type: ignore[no-untyped-def]
    first, last, re, im, start, start_rows, ops, s_re, s_im, s_quads, by_samples, groups, pairs,
    table, cos, sin, strings, lane_signs, coefficients, places, y,
):  # fmt: skip
    """Initial states, `forward` and the outputs of units ``first <= u < last``.

    - ``re, im`` (U, rows, 16): filled with the final states.
    - ``start`` (batch, A), ``start_rows``: amplitudes of the initial states and their basis states;
      A = 0 for |0...0>.
    - ``ops, s_re, s_im``: as in `forward`.
    - ``by_samples``: whether the lanes are samples.
    - ``groups, pairs, table``: of the samples' own matrices, as in `build`.
    - ``cos, sin`` (batch, F): of the samples' own factors.
    - ``strings``: as in `expectations`.
    - ``lane_signs`` (S, 16): the signs that the lanes' own bits give to a string.
    - ``coefficients`` (outputs, S): of the strings in the outputs.
    - ``places``: where each basis state is, if the outputs are probabilities; else empty.
    - ``y`` (batch, outputs): filled.
    """
    size = 16 * len(groups) + 1
    u_re, u_im = rows_like(size, re), rows_like(size, re)
    c_rows, s_rows = rows_like(cos.shape[1], re), rows_like(cos.shape[1], re)
    out = rows_like(len(strings), re)
    built = -1
    for u in range(first, last):
        tile = u if by_samples else u // 16
        if tile != built:
            own_matrices(tile, cos, sin, groups, pairs, table, c_rows, s_rows, u_re, u_im)
            built = tile
        x_re, x_im = re[u], im[u]
        initial(u, x_re, x_im, start, start_rows, by_samples)
        forward(x_re, x_im, ops, s_re, s_im, s_quads, u_re, u_im, -1 if by_samples else u % 16)
        samples = min(16, y.shape[0] - 16 * u) if by_samples else 1
        base = 16 * u if by_samples else u
        if len(places):
            for k in range(len(places)):
                for lane in range(samples):
                    i = 16 * places[k] + lane if by_samples else places[k]
                    r, c = x_re[i >> 4, i & 15], x_im[i >> 4, i & 15]
                    y[base + lane, k] = r * r + c * c
            continue
        expectations(x_re, x_im, strings, out)
        for lane in range(samples):
            for k in range(y.shape[1]):
                total = 0.0
                for s in range(len(strings)):
                    if coefficients[k, s] != 0:
                        if by_samples:
                            total += coefficients[k, s] * out[s, lane]
                        else:
                            for j in range(16):
                                total += coefficients[k, s] * lane_signs[s, j] * out[s, j]
                y[base + lane, k] = total


@njit(**_OPTIONS)
def initial(u, re, im, start, start_rows, by_samples):  # type: ignore[no-untyped-def]
    """The initial state of unit ``u``; see `forward_units`."""
    re[:] = 0
    im[:] = 0
    if start.shape[1] == 0:
        for lane in range(16 if by_samples else 1):
            re[0, lane] = 1
    for k in range(start.shape[1]):
        i = start_rows[k]
        if by_samples:
            for lane in range(min(16, start.shape[0] - 16 * u)):
                re[i, lane] = start[16 * u + lane, k]
        else:
            re[i >> 4, i & 15] = start[u, k]


@njit(**_OPTIONS)
def backward_units(  # type: ignore[no-untyped-def]
    first, last, re, im, start_rows, ops, s_re, s_im, s_quads, by_samples, groups, pairs, table,
    generator, trained, cos, sin, strings, lane_signs, coefficients, places, g,
    own_y_re, own_y_im, slopes, sy, g_start,
):  # fmt: skip
    """`costate` and `backward` of units ``first <= u < last``, and `chain` if lanes are samples.

    What is not listed is as in `forward_units` and `chain`.

    - ``s_re, s_im``: conjugate transposes of the shared matrices.
    - ``g`` (batch, outputs): gradients of the outputs.
    - ``own_y_re, own_y_im`` (tiles, 16 G + 1, 16), zeros: overlaps of the samples' own matrices,
      which `own_slopes` reads where the lanes are amplitudes.
    - ``slopes`` (batch, F): gradients of the own factors' angles; filled where the lanes are
      samples.
    - ``sy`` (U, 2, 16 G, 16) float64, zeros: filled with the overlaps of the shared matrices.
    - ``g_start`` (batch, A): filled with gradients of the initial amplitudes.
    """
    size = 16 * len(groups) + 1
    u_re, u_im = rows_like(size, re), rows_like(size, re)
    u_re[:] = 0
    u_im[:] = 0
    c_rows, s_rows = rows_like(cos.shape[1], re), rows_like(cos.shape[1], re)
    rows = rows_like(cos.shape[1], re)
    rows[:] = 0
    d_re, d_im = u_re, u_im
    c_re, c_im = rows_like(re.shape[1], re), rows_like(re.shape[1], re)
    x_re, x_im = rows_like(re.shape[1], re), rows_like(re.shape[1], re)
    h = rows_like(len(strings), re)
    built = -1
    for u in range(first, last):
        tile = u if by_samples else u // 16
        if tile != built:
            own_matrices(tile, cos, sin, groups, pairs, table, c_rows, s_rows, u_re, u_im)
            d_re, d_im = dagger(groups, u_re, u_im)
            built = tile
        x_re[:] = re[u]
        x_im[:] = im[u]
        samples = min(16, g.shape[0] - 16 * u) if by_samples else 1
        base = 16 * u if by_samples else u
        if len(places):
            c_re[:] = 0
            c_im[:] = 0
            for k in range(len(places)):
                for lane in range(samples):
                    i = 16 * places[k] + lane if by_samples else places[k]
                    c_re[i >> 4, i & 15] = g[base + lane, k] * x_re[i >> 4, i & 15]
                    c_im[i >> 4, i & 15] = g[base + lane, k] * x_im[i >> 4, i & 15]
        else:
            for s in range(len(strings)):
                for lane in range(16):
                    b = base + lane if by_samples else base
                    total = 0.0
                    if b < g.shape[0]:
                        for k in range(g.shape[1]):
                            total += g[b, k] * coefficients[k, s]
                    h[s, lane] = total * lane_signs[s, lane]
            costate(x_re, x_im, strings, h, c_re, c_im)
        y_re, y_im = own_y_re[tile], own_y_im[tile]
        sample = -1 if by_samples else u % 16
        backward(
            x_re, x_im, c_re, c_im, ops, s_re, s_im, s_quads, d_re, d_im, sample, sy[u], y_re, y_im
        )
        for k in range(g_start.shape[1]):
            i = start_rows[k]
            for lane in range(samples):
                j = 16 * i + lane if by_samples else i
                g_start[base + lane, k] = 2 * c_re[j >> 4, j & 15]
        if by_samples:
            chain(groups, pairs, table, generator, trained, c_rows, s_rows, y_re, y_im, rows)
            for lane in range(samples):
                for f in range(len(rows)):
                    slopes[base + lane, f] = rows[f, lane]


@njit(**_OPTIONS)
def own_slopes(groups, pairs, table, generator, trained, cos, sin, own_y_re, own_y_im, slopes):  # type: ignore[no-untyped-def]
    """`chain` of the samples' own matrices, after `backward_units` with amplitudes on the lanes."""
    size = 16 * len(groups) + 1
    u_re, u_im = rows_like(size, cos), rows_like(size, cos)
    u_re[:] = 0
    u_im[:] = 0
    c_rows, s_rows = rows_like(cos.shape[1], cos), rows_like(cos.shape[1], cos)
    rows = rows_like(cos.shape[1], cos)
    rows[:] = 0
    for tile in range(len(own_y_re)):
        own_matrices(tile, cos, sin, groups, pairs, table, c_rows, s_rows, u_re, u_im)
        y_re, y_im = own_y_re[tile], own_y_im[tile]
        chain(groups, pairs, table, generator, trained, c_rows, s_rows, y_re, y_im, rows)
        for lane in range(min(16, len(slopes) - 16 * tile)):
            for f in range(len(rows)):
                slopes[16 * tile + lane, f] = rows[f, lane]
