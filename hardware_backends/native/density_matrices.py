"""Pauli transfer matrices of gates and channels: built, and differentiated; compiled by Numba.

A matrix is the product of *factors*, each given by its entries that are not always zero. An entry
has 1, 3 or 5 coefficients: ``b0``, ``+ b1 cos a + b2 sin a``, ``+ b3 cos 2a + b4 sin 2a``. First
rows, ``(1, 0, ..., 0)``, are left out. 16 matrices at a time, one per lane, that differ in the
coefficients and angles alone: a *group*.

Kernels work in one array of rows, ``rows``; part ``k`` of it begins at ``layout[k]``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nisqkit.hardware_backends.native.compiling import INLINE, INNER, OPTIONS
from nisqkit.hardware_backends.native.density_vectors import add_product, fill
from nisqkit.hardware_backends.native.matrices import pull_back, shared_angles
from nisqkit.hardware_backends.native.packed import rows_like
from nisqkit.hardware_backends.native.vectors import copy, sincos

FIRST, LAST, DIMENSION, ROW, ANGLES = range(5)
"""Columns of the table of groups: first factor, last factor + 1, 4 or 16; for samples' own matrices
the first row; whether the group has an angle."""
ENTRY, END, TERMS, COEFFICIENT = range(4)
"""Columns of the table of factors: first entry, last entry + 1, number of coefficients, first row
of these."""

COS, SIN, VALUES, PRODUCTS, SLOPES, BY_MATRIX, BEFORE, DOUBLE = range(8)
"""Parts of the memory: cosine and sine of each factor's angle; the value of each entry of a group;
products of its first 0, 1, 2, ... factors; slopes of all factors; derivatives by a matrix, and by
what is before a factor; and for intermediate results."""


@njit(**INLINE)
def group_of(groups, g):  # type: ignore[no-untyped-def]
    """Row ``g`` of the table as a tuple: a view would be counted by all threads at once."""
    return groups[g, 0], groups[g, 1], groups[g, 2], groups[g, 3], groups[g, 4]


@njit(**INNER)
def double_angle(cos, sin, f, double):  # type: ignore[no-untyped-def]
    """``cos 2a, sin 2a`` into two rows."""
    for lane in range(16):
        c, s = cos[f, lane], sin[f, lane]
        double[0, lane] = 1 - 2 * s * s
        double[1, lane] = 2 * s * c


@njit(**INNER)
def product(group, tables, coefficients, rows, layout):  # type: ignore[no-untyped-def]
    """Fill ``VALUES`` and ``PRODUCTS``; returns where among the latter the matrix begins.

    - ``tables``: groups, factors, entries (E, 2): row and column.
    - ``coefficients`` (C, 16).
    """
    _, factors, entries = tables
    cos = rows[layout[COS] : layout[COS + 1]]
    sin = rows[layout[SIN] : layout[SIN + 1]]
    double = rows[layout[DOUBLE] : layout[DOUBLE + 1]]
    w = rows[layout[VALUES] : layout[VALUES + 1]]
    products = rows[layout[PRODUCTS] : layout[PRODUCTS + 1]]
    dim = group[DIMENSION]
    size = dim * (dim - 1)
    for e in range(size):
        fill(products, e, 1 if e % (dim + 1) == 1 else 0)
    before, k = 0, 0
    for f in range(group[FIRST], group[LAST]):
        after, terms, at = before + size, factors[f, TERMS], factors[f, COEFFICIENT]
        if terms == 5:
            double_angle(cos, sin, f, double)
        for e in range(size):
            fill(products, after + e, 0)
        for e in range(factors[f, ENTRY], factors[f, END]):
            copy(w, k, coefficients, at)
            if terms > 1:
                add_product(w, k, coefficients, at + 1, cos, f)
                add_product(w, k, coefficients, at + 2, sin, f)
            if terms > 3:
                add_product(w, k, coefficients, at + 3, double, 0)
                add_product(w, k, coefficients, at + 4, double, 1)
            row, column = after + dim * (entries[e, 0] - 1), entries[e, 1]
            if column == 0:
                copy(products, row, w, k)  # entries are in order: it is the first of its row
            else:
                for c in range(dim):
                    add_product(products, row + c, w, k, products, before + dim * (column - 1) + c)
            at += terms
            k += 1
        before = after
    return before


@njit(**INNER)
def slopes_of(group, tables, coefficients, rows, layout):  # type: ignore[no-untyped-def]
    """Fill ``SLOPES``: derivatives by the angles times frequency, from those ``BY_MATRIX``.

    `product` has filled the rest.
    """
    _, factors, entries = tables
    cos = rows[layout[COS] : layout[COS + 1]]
    sin = rows[layout[SIN] : layout[SIN + 1]]
    double = rows[layout[DOUBLE] : layout[DOUBLE + 1]]
    w = rows[layout[VALUES] : layout[VALUES + 1]]
    products = rows[layout[PRODUCTS] : layout[PRODUCTS + 1]]
    y = rows[layout[BY_MATRIX] : layout[BY_MATRIX + 1]]
    last = rows[layout[BEFORE] : layout[BEFORE + 1]]
    slopes = rows[layout[SLOPES] : layout[SLOPES + 1]]
    dim = group[DIMENSION]
    size = dim * (dim - 1)
    for f in range(group[LAST] - 1, group[FIRST] - 1, -1):
        before = size * (f - group[FIRST])
        terms, at = factors[f, TERMS], factors[f, COEFFICIENT]
        fill(slopes, f, 0)
        if terms > 1:
            double_angle(cos, sin, f, double)
        for e in range(size):
            fill(last, e, 0)
        for e in range(factors[f, ENTRY], factors[f, END]):
            row, column = dim * (entries[e, 0] - 1), entries[e, 1]
            if terms > 1:
                for lane in range(16):
                    slope = (
                        coefficients[at + 2, lane] * cos[f, lane]
                        - coefficients[at + 1, lane] * sin[f, lane]
                    )
                    if terms > 3:
                        slope += 2 * (
                            coefficients[at + 4, lane] * double[0, lane]
                            - coefficients[at + 3, lane] * double[1, lane]
                        )
                    double[2, lane] = slope
                if column == 0:
                    copy(double, 3, y, row)
                else:
                    fill(double, 3, 0)
                    for c in range(dim):
                        at_c = before + dim * (column - 1) + c
                        add_product(double, 3, y, row + c, products, at_c)
                add_product(slopes, f, double, 2, double, 3)
            if column > 0:
                k = e - factors[group[FIRST], ENTRY]
                for c in range(dim):
                    add_product(last, dim * (column - 1) + c, w, k, y, row + c)
            at += terms
        for e in range(size):
            copy(y, e, last, e)


@njit(**OPTIONS)
def shared_matrices(  # type: ignore[no-untyped-def]
    num_inputs, weights, forms, tables, coefficients, layout, places, out
):
    """Build the matrices that all samples share, each entry in all lanes.

    - ``forms``: ``first, column, coefficient, constant`` of the angles; see
      `matrices.shared_angles`.
    - ``places`` (G, 16): where the matrix of each lane goes in ``out``, or -1.
    """
    groups = tables[0]
    rows = rows_like(layout[-1], out)
    cos = rows[layout[COS] : layout[COS + 1]]
    sin = rows[layout[SIN] : layout[SIN + 1]]
    first, column, coefficient, constant = forms
    angles = rows_like(1, constant)
    shared_angles(num_inputs, weights, first, column, coefficient, constant, cos, sin, angles)
    products = rows[layout[PRODUCTS] : layout[PRODUCTS + 1]]
    for g in range(len(groups)):
        group = group_of(groups, g)
        at = product(group, tables, coefficients, rows, layout)
        for e in range(group[DIMENSION] * (group[DIMENSION] - 1)):
            for lane in range(16):
                if places[g, lane] >= 0:
                    fill(out, places[g, lane] + e, products[at + e, lane])


@njit(**OPTIONS)
def parameter_gradients(  # type: ignore[no-untyped-def]
    weights, forms, used, tables, coefficients, layout, places, total,
    own_forms, own_used, own_slopes, g_inputs, g_weights,
):  # fmt: skip
    """Add the gradients of inputs and weights (float64).

    - ``used``: which forms are angles.
    - ``places`` (G, 16): where the derivatives by the matrix of each lane are in ``total``, or -1.
    - ``own_slopes`` (batch, F): those by the samples' own angles.
    """
    groups = tables[0]
    rows = rows_like(layout[-1], weights)
    cos = rows[layout[COS] : layout[COS + 1]]
    sin = rows[layout[SIN] : layout[SIN + 1]]
    first, column, coefficient, constant = forms
    n, angles = g_inputs.shape[1], rows_like(1, constant)
    shared_angles(n, weights, first, column, coefficient, constant, cos, sin, angles)
    y = rows[layout[BY_MATRIX] : layout[BY_MATRIX + 1]]
    slopes = rows[layout[SLOPES] : layout[SLOPES + 1]]
    flat = np.zeros((1, 16 * len(slopes)), weights.dtype)
    for g in range(len(groups)):
        group = group_of(groups, g)
        if not group[ANGLES]:
            continue
        product(group, tables, coefficients, rows, layout)
        for e in range(group[DIMENSION] * (group[DIMENSION] - 1)):
            for lane in range(16):
                place = places[g, lane]
                y[e, lane] = total[place + e] if place >= 0 else 0
        slopes_of(group, tables, coefficients, rows, layout)
        for f in range(group[FIRST], group[LAST]):
            for lane in range(16):
                flat[0, 16 * f + lane] = slopes[f, lane]
    pull_back(flat, used, forms[0], forms[1], forms[2], g_inputs, g_weights)
    pull_back(
        own_slopes, own_used, own_forms[0], own_forms[1], own_forms[2], g_inputs, g_weights
    )  # fmt: skip


@njit(**INNER)
def own_angles(tile, inputs, weights, forms, tables, rows, layout, angles):  # type: ignore[no-untyped-def]
    """``COS, SIN`` of the angles of the 16 samples of a tile; ``angles`` (1, 16) float64.

    Form ``f`` is the angle of factor ``f``. Lanes beyond the batch take zeros as inputs.
    """
    first, column, coefficient, constant = forms
    factors = tables[1]
    cos = rows[layout[COS] : layout[COS + 1]]
    sin = rows[layout[SIN] : layout[SIN + 1]]
    n, base = inputs.shape[1], 16 * tile
    count = min(16, len(inputs) - base)
    for f in range(len(factors)):
        if factors[f, TERMS] == 1:
            continue
        for lane in range(16):
            angles[0, lane] = constant[f]
        for k in range(first[f], first[f + 1]):
            c, scale = column[k], coefficient[k]
            for lane in range(count if c < n else 16):
                value = inputs[base + lane, c] if c < n else weights[c - n]
                angles[0, lane] += scale * np.float64(value)
        sincos(cos, sin, f, angles, 0)


@njit(**INNER)
def own_matrices(tables, coefficients, rows, layout, out):  # type: ignore[no-untyped-def]
    """The matrices of the 16 samples of a tile, one sample per lane."""
    groups, products = tables[0], rows[layout[PRODUCTS] : layout[PRODUCTS + 1]]
    for g in range(len(groups)):
        group = group_of(groups, g)
        at = product(group, tables, coefficients, rows, layout)
        for e in range(group[DIMENSION] * (group[DIMENSION] - 1)):
            copy(out, group[ROW] + e, products, at + e)


@njit(**INNER)
def own_gradients(tile, tables, coefficients, rows, layout, by_own, own_slopes):  # type: ignore[no-untyped-def]
    """Slopes (batch, F) of a tile, from derivatives ``by_own``, laid out as the matrices are."""
    groups = tables[0]
    y = rows[layout[BY_MATRIX] : layout[BY_MATRIX + 1]]
    slopes = rows[layout[SLOPES] : layout[SLOPES + 1]]
    for g in range(len(groups)):
        group = group_of(groups, g)
        product(group, tables, coefficients, rows, layout)
        for e in range(group[DIMENSION] * (group[DIMENSION] - 1)):
            copy(y, e, by_own, group[ROW] + e)
        slopes_of(group, tables, coefficients, rows, layout)
    for lane in range(min(16, len(own_slopes) - 16 * tile)):
        for f in range(len(slopes)):
            own_slopes[16 * tile + lane, f] = slopes[f, lane]
