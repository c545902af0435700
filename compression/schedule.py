"""`PruningSchedule`: which share is pruned at which point of a training, for weights and gates."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True)
class PruningSchedule:
    """The pruned share as a polynomial of the training's progress: fast at first, then slower.

    ``share = target + (start - target) * (1 - min(1, progress / end)) ** power``: it is ``start``
    at the beginning, and ``target`` from ``progress = end`` on, so that the rest of the training
    repairs what pruning has broken. Progress is the share of the training that has passed.

    Source: Zhu and Gupta 2017 (arXiv:1710.01878) with power 3; QuantumNAS prunes gates by it
    (arXiv:2107.10845).

    Args:
        start: share at the beginning, in [0, 1).
        target: share at the end, in [0, 1), and no less than ``start``.
        end: progress at which it is reached, in (0, 1].
        power: of the polynomial, above 0; 1 is a line.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> schedule = PruningSchedule(start=0.0, target=0.8, end=0.5)
        >>> [round(schedule.share(progress), 3) for progress in (0, 0.25, 0.5, 1)]
        [0.0, 0.7, 0.8, 0.8]
    """

    start: float = 0.05
    target: float = 0.5
    end: float = 0.5
    power: float = 3

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.target < 1:
            raise ValueError(
                f"start={self.start} and target={self.target} are shares that are pruned: give "
                "0 <= start <= target < 1"
            )
        if not 0 < self.end <= 1:
            raise ValueError(f"end={self.end} is a share of the training: give 0 < end <= 1")
        if not (self.power > 0 and isfinite(self.power)):
            raise ValueError(f"power must be positive and finite, got {self.power}")

    def share(self, progress: float) -> float:
        """The share that is pruned at a progress in [0, 1].

        Raises:
            ValueError: progress outside of [0, 1].
        """
        if not 0 <= progress <= 1:
            raise ValueError(f"progress is a share of the training, in [0, 1], got {progress}")
        left = 1 - min(1.0, progress / self.end)
        return float(self.target + (self.start - self.target) * left**self.power)
