"""Samplers over tree spaces that are Optuna samplers, too: what they share, and random search."""

from __future__ import annotations

import secrets
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nisqkit.search.base import Space, Value
from nisqkit.search.bridge import FlatSpace, flatten, unflatten
from nisqkit.search.evaluated import Evaluated

if TYPE_CHECKING:
    from numpy.random import Generator


class TreeSampler(BaseSampler):
    """A search by generations.

    `nisqkit.search.Study` asks it for candidates generation by generation: `slots` of them, made by
    `vary` from what `select` chose among the candidates of all earlier generations.

    In a plain Optuna study the finished trials are cut into generations in their order. Without a
    space the parameters are those that the trials have shown; with one, use `suggest` of
    `nisqkit.search.bridge` in the objective.

    Args:
        space: only for plain Optuna studies.
        population: size of the first generation.
        seed: only for plain Optuna studies; None is random.
    """

    many_objectives = False

    def __init__(
        self, space: Space | None = None, *, population: int = 40, seed: int | None = None
    ) -> None:
        if population < 1:
            raise ValueError(f"population must be at least 1, got {population}")
        self.space = space
        self.population = population
        self.seed = secrets.randbits(31) if seed is None else seed
        # The parents of a plain Optuna study, for as long as its finished trials are the same.
        self._cache: tuple[tuple[str, tuple[int, ...]], list[Evaluated]] | None = None

    # --- what each sampler defines ---

    def slots(self, generation: int) -> int:
        """How many new candidates a generation has."""
        return self.population

    @abstractmethod
    def select(self, space: Space, history: Sequence[Evaluated]) -> list[Evaluated]:
        """The parents of the next generation.

        Args:
            space: where the candidates are from.
            history: all candidates of the earlier generations that have results, in their order.
        """

    @abstractmethod
    def vary(self, space: Space, parents: Sequence[Evaluated], slot: int, rng: Generator) -> Value:
        """A new candidate, made from at least one parent."""

    def config(self) -> dict[str, Any]:
        """What defines the search, as JSON: a study cannot go on with another."""
        return {"sampler": type(self).__name__, "population": self.population}

    # --- Optuna's interface ---

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that trials have shown, or those of the next candidate of the space."""
        self._check_objectives(study)
        if self.space is not None:
            candidate = self._candidate(study, trial, self.space)
            return {name: d for name, (_, d) in flatten(self.space, candidate).items()}
        shown: dict[str, BaseDistribution] = {}
        for done in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            shown.update(done.distributions)
        return shown

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A new candidate."""
        self._check_objectives(study)
        if self.space is not None:
            candidate = self._candidate(study, trial, self.space)
            return {name: param for name, (param, _) in flatten(self.space, candidate).items()}
        params = self._candidate(study, trial, FlatSpace(search_space))
        return {
            name: params[name]
            if name in params
            else self.sample_independent(study, trial, name, distribution)
            for name, distribution in search_space.items()
        }

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A random parameter, for those that no earlier trial has."""
        self._check_objectives(study)
        name = zlib.crc32(param_name.encode())
        seed = int(np.random.default_rng([self.seed, trial.number, name]).integers(2**31))
        return RandomSampler(seed).sample_independent(study, trial, param_name, param_distribution)

    def _check_objectives(self, study: Study) -> None:
        if len(study.directions) > 1 and not self.many_objectives:
            raise ValueError(
                f"{type(self).__name__} is for one objective and the study has "
                f"{len(study.directions)}: use NSGA2Sampler"
            )

    def _candidate(self, study: Study, trial: FrozenTrial, space: Space) -> Value:
        """The candidate of a trial of a plain Optuna study."""
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        generation, start = 0, 0
        while start + self.slots(generation) <= len(done):
            start += self.slots(generation)
            generation += 1
        rng = np.random.default_rng([self.seed, trial.number])
        if generation == 0:
            return space.sample(rng)
        done = done[:start]
        known = (study.study_name, tuple(old.number for old in done))
        if self._cache is None or self._cache[0] != known:
            signs = [1.0 if d == StudyDirection.MINIMIZE else -1.0 for d in study.directions]
            history = []
            for number, old in enumerate(done):
                value = unflatten(space, old.params) if self.space else old.params
                losses = tuple(s * v for s, v in zip(signs, old.values, strict=True))
                history.append(Evaluated(value, {}, number, self._generation(number), losses))
            self._cache = (known, self.select(space, history))
        slot = trial.number % self.slots(generation)
        return space.repair(self.vary(space, self._cache[1], slot, rng))

    def _generation(self, number: int) -> int:
        generation = 0
        while number >= self.slots(generation):
            number -= self.slots(generation)
            generation += 1
        return generation


class TreeRandomSampler(TreeSampler):
    """Random search: the baseline that every search has to beat."""

    many_objectives = True

    def select(self, space: Space, history: Sequence[Evaluated]) -> list[Evaluated]:
        """Nobody is needed."""
        return []

    def vary(self, space: Space, parents: Sequence[Evaluated], slot: int, rng: Generator) -> Value:
        """A sample."""
        return space.sample(rng)
