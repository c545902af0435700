"""The circuit in TensorCircuit-NG, for one sample; shared by two adapters."""

from __future__ import annotations

from typing import Any

import tensorcircuit as tc
from workloads import Workload


def outputs(workload: Workload, inputs: Any, weights: Any) -> Any:
    """``(qubits,)``, with the default contractor."""
    circuit = tc.Circuit(workload.qubits)
    for gate in workload.gates:
        source = inputs if gate.source == "x" else weights
        angles = [source[k] for k in gate.columns]
        if gate.name == "cx":
            circuit.cnot(*gate.qubits)
        elif gate.name in ("u3", "cu3"):
            theta, phi, lam = angles
            apply = circuit.u if gate.name == "u3" else circuit.cu
            apply(*gate.qubits, theta=theta, phi=phi, lbd=lam)
        else:
            getattr(circuit, gate.name)(*gate.qubits, theta=angles[0])
    values = [circuit.expectation_ps(z=[q]) for q in range(workload.qubits)]
    return tc.backend.real(tc.backend.stack(values))
