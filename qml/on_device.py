"""Training where only values can be measured: by parameter shift or SPSA, with few circuits.

Everything that a step needs of a layer is one grouped call of its backend. Every step is saved,
since steps on a machine cost money.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nisqkit.hardware_backends.execute import Execution
from nisqkit.hardware_backends.gradients import SPSA, ParameterShift
from nisqkit.hardware_backends.metered import Meter, Metered
from nisqkit.qml.checkpoint import load_checkpoint, save_checkpoint
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.datasets import Dataset
from nisqkit.qml.fit import (
    batch_order,
    make_optimizer,
    num_steps,
    seed_step,
    set_learning_rate,
)
from nisqkit.qml.frozen_step import frozen_step
from nisqkit.qml.gradient_pruning import GradientPruning
from nisqkit.qml.layer import QuantumLayer
from nisqkit.qml.models import describe, fingerprint, quantum_layers, structure
from nisqkit.qml.post_measurement_quantize import centroid_losses
from nisqkit.qml.same_run import check_same_data, check_same_model, data_fingerprint
from nisqkit.qml.shot_budget import ShotBudget


@dataclass
class DeviceRun:
    """Where training on a device stands, and what it has run.

    Attributes:
        epoch: Epochs finished.
        step: Steps finished in the epoch that is going on.
        calls: Grouped calls of backends; on a queued machine: jobs.
        executions: Circuits, each with one setting of its angles and one measurement basis.
        shots: Measurements of all of them.
        loss_sum: Sum of the training losses of the samples of this epoch.
        correct: How many of them were classified right.
        seconds: How long this epoch has taken so far.
        accumulated: What `GradientPruning` knows of the gradients, one number per weight.
        history: A record per finished epoch: ``epoch``, ``lr``, ``train_loss``, ``train_accuracy``,
            ``seconds``, the counts from the start (``calls``, ``executions``, ``shots``), and what
            ``on_epoch`` returned.
    """

    epoch: int = 0
    step: int = 0
    calls: int = 0
    executions: int = 0
    shots: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    accumulated: Tensor = field(default_factory=lambda: torch.zeros(0))
    history: list[dict[str, Any]] = field(default_factory=list)


def train_on_device(
    model: nn.Module,
    dataset: Dataset,
    config: TrainConfig,
    *,
    pruning: GradientPruning | None = None,
    freeze: bool = True,
    shots: ShotBudget | None = None,
    out: str | os.PathLike[str] | None = None,
    on_epoch: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] | None = None,
) -> DeviceRun:
    """Train a model whose quantum layers run on a device, or on something that stands in for one.

    Gradients of quantum layers are measured by parameter shift, even where a simulator could do it
    without; layers made with ``diff_method="spsa"`` or `SPSA` keep that. Classical parts are
    trained as ever. The loss is the cross entropy. The model ends with the last weights.

    Args:
        model: Maps ``(batch, F)`` to one logit per class. Its quantum layers have the backend, the
            noise and the shots to train with (`nisqkit.qml.models.with_backend`). It is trained in
            place.
        dataset: Its training split is used.
        config: Of it ``epochs``, ``batch_size``, ``optimizer``, ``lr``, ``schedule``,
            ``warmup_epochs``, ``weight_decay``, ``centroid_weight`` and ``seed`` are used.
        pruning: Which weights of the quantum layers are measured in a step, all layers together;
            None: all.
        freeze: Whether pruned weights stay as they are. False: they get a gradient of zero, with
            which momentum and weight decay still move them, as QOC's released code does.
        shots: Shots per circuit over the steps; None: as the layers have them.
        out: A folder for ``checkpoint.pt``, which is written after every step; if there is one, the
            run goes on from there and ends with the same bits. None: nothing is written.
        on_epoch: Called with the record of each epoch; what it returns (plain values) is added to
            the record. Circuits that it runs are not counted.

    Returns:
        The counts and the history.

    Raises:
        ValueError: The model has no quantum layer that is trained, injects noise, or has SPSA
            together with pruning; the config asks for what is not done here; or the checkpoint is
            of another run.

    Example:
        >>> from nisqkit.qml import classifier, load_dataset
        >>> model = classifier(16, 4, "hardware-efficient", depth=1, shots=64, seed=0)
        >>> config = TrainConfig(epochs=1, batch_size=252)  # two steps
        >>> run = train_on_device(model, load_dataset("digits4"), config, pruning=GradientPruning())
        >>> run.calls, run.executions  # 8 weights: 17 circuits per sample, then 9
        (2, 6552)
    """
    layers = list(quantum_layers(model).values())
    weights = list({id(layer.weights): layer.weights for layer in layers}.values())
    weights = [w for w in weights if w.requires_grad]
    _check(config, layers, weights, pruning)
    optimizer = make_optimizer(model, config)
    features, labels = dataset.train.tensors()
    steps = num_steps(len(labels), config.batch_size, model)
    settings = {
        "config": config.to_dict(),
        "pruning": None if pruning is None else asdict(pruning),
        "freeze": freeze,
        "shots": None if shots is None else asdict(shots),
    }
    identity = {
        "settings": settings,
        "fingerprint": fingerprint(model),
        "described": describe(model),
        "structure": structure(model),
        "data": data_fingerprint(dataset),
    }
    file = None if out is None else Path(out) / "checkpoint.pt"
    run = _restore(file, settings, model, optimizer, dataset)
    if not len(run.accumulated):
        run.accumulated = torch.zeros(sum(len(w) for w in weights))
    while run.epoch < config.epochs:
        order = batch_order(len(labels), config.seed, run.epoch)
        set_learning_rate(optimizer, config, run.epoch)
        while run.step < steps:
            clock = time.perf_counter()
            start = run.step * config.batch_size
            rows = order[start : start + config.batch_size if run.step + 1 < steps else None]
            number = run.epoch * steps + run.step
            kept = torch.ones(len(run.accumulated), dtype=torch.bool)
            if pruning is not None:
                kept = pruning.keep(number, run.accumulated, config.seed)
            masks = torch.split(kept, [len(w) for w in weights])
            of_each: dict[Tensor, Tensor] = dict(zip(weights, masks, strict=True))
            each = None if shots is None else shots.shots(number, steps * config.epochs)
            seed_step(config.seed, run.epoch, run.step)
            model.train()
            optimizer.zero_grad()
            meter = Meter()
            with measured(layers, of_each, each, meter), centroid_losses(model) as distances:
                logits = model(features[rows])
            loss = cross_entropy(logits, labels[rows]) + config.centroid_weight * sum(distances)
            _check_finite(loss.item(), run, config)
            loss.backward()  # type: ignore[no-untyped-call]
            if pruning is not None:
                gradient = torch.cat([_gradient(w) for w in weights])
                run.accumulated = pruning.accumulate(number, run.accumulated, gradient)
            frozen = {w: ~mask for w, mask in of_each.items() if freeze and not mask.all()}
            frozen_step(optimizer, frozen)
            run.calls += meter.calls
            run.executions += meter.executions
            run.shots += meter.shots
            run.loss_sum += loss.item() * len(rows)
            run.correct += int((logits.argmax(dim=1) == labels[rows]).sum())
            run.step += 1
            run.seconds += time.perf_counter() - clock
            _save(file, identity, model, optimizer, run)
        _finish_epoch(run, optimizer, len(labels), on_epoch)
        _save(file, identity, model, optimizer, run)
    return run


@contextmanager
def measured(
    layers: list[QuantumLayer], keep: Mapping[Tensor, Tensor], shots: int | None, meter: Meter
) -> Iterator[None]:
    """For a while, let layers measure the gradient of some weights only, and count what they run.

    Args:
        layers: The layers; those with SPSA keep it.
        keep: For weight vectors of them, which gradients are measured; those of others are not.
        shots: Shots per circuit; None: as the layers have them.
        meter: What counts.
    """
    before = [(layer.execution, layer.shots) for layer in layers]
    try:
        for layer in layers:
            execution = layer.execution
            method = execution.diff_method
            if not _is_spsa(layer):
                kept = keep.get(layer.weights)
                chosen = () if kept is None else tuple(kept.nonzero()[:, 0].tolist())
                method = ParameterShift(chosen)
            metered = Metered(execution.resolved, meter)
            layer.execution = Execution(metered, None, method, None, execution.mitigation)
            layer.shots = layer.shots if shots is None else shots
        yield
    finally:
        for layer, (execution, own) in zip(layers, before, strict=True):
            layer.execution, layer.shots = execution, own


def _is_spsa(layer: QuantumLayer) -> bool:
    method = layer.execution.diff_method
    return method == "spsa" or isinstance(method, SPSA)


def _gradient(weights: Tensor) -> Tensor:
    return torch.zeros(len(weights)) if weights.grad is None else weights.grad.cpu()


def _check(
    config: TrainConfig,
    layers: list[QuantumLayer],
    weights: list[nn.Parameter],
    pruning: GradientPruning | None,
) -> None:
    if not weights:
        raise ValueError(
            "the model has no QuantumLayer with trained weights, so there is nothing to measure on "
            "a device: train it with nisqkit.qml.train"
        )
    if any(layer.injection is not None for layer in layers):
        raise ValueError(
            "a layer of the model injects noise in training, which a device has of its own: make "
            "the layers without inject="
        )
    if pruning is not None and any(_is_spsa(layer) for layer in layers):
        raise ValueError(
            "SPSA moves all weights at once, so that pruning would save no circuit: leave out "
            "pruning, or make the layers with diff_method='parameter-shift'"
        )
    for name in ("noise", "teacher", "patience"):
        if (value := getattr(config, name)) is not None:
            raise ValueError(f"{name}={value!r} is not used by train_on_device: leave it out")


def _check_finite(loss: float, run: DeviceRun, config: TrainConfig) -> None:
    if not math.isfinite(loss):
        raise ValueError(
            f"the training loss became {loss} in epoch {run.epoch + 1}, step {run.step + 1}: try a "
            f"learning rate below {config.lr:g}, or look for extreme values in the features"
        )


def _finish_epoch(
    run: DeviceRun,
    optimizer: torch.optim.Optimizer,
    samples: int,
    on_epoch: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] | None,
) -> None:
    run.epoch += 1
    record = {
        "epoch": run.epoch,
        "lr": optimizer.param_groups[0]["lr"],
        "train_loss": run.loss_sum / samples,
        "train_accuracy": run.correct / samples,
        "seconds": round(run.seconds, 6),
        "calls": run.calls,
        "executions": run.executions,
        "shots": run.shots,
    }
    run.history.append(record | dict((on_epoch and on_epoch(record)) or {}))
    run.step, run.loss_sum, run.correct, run.seconds = 0, 0.0, 0, 0.0


def _save(
    file: Path | None,
    identity: Mapping[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    run: DeviceRun,
) -> None:
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "run": vars(run),
    }
    save_checkpoint(file, {**identity, **content})


def _restore(
    file: Path | None,
    settings: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    dataset: Dataset,
) -> DeviceRun:
    """Go on from the checkpoint, if there is one."""
    if file is None or not file.exists():
        return DeviceRun()
    checkpoint = load_checkpoint(file)
    then = checkpoint.get("settings")
    if then != settings:
        known = then or {}
        different = [k for k in settings if known.get(k) != settings[k]]
        raise ValueError(
            f"{file} is of a run with other settings ({', '.join(different)}): go on with its own, "
            "or choose another folder"
        )
    check_same_model(checkpoint, model, str(file))
    check_same_data(checkpoint, dataset, str(file))
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    return DeviceRun(**{f.name: checkpoint["run"][f.name] for f in fields(DeviceRun)})
