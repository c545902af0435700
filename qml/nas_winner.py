"""The winner of a search: trained from scratch, pruned, and written as runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.circuits.subcircuit_text import subcircuit_from_text, subcircuit_to_text
from nisqkit.noise.device import Device
from nisqkit.qml.angle_pruning import idle_gates
from nisqkit.qml.baselines import classical_baselines
from nisqkit.qml.co_search import CoSearch, transpiled_counts
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.datasets import Dataset
from nisqkit.qml.models import quantum_layers
from nisqkit.qml.nas_config import NasConfig, NasWatcher
from nisqkit.qml.run_folder import RunFolder
from nisqkit.qml.runs import load_run
from nisqkit.qml.saved_model import save_model
from nisqkit.qml.training import build_model, torch_settings, train
from nisqkit.search import Evaluated


def train_winner(
    config: NasConfig,
    folder: Path,
    dataset: Dataset,
    search: CoSearch,
    winner: Evaluated,
    watcher: NasWatcher,
) -> dict[str, Any]:
    """Train the winner from scratch, prune it, and write down what came out."""
    design = search.model.design
    text = subcircuit_to_text(design, design.mask(winner.value["circuit"]))
    (folder / "subcircuit.json").write_text(text + "\n", "utf-8")
    layout = search.layout_of(winner.value)
    settings = config.training(
        config.epochs, subcircuit=text, devices=(config.device,), layout=layout
    )
    watcher.stage("training the winner from scratch")
    result = _train(settings, folder / "winner", watcher)
    rows = {"winner": _row(result, folder / "winner", search.device, layout)}
    if config.prune is not None:
        watcher.stage("pruning the winner")
        pruning = replace(
            settings,
            prune=config.prune,
            keep="last",
            start=str(folder / "winner"),
            lr=config.lr / 2.5,
            warmup_epochs=0,
        )
        _train(pruning, folder / "pruned", watcher)
        result = remove_idle(folder / "pruned", folder / "final", dataset)
        rows["pruned"] = _row(result, folder / "final", search.device, layout)
    baselines = [asdict(b) for b in classical_baselines(dataset, config.seed)]
    return {"results": rows, "baselines": baselines}


def _train(settings: TrainConfig, out: Path, watcher: NasWatcher) -> dict[str, Any]:
    resume = RunFolder(out).holds_run
    found = train(settings, out=out, resume=resume, pictures=False, watcher=watcher.training())
    return found.report


def _row(
    report: Mapping[str, Any], run: Path, device: Device, layout: Sequence[int]
) -> dict[str, Any]:
    tested = {one["condition"]: one["accuracy"] for one in report["test"]}
    return {
        "parameters": report["parameters"],
        "gates": transpiled_counts(load_run(run).model, device, layout),
        "test_accuracy": tested,
        "test_samples": report["sizes"]["test"],
    }


def remove_idle(pruned: str | Path, out: str | Path, dataset: Dataset) -> dict[str, Any]:
    """A run of the same circuit without the gates that pruning has made idle, with its weights.

    Args:
        pruned: A finished run of a sub-circuit, trained with ``prune``.
        out: A new folder.
        dataset: What it was trained on.

    Returns:
        What is in the new run's ``report.json``.
    """
    run = load_run(pruned)
    assert run.config.subcircuit is not None
    design, mask = subcircuit_from_text(run.config.subcircuit)
    (layer,) = quantum_layers(run.model).values()
    encoder = len(layer.circuit.data) - sum(mask) if layer.circuit is not None else 0
    idle = idle_gates(layer)[encoder:]
    idle += (False,) * (sum(mask) - len(idle))
    places = [k for k, keep in enumerate(mask) if keep]
    dropped = {place for place, nothing in zip(places, idle, strict=True) if nothing}
    left = tuple(keep and k not in dropped for k, keep in enumerate(mask))
    settings = replace(
        run.config,
        subcircuit=subcircuit_to_text(design, left),
        prune=None,
        start=None,
        keep="last",
    )
    with torch_settings(settings):
        model = build_model(settings, dataset.num_features, dataset.num_classes)
    (small,) = quantum_layers(model).values()
    weights = _kept_weights(design, mask, left)
    with torch.no_grad():
        small.weights.copy_(layer.weights[weights])
    return save_model(model, settings, dataset, out)


def _kept_weights(design: DesignSpace, before: Sequence[bool], after: Sequence[bool]) -> list[int]:
    """Which weights of a circuit are left in a smaller one."""
    found: list[int] = []
    place = 0
    for keep, still, number in zip(before, after, design.weights_of_gates, strict=True):
        if keep:
            if still:
                found += range(place, place + number)
            place += number
    return found
