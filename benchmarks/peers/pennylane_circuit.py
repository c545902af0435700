"""The circuit in PennyLane, shared by three adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pennylane as qp
from workloads import Workload

_ROTATIONS = {"rx": qp.RX, "ry": qp.RY, "rz": qp.RZ}


def qnode(workload: Workload, device: Any, **options: Any) -> Callable[[Any, Any], list[Any]]:
    """A QNode ``(inputs, weights) -> list of Z``.

    U3 and its controlled form are written in lightning's own gates there: with ``qp.U3``, which it
    decomposes, its step takes four times as long.
    """
    native_u3 = device.name != "lightning.qubit"

    @qp.qnode(device, **options)
    def circuit(inputs: Any, weights: Any) -> list[Any]:
        for gate in workload.gates:
            source = inputs if gate.source == "x" else weights
            angles = [source[..., k] for k in gate.columns]
            if gate.name == "cx":
                qp.CNOT(wires=gate.qubits)
            elif gate.name in _ROTATIONS:
                _ROTATIONS[gate.name](*angles, wires=gate.qubits)
            elif native_u3 and gate.name == "u3":
                qp.U3(*angles, wires=gate.qubits)
            elif native_u3:
                qp.ctrl(qp.U3, control=gate.qubits[0])(*angles, wires=gate.qubits[1])
            else:
                theta, phi, lam = angles
                rz, ry = (qp.RZ, qp.RY) if gate.name == "u3" else (qp.CRZ, qp.CRY)
                rz(lam, wires=gate.qubits)
                ry(theta, wires=gate.qubits)
                rz(phi, wires=gate.qubits)
                if gate.name == "cu3":
                    qp.PhaseShift((phi + lam) / 2, wires=gate.qubits[0])
        return [qp.expval(qp.Z(q)) for q in range(workload.qubits)]

    return circuit
