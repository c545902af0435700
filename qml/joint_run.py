"""A joint search from beginning to end: supernet, search, the winner as a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nisqkit.circuits.design_spaces import DESIGN_SPACES
from nisqkit.circuits.names import unknown
from nisqkit.compression.supernet import HybridSupernet
from nisqkit.noise.device import Device
from nisqkit.qml.baselines import classical_baselines
from nisqkit.qml.checkpoint import write_atomic
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.evaluation import limited
from nisqkit.qml.joint import JointSearch, compressed, joint_supernet, train_joint
from nisqkit.qml.nas_config import NasWatcher
from nisqkit.qml.saved_model import save_model
from nisqkit.qml.training import load_data, torch_settings
from nisqkit.search import Budget, Evaluated, Study

VERSION = 1
_OBJECTIVES = ("loss", "error", "weight_bytes", "qpu_seconds_per_epoch", "two_qubit_gates")
_MODEL_FILE = '''"""The model that a joint search has found; written by nisqkit."""

from nisqkit.qml.joint_run import build_winner

SPEC = {spec!r}


def build(num_features, num_classes):
    """The model, with the weights of its supernet."""
    return build_winner(SPEC, num_features, num_classes)
'''


@dataclass(frozen=True, kw_only=True)
class JointConfig:
    """What a joint search does. Two with equal configs find the same.

    Attributes:
        task: a task of `nisqkit.qml.datasets.available_datasets()`.
        data_dir: folder with the task's files, for tasks that need some.
        device: the device.
        space: design space of the circuit, one of `DESIGN_SPACES`.
        blocks: its blocks.
        budgets: hard limits such as ``"weight_bytes<=8k"`` and ``"qpu_seconds_per_epoch<=60"``.
        objectives: what is minimised.
        evaluations: candidates.
        super_epochs: passes over the training split for the supernet.
        steps: fine-tuning steps of every candidate.
        epochs: the winner's.
        samples: validation samples that judge a candidate.
        seed: of everything random.

    Raises:
        ValueError: an unknown name, or a number that cannot work.

    Example:
        >>> JointConfig(device="fake_jakarta", budgets=("weight_bytes<=8k",)).blocks
        4
    """

    task: str = "digits4"
    data_dir: str | None = None
    device: str
    space: str = "u3cu3"
    blocks: int = 4
    budgets: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ("loss", "weight_bytes", "qpu_seconds_per_epoch")
    evaluations: int = 400
    super_epochs: int = 40
    steps: int = 20
    epochs: int = 20
    samples: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", tuple(self.objectives))
        object.__setattr__(self, "budgets", tuple(self.budgets))
        if self.space not in DESIGN_SPACES:
            raise ValueError(unknown("space", self.space, DESIGN_SPACES))
        for name in self.objectives:
            if name not in _OBJECTIVES:
                raise ValueError(unknown("objective", name, _OBJECTIVES))
        if not {"loss", "error"} & set(self.objectives):
            raise ValueError(
                f"objectives={list(self.objectives)} lack 'loss' and 'error': without one of them "
                "the smallest model would be the best"
            )
        for budget in self.budgets:
            Budget.parse(budget)
        for name in ("evaluations", "super_epochs", "epochs", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return asdict(self) | {"objectives": list(self.objectives), "budgets": list(self.budgets)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JointConfig:
        """From what `to_dict` gave."""
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                raise ValueError(unknown("field of JointConfig", name, names))
        return cls(**values)

    def training(self) -> TrainConfig:
        """What data are loaded by, and how the winner's run is written down."""
        return TrainConfig(
            task=self.task, data_dir=self.data_dir, epochs=self.epochs, seed=self.seed
        )


