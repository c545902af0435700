"""What one worker of a study does: claim slots, make candidates, evaluate, store, wait."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nisqkit.search.base import Value
from nisqkit.search.board import (
    Board,
    Slot,
    claim,
    read_board,
    release,
    release_dead,
    set_attribute,
)
from nisqkit.search.evaluated import Evaluated
from nisqkit.search.presence import Presence
from nisqkit.search.rescue import write_results
from nisqkit.search.samplers import TreeSampler
from nisqkit.search.storage import name_of, storage_errors

if TYPE_CHECKING:
    from nisqkit.search.study import Progress, Study

Metrics = dict[str, float]
SHORTEST_WAIT, LONGEST_WAIT = 0.02, 1.0  # seconds between two looks at the storage


class Worker:
    """One worker of a study whose sampler is ours."""

    def __init__(self, study: Study, sampler: TreeSampler, presence: Presence) -> None:
        self.study = study
        self.problem = study.problem
        self.sampler = sampler
        self.presence = presence
        self._parents: tuple[int, list[Evaluated]] = (0, [])

    def run(self, evaluations: int, progress: Progress | None, batch: int | None) -> None:
        """Work until so many slots are finished."""
        every = (
            (generation, slot)
            for generation in count()
            for slot in range(self.sampler.slots(generation))
        )
        slots = list(islice(every, evaluations))
        wait, reported = SHORTEST_WAIT, -1
        while True:
            with guard(self.study):
                board = read_board(self.study.optuna)
                alive = self.presence.alive()
            left = [slot for slot in slots if not board.resolved(slot)]
            if progress and evaluations - len(left) != reported:
                reported = evaluations - len(left)
                progress(reported, evaluations)
            if not left:
                return
            open_slots = board.open(slot for slot in left if slot[0] == left[0][0])
            mine = share(open_slots, alive.index(self.presence.name), len(alive))[:batch]
            if mine:
                wait = SHORTEST_WAIT
                self._work(mine, board)
                continue
            with guard(self.study):
                release_dead(self.study.optuna, board, alive)
            time.sleep(wait)
            wait = min(1.5 * wait, LONGEST_WAIT)

    def _candidate(self, slot: Slot, board: Board) -> tuple[Value, Metrics]:
        """The candidate of a slot and its static metrics: the same for every worker."""
        generation, place = slot
        space = self.problem.space
        if generation == 0 and place < len(self.problem.initial):
            value = self.problem.initial[place]
            return value, self.problem.measure(value)
        rng = np.random.default_rng([self.study.seed, generation, place])
        if generation == 0:
            return self.problem.draw(space.sample, rng)
        if self._parents[0] != generation:
            earlier = {s: trial for s, trial in board.done.items() if s[0] < generation}
            if not earlier:
                raise_nothing_finite(self.study)
            parents = self.sampler.select(space, evaluated_of(self.study, earlier))
            self._parents = (generation, parents)
        return self.problem.draw(
            lambda stream: self.sampler.vary(space, self._parents[1], place, stream), rng
        )

    def _work(self, slots: Sequence[Slot], board: Board) -> None:
        """Claim slots, and finish those that this worker got."""
        study, space = self.study, self.problem.space
        candidates = {slot: self._candidate(slot, board) for slot in slots}
        values = {slot: value for slot, (value, _) in candidates.items()}
        with guard(study):
            won = claim(study.optuna, space, self.presence.name, values)
            known = known_metrics(study)
        static = {space.key(value): metrics for value, metrics in candidates.values()}
        evaluate_and_store(study, won, static, known)


def evaluate_and_store(
    study: Study,
    trials: dict[Slot, FrozenTrial],
    static: dict[str, Metrics],
    known: dict[str, Metrics],
) -> None:
    """Evaluate the candidates of running trials in one call, and finish the trials.

    Args:
        study: the study.
        trials: running trials of this worker.
        static: the static metrics of their candidates, by key.
        known: all metrics of candidates that have been evaluated before, by key.
    """
    problem, space = study.problem, study.problem.space
    values = {slot: trial.user_attrs["candidate"]["value"] for slot, trial in trials.items()}
    keys = {slot: space.key(value) for slot, value in values.items()}
    new = {keys[slot]: value for slot, value in values.items() if keys[slot] not in known}
    results = dict(known)
    try:
        found = problem.evaluate(list(new.values())) if new else []
        for key, metrics in zip(new, found, strict=True):
            results[key] = static[key] | metrics
        losses = {slot: problem.losses(results[key]) for slot, key in keys.items()}
    except BaseException as error:
        with suppress(Exception):
            for trial in trials.values():
                release(study.optuna, trial, f"evaluation stopped with {type(error).__name__}")
        raise
    told: set[str] = set()
    try:
        with guard(study):
            for slot, trial in trials.items():
                store(study, trial, values[slot], results[keys[slot]], losses[slot])
                told.add(keys[slot])
    except ConnectionError as error:
        unsaved = [(value, results[key]) for key, value in new.items() if key not in told]
        name = re.sub(r"[^\w.-]+", "_", study.optuna.study_name)
        path = Path.cwd() / f"{name}.{time.time_ns()}.results.json"
        write_results(path, space, unsaved)
        raise ConnectionError(
            f"{error}\n{len(unsaved)} results were evaluated but not stored; they are in {path}: "
            f"open the study again and pass that path to Study.recover before Study.run"
        ) from error


def store(
    study: Study,
    trial: FrozenTrial,
    value: Value,
    metrics: Metrics,
    losses: tuple[float, ...],
) -> None:
    """Finish a trial; if somebody took it away meanwhile, keep the result for the next claim."""
    try:
        objectives = [metrics[objective.metric] for objective in study.problem.objectives]
        if all(math.isfinite(loss) for loss in losses):
            set_attribute(study.optuna, trial, "metrics", metrics)
            study.optuna.tell(trial.number, objectives)
            return
        names = [
            f"{o.metric} is {v}"
            for o, v in zip(study.problem.objectives, objectives, strict=True)
            if not math.isfinite(v)
        ]
        key = study.problem.space.key(value)
        set_attribute(study.optuna, trial, "error", f"{', '.join(names)} for the candidate {key}")
        study.optuna.tell(trial.number, state=TrialState.FAIL)
    except (UpdateFinishedTrialError, ValueError):
        study.recovered[study.problem.space.key(value)] = metrics


def known_metrics(study: Study) -> dict[str, Metrics]:
    """Metrics of all candidates that are evaluated, by key."""
    space = study.problem.space
    stored = {space.key(c.value): dict(c.metrics) for c in read_evaluated(study)}
    return study.recovered | stored


def read_evaluated(study: Study) -> list[Evaluated]:
    """All finished candidates in the study's order."""
    return evaluated_of(study, read_board(study.optuna).done)


