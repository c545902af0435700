"""What Qiskit Aer runs: programs as circuits with one free parameter per angle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit_aer import AerSimulator

from nisqkit.circuits.amplitude import synthesise
from nisqkit.circuits.angles import AngleMap
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.program import GateUse, Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.slot_circuit import slot_angles, slot_circuit
from nisqkit.hardware_backends.transpile import Transpiled
from nisqkit.noise.aer_io import aer_circuit
from nisqkit.noise.coverage import coverage
from nisqkit.noise.device import Device
from nisqkit.noise.noisy_program import NoisyProgram
from nisqkit.noise.readout import confuse

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AerCircuit:
    """What Aer runs for one program in one basis.

    Attributes:
        circuit: Its angles are the parameters of `slots`, which Aer binds quickly where they are
            not in an expression.
        slots: The parameters.
        measured: The qubit that holds each logical qubit at the end.
        transpiled: Where it came from, if Aer adds the noise of its device.
        noisy: Where it came from, if the channels of a noise model are among the instructions.
    """

    circuit: QuantumCircuit
    slots: ParameterVector
    measured: tuple[int, ...]
    transpiled: Transpiled | None = None
    noisy: NoisyProgram | None = None

    @property
    def device(self) -> Device | None:
        """The device whose noise Aer has to add, with the qubits of the circuit."""
        return None if self.transpiled is None else self.transpiled.reduced_device

    @property
    def saved(self) -> tuple[int, ...]:
        """Qubits whose probabilities `readout` needs, the least significant first."""
        return self.measured if self.noisy is None else tuple(range(self.noisy.num_qubits))

    @cached_property
    def size(self) -> int:
        """How much Aer has to copy for each sample, in gates."""
        entries = sum(
            parameter.size
            for instruction in self.circuit.data
            for parameter in instruction.operation.params
            if isinstance(parameter, np.ndarray)
        )
        return 1 + int(self.circuit.size()) + entries // 50  # a gate takes some 750 bytes

    @cached_property
    def with_measurements(self) -> QuantumCircuit:
        """The circuit with every logical qubit measured into its bit."""
        n = len(self.measured)
        result = QuantumCircuit(self.circuit.num_qubits, n)
        result.compose(self.circuit, inplace=True)
        result.measure(self.measured, range(n))
        return result

    def angles(self, task: Task) -> FloatArray:
        """Values of `slots` for every sample of a task, radians."""
        with torch.no_grad():
            program = task.program if self.noisy is None else self.noisy.program
            values = slot_angles(program, task.inputs, task.weights)
            if self.transpiled is not None:
                values = self.transpiled.native.angles(values, values.new_zeros(0))
        return values.double().cpu().numpy()

    def bindings(self, angles: FloatArray) -> dict[Any, list[float]]:
        """Those angles that occur in the circuit, as Aer takes them."""
        used = self.circuit.parameters
        return {p: angles[:, k].tolist() for k, p in enumerate(self.slots) if p in used}

    def readout(self, probabilities: FloatArray) -> FloatArray:
        """Probabilities of what is read, given those of what is there, ``(batch, 2**len(saved))``.

        Shape ``(batch, 2**n)``.
        """
        if self.noisy is not None:
            return confuse(torch.from_numpy(probabilities), self.noisy).numpy()
        if self.transpiled is None:
            return probabilities
        n = len(self.measured)
        table = probabilities.reshape(-1, *[2] * n)
        for logical, qubit in enumerate(self.measured):
            pair = self.transpiled.reduced_device.readout[qubit]
            assert pair is not None, "coverage has been checked"
            read_1_after_0, read_0_after_1 = pair
            confusion = np.array(
                [[1 - read_1_after_0, read_0_after_1], [read_1_after_0, 1 - read_0_after_1]]
            )
            axis = n - logical
            table = np.moveaxis(np.tensordot(confusion, table, axes=(1, axis)), 0, axis)
        return np.asarray(table.reshape(len(probabilities), 2**n), dtype=np.float64)


@lru_cache(maxsize=1)
def bindable_gates() -> frozenset[str]:
    """Return the gates of the table that Aer runs as they are, with the right angles.

    Without the parameterised controlled ones (``cp``, ``crx``, ``cu3``, ...): Aer 0.18 leaves their
    angles at 0 when it binds parameters itself (its issues 2323 and 2403). Its density matrices
    know fewer gates than its state vectors.
    """
    known = AerSimulator(method="density_matrix").configuration().basis_gates
    exchange = {"rxx", "ryy", "rzz", "rzx"}
    safe = {n for n, g in GATES.items() if g.num_qubits == 1 or g.num_params == 0 or n in exchange}
    return frozenset(safe.intersection(known))


@lru_cache(maxsize=128)
def ideal_circuit(program: Program) -> AerCircuit:
    """A program without noise."""
    circuit, slots = slot_circuit(program, keep=bindable_gates() | {"unitary"})
    return AerCircuit(circuit, slots, tuple(range(program.num_qubits)))


@lru_cache(maxsize=128)
def on_device(transpiled: Transpiled) -> AerCircuit:
    """A circuit on a device whose noise Aer adds.

    Raises:
        ValueError: The device has no noise for a gate, or no readout error for a qubit.
    """
    circuit, slots = slot_circuit(transpiled.native)
    result = AerCircuit(circuit, slots, transpiled.measured, transpiled)
    coverage(result.with_measurements, transpiled.reduced_device).check()
    angled = {use.name for use in transpiled.native.gates if use.slots}
    assert angled <= bindable_gates(), f"Aer cannot bind the angles of {angled - bindable_gates()}"
    return result


def noisy_circuit(noisy: NoisyProgram) -> AerCircuit:
    """A noisy program, its channels as instructions; kept with the program."""
    if "aer" not in noisy.cache:
        noisy.cache["aer"] = _noisy_circuit(noisy)
    found: AerCircuit = noisy.cache["aer"]
    return found


def _noisy_circuit(noisy: NoisyProgram) -> AerCircuit:
    # Aer's density matrices cannot be told their first state by parameters: it becomes gates,
    # which stay as exact as the model says that it is
    flat, _ = synthesise(noisy.program)
    loading = flat.gates[: len(flat.gates) - len(noisy.program.gates)]
    slots = ParameterVector("slot", flat.angle_map.num_slots)
    written = aer_circuit(
        replace(noisy, program=flat, operations=(*loading, *noisy.operations)), slots
    )
    circuit = QuantumCircuit(flat.num_qubits)
    for instruction in written.data:
        operation = instruction.operation
        qubits = [written.find_bit(q).index for q in instruction.qubits]
        if operation.name in GATES and operation.name not in bindable_gates():
            circuit.compose(_in_bindable(operation.name, operation.params), qubits, inplace=True)
        else:
            circuit.append(operation, qubits)
    return AerCircuit(circuit, slots, noisy.measured, noisy=noisy)


def _in_bindable(name: str, angles: list[Any]) -> QuantumCircuit:
    """A gate in gates whose angles Aer can bind, up to a phase."""
    gate = GATES[name]
    use = GateUse(name, tuple(range(gate.num_qubits)), tuple(range(gate.num_params)))
    program = Program(gate.num_qubits, (use,), AngleMap.identity(gate.num_params))
    circuit, slots = slot_circuit(program, keep=bindable_gates())
    return circuit.assign_parameters(dict(zip(slots, angles, strict=True)))