def run_joint(
    config: JointConfig,
    out: str | Path,
    *,
    storage: str | None = None,
    resume: bool = False,
    watcher: NasWatcher | None = None,
) -> dict[str, Any]:
    """Search circuit, qubits, encoder, bits, shots and what is trained, under hard budgets.

    Args:
        config: what to search.
        out: a new folder; afterwards it holds ``winner/``, a run that all commands take.
        storage: of the study, as in `Study.open`; None: a file in the folder.
        resume: go on with the search in the folder.
        watcher: is told about progress.

    Returns:
        What is in ``report.json``.

    Raises:
        ValueError: budgets that nothing fits or on unknown metrics, found before anything is
            trained; a folder with something else; or as in the parts.
        FileNotFoundError: nothing to resume.
    """
    watcher = watcher or NasWatcher()
    folder = Path(out)
    settings = config.training()
    with torch_settings(settings):
        dataset = load_data(settings)
        model = joint_supernet(
            dataset.num_features,
            dataset.num_classes,
            space=config.space,
            blocks=config.blocks,
            seed=config.seed,
        )
        device = Device.load(config.device)
        valid = limited(dataset.valid, config.samples)

        def searching() -> JointSearch:
            return JointSearch(
                model, dataset.train, valid, device, steps=config.steps, seed=config.seed
            )

        _check_budgets(searching(), config)
        _begin(config, folder, resume)
        _trained(model, dataset.train, config, folder, watcher)
        search = searching()
        study = Study.open(
            search.problem(config.budgets, config.objectives),
            storage or folder / "search.journal",
            f"joint {config.seed}",
            sampler="nsga2" if len(config.objectives) > 1 else "evolution",
            seed=config.seed,
        )
        watcher.stage(f"searching {config.evaluations} candidates")
        study.run(
            config.evaluations, lambda done, total: watcher.searched(done, total, study), batch=10
        )
        study.plot(folder / "search.png")
        winner = min(study.distinct, key=lambda one: one.metrics["loss"])
        watcher.stage("training the winner")
        result = _saved(model, search, winner, config, folder)
        report = {
            "nisqkit_search": VERSION,
            "kind": "joint",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {n: version(n) for n in ("nisqkit", "torch", "qiskit", "optuna")},
            "config": config.to_dict(),
            "space_size": search.space.size(),
            "evaluated": len(study.evaluated),
            "front": [
                {"candidate": one.value, "metrics": dict(one.metrics)} for one in study.front
            ],
            "winner": {"candidate": winner.value, "metrics": dict(winner.metrics)},
            "result": result,
            "baselines": [asdict(b) for b in classical_baselines(dataset, config.seed)],
        }
    text = json.dumps(report, indent=2) + "\n"
    write_atomic(folder / "report.json", text.encode())
    return dict(json.loads(text))


def _check_budgets(search: JointSearch, config: JointConfig) -> None:
    problem = search.problem(config.budgets, config.objectives)
    if config.budgets:
        found = search.space.feasible(problem.budgets, search.measure, samples=200)
        if found.share == 0:
            raise ValueError(f"none of 200 candidates fits the budgets: {found}")


def _begin(config: JointConfig, folder: Path, resume: bool) -> None:
    file = folder / "joint.json"
    if resume:
        if not file.is_file():
            raise FileNotFoundError(f"there is no joint search in {folder} to resume")
        before = JointConfig.from_dict(json.loads(file.read_text("utf-8"))["config"])
        if before != config:
            raise ValueError(f"the search in {folder} has another config: {before}")
        return
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not new: choose another folder, or resume")
    folder.mkdir(parents=True, exist_ok=True)
    content = {"nisqkit_search": VERSION, "config": config.to_dict()}
    file.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _trained(
    model: HybridSupernet, train: Any, config: JointConfig, folder: Path, watcher: NasWatcher
) -> None:
    """Train the supernet, or take the one that is there."""
    file = folder / "supernet.pt"
    if not file.is_file():
        watcher.stage("training the hybrid supernet")
        train_joint(model, train, epochs=config.super_epochs, seed=config.seed)
        torch.save(model.state_dict(), folder / "supernet.tmp")
        (folder / "supernet.tmp").replace(file)
    model.load_state_dict(torch.load(file, weights_only=True))
    model.eval()


def _saved(
    model: HybridSupernet,
    search: JointSearch,
    winner: Evaluated,
    config: JointConfig,
    folder: Path,
) -> dict[str, Any]:
    """Train the winner longer, and write it as a run."""
    candidate = search.full(winner.value)
    spec = {"candidate": candidate, "space": config.space, "blocks": config.blocks}
    file = folder / "winner_model.py"
    file.write_text(_MODEL_FILE.format(spec=json.dumps(spec)), "utf-8")
    built = search.build(winner.value)
    steps = config.epochs * -(-len(search.train[0]) // 64)
    search.tune(built, winner.value, steps)
    settings = TrainConfig(
        task=config.task,
        data_dir=config.data_dir,
        model=f"{file.absolute()}:build",
        devices=(config.device,),
        layout=tuple(candidate["layout"]),
        shots=candidate["shots"],
        epochs=config.epochs,
        keep="last",
        seed=config.seed,
    )
    return save_model(built, settings, load_data(settings), folder / "winner")


def build_winner(spec: str, num_features: int, num_classes: int) -> nn.Module:
    """The model that a joint search found, untrained; its run holds the weights.

    Args:
        spec: JSON text of the candidate and its design space.
        num_features: Of a sample.
        num_classes: Classes.
    """
    found = json.loads(spec)
    model = joint_supernet(
        num_features, num_classes, space=found["space"], blocks=found["blocks"]
    ).eval()
    return compressed(model, found["candidate"], torch.zeros(2, num_features))
