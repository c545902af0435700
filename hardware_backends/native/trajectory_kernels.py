"""Forward and backward passes of whole units of trajectories, compiled by Numba.

The lanes of a unit are 16 runs. Arguments that all functions take:

- ``runs = samples, weight, events, first_event``: sample (U, 16) and weight (U, 16) of each lane;
  the errors (E, 3), as in ``trajectory_matrices.py``, those of unit u from ``first_event[u]`` on.
- ``ops``: table of operations; see `Operations`. Block g's matrix is in row ``16 g``.
- ``blocks = groups, pairs, table, plain, operators``: as in ``trajectory_matrices.py``. ``groups``
  has a fourth column: whether a block does nothing unless a lane has an error there.
- ``made = cos, sin, u_re, u_im, i_re, i_im, d_re, d_im``: of what all runs share, from
  `shared_matrices`.
- ``parameters = inputs, weights, first, column, coefficient, constant``: as in
  `matrices.own_matrices`.
- ``measured = strings, lane_signs, coefficients, places``: as in `units.forward_units`.
- ``start`` (batch, A), ``start_rows``: the same.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nisqkit.hardware_backends.native.compiling import INLINE, INNER, OPTIONS
from nisqkit.hardware_backends.native.packed import rows_like
from nisqkit.hardware_backends.native.rows import (
    COUNT,
    KIND,
    LANE,
    P1,
    P2,
    ROW,
    SOURCE,
    TRAINED,
    V1,
    V2,
    W1,
    W2,
    apply_one,
    apply_simple,
    apply_two,
    apply_two_lanes,
    entries_of_quad,
    operation,
    overlap,
    overlap_sums,
)
from nisqkit.hardware_backends.native.schedule import ONE, OWN, TWO
from nisqkit.hardware_backends.native.trajectory_matrices import (
    adjoint,
    product,
    slopes,
    undo,
    waves,
)
from nisqkit.hardware_backends.native.units import initial, output_costate, outputs
from nisqkit.hardware_backends.native.vectors import copy

IDLE = 3
"""The fourth column of ``groups``."""


@njit(**INLINE)
def at_first(op):  # type: ignore[no-untyped-def]
    """The same operation with its matrix in the first rows."""
    return (
        op[KIND], op[V1], op[W1], op[V2], op[W2], op[P1], op[P2], op[SOURCE], 0, op[LANE],
        op[TRAINED], op[COUNT],
    )  # fmt: skip


@njit(**INNER)
def apply_matrix(re, im, op, per_lane, u_re, u_im, narrow):  # type: ignore[no-untyped-def]
    """A block's matrix on the rows: per lane from the first rows of ``u``, else from its own."""
    if per_lane:
        if op[KIND] == ONE:
            apply_one(re, im, at_first(op), True, 0, u_re, u_im)
        else:
            apply_two_lanes(re, im, at_first(op), u_re, u_im)
    elif op[KIND] == ONE:
        apply_one(re, im, op, False, 0, u_re, u_im)
    else:
        entries_of_quad(u_re, u_im, op[ROW], 0, narrow, 0)
        apply_two(re, im, op, narrow, 0)


@njit(**INNER)
def copy_rows(x, z):  # type: ignore[no-untyped-def]
    """``z = x``; an assignment of whole arrays takes longer to compile."""
    for k in range(len(x)):
        copy(z, k, x, k)


@njit(**INNER)
def own_waves(ops, groups, samples, parameters, cos, sin, angles):  # type: ignore[no-untyped-def]
    """``cos, sin`` of the samples' own factors, for the lanes of a unit."""
    inputs, weights, first, column, coefficient, constant = parameters
    for k in range(len(ops)):
        if ops[k, KIND] <= TWO and ops[k, SOURCE] == OWN:
            g = ops[k, ROW] // 16
            for f in range(groups[g, 0], groups[g, 1]):
                waves(
                    f, samples, inputs, weights, first, column, coefficient, constant, cos, sin,
                    angles,
                )  # fmt: skip


@njit(**INNER)
def set_start(u, re, im, samples, start, start_rows, lane_start):  # type: ignore[no-untyped-def]
    """The initial state of a unit."""
    for lane in range(16):
        for k in range(start.shape[1]):
            lane_start[lane, k] = start[samples[lane], k]
    initial(0, re, im, lane_start, start_rows, True)


