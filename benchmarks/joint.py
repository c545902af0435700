"""Joint search of both halves against one half after the other, at equal evaluations.

Every finished seed is a line of joint.jsonl. Writes joint.md into the folder that is given:
python benchmarks/joint.py FOLDER [--seeds 5] [--evaluations 240]
"""

import argparse
import json
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nisqkit.noise import Device
from nisqkit.qml import load_dataset
from nisqkit.qml.joint import (
    CIRCUIT_HALF,
    CLASSICAL_HALF,
    JointSearch,
    joint_supernet,
    train_joint,
)
from nisqkit.qml.statistics import mean_interval
from nisqkit.search import Study
from nisqkit.search.evaluated import Evaluated
from nisqkit.search.pareto import hypervolume

OBJECTIVES = ("loss", "weight_bytes", "qpu_seconds_per_epoch")
REFERENCE = (1.4, 700.0, 60_000.0)
"""The loss of guessing among four classes, and what the largest candidates cost."""
BUDGETS = ("qpu_seconds_per_epoch<=60000",)


def searched(search: JointSearch, evaluations: int, seed: int) -> list[Evaluated]:
    """What one search finds, complete candidates."""
    study = Study.open(
        search.problem(BUDGETS, OBJECTIVES), sampler="nsga2", seed=seed, population=20
    )
    study.run(evaluations)
    return study.distinct


def one_seed(seed: int, evaluations: int) -> dict[str, Any]:
    """Hypervolumes of the arms, all with the same supernet and as many evaluations."""
    data = load_dataset("digits4", seed=seed)
    model = joint_supernet(data.num_features, data.num_classes, seed=seed)
    train_joint(model, data.train, epochs=40, seed=seed)
    device = Device.load("fake_jakarta")
    full = JointSearch(model, data.train, data.valid, device, seed=seed)
    # what a half has while the other one is searched: everything as large and precise as it can be
    rng = np.random.default_rng(seed)
    start = full.space.sample(rng)
    start |= {
        "prune": dict.fromkeys(start["prune"], 0.0),
        "weight_bits": dict.fromkeys(start["weight_bits"], 8),
        "circuit": model.part("circuit").design.largest[:2],
        "angle_bits": 8,
        "measurement_bits": 8,
        "shots": 1024,
        "trained": "everything",
    }
    start["encoder"] = {"0": {"width": 16}}  # the widest
    found: dict[str, Any] = {}

    def volume(name: str, evaluated: list[Evaluated], seconds: float) -> None:
        losses = [tuple(one.metrics[o] for o in OBJECTIVES) for one in evaluated]
        inside = [row for row in losses if all(a < b for a, b in zip(row, REFERENCE, strict=True))]
        scaled = [tuple(a / b for a, b in zip(row, REFERENCE, strict=True)) for row in inside]
        found[name] = {
            "hypervolume": hypervolume(scaled, np.ones(3)) if scaled else 0.0,
            "best accuracy": max(one.metrics["accuracy"] for one in evaluated),
            "seconds": seconds,
        }

    clock = time.perf_counter()
    volume("joint", searched(full, evaluations, seed), time.perf_counter() - clock)
    for name, first, second in (
        ("circuit first", CIRCUIT_HALF, CLASSICAL_HALF),
        ("classical first", CLASSICAL_HALF, CIRCUIT_HALF),
    ):
        clock = time.perf_counter()
        fixed = {key: start[key] for key in second}
        half = JointSearch(model, data.train, data.valid, device, fixed=fixed, seed=seed)
        before = searched(half, evaluations // 2, seed)
        best = min(before, key=lambda one: one.metrics["loss"]).value
        kept = {key: best[key] for key in first}
        other = JointSearch(model, data.train, data.valid, device, fixed=kept, seed=seed)
        after = searched(other, evaluations - evaluations // 2, seed)
        volume(name, [*before, *after], time.perf_counter() - clock)
    return found


def main() -> None:
    """Measure what is missing, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=240)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    lines = options.folder / "joint.jsonl"
    done = [json.loads(t) for t in lines.read_text().splitlines()] if lines.exists() else []
    for seed in range(options.seeds):
        if seed in [one["seed"] for one in done]:
            continue
        done.append({"seed": seed, "arms": one_seed(seed, options.evaluations)})
        with lines.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(done[-1], flush=True)
    text = [
        "# One budget for both halves",
        "",
        f"digits4 on fake_jakarta, {options.evaluations} evaluations in every arm (halves: half of "
        f"them each), {len(done)} seeds, {datetime.now(UTC):%Y-%m-%d}, nisqkit "
        f"{version('nisqkit')}, torch {version('torch')}. Hypervolume of loss on the noisy device, "
        f"packed weight bytes and QPU seconds of a training epoch, each divided by its reference "
        f"{REFERENCE}; mean with Student's 95 % interval.",
        "",
        "| | hypervolume | best validation accuracy, % | seconds |",
        "| --- | --- | --- | --- |",
    ]
    for arm in done[0]["arms"]:
        rows = [one["arms"][arm] for one in done]
        cells = [
            _cell([r["hypervolume"] for r in rows], 4),
            _cell([100 * r["best accuracy"] for r in rows], 1),
            _cell([r["seconds"] for r in rows], 0),
        ]
        text.append(f"| {arm} | {' | '.join(cells)} |")
    text.append("")
    for arm in ("circuit first", "classical first"):
        gains = [
            one["arms"]["joint"]["hypervolume"] - one["arms"][arm]["hypervolume"] for one in done
        ]
        text.append(f"Joint minus {arm}, paired: {_cell(gains, 4)}.")
    (options.folder / "joint.md").write_text("\n".join(text) + "\n", "utf-8")
    print("\n".join(text))


def _cell(values: list[float], digits: int) -> str:
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    mean, low, high = mean_interval(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
