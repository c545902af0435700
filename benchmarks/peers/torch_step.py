"""A training step in PyTorch; adapters say what the model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from workloads import Data, Workload


class TorchStep:
    """Adapters define `build` and `model`, and `parameters` if the weights are not one tensor."""

    precision = "complex64"

    def __init__(self, workload: Workload, data: Data, threads: int) -> None:
        torch.set_num_threads(threads)
        self.workload, self.threads = workload, threads
        self.inputs = torch.tensor(data.inputs, requires_grad=True)
        self.target = torch.tensor(data.target)
        self.weights = torch.tensor(data.weights, requires_grad=True)
        self.build()

    def build(self) -> None:
        """Make the circuit; ``self.weights`` holds the weights."""
        raise NotImplementedError

    def model(self, inputs: Tensor) -> Tensor:
        """``(batch, num_inputs) -> (batch, qubits)``."""
        raise NotImplementedError

    def parameters(self) -> Sequence[Tensor]:
        """The tensors that hold the weights."""
        return [self.weights]

    def gradient(self) -> Tensor:
        """The gradient of the weights, in the workload's order."""
        return torch.cat([p.grad.reshape(-1) for p in self.parameters()])

    def step(self) -> None:
        """One training step without the optimiser."""
        for tensor in (self.inputs, *self.parameters()):
            tensor.grad = None
        self.outputs = self.model(self.inputs)
        self.loss = ((self.outputs - self.target) ** 2).mean()
        self.loss.backward()

    def forward(self) -> Any:
        """The outputs alone."""
        with torch.no_grad():
            return self.model(self.inputs)

    def release(self) -> None:
        """Let go of the graph."""
        self.outputs, self.loss = self.outputs.detach(), self.loss.detach()

    def result(self) -> list[Any]:
        """Outputs, loss, gradient of the weights, gradient of the inputs."""
        tensors = (self.outputs, self.loss, self.gradient(), self.inputs.grad)
        return [t.detach().numpy() for t in tensors]


def fill(parameters: Sequence[Tensor], weights: Tensor) -> None:
    """Copy one vector of weights into many parameters, in order."""
    parts = weights.detach().split([p.numel() for p in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.copy_(part.reshape(parameter.shape))
