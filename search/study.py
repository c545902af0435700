"""Studies: a search that is stored, resumed, and shared by any number of workers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nisqkit.search.base import Value
from nisqkit.search.evaluated import Evaluated, different, pareto_front
from nisqkit.search.pareto import hypervolume, knee_index
from nisqkit.search.problem import Problem
from nisqkit.search.settings import check_settings

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from rich.table import Table

Progress = Callable[[int, int], None]


class Study:
    """A search; `Study.open` makes or continues one.

    A candidate is a function of the seed, its generation and slot, and the results of earlier
    generations, which are complete before the next begins. So any number of workers evaluates the
    same candidates and finds the same front, bit for bit, if `Problem.evaluate` is deterministic. A
    generation's slots are shared among the workers that are alive; those of a worker that died are
    evaluated again. Candidates that break a budget are drawn anew from the same random stream.
    """

    def __init__(
        self,
        problem: Problem,
        study: optuna.Study,
        storage: BaseStorage,
        sampler: BaseSampler,
        *,
        seed: int,
        population: int,
    ) -> None:
        self.problem = problem
        self.optuna = study
        self.storage = storage
        self.sampler = sampler
        self.seed = seed
        self.population = population
        self.recovered: dict[str, dict[str, float]] = {}  # by key; evaluated, but not stored

    @classmethod
    def open(
        cls,
        problem: Problem,
        storage: str | Path | BaseStorage | None = None,
        name: str = "search",
        *,
        sampler: str | BaseSampler = "evolution",
        seed: int = 0,
        population: int = 40,
        parents: int = 10,
        mutants: int = 20,
        mutation: float | None = None,
        crossovers: int = 10,
    ) -> Study:
        """Make a study, or continue the one of this name in the storage.

        Args:
            problem: what to search.
            storage: None (memory), a path or a URL; see `nisqkit.search.storage.open_storage`.
            name: of the study in the storage.
            sampler: "evolution" (one objective), "nsga2", "regularized" (one objective), "random",
                or a sampler of Optuna, which is asked for `population` candidates at a time: its
                results do depend on the number of workers.
            seed: of everything random, at least 0.
            population: candidates per generation.
            parents: survivors of a generation (evolution).
            mutants: mutated children (evolution).
            mutation: probability with which a gene mutates. None is 0.4 for evolution and one over
                the number of genes for the others.
            crossovers: children of two parents (evolution).

        Raises:
            ValueError: a sampler that is unknown or cannot have these numbers or objectives; or the
                stored study is another one (its space has changed, for example).
            ConnectionError: the storage cannot be reached.

        Example:
            >>> from nisqkit.search import Float, Objective, Problem
            >>> problem = Problem(Float(-1, 1), [Objective("loss")],
            ...                   evaluate=lambda xs: [{"loss": (x - 0.5) ** 2} for x in xs])
            >>> study = Study.open(problem, seed=1)
            >>> study.run(evaluations=400)
            >>> abs(study.best.value - 0.5) < 0.01
            True
        """
        import optuna

        from nisqkit.search.samplers_by_name import make_sampler
        from nisqkit.search.storage import name_of, open_storage, storage_errors

        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        chosen = make_sampler(
            sampler,
            objectives=len(problem.objectives),
            population=population,
            parents=parents,
            mutants=mutants,
            mutation=mutation,
            crossovers=crossovers,
        )
        opened = open_storage(storage)
        with storage_errors(name_of(opened), "nothing was evaluated"), quiet():
            study = optuna.create_study(
                storage=opened,
                study_name=name,
                sampler=chosen,
                directions=[objective.direction for objective in problem.objectives],
                load_if_exists=True,
            )
            check_settings(study, problem, chosen, seed)
            if study.metric_names is None:
                study.set_metric_names([o.metric for o in problem.objectives])
        return cls(problem, study, opened, chosen, seed=seed, population=population)

    # --- running ---

    def run(
        self,
        evaluations: int,
        progress: Progress | None = None,
        *,
        batch: int | None = None,
        patience: float = 60.0,
    ) -> None:
        """Work until the study has this many candidates, together with all other workers.

        Call it in as many processes, on as many machines, as you like. It returns when all
        candidates are finished, also those of other workers. Candidates that were evaluated before
        count, but are not evaluated again.

        Args:
            evaluations: candidates of the whole study, earlier runs included.
            progress: called with the number of finished candidates and `evaluations`.
            batch: at most so many candidates are passed to `Problem.evaluate` at once, which is
                what a worker that is killed loses; None is this worker's share of a generation.
            patience: seconds without a sign of life after which a worker on another machine counts
                as dead.

        Raises:
            ValueError: the budgets leave nothing to search, every objective is NaN, or `evaluate`
                misses an objective. Whatever `evaluate` raises.
            ConnectionError: the storage was lost; what was evaluated but not stored is in a file
                that the message names, for `recover`.
        """
        if evaluations < 1 or (batch is not None and batch < 1):
            raise ValueError(f"evaluations={evaluations}, batch={batch}: both must be at least 1")
        from nisqkit.search.foreign import run_foreign
        from nisqkit.search.presence import Presence
        from nisqkit.search.samplers import TreeSampler
        from nisqkit.search.worker import Worker, guard, raise_nothing_finite

        with guard(self):
            failed_before = len(self.failed)
        with quiet():
            if isinstance(self.sampler, TreeSampler):
                with Presence(self.optuna, patience) as presence:
                    Worker(self, self.sampler, presence).run(evaluations, progress, batch)
            else:
                run_foreign(self, evaluations, progress, batch or self.population)
        with guard(self):
            failed, finished = len(self.failed), len(self.evaluated)
        if failed and not finished:
            raise_nothing_finite(self)
        if failed > failed_before:
            warnings.warn(
                f"{failed} of {failed + finished} candidates have objectives that are "
                "not finite and count for nothing; Study.failed says which",
                RuntimeWarning,
                stacklevel=2,
            )

    def recover(self, path: str | Path) -> int:
        """Take results from the file that a run wrote when it lost its storage.

        The next `run` uses them instead of evaluating these candidates.

        Returns:
            How many results there are.

        Raises:
            ValueError: no such file, or of another version or space.
        """
        from nisqkit.search.rescue import read_results

        found = read_results(path, self.problem.space)
        self.recovered.update(found)
        return len(found)

    # --- results ---

    @property
    def evaluated(self) -> list[Evaluated]:
        """All finished candidates in the study's order, repetitions among them."""
        from nisqkit.search.worker import read_evaluated

        return read_evaluated(self)

    @property
    def failed(self) -> list[tuple[Value, str]]:
        """Candidates with objectives that are not finite, and what was said about each."""
        from nisqkit.search.board import read_board

        trials = sorted(read_board(self.optuna).failed.items())
        return [(t.user_attrs["candidate"]["value"], t.user_attrs["error"]) for _, t in trials]

    @property
    def front(self) -> list[Evaluated]:
        """The candidates that no other dominates, by the first objective; of equals the first."""
        return pareto_front(self.evaluated)

    @property
    def best(self) -> Evaluated:
        """The best candidate of a study with one objective.

        Raises:
            ValueError: several objectives, or nothing evaluated yet.
        """
        if len(self.problem.objectives) > 1:
            raise ValueError(
                f"there are {len(self.problem.objectives)} objectives, so no single candidate is "
                "the best: see Study.front and Study.knee"
            )
        return self._front_or_error()[0]

    def _front_or_error(self) -> list[Evaluated]:
        front = self.front
        if not front:
            raise ValueError("nothing is evaluated yet: call Study.run first")
        return front

    def hypervolume(self, reference: Mapping[str, float] | None = None) -> float:
        """The volume of objectives that the front dominates, up to a reference.

        Args:
            reference: the worst value that counts, for each objective. None takes the worst that
                this study has evaluated: fine to look at, but useless to compare studies.

        Raises:
            ValueError: an objective is missing, or nothing is evaluated.
        """
        front = self._front_or_error()
        if reference is None:
            corner = np.max([candidate.losses for candidate in self.evaluated], axis=0)
        else:
            corner = np.array(self.problem.losses(reference))
        return hypervolume([candidate.losses for candidate in front], corner)

    def knee(self) -> Evaluated:
        """The candidate of the front that gives most for what it costs.

        See `nisqkit.search.pareto.knee_index`.
        """
        front = self._front_or_error()
        return front[knee_index([candidate.losses for candidate in front])]

    def table(self) -> Table:
        """The front, one row per candidate; the knee is marked."""
        from nisqkit.search.report import front_table

        return front_table(self)

    def plot(self, path: str | Path) -> None:
        """Write a picture of the front (or, with one objective, of the progress) to a file."""
        from nisqkit.search.report import plot_study

        plot_study(self, path)

    @property
    def distinct(self) -> list[Evaluated]:
        """All finished candidates without repetitions."""
        return different(self.problem.space, self.evaluated)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's line for every trial, and without its notes on what is experimental."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