@njit(**INNER)
def run_unit(  # type: ignore[no-untyped-def]
    re, im, ops, blocks, cos, sin, u_re, u_im, events, begin, end, stores, first_store, last_store,
    tape_re, tape_im, m_re, m_im, scratch, narrow,
):  # fmt: skip
    """Apply all operations to a unit, and keep what cannot be un-applied.

    - ``begin, end``: the unit's events.
    - ``stores`` (S, 2): block and lane whose state before the block is kept; those of the unit
      from ``first_store`` to ``last_store``.
    - ``tape_re, tape_im`` (last_store - first_store, rows): filled.
    """
    groups, pairs, table, plain, operators = blocks
    store = first_store
    for k in range(len(ops)):
        op = operation(ops, k)
        if op[KIND] > TWO:
            apply_simple(re, im, op)
            continue
        g = op[ROW] // 16
        while store < last_store and stores[store, 0] == g:
            lane = stores[store, 1]
            for i in range(re.shape[0]):
                tape_re[store - first_store, i] = re[i, lane]
                tape_im[store - first_store, i] = im[i, lane]
            store += 1
        last = begin
        while last < end and events[last, 0] < groups[g, 1]:
            last += 1
        if last > begin or op[SOURCE] == OWN:
            product(
                g, groups, pairs, table, plain, cos, sin, operators, events, begin, last,
                m_re, m_im, scratch,
            )  # fmt: skip
            apply_matrix(re, im, op, True, m_re, m_im, narrow)
        elif not groups[g, IDLE]:
            apply_matrix(re, im, op, False, u_re, u_im, narrow)
        begin = last


@njit(**OPTIONS)
def shared_matrices(ops, blocks, undone, parameters, like):  # type: ignore[no-untyped-def]
    """Of the blocks that all runs share, without errors: waves, matrices, inverses and adjoints.

    ``undone = table, operators`` are those of the inverses; see `trajectory_matrices.undo`.
    """
    groups, pairs, table, plain, operators = blocks
    back_table, back_operators = undone
    inputs, weights, first, column, coefficient, constant = parameters
    cos, sin = rows_like(len(table), like), rows_like(len(table), like)
    u_re, u_im = rows_like(16 * len(groups), like), rows_like(16 * len(groups), like)
    i_re, i_im = rows_like(16 * len(groups), like), rows_like(16 * len(groups), like)
    d_re, d_im = rows_like(16 * len(groups), like), rows_like(16 * len(groups), like)
    angles, scratch = rows_like(1, constant), rows_like(64, like)
    samples, events = np.zeros(16, np.int64), np.zeros((0, 3), np.int64)
    none = len(events)  # a literal 0 would compile everything once more
    for k in range(len(ops)):
        if ops[k, KIND] > TWO or ops[k, SOURCE] == OWN:
            continue
        g = ops[k, ROW] // 16
        at, end = 16 * g, 16 * g + 16
        for f in range(groups[g, 0], groups[g, 1]):
            waves(
                f, samples, inputs, weights, first, column, coefficient, constant, cos, sin, angles
            )
        product(
            g, groups, pairs, table, plain, cos, sin, operators, events, none, none,
            u_re[at:end], u_im[at:end], scratch,
        )  # fmt: skip
        undo(
            g, groups, pairs, back_table, plain, cos, sin, back_operators, events, none, none,
            i_re[at:end], i_im[at:end], scratch,
        )  # fmt: skip
        adjoint(groups[g, 2], u_re, u_im, at, d_re[at:end], d_im[at:end])
    return cos, sin, u_re, u_im, i_re, i_im, d_re, d_im


@njit(**OPTIONS)
def forward_units(  # type: ignore[no-untyped-def]
    begin, end, rows, runs, ops, blocks, made, parameters, measured, start, start_rows, y
):
    """Outputs of units ``begin <= u < end``: fills ``y`` (16 U, outputs)."""
    samples, _, events, first_event = runs
    groups = blocks[0]
    u_re, u_im = made[2], made[3]
    strings, lane_signs, coefficients, places = measured
    re, im = rows_like(rows, u_re), rows_like(rows, u_re)
    cos, sin = rows_like(len(made[0]), u_re), rows_like(len(made[0]), u_re)
    copy_rows(made[0], cos)
    copy_rows(made[1], sin)
    m_re, m_im, scratch = rows_like(16, u_re), rows_like(16, u_re), rows_like(64, u_re)
    out, angles = rows_like(len(strings), u_re), rows_like(1, parameters[5])
    narrow = np.empty((2, 32), u_re.dtype)
    lane_start = np.empty((16, start.shape[1]), u_re.dtype)
    stores, tape = np.zeros((0, 2), np.int64), np.zeros((0, rows), u_re.dtype)
    none = len(stores)
    for u in range(begin, end):
        own_waves(ops, groups, samples[u], parameters, cos, sin, angles)
        set_start(u, re, im, samples[u], start, start_rows, lane_start)
        run_unit(
            re, im, ops, blocks, cos, sin, u_re, u_im, events, first_event[u], first_event[u + 1],
            stores, none, none, tape, tape, m_re, m_im, scratch, narrow,
        )  # fmt: skip
        outputs(u, re, im, True, strings, lane_signs, coefficients, places, out, y, scratch)


