"""TensorCircuit-NG in PyTorch."""

from __future__ import annotations

import tensorcircuit as tc
from torch import Tensor

from peers.tensorcircuit_circuit import outputs
from peers.torch_step import TorchStep


class Step(TorchStep):
    """The batch by its own ``vmap``."""

    def build(self) -> None:
        """See `TorchStep`."""
        tc.set_backend("pytorch")
        tc.set_dtype("complex64")
        self.batched = tc.backend.vmap(
            lambda inputs, weights: outputs(self.workload, inputs, weights), vectorized_argnums=0
        )

    def model(self, inputs: Tensor) -> Tensor:
        """See `TorchStep`."""
        return self.batched(inputs, self.weights)
