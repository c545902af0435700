"""QuantumNAS from beginning to end: SuperCircuit, co-search with qubits, retraining, pruning.

Source: Wang et al., QuantumNAS, HPCA 2022 (arXiv:2107.10845).
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nisqkit.circuits.design_sampling import SAMPLINGS
from nisqkit.circuits.design_spaces import DESIGN_SPACES, DesignSpace
from nisqkit.circuits.names import unknown
from nisqkit.circuits.subcircuit_text import subcircuit_to_text
from nisqkit.compression.rank_fidelity import RankFidelity, rank_fidelity
from nisqkit.noise.device import Device
from nisqkit.qml.angle_pruning import idle_gates
from nisqkit.qml.baselines import classical_baselines
from nisqkit.qml.classifiers import GroupSum, classifier_encoder
from nisqkit.qml.co_search import SCORES, CoSearch, transpiled_counts
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.datasets import Dataset
from nisqkit.qml.evaluation import evaluate, limited
from nisqkit.qml.fit import Watcher, fit, num_steps
from nisqkit.qml.models import quantum_layers
from nisqkit.qml.run_folder import RunFolder
from nisqkit.qml.runs import load_run
from nisqkit.qml.super_circuit import SuperCircuit
from nisqkit.qml.training import build_model, load_data, torch_settings, train
from nisqkit.search import Budget, Evaluated, Objective, Study

VERSION = 1
_OPTIMISED = ("score", "loss", "two_qubit_gates", "depth", "parameters", "duration_seconds")


@dataclass(frozen=True, kw_only=True)
class NasConfig:
    """What a search for a circuit does. Two with equal configs find the same.

    Attributes:
        task: a task of `nisqkit.qml.datasets.available_datasets()`.
        data_dir: folder with the task's files, for tasks that need some.
        device: the device that circuits are searched for.
        space: one of `DESIGN_SPACES`.
        blocks: blocks of the SuperCircuit; None: as in `DESIGN_SPACES`.
        arbitrary: whether layers keep any of their gates instead of the first ones.
        sampling: how the SuperCircuit is trained, one of `SAMPLINGS`.
        super_epochs: passes over the training split for it.
        score: one of `nisqkit.qml.co_search.SCORES`.
        calibrate: whether the loss is taken at the best scale of the logits, see
            `CoSearch.classifying`; False: as QuantumNAS was published.
        objectives: what is minimised: ``"score"``, and with it ``"two_qubit_gates"``, ``"depth"``,
            ``"parameters"``, ``"duration_seconds"`` for a Pareto front.
        budgets: hard limits such as ``"two_qubit_gates<=40"``.
        evaluations: candidates of the search.
        sampler: ``"evolution"`` (one objective), ``"nsga2"``, ``"random"``, ``"regularized"``;
            None: one of the first two.
        samples: validation samples that score a candidate.
        finalists: how many of the best are transpiled for real; the best of these wins.
        fidelity: how many sub-circuits are also trained from scratch, to see whether inherited
            weights rank them rightly; 0: none.
        epochs: passes over the training split for the winner, trained from scratch.
        prune: share of the winner's angles that is pruned at the end; None: none.
        batch_size, lr, weight_decay: of all training.
        seed: of everything random.

    Raises:
        ValueError: an unknown name, or a number that cannot work.

    Example:
        >>> NasConfig(device="fake_yorktown", budgets=("two_qubit_gates<=40",)).space
        'u3cu3'
    """

    task: str = "digits4"
    data_dir: str | None = None
    device: str
    space: str = "u3cu3"
    blocks: int | None = None
    arbitrary: bool = False
    sampling: str = "restricted"
    super_epochs: int = 100
    score: str = "loss"
    calibrate: bool = True
    objectives: tuple[str, ...] = ("score",)
    budgets: tuple[str, ...] = ()
    evaluations: int = 1600
    sampler: str | None = None
    samples: int = 500
    finalists: int = 10
    fidelity: int = 12
    epochs: int = 60
    prune: float | None = None
    batch_size: int = 32
    lr: float = 0.01
    weight_decay: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", tuple(self.objectives))
        object.__setattr__(self, "budgets", tuple(self.budgets))
        for name, allowed in (
            ("space", DESIGN_SPACES),
            ("sampling", SAMPLINGS),
            ("score", SCORES),
        ):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(unknown(name, value, allowed))
        for name in self.objectives:
            if name not in _OPTIMISED:
                raise ValueError(unknown("objective", name, _OPTIMISED))
        if "score" not in self.objectives:
            raise ValueError(
                f"objectives={list(self.objectives)} lack 'score': without it the smallest circuit "
                "would be the best"
            )
        for budget in self.budgets:
            Budget.parse(budget)
        for name in ("super_epochs", "evaluations", "samples", "finalists", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.fidelity == 1 or self.fidelity < 0:
            raise ValueError(f"fidelity={self.fidelity} must be 0, or at least 2 to compare")

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return asdict(self) | {
            "objectives": list(self.objectives),
            "budgets": list(self.budgets),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NasConfig:
        """From what `to_dict` gave.

        Raises:
            ValueError: a field that there is not.
        """
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                raise ValueError(unknown("field of NasConfig", name, names))
        return cls(**values)

    def training(self, epochs: int, **more: Any) -> TrainConfig:
        """How circuits of this search are trained."""
        return TrainConfig(
            task=self.task,
            data_dir=self.data_dir,
            epochs=epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_epochs=epochs // 10,
            seed=self.seed,
            **more,
        )


class NasWatcher:
    """What a search tells while it goes on. This one is silent; override what you want to see."""

    def stage(self, text: str) -> None:
        """A stage begins."""

    def training(self) -> Watcher:
        """Who watches a training run."""
        return Watcher()

    def searched(self, done: int, total: int, study: Study) -> None:
        """So many candidates are finished."""


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
    report = _trained(config, folder, dataset, search, winner, watcher)
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


def transpiling_agreement(study: Study, search: CoSearch) -> RankFidelity:
    """Whether losses by native blocks rank circuits as losses of transpiled ones do.

    Of up to 20 candidates drawn from all that were evaluated: finalists alone lie too near to each
    other to say.
    """
    rng = np.random.default_rng(0)
    distinct = study.distinct
    some = [distinct[k] for k in rng.permutation(len(distinct))[: min(20, len(distinct))]]
    real = [search.transpiled_loss(one.value) for one in some]
    return rank_fidelity([one.metrics["loss"] for one in some], real)


def super_fidelity(
    model: SuperCircuit, dataset: Dataset, config: NasConfig, count: int
) -> RankFidelity:
    """Whether inherited weights rank sub-circuits as training from scratch does.

    Args:
        model: A trained SuperCircuit.
        dataset: Losses are those of its validation split, without noise.
        config: How each is trained.
        count: How many sub-circuits are drawn uniformly.
    """
    rng = np.random.default_rng((config.seed, 1))
    inherited, scratch = [], []
    names = dataset.class_names
    for k in range(count):
        sub = model.design.space.sample(rng)
        inherited.append(evaluate(model.extract(sub), dataset.valid, names).loss)
        fresh = model.extract(sub, inherit=False, seed=config.seed * 1000 + k)
        state, _ = fit(fresh, dataset, config.training(config.epochs))
        scratch.append(state.best_loss)
    return rank_fidelity(inherited, scratch)


def _trained(
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
    from nisqkit.circuits.subcircuit_text import subcircuit_from_text
    from nisqkit.qml.saved_model import save_model

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
