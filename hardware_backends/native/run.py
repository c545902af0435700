"""Runs: one evaluation of a plan on a batch, and its backward pass."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from nisqkit.hardware_backends.native import matrices, units
from nisqkit.hardware_backends.native.plan import Array, Plan
from nisqkit.hardware_backends.native.vectors import LANES

SMALL_WORK = 40_000
"""In rows times one-qubit matrices, forwards."""


@lru_cache(maxsize=8)
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """The threads of one process: a forked child does not inherit its parent's."""
    return ThreadPoolExecutor(workers, thread_name_prefix="nisqkit-native")


def divide(
    function: Callable[[int, int], None], units: int, workers: int, work: float | None = None
) -> None:
    """Run ``function(first, last)`` over all units, on several threads if that is worth it.

    How they are divided does not change any number. Below `SMALL_WORK`, waking a thread costs more
    than it saves.
    """
    parts = min(workers, units)
    if work is not None:
        parts = min(parts, 1 + int(work / SMALL_WORK))
    if parts <= 1:
        function(0, units)
        return
    bounds = [units * k // parts for k in range(parts + 1)]
    pool = _pool(workers, os.getpid())
    others = [pool.submit(function, bounds[k], bounds[k + 1]) for k in range(1, parts)]
    function(bounds[0], bounds[1])
    for other in others:
        other.result()


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array whose rows of 16 lie on whole cache lines; see `compiling.rows_like`."""
    size = prod(shape)
    raw = np.empty(size + 64 // dtype.itemsize, dtype)
    skip = -raw.ctypes.data % 64 // dtype.itemsize
    found: Array = raw[skip : skip + size].reshape(shape)
    return found


class Run:
    """One forward pass and what its backward pass needs: the final states."""

    def __init__(self, plan: Plan, inputs: Array, weights: Array, workers: int) -> None:
        assert (inputs.shape[1], len(weights)) == plan.widths, "the kernels do not check bounds"
        self.plan, self.workers = plan, workers
        self.inputs, self.weights = np.ascontiguousarray(inputs), np.ascontiguousarray(weights)
        self.batch, self.dtype = len(inputs), inputs.dtype
        operations = plan.operations
        self.by_samples = operations.route != "amplitudes"
        self.units = -(-self.batch // LANES) if self.by_samples else self.batch
        shape = (2, self.units, operations.rows, LANES)
        self.states = aligned(shape, self.dtype)
        # on the unitary route: the states before it, and its columns as units and as a matrix
        if operations.route == "unitary":
            self.before = aligned(shape, self.dtype)
            self.columns = aligned((2, *operations.columns, LANES), self.dtype)
            self.dense = np.empty((2, operations.rows, operations.rows), self.dtype)
        else:
            self.before = self.columns = np.empty((2, 0, 0, LANES), self.dtype)
            self.dense = np.empty((2, 0, 0), self.dtype)

    def forward(self) -> Array:
        """Outputs, (batch, num_outputs); leaves the final states in ``states``."""
        plan, groups = self.plan, self.plan.schedule.shared
        self.cos, self.sin, *self.u, s_re, s_im, s_quads = matrices.shared_matrices(
            self.inputs.shape[1], self.weights, *plan.shared_forms[0].terms,
            groups.groups, groups.pairs, groups.table, plan.operations.table, self.states,
        )  # fmt: skip
        y = np.empty((self.batch, plan.observables.num_outputs), self.dtype)
        states, columns, batched = plan.prepared
        if not len(states):
            start = np.empty((self.batch, 0), self.dtype)
        elif batched:
            start = self.inputs[:, columns]
        else:
            start = np.tile(self.weights[columns], (self.batch, 1))
        self._run_forward(start, states, (s_re, s_im, s_quads), y)
        return y

    def _run_forward(self, start: Array, states: Array, s: tuple[Array, ...], y: Array) -> None:
        """Fill ``y`` and the states; ``s`` holds the shared matrices."""
        plan, operations, own = self.plan, self.plan.operations, self.plan.schedule.own
        s_re, s_im, s_quads = s
        (re, im), (x_re, x_im), (w_re, w_im) = self.states, self.before, self.dense
        v_re, v_im = self.columns

        def columns(begin: int, end: int) -> None:
            units.unitary_forward(
                begin, end, v_re, v_im, operations.tail, s_re, s_im, s_quads[operations.split :],
                w_re, w_im,
            )  # fmt: skip

        def part(begin: int, end: int) -> None:
            units.forward_units(
                begin, end, re, im, x_re, x_im, w_re, w_im, start, states, operations.head,
                s_re, s_im, s_quads, self.by_samples, self.inputs, self.weights,
                *plan.own_forms[0].terms, own.groups, own.pairs, own.table,
                plan.strings, plan.lane_signs, plan.coefficients, plan.places, y,
            )  # fmt: skip

        divide(columns, len(v_re), self.workers, len(v_re) * operations.tail_work)
        divide(part, self.units, self.workers, self.units * operations.work)

    def backward(self, grad: Array, inputs_wanted: bool = True) -> tuple[Array, Array]:
        """Gradients of inputs and weights, from those of the outputs.

        Without ``inputs_wanted``, those of the inputs may be left out.
        """
        plan, operations = self.plan, self.plan.operations
        groups, own = self.plan.schedule.shared, self.plan.schedule.own
        s = matrices.shared_daggers(groups.groups, *self.u, operations.table, self.states)
        tiles = 0 if self.by_samples else -(-self.batch // LANES)
        own_y = np.zeros((2, tiles, 16 * len(own.groups) + 1, LANES), self.dtype)
        slopes = np.zeros((self.batch, len(own.table)), self.dtype)
        parts = (self.units if operations.head_shared else 1) + len(self.columns[0])
        sy = np.zeros((parts, 2, 16 * len(groups.groups) + 1, LANES))
        states, columns, batched = plan.prepared
        g_start = np.empty((self.batch, len(states)), self.dtype)
        stop = 0 if len(states) else operations.first_trained(inputs_wanted or plan.own_weighted)
        self._run_backward(np.ascontiguousarray(grad), states, s, own_y, slopes, sy, g_start, stop)
        if not self.by_samples:
            matrices.own_slopes(
                self.inputs, self.weights, *plan.own_forms[0].terms,
                own.groups, own.pairs, own.table, own.generator, own.trained, *own_y, slopes,
            )  # fmt: skip
        g_inputs, g_weights = matrices.parameter_gradients(
            sy, groups.groups, groups.pairs, groups.table, groups.generator, groups.trained,
            self.cos, self.sin, *plan.shared_forms[1].slopes, slopes, *plan.own_forms[1].slopes,
            *plan.widths,
        )  # fmt: skip
        if batched:
            g_inputs[:, columns] += g_start
        elif len(states):
            g_weights[columns] += g_start.sum(axis=0)
        return g_inputs, g_weights

    def _run_backward(
        self, grad: Array, states: Array, s: tuple[Array, ...], own_y: Array, slopes: Array,
        sy: Array, g_start: Array, stop: int,
    ) -> None:  # fmt: skip
        """Fill what `units.backward_units` fills."""
        plan, operations, own = self.plan, self.plan.operations, self.plan.schedule.own
        s_re, s_im, s_quads = s
        (re, im), (x_re, x_im), (w_re, w_im) = self.states, self.before, self.dense
        v_re, v_im = self.columns
        m = np.empty((self.units, 2, *v_re.shape), self.dtype)

        def part(begin: int, end: int) -> None:
            units.backward_units(
                begin, end, re, im, x_re, x_im, w_re, w_im, states, operations.head, stop,
                s_re, s_im, s_quads, self.by_samples, self.inputs, self.weights,
                *plan.own_forms[0].terms, own.groups, own.pairs, own.table, own.generator,
                own.trained, plan.strings, plan.lane_signs, plan.coefficients, plan.places, grad,
                own_y[0], own_y[1], slopes, sy, m, g_start,
            )  # fmt: skip

        def columns(begin: int, end: int) -> None:
            units.unitary_backward(
                begin, end, v_re, v_im, m, operations.tail, s_re, s_im,
                s_quads[operations.split :], sy[len(sy) - len(v_re) :],
            )  # fmt: skip

        divide(part, self.units, self.workers, 4 * self.units * operations.work)
        divide(columns, len(v_re), self.workers, 4 * len(v_re) * operations.tail_work)
