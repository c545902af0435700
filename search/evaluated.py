"""A candidate with its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nisqkit.search.base import Space, Value
from nisqkit.search.pareto import non_dominated_fronts


@dataclass(frozen=True)
class Evaluated:
    """A candidate with its results.

    Attributes:
        value: the candidate.
        metrics: all metrics by name, static ones and those of its evaluation.
        number: its place in the study, which does not depend on who evaluated it when.
        generation: 0 for the first.
        losses: the objectives as numbers to minimise.
    """

    value: Value
    metrics: Mapping[str, float]
    number: int
    generation: int
    losses: tuple[float, ...]


def different(space: Space, candidates: Sequence[Evaluated]) -> list[Evaluated]:
    """The same without repetitions: of equal candidates the first."""
    first: dict[str, Evaluated] = {}
    for candidate in candidates:
        first.setdefault(space.key(candidate.value), candidate)
    return list(first.values())


def pareto_front(candidates: Sequence[Evaluated]) -> list[Evaluated]:
    """What nothing dominates, by rising first loss; of equally good candidates the first."""
    first: dict[tuple[float, ...], Evaluated] = {}
    for candidate in candidates:
        first.setdefault(candidate.losses, candidate)
    unlike = list(first.values())
    if not unlike:
        return []
    front = [unlike[i] for i in non_dominated_fronts([c.losses for c in unlike])[0]]
    return sorted(front, key=lambda candidate: candidate.losses)
