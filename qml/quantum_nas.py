"""QuantumNAS from beginning to end: SuperCircuit, co-search with qubits, retraining, pruning.

Source: Wang et al., QuantumNAS, HPCA 2022 (arXiv:2107.10845).
"""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.noise.device import Device
from nisqkit.qml.classifiers import GroupSum, classifier_encoder
from nisqkit.qml.co_search import CoSearch
from nisqkit.qml.datasets import Dataset
from nisqkit.qml.evaluation import limited
from nisqkit.qml.fit import fit, num_steps
from nisqkit.qml.nas_config import NasConfig as NasConfig
from nisqkit.qml.nas_config import NasWatcher as NasWatcher
from nisqkit.qml.nas_fidelity import super_fidelity, transpiling_agreement
from nisqkit.qml.nas_winner import train_winner
from nisqkit.qml.run_folder import RunFolder
from nisqkit.qml.super_circuit import SuperCircuit
from nisqkit.qml.training import load_data, torch_settings
from nisqkit.search import Evaluated, Objective, Study

VERSION = 1


def run_nas(
    config: NasConfig,
    out: str | Path,
    *,
    storage: str | None = None,
    workers: int = 1,
    resume: bool = False,
    watcher: NasWatcher | None = None,
) -> dict[str, Any]:
    """Search a circuit and its qubits, and train what was found.

    Every stage writes into the folder and is not done again: after a kill, the same call with
    ``resume=True`` goes on. The folder then holds ``winner/`` (and with pruning ``final/``), a run
    that `nisqkit.qml.load_run` and all commands take.

    Args:
        config: what to search.
        out: a new folder.
        storage: of the study, as in `Study.open`; None: a file in the folder. With a database,
            workers on other machines can join: `search_worker`.
        workers: processes that evaluate candidates.
        resume: go on with the search in the folder.
        watcher: is told about progress.

    Returns:
        What is in ``report.json``.

    Raises:
        ValueError: a folder with something else, budgets that nothing fits, or as in the parts.
        FileNotFoundError: nothing to resume.
        ConnectionError: the storage cannot be reached.
    """
    watcher = watcher or NasWatcher()
    folder = Path(out)
    _check(config, storage)
    _begin(config, folder, resume)
    report_file = folder / "report.json"
    if report_file.is_file():
        return dict(json.loads(report_file.read_text("utf-8")))
    settings = config.training(config.super_epochs)
    with torch_settings(settings):
        dataset = load_data(settings)
        study, search = open_search(folder, storage, watcher)
        watcher.stage(f"searching {config.evaluations} candidates")
        _search(config, folder, study, storage, workers, watcher)
        study.plot(folder / "search.png")
        best = _finalists(study, search, config.finalists)
        watcher.stage(f"transpiling {len(best)} finalists")
        agreement, winner = None, best[0]
        if config.score != "training-free":
            agreement = transpiling_agreement(study, search)
            winner = min(best, key=lambda one: search.transpiled_loss(one.value))
        fidelity = None
        if config.fidelity and config.score != "training-free":
            watcher.stage(f"training {config.fidelity} sub-circuits from scratch")
            fidelity = super_fidelity(search.model, dataset, config, config.fidelity)
    report = train_winner(config, folder, dataset, search, winner, watcher)
    report |= {
        "nisqkit_search": VERSION,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("nisqkit", "torch", "qiskit", "optuna")},
        "config": config.to_dict(),
        "space_size": search.space.size(),
        "evaluated": len(study.evaluated),
        "distinct": len(study.distinct),
        "front": [{"candidate": one.value, "metrics": dict(one.metrics)} for one in study.front],
        "winner": {"candidate": winner.value, "metrics": dict(winner.metrics)},
        "block_loss_against_transpiled": None if agreement is None else asdict(agreement),
        "inherited_against_scratch": None if fidelity is None else asdict(fidelity),
    }
    report_file.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return dict(json.loads(report_file.read_text("utf-8")))


def _check(config: NasConfig, storage: str | None) -> None:
    """Find out what cannot work before anything is written."""
    if storage is not None:
        from nisqkit.search.storage import open_storage  # it takes Optuna a second to load

        open_storage(storage)
    dataset = load_data(config.training(1))
    model = super_circuit(config, dataset)
    split = limited(dataset.valid, 2)
    CoSearch.classifying(model, split, Device.load(config.device)).check(config.budgets)


