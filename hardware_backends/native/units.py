"""Forward and backward passes of whole units, compiled by Numba."""

from __future__ import annotations

import numpy as np
from numba import njit

from nisqkit.hardware_backends.native.compiling import INNER, PART
from nisqkit.hardware_backends.native.matrices import chain, dagger, own_matrices, put_slopes
from nisqkit.hardware_backends.native.packed import rows_like
from nisqkit.hardware_backends.native.rows import backward, dense, forward
from nisqkit.hardware_backends.native.strings import costate, expectations
from nisqkit.hardware_backends.native.vectors import copy, scaled_add


@njit(**INNER)
def copy_rows(target, source):  # type: ignore[no-untyped-def]
    """``target = source``; an assignment of slices would compile text for its error message."""
    for i in range(len(target)):
        copy(target, i, source, i)


@njit(**INNER)
def add_rows(target, source):  # type: ignore[no-untyped-def]
    """``target += source``."""
    for i in range(len(target)):
        scaled_add(target, i, 1.0, source, i)


@njit(**PART)
def forward_units(  # type: ignore[no-untyped-def]
    begin, end, state, before, unitary, start, start_rows, ops, shared, by_samples, inputs, weights,
    waves, own, measured, y,
):  # fmt: skip
    """Initial states, `forward` and the outputs of units ``begin <= u < end``.

    - ``state = re, im`` (U, rows, 16): filled with the final states.
    - ``before, unitary``: where ``ops`` are followed by a unitary (rows, rows) that all samples
      share, ``before`` (U, rows, 16) is filled with the states before it; else both are empty.
    - ``start`` (batch, A), ``start_rows``: amplitudes of the initial states and their basis states;
      A = 0 for |0...0>.
    - ``ops, shared = s_re, s_im, s_quads``: as in `forward`.
    - ``by_samples``: whether the lanes are samples.
    - ``inputs, weights, waves = first, column, coefficient, constant``, ``own = groups, pairs,
      table``: of the samples' own matrices, as in `own_matrices`.
    - ``measured = strings, lane_signs, coefficients, places``: ``strings`` as in `expectations`;
      ``lane_signs`` (S, 16), the signs that the lanes' own bits give to a string; ``coefficients``
      (outputs, S) of the strings in the outputs; ``places`` (a column), where each basis state is,
      if the outputs are probabilities; else empty.
    - ``y`` (batch, outputs): filled.
    """
    re, im = state
    x_re, x_im = before
    w_re, w_im = unitary
    s_re, s_im, s_quads = shared
    first, column, coefficient, constant = waves
    groups, pairs, table = own
    strings, lane_signs, coefficients, places = measured
    size = 16 * len(groups) + 1
    u_re, u_im = rows_like(size, re), rows_like(size, re)
    cos, sin = rows_like(len(table), re), rows_like(len(table), re)
    out = rows_like(len(strings), re)
    angles, scratch, narrow = rows_like(1, constant), rows_like(64, re), np.empty((2, 32), re.dtype)
    built = -1
    for u in range(begin, end):
        tile = u if by_samples else u // 16
        if tile != built:
            own_matrices(
                tile, inputs, weights, first, column, coefficient, constant, groups, pairs, table,
                cos, sin, u_re, u_im, angles, scratch,
            )  # fmt: skip
            built = tile
        a_re, a_im = (x_re[u], x_im[u]) if len(w_re) else (re[u], im[u])
        initial(u, a_re, a_im, start, start_rows, by_samples)
        sample = -1 if by_samples else u % 16
        forward(a_re, a_im, ops, s_re, s_im, s_quads, u_re, u_im, sample, narrow)
        if len(w_re):
            dense(w_re, w_im, a_re, a_im, re[u], im[u])
            a_re, a_im = re[u], im[u]
        outputs(
            u, a_re, a_im, by_samples, strings, lane_signs, coefficients, places, out, y,
            scratch,
        )  # fmt: skip


@njit(**INNER)
def outputs(  # type: ignore[no-untyped-def]
    u, re, im, by_samples, strings, lane_signs, coefficients, places, out, y, scratch
):
    """The outputs of unit ``u``; see `forward_units`.

    ``out`` (S, 16) and ``scratch`` are for intermediate results.
    """
    samples = min(16, y.shape[0] - 16 * u) if by_samples else 1
    base = 16 * u if by_samples else u
    for k in range(len(places)):
        for lane in range(samples):
            i = 16 * places[k] + lane if by_samples else places[k]
            r, c = re[i >> 4, i & 15], im[i >> 4, i & 15]
            y[base + lane, k] = r * r + c * c
    if len(places):
        return
    expectations(re, im, strings, out, scratch)
    for k in range(y.shape[1]):
        y[base : base + samples, k] = 0
        for s in range(len(strings)):
            if coefficients[k, s] == 0:
                continue
            if by_samples:
                for lane in range(samples):
                    y[base + lane, k] += coefficients[k, s] * out[s, lane]
            else:
                for j in range(16):
                    y[base, k] += coefficients[k, s] * lane_signs[s, j] * out[s, j]


