"""What share of a space fits its budgets, before anything is trained or simulated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nisqkit.search.base import Space, Value
from nisqkit.search.budget import Budget

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Killer:
    """What one budget does to a space.

    Attributes:
        budget: the budget.
        share: share of the samples that break it.
        alone: share of the samples that break it and no other: what lifting it would win.
        least_excess: the smallest amount by which a sample breaks it, in the metric's unit.
        median_excess: the median amount.
    """

    budget: Budget
    share: float
    alone: float
    least_excess: float
    median_excess: float

    def __str__(self) -> str:
        return (
            f"{self.budget} is broken by {self.share:.1%} ({self.alone:.1%} break it alone), by "
            f"at least {self.least_excess:g}, in the median by {self.median_excess:g}"
        )


@dataclass(frozen=True)
class Feasibility:
    """What share of a space fits its budgets.

    Attributes:
        share: share of the samples that fit all budgets.
        interval: Clopper and Pearson's 95 % interval of that share in the space.
        samples: number of samples.
        killers: budgets that some sample breaks, the worst first.
    """

    share: float
    interval: tuple[float, float]
    samples: int
    killers: tuple[Killer, ...]

    def table(self) -> Table:
        """One row per budget that kills."""
        from rich.table import Table

        low, high = self.interval
        title = f"{self.share:.1%} of {self.samples} samples fit ({low:.1%} to {high:.1%})"
        table = Table("budget", "broken by", "by it alone", "by at least", "median", title=title)
        for k in self.killers:
            excess = (f"{k.least_excess:g}", f"{k.median_excess:g}")
            table.add_row(str(k.budget), f"{k.share:.1%}", f"{k.alone:.1%}", *excess)
        return table

    def __str__(self) -> str:
        low, high = self.interval
        lines = [f"{self.share:.1%} of {self.samples} samples fit ({low:.1%} to {high:.1%})"]
        return "\n".join(lines + [str(killer) for killer in self.killers])


def measure_feasibility(
    space: Space,
    budgets: Sequence[Budget],
    measure: Callable[[Value], Mapping[str, float]],
    *,
    samples: int = 1000,
    seed: int = 0,
) -> Feasibility:
    """Sample the space and count what fits.

    The share refers to the distribution from which a search starts (`Space.sample`).

    Args:
        space: where to sample.
        budgets: what must hold, all of it.
        measure: the static metrics of a value.
        samples: how many, at least 1.
        seed: of the samples.

    Raises:
        ValueError: no samples, or a budget on a metric that `measure` does not return.

    Example:
        >>> from nisqkit.search import Int
        >>> found = Int(1, 10).feasible([Budget("gates", max=20)], lambda n: {"gates": 4 * n})
        >>> round(found.share, 1), found.killers[0].least_excess  # 5 of 10 fit; 6 needs 24
        (0.5, 4.0)
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    rng = np.random.default_rng(seed)
    excess = np.zeros((samples, len(budgets)))
    for row in excess:
        metrics = measure(space.sample(rng))
        row[:] = [budget.excess(metrics) for budget in budgets]
    broken = excess > 0
    fits = int((~broken.any(axis=1)).sum())
    alone = broken & (broken.sum(axis=1, keepdims=True) == 1)
    killers = [
        Killer(
            budget=budget,
            share=float(broken[:, j].mean()),
            alone=float(alone[:, j].mean()),
            least_excess=float(excess[broken[:, j], j].min()),
            median_excess=float(np.median(excess[broken[:, j], j])),
        )
        for j, budget in enumerate(budgets)
        if broken[:, j].any()
    ]
    killers.sort(key=lambda killer: -killer.share)
    return Feasibility(fits / samples, _clopper_pearson(fits, samples), samples, tuple(killers))


def _clopper_pearson(fits: int, samples: int) -> tuple[float, float]:
    from scipy.stats import beta

    low = 0.0 if fits == 0 else float(beta.ppf(0.025, fits, samples - fits + 1))
    high = 1.0 if fits == samples else float(beta.ppf(0.975, fits + 1, samples - fits))
    return low, high
