"""Transpiling programs for a device, with the angles left symbolic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache
from math import gcd, lcm, pi

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import U1Gate, U2Gate, U3Gate
from qiskit.quantum_info import Statevector
from qiskit.transpiler import Target
from qiskit.transpiler.exceptions import TranspilerError

from nisqkit.circuits.angles import AngleMap
from nisqkit.circuits.lower import lower
from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.slot_circuit import slot_circuit
from nisqkit.noise.device import Device

_CHECKED_QUBITS = 12


@dataclass(frozen=True, eq=False)
class Transpiled:
    """A program as a device gets it.

    Attributes:
        program: The logical program, over its own slots.
        device: The device.
        circuit: The native circuit on all qubits of the device, qubit k of it being physical qubit
            k; its parameters are those of `slots`.
        slots: One parameter per slot, as `slot_circuit` returns them; `slot_angles` gives values.
        initial_layout: The physical qubit that each logical qubit starts on.
        layout: The physical qubit that each logical qubit is on at the end: measure it there.
        seed: Seed of the transpiler.
        optimization_level: Optimisation level of the transpiler.
    """

    program: Program
    device: Device
    circuit: QuantumCircuit
    slots: ParameterVector
    initial_layout: tuple[int, ...]
    layout: tuple[int, ...]
    seed: int
    optimization_level: int

    @cached_property
    def active(self) -> tuple[int, ...]:
        """Physical qubits that have a gate or hold a logical qubit, sorted."""
        used = {self.circuit.find_bit(q).index for i in self.circuit.data for q in i.qubits}
        return tuple(sorted(used.union(self.layout)))

    @cached_property
    def reduced(self) -> QuantumCircuit:
        """The circuit on the active qubits alone: qubit k is physical qubit ``active[k]``."""
        position = {physical: k for k, physical in enumerate(self.active)}
        small = QuantumCircuit(len(self.active))
        for instruction in self.circuit.data:
            qubits = [position[self.circuit.find_bit(q).index] for q in instruction.qubits]
            small.append(instruction.operation, qubits)
        return small

    @cached_property
    def reduced_device(self) -> Device:
        """The active qubits of the device, numbered as in `reduced`."""
        return self.device.reduced(self.active)

    @cached_property
    def measured(self) -> tuple[int, ...]:
        """For each logical qubit, the qubit of `reduced` that holds it at the end."""
        return tuple(self.active.index(physical) for physical in self.layout)

    @cached_property
    def native(self) -> Program:
        """`reduced` as a program of native gates; its inputs are the values of all `slots`."""
        # a vector of which no element is in the circuit cannot be named as its input
        lowered = lower(self.reduced, inputs=self.slots if self.reduced.parameters else None)
        names = AngleMap.identity(len(self.slots)).inputs
        return replace(lowered, angle_map=replace(lowered.angle_map, inputs=names))

    @cached_property
    def frequencies(self) -> dict[int, tuple[float, int]]:
        """``(base, R)`` of each slot, as in `Gate.frequencies`, of the native circuit.

        A gate such as ``cu3`` is several native rotations by parts of its angle. What is between
        them undoes some frequencies, but not where it is noisy: the gate's own shift rule would
        then be wrong.
        """
        parts: dict[int, list[tuple[Fraction, int]]] = {}
        by_angle: dict[int, list[tuple[int, float]]] = {}
        for angle, slot, coefficient in self.native.angle_map.terms:
            by_angle.setdefault(angle, []).append((slot, abs(coefficient)))
        for use in self.native.gates:
            for (base, degree), angle in zip(use.gate.frequencies, use.slots, strict=True):
                for slot, coefficient in by_angle.get(angle, ()):
                    unit = Fraction(base * coefficient).limit_denominator(1024)
                    parts.setdefault(slot, []).append((unit, degree))
        found = {}
        for slot, units in parts.items():
            denominator = lcm(*(unit.denominator for unit, _ in units))
            whole = gcd(*(int(unit * denominator) for unit, _ in units))
            step = Fraction(whole, denominator)
            highest = sum(unit * degree for unit, degree in units)
            found[slot] = float(step), int(highest / step)
        return found

    @property
    def is_checked(self) -> bool:
        """Whether `check_equivalence` compares anything."""
        return len(self.active) <= _CHECKED_QUBITS

    def check_equivalence(self) -> None:
        """Compare the final states of the program and of the native circuit at random angles.

        Only up to 12 active qubits, where it costs milliseconds.

        Raises:
            RuntimeError: They differ: transpiling has changed the circuit.
        """
        if not self.is_checked:
            return
        logical, slots = slot_circuit(self.program)
        values = np.random.default_rng(self.seed).uniform(-pi, pi, len(slots))
        wanted = _state(logical, slots, values).reshape([2] * logical.num_qubits)
        # bring the axis of each logical qubit to its place; the other active qubits are in state 0
        got = _state(self.reduced, self.slots, values).reshape([2] * len(self.active))
        n, m = logical.num_qubits, len(self.active)
        source = [m - 1 - q for q in reversed(self.measured)]
        got = np.moveaxis(got, source, range(n))[(...,) + (0,) * (m - n)]
        fidelity = abs(np.vdot(wanted, got)) ** 2
        if not abs(fidelity - 1) < 1e-9:
            raise RuntimeError(
                f"transpiling for {self.device.name} (seed {self.seed}, optimization_level "
                f"{self.optimization_level}) has changed the circuit: the fidelity of the final "
                f"states is {fidelity:.6f}; try another seed or optimization_level"
            )


def transpile_to(
    program: Program,
    device: Device,
    *,
    layout: Sequence[int] | None = None,
    optimization_level: int = 2,
    seed: int = 0,
) -> Transpiled:
    """Transpile a program for a device once for all angles.

    The result is cached: programs of the same structure share it, whatever their inputs and
    weights. It has been compared with the program at random angles (see
    `Transpiled.check_equivalence`).

    Args:
        program: The program; its angles stay symbolic, one parameter per slot.
        device: The device. Its dead edges are not used.
        layout: The physical qubit for each logical qubit to start on; ``None`` lets Qiskit search
            for a good one.
        optimization_level: Qiskit's optimisation level, 0 to 3.
        seed: Seed of Qiskit's layout search and routing.

    Raises:
        ValueError: The circuit does not fit the device, ``layout`` is not one distinct qubit of the
            device per logical qubit, Qiskit finds no native circuit (for example because dead edges
            separate the qubits), or the circuit needs a gate that is dead on this device.

    Example:
        >>> from nisqkit.circuits import lower, u3_cu3
        >>> from nisqkit.noise import Device
        >>> program = lower(u3_cu3(4, blocks=8))
        >>> found = transpile_to(program, Device.load("fake_santiago"), layout=[4, 3, 2, 1])
        >>> found.initial_layout, sorted(found.circuit.count_ops())
        ((4, 3, 2, 1), ['cx', 'rz', 'sx'])
    """
    if program.num_qubits > device.num_qubits:
        raise ValueError(
            f"the circuit has {program.num_qubits} qubits and {device.name} has "
            f"{device.num_qubits}: use fewer qubits or a larger device"
        )
    if optimization_level not in (0, 1, 2, 3):
        raise ValueError(f"optimization_level is {optimization_level}: give 0, 1, 2 or 3")
    chosen = None if layout is None else tuple(layout)
    if chosen is not None:
        _check_layout(chosen, program, device)
    return _transpile(program.by_slots, device, chosen, optimization_level, seed)


def _check_layout(layout: tuple[int, ...], program: Program, device: Device) -> None:
    needs = f"give one distinct qubit between 0 and {device.num_qubits - 1} per logical qubit"
    if len(layout) != program.num_qubits:
        raise ValueError(
            f"layout {list(layout)} has {len(layout)} entries and the circuit {program.num_qubits} "
            f"qubits: {needs}"
        )
    if unknown := [q for q in layout if q not in range(device.num_qubits)]:
        raise ValueError(f"layout {list(layout)}: {unknown[0]} is not on {device.name}; {needs}")
    if repeated := [q for q in layout if layout.count(q) > 1]:
        raise ValueError(f"layout {list(layout)} lists qubit {repeated[0]} twice: {needs}")


@lru_cache(maxsize=128)
def _transpile(
    program: Program, device: Device, layout: tuple[int, ...] | None, level: int, seed: int
) -> Transpiled:
    circuit, slots = slot_circuit(program, native=True)
    try:
        found = transpile(
            circuit,
            target=_target(device),
            initial_layout=None if layout is None else list(layout),
            optimization_level=level,
            seed_transpiler=seed,
        )
    except TranspilerError as error:
        where = "" if layout is None else f" with layout {list(layout)}"
        dead = f"; edges {list(device.dead_edges)} are dead" if device.dead_edges else ""
        raise ValueError(
            f"a circuit of {program.num_qubits} qubits cannot be transpiled for "
            f"{device.name}{where}{dead}: {error.message.strip('.')}. Choose another layout or "
            f"device"
        ) from error
    result = Transpiled(
        program=program,
        device=device,
        circuit=_plain(found, device),
        slots=slots,
        initial_layout=tuple(found.layout.initial_index_layout(filter_ancillas=True)),
        layout=tuple(found.layout.final_index_layout(filter_ancillas=True)),
        seed=seed,
        optimization_level=level,
    )
    for instruction in result.circuit.data:
        qubits = tuple(result.circuit.find_bit(q).index for q in instruction.qubits)
        calibration = device.gate(instruction.name, qubits)
        if calibration is not None and calibration.is_dead:
            what = "this qubit" if len(qubits) == 1 else "this edge"
            raise ValueError(
                f"the circuit needs {instruction.name} on {qubits} of {device.name}, which is dead "
                f"(error 1): choose a layout without {what}"
            )
    result.check_equivalence()
    return result


def _is_old(device: Device) -> bool:
    """Whether the one-qubit gates are u1, u2 and u3, as on IBM's machines before 2021."""
    return {"u1", "u2", "u3"}.issubset(device.native_gates) and "rz" not in device.native_gates


