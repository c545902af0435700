"""The training loop: batches, steps, epochs, checkpoints; resumable at any step.

Everything random is a function of the seed and the position (epoch, step), so a run that is killed
at any moment and resumed ends with the weights of the run that was not, bit for bit.
"""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nisqkit.compression.distillation import distillation_loss
from nisqkit.qml.angle_pruning import AnglePruning
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.datasets import Dataset
from nisqkit.qml.evaluation import evaluate
from nisqkit.qml.models import describe, fingerprint, structure
from nisqkit.qml.noise_schedule import noise_factor, set_noise_factor
from nisqkit.qml.post_measurement_norm import PostMeasurementNorm as _Norm
from nisqkit.qml.post_measurement_norm import freeze_statistics
from nisqkit.qml.post_measurement_quantize import centroid_losses
from nisqkit.qml.run_folder import RunFolder
from nisqkit.qml.same_run import check_same_data as check_same_data
from nisqkit.qml.same_run import (
    check_same_model,
    check_same_teacher,
    data_fingerprint,
    teacher_fingerprint,
)


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C was pressed; the message says what was saved and how to go on."""


class Watcher:
    """What a run tells while it goes on. This one is silent; override what you want to see."""

    def started(self, epochs: int, steps_per_epoch: int, steps_done: int, replayed: int) -> None:
        """Training starts or goes on; `replayed` steps were lost and are done again."""

    def step(self, loss: float) -> None:
        """One step is done; `loss` is the mean training loss of this epoch so far."""

    def epoch(self, record: dict[str, Any]) -> None:
        """One epoch is done; `record` is its line of ``metrics.jsonl``."""

    def stage(self, text: str) -> None:
        """Something other than training begins."""

    def finished(self, report: dict[str, Any]) -> None:
        """The run is over; `report` is what is in ``report.json``."""


@dataclass
class State:
    """Where training stands: all that changes besides the model and the optimizer.

    Attributes:
        epoch: epochs finished.
        step: steps finished in the epoch that is going on.
        loss_sum: sum of the training losses of its samples so far.
        correct: how many of them were classified right.
        seconds: how long it has taken so far.
        history: one record per finished epoch.
        best_epoch: the epoch with the lowest validation loss so far, counted from 1.
        best_loss: that loss.
        best_weights: the model's state dict then.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def fit(
    model: nn.Module,
    dataset: Dataset,
    config: TrainConfig,
    *,
    folder: RunFolder | None = None,
    watcher: Watcher | None = None,
    teacher: Tensor | None = None,
) -> tuple[State, int]:
    """Run the training loop on any module; the model ends with the last weights.

    Args:
        model: maps ``(batch, F)`` to one logit per class; trained in place.
        dataset: train and valid are used.
        config: epochs, batch size, optimizer and the like.
        folder: where to write checkpoints; one that is there already is resumed.
        watcher: is told about progress.
        teacher: logits of a teacher for the training split, ``(N, C)``, to learn along with the
            labels.

    Returns:
        Where training stands at the end, with the best weights, and the number of steps replayed.

    Example:
        >>> from nisqkit.qml import load_dataset
        >>> state, _ = fit(nn.Linear(16, 4), load_dataset("digits4"), TrainConfig(epochs=2))
        >>> [record["epoch"] for record in state.history]
        [1, 2]
    """
    watcher = watcher or Watcher()
    optimizer = make_optimizer(model, config)
    pruning = None
    if config.prune is not None:
        pruning = AnglePruning(config.prune, grow=config.prune_grow)
        pruning.attach(model)
    features, labels = dataset.train.tensors()
    steps = num_steps(len(labels), config.batch_size, model)
    state, replayed = _restore(folder, dataset, model, optimizer, steps, teacher)
    watcher.started(config.epochs, steps, state.epoch * steps + state.step, replayed)

    def save() -> None:
        if folder is not None:
            folder.save(checkpoint_of(config, dataset, model, optimizer, state, teacher))

    with _ctrl_c() as pressed:
        while state.epoch < config.epochs and not _out_of_patience(state, config):
            clock = time.perf_counter()
            order = batch_order(len(labels), config.seed, state.epoch)
            set_learning_rate(optimizer, config, state.epoch)
            if config.noise_schedule != "constant":
                progress = state.epoch / max(1, config.epochs - 1)
                factor = noise_factor(config.noise_schedule, config.noise_factor, progress)
                set_noise_factor(model, factor)
            if pruning is not None and state.step == 0:
                pruning.begin_epoch(model, state.epoch / config.epochs)
            model.train()
            while state.step < steps:
                start = state.step * config.batch_size
                end = start + config.batch_size if state.step + 1 < steps else len(labels)
                rows = order[start:end]
                seed_step(config.seed, state.epoch, state.step)
                soft = None if teacher is None else teacher[rows]
                loss, correct = train_step(
                    model, optimizer, features[rows], labels[rows], config, soft, pruning
                )
                _check_finite("training", loss, state, config)
                state.loss_sum += loss * len(rows)
                state.correct += correct
                state.step += 1
                now = time.perf_counter()
                state.seconds, clock = state.seconds + now - clock, now
                if folder is not None:
                    folder.write_progress(state.epoch * steps + state.step, replayed)
                watcher.step(state.loss_sum / min(end, len(labels)))
                if pressed() and state.step < steps:
                    save()
                    raise TrainingInterrupted(_how_to_go_on(folder, state, steps))
                every = config.checkpoint_every_steps
                if every is not None and state.step % every == 0 and state.step < steps:
                    save()
            _finish_epoch(model, dataset, config, state, optimizer, clock)
            save()
            watcher.epoch(state.history[-1])
            if pressed():
                raise TrainingInterrupted(_how_to_go_on(folder, state, steps))
    return state, replayed


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    features: Tensor,
    labels: Tensor,
    config: TrainConfig,
    teacher: Tensor | None = None,
    pruning: AnglePruning | None = None,
) -> tuple[float, int]:
    """Do one step on one batch; returns the mean loss before it, and the right answers.

    The loss is the cross entropy, with a teacher the distillation loss, and the weighted distances
    of measured values to their levels.
    """
    optimizer.zero_grad()
    with centroid_losses(model) as distances:
        logits = model(features)
    if teacher is None:
        loss = cross_entropy(logits, labels)
    else:
        loss = distillation_loss(
            logits,
            teacher,
            labels,
            weight=config.distill_weight,
            temperature=config.temperature,
        )
    for distance in distances:
        loss = loss + config.centroid_weight * distance
    loss.backward()  # type: ignore[no-untyped-call]
    if pruning is not None:
        pruning.before_step(model)
    optimizer.step()
    if pruning is not None:
        pruning.after_step(model)
    return loss.item(), int((logits.argmax(dim=1) == labels).sum())