def _begin(config: NasConfig, folder: Path, resume: bool) -> None:
    file = folder / "search.json"
    if resume:
        if not file.is_file():
            raise FileNotFoundError(f"there is no search in {folder} to resume")
        before = read_search(folder)
        different = [
            f"{name} ({value!r}, not {before.to_dict()[name]!r})"
            for name, value in config.to_dict().items()
            if value != before.to_dict()[name]
        ]
        if different:
            raise ValueError(
                f"the search in {folder} has another config; different are: {', '.join(different)}."
                " Resume it with its own, or choose another folder"
            )
        return
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        held = "already holds a search: go on with it by resume" if file.is_file() else "is not new"
        raise ValueError(f"{folder} {held}; or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    content = {"nisqkit_search": VERSION, "config": config.to_dict()}
    file.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def read_search(folder: str | Path) -> NasConfig:
    """The config of a search in a folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: of another version.
    """
    file = Path(folder) / "search.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no search in {folder} (no search.json); it is what `nisqkit search --out` "
            "writes"
        )
    content = json.loads(file.read_text("utf-8"))
    if content.get("nisqkit_search") != VERSION:
        raise ValueError(
            f"{file} has version {content.get('nisqkit_search')!r}; this nisqkit reads {VERSION}"
        )
    return NasConfig.from_dict(content["config"])


def open_search(
    folder: str | Path, storage: str | None = None, watcher: NasWatcher | None = None
) -> tuple[Study, CoSearch]:
    """The study of a search, and what it searches; the SuperCircuit is trained first if needed.

    Raises:
        FileNotFoundError: there is no search.
        ConnectionError: the storage cannot be reached.
    """
    folder = Path(folder)
    config = read_search(folder)
    settings = config.training(config.super_epochs, keep="last")
    dataset = load_data(settings)
    device = Device.load(config.device)
    model = super_circuit(config, dataset)
    split = limited(dataset.valid, config.samples)
    watcher = watcher or NasWatcher()
    if config.score != "training-free":
        watcher.stage(f"training the SuperCircuit {model.design!r}")
        fit(model, dataset, settings, folder=_super_folder(folder), watcher=watcher.training())
    model.eval()
    search = CoSearch.classifying(
        model, split, device, score=config.score, calibrate=config.calibrate
    )
    costs = {"score": "expensive", "loss": "expensive"}
    objectives = [
        Objective(name, cost=costs.get(name, "static"))  # type: ignore[arg-type]
        for name in config.objectives
    ]
    several = len(objectives) > 1
    study = Study.open(
        search.problem(config.budgets, objectives),
        storage or folder / "search.journal",
        f"search seed {config.seed}" if storage is None else f"nisqkit {folder.name}",
        sampler=config.sampler or ("nsga2" if several else "evolution"),
        seed=config.seed,
    )
    return study, search


def _super_folder(folder: Path) -> RunFolder:
    found = RunFolder(folder / "super")
    found.path.mkdir(exist_ok=True)
    return found


def super_circuit(config: NasConfig, dataset: Dataset) -> SuperCircuit:
    """The SuperCircuit of a search, untrained."""
    front = classifier_encoder(dataset.num_features, dataset.num_classes)
    width = front.num_qubits
    settings = config.training(config.super_epochs)
    design = DesignSpace(config.space, width, config.blocks, config.arbitrary)
    model = SuperCircuit(
        design,
        front,
        sample=config.sampling,
        head=GroupSum(width, dataset.num_classes),
        seed=config.seed,
    )
    steps = num_steps(len(dataset.train), settings.batch_size, model)
    model.steps = steps * config.super_epochs
    return model


def search_worker(folder: str, storage: str | None, evaluations: int) -> None:
    """Work on a search until it has so many candidates; any number of these may run.

    Args:
        folder: of the search, with a trained SuperCircuit.
        storage: as in `run_nas`.
        evaluations: candidates of the whole search.
    """
    torch.set_num_threads(1)
    study, _ = open_search(folder, storage)
    study.run(evaluations)


def _search(
    config: NasConfig,
    folder: Path,
    study: Study,
    storage: str | None,
    workers: int,
    watcher: NasWatcher,
) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (str(folder), storage, config.evaluations)
    helpers = [
        context.Process(target=search_worker, args=arguments, daemon=True)
        for _ in range(workers - 1)
    ]
    for helper in helpers:
        helper.start()
    try:
        study.run(
            config.evaluations, lambda done, total: watcher.searched(done, total, study), batch=40
        )
    finally:
        for helper in helpers:
            helper.join(timeout=30)
            helper.terminate()


def _finalists(study: Study, search: CoSearch, count: int) -> list[Evaluated]:
    """The best of all that were evaluated, or of the front where there are several objectives."""
    found = study.front if len(study.problem.objectives) > 1 else study.distinct
    return sorted(found, key=lambda one: one.metrics["score"])[:count]
