"""Post-measurement quantisation: small errors of an outcome round away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite

import torch
from torch import Tensor, nn


class PostMeasurementQuantize(nn.Module):
    """Round each outcome to the nearest of a few evenly spaced values.

    ``Q(y) = round((clip(y) + limit) / step) step - limit`` with ``step = 2 limit / (levels - 1)``,
    where ``clip`` keeps ``y`` within ``[-limit, limit]``; any shape. An error of less than half a
    step to the nearest level is removed, a larger one becomes a whole step. The gradient passes
    straight through: it is 1 everywhere, also where values are clipped. Training and evaluation do
    the same.

    It goes behind `PostMeasurementNorm`, whose outputs have standard deviation 1; the published
    settings are 3 to 6 levels and a limit of 2. The `centroid_loss` pulls outcomes to the levels;
    `centroid_losses` collects it for a whole model.

    Source: Wang et al., QuantumNAT, DAC 2022 (arXiv:2110.11331); the straight-through gradient is
    that of Bengio et al. 2013 (arXiv:1308.3432).

    Args:
        levels: number of values.
        limit: the largest value; the smallest is ``-limit``.

    Raises:
        ValueError: fewer than 2 levels, or a limit that is not positive.

    Example:
        >>> PostMeasurementQuantize(levels=5)(torch.tensor([-3.0, -0.6, 0.2, 1.4]))
        tensor([-2., -1.,  0.,  1.])
    """

    def __init__(self, levels: int = 5, limit: float = 2.0) -> None:
        super().__init__()
        if isinstance(levels, bool) or not isinstance(levels, int) or levels < 2:
            raise ValueError(f"levels must be an integer of at least 2, got {levels!r}")
        if not (limit > 0 and isfinite(limit)):
            raise ValueError(f"limit must be positive and finite, got {limit!r}")
        self.levels, self.limit = levels, limit

    @property
    def centroids(self) -> Tensor:
        """The values that come out: ``(levels,)``.

        Example:
            >>> PostMeasurementQuantize(levels=5).centroids
            tensor([-2., -1.,  0.,  1.,  2.])
        """
        return self._round(torch.linspace(-self.limit, self.limit, self.levels))

    def forward(self, y: Tensor) -> Tensor:
        """Round, with a gradient of 1."""
        # y - y.detach() is exactly 0, so that values are exactly levels; y + (Q - y) would not be.
        return self._round(y.detach()) + (y - y.detach())

    def centroid_loss(self, y: Tensor) -> Tensor:
        """Mean of ``(y - Q(y))**2`` over all elements, with ``Q(y)`` held fixed.

        The gradient is ``2 (y - Q(y)) / N``. With the straight-through gradient in ``Q(y)`` it
        would be exactly zero, as it is in the code that was released with the paper.

        Example:
            >>> y = torch.tensor([0.2, 1.4], requires_grad=True)
            >>> PostMeasurementQuantize(levels=5).centroid_loss(y).backward()
            >>> y.grad
            tensor([0.2000, 0.4000])
        """
        return (y - self._round(y.detach())).square().mean()

    def _round(self, y: Tensor) -> Tensor:
        step = 2 * self.limit / (self.levels - 1)
        return ((y.clamp(-self.limit, self.limit) + self.limit) / step).round() * step - self.limit

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"levels={self.levels}, limit={self.limit:g}"


@contextmanager
def centroid_losses(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the centroid loss of every `PostMeasurementQuantize` that runs inside the block.

    The list grows by one scalar per quantiser and forward pass, in the order in which they run:
    ``with centroid_losses(model) as losses: logits = model(x)``, then
    ``loss = cross_entropy(logits, y) + weight * sum(losses)``. A model without quantisers leaves it
    empty, and its sum is 0.

    Args:
        model: any module.

    Example:
        >>> model = nn.Sequential(nn.Tanh(), PostMeasurementQuantize(levels=3))
        >>> with centroid_losses(model) as losses:
        ...     _ = model(torch.tensor([0.0, 20.0]))
        >>> losses
        [tensor(0.5000)]
    """
    losses: list[Tensor] = []

    def collect(quantize: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(quantize, PostMeasurementQuantize)
        losses.append(quantize.centroid_loss(args[0]))

    hooks = [
        module.register_forward_hook(collect)
        for module in model.modules()
        if isinstance(module, PostMeasurementQuantize)
    ]
    try:
        yield losses
    finally:
        for hook in hooks:
            hook.remove()
