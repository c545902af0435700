"""Dynamical decoupling: pulses while a qubit waits, which turn slow errors against themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nisqkit.circuits.names import unknown
from nisqkit.circuits.program import GateUse, Program
from nisqkit.circuits.task import Task

from ..model import NoiseModel
from ..schedule import idle_gaps
from .base import Cost, Mitigator, Round
from .twirling import PAULI_GATES, has_old_gates

SEQUENCES = {"xx": "XX", "yy": "YY", "xy4": "XYXY", "xy8": "XYXYYXYX"}
"""The pulses of each sequence; in every one they multiply to the identity, up to a phase."""


@dataclass(frozen=True)
class DynamicalDecoupling(Mitigator):
    """Digital dynamical decoupling.

    Where a qubit waits long enough between two of its gates, pulses are put, evenly spaced by
    ``id`` gates, that together do nothing. Errors that stay the same during the wait, such as a
    shift of the qubit's frequency, are turned around by every pulse, and cancel. Decoherence by T1
    and T2, which is all that calibrations know of, does not: on a model of a device this shows
    what the pulses cost, and little of what they gain.

    On a device, waiting times are those of its gate durations, scheduled as late as possible; else
    every gate but rz takes one unit of time. Angles stay symbolic, and gradients flow.

    Source: Viola, Knill and Lloyd, Phys. Rev. Lett. 82, 2417 (1999); Ezzell et al., Phys. Rev.
    Applied 20, 064027 (2023).

    Args:
        sequence: ``"xx"``, ``"yy"``, ``"xy4"`` or ``"xy8"``.

    Raises:
        ValueError: An unknown sequence; when it runs: a device without ``id`` gates or durations,
            or a model of a device on which waiting costs nothing.

    Example:
        >>> DynamicalDecoupling("xy4").cost()
        Cost(circuits=1, shots=1)
    """

    sequence: str = "xy4"
    rank = 0

    def __post_init__(self) -> None:
        if self.sequence not in SEQUENCES:
            raise ValueError(unknown("sequence", self.sequence, SEQUENCES))

    def cost(self) -> Cost:
        """No more circuits, and no more shots."""
        return Cost()

    def check(self, task: Task, model: NoiseModel | None) -> None:
        """See `Mitigator.check`."""
        device = None if model is None else model.device
        if device is None:
            return
        assert model is not None
        if model.idle is None:
            raise ValueError(
                f"on {model.name} waiting qubits have no errors, so that DynamicalDecoupling could "
                "only add some: use NoiseModel.from_device(device, idle=True), or leave it out"
            )
        if "id" not in device.native_gates:
            raise ValueError(
                f"DynamicalDecoupling spaces its pulses with id gates, and {device.name} has none "
                f"({', '.join(device.native_gates)})"
            )

    def run(self, task: Task, model: NoiseModel | None) -> Round:
        """See `Mitigator.run`."""
        (found,) = yield [replace(task, program=decoupled(task, model, self.sequence))]
        return found


def decoupled(task: Task, model: NoiseModel | None, sequence: str = "xy4") -> Program:
    """The circuit of a task with pulses where its qubits wait; kept with it.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from nisqkit.circuits import Observables, lower
        >>> import torch
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.h(0), circuit.cx(0, 1), [circuit.sx(0) for _ in range(5)], circuit.cx(0, 1)
        >>> none = torch.zeros(1, 0)
        >>> task = Task(lower(circuit), none, none[0], Observables.parse("ZZ", 2))
        >>> [use.name for use in decoupled(task, None, "xx").gates if use.qubits == (1,)]
        ['id', 'x', 'id', 'x', 'id']
    """
    program = task.program
    on_device = model is not None and model.device is not None
    key = decoupled, sequence, model if on_device else None, task.placement
    if key not in program.cache:
        at = range(program.num_qubits) if task.placement is None else task.placement.physical
        known = model.idle.durations if on_device and model is not None and model.idle else {}

        def duration(name: str, qubits: Sequence[int]) -> float:
            if not on_device:
                return 0.0 if name in ("rz", "u1") else 1.0
            use = name, tuple(at[q] for q in qubits)
            if use not in known:
                assert model is not None
                raise ValueError(
                    f"DynamicalDecoupling needs to know how long gates take, and {model.name} does "
                    f"not say it of {name} on {use[1]}"
                )
            return known[use]

        old = model is not None and has_old_gates(model)
        program.cache[key] = _Decoupling(program, SEQUENCES[sequence], old).insert(duration)
    found: Program = program.cache[key]
    return found


class _Decoupling:
    """Puts pulses and spacing into the gaps of a program."""

    def __init__(self, program: Program, pulses: str, old: bool) -> None:
        self.program = program
        self.pulses = pulses
        self.old = old
        self.constants: list[float] = []

    def insert(self, duration: Callable[[str, Sequence[int]], float]) -> Program:
        """The program with pulses; ``duration`` says how long a gate takes on some qubits."""
        uses = self.program.gates
        times = [0.0 if use.name == "barrier" else duration(use.name, use.qubits) for use in uses]
        after: dict[int, list[GateUse]] = {}
        for index, qubit, time in idle_gaps(self.program, times):
            if index >= 0:
                after.setdefault(index, []).extend(self._fill(qubit, time, duration))
        gates = [gate for k, use in enumerate(uses) for gate in (use, *after.get(k, ()))]
        angle_map = self.program.angle_map.extended([(0, 0.0, c) for c in self.constants])
        return replace(self.program, gates=tuple(gates), angle_map=angle_map)

    def _fill(
        self, qubit: int, time: float, duration: Callable[[str, Sequence[int]], float]
    ) -> list[GateUse]:
        """Pulses with half the spacing at the ends, or nothing if the gap is too short."""
        pulses = [PAULI_GATES[self.old]["IXYZ".index(letter)] for letter in self.pulses]
        taken = sum(duration(name, (qubit,)) for pulse in pulses for name, _ in pulse)
        spaces = int((time - taken) / duration("id", (qubit,)) + 1e-6)
        if spaces < len(pulses):
            return []
        ends = [round(spaces * (2 * k + 1) / (2 * len(pulses))) for k in range(len(pulses))]
        found: list[GateUse] = []
        for start, end, pulse in zip((0, *ends), ends, pulses, strict=False):
            found += [GateUse("id", (qubit,), tags=("wait",))] * (end - start)
            found += [self._gate(name, qubit, angles) for name, angles in pulse]
        return found + [GateUse("id", (qubit,), tags=("wait",))] * (spaces - ends[-1])

    def _gate(self, name: str, qubit: int, angles: tuple[float, ...]) -> GateUse:
        first = self.program.angle_map.num_slots + len(self.constants)
        self.constants.extend(angles)
        return GateUse(name, (qubit,), tuple(range(first, first + len(angles))), tags=("ddd",))
