"""Matrices of the blocks: built from the parameters, and differentiated; compiled by Numba.

16 at a time: a *group* is up to 16 matrices made of the same kinds of factors, one per lane. Entry
``e`` of group ``g`` is row ``16 g + e``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nisqkit.hardware_backends.native.compiling import INNER, OPTIONS
from nisqkit.hardware_backends.native.packed import rows_like
from nisqkit.hardware_backends.native.rows import KIND, LANE, ROW, SOURCE, entries_of_quad
from nisqkit.hardware_backends.native.schedule import SHARED, TWO
from nisqkit.hardware_backends.native.vectors import (
    copy,
    mix,
    mix_adjoint,
    mix_transposed,
    multiply_add,
    multiply_add_conjugate,
    negate,
    scaled_add,
    sincos,
    wave,
)


@njit(**INNER)
def factor(f, count, table, cos, sin, out_re, out_im):  # type: ignore[no-untyped-def]
    """The first ``count`` entries of factor ``f``, ``C0 + cos C1 + sin C2``, one per row."""
    for e in range(count):
        c0, c1, c2 = table[f, 0, e], table[f, 1, e], table[f, 2, e]
        wave(out_re, e, c0.real, c1.real, c2.real, cos, sin, f)
        wave(out_im, e, c0.imag, c1.imag, c2.imag, cos, sin, f)


@njit(**INNER)
def build(groups, pairs, table, cos, sin, u_re, u_im, scratch):  # type: ignore[no-untyped-def]
    """Matrices ``F_last ... F_first`` of every group.

    - ``groups`` (G, 3): first factor, last factor + 1, dimension.
    - ``pairs`` (F, 5): number of row pairs that the factor's 2x2 matrix mixes, and the pairs; 0
      for a full 4x4 matrix.
    - ``table`` (F, 3, 16) complex: the factor's coefficients, row by row.
    - ``cos, sin`` (F, 16): of frequency times angle, for each lane.
    - ``u_re, u_im`` (16 G, 16): filled.
    - ``scratch`` (64, 16).
    """
    f_re, f_im, t_re, t_im = scratch[0:16], scratch[16:32], scratch[32:48], scratch[48:64]
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
                for e in range(16):
                    copy(u_re, base + e, t_re, e)
                    copy(u_im, base + e, t_im, e)


@njit(**INNER)
def chain(groups, pairs, table, generator, trained, cos, sin, y_re, y_im, grad, scratch):  # type: ignore[no-untyped-def]
    """Gradients of the angles from overlaps; ``y`` is used up.

    With ``y_ac = sum conj(costate_a) state_c`` after the matrix, the gradient of the angle of the
    last factor ``exp(i angle G)`` is ``2 Re(i sum_ac G_ac y_ac)``, and ``F^T y F^*`` is the same
    overlap before that factor.

    - ``groups, pairs, table, cos, sin``: as in `build`.
    - ``generator`` (F, 16) complex: G of each factor, row by row.
    - ``trained`` (F,): whether the factor has an angle.
    - ``y_re, y_im`` (16 G, 16).
    - ``grad`` (F, 16): filled where a factor has an angle.
    - ``scratch`` (64, 16).
    """
    f_re, f_im, t_re, t_im = scratch[0:16], scratch[16:32], scratch[32:48], scratch[48:64]
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


@njit(**INNER)
def add_generator(grad, f, entry, y_re, y_im, row):  # type: ignore[no-untyped-def]
    """``grad[f] += 2 Re(i * entry * y[row])``."""
    if entry.real != 0:
        scaled_add(grad, f, -2 * entry.real, y_im, row)
    if entry.imag != 0:
        scaled_add(grad, f, -2 * entry.imag, y_re, row)


@njit(**INNER)
def dagger(groups, u_re, u_im, d_re, d_im):  # type: ignore[no-untyped-def]
    """Conjugate transpose of every matrix of ``u`` (16 G + 1, 16) into ``d``."""
    for g in range(len(groups)):
        dim, base = groups[g, 2], 16 * g
        for r in range(dim):
            for c in range(dim):
                copy(d_re, base + r * dim + c, u_re, base + c * dim + r)
                copy(d_im, base + r * dim + c, u_im, base + c * dim + r)
                negate(d_im, base + r * dim + c)


@njit(**INNER)
def quads(ops, u_re, u_im, out):  # type: ignore[no-untyped-def]
    """Row ``k`` of ``out`` (K, 32): the shared 4x4 matrix of operation ``k`` for `vectors.quad`."""
    for k in range(len(ops)):
        if ops[k, KIND] == TWO and ops[k, SOURCE] == SHARED:
            entries_of_quad(u_re, u_im, ops[k, ROW], ops[k, LANE], out, k)


@njit(**INNER)
def shared_angles(  # type: ignore[no-untyped-def]
    num_inputs, weights, first, column, coefficient, constant, cos, sin, angles
):
    """``cos, sin`` (F, 16) of the angles of the shared factors.

    An angle is an affine form of the parameters, which are the inputs and then the weights:
    ``constant[r] + sum_k coefficient[k] parameter[column[k]]`` over ``first[r] <= k <
    first[r + 1]``. Form ``r = 16 f + lane`` is the angle of factor ``f`` in a lane.
    ``angles`` (1, 16) float64 is for intermediate results.
    """
    for f in range(len(cos)):
        for lane in range(16):
            r = 16 * f + lane
            total = constant[r]
            for k in range(first[r], first[r + 1]):
                total += coefficient[k] * np.float64(weights[column[k] - num_inputs])
            angles[0, lane] = total
        sincos(cos, sin, f, angles, 0)


@njit(**INNER)
def own_matrices(  # type: ignore[no-untyped-def]
    tile, inputs, weights, first, column, coefficient, constant, groups, pairs, table,
    cos, sin, u_re, u_im, angles, scratch,
):  # fmt: skip
    """Build the matrices of the 16 samples of a tile; fills ``cos, sin, u_re, u_im``.

    Form ``f`` is the angle of factor ``f``; see `shared_angles`. ``angles`` (1, 16) float64 and
    ``scratch`` (64, 16) are for intermediate results.
    """
    n, base = inputs.shape[1], 16 * tile
    count = min(16, len(inputs) - base)
    for f in range(len(table)):
        angles[0] = constant[f]
        for k in range(first[f], first[f + 1]):
            c, scale = column[k], coefficient[k]
            for lane in range(count if c < n else 16):
                value = inputs[base + lane, c] if c < n else weights[c - n]
                angles[0, lane] += scale * np.float64(value)
        sincos(cos, sin, f, angles, 0)
    build(groups, pairs, table, cos, sin, u_re, u_im, scratch)


@njit(**OPTIONS)
def own_slopes(  # type: ignore[no-untyped-def]
    inputs, weights, first, column, coefficient, constant, groups, pairs, table, generator, trained,
    y_re, y_im, slopes,
):  # fmt: skip
    """`chain` of the samples' own matrices.

    - ``y_re, y_im`` (tiles, 16 G + 1, 16): used up.
    - ``slopes`` (batch, F): filled.
    """
    size = 16 * len(groups) + 1
    u_re, u_im = rows_like(size, y_re), rows_like(size, y_re)
    cos, sin = rows_like(len(table), y_re), rows_like(len(table), y_re)
    rows = rows_like(len(table), y_re)
    rows[:] = 0
    angles, scratch = rows_like(1, constant), rows_like(64, y_re)
    for tile in range(len(y_re)):
        own_matrices(
            tile, inputs, weights, first, column, coefficient, constant, groups, pairs, table,
            cos, sin, u_re, u_im, angles, scratch,
        )  # fmt: skip
        chain(
            groups, pairs, table, generator, trained, cos, sin, y_re[tile], y_im[tile], rows,
            scratch,
        )  # fmt: skip
        put_slopes(tile, rows, slopes)


@njit(**INNER)
def put_slopes(tile, rows, slopes):  # type: ignore[no-untyped-def]
    """Rows (F, 16) of a tile into the slopes (batch, F) of all samples."""
    for lane in range(min(16, len(slopes) - 16 * tile)):
        for f in range(len(rows)):
            slopes[16 * tile + lane, f] = rows[f, lane]


@njit(**INNER)
def pull_back(slopes, used, first, column, coefficient, g_inputs, g_weights):  # type: ignore[no-untyped-def]
    """Add the gradients of the parameters, from the slopes (batch, forms) of their forms."""
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
