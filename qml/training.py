"""Train a classifier with one call: ``train(TrainConfig(...))``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nisqkit.hardware_backends.hardware_context import hardware_context
from nisqkit.noise.device import Device
from nisqkit.qml.angle_pruning import AnglePruning
from nisqkit.qml.baselines import classical_baselines
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.datasets import Dataset, load_dataset, load_npz
from nisqkit.qml.evaluation import (
    calibrated,
    evaluate_everywhere,
    logits,
    noise_free,
    on_device,
)
from nisqkit.qml.fit import State, Watcher, fit
from nisqkit.qml.injection import (
    InjectAngles,
    InjectExact,
    InjectGates,
    Injection,
    InjectOutcomes,
)
from nisqkit.qml.metrics import Evaluation
from nisqkit.qml.models import (
    classifier,
    count_parameters,
    describe,
    fingerprint,
    load_model,
    with_backend,
)
from nisqkit.qml.run_folder import RunFolder
from nisqkit.qml.same_run import check_same_data


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What `train` returns.

    Attributes:
        config: what was run.
        model: the trained model, with the weights that the config keeps.
        dataset: what it was trained on.
        history: one record per epoch: losses, accuracies, seconds.
        report: what is in ``report.json``.
        replayed_steps: steps done again since the run was killed, in all its resumes.
        out: the run's folder, if it has one.
    """

    config: TrainConfig
    model: nn.Module
    dataset: Dataset
    history: list[dict[str, Any]]
    report: dict[str, Any]
    replayed_steps: int
    out: Path | None


def train(
    config: TrainConfig,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    baselines: bool = False,
    pictures: bool = True,
    watcher: Watcher | None = None,
) -> TrainResult:
    """Train a classifier and evaluate it on the test split.

    The result has the weights of the epoch with the lowest validation loss, unless the config says
    to keep the last. The test split is used once, at the end: noise-free, and on every device of
    the config.

    Args:
        config: what to train, on what, and how.
        out: a new folder for checkpoints, metrics, pictures and the report; None: nothing is
            written.
        resume: go on with the run in `out`.
        baselines: also fit classical models to the same features and report them.
        pictures: also draw the learning curve and the confusion matrix into `out`.
        watcher: is told about progress.

    Raises:
        ValueError: an unknown name, data or a model that do not fit, a folder with another run, or
            a training loss that is not finite. All but the last are found before training starts.
        FileNotFoundError: missing files, or nothing to resume.
        TypeError: `config` is something else.
        TrainingInterrupted: Ctrl-C was pressed.

    Example:
        >>> result = train(TrainConfig(task="digits2", depth=1, epochs=2, seed=0))
        >>> len(result.history), result.report["sizes"]["test"]
        (2, 54)
    """
    if not isinstance(config, TrainConfig):
        raise TypeError(
            f"train takes a TrainConfig, not {config!r:.60}: write train(TrainConfig(task=...))"
        )
    watcher = watcher or Watcher()
    folder = None if out is None else RunFolder(out)
    if folder is not None:
        folder.check(config, resume)
    with torch_settings(config), _named(folder):
        devices = [Device.load(name) for name in config.devices]
        dataset = load_data(config)
        model = build_model(config, dataset.num_features, dataset.num_classes)
        for device in devices:  # found out now, not after training
            on_device(model, device, config.shots, layout=config.layout)
        teacher = None
        if config.teacher is not None and not (folder is not None and folder.finished):
            teacher = teacher_logits(config, dataset)
        if folder is not None and not folder.holds_run:
            folder.start(config, described_run(config, dataset, model, devices))
        state, replayed = fit(
            model, dataset, config, folder=folder, watcher=watcher, teacher=teacher
        )
        if config.keep == "best":
            model.load_state_dict(state.best_weights)
        if folder is not None and folder.finished:
            report = json.loads(folder.report_file.read_text("utf-8"))
        else:
            evaluations = _evaluate(model, dataset, config, devices, watcher)
            report = _report(model, dataset, config, state, evaluations)
            if folder is not None and pictures:
                _draw(folder, config, state, evaluations)
        if baselines and "baselines" not in report:
            watcher.stage("fitting classical models")
            report["baselines"] = [asdict(b) for b in classical_baselines(dataset, config.seed)]
        report["replayed_steps"] = replayed
    if folder is not None:
        folder.write_json(folder.report_file, report)
    watcher.finished(report)
    return TrainResult(
        config, model, dataset, state.history, report, replayed, folder.path if folder else None
    )


def load_data(config: TrainConfig) -> Dataset:
    """Load the dataset that a config names, split by its seed."""
    if config.data is not None:
        return load_npz(config.data, seed=config.seed)
    return load_dataset(config.task, data_dir=config.data_dir, seed=config.seed)


def build_model(config: TrainConfig, num_features: int, num_classes: int) -> nn.Module:
    """Build the model that a config names, with its initial weights, where the config trains it.

    Raises:
        ValueError: another backend than ``"native"`` for a model of one's own without a
            `QuantumLayer`; or as in `load_model` and `classifier`.
    """
    torch.default_generator.manual_seed(config.seed)
    model = _built(config, num_features, num_classes)
    if config.start is not None:
        _take_weights(model, config.start)
    if config.prune is not None:
        AnglePruning(config.prune).attach(model)
    return model


def _take_weights(model: nn.Module, start: str) -> None:
    """The weights of a finished run.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is of another model.
    """
    from nisqkit.qml.runs import load_run  # it is built on this module

    run = load_run(start)
    if fingerprint(run.model) != fingerprint(model):
        raise ValueError(
            f"start={start!r} is a run of another model ({describe(run.model)}), whose weights do "
            f"not fit this one ({describe(model)}): give a run with the same circuit"
        )
    model.load_state_dict(run.model.state_dict())


