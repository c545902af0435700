"""Noisy values of wide circuits: state vectors, each with its own errors.

Each run of a sample applies one branch of every channel (see ``trajectory_branches.py``), and the
mean over runs is unbiased, as is its gradient. Errors are rare, so most runs would see none and be
all the same. Hence the run without errors, whose probability p0 is known, is computed once, and the
others are drawn among those with an error::

    value = p0 v0 + (1 - p0) mean(v given an error)

with the variance ``(1 - p0)**2 var(v given an error) / runs``, at most ``1 - p0`` times that of as
many runs drawn among all: if 1% of the runs have an error, 20 of these do what 2000 would
(stratified sampling).

Training needs no such mean: each step may see one error pattern per sample, drawn among all
(`pattern_values`), which is one run per sample in place of 1 + runs. Over steps, values and
gradients have the same means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.hardware_backends.memory import check_memory
from nisqkit.hardware_backends.native.run import divide
from nisqkit.hardware_backends.native.trajectory_kernels import (
    backward_units,
    forward_units,
    gradients,
    shared_matrices,
)
from nisqkit.hardware_backends.native.trajectory_plan import (
    Array,
    Lanes,
    TrajectoryPlan,
    trajectory_plan,
)
from nisqkit.hardware_backends.native.vectors import LANES
from nisqkit.noise.noisy_program import NoisyProgram


@dataclass(frozen=True)
class Variances:
    """Variance of the mean over the same number of runs, with and without stratification.

    Attributes:
        no_error: p0, the probability that a run has no error.
        stratified: (batch, outputs): of `trajectory_values`.
        plain: (batch, outputs): of as many runs that are drawn among all.
    """

    no_error: float
    stratified: Tensor
    plain: Tensor


def trajectory_values(
    noisy: NoisyProgram,
    inputs: Tensor,
    weights: Tensor,
    observables: Observables,
    runs: int,
    seed: tuple[int, int, int],
    workers: int,
) -> tuple[Tensor, Tensor]:
    """Mean and standard error of every output; gradients of the mean to inputs and weights.

    Both are unbiased, and depend on nothing else than seed, sample and run: the same bits for any
    number of threads.

    Args:
        noisy: The noisy program; its readout is not looked at.
        inputs: Shape ``(batch, num_inputs)``.
        weights: Shape ``(num_weights,)``.
        observables: On all qubits of the program (`through_readout`), or probabilities.
        runs: Runs with an error of each sample, beside its one run without.
        seed: As in `sampling.generator`.
        workers: Number of threads.

    Returns:
        Two of shape ``(batch, num_outputs)``. The standard error is 0 without noise, and NaN for a
        single run, which cannot tell it.

    Raises:
        ValueError: Less than one run, a channel on more than two qubits, or not enough memory.
    """
    _check_runs(runs)
    plan = trajectory_plan(noisy, observables)
    inputs, weights = _angles(plan, inputs, weights)
    lanes = plan.lanes(len(inputs), runs, seed)
    check_memory(noisy.num_qubits, _bytes(plan, lanes, inputs.element_size(), workers))
    values, std = _Outputs.apply(inputs, weights, _Run(plan, lanes, inputs, weights, workers))  # type: ignore[no-untyped-call]
    return values, std


def pattern_values(
    noisy: NoisyProgram,
    inputs: Tensor,
    weights: Tensor,
    observables: Observables,
    seed: tuple[int, int, int],
    workers: int,
    shared: bool = False,
) -> Tensor:
    """Every output in one error pattern per sample, drawn among all; with their gradients.

    Both are unbiased. Of Pauli channels they are those of the circuit with the drawn Pauli gates
    inserted (Wang et al., QuantumNAT, DAC 2022, arXiv:2110.11331); of other channels, branches are
    not normalised, so that a value may lie outside the observable's range. They depend on nothing
    else than seed and sample: the same bits for any number of threads.

    Args:
        noisy: The noisy program; its readout is not looked at.
        inputs: Shape ``(batch, num_inputs)``.
        weights: Shape ``(num_weights,)``.
        observables: On all qubits of the program (`through_readout`), or probabilities.
        seed: As in `sampling.generator`.
        workers: Number of threads.
        shared: Whether all samples have the same pattern, as in that paper. The mean over a batch
            then varies more.

    Returns:
        Shape ``(batch, num_outputs)``.

    Raises:
        ValueError: A channel on more than two qubits, or not enough memory.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from nisqkit.circuits import lower
        >>> from nisqkit.noise import Channel, NoiseModel
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.id(0)
        >>> flips = NoiseModel("flips", {("id", (0,)): Channel.pauli({"X": 0.3})}, {"measure"})
        >>> noisy, z = flips.bind(lower(circuit)), Observables.parse("Z", 1)
        >>> found = pattern_values(noisy, torch.zeros(1000, 0), torch.zeros(0), z, (0, 0, 0), 1)
        >>> found.unique().tolist(), abs(found.mean().item() - 0.4) < 0.1
        ([-1.0, 1.0], True)
    """
    plan = trajectory_plan(noisy, observables)
    inputs, weights = _angles(plan, inputs, weights)
    lanes = plan.patterns(len(inputs), seed, shared)
    check_memory(noisy.num_qubits, _bytes(plan, lanes, inputs.element_size(), workers))
    run = _Patterns(plan, lanes, inputs, weights, workers)
    values: Tensor = _Outputs.apply(inputs, weights, run)[0]  # type: ignore[no-untyped-call]
    return values


def trajectory_bytes(
    noisy: NoisyProgram,
    observables: Observables,
    batch: int,
    runs: int,
    seed: tuple[int, int, int],
    workers: int,
    itemsize: int = 4,
) -> int:
    """Memory that `trajectory_values` and its backward pass take, in bytes.

    Each thread has one state and co-state of 16 runs, and for the backward pass those runs' states
    that it cannot un-apply; all runs together have their outputs and overlaps.
    """
    _check_runs(runs)
    plan = trajectory_plan(noisy, observables)
    return _bytes(plan, plan.lanes(batch, runs, seed), itemsize, workers)


def trajectory_variances(
    noisy: NoisyProgram,
    inputs: Tensor,
    weights: Tensor,
    observables: Observables,
    runs: int,
    seed: tuple[int, int, int],
    workers: int,
) -> Variances:
    """What stratification gains, on one circuit; arguments as in `trajectory_values`.

    ``plain`` is estimated from the same runs, for ``runs + 1`` of them.
    """
    _check_runs(runs, at_least=2)
    plan = trajectory_plan(noisy, observables)
    with torch.no_grad():
        inputs, weights = _angles(plan, inputs, weights)
        lanes = plan.lanes(len(inputs), runs, seed)
        clean, errors = _Run(plan, lanes, inputs, weights, workers).outputs()
    p0 = plan.no_error
    if not errors.shape[1]:
        nothing = torch.zeros(clean.shape, dtype=torch.float64)
        return Variances(p0, nothing, nothing)
    variance = errors.var(axis=1, ddof=1)
    apart = errors.mean(axis=1) - clean
    plain = (1 - p0) * variance + p0 * (1 - p0) * (apart**2 - variance / runs)
    return Variances(
        p0,
        torch.from_numpy((1 - p0) ** 2 * variance / runs),
        torch.from_numpy(plain / (runs + 1)),
    )


def _check_runs(runs: int, at_least: int = 1) -> None:
    if runs < at_least:
        raise ValueError(f"runs is {runs}: give at least {at_least}; a variance takes 2")


def _angles(plan: TrajectoryPlan, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """What the kernels take as inputs and weights."""
    if plan.plan.affine:
        return inputs, weights
    weights, inputs = plan.plan.program.split_angles(inputs, weights)
    return inputs, weights


def _bytes(plan: TrajectoryPlan, lanes: Lanes, itemsize: int, workers: int) -> int:
    units, rows = len(lanes.sample), plan.rows
    shared, own = plan.counts
    threads = min(workers, units)
    states = threads * rows * 2 * (2 * LANES + lanes.depth)
    outputs = LANES * units * (plan.plan.observables.num_outputs + len(plan.plan.prepared[0]))
    slopes = LANES * units * own
    sums = units * (shared + 2 * LANES * len(plan.plan.schedule.own.groups))
    if plan.plan.observables.sums is None:  # upstream gradients by lane, means in float64
        outputs += threads * LANES * rows + 4 * units * LANES * rows
    return itemsize * (states + outputs + slopes) + 8 * sums


class _Run:
    """One forward pass and its backward pass, which runs everything again: no state is kept."""

    def __init__(
        self,
        plan: TrajectoryPlan,
        lanes: Lanes,
        inputs: Tensor,
        weights: Tensor,
        workers: int,
    ) -> None:
        self.plan, self.lanes, self.workers = plan, lanes, workers
        self.inputs = np.ascontiguousarray(inputs.detach().numpy())
        self.weights = np.ascontiguousarray(weights.detach().numpy())
        assert (self.inputs.shape[1], len(self.weights)) == plan.plan.widths, "no bounds checks"
        self.units = len(lanes.sample)
        forms = plan.plan.own_forms[0]
        self.parameters = (self.inputs, self.weights, *forms.terms)
        self.made = shared_matrices(
            self._ops, plan.blocks, plan.undone, self.parameters, self.inputs[:0]
        )

    @property
    def _ops(self) -> Array:
        return self.plan.plan.operations.table

    @property
    def _lanes(self) -> tuple[Array, ...]:
        lanes = self.lanes
        return lanes.sample, lanes.weight, lanes.events, lanes.first_event

    @property
    def _measured(self) -> tuple[Array, ...]:
        plan = self.plan.plan
        return plan.strings, plan.lane_signs, plan.coefficients, plan.places

    @property
    def _start(self) -> tuple[Array, Array]:
        states, columns, batched = self.plan.plan.prepared
        if not len(states):
            return np.empty((len(self.inputs), 0), self.inputs.dtype), states
        rows = self.inputs if batched else np.tile(self.weights, (len(self.inputs), 1))
        return np.ascontiguousarray(rows[:, columns]), states

    def by_lane(self) -> Array:
        """Outputs of all lanes, without `TrajectoryPlan.constants`: (16 U, outputs)."""
        plan = self.plan
        y = np.empty((self.units * LANES, len(plan.constants)), self.inputs.dtype)
        arguments = (
            plan.rows, self._lanes, self._ops, plan.blocks, self.made, self.parameters,
            self._measured, *self._start, y,
        )  # fmt: skip
        divide(lambda a, b: forward_units(a, b, *arguments), self.units, self.workers)
        return y

    def outputs(self) -> tuple[Array, Array]:
        """Outputs without errors (batch, outputs), and of the runs (batch, runs, outputs).

        In float64, without `TrajectoryPlan.constants`. There are no runs if there is no noise.
        """
        y, batch = self.by_lane(), len(self.inputs)
        errors = y[self.lanes.position].astype(np.float64)
        shape = batch, len(errors) // max(1, batch), y.shape[1]
        return y[:batch].astype(np.float64), errors.reshape(shape)

    def forward(self) -> tuple[Array, ...]:
        """Means and standard errors, (batch, outputs)."""
        clean, errors = self.outputs()
        share, runs = 1 - self.plan.no_error, errors.shape[1]
        values, std = clean.copy(), np.zeros_like(clean)
        if runs:
            apart = errors - clean[:, None]
            mean = apart.sum(axis=1) / runs
            values += share * mean
            spread = ((apart - mean[:, None]) ** 2).sum(axis=1)
            with np.errstate(invalid="ignore"):  # of a single run: NaN
                std = share * np.sqrt(spread / np.float64(runs * (runs - 1)))
        dtype = self.inputs.dtype
        return (values + self.plan.constants).astype(dtype), std.astype(dtype)

    def backward(self, grad: Array, inputs_wanted: bool) -> tuple[Array, Array]:
        """Gradients of inputs and weights, from those of the means."""
        plan, lanes, units, dtype = self.plan, self.lanes, self.units, self.inputs.dtype
        shared, own = plan.counts
        start, states = self._start
        overlaps = np.zeros((units, len(plan.plan.schedule.own.groups), 2, LANES))
        shared_slopes, own_slopes = np.zeros((units, shared)), np.zeros((units, own, LANES), dtype)
        g_start = np.zeros((units, len(states), LANES), dtype)
        arguments = (
            plan.rows, self._lanes, self._ops, plan.stop(inputs_wanted), plan.blocks, plan.undone,
            plan.angled, self.made, self.parameters, self._measured, start, states, lanes.stores,
            lanes.first_store, lanes.depth, plan.longest, np.ascontiguousarray(grad), overlaps,
            shared_slopes, own_slopes, g_start,
        )  # fmt: skip
        divide(lambda a, b: backward_units(a, b, *arguments), units, self.workers)
        g_inputs, g_weights = np.zeros(self.inputs.shape), np.zeros(len(self.weights))
        gradients(
            self._lanes, self._ops, plan.blocks, plan.angled, self.made, self.parameters,
            plan.plan.own_forms[1].coefficient, plan.longest, overlaps, shared_slopes, own_slopes,
            g_inputs, g_weights,
        )  # fmt: skip
        if len(states):
            self._add_start(g_start, g_inputs, g_weights)
        return g_inputs.astype(dtype), g_weights.astype(dtype)

    def _add_start(self, g_start: Array, g_inputs: Array, g_weights: Array) -> None:
        """Add the gradients of the initial amplitudes."""
        _, columns, batched = self.plan.plan.prepared
        by_lane = g_start.transpose(0, 2, 1).reshape(-1, len(columns)).astype(np.float64)
        if batched:
            np.add.at(g_inputs, (self.lanes.sample.ravel()[:, None], columns[None]), by_lane)
        else:
            g_weights[columns] += by_lane.sum(axis=0)


class _Patterns(_Run):
    """The same of one run per sample, which is its value."""

    def forward(self) -> tuple[Array, ...]:
        """Values, (batch, outputs)."""
        values = self.by_lane()[self.lanes.position] + self.plan.constants
        return (values.astype(self.inputs.dtype),)


class _Outputs(torch.autograd.Function):
    """(inputs, weights) -> what a run's forward pass returns, as one autograd node.

    The first has gradients, the others (standard errors) have none.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, run: _Run) -> tuple[Tensor, ...]:
        ctx.run = run
        values, *rest = map(torch.from_numpy, run.forward())
        ctx.mark_non_differentiable(*rest)
        return values, *rest

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "trajectories have first derivatives only, but create_graph=True asks for second "
                "ones: leave it out, or use the density matrix on fewer qubits"
            )
        g_inputs, g_weights = ctx.run.backward(grads[0].numpy(), ctx.needs_input_grad[0])
        return torch.from_numpy(g_inputs), torch.from_numpy(g_weights), None