def evaluated_of(study: Study, done: dict[Slot, FrozenTrial]) -> list[Evaluated]:
    """Finished trials as candidates, in the order of their slots."""
    sampler = study.sampler
    starts = [0]
    candidates = []
    for (generation, slot), trial in sorted(done.items()):
        while isinstance(sampler, TreeSampler) and len(starts) <= generation:
            starts.append(starts[-1] + sampler.slots(len(starts) - 1))
        value, metrics = trial.user_attrs["candidate"]["value"], trial.user_attrs["metrics"]
        number = starts[min(generation, len(starts) - 1)] + slot
        losses = study.problem.losses(metrics)
        candidates.append(Evaluated(value, metrics, number, generation, losses))
    return candidates


def raise_nothing_finite(study: Study) -> None:
    """Raise the error of a study in which every objective was NaN or infinite."""
    failed = study.failed
    raise ValueError(
        f"all {len(failed)} candidates have objectives that are not finite; the first: "
        f"{failed[0][1]}"
    )


def guard(study: Study) -> AbstractContextManager[None]:
    """A lost storage becomes a ConnectionError."""
    return storage_errors(name_of(study.storage), "all evaluations that finished before are stored")


def share(slots: Sequence[Slot], rank: int, workers: int) -> list[Slot]:
    """This worker's share of open slots; if it has none left, its part of the others'."""
    own = [slot for slot in slots if slot[1] % workers == rank]
    return own or list(slots[: -(-len(slots) // workers)])
