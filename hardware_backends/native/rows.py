"""Operations on the rows of a unit, compiled by Numba.

The state of a *unit* is two arrays ``re, im`` of shape ``(rows, 16)``. Either the lanes are 16
samples and the rows the ``2**n`` amplitudes, or the lanes are the 16 amplitudes of four qubits of
one sample and the rows those of the others. A qubit on the rows is a pair of bit masks ``(v, w)``:
rows ``i`` and ``i ^ v`` differ in the qubit alone, and it is 1 where ``i & w`` has an odd number of
ones. So CX gates move no data: they change the masks of the gates after them.
"""

from __future__ import annotations

from numba import njit

from nisqkit.hardware_backends.native.compiling import INLINE, INNER
from nisqkit.hardware_backends.native.schedule import CX, CZ, ONE, OWN, TWO
from nisqkit.hardware_backends.native.vectors import (
    dense_quad,
    negate,
    odd,
    pair,
    pair_lanes,
    pair_overlap_sums,
    pair_overlaps,
    quad,
    quad_lanes,
    quad_overlap_sums,
    quad_overlaps,
    swap,
    transpose,
)

KIND, V1, W1, V2, W2, P1, P2, SOURCE, ROW, LANE, TRAINED, COUNT = range(12)
"""Columns of the table of operations; see `Operations` in ``operations.py``."""

LANES_OUT = 4
"""A kind of operation beside those of blocks: exchange the four lane qubits with four row bits."""


@njit(**INLINE)
def operation(ops, k):  # type: ignore[no-untyped-def]
    """Row ``k`` of the table as a tuple: a view would be counted by all threads at once."""
    return (
        ops[k, 0], ops[k, 1], ops[k, 2], ops[k, 3], ops[k, 4], ops[k, 5],
        ops[k, 6], ops[k, 7], ops[k, 8], ops[k, 9], ops[k, 10], ops[k, 11],
    )  # fmt: skip


@njit(**INLINE)
def one_base(g, p):  # type: ignore[no-untyped-def]
    """The ``g``-th row whose bit ``p`` is zero."""
    low = (1 << p) - 1
    return ((g & ~low) << 1) | (g & low)


@njit(**INNER)
def entries_of_pair(u_re, u_im, row, lane):  # type: ignore[no-untyped-def]
    """A 2x2 matrix as the tuple that `pair` takes."""
    return (
        u_re[row, lane], u_re[row + 1, lane], u_re[row + 2, lane], u_re[row + 3, lane],
        u_im[row, lane], u_im[row + 1, lane], u_im[row + 2, lane], u_im[row + 3, lane],
    )  # fmt: skip


@njit(**INNER)
def entries_of_quad(u_re, u_im, row, lane, u, at):  # type: ignore[no-untyped-def]
    """Fill row ``at`` of ``u`` with a 4x4 matrix as `quad` takes it."""
    for e in range(16):
        u[at, e] = u_re[row + e, lane]
        u[at, 16 + e] = u_im[row + e, lane]


@njit(**INLINE)
def apply_one(re, im, op, per_lane, lane, u_re, u_im):  # type: ignore[no-untyped-def]
    """A 2x2 matrix on one qubit of the rows."""
    v, w, p, row = op[V1], op[W1], op[P1], op[ROW]
    if per_lane:
        for g in range(op[COUNT]):
            i = one_base(g, p)
            i ^= v * odd(i & w)
            pair_lanes(re, im, i, i ^ v, u_re, u_im, row)
    else:
        u = entries_of_pair(u_re, u_im, row, lane)
        for g in range(op[COUNT]):
            i = one_base(g, p)
            i ^= v * odd(i & w)
            pair(re, im, i, i ^ v, u)


@njit(**INLINE)
def two_base(g, op):  # type: ignore[no-untyped-def]
    """The ``g``-th row on which both qubits of an operation are zero."""
    i = one_base(one_base(g, min(op[P1], op[P2])), max(op[P1], op[P2]))
    return i ^ (op[V1] * odd(i & op[W1])) ^ (op[V2] * odd(i & op[W2]))


@njit(**INLINE)
def apply_two(re, im, op, u, at):  # type: ignore[no-untyped-def]
    """A 4x4 matrix on two qubits of the rows: row ``at`` of ``u``."""
    v1, v2 = op[V1], op[V2]
    for g in range(op[COUNT]):
        i = two_base(g, op)
        quad(re, im, i, i ^ v1, i ^ v2, i ^ v1 ^ v2, u, at)


@njit(**INNER)
def apply_two_lanes(re, im, op, u_re, u_im):  # type: ignore[no-untyped-def]
    """A 4x4 matrix per lane on two qubits of the rows."""
    v1, v2, row = op[V1], op[V2], op[ROW]
    for g in range(op[COUNT]):
        i = two_base(g, op)
        quad_lanes(re, im, i, i ^ v1, i ^ v2, i ^ v1 ^ v2, u_re, u_im, row)


@njit(**INLINE)
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
        entries_of_quad(own_re, own_im, op[ROW], sample, scratch, 1)
        apply_two(re, im, op, scratch, 1)


@njit(**INNER)
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


