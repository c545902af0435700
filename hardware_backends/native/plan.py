"""Plans: all of a program's evaluation that does not depend on the parameters' values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nisqkit.circuits.angles import AngleMap
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.native.cost import TYPICAL, Cost, Machine, cost
from nisqkit.hardware_backends.native.operations import (
    LANE_QUBITS,
    Operations,
    operations,
    routes,
)
from nisqkit.hardware_backends.native.packed import pack
from nisqkit.hardware_backends.native.schedule import Schedule, schedule
from nisqkit.hardware_backends.native.steps import Sizes
from nisqkit.hardware_backends.native.vectors import LANES

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Forms:
    """Affine forms of the parameters, one per factor (and lane); see `matrices.shared_angles`."""

    first: Array
    column: Array
    coefficient: Array
    constant: Array
    used: Array

    @property
    def terms(self) -> tuple[Array, Array, Array, Array]:
        """As `matrices.shared_angles` and `matrices.own_matrices` take them."""
        return self.first, self.column, self.coefficient, self.constant

    @classmethod
    def make(
        cls, slots: Sequence[int], frequency: Array, used: Array, angle_map: AngleMap
    ) -> Forms:
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
class Plan:
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
    def widths(self) -> tuple[int, int]:
        """Numbers of inputs and weights that the kernels take."""
        return len(self._angle_map.inputs), len(self._angle_map.weights)

    @cached_property
    def shared_forms(self) -> tuple[Forms, Forms]:
        """Of each factor and lane of the shared matrices: as waves, and as angles for slopes."""
        groups = self.schedule.shared
        slots = groups.slots.ravel().tolist()
        frequency = np.repeat(groups.frequency, LANES)
        used = groups.slots.ravel() >= 0
        return (
            Forms.make(slots, frequency, used, self._angle_map),
            Forms.make(slots, np.ones_like(frequency), used, self._angle_map),
        )

    @cached_property
    def own_weighted(self) -> bool:
        """Whether a sample's own matrix depends on a weight too."""
        return bool((self.own_forms[0].column >= self.widths[0]).any())

    @cached_property
    def own_forms(self) -> tuple[Forms, Forms]:
        """The same for every factor of the samples' own matrices."""
        groups = self.schedule.own
        slots = groups.slots[:, 0].tolist()
        used = groups.slots[:, 0] >= 0
        return (
            Forms.make(slots, groups.frequency, used, self._angle_map),
            Forms.make(slots, np.ones_like(groups.frequency), used, self._angle_map),
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
        """(S, 4): see `strings.expectations`."""
        shift = 0 if self.operations.route != "amplitudes" else LANE_QUBITS
        rows = []
        for string in self._ordered:
            x, z = self._masks(string)
            rows.append((x >> shift, z >> shift, x & ((1 << shift) - 1), string.count("Y") % 4))
        return np.array(rows, dtype=np.int64).reshape(-1, 4)

    @cached_property
    def lane_signs(self) -> Array:
        """(S, 16): the sign that the lane's own bits give."""
        if self.operations.route != "amplitudes":
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

    @cached_property
    def static(self) -> tuple[Array, Array, Array]:
        """``where, ints, floats`` of `steps`."""
        operations = self.operations
        arrays: list[Array] = []
        for groups, (waves, angles) in (
            (self.schedule.shared, self.shared_forms),
            (self.schedule.own, self.own_forms),
        ):
            arrays += [
                groups.groups, groups.pairs, groups.table, groups.generator, groups.trained,
                waves.first, waves.column, waves.coefficient, waves.constant, angles.coefficient,
                waves.used,
            ]  # fmt: skip
        arrays += [
            operations.head, operations.tail, self.strings, self.lane_signs, self.coefficients,
            self.places, self.prepared[0],
            np.array([operations.route != "amplitudes", operations.rows]),
        ]  # fmt: skip
        return pack(arrays)

    def sizes(self, batch: int) -> Sizes:
        """Where the arrays of a run with a batch are."""
        if batch not in self._sizes:
            self._sizes[batch] = self._make_sizes(batch)
        return self._sizes[batch]

    @cached_property
    def _sizes(self) -> dict[int, Sizes]:
        return {}

    def _make_sizes(self, batch: int) -> Sizes:
        operations, own = self.operations, self.schedule.own
        rows, tiles = operations.rows, -(-batch // LANES)
        units = batch if operations.route == "amplitudes" else tiles
        unitary = operations.route == "unitary"
        columns = operations.columns if unitary else 0
        shared = (16 * len(self.schedule.shared.groups) + 1, LANES)
        factors = (len(self.schedule.shared.table), LANES)
        quads = (len(operations.table), 32)
        own_rows = 0 if operations.route != "amplitudes" else tiles * (16 * len(own.groups) + 1)
        parts = max(1, units if operations.head_shared else 1) + columns
        before, dense = unitary * units * rows, unitary * rows
        return Sizes.make(
            [
                shared, shared, quads, *2 * [(units * rows, LANES)], *2 * [(before, LANES)],
                *2 * [(columns * rows, LANES)], *2 * [(dense, dense)],
                *2 * [factors],
            ],
            [
                shared, shared, quads, (batch, len(own.table)), *2 * [(own_rows, LANES)],
                (units * 2 * columns * rows, LANES), (batch, len(self.prepared[0])),
            ],
            [(parts * 2 * shared[0], LANES)],
        )  # fmt: skip


def plan(program: Program, observables: Observables, route: str) -> Plan:
    """The plan of a program on a route; kept with the program."""
    key = (plan, observables, route)
    if key not in program.cache:
        blocks = schedule(program)
        program.cache[key] = Plan(program, observables, blocks, operations(blocks, route))
    found: Plan = program.cache[key]
    return found


def best_route(program: Program, batch: int, itemsize: int) -> str:
    """The cheapest route for a batch, by the cost model; kept with the program."""
    key = (best_route, batch, itemsize)
    if key not in program.cache:
        blocks = schedule(program)
        options = [operations(blocks, route) for route in routes(program.num_qubits)]
        seconds = [cost(blocks, option, batch, itemsize).seconds for option in options]
        program.cache[key] = options[seconds.index(min(seconds))].route
    return str(program.cache[key])


def predicted(
    program: Program,
    batch: int,
    itemsize: int = 4,
    machine: Machine = TYPICAL,
    threads: int = 1,
) -> Cost:
    """The cost of a training step on the route that is chosen."""
    blocks = schedule(program)
    made = operations(blocks, best_route(program, batch, itemsize))
    return cost(blocks, made, batch, itemsize, machine, threads)
