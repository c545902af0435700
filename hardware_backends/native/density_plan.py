"""Plans of noisy programs: all that does not depend on the parameters' values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nisqkit.circuits.angles import AngleMap
from nisqkit.circuits.observables import Observables
from nisqkit.hardware_backends.native.density_matrices import END, ENTRY
from nisqkit.hardware_backends.native.density_schedule import (
    MOVE,
    ONE,
    TWO,
    DensityBlock,
    DensitySchedule,
    density_schedule,
    move_of,
    move_slopes,
)
from nisqkit.hardware_backends.native.plan import Forms
from nisqkit.hardware_backends.native.vectors import LANES
from nisqkit.noise.noisy_program import NoisyProgram

Array = NDArray[Any]

_SIZES = {ONE: 12, TWO: 240, MOVE: 15}


@dataclass(frozen=True, eq=False)
class Matrices:
    """Matrices to build, as `density_matrices` reads them.

    Attributes:
        tables: Groups, factors, entries.
        coefficients: (C, 16), float64.
        forms: Of the angles, one per factor, and lane if they are shared.
        members: The blocks of each group.
    """

    tables: tuple[Array, Array, Array]
    coefficients: Array
    forms: Forms
    members: tuple[tuple[DensityBlock, ...], ...]

    def rows(self, column: Mapping[DensityBlock, int]) -> Array:
        """(G, 16): a number of each block, -1 for the rest."""
        return np.array(
            [[*(column.get(b, -1) for b in m), *[-1] * LANES][:LANES] for m in self.members],
            dtype=np.int64,
        ).reshape(-1, LANES)

    @cached_property
    def memory(self) -> list[int]:
        """Rows of the parts of the memory that `density_matrices` works in."""
        groups, factors, _ = self.tables
        values = [factors[last - 1, END] - factors[first, ENTRY] for first, last, *_ in groups]
        products = [(last - first + 1) * dim * (dim - 1) for first, last, dim, *_ in groups]
        number = len(factors)
        return [
            number,
            number,
            max(values, default=0),
            max(products, default=0),
            number,
            240,
            240,
            4,
        ]

    @classmethod
    def make(cls, blocks: list[DensityBlock], shared: bool, angle_map: AngleMap) -> Matrices:
        """Gather blocks that are alike, 16 side by side (``shared``) or each in all lanes."""
        members: list[list[DensityBlock]] = []
        newest: dict[Any, int] = {}
        for block in blocks:
            key = tuple((len(f.coefficients), f.pattern.tobytes()) for f in block.factors)
            index = newest.get(key)
            if not shared or index is None or len(members[index]) == LANES:
                newest[key] = index = len(members)
                members.append([])
            members[index].append(block)
        groups: list[tuple[int, ...]] = []
        factors: list[tuple[int, ...]] = []
        entries: list[Array] = []
        coefficients: list[Array] = []
        slots: list[int] = []
        frequency: list[float] = []
        row = num_entries = num_rows = 0
        for group in members:
            begin = len(factors)
            for alike in zip(*(b.factors for b in group), strict=True):
                where = np.argwhere(alike[0].pattern)
                where[:, 0] += 1  # first rows are left out
                terms = len(alike[0].coefficients)
                lanes = np.stack([f.coefficients[:, where[:, 0], where[:, 1]].T for f in alike], -1)
                missing = LANES - len(alike) if shared else 0
                lanes = np.pad(lanes, [(0, 0), (0, 0), (0, missing)])
                if not shared:
                    lanes = np.repeat(lanes, LANES, axis=2)
                factors.append((num_entries, num_entries + len(where), terms, num_rows))
                entries.append(where)
                coefficients.append(lanes.reshape(-1, LANES))
                slots += [f.slot for f in alike] + [-1] * missing
                frequency += [f.frequency for f in alike] + [0.0] * missing
                num_entries += len(where)
                num_rows += terms * len(where)
            kind = group[0].kind
            groups.append(
                (begin, len(factors), 4 if kind == ONE else 16, row, bool(group[0].slots))
            )
            row += _SIZES[kind]
        used = np.array(slots, dtype=np.int64) >= 0
        return cls(
            (
                np.array(groups, dtype=np.int64).reshape(-1, 5),
                np.array(factors, dtype=np.int64).reshape(-1, 4),
                np.concatenate([np.zeros((0, 2), np.int64), *entries]),
            ),
            np.concatenate([np.zeros((0, LANES)), *coefficients]),
            Forms.make(slots, np.array(frequency), used, angle_map),
            tuple(map(tuple, members)),
        )


@dataclass(frozen=True, eq=False)
class DensityPlan:
    """All of a noisy program's evaluation that does not depend on the parameters' values.

    The kernels take inputs and weights where the angle map is affine; where it is not, torch
    computes the angles, and they take those of the batched and of the shared slots in their place.
    With ``strengths``, the differences of all causes' strengths follow the weights.
    """

    noisy: NoisyProgram
    observables: Observables
    strengths: Mapping[str, float] | None = None

    @cached_property
    def schedule(self) -> DensitySchedule:
        """The blocks."""
        if self.strengths is not None:
            return density_schedule(self.noisy, self.strengths)
        if density_schedule not in self.noisy.cache:
            self.noisy.cache[density_schedule] = density_schedule(self.noisy)
        found: DensitySchedule = self.noisy.cache[density_schedule]
        return found

    @cached_property
    def affine(self) -> bool:
        """Whether the kernels take inputs and weights themselves."""
        program = self.noisy.program
        return program.angle_map.nonlinear is None and program.prepare is None

    @cached_property
    def angle_map(self) -> AngleMap:
        """From what the kernels take to slots and strengths."""
        own = self.noisy.program.angle_map
        causes = self.noisy.causes if self.strengths is not None else ()
        if self.affine:
            inputs, weights, constants, terms = own.inputs, own.weights, own.constants, own.terms
        else:
            order = (*own.batched_slots, *own.shared_slots)
            inputs = tuple(map(str, own.batched_slots))
            weights = tuple(map(str, own.shared_slots))
            constants = (0.0,) * own.num_slots
            terms = tuple((slot, k, 1.0) for k, slot in enumerate(order))
        n, first = len(inputs) + len(weights), len(constants)
        return AngleMap(
            inputs,
            (*weights, *causes),
            constants + (0.0,) * len(causes),
            terms + tuple((first + k, n + k, 1.0) for k in range(len(causes))),
        )

    @cached_property
    def widths(self) -> tuple[int, int]:
        """Numbers of inputs and weights that the kernels take."""
        return len(self.angle_map.inputs), len(self.angle_map.weights)

    def _blocks(self, own: bool) -> list[DensityBlock]:
        return [b for b in self.schedule.blocks if b.kind != MOVE and self.schedule.own(b) == own]

    @cached_property
    def shared(self) -> Matrices:
        """Matrices that all samples share."""
        return Matrices.make(self._blocks(False), True, self.angle_map)

    @cached_property
    def own(self) -> Matrices:
        """Matrices of each sample."""
        return Matrices.make(self._blocks(True), False, self.angle_map)

    @cached_property
    def shared_rows(self) -> dict[DensityBlock, int]:
        """Where each shared matrix begins."""
        return _begins(self._blocks(False))

    @cached_property
    def own_rows(self) -> dict[DensityBlock, int]:
        """Where each matrix of the samples begins."""
        return _begins(self._blocks(True))

    @cached_property
    def places(self) -> dict[DensityBlock, int]:
        """Where the derivatives by what is shared and has an angle or a strength go."""
        blocks = self.schedule.blocks
        return _begins([b for b in blocks if b.slots and not self.schedule.own(b)])

    @cached_property
    def moves(self) -> tuple[Array, Array]:
        """Sources (M, 16) as offsets of rows, and scales (15 M, 16), float64."""
        sources, scales = [], []
        for block in self.schedule.blocks:
            if block.kind == MOVE:
                source, scale = move_of(block)
                a, b = block.qubits
                sources.append((source % 4) * 4**a + (source // 4) * 4**b)
                scales.append(np.repeat(scale[1:, None], LANES, axis=1))
        return (
            np.array(sources, dtype=np.int64).reshape(-1, 16),
            np.concatenate([np.zeros((0, LANES)), *scales]),
        )

    @cached_property
    def move_slopes(self) -> list[tuple[int, int, Array]]:
        """``(place, index among the weights, derivatives of the scales)`` of moves' strengths."""
        first = self.widths[1] - len(self.noisy.causes) - self.noisy.program.angle_map.num_slots
        return [
            (self.places[block], first + slot, slopes[1:])
            for block in self.schedule.blocks
            if block.kind == MOVE
            for slot, slopes in move_slopes(block)
        ]

    @cached_property
    def operations(self) -> tuple[Array, Array]:
        """The table of operations, see ``density_rows.py``; and if no input's gradient is wanted.

        They differ in what is trained.
        """
        n, weighted = self.widths[0], set()
        for slot, parameter, _ in self.angle_map.terms:
            if parameter >= n:
                weighted.add(slot)
        tables = []
        for wanted in (None, weighted):
            rows, move = [], 0
            for block in self.schedule.blocks:
                own, bits = self.schedule.own(block), [2 * q for q in block.qubits]
                slots = block.slots if wanted is None else block.slots & wanted
                place = self.own_rows[block] if own else self.places.get(block, -1)
                if block.kind == MOVE:
                    row = 15 * move
                else:
                    row = (self.own_rows if own else self.shared_rows)[block]
                rows.append((block.kind, bits[0], bits[-1], own, row, move, bool(slots), place))
                move += block.kind == MOVE
            tables.append(np.array(rows, dtype=np.int64).reshape(-1, 8))
        return tables[0], tables[1]

    @cached_property
    def starts(self) -> Array:
        """The rows of Pauli strings of I and Z alone; bit q of their index says Z on qubit q."""
        rows = np.zeros(1, dtype=np.int64)
        for q in range(self.noisy.num_qubits):
            rows = np.concatenate([rows, rows + 3 * 4**q])
        return rows

    @cached_property
    def measured(self) -> tuple[Array, Array]:
        """Rows of the Pauli strings, and coefficients (num_outputs, S); none for probabilities."""
        if self.observables.sums is None:
            return self.starts, np.zeros((0, 0))
        rows = [
            sum("IXYZ".index(letter) * 4**q for q, letter in enumerate(reversed(string)))
            for string in self.observables.strings
        ]
        return np.array(rows, dtype=np.int64), self.observables.coefficients

    @cached_property
    def _static(self) -> dict[Any, tuple[Any, ...]]:
        return {}

    def static(self, dtype: Any) -> tuple[Any, ...]:
        """``coefficients`` of the shared and of the own matrices, and ``moves``, in a dtype."""
        if dtype not in self._static:
            numbers = self.shared.coefficients, self.own.coefficients, self.moves[1]
            shared, own, scales = (np.ascontiguousarray(x.astype(dtype)) for x in numbers)
            self._static[dtype] = shared, own, (self.moves[0], scales)
        return self._static[dtype]

    @cached_property
    def shared_places(self) -> tuple[Array, Array]:
        """Rows and places of the blocks of the shared groups."""
        return self.shared.rows(self.shared_rows), self.shared.rows(self.places)

    @cached_property
    def num_places(self) -> int:
        """How many derivatives by shared numbers there are per tile."""
        return sum(_SIZES[b.kind] for b in self.places)

    @cached_property
    def num_rows(self) -> tuple[int, int]:
        """Rows of all shared matrices, and of all of a sample."""
        return (
            sum(_SIZES[b.kind] for b in self.shared_rows),
            sum(_SIZES[b.kind] for b in self.own_rows),
        )


def _begins(blocks: list[DensityBlock]) -> dict[DensityBlock, int]:
    ends = np.cumsum([0, *(_SIZES[b.kind] for b in blocks)]).tolist()
    return dict(zip(blocks, ends, strict=False))


def density_plan(noisy: NoisyProgram, observables: Observables) -> DensityPlan:
    """The plan of a noisy program; kept with it."""
    key = density_plan, observables
    if key not in noisy.cache:
        noisy.cache[key] = DensityPlan(noisy, observables)
    found: DensityPlan = noisy.cache[key]
    return found


def strength_plan(
    noisy: NoisyProgram, observables: Observables, strengths: Mapping[str, float]
) -> DensityPlan:
    """The plan for derivatives by the strengths; the last one is kept with the noisy program."""
    key = observables, tuple(sorted(strengths.items()))
    kept: tuple[Any, DensityPlan] | None = noisy.cache.get(strength_plan)
    if kept is None or kept[0] != key:
        kept = noisy.cache[strength_plan] = key, DensityPlan(noisy, observables, dict(strengths))
    return kept[1]
