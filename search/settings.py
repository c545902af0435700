"""What defines a study, as JSON in its storage: it cannot go on as another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler

    from nisqkit.search.problem import Problem

VERSION = 1


def check_settings(study: optuna.Study, problem: Problem, sampler: BaseSampler, seed: int) -> None:
    """Store what defines a new study, and compare it with what defines a stored one.

    Raises:
        ValueError: the stored study is another one; says what differs.
    """
    from nisqkit.search.samplers import TreeSampler

    if isinstance(sampler, TreeSampler):
        config = sampler.config()
    else:
        config = {"sampler": type(sampler).__name__}
    settings = {
        "version": VERSION,
        "space": problem.space.to_json(),
        "objectives": [[o.metric, o.direction] for o in problem.objectives],
        "budgets": [[b.metric, b.max, b.min] for b in problem.budgets],
        "initial": list(problem.initial),
        "sampler": config,
        "seed": seed,
    }
    stored = study.user_attrs.get("nisqkit_study")
    if stored is None:
        if study.get_trials(deepcopy=False):
            raise ValueError(
                f"the storage has a study {study.study_name!r} that nisqkit did not make; choose "
                "another name"
            )
        study.set_user_attr("nisqkit_study", settings)
        return
    if stored.get("version") != VERSION:
        raise ValueError(
            f"the study {study.study_name!r} has version {stored.get('version')!r} of the format; "
            f"this nisqkit reads version {VERSION}"
        )
    for name, now in settings.items():
        if stored.get(name) != now:
            where, before, after = difference(stored.get(name), now, name)
            raise ValueError(
                f"the study {study.study_name!r} was made with another {name}: {where} was "
                f"{before!r} and is {after!r} now; choose another name for the new study"
            )


def difference(before: Any, after: Any, path: str) -> tuple[str, Any, Any]:
    """The first place at which two JSON values differ, and both values there."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in {**before, **after}:
            if name not in before or name not in after or before[name] != after[name]:
                return difference(before.get(name), after.get(name), f"{path}.{name}")
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (x, y) in enumerate(zip(before, after, strict=True)):
            if x != y:
                return difference(x, y, f"{path}[{i}]")
    return path, before, after
