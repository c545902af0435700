"""Post-measurement quantisation: measured values rounded to a few levels, which denoises them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class PostMeasurementQuantize(nn.Module):
    """Round values to equally spaced levels: what noise moved a little falls back into place.

    ``Q(y) = round((clip(y) + limit) / step) step - limit`` with ``step = 2 limit / (levels - 1)``:
    of any shape, the same in training and in evaluation. The gradient passes straight through, as
    if nothing was rounded or clipped. It belongs behind a `PostMeasurementNorm`, whose values
    have variance 1.

    Source: Wang et al., QuantumNAT, DAC 2022 (arXiv:2110.11331), section 3.3.

    Args:
        levels: How many.
        limit: The outer levels are at ``-limit`` and ``limit``.

    Raises:
        ValueError: Fewer than two levels, or a limit that is not positive.

    Example:
        >>> PostMeasurementQuantize(levels=5)(torch.tensor([-3.0, -0.4, 0.6, 1.2]))
        tensor([-2.,  0.,  1.,  1.])
    """

    def __init__(self, levels: int = 5, limit: float = 2.0) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels={levels} must be at least 2")
        if not 0 < limit < float("inf"):
            raise ValueError(f"limit={limit} must be a positive number, such as 2.0")
        self.levels, self.limit = levels, limit

    def centroids(self) -> Tensor:
        """The levels in order, shape ``(levels,)``."""
        return torch.linspace(-self.limit, self.limit, self.levels)

    def forward(self, y: Tensor) -> Tensor:
        """Round."""
        return y + (self._rounded(y) - y).detach()

    def centroid_loss(self, y: Tensor) -> Tensor:
        """Mean square distance of values to their levels, which draws them there.

        The levels are held fixed, so that the gradient is ``2 (y - Q(y)) / N``; with Q's own
        straight-through gradient both would cancel, and the loss would do nothing.
        """
        return (y - self._rounded(y).detach()).square().mean()

    def _rounded(self, y: Tensor) -> Tensor:
        step = 2 * self.limit / (self.levels - 1)
        clipped = y.clamp(-self.limit, self.limit)
        return ((clipped + self.limit) / step).round() * step - self.limit

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"levels={self.levels}, limit={self.limit:g}"


@contextmanager
def centroid_losses(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the centroid loss of every `PostMeasurementQuantize` that runs in the block.

    Args:
        model: Any module.

    Yields:
        A list that is filled as the model runs: one scalar per quantiser and pass.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), PostMeasurementQuantize())
        >>> with centroid_losses(model) as losses:
        ...     y = model(torch.rand(4, 2))
        >>> len(losses), losses[0].requires_grad
        (1, True)
    """
    losses: list[Tensor] = []

    def collect(part: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(part, PostMeasurementQuantize)
        losses.append(part.centroid_loss(arguments[0]))

    found = [m for m in model.modules() if isinstance(m, PostMeasurementQuantize)]
    hooks = [part.register_forward_hook(collect) for part in found]
    try:
        yield losses
    finally:
        for hook in hooks:
            hook.remove()
