"""PyQTorch with autograd; parameters by name."""

from __future__ import annotations

import pyqtorch as pyq
import torch
from torch import Tensor

from peers.torch_step import TorchStep


class Step(TorchStep):
    """It has no CU3, which is written as CRZ, CRY, CRZ and a phase."""

    def build(self) -> None:
        """See `TorchStep`."""
        gates = []
        rotations = {"rx": pyq.RX, "ry": pyq.RY, "rz": pyq.RZ}
        self.phases: list[tuple[str, int, int]] = []
        for gate in self.workload.gates:
            names = [f"{gate.source}{k}" for k in gate.columns]
            if gate.name == "cx":
                gates.append(pyq.CNOT(*gate.qubits))
            elif gate.name in rotations:
                gates.append(rotations[gate.name](*gate.qubits, names[0]))
            else:
                theta, phi, lam = names
                if gate.name == "u3":
                    gates.append(pyq.U(*gate.qubits, lam, theta, phi))
                    continue
                gates += [pyq.CRZ(*gate.qubits, lam), pyq.CRY(*gate.qubits, theta)]
                gates.append(pyq.CRZ(*gate.qubits, phi))
                phase = f"phase{len(self.phases)}"
                gates.append(pyq.PHASE(gate.qubits[0], phase))
                self.phases.append((phase, gate.columns[1], gate.columns[2]))
        n = self.workload.qubits
        self.circuit = pyq.QuantumCircuit(n, gates).to(torch.complex64)
        self.observables = [pyq.Observable([pyq.Z(q)]).to(torch.complex64) for q in range(n)]

    def values(self, inputs: Tensor) -> dict[str, Tensor]:
        """Angles by name."""
        values = {f"x{k}": column for k, column in enumerate(inputs.unbind(1))}
        weights = self.weights.split(1)
        values |= {f"w{k}": w for k, w in enumerate(weights)}
        values |= {name: (weights[a] + weights[b]) / 2 for name, a, b in self.phases}
        return values

    def model(self, inputs: Tensor) -> Tensor:
        """See `TorchStep`."""
        start = self.circuit.init_state(batch_size=len(inputs))
        state = pyq.run(self.circuit, start, self.values(inputs))
        return torch.stack([o.expectation(state) for o in self.observables], 1)
