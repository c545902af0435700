"""QuantumNAS against simpler searches, and how fast circuits are scored.

Every finished cell is a line of cells.jsonl: the same command goes on after an interruption.
Writes quantum_nas.md and quantum_nas.json into the folder that is given:
python benchmarks/quantum_nas.py FOLDER [--data-dir DIR] [--tasks digits4 mnist4] [--seeds 5]
"""

import argparse
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nisqkit.circuits import Observables, Task
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.noise import Device
from nisqkit.qml import TrainConfig
from nisqkit.qml.angle_pruning import without_idle_gates
from nisqkit.qml.baselines import classical_baselines
from nisqkit.qml.co_search import CoSearch, transpiled_counts
from nisqkit.qml.datasets import Dataset
from nisqkit.qml.evaluation import evaluate, limited
from nisqkit.qml.fit import fit
from nisqkit.qml.layer import QuantumLayer
from nisqkit.qml.models import with_backend
from nisqkit.qml.nas_config import NasConfig
from nisqkit.qml.nas_fidelity import super_fidelity, transpiling_agreement
from nisqkit.qml.quantum_nas import super_circuit
from nisqkit.qml.statistics import mean_interval
from nisqkit.qml.super_circuit import SuperCircuit
from nisqkit.qml.training import load_data
from nisqkit.search import Study

DEVICES = ("fake_yorktown", "fake_quito")
EVALUATIONS = 800
SUPER_EPOCHS = {"digits4": 100, "mnist4": 60}
EPOCHS = {"digits4": 100, "mnist4": 60}
PRUNED = 0.3
# score, calibrated, sampler, and whether circuits must have as many weights as the first one's
ARMS = {
    "nisqkit": ("loss", True, "evolution", False),
    "QuantumNAS": ("loss", False, "evolution", False),
    "random search": ("loss", True, "random", False),
    "noise-unaware search": ("ideal", True, "evolution", False),
    "noise-unaware search, plain loss": ("ideal", False, "evolution", False),
    "noise-unaware search, equal weights": ("ideal", True, "evolution", True),
    "Elivagar's scores, equal weights": ("training-free", True, "evolution", True),
}


def config(task: str, device: str, seed: int, data_dir: str | None) -> NasConfig:
    """What a cell does."""
    return NasConfig(
        task=task,
        data_dir=data_dir,
        device=device,
        super_epochs=SUPER_EPOCHS[task],
        epochs=EPOCHS[task],
        batch_size=64,
        seed=seed,
    )


def settings(of: NasConfig, epochs: int, **more: Any) -> TrainConfig:
    """How something in it is trained."""
    return of.training(epochs, **more)


def searched(
    model: SuperCircuit, data: Dataset, of: NasConfig, arm: str, weights: int
) -> tuple[CoSearch, Study, float]:
    """One search with the arm's score and sampler."""
    score, calibrate, sampler, equal = ARMS[arm]
    device = Device.load(of.device)
    search = CoSearch.classifying(
        model, limited(data.valid, 500), device, score=score, calibrate=calibrate
    )
    budgets = [f"parameters<={weights}", f"parameters>={weights}"] if equal else []
    study = Study.open(search.problem(budgets), sampler=sampler, seed=of.seed)
    start = time.perf_counter()
    study.run(EVALUATIONS)
    return search, study, time.perf_counter() - start


def tested(
    model: nn.Module, data: Dataset, of: NasConfig, layout: Sequence[int] | None
) -> dict[str, Any]:
    """Test accuracy of a trained model without and with the device's noise, and its gates."""
    device = Device.load(of.device)
    noisy = with_backend(model, "native", noise=device, layout=layout)
    return {
        "noise-free": evaluate(model, data.test, data.class_names).accuracy,
        "noisy": evaluate(noisy, data.test, data.class_names).accuracy,
        "gates": transpiled_counts(model, device, layout),
        "layout": None if layout is None else list(layout),
    }


def trained(model: nn.Module, data: Dataset, of: NasConfig) -> nn.Module:
    """The model with the weights of its best epoch."""
    state, _ = fit(model, data, settings(of, of.epochs))
    model.load_state_dict(state.best_weights)
    return model


def pruned(model: nn.Module, data: Dataset, of: NasConfig) -> nn.Module:
    """The model after more training in which angles are pruned, without its idle gates."""
    fit(model, data, settings(of, of.epochs, prune=PRUNED, keep="last"))
    layer, head = model
    return nn.Sequential(without_idle_gates(layer), head)


