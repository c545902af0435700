"""Runs: one evaluation of a plan on a batch, and its backward pass."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from nisqkit.hardware_backends.native import kernels
from nisqkit.hardware_backends.native.plan import Array, Forms, Plan
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


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """An uninitialised array whose rows of 16 lie on whole cache lines; see `kernels.rows_like`."""
    size = prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, np.uint8)
    skip = -raw.__array_interface__["data"][0] % 64
    found: Array = raw[skip : skip + size].view(dtype).reshape(shape)
    return found


class Run:
    """One forward pass and what its backward pass needs: the final states."""

    def __init__(self, plan: Plan, inputs: Array, weights: Array, workers: int) -> None:
        assert (inputs.shape[1], len(weights)) == plan.widths, "the kernels do not check bounds"
        self.plan, self.workers = plan, workers
        self.inputs, self.weights, self.dtype = inputs, weights, inputs.dtype
        self.batch = len(inputs)
        self.by_samples = plan.operations.route == "samples"
        self.units = -(-self.batch // LANES) if self.by_samples else self.batch
        self.work = self.units * plan.operations.work
        groups, own = plan.schedule.shared, plan.schedule.own
        shared = np.empty((1, LANES * len(groups.frequency)))
        no_inputs = np.zeros((1, inputs.shape[1]), self.dtype)
        _waves(plan.shared_forms[0], no_inputs, weights, shared)
        shared = shared.reshape(-1, LANES)
        self.cos, self.sin = np.cos(shared), np.sin(shared)
        size = 16 * len(groups.groups) + 1
        self.u_re, self.u_im = np.zeros((size, LANES)), np.zeros((size, LANES))
        kernels.build(
            groups.groups, groups.pairs, groups.table, self.cos, self.sin, self.u_re, self.u_im
        )
        waves = np.empty((self.batch, len(own.frequency)), self.dtype)
        _waves(plan.own_forms[0], inputs, weights, waves)
        self.own_cos, self.own_sin = np.cos(waves), np.sin(waves)
        shape = (self.units, plan.operations.rows, LANES)
        self.re, self.im = aligned(shape, self.dtype), aligned(shape, self.dtype)

    def forward(self) -> Array:
        """Outputs, (batch, num_outputs); leaves the final states in ``re, im``."""
        plan = self.plan
        s_re, s_im = self.u_re.astype(self.dtype), self.u_im.astype(self.dtype)
        s_quads = kernels.quads(plan.operations.table, s_re, s_im)
        y = np.empty((self.batch, plan.observables.num_outputs), self.dtype)
        states, columns, batched = plan.prepared
        if batched or not len(states):
            start = self.inputs[:, columns]
        else:
            start = np.tile(self.weights[columns], (self.batch, 1))
        self._run_forward(start, states, (s_re, s_im, s_quads), y)
        return y

    def _run_forward(self, start: Array, states: Array, s: tuple[Array, ...], y: Array) -> None:
        """Fill ``y`` and the final states; ``s`` holds the shared matrices."""
        plan, own = self.plan, self.plan.schedule.own
        s_re, s_im, s_quads = s

        def part(first: int, last: int) -> None:
            kernels.forward_units(
                first, last, self.re, self.im, start, states, plan.operations.table,
                s_re, s_im, s_quads, self.by_samples, own.groups, own.pairs, own.table,
                self.own_cos, self.own_sin, plan.strings, plan.lane_signs, plan.coefficients,
                plan.places, y,
            )  # fmt: skip

        divide(part, self.units, self.workers, self.work)

    def backward(self, grad: Array) -> tuple[Array, Array]:
        """Gradients of inputs and weights, from those of the outputs."""
        plan, groups, own = self.plan, self.plan.schedule.shared, self.plan.schedule.own
        u_re, u_im = kernels.dagger(groups.groups, self.u_re, self.u_im)
        s_re, s_im = u_re.astype(self.dtype), u_im.astype(self.dtype)
        s_quads = kernels.quads(plan.operations.table, s_re, s_im)
        tiles = -(-self.batch // LANES)
        own_y = aligned((2, tiles, 16 * len(own.groups) + 1, LANES), self.dtype)
        own_y[:] = 0
        slopes = np.empty_like(self.own_cos)
        sy = np.zeros((self.units, 2, len(self.u_re), LANES))
        states, columns, batched = plan.prepared
        g_start = np.empty((self.batch, len(states)), self.dtype)

        s = (s_re, s_im, s_quads)
        self._run_backward(grad, states, s, own_y, slopes, sy, g_start)
        if not self.by_samples:
            kernels.own_slopes(
                own.groups, own.pairs, own.table, own.generator, own.trained,
                self.own_cos, self.own_sin, own_y[0], own_y[1], slopes,
            )  # fmt: skip
        y = sy[0] if self.units == 1 else sy.sum(axis=0)
        shared_slopes = np.zeros_like(self.cos)
        kernels.chain(
            groups.groups, groups.pairs, groups.table, groups.generator, groups.trained,
            self.cos, self.sin, y[0], y[1], shared_slopes,
        )  # fmt: skip
        g_inputs = np.zeros(self.inputs.shape, self.dtype)
        g_weights = np.zeros(len(self.weights))
        _pull_back(plan.shared_forms[1], shared_slopes.reshape(1, -1), g_inputs, g_weights)
        _pull_back(plan.own_forms[1], slopes, g_inputs, g_weights)
        if batched:
            g_inputs[:, columns] += g_start
        elif len(states):
            g_weights[columns] += g_start.sum(axis=0)
        return g_inputs, g_weights.astype(self.dtype)

    def _run_backward(
        self, grad: Array, states: Array, s: tuple[Array, ...], own_y: Array, slopes: Array,
        sy: Array, g_start: Array,
    ) -> None:  # fmt: skip
        """Fill what `kernels.backward_units` fills."""
        plan, own = self.plan, self.plan.schedule.own
        s_re, s_im, s_quads = s

        def part(first: int, last: int) -> None:
            kernels.backward_units(
                first, last, self.re, self.im, states, plan.operations.table, s_re, s_im, s_quads,
                self.by_samples, own.groups, own.pairs, own.table, own.generator, own.trained,
                self.own_cos, self.own_sin, plan.strings, plan.lane_signs, plan.coefficients,
                plan.places, grad, own_y[0], own_y[1], slopes, sy, g_start,
            )  # fmt: skip

        divide(part, self.units, self.workers, 4 * self.work)


def _waves(forms: Forms, inputs: Array, weights: Array, out: Array) -> None:
    kernels.waves(
        inputs, weights, forms.first, forms.column, forms.coefficient, forms.constant, out
    )


def _pull_back(forms: Forms, slopes: Array, g_inputs: Array, g_weights: Array) -> None:
    kernels.pull_back(
        slopes, forms.used, forms.first, forms.column, forms.coefficient, g_inputs, g_weights
    )
