"""Matrices of a block in which some lanes have drawn an error; compiled by Numba.

The lanes are 16 runs. Unlike in ``matrices.py``, matrices need not be unitary nor invertible, so
that gradients come from the overlaps of the co-state after a block with the state before it, and
from the products of its first factors.

Arguments that many functions take:

- ``groups, pairs, table, generator, trained, cos, sin``: as in `matrices.build` and `chain`.
- ``plain`` (F,): whether a factor is the identity unless a lane has an error there.
- ``operators`` (M, 16) complex: the errors, row by row.
- ``events`` (E, 3): factor, lane and operator of each error, in the order of the factors; those
  from ``begin`` to ``end`` are the block's.
- ``scratch`` (64, 16).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nisqkit.hardware_backends.native.compiling import INNER
from nisqkit.hardware_backends.native.matrices import add_generator, factor
from nisqkit.hardware_backends.native.vectors import (
    copy,
    mix,
    mix_transposed,
    multiply_add,
    negate,
    sincos,
)


@njit(**INNER)
def drawn_factor(f, pairs, table, cos, sin, operators, events, begin, end, f_re, f_im):  # type: ignore[no-untyped-def]
    """Factor ``f``, or what the lanes have drawn in its place; events as far as they are its own.

    Returns the first event after them.
    """
    count = 4 if pairs[f, 0] else 16
    factor(f, count, table, cos, sin, f_re, f_im)
    while begin < end and events[begin, 0] == f:
        lane, m = events[begin, 1], events[begin, 2]
        for e in range(count):
            f_re[e, lane] = operators[m, e].real
            f_im[e, lane] = operators[m, e].imag
        begin += 1
    return begin


@njit(**INNER)
def times(transposed, f, dim, pairs, f_re, f_im, m_re, m_im, at, t_re, t_im):  # type: ignore[no-untyped-def]
    """``M <- F M``, or with the transpose of F, for the matrix in rows ``at ...``."""
    for k in range(pairs[f, 0]):
        p, q = at + dim * pairs[f, 1 + 2 * k], at + dim * pairs[f, 2 + 2 * k]
        for c in range(dim):
            if transposed:
                mix_transposed(m_re, m_im, p + c, q + c, f_re, f_im)
            else:
                mix(m_re, m_im, p + c, q + c, f_re, f_im)
    if pairs[f, 0]:
        return
    t_re[:] = 0
    t_im[:] = 0
    for r in range(4):
        for k in range(4):
            e = 4 * k + r if transposed else 4 * r + k
            for c in range(4):
                i = at + 4 * k + c
                multiply_add(t_re, t_im, 4 * r + c, m_re, m_im, i, f_re, f_im, e)
    for e in range(16):
        copy(m_re, at + e, t_re, e)
        copy(m_im, at + e, t_im, e)


@njit(**INNER)
def set_identity(dim, m_re, m_im):  # type: ignore[no-untyped-def]
    """The identity in the first rows."""
    for e in range(dim * dim):
        for lane in range(16):
            m_re[e, lane] = 1 if e % (dim + 1) == 0 else 0
            m_im[e, lane] = 0


@njit(**INNER)
def product(  # type: ignore[no-untyped-def]
    g, groups, pairs, table, plain, cos, sin, operators, events, begin, end, m_re, m_im, scratch
):
    """The matrix ``F_last ... F_first`` of block ``g``, in the 16 rows of ``m``.

    If there are more of them, the product of its first k factors is left in rows ``16 k ...``.
    """
    f_re, f_im, t_re, t_im = scratch[0:16], scratch[16:32], scratch[32:48], scratch[48:64]
    dim, at = groups[g, 2], 0
    step = 16 if len(m_re) > 16 else 0
    set_identity(dim, m_re, m_im)
    for f in range(groups[g, 0], groups[g, 1]):
        if step:
            for e in range(dim * dim):
                copy(m_re, at + step + e, m_re, at + e)
                copy(m_im, at + step + e, m_im, at + e)
            at += step
        if plain[f] and (begin == end or events[begin, 0] != f):
            continue
        begin = drawn_factor(f, pairs, table, cos, sin, operators, events, begin, end, f_re, f_im)
        times(False, f, dim, pairs, f_re, f_im, m_re, m_im, at, t_re, t_im)


@njit(**INNER)
def undo(  # type: ignore[no-untyped-def]
    g, groups, pairs, table, plain, cos, sin, operators, events, begin, end, m_re, m_im, scratch
):
    """The inverse of `product`, from the inverses of factors and operators."""
    f_re, f_im, t_re, t_im = scratch[0:16], scratch[16:32], scratch[32:48], scratch[48:64]
    dim = groups[g, 2]
    set_identity(dim, m_re, m_im)
    for f in range(groups[g, 1] - 1, groups[g, 0] - 1, -1):
        first = end
        while first > begin and events[first - 1, 0] == f:
            first -= 1
        if plain[f] and first == end:
            continue
        drawn_factor(f, pairs, table, cos, sin, operators, events, first, end, f_re, f_im)
        end = first
        times(False, f, dim, pairs, f_re, f_im, m_re, m_im, 0, t_re, t_im)


@njit(**INNER)
def adjoint(dim, m_re, m_im, at, d_re, d_im):  # type: ignore[no-untyped-def]
    """The conjugate transpose of the matrix in rows ``at ...`` of ``m``, in the first ones of d."""
    for r in range(dim):
        for c in range(dim):
            copy(d_re, r * dim + c, m_re, at + c * dim + r)
            copy(d_im, r * dim + c, m_im, at + c * dim + r)
            negate(d_im, r * dim + c)


@njit(**INNER)
def slopes(  # type: ignore[no-untyped-def]
    g, groups, pairs, table, plain, generator, trained, cos, sin, operators, events, begin, end,
    m_re, m_im, z_re, z_im, grad, scratch,
):  # fmt: skip
    """Gradients of the angles of block ``g``, one per factor and lane, from overlaps.

    With ``z_ac = sum conj(costate_a) state_c``, the co-state after the block and the state before
    it, ``A = (F_last ... F_k+1)^T z`` and P the product of the first k factors, that of the angle
    of factor k, ``exp(i angle G)``, is ``2 Re(i sum_ac G_ac (A P^T)_ac)``.

    - ``m_re, m_im``: products of the first factors, as `product` leaves them.
    - ``z_re, z_im`` (16, 16): used up.
    - ``grad`` (F, 16): filled where a factor has an angle.
    """
    f_re, f_im, t_re, t_im = scratch[0:16], scratch[16:32], scratch[32:48], scratch[48:64]
    first, dim = groups[g, 0], groups[g, 2]
    for f in range(groups[g, 1] - 1, first - 1, -1):
        at = 16 * (f - first + 1)
        if trained[f]:
            grad[f] = 0
            for e in range(4 * pairs[f, 0] if pairs[f, 0] else 16):
                r, c = e // 4, e % 4
                if pairs[f, 0]:
                    r = pairs[f, 1 + 2 * (e // 4) + (e % 4) // 2]
                    c = pairs[f, 1 + 2 * (e // 4) + e % 2]
                entry = generator[f, e % 4] if pairs[f, 0] else generator[f, e]
                if entry == 0:
                    continue
                t_re[0] = 0
                t_im[0] = 0
                for k in range(dim):
                    multiply_add(
                        t_re, t_im, 0, z_re, z_im, dim * r + k, m_re, m_im, at + dim * c + k
                    )
                add_generator(grad, f, entry, t_re, t_im, 0)
        if f == first:
            break
        last = end
        while last > begin and events[last - 1, 0] == f:
            last -= 1
        if plain[f] and last == end:
            continue
        drawn_factor(f, pairs, table, cos, sin, operators, events, last, end, f_re, f_im)
        end = last
        times(True, f, dim, pairs, f_re, f_im, z_re, z_im, 0, t_re, t_im)


@njit(**INNER)
def waves(  # type: ignore[no-untyped-def]
    f, samples, inputs, weights, first, column, coefficient, constant, cos, sin, angles
):
    """``cos, sin`` of factor ``f`` for the samples of 16 lanes; see `matrices.own_matrices`."""
    n = inputs.shape[1]
    angles[0] = constant[f]
    for k in range(first[f], first[f + 1]):
        c, scale = column[k], coefficient[k]
        for lane in range(16):
            value = inputs[samples[lane], c] if c < n else weights[c - n]
            angles[0, lane] += scale * np.float64(value)
    sincos(cos, sin, f, angles, 0)
