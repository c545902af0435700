"""nisqkit: a `QuantumLayer` on the native engine."""

from __future__ import annotations

from qiskit import QuantumCircuit
from torch import Tensor
from workloads import Workload

from nisqkit.circuits import angle, encoder, hardware_efficient, u3_cu3
from nisqkit.hardware_backends.native.backend import NativeBackend
from nisqkit.qml import QuantumLayer
from peers.torch_step import TorchStep, fill


def circuit(workload: Workload) -> QuantumCircuit:
    """The circuit from nisqkit's own encoders and ansatze; inputs are ``x``."""
    n, layers = workload.qubits, workload.layers
    if workload.family == "u3_cu3":
        return encoder("4x4_ryzxy").compose(u3_cu3(n, layers))
    return angle(n).compose(hardware_efficient(n, layers))


class Step(TorchStep):
    """The layer, as a user would write it."""

    def build(self) -> None:
        """See `TorchStep`."""
        backend = NativeBackend(threads=self.threads)
        self.layer = QuantumLayer(circuit(self.workload), inputs="x", backend=backend, seed=0)
        fill([self.layer.weights], self.weights)
        self.weights = self.layer.weights

    def model(self, inputs: Tensor) -> Tensor:
        """See `TorchStep`."""
        return self.layer(inputs)
