"""Studies with a sampler of Optuna's own: batches of candidates, not generations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState

from nisqkit.search.board import read_board
from nisqkit.search.bridge import suggest
from nisqkit.search.candidate import candidate_to_json
from nisqkit.search.problem import DRAWS
from nisqkit.search.worker import evaluate_and_store, guard, known_metrics

if TYPE_CHECKING:
    from nisqkit.search.study import Progress, Study


def run_foreign(study: Study, evaluations: int, progress: Progress | None, batch: int) -> None:
    """Ask Optuna's sampler for batches until the study has so many candidates.

    A candidate that breaks a budget is told as failed before anything is evaluated, and another is
    asked for. Several workers can finish a few more candidates than were asked for.

    Raises:
        ValueError: too many candidates in a row break a budget.
    """
    problem = study.problem
    while True:
        with guard(study):
            board = read_board(study.optuna)
        finished = len(board.done) + len(board.failed)
        if progress:
            progress(min(finished, evaluations), evaluations)
        if finished >= evaluations:
            return
        trials: dict[tuple[int, int], FrozenTrial] = {}
        static: dict[str, dict[str, float]] = {}
        misses = 0
        while len(trials) < min(batch, evaluations - finished):
            with guard(study):
                trial = study.optuna.ask()
                value = suggest(problem.space, trial)
                trial.set_user_attr("candidate", candidate_to_json(problem.space, value))
            metrics = problem.measure(value)
            broken = problem.broken(metrics)
            with guard(study):
                if broken:
                    trial.set_user_attr("infeasible", broken)
                    study.optuna.tell(trial, state=TrialState.FAIL)
                    misses += 1
                    if misses == DRAWS:
                        found = problem.space.feasible(problem.budgets, problem.measure)
                        raise ValueError(
                            f"{misses} candidates of {type(study.sampler).__name__} in a row break "
                            f"a budget; of the space, {found}"
                        )
                    continue
                slot = {"generation": 0, "place": trial.number, "worker": "optuna"}
                trial.set_user_attr("slot", slot)
            misses = 0
            static[problem.space.key(value)] = metrics
            trials[0, trial.number] = _frozen(study, trial.number)
        with guard(study):
            known = known_metrics(study)
        evaluate_and_store(study, trials, static, known)


def _frozen(study: Study, number: int) -> FrozenTrial:
    return next(t for t in study.optuna.get_trials(deepcopy=False) if t.number == number)