@lru_cache(maxsize=32)
def _target(device: Device) -> Target:
    """What Qiskit transpiles to.

    Merging parameterised u1, u2 and u3 takes it exponentially long, so it is shown rz, sx and x in
    their place, and `_plain` writes these as u1, u2 and u3.
    """
    if not _is_old(device):
        return device.target()
    new = {"u1": "rz", "u2": "sx", "u3": "x"}
    gates = tuple(g._replace(gate=new.get(g.gate, g.gate)) for g in device.gates)
    return replace(device, gates=gates).target()


def _plain(found: QuantumCircuit, device: Device) -> QuantumCircuit:
    """The circuit without a global phase, in gates that the device has."""
    old = _is_old(device)
    circuit = QuantumCircuit(found.num_qubits)
    for instruction in found.data:
        operation = instruction.operation
        if old and operation.name == "rz":
            operation = U1Gate(*operation.params)
        elif old and operation.name == "sx":
            operation = U2Gate(-pi / 2, pi / 2)
        elif old and operation.name == "x":
            operation = U3Gate(pi, 0, pi)
        circuit.append(operation, [found.find_bit(q).index for q in instruction.qubits])
    return circuit


def _state(
    circuit: QuantumCircuit, slots: ParameterVector, values: NDArray[np.float64]
) -> NDArray[np.complex128]:
    bound = {p: v for p, v in zip(slots, values, strict=True) if p in circuit.parameters}
    return np.asarray(Statevector(circuit.assign_parameters(bound)).data)