@njit(**INNER)
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


@njit(**PART)
def backward_units(  # type: ignore[no-untyped-def]
    begin, end, state, before, unitary, start_rows, ops, stop, shared, by_samples, inputs, weights,
    waves, own, generators, measured, g, own_y, slopes, sy, m, g_start,
):  # fmt: skip
    """`costate` and `backward` of units ``begin <= u < end``, and `chain` if lanes are samples.

    What is not listed is as in `forward_units` and `chain`.

    - ``stop``: how many operations at the beginning need not be un-applied.
    - ``shared``: of the conjugate transposes.
    - ``generators = generator, trained``: of the samples' own matrices.
    - ``g`` (batch, outputs): gradients of the outputs.
    - ``own_y`` (real and imaginary part; tiles, 16 G + 1, 16), zeros: overlaps of the samples' own
      matrices, which `own_slopes` reads where the lanes are amplitudes.
    - ``slopes`` (batch, F): gradients of the own factors' angles; filled where the lanes are
      samples.
    - ``sy`` (U or more, 2, 16 G + 1, 16) float64, zeros: filled with the overlaps of the shared
      matrices; may be shorter if ``ops`` have none with angles.
    - ``m`` (U, 2, max(1, rows / 16), rows, 16): filled with the co-state of the unitary's columns,
      as `unitary_backward` reads it, if there is a unitary.
    - ``g_start`` (batch, A): filled with gradients of the initial amplitudes.
    """
    re, im = state
    x_re, x_im = before
    w_re, w_im = unitary
    s_re, s_im, s_quads = shared
    first, column, coefficient, constant = waves
    groups, pairs, table = own
    generator, trained = generators
    strings, lane_signs, coefficients, places = measured
    own_y_re, own_y_im = own_y
    size = 16 * len(groups) + 1
    u_re, u_im = rows_like(size, re), rows_like(size, re)
    d_re, d_im = rows_like(size, re), rows_like(size, re)
    y_re, y_im = rows_like(size, re), rows_like(size, re)
    cos, sin = rows_like(len(table), re), rows_like(len(table), re)
    rows = rows_like(len(table), re)
    rows[:] = 0
    c_re, c_im = rows_like(re.shape[1], re), rows_like(re.shape[1], re)
    a_re, a_im = rows_like(re.shape[1], re), rows_like(re.shape[1], re)
    extra = re.shape[1] if len(w_re) else 0
    e_re, e_im = rows_like(extra, re), rows_like(extra, re)
    h = rows_like(len(strings), re)
    angles, scratch, narrow = rows_like(1, constant), rows_like(64, re), np.empty((2, 32), re.dtype)
    v_re, v_im = np.empty(w_re.shape, re.dtype), np.empty(w_re.shape, re.dtype)
    for i in range(len(w_re)):
        for j in range(len(w_re)):
            v_re[j, i], v_im[j, i] = w_re[i, j], -w_im[i, j]
    built = -1
    for u in range(begin, end):
        tile = u if by_samples else u // 16
        if tile != built:
            own_matrices(
                tile, inputs, weights, first, column, coefficient, constant, groups, pairs, table,
                cos, sin, u_re, u_im, angles, scratch,
            )  # fmt: skip
            dagger(groups, u_re, u_im, d_re, d_im)
            built = tile
        output_costate(
            u, re[u], im[u], by_samples, strings, lane_signs, coefficients, places, g, h,
            c_re, c_im, scratch,
        )  # fmt: skip
        if len(w_re):
            copy_rows(a_re, x_re[u])
            copy_rows(a_im, x_im[u])
        else:
            copy_rows(a_re, re[u])
            copy_rows(a_im, im[u])
        if len(w_re):
            outer(c_re, c_im, a_re, a_im, m[u], scratch)
            dense(v_re, v_im, c_re, c_im, e_re, e_im)
            c_re, e_re = e_re, c_re
            c_im, e_im = e_im, c_im
        sample = -1 if by_samples else u % 16
        if by_samples:
            y_re[:] = 0
            y_im[:] = 0
        else:
            y_re, y_im = own_y_re[tile], own_y_im[tile]
        backward(
            a_re, a_im, c_re, c_im, ops, stop, s_re, s_im, s_quads, d_re, d_im, sample,
            sy[min(u, len(sy) - 1)], y_re, y_im, narrow,
        )  # fmt: skip
        for k in range(g_start.shape[1]):
            i = start_rows[k]
            for lane in range(min(16, len(g) - 16 * u) if by_samples else 1):
                j = 16 * i + lane if by_samples else i
                g_start[16 * u + lane if by_samples else u, k] = 2 * c_re[j >> 4, j & 15]
        if by_samples:
            chain(groups, pairs, table, generator, trained, cos, sin, y_re, y_im, rows, scratch)
            put_slopes(tile, rows, slopes)


