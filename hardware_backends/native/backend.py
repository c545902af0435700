"""The native engine: batched state vectors with adjoint gradients, compiled by Numba."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nisqkit.circuits.angles import AngleMap
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.memory import check_memory
from nisqkit.hardware_backends.native import kernels
from nisqkit.hardware_backends.native.operations import (
    FEWEST_QUBITS,
    LANE_QUBITS,
    ROUTES,
    Operations,
    on_amplitudes,
    on_samples,
)
from nisqkit.hardware_backends.native.schedule import Schedule, schedule
from nisqkit.hardware_backends.reference import final_state, measure
from nisqkit.hardware_backends.sampling import draw, estimate, in_basis, measurement_bases

LANES = 16
SMALL_WORK = 40_000
"""In rows times one-qubit matrices, forwards."""
Array = NDArray[Any]


class NativeBackend(Backend):
    """State vectors in compiled code on the CPU; gradients by adjoint differentiation.

    The memory of a step does not grow with the circuit's depth. Results are bit-identical for any
    number of threads. Second derivatives fall back on the reference engine.

    Args:
        threads: Number of threads; default all cores that this process may use.
        route: ``"samples"`` (lanes of 16 samples), ``"amplitudes"`` (lanes of 16 amplitudes, for
            few samples of many qubits), or ``None``: the cheaper one.

    Raises:
        ValueError: Less than one thread, an unknown route, a torch device other than the CPU, a
            dtype other than float32 and float64, or a state that does not fit in memory.
    """

    name = "native"
    gradient = "adjoint"

    def __init__(self, threads: int | None = None, route: str | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        if route not in (None, *ROUTES):
            raise ValueError(f"route must be one of {', '.join(ROUTES)} or None, got {route!r}")
        self.threads = threads
        self.route = route

    def check(self, task: Task) -> None:
        """Refuse other torch devices and dtypes, and circuits that do not fit in memory."""
        if task.inputs.device.type != "cpu":
            raise ValueError(
                f"the native engine runs on the CPU, but the inputs are on {task.inputs.device}; "
                "move the layer to the CPU or use backend='reference'"
            )
        if task.inputs.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"the native engine computes in float32 or float64, not in {task.inputs.dtype}; "
                "use layer.float() or layer.double()"
            )
        n, batch = task.program.num_qubits, task.batch
        if self._route(task.program, batch) == "samples":
            units, lanes = -(-batch // LANES), LANES
        else:
            units, lanes = batch, 1
        # every unit's state, and a copy and a co-state per worker; probabilities come on top
        states = units + 2 * min(units, self._workers())
        if task.shots is not None or task.observables.sums is None:
            states += 2 * units
        check_memory(n, 2 * task.inputs.element_size() * states * lanes * 2**n)

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """See `Backend.run`."""
        return [self._run(task) for task in tasks]

    def _run(self, task: Task) -> Result:
        self.check(task)
        if task.shots is None:
            return Result(self._values(task.program, task, task.observables))
        probs = Observables(task.program.num_qubits, None)
        with torch.no_grad():
            probabilities = [
                self._values(in_basis(task.program, basis), task, probs).double().numpy()
                for basis in measurement_bases(task.observables)
            ]
        return estimate(
            draw(probabilities, task.shots, task.seed), task.observables, task.inputs.dtype
        )

    def _values(self, program: Program, task: Task, observables: Observables) -> Tensor:
        plan = _plan(program, observables, self._route(program, task.batch))
        inputs, weights = task.inputs, task.weights
        if not plan.affine:
            weights, inputs = program.split_angles(inputs, weights)
        values: Tensor = _Adjoint.apply(inputs, weights, plan, self._workers())  # type: ignore[no-untyped-call]
        return values

    def _workers(self) -> int:
        if self.threads is None and hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return self.threads or os.cpu_count() or 1

    def _route(self, program: Program, batch: int) -> str:
        n = program.num_qubits
        if n < FEWEST_QUBITS:
            return "samples"
        if self.route is not None:
            return self.route
        return "amplitudes" if batch <= LANES // 2 or n > 13 else "samples"


@dataclass(frozen=True, eq=False)
class _Forms:
    """Affine forms of the parameters, one per factor (and lane), as `kernels.waves` reads them."""

    first: Array
    column: Array
    coefficient: Array
    constant: Array
    used: Array

    @classmethod
    def make(
        cls, slots: Sequence[int], frequency: Array, used: Array, angle_map: AngleMap
    ) -> _Forms:
        """Frequency times angle of each slot; slot -1 stands for no angle."""
        terms: list[list[tuple[int, float]]] = [[] for _ in range(angle_map.num_slots)]
        for slot, parameter, coefficient in angle_map.terms:
            terms[slot].append((parameter, coefficient))
        lengths = [len(terms[s]) if s >= 0 else 0 for s in slots]
        flat = [
            (p, c * f) for s, f in zip(slots, frequency, strict=True) if s >= 0 for p, c in terms[s]
        ]
        # a slope is per unit of the angle, not of the wave: it is pulled back without the frequency
        return cls(
            np.cumsum([0, *lengths]),
            np.array([p for p, _ in flat], dtype=np.int64),
            np.array([c for _, c in flat], dtype=np.float64),
            np.array(
                [
                    f * angle_map.constants[s] if s >= 0 else 0.0
                    for s, f in zip(slots, frequency, strict=True)
                ]
            ),
            used,
        )


@dataclass(frozen=True, eq=False)
class _Plan:
    """All that does not depend on the parameters' values.

    The kernels take the program's inputs and weights where its angle map is affine; where it is
    not, torch computes the angles, and the kernels take those of the batched and those of the
    shared slots in their place.
    """

    program: Program
    observables: Observables
    schedule: Schedule
    operations: Operations

    @cached_property
    def affine(self) -> bool:
        """Whether the kernels take inputs and weights themselves."""
        return self.program.angle_map.nonlinear is None and self.program.prepare is None

    @cached_property
    def _angle_map(self) -> AngleMap:
        angle_map = self.program.angle_map
        if self.affine:
            return angle_map
        order = (*angle_map.batched_slots, *angle_map.shared_slots)
        terms = tuple((slot, k, 1.0) for k, slot in enumerate(order))
        batched = tuple(map(str, angle_map.batched_slots))
        shared = tuple(map(str, angle_map.shared_slots))
        return AngleMap(batched, shared, (0.0,) * angle_map.num_slots, terms)

    @cached_property
    def shared_forms(self) -> tuple[_Forms, _Forms]:
        """Of each factor and lane of the shared matrices: as waves, and as angles for slopes."""
        groups = self.schedule.shared
        slots = groups.slots.ravel().tolist()
        frequency = np.repeat(groups.frequency, LANES)
        used = groups.slots.ravel() >= 0
        return (
            _Forms.make(slots, frequency, used, self._angle_map),
            _Forms.make(slots, np.ones_like(frequency), used, self._angle_map),
        )

    @cached_property
    def own_forms(self) -> tuple[_Forms, _Forms]:
        """The same for every factor of the samples' own matrices."""
        groups = self.schedule.own
        slots = groups.slots[:, 0].tolist()
        used = groups.slots[:, 0] >= 0
        return (
            _Forms.make(slots, groups.frequency, used, self._angle_map),
            _Forms.make(slots, np.ones_like(groups.frequency), used, self._angle_map),
        )

    @cached_property
    def _order(self) -> Array:
        """Strings as the kernels want them: those without flips first."""
        flips = [any(c in "XY" for c in s) for s in self.observables.strings]
        return np.argsort(flips, kind="stable")

    @property
    def _ordered(self) -> list[str]:
        return [self.observables.strings[k] for k in self._order]

    def _masks(self, string: str) -> tuple[int, int]:
        x = z = 0
        for q, letter in enumerate(reversed(string)):
            v, w = self.operations.masks[q]
            x ^= v if letter in "XY" else 0
            z ^= w if letter in "YZ" else 0
        return x, z

    @cached_property
    def strings(self) -> Array:
        """(S, 4): see `kernels.expectations`."""
        shift = 0 if self.operations.route == "samples" else LANE_QUBITS
        rows = []
        for string in self._ordered:
            x, z = self._masks(string)
            rows.append((x >> shift, z >> shift, x & ((1 << shift) - 1), string.count("Y") % 4))
        return np.array(rows, dtype=np.int64).reshape(-1, 4)

    @cached_property
    def lane_signs(self) -> Array:
        """(S, 16): the sign that the lane's own bits give."""
        if self.operations.route == "samples":
            return np.ones((len(self._order), LANES))
        masks = [self._masks(s)[1] for s in self._ordered]
        lanes = [
            [1 - 2 * ((mask & lane).bit_count() % 2) for lane in range(LANES)] for mask in masks
        ]
        return np.array(lanes, dtype=float).reshape(-1, LANES)

    @cached_property
    def coefficients(self) -> Array:
        """(num_outputs, S), columns in the order of the strings."""
        if self.observables.sums is None:
            return np.zeros((0, 0))
        return np.ascontiguousarray(self.observables.coefficients[:, self._order])

    @cached_property
    def places(self) -> Array:
        """For each basis state, its amplitude's index, if the outputs are probabilities."""
        states = np.arange(2**self.program.num_qubits if self.observables.sums is None else 0)
        index = np.zeros_like(states)
        for q, (v, _) in enumerate(self.operations.masks):
            index ^= np.where((states >> q) & 1, v, 0)
        return index

    @cached_property
    def prepared(self) -> tuple[Array, Array, bool]:
        """Basis states of the amplitude input, their columns among the angles; if batched."""
        prepare, angle_map = self.program.prepare, self.program.angle_map
        if prepare is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), False
        batched = prepare.slots[0] in angle_map.batched_slots
        where = angle_map.batched_slots if batched else angle_map.shared_slots
        columns = np.array([where.index(s) for s in prepare.slots])
        bits = range(len(prepare.qubits))
        states = [
            sum(((i >> k) & 1) << prepare.qubits[k] for k in bits) for i in range(len(columns))
        ]
        return np.array(states), columns, batched