def _built(config: TrainConfig, num_features: int, num_classes: int) -> nn.Module:
    name = config.training_device
    device = None if name is None else Device.load(name)
    inject = _injection(config)
    if config.model is not None:
        model = load_model(config.model, num_features, num_classes)
        if config.backend == "native" and device is None:
            return model  # the default: the model's layers stay where they are
        return with_backend(
            model,
            config.backend,
            noise=device,
            shots=_training_shots(config),
            layout=None if device is None else config.layout,
            inject=inject,
        )
    return classifier(
        num_features,
        num_classes,
        config.circuit,
        config.depth,
        qubits=config.qubits,
        nodes=config.nodes,
        norm=config.norm,
        quantize=config.quantize,
        native=config.native,
        subcircuit=config.subcircuit,
        backend=config.backend,
        noise=device,
        layout=None if device is None else config.layout,
        inject=inject,
        shots=_training_shots(config),
        seed=config.seed,
    )


def _injection(config: TrainConfig) -> Injection | None:
    """What training mode injects; None where it runs on the device's noise as it is."""
    factor, encoder = config.noise_factor, config.ideal_encoder
    if config.noise == "exact":
        as_it_is = factor == 1 and config.noise_schedule == "constant" and not encoder
        return None if as_it_is else InjectExact(factor, ideal_encoder=encoder)
    if config.noise == "gates":
        return InjectGates(factor, ideal_encoder=encoder)
    kinds = {"outcomes": InjectOutcomes, "angles": InjectAngles}
    return None if config.noise is None else kinds[config.noise](factor)


def teacher_logits(config: TrainConfig, dataset: Dataset) -> Tensor:
    """What the config's teacher says, noise-free, about every sample of the training split.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: the teacher was trained on other data or another split, so that it may have
            seen the test samples, or has no finished epoch.
    """
    from nisqkit.qml.runs import load_run  # it is built on this module

    assert config.teacher is not None
    folder = Path(config.teacher)
    of_seed = folder / f"seed{config.seed}"
    run = load_run(of_seed if of_seed.is_dir() else folder)
    check_same_data(run.checkpoint, dataset, f"the teacher {run.path}")
    return logits(calibrated(noise_free(run.model), dataset.valid), dataset.train.features)


def _training_shots(config: TrainConfig) -> int | None:
    return None if config.backend == "native" else config.shots


def _named(folder: RunFolder | None) -> AbstractContextManager[None]:
    """Jobs on hardware are kept under the folder's name, and so found again when it is resumed."""
    if folder is None:
        return nullcontext()
    name = str(folder.path.resolve())
    return hardware_context(run=name, command={"kind": "train", "out": name})


@contextmanager
def torch_settings(config: TrainConfig) -> Iterator[None]:
    """Fix torch's threads and keep the caller's random state."""
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def described_run(
    config: TrainConfig, dataset: Dataset, model: nn.Module, devices: Sequence[Device]
) -> dict[str, Any]:
    """What is written about a run before it starts."""
    return {
        "seed": config.seed,
        "threads": config.threads,
        "devices": [
            {"name": device.name, "date": device.date and device.date.isoformat()}
            for device in devices
        ],
        "dataset": {"name": dataset.name, "class_names": list(dataset.class_names)}
        | dict(dataset.info),
        "model": {
            "description": describe(model),
            "fingerprint": fingerprint(model),
            "parameters": count_parameters(model),
        },
    }


def _evaluate(
    model: nn.Module,
    dataset: Dataset,
    config: TrainConfig,
    devices: Sequence[Device],
    watcher: Watcher,
) -> list[Evaluation]:
    conditions = ["noise-free", *config.devices]
    results = evaluate_everywhere(
        model, dataset, devices, shots=config.shots, layouts=config.layouts
    )
    evaluations = []
    for condition in conditions:
        watcher.stage(f"evaluating {len(dataset.test)} test samples, {condition}")
        evaluations.append(next(results))
    return evaluations


def evaluated_report(
    model: nn.Module, dataset: Dataset, config: TrainConfig, state: State, devices: Sequence[Device]
) -> dict[str, Any]:
    """The report of a model, evaluated on the test split."""
    evaluations = _evaluate(model, dataset, config, devices, Watcher())
    return _report(model, dataset, config, state, evaluations)


def _report(
    model: nn.Module,
    dataset: Dataset,
    config: TrainConfig,
    state: State,
    evaluations: Sequence[Evaluation],
) -> dict[str, Any]:
    return {
        "task": dataset.name,
        "parameters": count_parameters(model),
        "sizes": dataset.info["sizes"],
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "best_valid_loss": state.best_loss,
        "kept": config.keep,
        "seconds": round(sum(record["seconds"] for record in state.history), 3),
        "shots": config.shots,
        "test": [evaluation.to_dict() for evaluation in evaluations],
    }


def _draw(
    folder: RunFolder, config: TrainConfig, state: State, evaluations: Sequence[Evaluation]
) -> None:
    # Imported here since matplotlib takes half a second, which importing nisqkit should not.
    from nisqkit.qml.plots import confusion_matrix, learning_curve, save_figure

    title = f"{config.task_name}, {config.model_name}, seed {config.seed}"
    curve = learning_curve(state.history, title, state.best_epoch)
    save_figure(curve, folder.path / "learning_curve.png")
    result = evaluations[0]
    accuracy = f"{result.condition}: {result.accuracy:.1%} of {result.total}"
    save_figure(
        confusion_matrix(result, f"{title}\n{accuracy}"), folder.path / "confusion_matrix.png"
    )
