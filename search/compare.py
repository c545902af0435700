"""Whether one search beats another, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nisqkit.search.names import nearest
from nisqkit.search.pareto import hypervolume

if TYPE_CHECKING:
    from nisqkit.search.study import Study

RESAMPLES = 10_000


@dataclass(frozen=True)
class Comparison:
    """A paired difference over seeds.

    Attributes:
        metric: what is compared.
        a: one value per study of the first kind.
        b: one value per study of the second kind.
        difference: the mean of a minus b.
        student: its 95 % interval by Student's t distribution; infinite for a single pair.
        bootstrap: its 95 % percentile interval over 10 000 resamples of the pairs (seed 0).
    """

    metric: str
    a: tuple[float, ...]
    b: tuple[float, ...]
    difference: float
    student: tuple[float, float]
    bootstrap: tuple[float, float]

    def __str__(self) -> str:
        (low, high), (lower, upper) = self.student, self.bootstrap
        return (
            f"{self.metric}: {np.mean(self.a):.6g} against {np.mean(self.b):.6g}, difference "
            f"{self.difference:.6g} (Student {low:.6g} to {high:.6g}, bootstrap {lower:.6g} to "
            f"{upper:.6g}) over {len(self.a)} pairs"
        )


def compare(a: Sequence[Study], b: Sequence[Study], metric: str) -> Comparison:
    """Compare two searches by the results of their studies, pair by pair.

    Args:
        a: finished studies, one per seed.
        b: as many of another search, with the same seeds in the same order.
        metric: an objective, of which each study's best value counts; or "hypervolume", with the
            worst losses of all studies together as the reference.

    Raises:
        ValueError: different numbers of studies or none, other objectives, or an unknown metric.
    """
    if not a or len(a) != len(b):
        raise ValueError(f"got {len(a)} and {len(b)} studies; they are compared pair by pair")
    objectives = a[0].problem.objectives
    losses = []
    for study in [*a, *b]:
        same = [(o.metric, o.direction) for o in study.problem.objectives]
        if same != [(o.metric, o.direction) for o in objectives]:
            raise ValueError(f"the studies have different objectives: {objectives} and {same}")
        if not study.evaluated:
            raise ValueError(f"the study {study.optuna.study_name!r} has no results")
        losses.append(np.array([candidate.losses for candidate in study.evaluated]))
    names = [objective.metric for objective in objectives]
    if metric == "hypervolume":
        corner = np.concatenate(losses).max(axis=0)
        values = [hypervolume(points, corner) for points in losses]
    elif metric in names:
        column = names.index(metric)
        sign = 1.0 if objectives[column].direction == "minimize" else -1.0
        values = [sign * float(points[:, column].min()) for points in losses]
    else:
        known = [*names, "hypervolume"]
        raise ValueError(f"there is no objective {metric!r}{nearest(metric, known)}")
    return paired(metric, values[: len(a)], values[len(a) :])


def paired(metric: str, a: Sequence[float], b: Sequence[float]) -> Comparison:
    """The mean of paired differences with its intervals.

    Example:
        >>> paired("loss", [1.0, 2.0, 3.0], [0.0, 2.0, 1.0]).difference
        1.0
    """
    from scipy.stats import t

    differences = np.subtract(a, b).astype(float)
    n, mean = len(differences), float(differences.mean())
    half = math.inf
    if n > 1:
        half = float(t.ppf(0.975, n - 1)) * float(differences.std(ddof=1)) / math.sqrt(n)
    drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    low, high = np.quantile(differences[drawn].mean(axis=1), [0.025, 0.975]).tolist()
    return Comparison(metric, tuple(a), tuple(b), mean, (mean - half, mean + half), (low, high))
