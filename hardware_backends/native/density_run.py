"""Runs of noisy programs: a plan evaluated on a batch, its backward pass, and their memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from nisqkit.hardware_backends.native.density_matrices import parameter_gradients, shared_matrices
from nisqkit.hardware_backends.native.density_plan import Array, DensityPlan
from nisqkit.hardware_backends.native.density_rows import TRAINED, backward_tiles, forward_tiles
from nisqkit.hardware_backends.native.run import divide
from nisqkit.hardware_backends.native.vectors import LANES

KEPT_BYTES = 2**28
"""How much the backward pass may keep on all threads together, if that is enough for two Pauli
vectors per segment and as many segments."""

TILES_AT_ONCE = 64
"""Between two sums of the derivatives by shared matrices."""


def segments(trained: Array, state_bytes: int, workers: int, limit: int) -> Array:
    """Where the backward pass begins segments of the operations, and the end.

    As few segments as fit in ``limit`` bytes on all workers together, or what takes the least
    memory: with K Pauli vectors to keep, about ``2 sqrt(K)`` of them.

    Args:
        trained: For each operation, whether the Pauli vector before it is kept.
        state_bytes: Bytes of a Pauli vector of 16 samples.
        workers: Number of threads.
        limit: In bytes.
    """
    kept = np.flatnonzero(trained)
    total, room = len(kept), limit // (workers * state_bytes)
    counts = range(1, total + 1)
    fitting = (s for s in counts if -(-total // s) + s - 1 <= room)
    best = next(fitting, None)
    if best is None:
        best = min(counts, key=lambda s: -(-total // s) + s, default=1)
    size = max(1, -(-total // best))
    return np.array([0, *kept[size::size], len(trained)], dtype=np.int64)


def most_kept(trained: Array, cuts: Array) -> int:
    """The largest number of Pauli vectors that a segment keeps; 1 for the forward pass."""
    return max(1, *(int(trained[a:b].sum()) for a, b in pairwise(cuts)))


def run_bytes(plan: DensityPlan, batch: int, itemsize: int, workers: int, limit: int) -> int:
    """Bytes that a run and its backward pass take at most."""
    state = LANES * itemsize * 4**plan.noisy.num_qubits
    tiles = -(-batch // LANES)
    workers = max(1, min(workers, tiles))
    trained = plan.operations[0][:, TRAINED]
    cuts = segments(trained, state, workers, limit)
    # what is kept, marks, the co-state; and some rows for matrices
    per_worker = state * (most_kept(trained, cuts) + len(cuts) - 2 + 1)
    per_worker += LANES * itemsize * (sum(plan.own.memory) + 2 * plan.num_rows[1])
    outputs = batch * plan.observables.num_outputs
    sums = min(tiles, TILES_AT_ONCE) * plan.num_places * 8
    start = batch * 4**plan.noisy.num_qubits if plan.noisy.program.prepare is not None else 0
    shared = LANES * (plan.num_rows[0] + sum(plan.shared.memory))
    return int(workers * per_worker + sums + itemsize * (shared + 3 * outputs + 2 * start))


class DensityRun:
    """One forward pass, and what its backward pass needs: the shared matrices."""

    def __init__(
        self,
        plan: DensityPlan,
        inputs: Array,
        weights: Array,
        start: Array,
        workers: int,
        limit: int = KEPT_BYTES,
    ) -> None:
        assert (inputs.shape[1], len(weights)) == plan.widths, "the kernels do not check bounds"
        self.plan, self.workers, self.limit = plan, workers, limit
        self.inputs, self.weights = np.ascontiguousarray(inputs), np.ascontiguousarray(weights)
        self.start = np.ascontiguousarray(start)
        self.batch, self.dtype = len(inputs), inputs.dtype
        self.tiles = -(-self.batch // LANES)
        shared, own, moves = plan.static(self.dtype)
        self.shared = np.empty((plan.num_rows[0], LANES), self.dtype)
        matrices = plan.shared
        shared_matrices(
            inputs.shape[1], self.weights, matrices.forms.terms, matrices.tables, shared,
            _layout(matrices.memory), plan.shared_places[0], self.shared,
        )  # fmt: skip
        self.arguments = (
            self.inputs, self.weights, (plan.own.forms.terms, plan.own.tables, own)
        )  # fmt: skip
        self.state_rows = 4**plan.noisy.num_qubits
        self.memory = [*plan.own.memory, plan.num_rows[1], len(plan.measured[0]) + 1]
        self.circuit = self.shared, moves, plan.starts, self.start
        self.work = float(len(plan.schedule.blocks) * self.tiles * self.state_rows)

    def forward(self) -> Array:
        """Outputs, (batch, num_outputs)."""
        plan = self.plan
        y = np.empty((self.batch, plan.observables.num_outputs), self.dtype)
        layout = _layout([*self.memory, self.state_rows])
        circuit = plan.operations[0], *self.circuit
        arguments = *self.arguments, layout, circuit, plan.measured, y
        divide(
            lambda a, b: forward_tiles(a, b, *arguments), self.tiles, self.workers, self.work
        )  # fmt: skip
        return y

    def backward(self, grad: Array, inputs_wanted: bool = True) -> tuple[Array, Array, Array]:
        """Gradients of inputs, weights and start, from those of the outputs.

        Without ``inputs_wanted``, those of the inputs may be left out.
        """
        plan = self.plan
        operations = plan.operations[0 if inputs_wanted else 1]
        trained = operations[:, TRAINED]
        workers = max(1, min(self.workers, self.tiles))
        state_bytes = self.dtype.itemsize * LANES * self.state_rows
        cuts = segments(trained, state_bytes, workers, self.limit)
        first = int(trained.argmax()) if trained.any() else len(trained)
        if self.start.size:
            first = 0
        kept = most_kept(trained, cuts) * self.state_rows
        marks = (len(cuts) - 2) * self.state_rows
        layout = _layout([*self.memory, kept, plan.num_rows[1], self.state_rows, marks])
        circuit = operations, *self.circuit
        arguments = (
            *self.arguments, layout, circuit, plan.measured, cuts, first, np.ascontiguousarray(grad)
        )  # fmt: skip
        slopes = np.zeros((self.batch, len(plan.own.tables[1])), self.dtype)
        g_inputs, g_start = np.zeros_like(self.inputs), np.zeros_like(self.start)
        total = np.zeros(plan.num_places)
        for begin in range(0, self.tiles, TILES_AT_ONCE):
            tiles = min(TILES_AT_ONCE, self.tiles - begin)
            sums = np.zeros((tiles, plan.num_places))

            def run(a: int, b: int, at: int = begin, into: Array = sums) -> None:
                backward_tiles(at + a, at + b, *arguments, into[a:b], slopes, g_start)

            divide(run, tiles, self.workers, 4 * self.work)
            for tile in sums:  # one after the other: the order must not depend on anything
                total += tile
        sum_weights = np.zeros(len(self.weights))
        shared, own = plan.shared.forms, plan.own.forms
        parameter_gradients(
            self.weights, shared.terms, shared.used, plan.shared.tables, plan.static(self.dtype)[0],
            _layout(plan.shared.memory), plan.shared_places[1], total,
            own.terms, own.used, slopes, g_inputs, sum_weights,
        )  # fmt: skip
        if plan.strengths is not None:
            for place, weight, by_scale in plan.move_slopes:
                sum_weights[weight] += total[place : place + len(by_scale)] @ by_scale
        return g_inputs, sum_weights.astype(self.dtype), g_start


def _layout(sizes: Sequence[int]) -> Array:
    """Where parts with these numbers of rows begin, and the end."""
    return np.cumsum([0, *sizes])
