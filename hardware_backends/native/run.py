"""Runs: one evaluation of a plan on a batch, and its backward pass."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from nisqkit.hardware_backends.native import steps
from nisqkit.hardware_backends.native.plan import Array, Plan
from nisqkit.hardware_backends.native.vectors import LANES

SMALL_WORK = 40_000
"""In rows times one-qubit matrices, forwards."""


@lru_cache(maxsize=8)
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """The threads of one process: a forked child does not inherit its parent's."""
    return ThreadPoolExecutor(workers, thread_name_prefix="nisqkit-native")


def threads_for(units: int, workers: int, work: float | None = None) -> int:
    """How many threads are worth it."""
    parts = min(workers, units)
    return parts if work is None else min(parts, 1 + int(work / SMALL_WORK))


def divide(
    function: Callable[[int, int], None], units: int, workers: int, work: float | None = None
) -> None:
    """Run ``function(first, last)`` over all units, on several threads if that is worth it.

    How they are divided does not change any number. Below `SMALL_WORK`, waking a thread costs more
    than it saves.
    """
    parts = threads_for(units, workers, work)
    if parts <= 1:
        function(0, units)
        return
    bounds = [units * k // parts for k in range(parts + 1)]
    pool = _pool(workers, os.getpid())
    others = [pool.submit(function, bounds[k], bounds[k + 1]) for k in range(1, parts)]
    function(bounds[0], bounds[1])
    for other in others:
        other.result()


class Run:
    """One forward pass and what its backward pass needs: the final states."""

    def __init__(self, plan: Plan, inputs: Array, weights: Array, workers: int) -> None:
        assert (inputs.shape[1], len(weights)) == plan.widths, "the kernels do not check bounds"
        self.plan, self.workers = plan, workers
        self.inputs, self.weights = np.ascontiguousarray(inputs), np.ascontiguousarray(weights)
        self.batch, self.dtype = len(inputs), inputs.dtype
        self.sizes = plan.sizes(self.batch)
        self.kept = np.empty(self.sizes.kept, self.dtype)
        operations = plan.operations
        self.units = self.batch if operations.route == "amplitudes" else -(-self.batch // LANES)
        self.work = self.units * operations.work + operations.unitary_work

    @property
    def states(self) -> Array:
        """The final states: real and imaginary parts, (2, units, rows, 16)."""
        both = [self.sizes.view(self.kept, k) for k in (steps.STATE_RE, steps.STATE_IM)]
        return np.stack([x.reshape(self.units, -1, LANES) for x in both])

    def forward(self) -> Array:
        """Outputs, (batch, num_outputs)."""
        plan = self.plan
        y = np.empty((self.batch, plan.observables.num_outputs), self.dtype)
        states, columns, batched = plan.prepared
        if not len(states):
            start: Array = np.empty((self.batch, 0), self.dtype)
        elif batched:
            start = np.ascontiguousarray(self.inputs[:, columns])
        else:
            start = np.tile(self.weights[columns], (self.batch, 1))
        self._run_forward(start, y)
        return y

    def _run_forward(self, start: Array, y: Array) -> None:
        """Fill ``y`` and what is kept."""
        operations = self.plan.operations
        arrays = (
            *self.plan.static, self.sizes.where, self.inputs, self.weights, start, self.kept, y
        )  # fmt: skip
        if threads_for(self.units, self.workers, self.work) <= 1:
            steps.forward(steps.ALL, 0, 0, *arrays)
            return

        def divided(phase: int, units: int, work: float) -> None:
            divide(lambda a, b: steps.forward(phase, a, b, *arrays), units, self.workers, work)

        steps.forward(steps.MATRICES, 0, 0, *arrays)
        if operations.route == "unitary":
            divided(steps.UNITARY, operations.columns, operations.unitary_work)
        divided(steps.SAMPLES, self.units, self.work)

    def backward(self, grad: Array, inputs_wanted: bool = True) -> tuple[Array, Array]:
        """Gradients of inputs and weights, from those of the outputs.

        Without ``inputs_wanted``, those of the inputs may be left out.
        """
        plan, sizes = self.plan, self.sizes
        states, columns, batched = plan.prepared
        used, sums = np.zeros(sizes.used, self.dtype), np.zeros(sizes.sums)
        g_inputs = np.zeros(self.inputs.shape, self.dtype)
        g_weights = np.zeros(self.weights.shape, self.dtype)
        first = plan.operations.first_trained
        stop = 0 if len(states) else first[inputs_wanted or plan.own_weighted]
        self._run_backward(np.ascontiguousarray(grad), stop, used, sums, g_inputs, g_weights)
        if len(states):
            g_start = sizes.view(used, steps.G_START)
            if batched:
                g_inputs[:, columns] += g_start
            else:
                g_weights[columns] += g_start.sum(axis=0)
        return g_inputs, g_weights

    def _run_backward(
        self, grad: Array, stop: int, used: Array, sums: Array, g_inputs: Array, g_weights: Array
    ) -> None:
        """Fill all that follows ``stop``."""
        operations = self.plan.operations
        arrays = (
            *self.plan.static, self.sizes.where, self.inputs, self.weights, self.kept, used, sums,
            grad, stop, g_inputs, g_weights,
        )  # fmt: skip
        by_samples = operations.route != "amplitudes"
        if by_samples and threads_for(self.units, self.workers, 4 * self.work) <= 1:
            steps.backward(steps.ALL, 0, 0, *arrays)
            return

        def divided(phase: int, units: int, work: float) -> None:
            divide(lambda a, b: steps.backward(phase, a, b, *arrays), units, self.workers, work)

        steps.backward(steps.MATRICES, 0, 0, *arrays)
        divided(steps.SAMPLES, self.units, 4 * self.work)
        if operations.route == "unitary":
            divided(steps.UNITARY, operations.columns, 4 * operations.unitary_work)
        if not by_samples:
            self._amplitude_slopes(used)
        steps.backward(steps.PARAMETERS, 0, 0, *arrays)

    def _amplitude_slopes(self, used: Array) -> None:
        static, where = self.plan.static, self.sizes.where
        steps.amplitude_slopes(*static, where, self.inputs, self.weights, used)
