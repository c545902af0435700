"""Evolution for one objective: QuantumNAS's, and regularised evolution as a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nisqkit.search.base import Space, Value
from nisqkit.search.evaluated import Evaluated, different
from nisqkit.search.samplers import TreeSampler

if TYPE_CHECKING:
    from numpy.random import Generator


class EvolutionSampler(TreeSampler):
    """Evolution as in QuantumNAS.

    The first generation is sampled. In each later one the best `parents` of all candidates so far
    survive without being evaluated again, and `mutants` and `crossovers` are made from them.
    `population` is the sum of the three. With the defaults that is QuantumNAS's setting.

    Source: Wang et al., HPCA 2022 (arXiv:2107.10845), section 4.3.

    Args:
        space: only for plain Optuna studies.
        population: candidates per generation, survivors among them.
        parents: survivors; different candidates.
        mutants: children of one parent, drawn at random.
        mutation: probability with which each gene of a mutant changes.
        crossovers: children of two different parents.
        seed: only for plain Optuna studies.

    Raises:
        ValueError: numbers that do not add up, no parents, no children, or no probability.

    Example:
        >>> import optuna
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(sampler=EvolutionSampler(seed=0))
        >>> study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=200)
        >>> study.best_value < 1e-4
        True
    """

    def __init__(
        self,
        space: Space | None = None,
        *,
        population: int = 40,
        parents: int = 10,
        mutants: int = 20,
        mutation: float = 0.4,
        crossovers: int = 10,
        seed: int | None = None,
    ) -> None:
        super().__init__(space, population=population, seed=seed)
        if min(parents, mutants + crossovers) < 1 or min(mutants, crossovers) < 0:
            raise ValueError(
                f"parents={parents}, mutants={mutants}, crossovers={crossovers}: at least one "
                "parent and one child are needed"
            )
        if parents + mutants + crossovers != population:
            raise ValueError(
                f"parents={parents}, mutants={mutants} and crossovers={crossovers} add up to "
                f"{parents + mutants + crossovers}, but population is {population}"
            )
        check_probability(mutation)
        self.parents, self.mutants, self.crossovers = parents, mutants, crossovers
        self.mutation = mutation

    def slots(self, generation: int) -> int:
        """Survivors take no slot."""
        return self.population if generation == 0 else self.mutants + self.crossovers

    def select(self, space: Space, history: Sequence[Evaluated]) -> list[Evaluated]:
        """The best different candidates so far; of equally good ones the earlier."""
        ranked = sorted(history, key=lambda candidate: (candidate.losses, candidate.number))
        return different(space, ranked)[: self.parents]

    def vary(self, space: Space, parents: Sequence[Evaluated], slot: int, rng: Generator) -> Value:
        """A mutant in the first slots, then crossovers (mutants, if there is one parent only)."""
        if slot < self.mutants or len(parents) == 1:
            parent = parents[int(rng.integers(len(parents)))]
            return space.mutate(parent.value, rng, self.mutation)
        first, second = rng.choice(len(parents), size=2, replace=False).tolist()
        return space.crossover(parents[first].value, parents[second].value, rng)

    def config(self) -> dict[str, Any]:
        """All numbers."""
        names = ("parents", "mutants", "mutation", "crossovers")
        return super().config() | {name: getattr(self, name) for name in names}


class RegularizedEvolutionSampler(TreeSampler):
    """Regularised (ageing) evolution, a baseline.

    The population is the last `population` candidates, so every one dies of age. A child is the
    best of a random quarter of them with, on average, one gene changed. The original adds one child
    at a time; here a generation is a quarter of the population, so that workers can share it.

    Source: Real et al., AAAI 2019 (arXiv:1802.01548).

    Args:
        space: only for plain Optuna studies.
        population: how many are alive.
        mutation: probability with which each gene changes; None is one over their number.
        seed: only for plain Optuna studies.
    """

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
        self.tournament = max(1, population // 4)

    def slots(self, generation: int) -> int:
        """A quarter of the population, after the first generation."""
        return self.population if generation == 0 else max(1, self.population // 4)

    def select(self, space: Space, history: Sequence[Evaluated]) -> list[Evaluated]:
        """The youngest."""
        return list(history[-self.population :])

    def vary(self, space: Space, parents: Sequence[Evaluated], slot: int, rng: Generator) -> Value:
        """A mutant of the winner of a tournament."""
        size = min(self.tournament, len(parents))
        drawn = [parents[i] for i in rng.choice(len(parents), size=size, replace=False).tolist()]
        winner = min(drawn, key=lambda candidate: (candidate.losses, candidate.number))
        return mutate_somewhere(space, winner.value, rng, self.mutation)

    def config(self) -> dict[str, Any]:
        """All numbers."""
        return super().config() | {"mutation": self.mutation}


def mutate_somewhere(
    space: Space, value: Value, rng: Generator, probability: float | None
) -> Value:
    """A mutant that differs; by default one gene changes on average."""
    if probability is None:
        probability = 1 / max(1, sum(1 for _ in space.leaves(value)))
    child = value
    for _ in range(100):  # a space of one value has no other
        child = space.mutate(value, rng, probability)
        if child != value:
            break
    return child


def check_probability(mutation: float | None) -> None:
    """Raise a ValueError unless it is a probability or None."""
    if mutation is not None and not 0 <= mutation <= 1:
        raise ValueError(f"mutation must be a probability in [0, 1], got {mutation}")
