"""Gradient pruning on a noisy device: accuracy against the number of circuits that training runs.

The arms of QOC (Wang et al., DAC 2022, arXiv:2202.13239): nothing pruned, pruned at random, as its
released code does it, as its paper says; and what else the same number of circuits could be spent
on. Writes qoc.jsonl (a line per finished run, so that it can be stopped and goes on), qoc.md and
qoc.png into the folder that is given; mnist2 needs the folder with the images:
python benchmarks/qoc.py benchmarks/results/DATE --data-dir DIR
"""

import argparse
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import qoc_report
import torch
from torch import nn

from nisqkit.circuits import encoder
from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.hardware_backends import SPSA
from nisqkit.noise import Device
from nisqkit.qml import QuantumLayer, TrainConfig, load_dataset
from nisqkit.qml.baselines import classical_baselines
from nisqkit.qml.classifiers import GroupSum
from nisqkit.qml.datasets import Dataset, Split
from nisqkit.qml.evaluation import evaluate, limited
from nisqkit.qml.gradient_pruning import GradientPruning
from nisqkit.qml.on_device import train_on_device
from nisqkit.qml.shot_budget import ShotBudget

DEVICE, SHOTS, SEEDS, TEST_LIMIT = "fake_jakarta", 1024, 8, 300


@dataclass(frozen=True)
class Task:
    """What is learned, by which circuit, for how long.

    Circuits, samples and batches are those of QOC; epochs are more, and divide by 3.
    """

    name: str
    space: str
    blocks: int
    samples: int
    batch: int
    epochs: int


TASKS = (
    Task("digits4", "rxyz", blocks=3, samples=200, batch=50, epochs=21),
    Task("mnist2", "zzry", blocks=1, samples=500, batch=64, epochs=15),
)


@dataclass(frozen=True)
class Arm:
    """A way to train."""

    key: str
    title: str
    pruning: GradientPruning | None = None
    freeze: bool = True
    share: float = 1.0
    grows: bool = False
    spsa: bool = False
    simulated: bool = False


ARMS = (
    Arm("none", "nothing pruned"),
    Arm("short", "nothing pruned, 2/3 of the epochs", share=2 / 3),
    Arm("random", "pruned at random", GradientPruning("random")),
    Arm(
        "released", "as QOC's code: at random, not frozen", GradientPruning("random"), freeze=False
    ),
    Arm("specified", "as QOC's paper: probabilistic", GradientPruning()),
    Arm("top-k", "pruned but for the largest", GradientPruning("top-k")),
    Arm("grows", "probabilistic, growing shots", GradientPruning(), grows=True),
    Arm("spsa", "SPSA, as many circuits", spsa=True),
    Arm("simulated", "trained noise-free on a simulator", simulated=True),
)


def data(task: Task, data_dir: str | None, seed: int) -> Dataset:
    """The task with a small training split that has as many samples of each class."""
    found = load_dataset(task.name, seed=seed, data_dir=data_dir if "mnist" in task.name else None)
    each = task.samples // found.num_classes
    rows = np.sort(
        np.concatenate(
            [np.flatnonzero(found.train.labels == k)[:each] for k in range(found.num_classes)]
        )
    )
    train = Split(found.train.features[rows], found.train.labels[rows])
    return replace(found, train=train, test=limited(found.test, TEST_LIMIT))