def cell(of: NasConfig, known: dict[Any, Any]) -> dict[str, Any]:
    """All arms for one task, device and seed."""
    data = load_data(settings(of, 1))
    key = of.task, of.seed
    if key not in known:
        model = super_circuit(of, data)
        fit(model, data, settings(of, of.super_epochs, keep="last"))
        known.clear()
        known[key] = model.eval()
    model = known[key]
    found: dict[str, Any] = {}
    weights = 0
    for arm in ARMS:
        search, study, seconds = searched(model, data, of, arm, weights)
        best = study.distinct
        best.sort(key=lambda one: one.metrics["score"])
        winner = best[0].value
        if ARMS[arm][0] == "loss":
            winner = min((one.value for one in best[:10]), key=search.transpiled_loss)
        layout = None if "unaware" in arm else winner["layout"]
        weights = weights or model.design.num_weights(winner["circuit"])
        fresh = trained(model.extract(winner["circuit"], inherit=False, seed=of.seed), data, of)
        found[arm] = tested(fresh, data, of, layout) | {
            "search_seconds": seconds,
            "weights": model.design.num_weights(winner["circuit"]),
        }
        if arm == "nisqkit":
            found[arm]["agreement"] = asdict(transpiling_agreement(study, search))
            small = pruned(fresh, data, of)
            found["nisqkit, pruned"] = tested(small, data, of, layout) | {
                "weights": small[0].weights.numel()  # type: ignore[index, union-attr]
            }
    design = model.design
    rng = np.random.default_rng(of.seed)
    drawn = design.mask(design.random(weights, rng))
    for arm, mask in (
        ("random circuit, equal weights", drawn),
        ("human circuit, equal weights", design.human_mask(weights)),
    ):
        circuit = design.kept(mask)
        layer = QuantumLayer(
            model.encoder.compose(circuit), inputs=list(model.encoder.parameters), seed=of.seed
        )
        fresh = trained(nn.Sequential(layer, model.head), data, of)
        found[arm] = tested(fresh, data, of, None) | {"weights": len(circuit.parameters)}
    baselines = {b.name: b.test_accuracy for b in classical_baselines(data, of.seed)}
    return {"arms": found, "baselines": baselines, "test_samples": len(data.test)}


def speed() -> dict[str, float]:
    """Sub-circuits per second with exact noise, against transpiling and running on Aer."""
    of = NasConfig(device="fake_yorktown")
    data = load_data(settings(of, 1))
    model = super_circuit(of, data).eval()
    x, _ = data.train.tensors()
    x = x[:300]
    search = CoSearch(model, Device.load("fake_yorktown"), lambda v: {"loss": float(v.sum())}, x)
    rng = np.random.default_rng(0)
    candidates = [search.space.sample(rng) for _ in range(300)]
    search.evaluate(candidates[:100])  # makes the matrices, as a search does in its first steps
    ours, theirs = [], []
    device = Device.load("fake_yorktown")
    observables = Observables.parse(None, 4)
    for k in range(3):
        some = candidates[100 + 60 * k : 160 + 60 * k]
        start = time.perf_counter()
        search.evaluate(some)
        ours.append(len(some) / (time.perf_counter() - start))
        start = time.perf_counter()
        for candidate in some[:2]:
            program = model.program(candidate["circuit"])
            layout = tuple(candidate["layout"])
            task = Task(program, x, model.layer.weights.detach(), observables)
            with torch.no_grad():
                execute([task], Execution("aer", device, layout=layout))
        theirs.append(2 / (time.perf_counter() - start))
    return {"native": float(np.median(ours)), "aer": float(np.median(theirs))}


