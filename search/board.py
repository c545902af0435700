"""Who does what: slots of generations, claimed and finished as trials of an Optuna study.

A claim is a running trial with a generation and a slot. Storages number trials in one order that
all workers see, so if several claim one slot, the lowest number has it and the others step back:
no storage needs locks for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nisqkit.search.base import Space, Value
from nisqkit.search.bridge import flatten
from nisqkit.search.candidate import candidate_to_json

Slot = tuple[int, int]  # generation, place in it


@dataclass
class Board:
    """The state of all slots at one moment.

    Attributes:
        done: finished trials.
        failed: trials whose objectives were not finite; such a slot is finished, too.
        running: claims; of several on one slot the one with the lowest number.
    """

    done: dict[Slot, FrozenTrial] = field(default_factory=dict)
    failed: dict[Slot, FrozenTrial] = field(default_factory=dict)
    running: dict[Slot, FrozenTrial] = field(default_factory=dict)

    def resolved(self, slot: Slot) -> bool:
        """Whether nothing is left to do for it."""
        return slot in self.done or slot in self.failed

    def open(self, slots: Iterable[Slot]) -> list[Slot]:
        """Those that nobody has."""
        return [s for s in slots if not self.resolved(s) and s not in self.running]


def read_board(study: optuna.Study) -> Board:
    """Read all trials, in their order, so that the lowest number wins."""
    board = Board()
    for trial in study.get_trials(deepcopy=False):
        attributes = trial.user_attrs
        if "slot" not in attributes:
            continue  # somebody else's
        slot = (attributes["slot"]["generation"], attributes["slot"]["place"])
        if trial.state == TrialState.COMPLETE:
            board.done.setdefault(slot, trial)
        elif trial.state == TrialState.RUNNING:
            board.running.setdefault(slot, trial)
        elif trial.state == TrialState.FAIL and "error" in attributes:
            board.failed.setdefault(slot, trial)
    return board


def claim(
    study: optuna.Study, space: Space, worker: str, candidates: Mapping[Slot, Value]
) -> dict[Slot, FrozenTrial]:
    """Claim slots; returns the trials of those that this worker got."""
    for (generation, place), value in candidates.items():
        flat = flatten(space, value)
        study.add_trial(
            FrozenTrial(
                number=-1,
                trial_id=-1,
                state=TrialState.RUNNING,
                value=None,
                datetime_start=datetime.now(),
                datetime_complete=None,
                params={name: param for name, (param, _) in flat.items()},
                distributions={name: distribution for name, (_, distribution) in flat.items()},
                user_attrs={
                    "slot": {"generation": generation, "place": place, "worker": worker},
                    "candidate": candidate_to_json(space, value),
                },
                system_attrs={},
                intermediate_values={},
            )
        )
    board = read_board(study)
    won = {
        slot: trial
        for slot, trial in board.running.items()
        if slot in candidates and worker_of(trial) == worker and not board.resolved(slot)
    }
    numbers = {trial.number for trial in won.values()}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if worker_of(trial) == worker and trial.number not in numbers:
            release(study, trial, "another worker was faster")
    return won


def worker_of(trial: FrozenTrial) -> str | None:
    """Who claimed a trial; None for a trial that is not ours."""
    slot = trial.user_attrs.get("slot")
    return None if slot is None else slot["worker"]


def release(study: optuna.Study, trial: FrozenTrial, reason: str) -> None:
    """Give a slot back."""
    with suppress(optuna.exceptions.UpdateFinishedTrialError, ValueError):
        set_attribute(study, trial, "released", reason)
        study.tell(trial.number, state=TrialState.FAIL)


def release_dead(study: optuna.Study, board: Board, alive: Sequence[str]) -> None:
    """Give back the slots of workers that died."""
    for trial in board.running.values():
        if worker_of(trial) not in alive:
            release(study, trial, "its worker died")


def set_attribute(study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Set a user attribute of a running trial; Optuna has no public way without its `Trial`."""
    study._storage.set_trial_user_attr(trial._trial_id, name, value)