@njit(**INNER)
def exchange(x, op):  # type: ignore[no-untyped-def]
    """Exchange lane bit ``k`` with the ``k``-th of the four row bits in columns V1 to W2."""
    low = sorted4((op[V1], op[W1], op[V2], op[W2]))
    a, b, c, d = 1 << op[V1], 1 << op[W1], 1 << op[V2], 1 << op[W2]
    for g in range(x.shape[0] // 16):
        i = one_base(one_base(one_base(one_base(g, low[0]), low[1]), low[2]), low[3])
        transpose(x, i, a, b, c, d)


@njit(**INNER)
def sorted4(bits):  # type: ignore[no-untyped-def]
    """Four numbers in ascending order."""
    a, b, c, d = bits
    a, b = min(a, b), max(a, b)
    c, d = min(c, d), max(c, d)
    a, c = min(a, c), max(a, c)
    b, d = min(b, d), max(b, d)
    return a, min(b, c), max(b, c), d


@njit(**INNER)
def forward(re, im, ops, s_re, s_im, s_quads, own_re, own_im, sample, scratch):  # type: ignore[no-untyped-def]
    """Run all operations on one unit, in place.

    - ``re, im`` (rows, 16).
    - ``ops``: table of operations; see `Operations`.
    - ``s_re, s_im``: shared matrices.
    - ``own_re, own_im``: matrices of the 16 samples of this tile.
    - ``sample``: which of the 16 samples the unit is, or -1 if its lanes are the samples.
    - ``scratch`` (2, 32).
    """
    for k in range(len(ops)):
        op = operation(ops, k)
        if op[KIND] > TWO:
            apply_simple(re, im, op)
            continue
        apply(re, im, k, op, s_re, s_im, s_quads, own_re, own_im, sample, scratch)


@njit(**INNER)
def overlap(c_re, c_im, re, im, op, m_re, m_im, first):  # type: ignore[no-untyped-def]
    """Add ``conj(costate_r) state_c`` to rows ``first ...`` of ``m``, per lane."""
    groups = op[COUNT]
    if op[KIND] == ONE:
        v, w, p = op[V1], op[W1], op[P1]
        pair_overlaps(c_re, c_im, re, im, groups, p, v, w, m_re, m_im, first)
    else:
        low, high = min(op[P1], op[P2]), max(op[P1], op[P2])
        v1, w1, v2, w2 = op[V1], op[W1], op[V2], op[W2]
        quad_overlaps(c_re, c_im, re, im, groups, low, high, v1, w1, v2, w2, m_re, m_im, first)


@njit(**INLINE)
def overlap_sums(c_re, c_im, re, im, op, sums):  # type: ignore[no-untyped-def]
    """`overlap`, summed over the lanes: ``sums[0]`` is real parts, then imaginary parts."""
    groups = op[COUNT]
    if op[KIND] == ONE:
        pair_overlap_sums(c_re, c_im, re, im, groups, op[P1], op[V1], op[W1], sums)
    else:
        low, high = min(op[P1], op[P2]), max(op[P1], op[P2])
        v1, w1, v2, w2 = op[V1], op[W1], op[V2], op[W2]
        quad_overlap_sums(c_re, c_im, re, im, groups, low, high, v1, w1, v2, w2, sums)


@njit(**INNER)
def backward(  # type: ignore[no-untyped-def]
    re, im, c_re, c_im, ops, stop, s_re, s_im, s_quads, own_re, own_im, sample,
    sy, own_y_re, own_y_im, scratch,
):  # fmt: skip
    """Un-apply operations on state and co-state, and collect the overlaps; in place.

    - ``re, im``: the final state; afterwards the initial one.
    - ``c_re, c_im``: the co-state ``sum_k g_k O_k psi``; afterwards that of the initial state.
    - ``ops, sample``: as in `forward`; the first ``stop`` are left alone.
    - ``s_re, s_im, own_re, own_im``: conjugate transposes of the matrices.
    - ``sy`` (2, 16 G, 16) float64: overlaps for the shared matrices are added.
    - ``own_y_re, own_y_im``: the same for those of the samples.
    """
    for k in range(len(ops) - 1, stop - 1, -1):
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
                overlap_sums(c_re, c_im, re, im, op, scratch)
                size = 4 if op[KIND] == ONE else 16
                for e in range(size):
                    if own:
                        own_y_re[row + e, sample] += scratch[0, e]
                        own_y_im[row + e, sample] += scratch[0, size + e]
                    else:
                        sy[0, row + e, op[LANE]] += scratch[0, e]
                        sy[1, row + e, op[LANE]] += scratch[0, size + e]
        apply(re, im, k, op, s_re, s_im, s_quads, own_re, own_im, sample, scratch)
        apply(c_re, c_im, k, op, s_re, s_im, s_quads, own_re, own_im, sample, scratch)


@njit(**INNER)
def dense(a_re, a_im, x_re, x_im, z_re, z_im):  # type: ignore[no-untyped-def]
    """``z[i] = sum_j a[i, j] x[j]``: a matrix, the same for all lanes, on all rows.

    ``a`` is (rows of z, rows of x); the rows of z are a multiple of four.
    """
    for i in range(0, z_re.shape[0], 4):
        dense_quad(z_re, z_im, i, x_re, x_im, x_re.shape[0], a_re, a_im)
