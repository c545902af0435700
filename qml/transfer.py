"""Train on one device, test on all: accuracies of trained models on devices that they never saw."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nisqkit.noise.device import Device
from nisqkit.qml.evaluation import NOISE_FREE
from nisqkit.qml.run_folder import RunFolder, runs_below
from nisqkit.qml.runs import Run, evaluate_run, load_run


@dataclass(frozen=True)
class TransferMatrix:
    """Test accuracies of models (rows) under conditions (columns).

    Attributes:
        task: what the models were trained for.
        rows: one name per model: what it was trained on.
        columns: ``"noise-free"``, then the devices.
        trained_on: the column that is each row's own; None: its device is not among them.
        accuracies: shares of right answers, at ``[row][column][seed]``.
    """

    task: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    trained_on: tuple[str | None, ...]
    accuracies: tuple[tuple[tuple[float, ...], ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values, with the date of each device."""
        dates = {name: Device.load(name).date for name in self.columns if name != NOISE_FREE}
        return {
            "task": self.task,
            "rows": list(self.rows),
            "columns": list(self.columns),
            "trained_on": list(self.trained_on),
            "device_dates": {name: date and date.isoformat() for name, date in dates.items()},
            "accuracies": [[list(seeds) for seeds in row] for row in self.accuracies],
        }


def transfer_matrix(
    runs: Sequence[str | os.PathLike[str]],
    devices: Sequence[str],
    *,
    progress: Callable[[float], None] | None = None,
) -> TransferMatrix:
    """Evaluate trained models on devices, whether they were trained on these or not.

    Every model is transpiled for each device, and evaluated on its full noise, exactly; a model
    with normalisation takes its statistics on each device anew, from the validation split. So the
    columns also say what a model that was trained on one calibration does on another machine, or
    on another day's.

    Args:
        runs: folders of runs, or of several seeds of one (``seed0``, ``seed1``, ...).
        devices: names of devices, see `nisqkit.noise.available_devices`.
        progress: called with the share of the work that is done.

    Raises:
        ValueError: no runs or devices, runs of different tasks, seeds of different runs in one
            folder, or as in `nisqkit.qml.runs.load_run`.
        FileNotFoundError: there is no run in a folder.

    Example:
        >>> from nisqkit.qml import TrainConfig, train
        >>> run = train(TrainConfig(task="digits2", depth=1, epochs=1), out="run")
        >>> matrix = transfer_matrix(["run"], ["fake_belem", "fake_lima"])
        >>> matrix.rows, matrix.columns
        (('noise-free',), ('noise-free', 'fake_belem', 'fake_lima'))
    """
    if not runs or not devices:
        raise ValueError(
            f"{len(runs)} runs and {len(devices)} devices given; a transfer matrix needs at least "
            "one of each"
        )
    if repeated := {name for name in devices if devices.count(name) > 1}:
        raise ValueError(f"devices lists {', '.join(sorted(repeated))} twice; name each once")
    models = [_seeds(Path(path)) for path in runs]
    tasks = sorted({seeds[0].config.task_name for seeds in models})
    if len(tasks) > 1:
        raise ValueError(
            f"the runs were trained for different tasks ({', '.join(tasks)}), so that their "
            "accuracies cannot be compared: give runs of one task"
        )
    columns = (NOISE_FREE, *devices)
    steps, done = len(columns) * sum(map(len, models)), 0
    accuracies = []
    for seeds in models:
        per_seed = []
        for run in seeds:
            found = []
            for evaluation in evaluate_run(run, devices):
                found.append(evaluation.accuracy)
                done += 1
                if progress is not None:
                    progress(done / steps)
            per_seed.append(found)
        accuracies.append(tuple(zip(*per_seed, strict=True)))
    own = [seeds[0].config.training_device or NOISE_FREE for seeds in models]
    return TransferMatrix(
        tasks[0],
        _names(own, runs),
        columns,
        tuple(name if name in columns else None for name in own),
        tuple(accuracies),
    )


def _seeds(path: Path) -> list[Run]:
    """Load the run in a folder, or its seeds."""
    folders = [path]
    if path.is_dir() and not RunFolder(path).holds_run:
        folders = [path / name for name in runs_below(path) if os.sep not in name] or [path]
    loaded = [load_run(folder) for folder in folders]
    first = loaded[0].config
    for run in loaded:
        if different := first.differences(replace(run.config, seed=first.seed)):
            raise ValueError(
                f"{path} holds runs that differ in more than their seeds, in {run.path.parent.name}"
                f" {', '.join(different)}: give one of them, or folders with seeds of one run"
            )
    return loaded


def _names(own: Sequence[str], runs: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """What each row was trained on, with its folder where that alone would not tell rows apart."""
    if len(set(own)) == len(own):
        return tuple(own)
    paths = [os.path.abspath(path) for path in runs]
    shared = os.path.commonpath(paths)
    return tuple(
        f"{name} ({os.path.relpath(path, shared)})" for name, path in zip(own, paths, strict=True)
    )