@njit(**OPTIONS)
def backward_units(  # type: ignore[no-untyped-def]
    begin, end, rows, runs, ops, stop, blocks, undone, angled, made, parameters, measured, start,
    start_rows, stores, first_store, depth, longest, g, overlaps, shared_slopes, own_slopes,
    g_start,
):  # fmt: skip
    """Run units ``begin <= u < end`` again, and backwards.

    - ``stop``: how many operations at the beginning need not be un-applied.
    - ``undone``: as in `shared_matrices`.
    - ``angled = generator, trained, index``: of the factors; ``index`` (F,) is where the slope of a
      factor goes among those of the shared or of the samples' own factors.
    - ``stores, first_store``: as in `run_unit`, those of unit u from ``first_store[u]`` on; at most
      ``depth`` per unit.
    - ``longest``: the largest number of factors in a block.
    - ``g`` (batch, outputs): gradients of the samples' outputs.
    - ``overlaps`` (U, G, 2, 16) float64, zeros: filled where all runs share a block's matrix.
    - ``shared_slopes`` (U, S) float64, zeros: gradients of angles that all samples share, from
      blocks in which a lane has an error.
    - ``own_slopes`` (U, O, 16): those of the samples' own.
    - ``g_start`` (U, A, 16): filled with gradients of the initial amplitudes.
    """
    samples, weight, events, first_event = runs
    groups, pairs, table, plain, operators = blocks
    back_table, back_operators = undone
    generator, trained, index = angled
    u_re, u_im, i_re, i_im, d_re, d_im = made[2:]
    strings, lane_signs, coefficients, places = measured
    re, im = rows_like(rows, u_re), rows_like(rows, u_re)
    c_re, c_im = rows_like(rows, u_re), rows_like(rows, u_re)
    cos, sin = rows_like(len(made[0]), u_re), rows_like(len(made[0]), u_re)
    copy_rows(made[0], cos)
    copy_rows(made[1], sin)
    size = 16 * (longest + 1)
    m_re, m_im, scratch = rows_like(size, u_re), rows_like(size, u_re), rows_like(64, u_re)
    w_re, w_im = rows_like(16, u_re), rows_like(16, u_re)
    z_re, z_im = rows_like(16, u_re), rows_like(16, u_re)
    grad = rows_like(len(table), u_re)
    h, angles = rows_like(len(strings), u_re), rows_like(1, parameters[5])
    narrow = np.empty((2, 32), u_re.dtype)
    lane_start = np.empty((16, start.shape[1]), u_re.dtype)
    tape_re, tape_im = np.empty((depth, rows), u_re.dtype), np.empty((depth, rows), u_re.dtype)
    lane_g = np.empty((16, g.shape[1]), u_re.dtype)
    for u in range(begin, end):
        own_waves(ops, groups, samples[u], parameters, cos, sin, angles)
        set_start(u, re, im, samples[u], start, start_rows, lane_start)
        run_unit(
            re, im, ops, blocks, cos, sin, u_re, u_im, events, first_event[u], first_event[u + 1],
            stores, first_store[u], first_store[u + 1], tape_re, tape_im, m_re[:16], m_im[:16],
            scratch, narrow,
        )  # fmt: skip
        for lane in range(16):
            for k in range(g.shape[1]):
                lane_g[lane, k] = weight[u, lane] * g[samples[u, lane], k]
        output_costate(
            0, re, im, True, strings, lane_signs, coefficients, places, lane_g, h, c_re, c_im,
            scratch,
        )  # fmt: skip
        last, store = first_event[u + 1], first_store[u + 1]
        for k in range(len(ops) - 1, stop - 1, -1):
            op = operation(ops, k)
            if op[KIND] > TWO:
                apply_simple(re, im, op)
                apply_simple(c_re, c_im, op)
                continue
            b, event = op[ROW] // 16, last
            while event > first_event[u] and events[event - 1, 0] >= groups[b, 0]:
                event -= 1
            own = op[SOURCE] == OWN
            per_lane = own or event < last
            if per_lane:
                undo(
                    b, groups, pairs, back_table, plain, cos, sin, back_operators, events, event,
                    last, w_re, w_im, scratch,
                )  # fmt: skip
                apply_matrix(re, im, op, True, w_re, w_im, narrow)
            elif not groups[b, IDLE]:
                apply_matrix(re, im, op, False, i_re, i_im, narrow)
            while store > first_store[u] and stores[store - 1, 0] == b:
                store -= 1
                lane = stores[store, 1]
                for i in range(rows):
                    re[i, lane] = tape_re[store - first_store[u], i]
                    im[i, lane] = tape_im[store - first_store[u], i]
            if per_lane:
                product(
                    b, groups, pairs, table, plain, cos, sin, operators, events, event, last,
                    m_re, m_im, scratch,
                )  # fmt: skip
            if op[TRAINED] and per_lane:
                for e in range(16):
                    for lane in range(16):
                        z_re[e, lane] = 0
                        z_im[e, lane] = 0
                overlap(c_re, c_im, re, im, op, z_re, z_im, 0)
                slopes(
                    b, groups, pairs, table, plain, generator, trained, cos, sin, operators,
                    events, event, last, m_re, m_im, z_re, z_im, grad, scratch,
                )  # fmt: skip
                for f in range(groups[b, 0], groups[b, 1]):
                    for lane in range(16 if trained[f] else 0):
                        if own:
                            own_slopes[u, index[f], lane] = grad[f, lane]
                        else:
                            shared_slopes[u, index[f]] += grad[f, lane]
            elif op[TRAINED]:
                overlap_sums(c_re, c_im, re, im, op, narrow)
                count = groups[b, 2] * groups[b, 2]
                for e in range(count):
                    overlaps[u, b, 0, e] = narrow[0, e]
                    overlaps[u, b, 1, e] = narrow[0, count + e]
            if per_lane:
                at = 16 * (groups[b, 1] - groups[b, 0])
                adjoint(groups[b, 2], m_re, m_im, at, w_re, w_im)
                apply_matrix(c_re, c_im, op, True, w_re, w_im, narrow)
            elif not groups[b, IDLE]:
                apply_matrix(c_re, c_im, op, False, d_re, d_im, narrow)
            last = event
        for k in range(g_start.shape[1]):
            for lane in range(16):
                g_start[u, k, lane] = 2 * c_re[start_rows[k], lane]


