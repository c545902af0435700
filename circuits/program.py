"""Programs: the lowered, immutable form of a circuit that every engine runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nisqkit.circuits.angles import AngleMap
from nisqkit.circuits.gates import Gate, gate

MaskLike: TypeAlias = Sequence[bool] | NDArray[np.bool_] | Tensor
"""What may be given as a mask: booleans, a boolean array or a boolean tensor."""


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

    @cached_property
    def num_groups(self) -> int:
        """Number of instructions of the original circuit, up to the one of the last gate."""
        return 1 + max((use.group for use in self.gates), default=-1)

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

    def select(self, mask: MaskLike) -> Program:
        """The sub-circuit of some instructions, with the same inputs and weights.

        Nothing is lowered or compiled again: the gates of the other groups are left out, and the
        angle map is shared. So one weight vector serves every sub-circuit of a SuperCircuit;
        weights that no gate is left of have gradient zero, but must still be finite. The initial
        state stays as it is. The result is not kept here, but what engines work out for it is kept
        with it (`cache`): hold it for as long as it is in use.

        Args:
            mask: Shape ``(num_groups,)``, boolean. Entry ``k`` says whether to keep instruction
                ``k`` of the original circuit (`GateUse.group`); entries of instructions that are
                no gates, such as an `AmplitudeInput`, have no effect. Barriers are kept by the
                mask, except at the end.

        Raises:
            ValueError: The mask has too many or too few entries.
            TypeError: It is no sequence of booleans (numbers could be meant as indices).

        Example:
            >>> from nisqkit.circuits import hardware_efficient, lower
            >>> program = lower(hardware_efficient(2, layers=1))
            >>> [(use.group, use.name) for use in program.gates]
            [(0, 'ry'), (1, 'rz'), (2, 'ry'), (3, 'rz'), (4, 'cx')]
            >>> program.select([True, False, True, False, True])
            Program(2 qubits, 3 gates, 0 inputs, 4 weights)
        """
        keep = _booleans(mask)
        if len(keep) != self.num_groups:
            raise ValueError(
                f"mask has {len(keep)} entries, but the program has {self.num_groups} groups: give "
                "one for each instruction of the circuit, up to its last gate"
            )
        gates = [use for use in self.gates if keep[use.group]]
        while gates and gates[-1].name == "barrier":  # nothing to keep apart
            gates.pop()
        return replace(self, gates=tuple(gates))

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
        if use is not None:
            of = f"the angle of gate {use.name!r} on qubits {use.qubits}"
        elif self.prepare is not None and slot in self.prepare.slots:
            of = "an amplitude"
        else:
            of = "the angle of a gate that is not selected"
        on = f" in sample {sample}" if slot in self.angle_map.batched_slots else ""
        raise ValueError(
            f"{of} is not finite{on} ({float(values[sample, column])}): keep the inputs and "
            "weights where its formula is defined"
        )


def _booleans(mask: MaskLike) -> Sequence[bool]:
    values: Any = mask.tolist() if isinstance(mask, (np.ndarray, Tensor)) else mask
    if not isinstance(values, Sequence):
        raise TypeError(f"mask takes a sequence of booleans, not {type(mask).__name__}")
    if not set(map(type, values)) <= {bool, np.bool_}:
        k = next(k for k, v in enumerate(values) if type(v) not in (bool, np.bool_))
        raise TypeError(
            f"mask takes booleans, but entry {k} is {values[k]!r}: give True for each group to keep"
        )
    return values


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
