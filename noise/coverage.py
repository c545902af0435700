"""Coverage: which gates of a circuit a device's noise reaches, and which it would silently miss.

A simulator applies noise by gate name and qubits. A gate that the device does not have (because
the circuit was not transpiled, or sits on other qubits) runs without noise, and the result looks
better than the machine. `coverage` finds these gates before anything runs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from qiskit import QuantumCircuit

from .device import Device

_SHOWN = 5


@dataclass(frozen=True)
class GateUse:
    """A gate on some physical qubits, how often the circuit has it, and why it is not covered."""

    gate: str
    qubits: tuple[int, ...]
    count: int
    reason: str = ""


@dataclass(frozen=True)
class Coverage:
    """What a device's noise does and does not reach in one circuit.

    Attributes:
        device: name of the device.
        noisy: gates that get a noise channel.
        virtual: gates that are exact on the machine too (`rz`).
        uncovered: gates and measurements that would run without their noise, with the reason.
        measured: qubits that are measured and have a readout error.
        delays: number of delays; time without a gate is not modelled, written as a delay or not.
        qubits: all qubits that the circuit uses.
    """

    device: str
    noisy: tuple[GateUse, ...]
    virtual: tuple[GateUse, ...]
    uncovered: tuple[GateUse, ...]
    measured: tuple[int, ...]
    delays: int
    qubits: tuple[int, ...]

    @property
    def num_noisy(self) -> int:
        """Number of gates with a noise channel."""
        return sum(use.count for use in self.noisy)

    @property
    def num_virtual(self) -> int:
        """Number of gates that are exact on the machine too."""
        return sum(use.count for use in self.virtual)

    @property
    def num_gates(self) -> int:
        """Number of gates in the circuit, without measurements, barriers and delays."""
        missed = sum(use.count for use in self.uncovered if use.gate != "measure")
        return self.num_noisy + self.num_virtual + missed

    def check(self) -> None:
        """Raise a `ValueError` that lists everything uncovered; do nothing if all is covered."""
        if not self.uncovered:
            return
        lines = [
            f"{use.gate} on {use.qubits}{f', {use.count} times' if use.count > 1 else ''}: "
            f"{use.reason}"
            for use in self.uncovered[:_SHOWN]
        ]
        if (more := len(self.uncovered) - _SHOWN) > 0:
            lines.append(f"and {more} more")
        raise ValueError(
            f"{self.num_noisy} of {self.num_gates} gates would be noisy on {self.device} and "
            f"{self.num_virtual} are virtual; not covered:\n  " + "\n  ".join(lines)
        )


def coverage(circuit: QuantumCircuit, device: Device) -> Coverage:
    """Compare a transpiled circuit with what a device has calibrations for.

    Qubit k of the circuit is physical qubit k of the device. A gate is covered if the device has
    it on these qubits in this order, reports an error below 1 (1 marks a dead gate) and, where the
    gate takes time, T1 and T2 of its qubits; a measurement if the readout error is known. Gates
    with a label of their own are not covered, as simulators look noise up by label. Barriers and
    a simulator's `save` instructions do not count.

    Raises:
        ValueError: if the circuit has more qubits than the device.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> circuit = QuantumCircuit(2, 1)
        >>> _ = circuit.sx(0), circuit.rz(0.3, 0), circuit.cu(0.1, 0.2, 0.3, 0.4, 0, 1)
        >>> _ = circuit.measure(1, 0)
        >>> found = coverage(circuit, Device.load("fake_santiago"))
        >>> found.num_noisy, found.num_virtual, found.measured
        (1, 1, (1,))
        >>> found.check()
        Traceback (most recent call last):
            ...
        ValueError: 1 of 3 gates would be noisy on fake_santiago and 1 are virtual; not covered:
          cu on (0, 1): not a gate of fake_santiago (cx, id, reset, rz, sx, x): \
transpile the circuit with target=device.target()
    """
    if circuit.num_qubits > device.num_qubits:
        raise ValueError(
            f"the circuit has {circuit.num_qubits} qubits and {device.name} has "
            f"{device.num_qubits}: transpile it with target=device.target(), or choose a larger "
            f"device"
        )
    index = {qubit: k for k, qubit in enumerate(circuit.qubits)}
    uses: Counter[tuple[str, tuple[int, ...], str | None]] = Counter()
    for instruction in circuit.data:
        if not instruction.is_directive():
            qubits = tuple(index[qubit] for qubit in instruction.qubits)
            uses[instruction.name, qubits, instruction.label] += 1

    noisy: list[GateUse] = []
    virtual: list[GateUse] = []
    uncovered: list[GateUse] = []
    measured: set[int] = set()
    delays = 0
    for (name, qubits, label), count in sorted(uses.items(), key=lambda use: use[0][:2]):
        if name == "delay":
            delays += count
        elif reason := gap(device, name, qubits, label):
            uncovered.append(GateUse(name, qubits, count, reason))
        elif name == "measure":
            measured.add(qubits[0])
        else:
            calibration = device.gate(name, qubits)
            assert calibration is not None, "gap has found it"
            (virtual if calibration.is_virtual else noisy).append(GateUse(name, qubits, count))
    return Coverage(
        device=device.name,
        noisy=tuple(noisy),
        virtual=tuple(virtual),
        uncovered=tuple(uncovered),
        measured=tuple(sorted(measured)),
        delays=delays,
        qubits=tuple(sorted({q for _, qubits, _ in uses for q in qubits})),
    )


def gap(device: Device, name: str, qubits: tuple[int, ...], label: str | None = None) -> str:
    """Return why a gate or a measurement would run without its noise; "" if it would not."""
    if name == "measure":
        unread = device.readout[qubits[0]] is None
        return f"{device.name} has no readout error for this qubit: measure another" * unread
    if name not in device.native_gates:
        return (
            f"not a gate of {device.name} ({', '.join(device.native_gates)}): "
            f"transpile the circuit with target=device.target()"
        )
    calibration = device.gate(name, qubits)
    if calibration is None:
        return (
            f"{device.name} has {name}, but not on these qubits in this order (see "
            f"device.coupling): transpile the circuit with target=device.target()"
        )
    if calibration.is_dead:
        return "its error is 1, it does not work: use other qubits (see device.dead_edges)"
    # Resets have no reported error, only relaxation; an error of 0 says nothing without a duration.
    by_time = name == "reset" or calibration.error == 0.0
    if (calibration.duration if by_time else calibration.error) is None:
        return (
            f"not calibrated (error {calibration.error}, duration {calibration.duration}): "
            f"use other qubits"
        )
    unknown = [q for q in qubits if device.t1[q] is None or device.t2[q] is None]
    if calibration.duration and unknown:
        return f"T1 or T2 of qubit {unknown[0]} is not known: use other qubits"
    if label is not None and label != name:
        return (
            f"it has the label {label!r}, and simulators look noise up by label: remove the label"
        )
    return ""
