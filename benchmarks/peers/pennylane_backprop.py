"""PennyLane's ``default.qubit`` with torch and backpropagation; the batch by broadcasting."""

from __future__ import annotations

import pennylane as qp
import torch
from torch import Tensor

from peers.pennylane_circuit import qnode
from peers.torch_step import TorchStep


class Step(TorchStep):
    """It computes in complex128, whatever the parameters' precision."""

    precision = "complex128"

    def build(self) -> None:
        """See `TorchStep`."""
        device = qp.device("default.qubit", wires=self.workload.qubits)
        self.circuit = qnode(self.workload, device, interface="torch", diff_method="backprop")

    def model(self, inputs: Tensor) -> Tensor:
        """See `TorchStep`."""
        return torch.stack(list(self.circuit(inputs, self.weights)), -1)
