"""The demonstration: a small circuit on digits, noise-free and on devices, beside simple rivals."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nisqkit.qml.config import TrainConfig
from nisqkit.qml.fit import TrainingInterrupted, Watcher
from nisqkit.qml.metrics import Row
from nisqkit.qml.plots import accuracy_chart, save_figure
from nisqkit.qml.run_folder import RunFolder
from nisqkit.qml.seeds import train_seeds

SEEDS = 5
CONFIG = TrainConfig(
    task="digits4",
    circuit="u3-cu3",
    depth=4,
    epochs=60,
    batch_size=16,
    lr=0.05,
    schedule="cosine",
    devices=("fake_santiago", "fake_yorktown"),
)
CIRCUITS: Mapping[str, str] = {
    "u3-cu3": "U3 + CU3 circuit",
    "u3": "U3 circuit, no entanglement",
}
"""The circuits that are trained, and what the table calls them."""

_MARK = "demo.json"


@dataclass(frozen=True)
class DemoResult:
    """What `run_demo` returns.

    Attributes:
        rows: the table: both circuits under every condition, then the classical models.
        pictures: the pictures that were drawn.
        replaced: whether the results of an earlier demonstration were replaced.
    """

    rows: tuple[Row, ...]
    pictures: tuple[Path, ...]
    replaced: bool


def run_demo(
    out: str | os.PathLike[str],
    *,
    config: TrainConfig = CONFIG,
    num_seeds: int = SEEDS,
    watcher: Callable[[str, int], Watcher] | None = None,
) -> DemoResult:
    """Train both circuits with several seeds, and compare them with classical models.

    All see the same features and the same splits. The entanglement-free circuit shows what the
    entangling gates contribute; the classical models show what 16 features allow.

    Args:
        out: the folder for the results; those of an earlier demonstration are replaced.
        config: what to train, once per circuit and seed.
        num_seeds: number of seeds.
        watcher: called with circuit and seed, for the `Watcher` of the run.

    Raises:
        ValueError: `out` holds something else than a demonstration.
        TrainingInterrupted: Ctrl-C was pressed.
    """
    folder = Path(out)
    replaced = _make_room(folder)
    RunFolder(folder).write_json(folder / _MARK, {"demo": "in progress"})
    quantum: list[Row] = []
    classical: list[Row] = []
    for circuit, name in CIRCUITS.items():
        try:
            result = train_seeds(
                replace(config, circuit=circuit),
                num_seeds,
                out=folder / circuit,
                baselines=not classical,
                watcher=_watch(watcher, name),
            )
        except TrainingInterrupted:
            raise TrainingInterrupted("interrupted; the next demonstration starts anew") from None
        quantum += [replace(r, model=name) for r in result.rows if r.condition != "classical"]
        classical += [r for r in result.rows if r.condition == "classical"]
    rows = (*quantum, *classical)
    title = f"{config.task_name}, 16 features, {num_seeds} seeds"
    save_figure(accuracy_chart(rows, title), folder / "accuracy.png")
    content = {"seeds": num_seeds, "rows": [asdict(row) for row in rows]}
    RunFolder(folder).write_json(folder / _MARK, content)
    first = folder / next(iter(CIRCUITS)) / f"seed{config.seed}"
    pictures = (
        folder / "accuracy.png",
        first / "learning_curve.png",
        first / "confusion_matrix.png",
    )
    return DemoResult(rows, pictures, replaced)


def _make_room(folder: Path) -> bool:
    """Create the folder, or delete what an earlier demonstration left in it."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: choose a folder with --out")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / _MARK).is_file():
            raise ValueError(
                f"{folder} holds something else than a demonstration, which would be deleted: "
                "choose another folder with --out"
            )
        for circuit in CIRCUITS:
            shutil.rmtree(folder / circuit, ignore_errors=True)
        return True
    folder.mkdir(parents=True, exist_ok=True)
    return False


def _watch(
    watcher: Callable[[str, int], Watcher] | None, name: str
) -> Callable[[int], Watcher] | None:
    return None if watcher is None else lambda seed: watcher(name, seed)
