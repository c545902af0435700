"""The QuantumNAT benchmark: which technique helps, on which task, on which device.

Every cell of the table is trained by `train` into a folder of its own, so that a study can be
killed at any moment and goes on where it stopped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nisqkit.qml.baselines import classical_baselines
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.fit import TrainingInterrupted
from nisqkit.qml.nat_workers import Job, run_jobs
from nisqkit.qml.run_folder import RunFolder
from nisqkit.qml.training import load_data, torch_settings

DEPTHS: Mapping[str, tuple[int, int]] = {
    "fake_santiago": (2, 6),
    "fake_yorktown": (2, 1),
    "fake_belem": (2, 3),
    "fake_athens": (3, 5),
    "fake_lima": (2, 2),
    "fake_quito": (3, 5),
}
"""Nodes and blocks per node of each device in QuantumNAT; a block is two layers, U3 and CU3."""

OTHER_DEPTH = (2, 2)

FACTORS: Mapping[str, tuple[float, int]] = {
    "fake_santiago": (1.5, 4),
    "fake_yorktown": (1.5, 5),
    "fake_belem": (0.5, 5),
}
"""The noise factor of gate injection, and the levels, that QuantumNAT chose for MNIST-4."""

OTHER_FACTOR = (1.0, 5)

FULL_EPOCHS = 200
"""Of the paper."""


@dataclass(frozen=True)
class Technique:
    """A row of the table.

    Attributes:
        key: Its folder.
        title: What tables call it.
        after: Key of the row that it adds one thing to, or None.
        noise: What is injected.
        norm: Whether values between nodes are normalised.
        quantize: Whether they are quantised.
        circuit: The ansatz.
        factor: The noise factor T; None: the device's in `FACTORS`.
    """

    key: str
    title: str
    after: str | None = None
    noise: str | None = None
    norm: bool = True
    quantize: bool = False
    circuit: str = "u3-cu3"
    factor: float | None = 1.0


TECHNIQUES = (
    Technique("baseline", "baseline", norm=False),
    Technique("norm", "+ normalisation", "baseline"),
    Technique("outcomes", "+ injection: outcomes", "norm", "outcomes"),
    Technique("angles", "+ injection: angles", "norm", "angles"),
    Technique("gates-1", "+ injection: gates, T = 1", "norm", "gates"),
    Technique("gates", "+ injection: gates", "norm", "gates", factor=None),
    Technique("exact", "+ injection: exact", "norm", "exact"),
    Technique(
        "gates-levels", "+ gates + quantisation", "gates", "gates", quantize=True, factor=None
    ),
    Technique("exact-levels", "+ exact + quantisation", "exact", "exact", quantize=True),
    Technique("unentangled", "no entanglement, exact", "exact", "exact", circuit="u3"),
)
"""The rows, each with what the row named by ``after`` has and one thing more (or less)."""


@dataclass(frozen=True)
class NatStudy:
    """What is run.

    Attributes:
        tasks: Names of tasks.
        devices: Names of devices.
        seeds: How many; a seed decides the split, the initial weights and the batches.
        epochs: Of every training run.
        data_dir: As in `TrainConfig`.
        techniques: Keys of `TECHNIQUES`.

    Raises:
        ValueError: Nothing to run, or less than two seeds, which have no interval.

    Example:
        >>> study = NatStudy(("digits4",), ("fake_belem",), seeds=2, epochs=60)
        >>> len(study.cells()), study.cells()[0]
        (20, Cell(task='digits4', device='fake_belem', technique='baseline', seed=0))
    """

    tasks: tuple[str, ...]
    devices: tuple[str, ...]
    seeds: int = 5
    epochs: int = 60
    data_dir: str | None = None
    techniques: tuple[str, ...] = tuple(t.key for t in TECHNIQUES)

    def __post_init__(self) -> None:
        for name in ("tasks", "devices", "techniques"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty: give at least one")
        if self.seeds < 2:
            raise ValueError(f"seeds={self.seeds}: give at least 2, since one has no interval")

    def cells(self) -> list[Cell]:
        """All training runs; the first seed of every cell comes before the second of any."""
        return [
            Cell(task, device, technique, seed)
            for seed in range(self.seeds)
            for task in self.tasks
            for device in self.devices
            for technique in self.techniques
        ]

    def config(self, cell: Cell) -> TrainConfig:
        """How a cell is trained."""
        technique = find_technique(cell.technique)
        nodes, blocks = DEPTHS.get(cell.device, OTHER_DEPTH)
        factor, levels = FACTORS.get(cell.device, OTHER_FACTOR)
        large = cell.task.startswith(("mnist", "fashion"))
        return TrainConfig(
            task=cell.task,
            data_dir=self.data_dir,
            circuit=technique.circuit,
            depth=blocks,
            nodes=nodes,
            norm=technique.norm,
            quantize=levels if technique.quantize else None,
            devices=(cell.device,),
            noise=technique.noise,
            noise_factor=factor if technique.factor is None else technique.factor,
            epochs=self.epochs,
            batch_size=256 if large else 64,
            lr=5e-3,
            weight_decay=1e-4,
            warmup_epochs=min(round(0.15 * self.epochs), self.epochs - 1),
            keep="last",
            seed=cell.seed,
        )


@dataclass(frozen=True)
class Cell:
    """One training run: a seed of one entry of the table."""

    task: str
    device: str
    technique: str
    seed: int

    @property
    def folder(self) -> str:
        """Below the study's folder."""
        return f"{self.task}/{self.device}/{self.technique}/seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.task} on {self.device}, {self.technique}, seed {self.seed}"