@lru_cache(maxsize=256)
def _plan(program: Program, observables: Observables, route: str) -> _Plan:
    blocks = schedule(program)
    operations = on_samples(blocks) if route == "samples" else on_amplitudes(blocks)
    return _Plan(program, observables, blocks, operations)


@lru_cache(maxsize=8)
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """The threads of one process: a forked child does not inherit its parent's."""
    return ThreadPoolExecutor(workers, thread_name_prefix="nisqkit-native")


def _divide(function: Callable[[int, int], None], units: int, workers: int, work: float) -> None:
    """Run ``function(first, last)`` over all units, on several threads if that is worth it.

    How they are divided does not change any number. Waking a thread takes some 30 us, as long as
    `SMALL_WORK` on one.
    """
    parts = min(workers, units, 1 + int(work / SMALL_WORK))
    if parts <= 1:
        function(0, units)
        return
    bounds = [units * k // parts for k in range(parts + 1)]
    pool = _pool(workers, os.getpid())
    others = [pool.submit(function, bounds[k], bounds[k + 1]) for k in range(1, parts)]
    function(bounds[0], bounds[1])
    for other in others:
        other.result()


class _Adjoint(torch.autograd.Function):
    """(inputs, weights) -> outputs, as one autograd node."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, plan: _Plan, workers: int) -> Tensor:
        run = _Run(plan, inputs.detach().numpy(), weights.detach().numpy(), workers)
        ctx.save_for_backward(inputs, weights)
        ctx.run = run
        return torch.from_numpy(run.forward())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            inputs, weights = ctx.saved_tensors
            return (*_reference_gradient(ctx.run.plan, inputs, weights, grads[0]), None, None)
        g_inputs, g_weights = ctx.run.backward(grads[0].numpy())
        return torch.from_numpy(g_inputs), torch.from_numpy(g_weights), None, None


def _reference_gradient(
    plan: _Plan, inputs: Tensor, weights: Tensor, grad: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradient as a differentiable function, for second derivatives."""
    with torch.enable_grad():
        if plan.affine:
            angles = plan.program.angles(inputs, weights)
        else:
            angle_map = plan.program.angle_map
            order = torch.tensor(angle_map.batched_slots + angle_map.shared_slots).argsort()
            angles = torch.cat([inputs, weights.expand(len(inputs), -1)], dim=1)[:, order]
        values = measure(final_state(plan.program, angles), plan.observables)
        wanted = [t for t in (inputs, weights) if t.requires_grad]
        found = iter(
            torch.autograd.grad(values, wanted, grad, create_graph=True, allow_unused=True)
        )
    return tuple(next(found) if t.requires_grad else None for t in (inputs, weights))


class _Run:
    """One forward pass and what its backward pass needs: the final states."""

    def __init__(self, plan: _Plan, inputs: Array, weights: Array, workers: int) -> None:
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
        self.re, self.im = np.empty(shape, self.dtype), np.empty(shape, self.dtype)

    def forward(self) -> Array:
        plan, own = self.plan, self.plan.schedule.own
        s_re, s_im = self.u_re.astype(self.dtype), self.u_im.astype(self.dtype)
        s_quads = kernels.quads(plan.operations.table, s_re, s_im)
        y = np.empty((self.batch, plan.observables.num_outputs), self.dtype)
        states, columns, batched = plan.prepared
        if batched or not len(states):
            start = self.inputs[:, columns]
        else:
            start = np.tile(self.weights[columns], (self.batch, 1))

        def part(first: int, last: int) -> None:
            kernels.forward_units(
                first, last, self.re, self.im, start, states, plan.operations.table,
                s_re, s_im, s_quads, self.by_samples, own.groups, own.pairs, own.table,
                self.own_cos, self.own_sin, plan.strings, plan.lane_signs, plan.coefficients, plan.places, y,
            )  # fmt: skip

        _divide(part, self.units, self.workers, self.work)
        return y

    def backward(self, grad: Array) -> tuple[Array, Array]:
        plan, groups, own = self.plan, self.plan.schedule.shared, self.plan.schedule.own
        u_re, u_im = kernels.dagger(groups.groups, self.u_re, self.u_im)
        s_re, s_im = u_re.astype(self.dtype), u_im.astype(self.dtype)
        s_quads = kernels.quads(plan.operations.table, s_re, s_im)
        tiles = -(-self.batch // LANES)
        own_y = np.zeros((2, tiles, 16 * len(own.groups) + 1, LANES), self.dtype)
        slopes = np.empty_like(self.own_cos)
        sy = np.zeros((self.units, 2, len(self.u_re), LANES))
        states, columns, batched = plan.prepared
        g_start = np.empty((self.batch, len(states)), self.dtype)

        def part(first: int, last: int) -> None:
            kernels.backward_units(
                first, last, self.re, self.im, states, plan.operations.table, s_re, s_im, s_quads,
                self.by_samples, own.groups, own.pairs, own.table, own.generator, own.trained,
                self.own_cos, self.own_sin, plan.strings, plan.lane_signs, plan.coefficients,
                plan.places, grad, own_y[0], own_y[1], slopes, sy, g_start,
            )  # fmt: skip

        _divide(part, self.units, self.workers, 4 * self.work)
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


def _waves(forms: _Forms, inputs: Array, weights: Array, out: Array) -> None:
    kernels.waves(
        inputs, weights, forms.first, forms.column, forms.coefficient, forms.constant, out
    )


def _pull_back(forms: _Forms, slopes: Array, g_inputs: Array, g_weights: Array) -> None:
    kernels.pull_back(
        slopes, forms.used, forms.first, forms.column, forms.coefficient, g_inputs, g_weights
    )