def num_steps(num_samples: int, batch_size: int, model: nn.Module) -> int:
    """Steps per epoch: a last sample that is alone joins the batch before it for normalisation."""
    steps = -(-num_samples // batch_size)
    alone = num_samples % batch_size == 1 and steps > 1
    return steps - 1 if alone and any(isinstance(m, _Norm) for m in model.modules()) else steps


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimizer that a config names."""
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
    }
    trained = [p for p in model.parameters() if p.requires_grad]
    return kinds[config.optimizer](trained, lr=config.lr, weight_decay=config.weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, epoch: int) -> None:
    """Set the learning rate of an epoch: a function of the epoch alone, with nothing to save."""
    warmup = config.warmup_epochs
    cosine = (1 + math.cos(math.pi * (epoch - warmup) / (config.epochs - warmup))) / 2
    share = cosine if config.schedule == "cosine" else 1.0
    if epoch < warmup:
        share = (epoch + 1) / (warmup + 1)
    for group in optimizer.param_groups:
        group["lr"] = config.lr * share


def batch_order(num_samples: int, seed: int, epoch: int) -> Tensor:
    """Shuffle the samples of one epoch: a function of (seed, epoch), with nothing to save.

    Example:
        >>> batch_order(5, seed=0, epoch=1).tolist() == batch_order(5, seed=0, epoch=1).tolist()
        True
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return torch.from_numpy(generator.permutation(num_samples))


def seed_step(seed: int, epoch: int, step: int) -> None:
    """Key torch's generator to the step, so that dropout and the like resume as well."""
    key = np.random.SeedSequence((seed, epoch, step)).generate_state(1, np.uint64)
    torch.default_generator.manual_seed(int(key[0]))


def _finish_epoch(
    model: nn.Module,
    dataset: Dataset,
    config: TrainConfig,
    state: State,
    optimizer: torch.optim.Optimizer,
    clock: float,
) -> None:
    freeze_statistics(model, dataset.valid.features)
    valid = evaluate(model, dataset.valid, dataset.class_names)
    _check_finite("validation", valid.loss, state, config)
    state.epoch += 1
    state.seconds += time.perf_counter() - clock
    state.history.append(
        {
            "epoch": state.epoch,
            "lr": optimizer.param_groups[0]["lr"],
            "train_loss": state.loss_sum / len(dataset.train),
            "train_accuracy": state.correct / len(dataset.train),
            "valid_loss": valid.loss,
            "valid_accuracy": valid.accuracy,
            "seconds": round(state.seconds, 6),
        }
    )
    if valid.loss < state.best_loss:
        state.best_epoch, state.best_loss = state.epoch, valid.loss
        state.best_weights = copy.deepcopy(model.state_dict())
    state.step, state.loss_sum, state.correct, state.seconds = 0, 0.0, 0, 0.0


def _out_of_patience(state: State, config: TrainConfig) -> bool:
    return config.patience is not None and state.epoch - state.best_epoch >= config.patience


def _check_finite(which: str, loss: float, state: State, config: TrainConfig) -> None:
    if not math.isfinite(loss):
        raise ValueError(
            f"the {which} loss became {loss} in epoch {state.epoch + 1}, step {state.step + 1}: "
            f"try a learning rate below {config.lr:g}, or look for extreme values in the features"
        )


def checkpoint_of(
    config: TrainConfig,
    dataset: Dataset,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
    teacher: Tensor | None,
) -> dict[str, Any]:
    """What a checkpoint holds."""
    return {
        "config": config.to_dict(),
        "fingerprint": fingerprint(model),
        "described": describe(model),
        "structure": structure(model),
        "data": data_fingerprint(dataset),
        "teacher": None if teacher is None else teacher_fingerprint(teacher),
        "num_features": dataset.num_features,
        "class_names": list(dataset.class_names),
        "torch": version("torch"),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        **vars(state),
    }


def _restore(
    folder: RunFolder | None,
    dataset: Dataset,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    teacher: Tensor | None,
) -> tuple[State, int]:
    """Load the checkpoint, if there is one; returns the state and the steps replayed so far."""
    state = State()
    if folder is None:
        return state, 0
    checkpoint = folder.load()
    if checkpoint is not None:
        check_same_model(checkpoint, model, str(folder.checkpoint_file))
        check_same_data(checkpoint, dataset, str(folder.checkpoint_file))
        check_same_teacher(checkpoint, teacher, str(folder.checkpoint_file))
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        state = State(**{f.name: checkpoint[f.name] for f in fields(State)})
        if checkpoint["torch"] != version("torch"):
            warnings.warn(
                f"this run was started with torch {checkpoint['torch']} and goes on with "
                f"{version('torch')}: its weights may differ in the last bits from a run in one go",
                stacklevel=4,
            )
    reached, replayed = folder.read_progress()
    done = state.epoch * steps + state.step
    replayed += max(0, reached - done)
    folder.write_progress(done, replayed)
    folder.write_metrics(state.history)
    return state, replayed


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yield a function that says if Ctrl-C was pressed; pressed twice, it interrupts at once."""
    pressed = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _how_to_go_on(folder: RunFolder | None, state: State, steps: int) -> str:
    if state.step:
        where = f"in epoch {state.epoch + 1}, after step {state.step} of {steps}"
    else:
        where = f"after epoch {state.epoch}"
    if folder is None:
        return f"interrupted {where}; nothing was saved, since the run has no folder"
    return (
        f"interrupted {where}; saved in {folder.checkpoint_file}. "
        f"To go on: nisqkit train --resume --out {folder.path}"
    )
