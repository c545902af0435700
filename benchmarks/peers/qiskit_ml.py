"""Qiskit Machine Learning: an ``EstimatorQNN`` with reverse gradients, as a torch module."""

from __future__ import annotations

from collections.abc import Sequence

from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms.gradients import ReverseEstimatorGradient
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN
from torch import Tensor

from peers.qiskit_circuit import circuit
from peers.torch_step import TorchStep


class Step(TorchStep):
    """A loop over samples and observables; exact values in double precision."""

    precision = "complex128"

    def build(self) -> None:
        """See `TorchStep`."""
        n = self.workload.qubits
        written, inputs, weights = circuit(self.workload)
        network = EstimatorQNN(
            circuit=written,
            estimator=StatevectorEstimator(default_precision=0.0),
            observables=[SparsePauliOp.from_sparse_list([("Z", [q], 1)], n) for q in range(n)],
            input_params=inputs,
            weight_params=weights,
            gradient=ReverseEstimatorGradient(),
            input_gradients=True,
            default_precision=0.0,
        )
        self.layer = TorchConnector(network, initial_weights=self.weights.detach().numpy())

    def parameters(self) -> Sequence[Tensor]:
        """See `TorchStep`."""
        return [self.layer.weight]

    def model(self, inputs: Tensor) -> Tensor:
        """See `TorchStep`."""
        outputs: Tensor = self.layer(inputs)
        return outputs