def main() -> None:
    """Measure what is missing, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir")
    parser.add_argument("--tasks", nargs="+", default=["digits4"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--fidelity", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    lines = options.folder / "cells.jsonl"
    done = [json.loads(t) for t in lines.read_text().splitlines()] if lines.exists() else []
    finished = {tuple(one["key"]) for one in done}

    def finish(key: tuple[Any, ...], value: Any) -> None:
        one = {"key": list(key), "value": value}
        done.append(one)
        with lines.open("a") as file:
            file.write(json.dumps(one) + "\n")
        print(key, flush=True)

    if ("speed",) not in finished:
        finish(("speed",), speed())
    known: dict[Any, Any] = {}
    for task in options.tasks:
        for seed in range(options.seeds):
            for device in DEVICES:
                if (task, device, seed) not in finished:
                    of = config(task, device, seed, options.data_dir)
                    finish((task, device, seed), cell(of, known))
        if options.fidelity and ("fidelity", task) not in finished:
            of = config(task, "fake_yorktown", 0, options.data_dir)
            data = load_data(settings(of, 1))
            model = super_circuit(of, data)
            fit(model, data, settings(of, of.super_epochs, keep="last"))
            found = super_fidelity(model.eval(), data, of, options.fidelity)
            finish(("fidelity", task), asdict(found))
    write(options.folder, done)


def write(folder: Path, done: list[dict[str, Any]]) -> None:
    """The tables."""
    cells = {tuple(one["key"]): one["value"] for one in done}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    speeds = cells["speed",]
    text = [
        "# Searching circuits for a device",
        "",
        f"Measured {date[:10]}. U3 + CU3 on 4 qubits, up to 8 blocks; "
        f"{EVALUATIONS} evaluations in every search, winners trained from scratch; test "
        "accuracy in percent under the device's full noise, mean over seeds with Student's 95 % "
        "interval. "
        f"Pruned: {PRUNED:.0%} of the angles, trained on from the winner. Equal weights: as many "
        "as nisqkit's winner has, in a search as a hard budget. nisqkit is QuantumNAS with the "
        "loss at the best scale of the logits, as the others have it but for QuantumNAS itself and "
        "those with a plain loss. Noise-unaware, random and human "
        "circuits get the qubits that Qiskit chooses.",
    ]
    runs = {k: v for k, v in cells.items() if len(k) == 3}
    for task, device in sorted({k[:2] for k in runs}):
        some = [v for k, v in runs.items() if k[:2] == (task, device)]
        text += ["", f"## {task} on {device}, {len(some)} seeds, {some[0]['test_samples']} samples"]
        text += ["", "| | noisy | noise-free | two-qubit gates | weights |", "| --- " * 5 + "|"]
        for arm in some[0]["arms"]:
            rows = [one["arms"][arm] for one in some]
            two = [sum(n for g, n in r["gates"].items() if g in ("cx", "cz", "ecr")) for r in rows]
            numbers = [
                _cell([100 * r["noisy"] for r in rows]),
                _cell([100 * r["noise-free"] for r in rows]),
                _cell([float(n) for n in two]),
                f"{np.mean([r['weights'] for r in rows]):.1f}",
            ]
            text.append(f"| {arm} | {' | '.join(numbers)} |")
        for name in some[0]["baselines"]:
            values = [100 * one["baselines"][name] for one in some]
            text.append(f"| {name} (classical) | | {_cell(values)} | | |")
        text += ["", "nisqkit minus the others on the noisy device, paired, in points:"]
        for arm in some[0]["arms"]:
            gains = [100 * (o["arms"]["nisqkit"]["noisy"] - o["arms"][arm]["noisy"]) for o in some]
            if arm != "nisqkit":
                text.append(f"- {arm}: {_cell(gains)}")
        text.append("")
        rho = [one["arms"]["nisqkit"]["agreement"]["spearman"] for one in some]
        text.append(f"Spearman of losses by blocks and transpiled: {_cell(rho, 2)}.")
    text += ["", "## Ranking by inherited weights", ""]
    for key, value in cells.items():
        if key[0] == "fidelity":
            text.append(
                f"{key[1]}: Spearman of inherited and from-scratch validation losses "
                f"{value['spearman']:.2f} ({value['low']:.2f} to {value['high']:.2f}), "
                f"{value['count']} sub-circuits."
            )
    text += [
        "",
        "## Speed",
        "",
        f"Sub-circuits per second, exact noise of fake_yorktown, 4 qubits, 300 samples, one core: "
        f"{speeds['native']:.0f}; transpile and run on Aer (density matrix): {speeds['aer']:.2f}; "
        f"{speeds['native'] / speeds['aer']:.0f} times as many.",
    ]
    (folder / "quantum_nas.md").write_text("\n".join(text) + "\n", "utf-8")
    content = {
        "date": date,
        "versions": {n: version(n) for n in ("nisqkit", "torch", "qiskit", "qiskit-aer", "optuna")}
        | {"python": platform.python_version()},
        "cells": done,
    }
    (folder / "quantum_nas.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print("\n".join(text))


def _cell(values: Sequence[float], digits: int = 1) -> str:
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    mean, low, high = mean_interval(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
