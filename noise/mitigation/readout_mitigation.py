"""Readout mitigation: values as a perfect readout would give them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from nisqkit.circuits.angles import AngleMap
from nisqkit.circuits.names import unknown
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import GateUse, Program
from nisqkit.circuits.task import Task

from ..model import NoiseModel
from .base import Cost, Estimate, Mitigator, Round, of_part
from .unfolding import (
    Readout,
    bayes,
    check_invertible,
    expectations,
    inverse_observables,
    nearest_distribution,
    undone,
)

METHODS = ("inverse", "least-squares", "bayes")
SOURCES = ("device", "calibration")
_LARGEST_PRODUCT = 10
"""Bits in a product of Z whose inverse is written as strings: 2**10 of them."""


@dataclass(frozen=True)
class ReadoutMitigation(Mitigator):
    """Undo readout errors.

    With ``"inverse"`` expectation values are exact on average, and a Z of error probabilities
    P(1|0) and P(0|1) has its standard error multiplied by ``1 / (1 - P(1|0) - P(0|1))``. The other
    two give probabilities that are not negative, and so are biased.

    Args:
        method: ``"inverse"`` of the confusion matrices; ``"least-squares"``: the distribution
            nearest to that; ``"bayes"``: iterative Bayesian unfolding. The last two take
            probabilities of all outcomes, so up to some 24 measured bits.
        source: ``"device"``: the confusions of the backend's noise. ``"calibration"``: measured, by
            circuits that prepare 0 and 1 on every qubit at once (all preparations of each group of
            ``correlated``), the first time that a circuit of these qubits is mitigated, and kept in
            this object.
        correlated: With ``"calibration"``: groups of logical qubits that are read together; all
            others are alone.
        shots: Of each calibration circuit; ``None``: those of the task.
        iterations: Of ``"bayes"``.

    Raises:
        ValueError: An unknown method or source, groups that overlap or go with another source; when
            it runs: no known noise, a confusion matrix that cannot be inverted, a product of too
            many Z for ``"inverse"``, or observables in X or Y for the other two on a backend
            without a device.

    Example:
        >>> ReadoutMitigation().cost()
        Cost(circuits=1, shots=1)
    """

    method: str = "inverse"
    source: str = "device"
    correlated: Sequence[Sequence[int]] = ()
    shots: int | None = None
    iterations: int = 20
    _kept: dict[Any, list[Readout]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        groups = tuple(tuple(group) for group in self.correlated)
        object.__setattr__(self, "correlated", groups)
        if self.method not in METHODS:
            raise ValueError(unknown("method", self.method, METHODS))
        if self.source not in SOURCES:
            raise ValueError(unknown("source", self.source, SOURCES))
        if (groups or self.shots is not None) and self.source != "calibration":
            raise ValueError(
                "correlated and shots go with source='calibration': what a device says of itself "
                "is not measured"
            )
        listed = [q for group in groups for q in group]
        if repeated := [q for q in listed if listed.count(q) > 1]:
            raise ValueError(f"correlated lists qubit {repeated[0]} twice: give disjoint groups")
        if self.iterations < 1:
            raise ValueError(f"iterations={self.iterations} must be at least 1")

    @property
    def rank(self) -> int:  # type: ignore[override]
        """The linear method may stand anywhere, the others need what is really measured."""
        return 3 if self.method == "inverse" else 1

    def cost(self) -> Cost:
        """One circuit per circuit; calibration comes once on top."""
        return Cost()

    def check(self, task: Task, model: NoiseModel | None) -> None:
        """See `Mitigator.check`."""
        if self.source == "device":
            if model is None:
                raise ValueError(
                    "ReadoutMitigation takes the readout errors of the backend's noise, and this "
                    "backend has none that is known: use source='calibration'"
                )
            check_invertible(_of_model(task, model), _names(task))
        width = task.observables.num_qubits
        if far := [q for group in self.correlated for q in group if not 0 <= q < width]:
            raise ValueError(f"correlated has qubit {far[0]}, and {width} are measured")
        sums = task.observables.sums
        if sums is None:
            return
        strings = task.observables.strings
        if self.method == "inverse":
            heaviest = max(len(s) - s.count("I") for s in strings)
            if heaviest > _LARGEST_PRODUCT:
                raise ValueError(
                    f"an observable is a product of {heaviest} operators, whose inverse would be "
                    f"2**{heaviest} strings: use method='least-squares' or 'bayes'"
                )
        elif wrong := [s for s in strings if set(s) - set("IZ")]:
            raise ValueError(
                f"method={self.method!r} works on the outcomes of measuring Z, and an observable "
                f"has {wrong[0]!r}: use a backend with a device, or method='inverse'"
            )

    def run(self, task: Task, model: NoiseModel | None) -> Round:
        """See `Mitigator.run`."""
        if self.source == "calibration":
            readout = yield from self._calibrated(task)
            check_invertible(readout, _names(task))
        else:
            assert model is not None
            readout = _of_model(task, model)
        observables = task.observables
        if self.method == "inverse" and observables.sums is not None:
            inverted = replace(task, observables=inverse_observables(observables, readout))
            (found,) = yield [inverted]
            return found
        probs = Observables(observables.num_qubits, None)
        (found,) = yield [replace(task, observables=probs)]
        values = self._unfolded(found.values, readout)
        if observables.sums is not None:
            values = expectations(values, observables)
        return Estimate(values)

    def _unfolded(self, probabilities: Tensor, readout: Sequence[Readout]) -> Tensor:
        if self.method == "bayes":
            return bayes(probabilities, readout, self.iterations)
        found = undone(probabilities, readout)
        return found if self.method == "inverse" else nearest_distribution(found)

    def _calibrated(self, task: Task) -> Generator[list[Task], list[Estimate], list[Readout]]:
        """The confusions of the measured qubits, measured once and kept."""
        key = task.placement, task.observables.num_qubits, self.shots or task.shots
        if key not in self._kept:
            width = task.observables.num_qubits
            alone = [(q,) for q in range(width) if not any(q in g for g in self.correlated)]
            groups = [*map(tuple, self.correlated), *alone]
            longest = max(map(len, groups))
            preparations = range(2**longest)
            tasks = [self._preparation(task, groups, value) for value in preparations]
            found = yield tasks
            self._kept[key] = [_confusion(found, g, groups) for g in groups]
        return self._kept[key]

    def _preparation(self, task: Task, groups: Sequence[tuple[int, ...]], value: int) -> Task:
        """A circuit that prepares the bits of a number in every group at once."""
        program = task.program
        measured = range(program.num_qubits) if task.placement is None else task.placement.measured
        ones = [q for group in groups for k, q in enumerate(group) if value >> k & 1]
        gates = tuple(GateUse("x", (measured[q],)) for q in ones)
        angles = AngleMap(program.inputs, program.weights, (), ())
        strings = [
            _product(task.observables.num_qubits, part) for g in groups for part in _parts(g)
        ]
        return replace(
            task,
            program=Program(program.num_qubits, gates, angles),
            inputs=task.inputs.detach()[:1],
            weights=task.weights.detach(),
            observables=Observables.parse(strings, task.observables.num_qubits),
            shots=self.shots or task.shots,
            seed=of_part(task, 1 << 20 | value),
            noise_scale=1.0,
        )


def _of_model(task: Task, model: NoiseModel) -> list[Readout]:
    names = _names(task)
    place = {physical: q for q, physical in enumerate(names)}
    return [
        (tuple(place[p] for p in c.qubits), np.asarray(c.array)) for c in model.readout_of(names)
    ]


def _names(task: Task) -> list[int]:
    """The physical qubit of each logical one."""
    if task.placement is None:
        return list(range(task.observables.num_qubits))
    return [task.placement.physical[q] for q in task.placement.measured]


def _parts(group: tuple[int, ...]) -> list[list[int]]:
    """All sub-groups but the empty one, in the order of their bits."""
    return [
        [q for k, q in enumerate(group) if value >> k & 1] for value in range(1, 2 ** len(group))
    ]


def _product(num_qubits: int, qubits: Sequence[int]) -> str:
    return "".join("Z" if q in qubits else "I" for q in reversed(range(num_qubits)))


def _confusion(
    found: Sequence[Estimate], group: tuple[int, ...], groups: Sequence[tuple[int, ...]]
) -> Readout:
    """The confusion matrix of a group, from products of Z after each preparation."""
    first = sum(2 ** len(g) - 1 for g in groups[: groups.index(group)])
    size = 2 ** len(group)
    bits = np.arange(size)
    signs = np.array(
        [[(-1) ** bin(read & part).count("1") for part in bits] for read in bits], dtype=float
    )
    matrix = np.empty((size, size))
    for prepared in range(size):
        values = found[prepared].values[0, first : first + size - 1].detach().double().numpy()
        matrix[:, prepared] = signs @ np.concatenate([[1.0], values]) / size
    return group, matrix
