"""PyQTorch with its adjoint differentiation."""

from __future__ import annotations

import pyqtorch as pyq
import torch
from torch import Tensor

from peers.pyqtorch import Step as AutogradStep


class Step(AutogradStep):
    """One adjoint pass per observable."""

    def model(self, inputs: Tensor) -> Tensor:
        """See `TorchStep`."""
        values, start = self.values(inputs), self.circuit.init_state(batch_size=len(inputs))
        return torch.stack(
            [
                pyq.expectation(self.circuit, start, values, o, pyq.DiffMode.ADJOINT)
                for o in self.observables
            ],
            1,
        )