@dataclass
class NatRecords:
    """What came out.

    Attributes:
        study: What was run.
        cells: Per cell: accuracies and losses on the test split, noise-free and on the device,
            parameters and seconds.
        classical: Per task and seed: the accuracies of `classical_baselines`.
        failures: Cells that failed, with the error.
    """

    study: NatStudy
    cells: dict[Cell, dict[str, Any]] = field(default_factory=dict)
    classical: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


class Progress:
    """What a study tells while it goes on. This one is silent; override what you want to see."""

    def started(self, epochs: int, done: int) -> None:
        """So many epochs in all, of which some were done before."""

    def epoch(self, cell: Cell) -> None:
        """One epoch of a cell is done."""

    def failed(self, cell: Cell, error: str) -> None:
        """A cell failed; the others go on."""


def run_study(
    study: NatStudy,
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> NatRecords:
    """Run a study, or go on with one: runs that are finished are read and not run again.

    Args:
        study: What to run.
        out: Its folder.
        workers: Processes; default one per core that this process may use. Each is bound to one
            core. With 1 everything runs in this process.
        progress: Is told about it.

    Raises:
        ValueError: The folder holds runs with other settings, or a setting cannot work.
        FileNotFoundError: Missing data.
        TrainingInterrupted: Ctrl-C was pressed; the message says how to go on.
    """
    progress, folder = progress or Progress(), Path(out)
    records = NatRecords(study)
    waiting: list[Job] = []
    done = 0
    for cell in study.cells():
        config, run = study.config(cell), RunFolder(folder / cell.folder)
        run.check(config, run.holds_run)
        if run.finished:
            records.cells[cell] = _read(run)
            done += study.epochs
        else:
            done += _epochs_done(run)
            waiting.append(Job(str(cell), config, run.path))
    progress.started(len(study.cells()) * study.epochs, done)
    for seed in range(study.seeds):
        for task in study.tasks:
            records.classical[task, seed] = _classical(study, task, seed, folder)
    by_name = {str(cell): cell for cell in study.cells()}

    def ended(name: str, error: str | None) -> None:
        cell = by_name[name]
        if error is None:
            records.cells[cell] = _read(RunFolder(folder / cell.folder))
        else:
            records.failures[name] = error
            progress.failed(cell, error)

    try:
        run_jobs(waiting, workers or _cores(), lambda name: progress.epoch(by_name[name]), ended)
    except KeyboardInterrupt:
        finished = len(records.cells)
        raise TrainingInterrupted(
            f"interrupted after {finished} of {len(study.cells())} runs; the others keep their "
            "last epoch. To go on, give the same command again"
        ) from None
    return records


def find_technique(key: str) -> Technique:
    """A row by its key.

    Raises:
        ValueError: There is none.
    """
    from nisqkit.circuits.names import unknown

    found = {t.key: t for t in TECHNIQUES}
    if key not in found:
        raise ValueError(unknown("technique", key, found))
    return found[key]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _epochs_done(run: RunFolder) -> int:
    metrics = run.path / "metrics.jsonl"
    return metrics.read_text("utf-8").count("\n") if metrics.exists() else 0


def _read(run: RunFolder) -> dict[str, Any]:
    report = json.loads(run.report_file.read_text("utf-8"))
    noise_free, device = report["test"]
    return {
        "noise_free_accuracy": noise_free["accuracy"],
        "device_accuracy": device["accuracy"],
        "noise_free_loss": noise_free["loss"],
        "device_loss": device["loss"],
        "test_samples": device["total"],
        "parameters": report["parameters"],
        "seconds": report["seconds"],
    }


def _classical(study: NatStudy, task: str, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Classical models on the split of a seed, kept in the study's folder."""
    file = folder / task / "classical" / f"seed{seed}.json"
    if file.exists():
        found: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
        return found
    config = TrainConfig(task=task, data_dir=study.data_dir, seed=seed)
    with torch_settings(config):
        found = [asdict(b) for b in classical_baselines(load_data(config), seed)]
    file.parent.mkdir(parents=True, exist_ok=True)
    RunFolder(file.parent).write_json(file, found)
    return found