@njit(**INNER)
def output_costate(  # type: ignore[no-untyped-def]
    u, re, im, by_samples, strings, lane_signs, coefficients, places, g, h, c_re, c_im, scratch
):
    """The co-state ``sum_k g_k O_k psi`` of unit ``u``; see `backward_units`.

    ``h`` (S, 16) and ``scratch`` are for intermediate results.
    """
    samples = min(16, len(g) - 16 * u) if by_samples else 1
    base = 16 * u if by_samples else u
    if len(places):
        c_re[:] = 0
        c_im[:] = 0
        for k in range(len(places)):
            for lane in range(samples):
                i = 16 * places[k] + lane if by_samples else places[k]
                c_re[i >> 4, i & 15] = g[base + lane, k] * re[i >> 4, i & 15]
                c_im[i >> 4, i & 15] = g[base + lane, k] * im[i >> 4, i & 15]
        return
    for s in range(len(strings)):
        h[s] = 0
        for k in range(g.shape[1]):
            if coefficients[k, s] == 0:
                continue
            if by_samples:
                for lane in range(samples):
                    h[s, lane] += g[base + lane, k] * coefficients[k, s]
            else:
                for lane in range(16):
                    h[s, lane] += g[base, k] * coefficients[k, s] * lane_signs[s, lane]
    costate(re, im, strings, h, c_re, c_im, scratch)


@njit(**INNER)
def outer(c_re, c_im, x_re, x_im, m, scratch):  # type: ignore[no-untyped-def]
    """``m[:, s // 16, i, s % 16] = sum_lane c[i, lane] conj(x[s, lane])``.

    ``scratch`` (32 or more, 16) is for intermediate results.
    """
    rows = len(x_re)
    t_re, t_im = scratch[0:16], scratch[16:32]
    for unit in range(m.shape[1]):
        t_re[:] = 0
        t_im[:] = 0
        for s in range(min(16, rows - 16 * unit)):
            for lane in range(16):
                t_re[lane, s] = x_re[16 * unit + s, lane]
                t_im[lane, s] = -x_im[16 * unit + s, lane]
        dense(c_re, c_im, t_re, t_im, m[0, unit], m[1, unit])


@njit(**PART)
def unitary_forward(begin, end, columns, ops, shared, unitary):  # type: ignore[no-untyped-def]
    """The unitary of operations that all samples share, 16 columns at a time: units of columns.

    - ``columns`` (max(1, rows / 16), rows, 16): filled; lane ``l`` of unit ``u`` is column
      ``16 u + l``.
    - ``ops, shared = s_re, s_im, s_quads``: as in `forward`.
    - ``unitary`` (rows, rows): filled with the same.
    """
    v_re, v_im = columns
    w_re, w_im = unitary
    s_re, s_im, s_quads = shared
    rows = v_re.shape[1]
    narrow = np.empty((2, 32), v_re.dtype)
    for u in range(begin, end):
        x_re, x_im = v_re[u], v_im[u]
        x_re[:] = 0
        x_im[:] = 0
        count = min(16, rows - 16 * u)
        for lane in range(count):
            x_re[16 * u + lane, lane] = 1
        forward(x_re, x_im, ops, s_re, s_im, s_quads, s_re, s_im, -1, narrow)
        for i in range(rows):
            for lane in range(count):
                w_re[i, 16 * u + lane] = x_re[i, lane]
                w_im[i, 16 * u + lane] = x_im[i, lane]


@njit(**PART)
def unitary_backward(begin, end, columns, m, ops, shared, sy):  # type: ignore[no-untyped-def]
    """`backward` of the units of `unitary_forward`.

    - ``m`` (samples' units, 2, U, rows, 16): of `backward_units`; their sum is the co-state.
    - ``shared``: of the conjugate transposes.
    - ``sy`` (U, 2, 16 G, 16) float64, zeros: filled with the overlaps.
    """
    v_re, v_im = columns
    s_re, s_im, s_quads = shared
    rows = v_re.shape[1]
    x_re, x_im = rows_like(rows, v_re), rows_like(rows, v_re)
    c_re, c_im = rows_like(rows, v_re), rows_like(rows, v_re)
    narrow = np.empty((2, 32), v_re.dtype)
    for u in range(begin, end):
        copy_rows(x_re, v_re[u])
        copy_rows(x_im, v_im[u])
        c_re[:] = 0
        c_im[:] = 0
        for k in range(len(m)):
            add_rows(c_re, m[k, 0, u])
            add_rows(c_im, m[k, 1, u])
        backward(
            x_re, x_im, c_re, c_im, ops, 0, s_re, s_im, s_quads, s_re, s_im, -1,
            sy[u], c_re, c_im, narrow,
        )  # fmt: skip
