"""Post-measurement normalisation: measured values with mean 0 and variance 1, per qubit.

Noise acts on the expectation value of a qubit about as an affine map, ``y -> a y + b`` with the
same a and b for every sample (readout errors do exactly that). Normalisation cancels it.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nisqkit.circuits.names import unknown

STATISTICS = ("frozen", "batch", "running")


class PostMeasurementNorm(nn.Module):
    """Normalise each measured value over the batch: ``(y - mean) / sqrt(var + eps)``.

    ``(..., num_outputs) -> (..., num_outputs)``, with mean and biased variance of each output over
    all leading dimensions; gradients flow through both. Nothing is trained: there is no scale and
    no shift. In training these are always the statistics of the batch. In evaluation mode they are,
    by `statistics`:

    - ``"frozen"``: those that `freeze_statistics` measured, on the device if the model is there,
      so that a prediction does not depend on what else is in its batch;
    - ``"running"``: the moving average over training batches;
    - ``"batch"``: those of the batch that is evaluated, as published. The prediction for a sample
      then depends on the others.

    Source: Wang et al., QuantumNAT, DAC 2022 (arXiv:2110.11331), section 3.1.

    Args:
        num_outputs: Number of columns.
        statistics: See above.
        eps: Added to the variance. The published 1e-5 would leave 5 % of the noise's gain for
            values whose standard deviation is 0.01.
        momentum: Weight of the newest batch in the moving average.

    Attributes:
        mean, var: What evaluation uses, shape ``(num_outputs,)``.
        known: Whether they are known.

    Raises:
        ValueError: Unknown `statistics`; in ``forward``, another number of columns, a batch of one
            whose own statistics are needed, or evaluation before `freeze_statistics`.

    Example:
        >>> norm = PostMeasurementNorm(2)
        >>> norm(torch.tensor([[0.1, 0.5], [0.3, -0.5]])).round(decimals=3)
        tensor([[-1.,  1.],
                [ 1., -1.]])
    """

    mean: Tensor
    var: Tensor
    known: Tensor

    def __init__(
        self,
        num_outputs: int,
        statistics: str = "frozen",
        eps: float = 1e-9,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if num_outputs < 1:
            raise ValueError(f"num_outputs={num_outputs} must be at least 1")
        if statistics not in STATISTICS:
            raise ValueError(unknown("statistics", statistics, STATISTICS))
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum={momentum} must be above 0 and at most 1")
        if not eps > 0:
            raise ValueError(f"eps={eps} must be positive, such as 1e-9")
        self.num_outputs, self.statistics = num_outputs, statistics
        self.eps, self.momentum = eps, momentum
        self.register_buffer("mean", torch.zeros(num_outputs))
        self.register_buffer("var", torch.ones(num_outputs))
        self.register_buffer("known", torch.tensor(False))

    def forward(self, y: Tensor) -> Tensor:
        """Normalise."""
        if y.dim() == 0 or y.shape[-1] != self.num_outputs:
            raise ValueError(
                f"got values of shape {tuple(y.shape)}, expected (..., {self.num_outputs})"
            )
        if self.training or self.statistics == "batch":
            mean, var = self.measure(y)
            if self.training and self.statistics == "running":
                self._follow(mean.detach(), var.detach())
        elif not self.known:
            how = (
                "call freeze_statistics(model, x_valid)"
                if self.statistics == "frozen"
                else "train first"
            )
            raise ValueError(
                f"the statistics of this PostMeasurementNorm are not known yet: {how}, or use "
                "statistics='batch'"
            )
        else:
            mean, var = self.mean, self.var
        return (y - mean) * torch.rsqrt(var + self.eps)

    def measure(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of each column.

        Raises:
            ValueError: There is only one sample.
        """
        rows = y.reshape(-1, self.num_outputs)
        if len(rows) < 2:
            raise ValueError(
                f"a batch of {len(rows)} has no variance to normalise with: give at least 2 "
                "samples, or evaluate with frozen statistics (statistics='frozen', model.eval(), "
                "freeze_statistics(model, x_valid))"
            )
        var, mean = torch.var_mean(rows, dim=0, correction=0)
        return mean, var

    def freeze(self, y: Tensor) -> None:
        """Take the statistics of these values for evaluation."""
        mean, var = self.measure(y.detach())
        self.mean.copy_(mean)
        self.var.copy_(var)
        self.known.fill_(True)

    def _follow(self, mean: Tensor, var: Tensor) -> None:
        share = self.momentum if self.known else 1.0
        self.mean.lerp_(mean.to(self.mean), share)
        self.var.lerp_(var.to(self.var), share)
        self.known.fill_(True)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"{self.num_outputs}, statistics={self.statistics!r}"


def norms(model: nn.Module) -> list[PostMeasurementNorm]:
    """The normalisations of a model whose statistics are to be frozen."""
    found = (m for m in model.modules() if isinstance(m, PostMeasurementNorm))
    return [norm for norm in found if norm.statistics == "frozen"]


def freeze_statistics(model: nn.Module, features: Tensor | NDArray[Any]) -> None:
    """Measure what every `PostMeasurementNorm` of a model uses in evaluation mode.

    The model runs once, in evaluation mode, on all of the features together, and each normalisation
    takes the statistics of what arrives at it. No labels are needed: use the validation split. Of a
    model on a device these are the device's statistics, so that its affine noise is cancelled.
    A model without frozen statistics is not run at all.

    Args:
        model: Any module; its weights, and its mode, stay as they are.
        features: Shape ``(N, F)`` with ``N >= 2``.

    Raises:
        ValueError: Less than two samples.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), PostMeasurementNorm(2)).eval()
        >>> freeze_statistics(model, torch.rand(10, 3))
        >>> model(torch.rand(1, 3)).shape  # a single sample has an answer now
        torch.Size([1, 2])
    """
    found = norms(model)
    if not found:
        return

    def freeze(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, PostMeasurementNorm)
        norm.freeze(arguments[0])

    hooks = [norm.register_forward_pre_hook(freeze) for norm in found]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(torch.as_tensor(features))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
