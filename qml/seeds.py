"""Repeat a training run with several seeds, and say what that shows: means with intervals."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nisqkit.qml.config import TrainConfig
from nisqkit.qml.fit import TrainingInterrupted, Watcher
from nisqkit.qml.metrics import Row, with_shots
from nisqkit.qml.run_folder import RunFolder, runs_below
from nisqkit.qml.statistics import mean_interval
from nisqkit.qml.training import TrainResult, train


@dataclass(frozen=True, eq=False)
class SeedsResult:
    """What `train_seeds` returns: every run, and the table over all of them."""

    results: tuple[TrainResult, ...]
    rows: tuple[Row, ...]
    out: Path


def train_seeds(
    config: TrainConfig,
    num_seeds: int,
    *,
    out: str | os.PathLike[str],
    resume: bool = False,
    baselines: bool = False,
    watcher: Callable[[int], Watcher] | None = None,
) -> SeedsResult:
    """Run `train` with the seeds ``config.seed .. config.seed + num_seeds - 1``, one after another.

    A seed decides the split, the initial weights and the batches, so the interval of the mean
    covers all three.

    Args:
        config: what to run.
        num_seeds: how often.
        out: folder for the runs' folders ``seed0``, ``seed1``, ... and for ``summary.json``.
        resume: go on where the runs in `out` stopped; finished ones are not trained again.
        baselines: also fit classical models, to every seed's split.
        watcher: called with each seed, for the `Watcher` of its run.

    Raises:
        ValueError: fewer than one seed; or as in `train`.
        FileNotFoundError: as in `train`, or nothing to resume.
        TrainingInterrupted: Ctrl-C was pressed.
    """
    if num_seeds < 1:
        raise ValueError(f"num_seeds={num_seeds} must be at least 1")
    configs = [replace(config, seed=config.seed + k) for k in range(num_seeds)]
    folders = [RunFolder(Path(out) / f"seed{c.seed}") for c in configs]
    if resume and not any(folder.holds_run for folder in folders):
        if RunFolder(out).holds_run:
            raise FileNotFoundError(f"{out} holds one run, not several seeds: leave out --seeds")
        if inner := runs_below(Path(out)):
            raise FileNotFoundError(
                f"none of the seeds {configs[0].seed} to {configs[-1].seed} has a run in {out}, "
                f"which holds {', '.join(inner)}: give --seed and --seeds as before"
            )
        raise FileNotFoundError(f"there are no runs in {out} to resume: leave out --resume")
    for c, folder in zip(configs, folders, strict=True):
        folder.check(c, resume and folder.holds_run)
    try:
        results = [
            train(
                c,
                out=folder.path,
                resume=resume and folder.holds_run,
                baselines=baselines,
                watcher=watcher(c.seed) if watcher else None,
            )
            for c, folder in zip(configs, folders, strict=True)
        ]
    except TrainingInterrupted as stop:
        seed = f" --seed {config.seed}" if config.seed else ""
        raise TrainingInterrupted(
            f"{stop.args[0].partition(' To go on:')[0]} To go on with all seeds: nisqkit train "
            f"--resume --seeds {num_seeds}{seed} --out {out}"
        ) from None
    rows = rows_of(model_name(config), [result.report for result in results])
    summary = {
        "config": config.to_dict() | {"seed": [c.seed for c in configs]},
        "rows": [asdict(row) for row in rows],
    }
    RunFolder(out).write_json(Path(out) / "summary.json", summary)
    return SeedsResult(tuple(results), tuple(rows), Path(out))


def model_name(config: TrainConfig) -> str:
    """What tables call a config's model.

    Example:
        >>> model_name(TrainConfig(circuit="u3-cu3", depth=4))
        'u3-cu3, depth 4'
        >>> model_name(TrainConfig(devices=["fake_belem"], noise="exact"))
        'u3-cu3, depth 4, trained on fake_belem'
    """
    if config.model is not None:
        parts = [config.model_name]
    else:
        parts = [config.circuit, f"depth {config.depth}"]
        parts += [f"{config.nodes} nodes"] if config.nodes > 1 else []
        parts += ["native angles"] if config.native else []
        parts += ["normalised"] if config.norm else []
        parts += [f"{config.quantize} levels"] if config.quantize else []
    if (device := config.training_device) is not None:
        how = f" ({config.noise})" if config.noise not in (None, "exact") else ""
        parts.append(f"trained on {device}{how}")
    return ", ".join(parts)


def rows_of(model: str, reports: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Turn the reports of one model's runs, one per seed, into rows of a table.

    Args:
        model: what to call the model.
        reports: each as `TrainResult.report`.
    """
    rows = [
        _row(model, _condition(tests[0]), reports[0]["parameters"], tests)
        for tests in zip(*(report["test"] for report in reports), strict=True)
    ]
    for fits in zip(*(report.get("baselines", []) for report in reports), strict=True):
        tests = [
            {"accuracy": fit["test_accuracy"], "accuracy_interval_95": fit["test_interval"]}
            for fit in fits
        ]
        rows.append(_row(fits[0]["name"], "classical", fits[0]["num_parameters"], tests))
    return rows


def _condition(test: Mapping[str, Any]) -> str:
    return with_shots(test["condition"], test.get("shots"))


def _row(model: str, condition: str, parameters: int, tests: Sequence[Mapping[str, Any]]) -> Row:
    accuracies = tuple(float(test["accuracy"]) for test in tests)
    if len(accuracies) == 1:
        low, high = tests[0]["accuracy_interval_95"]
        return Row(model, condition, parameters, accuracies, accuracies[0], low, high)
    mean, low, high = mean_interval(accuracies)
    return Row(model, condition, parameters, accuracies, mean, max(low, 0.0), min(high, 1.0))
