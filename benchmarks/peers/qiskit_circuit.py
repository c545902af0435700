"""The circuit in Qiskit, in rotations and CX, which its gradients know."""

from __future__ import annotations

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from workloads import Workload


def circuit(workload: Workload) -> tuple[QuantumCircuit, list[Parameter], list[Parameter]]:
    """The circuit, its parameters for the inputs, and those for the weights."""
    inputs = ParameterVector("x", workload.num_inputs)
    weights = ParameterVector("w", workload.num_weights)
    found = QuantumCircuit(workload.qubits)
    for gate in workload.gates:
        source = inputs if gate.source == "x" else weights
        angles = [source[k] for k in gate.columns]
        if gate.name == "u3":
            theta, phi, lam = angles
            found.rz(lam, *gate.qubits)
            found.ry(theta, *gate.qubits)
            found.rz(phi, *gate.qubits)
        elif gate.name == "cu3":
            _cu3(found, angles, *gate.qubits)
        else:
            getattr(found, gate.name)(*angles, *gate.qubits)
    return found, list(inputs), list(weights)


def _cu3(found: QuantumCircuit, angles: list[Parameter], control: int, target: int) -> None:
    theta, phi, lam = angles
    found.rz((lam + phi) / 2, control)
    found.rz((lam - phi) / 2, target)
    found.cx(control, target)
    found.rz(-(lam + phi) / 2, target)
    found.ry(-theta / 2, target)
    found.cx(control, target)
    found.ry(theta / 2, target)
    found.rz(phi, target)