@njit(**OPTIONS)
def gradients(  # type: ignore[no-untyped-def]
    runs, ops, blocks, angled, made, parameters, angle_coefficient, longest, overlaps,
    shared_slopes, own_slopes, g_inputs, g_weights,
):  # fmt: skip
    """Add the gradients of inputs and weights (float64), from what `backward_units` has left.

    ``angle_coefficient`` is that of the angles without their frequency.
    """
    samples, _, events, _ = runs
    groups, pairs, table, plain, operators = blocks
    generator, trained, index = angled
    cos, sin = made[0], made[1]
    _, _, first, column, _, _ = parameters
    n, size = g_inputs.shape[1], 16 * (longest + 1)
    m_re, m_im, scratch = rows_like(size, cos), rows_like(size, cos), rows_like(64, cos)
    z_re, z_im, grad = rows_like(16, cos), rows_like(16, cos), rows_like(len(table), cos)
    none = len(events)
    for k in range(len(ops)):
        if ops[k, KIND] > TWO or not ops[k, TRAINED]:
            continue
        g = ops[k, ROW] // 16
        own = ops[k, SOURCE] == OWN
        if not own:
            for e in range(16):
                re, im = 0.0, 0.0
                for u in range(len(overlaps)):
                    re += overlaps[u, g, 0, e]
                    im += overlaps[u, g, 1, e]
                for lane in range(16):
                    z_re[e, lane] = re if lane == 0 else 0.0
                    z_im[e, lane] = im if lane == 0 else 0.0
            product(
                g, groups, pairs, table, plain, cos, sin, operators, events, none, none, m_re, m_im,
                scratch,
            )  # fmt: skip
            slopes(
                g, groups, pairs, table, plain, generator, trained, cos, sin, operators, events,
                none, none, m_re, m_im, z_re, z_im, grad, scratch,
            )  # fmt: skip
        for f in range(groups[g, 0], groups[g, 1]):
            if not trained[f]:
                continue
            if not own:
                slope = np.float64(grad[f, 0])
                for u in range(len(shared_slopes)):
                    slope += shared_slopes[u, index[f]]
                for t in range(first[f], first[f + 1]):
                    g_weights[column[t] - n] += angle_coefficient[t] * slope
                continue
            for u in range(len(own_slopes)):
                for lane in range(16):
                    slope = np.float64(own_slopes[u, index[f], lane])
                    for t in range(first[f], first[f + 1]):
                        c = column[t]
                        if c < n:
                            g_inputs[samples[u, lane], c] += angle_coefficient[t] * slope
                        else:
                            g_weights[c - n] += angle_coefficient[t] * slope