def run(task: Task, arm: Arm, seed: int, dataset: Dataset, device: Device) -> dict[str, Any]:
    """Train once, with a look at the test split on the device after every epoch."""
    circuit = encoder("4x4_ryzxy").compose(DesignSpace(task.space, 4, blocks=task.blocks).circuit())
    n = circuit.num_parameters - dataset.num_features
    # the circuits of a step of pruned training, on average: one of three steps is full
    pruned = ((1 + 2 * n) + 2 * (1 + n)) / 3
    method = SPSA(samples=round((pruned - 1) / 2)) if arm.spsa else "auto"
    where: dict[str, Any] = {} if arm.simulated else {"noise": device, "shots": SHOTS}
    layer = QuantumLayer(circuit, "x", diff_method=method, seed=seed, **where)
    head = GroupSum(4, dataset.num_classes)
    there = nn.Sequential(layer.with_backend("native", noise=device, shots=SHOTS), head)
    config = TrainConfig(
        epochs=round(arm.share * task.epochs),
        batch_size=task.batch,
        lr=0.3,
        weight_decay=1e-4,
        seed=seed,
    )
    steps = config.epochs * -(-len(dataset.train) // task.batch)
    budget = ShotBudget.of_total(SHOTS * steps, steps) if arm.grows else None

    def accuracy(model: nn.Module) -> float:
        return evaluate(model, dataset.test, dataset.class_names).accuracy

    def look(record: Mapping[str, Any]) -> dict[str, float]:
        return {"accuracy": accuracy(there)}

    start = time.perf_counter()
    found = train_on_device(
        nn.Sequential(layer, head),
        dataset,
        config,
        pruning=arm.pruning,
        freeze=arm.freeze,
        shots=budget,
        on_epoch=look,
    )
    curve = [[h["executions"], h["train_loss"], h["accuracy"]] for h in found.history]
    floor = 0.0
    if arm.pruning is not None:  # how much of the last draws was left to chance
        floor = arm.pruning.floor * n / (float(found.accumulated.sum()) + arm.pruning.floor * n)
    return {
        "task": task.name,
        "arm": arm.key,
        "seed": seed,
        "weights": n,
        "accuracy": curve[-1][2],
        "noise_free_accuracy": accuracy(nn.Sequential(layer.with_backend("native"), head)),
        "train_loss": curve[-1][1],
        "executions": 0 if arm.simulated else found.executions,
        "shots": found.shots,
        "calls": found.calls,
        "floor_share": floor,
        "budget": [budget.first, budget.last] if budget else None,
        "curve": curve,
        "seconds": round(time.perf_counter() - start, 2),
    }


def main(folder: Path, data_dir: str | None, seeds: int) -> None:
    """Run what is missing, and write the tables."""
    torch.set_num_threads(1)
    device = Device.load(DEVICE)
    file = folder / "qoc.jsonl"
    about = {
        "device": DEVICE,
        "calibrated": device.date.isoformat() if device.date else None,
        "shots": SHOTS,
        "tasks": [vars(task) for task in TASKS],
        "versions": {name: version(name) for name in ("nisqkit", "torch", "qiskit", "numpy")},
        "python": platform.python_version(),
    }
    text = file.read_text("utf-8") if file.exists() else ""
    if not text.endswith("\n"):  # killed within a line
        text = text[: text.rfind("\n") + 1]
        file.write_text(text, "utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    if lines and {k: lines[0].get(k) for k in about} != about:
        raise SystemExit(f"{file} has other settings or versions: write into another folder")
    with file.open("a", encoding="utf-8") as out:

        def write(record: Mapping[str, Any]) -> None:
            lines.append(dict(record))
            out.write(json.dumps(record) + "\n")
            out.flush()

        if not lines:
            write(about | {"date": datetime.now(UTC).isoformat(timespec="seconds")})
        done = {(line["task"], line["arm"], line["seed"]) for line in lines[1:]}
        for seed in range(seeds):
            for task in TASKS:
                if "mnist" in task.name and data_dir is None:
                    continue
                dataset = data(task, data_dir, seed)
                if (task.name, "classical", seed) not in done:
                    fits = {b.name: b.test_accuracy for b in classical_baselines(dataset, seed)}
                    sizes = [len(dataset.train), len(dataset.test)]
                    write(
                        {"task": task.name, "arm": "classical", "seed": seed}
                        | {"accuracies": fits, "samples": sizes}
                    )
                for arm in ARMS:
                    if (task.name, arm.key, seed) in done:
                        continue
                    record = run(task, arm, seed, dataset, device)
                    write(record)
                    shown = ("task", "arm", "seed", "accuracy", "executions", "seconds")
                    print(*(record[k] for k in shown), flush=True)
    titles = {arm.key: arm.title for arm in ARMS}
    wanted = [line for line in lines[1:] if line["seed"] < seeds]
    tables = qoc_report.report(lines[0], wanted, titles)
    (folder / "qoc.md").write_text(tables, "utf-8")
    qoc_report.picture(wanted, titles, folder / "qoc.png")
    print(tables)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args()
    main(given.folder, given.data_dir, given.seeds)
