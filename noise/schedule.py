"""Idle time: what happens to a qubit while it waits for others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nisqkit.circuits.program import Program

from .channels import Channel
from .thermal import thermal_channels

Use = tuple[str, tuple[int, ...]]
"""A gate by name, on qubits in the gate's order."""

_NO_TIME = 1e-15  # seconds; sums of the same durations in another order differ by less


@dataclass(frozen=True)
class Idle:
    """Decoherence of waiting qubits.

    Attributes:
        times: T1 and T2 of each qubit in seconds; None if they are not known.
        durations: Seconds that each gate takes on its qubits.
        strength: Scales the noise, see `Channel.scaled`.
        twirled: Whether one Pauli channel, the twirl, stands for relaxation and dephasing.

    Raises:
        ValueError: A time is not positive, a duration is negative or not finite.

    Example:
        >>> idle = Idle(((50e-6, 40e-6),), {("x", (0,)): 30e-9})
        >>> idle.channels(0, 1e-6)
        (Channel.relaxation(0.0198013), Channel.dephasing(0.0148881))
    """

    times: tuple[tuple[float, float] | None, ...]
    durations: Mapping[Use, float]
    strength: float = 1.0
    twirled: bool = False

    def __post_init__(self) -> None:
        for q, pair in enumerate(self.times):
            if pair is not None and not all(time > 0 for time in pair):
                raise ValueError(
                    f"T1 and T2 of qubit {q} are {pair}: give positive seconds, or None where they "
                    f"are not known"
                )
        for (gate, qubits), seconds in self.durations.items():
            if not 0 <= seconds < math.inf:
                raise ValueError(
                    f"the duration of {gate} on {qubits} is {seconds}: give seconds, 0 or more"
                )

    def __hash__(self) -> int:
        return hash((self.times, frozenset(self.durations.items()), self.strength, self.twirled))

    def knows(self, qubit: int) -> bool:
        """Whether T1 and T2 of a qubit are known."""
        return qubit < len(self.times) and self.times[qubit] is not None

    def channels(self, qubit: int, time: float) -> tuple[Channel, ...]:
        """What waiting for some seconds does to a qubit with known T1 and T2."""
        pair = self.times[qubit]
        assert pair is not None, "the caller has asked `knows`"
        found = [c for c in thermal_channels(time, *pair) if c is not None]
        if self.twirled and found:
            both = found[0] if len(found) == 1 else found[0].compose(found[1])
            found = [both.twirled()]
        return tuple(c.scaled(self.strength) for c in found)


def idle_gaps(program: Program, durations: Sequence[float]) -> list[tuple[int, int, float]]:
    """How long each qubit waits after each gate, if everything happens as late as possible.

    Gates start as late as their successors allow, all measurements are at the same time at the end,
    and a barrier lets nothing pass; this is how IBM's machines schedule. Before its first gate a
    qubit is in its ground state and waiting changes nothing, so that this is left out.

    Args:
        program: The program.
        durations: Seconds of each of its gates; barriers take none.

    Returns:
        Triples (index of the gate, qubit of the program, seconds), in order of the gates. Index -1
        is the preparation of the initial state.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from nisqkit.circuits import lower
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.x(0), circuit.cx(0, 1), circuit.x(0), circuit.x(0), circuit.cx(0, 1)
        >>> idle_gaps(lower(circuit), [1.0, 5.0, 1.0, 1.0, 5.0])
        [(1, 1, 2.0)]
    """
    left = [0.0] * program.num_qubits  # from the start of what comes next on a qubit to the end
    gaps: list[tuple[int, int, float]] = []
    steps = [(use.qubits, use.name != "barrier") for use in program.gates]
    for index in reversed(range(len(steps))):
        qubits, is_gate = steps[index]
        end = max(left[q] for q in qubits)
        gaps += [(index, q, end - left[q]) for q in reversed(qubits) if end - left[q] > _NO_TIME]
        for q in qubits:
            left[q] = end + (durations[index] if is_gate else 0.0)
    prepared = () if program.prepare is None else program.prepare.qubits
    end = max((left[q] for q in prepared), default=0.0)
    gaps += [(-1, q, end - left[q]) for q in reversed(prepared) if end - left[q] > _NO_TIME]
    first = dict.fromkeys(prepared, -1)
    for index, (qubits, is_gate) in enumerate(steps):
        if is_gate:
            for q in qubits:
                first.setdefault(q, index)
    return [gap for gap in reversed(gaps) if gap[1] in first and gap[0] >= first[gap[1]]]
