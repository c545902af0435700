"""DeepQuantum: a circuit object that holds its parameters."""

from __future__ import annotations

from collections.abc import Sequence

import deepquantum as dq
from torch import Tensor

from peers.torch_step import TorchStep, fill


class Step(TorchStep):
    """The batch by its own ``vmap``."""

    def build(self) -> None:
        """See `TorchStep`."""
        circuit = dq.QubitCircuit(self.workload.qubits)
        names = {"cu3": "cu", "cx": "cnot"}
        for gate in self.workload.gates:
            add = getattr(circuit, names.get(gate.name, gate.name))
            if gate.source == "x":
                add(*gate.qubits, encode=True)
            else:
                add(*gate.qubits)
        for q in range(self.workload.qubits):
            circuit.observable(q)
        self.circuit = circuit
        fill(self.parameters(), self.weights)

    def parameters(self) -> Sequence[Tensor]:
        """See `TorchStep`."""
        return list(self.circuit.parameters())

    def model(self, inputs: Tensor) -> Tensor:
        """See `TorchStep`."""
        self.circuit(data=inputs)
        return self.circuit.expectation()
