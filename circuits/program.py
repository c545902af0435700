"""Programs: the lowered, immutable form of a circuit that every engine runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nisqkit.circuits.angles import AngleMap
from nisqkit.circuits.gates import Gate, gate


@dataclass(frozen=True)
class GateUse:
    """One gate of a program.

    Attributes:
        name: A name of the gate table, ``"unitary"``, or ``"barrier"``: no gate, but a line that a
            transpiler must not merge gates across; engines skip it.
        qubits: The qubits that it acts on, in the gate's own order (control first).
        slots: Where its angles stand in the program's angle vector.
        matrix: The entries of a ``"unitary"``, row by row.
        group: Which instruction of the original circuit it came from.
        tags: Labels of the original instruction (block, layer).
    """

    name: str
    qubits: tuple[int, ...]
    slots: tuple[int, ...] = ()
    matrix: tuple[complex, ...] | None = None
    group: int = 0
    tags: tuple[str, ...] = ()

    @property
    def gate(self) -> Gate:
        """The record of the gate table."""
        return gate(self.name, self.matrix)


@dataclass(frozen=True)
class Prepare:
    """The initial state.

    Slot ``slots[i]`` is the real amplitude of basis state ``i`` of ``qubits``; the rest are zero.
    """

    qubits: tuple[int, ...]
    slots: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """A structure (gates on qubits, with angle slots) and an angle map.

    The angle map takes (inputs, weights) to the slots.
    Hashable, so it can be a cache's key. Qubit 0 is the least significant bit.

    Example:
        >>> from nisqkit.circuits.encoders import angle
        >>> from nisqkit.circuits.lower import lower
        >>> program = lower(angle(2), inputs="x")
        >>> program
        Program(2 qubits, 2 gates, 2 inputs, 0 weights)
        >>> program.angles(torch.tensor([[0.1, 0.2]]), torch.zeros(0))
        tensor([[0.1000, 0.2000]])
    """

    num_qubits: int
    gates: tuple[GateUse, ...]
    angle_map: AngleMap
    prepare: Prepare | None = None

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.num_qubits, self.gates, self.angle_map, self.prepare))

    def __getstate__(self) -> dict[str, object]:
        # without what is cached
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __repr__(self) -> str:
        prepare = f"amplitudes on {len(self.prepare.qubits)} qubits, " if self.prepare else ""
        return (
            f"Program({self.num_qubits} qubits, {prepare}{self.num_gates} gates, "
            f"{len(self.inputs)} inputs, {len(self.weights)} weights)"
        )

    @property
    def num_gates(self) -> int:
        """Number of gates, without barriers."""
        return sum(use.name != "barrier" for use in self.gates)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return self.angle_map.inputs

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the weights."""
        return self.angle_map.weights

    @cached_property
    def by_slots(self) -> Program:
        """The same structure with the angles themselves as inputs.

        It is what shifted copies and exports are made of.
        """
        return replace(self, angle_map=AngleMap.identity(self.angle_map.num_slots))

    @cached_property
    def cache(self) -> dict[Any, Any]:
        """What engines have worked out for this object; it lives as long, and is not pickled.

        A cache keyed by equality would compare whole programs at every step.
        """
        return {}

    def split_angles(self, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """`AngleMap.split`, with the amplitudes of `prepare` normalised.

        Raises:
            ValueError: All amplitudes of a sample are zero, or a formula gives NaN or infinity.
        """
        shared, batched = self.angle_map.split(inputs, weights)
        if self.angle_map.nonlinear is not None:
            self._check_finite(shared[None], self.angle_map.shared_slots)
            self._check_finite(batched, self.angle_map.batched_slots)
        if self.prepare is None:
            return shared, batched
        slots = self.prepare.slots
        if set(slots) <= set(self.angle_map.batched_slots):
            return shared, _normalise(batched, slots, self.angle_map.batched_slots)
        return _normalise(shared[None], slots, self.angle_map.shared_slots)[0], batched

    def angles(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """All angles (and normalised amplitudes), shape ``(batch, num_slots)``, differentiable.

        Args:
            inputs: Shape ``(batch, num_inputs)``.
            weights: Shape ``(num_weights,)``.

        Raises:
            ValueError: All amplitudes of a sample are zero, or a formula gives NaN or infinity.
        """
        angles = self.angle_map(inputs, weights)
        if self.angle_map.nonlinear is not None:
            self._check_finite(angles, tuple(range(angles.shape[1])))
        if self.prepare is None:
            return angles
        return _normalise(angles, self.prepare.slots, tuple(range(angles.shape[1])))

    def _check_finite(self, angles: Tensor, columns: tuple[int, ...]) -> None:
        """Refuse formulas that are not defined at a sample, such as ``log(x)`` at ``x = -1``.

        Affine angles are not looked at: finite inputs make them finite.
        """
        assert self.angle_map.nonlinear is not None
        formulas = set(self.angle_map.nonlinear.slots)
        where = [k for k, slot in enumerate(columns) if slot in formulas]
        values = angles.detach()[:, where]
        if values.isfinite().all():
            return
        sample, column = (~values.isfinite()).nonzero()[0].tolist()
        slot = columns[where[column]]
        use = next((u for u in self.gates if slot in u.slots), None)
        of = f"the angle of gate {use.name!r} on qubits {use.qubits}" if use else "an amplitude"
        on = f" in sample {sample}" if slot in self.angle_map.batched_slots else ""
        raise ValueError(
            f"{of} is not finite{on} ({float(values[sample, column])}): keep the inputs and "
            "weights where its formula is defined"
        )


def _normalise(angles: Tensor, slots: tuple[int, ...], columns: tuple[int, ...]) -> Tensor:
    where = torch.tensor([columns.index(s) for s in slots], device=angles.device)
    amplitudes = angles[:, where]
    largest = amplitudes.detach().abs().amax(dim=1, keepdim=True)
    zero = torch.nonzero(largest[:, 0] == 0)
    if len(zero):
        raise ValueError(
            f"amplitude input: all amplitudes of sample {int(zero[0])} are zero, so it is not a "
            "quantum state; give at least one non-zero feature"
        )
    scaled = amplitudes / largest  # squares would overflow or vanish in float32 from 1e20 or 1e-23
    return angles.index_copy(1, where, scaled / scaled.norm(dim=1, keepdim=True))
