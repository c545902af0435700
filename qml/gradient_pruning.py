"""Gradient pruning: which weights get their gradient measured in a step.

Most of what training on a device costs are the shifted circuits, two or more for every weight.
Source: Wang et al., QOC, DAC 2022 (arXiv:2202.13239).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from nisqkit.circuits.names import unknown

METHODS = ("probabilistic", "random", "top-k")
"""What `GradientPruning` takes."""


@dataclass(frozen=True)
class GradientPruning:
    r"""When to measure all gradients, and which ones otherwise.

    Training alternates between two windows. In the accumulation window all ``n`` gradients are
    measured, and :math:`M = \sum |g|` over the window is kept. In every step of the pruning window
    that follows, ``(1 - ratio) n`` weights are kept; the others are pruned: they are not measured,
    and should stay as they are (`frozen_step`). Then M starts from zero.

    ``"probabilistic"`` is QOC's: weights are drawn one after another without replacement, each with
    a probability proportional to ``M + floor`` of those that are left. ``"random"`` draws them
    uniformly; it is what QOC's released code does, which resets M before it is used. ``"top-k"``
    takes the largest M.

    Everything is a function of (seed, step, M), so that a resumed run chooses what the interrupted
    one would have.

    Attributes:
        method: One of `METHODS`.
        ratio: Share of the weights that is pruned, from 0 to below 1; at least one weight is kept.
        accumulation_steps: Length of the accumulation window, at least 1.
        pruning_steps: Length of the pruning window, at least 1.
        floor: Added to every M, so that a weight whose gradient was zero can be drawn.

    Raises:
        ValueError: An unknown method, or a value out of its range.

    Example:
        >>> pruning = GradientPruning()
        >>> pruning.saved  # one step of three is full, the two others measure half
        0.3333333333333333
        >>> accumulated = pruning.accumulate(0, torch.zeros(4), torch.tensor([0.0, -2.0, 1.0, 0.1]))
        >>> [int(pruning.keep(step, accumulated, seed=0).sum()) for step in range(4)]
        [4, 2, 2, 4]
    """

    method: str = "probabilistic"
    ratio: float = 0.5
    accumulation_steps: int = 1
    pruning_steps: int = 2
    floor: float = 0.01

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(unknown("pruning method", self.method, METHODS))
        if not 0 <= self.ratio < 1:
            raise ValueError(
                f"ratio={self.ratio!r} must be from 0 to below 1: the share of weights that is "
                "pruned, such as 0.5"
            )
        for name in ("accumulation_steps", "pruning_steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number of at least 1")
        if not (isfinite(self.floor) and self.floor > 0):
            raise ValueError(
                f"floor={self.floor!r} must be a positive number: without it a weight whose "
                "gradient was once zero would never be measured in a pruning window"
            )

    @property
    def saved(self) -> float:
        """Share of the shifted circuits that are not run: ``r w_p / (w_a + w_p)``."""
        return self.ratio * self.pruning_steps / (self.accumulation_steps + self.pruning_steps)

    def is_full(self, step: int) -> bool:
        """Whether all gradients are measured in a step, counted from 0."""
        return step % (self.accumulation_steps + self.pruning_steps) < self.accumulation_steps

    def num_kept(self, num_weights: int) -> int:
        """How many of so many weights a step of the pruning window measures; halves round up."""
        return max(1, int((1 - self.ratio) * num_weights + 0.5))

    def accumulate(self, step: int, accumulated: Tensor, gradient: Tensor) -> Tensor:
        """M after a step.

        Args:
            step: The step, counted from 0.
            accumulated: M before it, shape ``(n,)``; zeros before the first step.
            gradient: What was measured in it, shape ``(n,)``; not used in the pruning window.

        Raises:
            ValueError: A gradient is not finite.
        """
        if not self.is_full(step):
            return accumulated
        if not gradient.isfinite().all():
            raise ValueError(
                f"the gradient of weight {int((~gradient.isfinite()).nonzero()[0])} is not finite: "
                "try a lower learning rate, or look for extreme values in the features"
            )
        opens = step % (self.accumulation_steps + self.pruning_steps) == 0
        return gradient.abs() if opens else accumulated + gradient.abs()

    def keep(self, step: int, accumulated: Tensor, seed: int) -> Tensor:
        """Which weights to measure in a step.

        Args:
            step: The step, counted from 0.
            accumulated: M before it, shape ``(n,)``.
            seed: Of the draws.

        Returns:
            Booleans of shape ``(n,)``.
        """
        n = len(accumulated)
        if self.is_full(step):
            return torch.ones(n, dtype=torch.bool)
        if self.method == "top-k":
            order = torch.sort(accumulated, descending=True, stable=True).indices.numpy()
        else:
            # a counter that the order of the samples, whose key may be the same, does not reach
            random = np.random.Generator(np.random.Philox(key=[seed, step], counter=[0, 0, 0, 1]))
            # Whoever arrives first in a race of exponential clocks of these rates was drawn first:
            # Efraimidis and Spirakis, Inf. Process. Lett. 97, 181 (2006).
            times = random.standard_exponential(n)
            if self.method == "probabilistic":
                times /= accumulated.double().numpy() + self.floor
            order = np.argsort(times, kind="stable")
        kept = torch.zeros(n, dtype=torch.bool)
        kept[torch.as_tensor(order[: self.num_kept(n)])] = True
        return kept
