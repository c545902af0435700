"""NSGA-II over tree spaces, for several objectives (or one)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from nisqkit.search.base import Space, Value
from nisqkit.search.evaluated import Evaluated, different
from nisqkit.search.evolution import check_probability, mutate_somewhere
from nisqkit.search.pareto import (
    best_by_rank_and_crowding,
    crowding_distances,
    non_dominated_fronts,
)
from nisqkit.search.samplers import TreeSampler

if TYPE_CHECKING:
    from numpy.random import Generator


class NSGA2Sampler(TreeSampler):
    """NSGA-II: survival by rank and crowding, parents by tournaments.

    Survivors are chosen from the survivors before and the last generation. Of two candidates drawn
    at random the one of lower rank, or else the less crowded, becomes a parent. Nine of ten
    children cross over two parents; all are mutated. Equal candidates count once.

    Source: Deb et al., IEEE Trans. Evol. Comput. 6, 182 (2002).

    Args:
        space: only for plain Optuna studies.
        population: candidates per generation, and survivors.
        mutation: probability with which each gene changes; None is one over their number.
        seed: only for plain Optuna studies.
    """

    many_objectives = True
    crossover_probability = 0.9

    def __init__(
        self,
        space: Space | None = None,
        *,
        population: int = 40,
        mutation: float | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(space, population=population, seed=seed)
        check_probability(mutation)
        self.mutation = mutation

    def select(self, space: Space, history: Sequence[Evaluated]) -> list[Evaluated]:
        """The survivors, the best first, so that a tournament compares places."""
        survivors: list[Evaluated] = []
        for _, generation in groupby(history, key=lambda candidate: candidate.generation):
            pool = different(space, survivors + list(generation))
            kept = best_by_rank_and_crowding([c.losses for c in pool], self.population)
            survivors = [pool[i] for i in kept]
        ranked: list[Evaluated] = []
        for front in non_dominated_fronts([c.losses for c in survivors]):
            members = [survivors[i] for i in front]
            distances = crowding_distances([c.losses for c in members]).tolist()
            order = sorted(range(len(members)), key=lambda i: (-distances[i], members[i].number))
            ranked += [members[i] for i in order]
        return ranked

    def vary(self, space: Space, parents: Sequence[Evaluated], slot: int, rng: Generator) -> Value:
        """A mutated child of one or two winners of tournaments."""
        first = parents[int(rng.integers(len(parents), size=2).min())]
        if rng.random() < self.crossover_probability:
            second = parents[int(rng.integers(len(parents), size=2).min())]
            child = space.crossover(first.value, second.value, rng)
            probability = self.mutation
            if probability is None:
                probability = 1 / max(1, sum(1 for _ in space.leaves(child)))
            return space.mutate(child, rng, probability)
        return mutate_somewhere(space, first.value, rng, self.mutation)

    def config(self) -> dict[str, Any]:
        """All numbers."""
        return super().config() | {"mutation": self.mutation}
