"""The loop: deterministic, and resumable at any step to the same bits."""

import json
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nisqkit.compression import distillation_loss
from nisqkit.noise import Device
from nisqkit.qml import centroid_losses, classifier
from nisqkit.qml.checkpoint import load_checkpoint
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.datasets import Dataset
from nisqkit.qml.fit import (
    State,
    TrainingInterrupted,
    Watcher,
    batch_order,
    fit,
    make_optimizer,
    set_learning_rate,
    train_step,
)
from nisqkit.qml.models import quantum_layers
from nisqkit.qml.run_folder import RunFolder
from nisqkit.qml.splits import Split, make_dataset

CONFIG = TrainConfig(epochs=3, batch_size=8, lr=0.05)
STEPS = 4  # per epoch


def small_data(seed: int = 0) -> Dataset:
    """30 training samples: the fourth batch of 8 is not full."""
    random = np.random.default_rng(seed)
    splits = []
    for size in (30, 10, 10):
        labels = random.integers(0, 2, size)
        features = random.normal(labels[:, None], 0.8, (size, 3)).astype(np.float32)
        splits.append(Split(features, labels))
    return make_dataset("small", ("a", "b"), (3,), splits, {})


def small_model() -> nn.Module:
    """With dropout, which needs random numbers in every step, and batch statistics."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))


def start(folder: Path, config: TrainConfig = CONFIG) -> RunFolder:
    run = RunFolder(folder)
    run.start(config, {})
    return run


class Killed(BaseException):
    """Stops the loop between two steps, as a kill does: nothing is saved."""


class StopAt(Watcher):
    def __init__(self, step: int, how: Callable[[], Any]) -> None:
        self.left, self.how = step, how

    def step(self, loss: float) -> None:
        self.left -= 1
        if self.left == 0:
            self.how()


def kill() -> None:
    raise Killed


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def without_seconds(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def uninterrupted(config: TrainConfig = CONFIG) -> tuple[nn.Module, State]:
    model = small_model()
    return model, fit(model, small_data(), config)[0]


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    (first, a), (second, b) = uninterrupted(), uninterrupted()
    assert same(first.state_dict(), second.state_dict())
    assert without_seconds(a.history) == without_seconds(b.history)
    other, _ = uninterrupted(replace(CONFIG, seed=1))
    assert not same(first.state_dict(), other.state_dict())


def test_the_caller_random_state_does_not_matter() -> None:
    first, _ = uninterrupted()
    model = small_model()
    torch.manual_seed(12345)
    fit(model, small_data(), CONFIG)
    assert same(first.state_dict(), model.state_dict())


def test_the_loop_is_the_textbook_one() -> None:
    """Against plain PyTorch: full-batch gradient descent on a linear model."""
    config = replace(CONFIG, optimizer="sgd", schedule="constant", batch_size=100, epochs=4, lr=0.3)
    data = small_data()
    features, labels = data.train.tensors()
    model, plain = nn.Linear(3, 2), nn.Linear(3, 2)
    plain.load_state_dict(model.state_dict())
    state, _ = fit(model, data, config)
    losses = []
    for _ in range(4):
        loss = nn.functional.cross_entropy(plain(features), labels)
        losses.append(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for p in plain.parameters():
                assert p.grad is not None
                p -= 0.3 * p.grad
                p.grad = None
    assert torch.allclose(model.weight, plain.weight, atol=1e-6)
    assert [record["train_loss"] for record in state.history] == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("every", [None, 1, 3])
@pytest.mark.parametrize("at", range(1, 3 * STEPS + 1))
def test_a_kill_after_any_step_changes_no_bit(tmp_path: Path, at: int, every: int | None) -> None:
    config = replace(CONFIG, checkpoint_every_steps=every)
    expected, wanted = uninterrupted()
    with pytest.raises(Killed):
        fit(small_model(), small_data(), config, folder=start(tmp_path), watcher=StopAt(at, kill))

    model = small_model()
    state, replayed = fit(model, small_data(), config, folder=RunFolder(tmp_path))
    assert same(model.state_dict(), expected.state_dict())
    assert same(state.best_weights, wanted.best_weights)
    assert without_seconds(state.history) == without_seconds(wanted.history)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == state.history
    # Lost are the steps since the last checkpoint: an epoch's end, or every so many steps, of
    # which the one that was just done is not yet saved.
    in_epoch = (at - 1) % STEPS + 1
    assert replayed == (in_epoch if every is None else (in_epoch - 1) % every + 1)


def test_replayed_steps_add_up_over_several_kills(tmp_path: Path) -> None:
    expected, _ = uninterrupted()
    for at in (3, 2, 6):  # the third gets through the first epoch, and 2 steps into the second
        with pytest.raises(Killed):
            fit(
                small_model(),
                small_data(),
                CONFIG,
                folder=start(tmp_path),
                watcher=StopAt(at, kill),
            )
    model = small_model()
    _, replayed = fit(model, small_data(), CONFIG, folder=RunFolder(tmp_path))
    assert replayed == 3 + 2 + 2
    assert same(model.state_dict(), expected.state_dict())


@pytest.mark.parametrize(
    ("at", "where"),
    [
        (2, "in epoch 1, after step 2 of 4"),
        (STEPS, "after epoch 1"),
        (11, "in epoch 3, after step 3"),
    ],
)
def test_ctrl_c_saves_the_exact_step(tmp_path: Path, at: int, where: str) -> None:
    def press() -> None:
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        TrainingInterrupted, match=rf"{where}.*saved in .*nisqkit train --resume --out"
    ):
        fit(small_model(), small_data(), CONFIG, folder=start(tmp_path), watcher=StopAt(at, press))
    assert signal.getsignal(signal.SIGINT) is before
    model = small_model()
    _, replayed = fit(model, small_data(), CONFIG, folder=RunFolder(tmp_path))
    assert replayed == 0
    assert same(model.state_dict(), uninterrupted()[0].state_dict())


def test_ctrl_c_without_a_folder_says_that_nothing_is_saved() -> None:
    watcher = StopAt(1, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(TrainingInterrupted, match="nothing was saved"):
        fit(small_model(), small_data(), CONFIG, watcher=watcher)


def test_ctrl_c_twice_stops_at_once() -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(small_model(), small_data(), CONFIG, watcher=StopAt(1, twice))
    assert not isinstance(stopped.value, TrainingInterrupted)


def test_training_works_outside_the_main_thread() -> None:
    states = []
    thread = threading.Thread(
        target=lambda: states.append(fit(small_model(), small_data(), CONFIG)[0])
    )
    thread.start()
    thread.join()
    assert states[0].epoch == 3


def test_patience_stops_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    # A learning rate that is far too large: the validation loss soon rises.
    config = replace(CONFIG, epochs=50, patience=3, lr=0.5)
    model = small_model()
    state, _ = fit(model, small_data(), config, folder=start(tmp_path, config))
    losses = [record["valid_loss"] for record in state.history]
    best = int(np.argmin(losses)) + 1
    assert state.best_epoch == best
    assert state.best_loss == min(losses)
    assert state.epoch == best + 3 < 50
    model.load_state_dict(state.best_weights)
    checkpoint = load_checkpoint(tmp_path / "checkpoint.pt")
    assert same(checkpoint["best_weights"], model.state_dict())
    # A resumed run knows that it has stopped.
    again, _ = fit(small_model(), small_data(), config, folder=RunFolder(tmp_path))
    assert again.epoch == state.epoch


def test_every_epoch_visits_every_sample_once_in_its_own_order() -> None:
    orders = [batch_order(50, seed=3, epoch=e) for e in range(3)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(50))
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], batch_order(50, seed=4, epoch=0))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_optimizers_by_name(name: str) -> None:
    config = replace(CONFIG, optimizer=name, weight_decay=0.01)
    optimizer = make_optimizer(nn.Linear(1, 1), config)
    assert type(optimizer).__name__.lower() == name
    assert optimizer.param_groups[0]["weight_decay"] == 0.01


def test_cosine_schedule_is_that_of_pytorch() -> None:
    config = replace(CONFIG, schedule="cosine", epochs=7)
    ours, theirs = (make_optimizer(nn.Linear(1, 1), config) for _ in range(2))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=7)
    for epoch in range(7):
        set_learning_rate(ours, config, epoch)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])
        theirs.step()
        schedule.step()


def test_warm_up_is_a_line_before_the_schedule() -> None:
    config = replace(CONFIG, schedule="cosine", epochs=10, warmup_epochs=4)
    optimizer = make_optimizer(nn.Linear(1, 1), config)
    found = []
    for epoch in range(10):
        set_learning_rate(optimizer, config, epoch)
        found.append(optimizer.param_groups[0]["lr"] / config.lr)
    assert found[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert found[4:] == pytest.approx((1 + np.cos(np.pi * np.arange(6) / 6)) / 2)


AWARE = TrainConfig(
    epochs=3,
    batch_size=29,  # of 30: one sample is left over, which cannot be normalised alone
    lr=0.05,
    devices=("fake_belem",),
    nodes=2,
    norm=True,
    quantize=5,
    noise="gates",
    noise_schedule="linear",
    checkpoint_every_steps=1,
)


def aware_model() -> nn.Module:
    options = {"depth": 1, "qubits": 2, "nodes": 2, "norm": True, "quantize": 5, "seed": 0}
    device = Device.load("fake_belem")
    return classifier(3, 2, noise=device, inject="gates", **options)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 2])
def test_a_kill_of_noise_aware_training_changes_no_bit(tmp_path: Path, at: int) -> None:
    config, data = replace(AWARE, batch_size=10), small_data()
    whole = aware_model()
    wanted, _ = fit(whole, data, config)
    with pytest.raises(Killed):
        fit(aware_model(), data, config, folder=start(tmp_path, config), watcher=StopAt(at, kill))
    model = aware_model()
    state, _ = fit(model, data, config, folder=RunFolder(tmp_path))
    assert same(model.state_dict(), whole.state_dict())
    assert without_seconds(state.history) == without_seconds(wanted.history)


def test_the_noise_factor_follows_its_schedule_and_no_sample_is_alone() -> None:
    factors: list[float] = []
    model = aware_model()
    first = next(iter(quantum_layers(model).values()))
    seen: list[int] = []
    first.register_forward_pre_hook(lambda layer, x: seen.append(len(x[0])))

    class Factors(Watcher):
        def step(self, loss: float) -> None:
            assert first.injection is not None
            factors.append(first.injection.factor)

    fit(model, small_data(), AWARE, watcher=Factors())
    assert factors == pytest.approx([0.0, 0.5, 1.0], abs=0.03)  # one step per epoch
    assert seen == [30, 10, 10] * 3  # training, the statistics, the validation


def test_the_loss_has_the_distance_to_the_levels_and_the_teacher() -> None:
    data = small_data()
    features, labels = data.train.tensors()
    soft = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    config = replace(AWARE, centroid_weight=0.7, teacher="t", distill_weight=0.4, temperature=3.0)
    model = aware_model()
    with centroid_losses(model) as distances:
        logits = model(features)  # the same step: nothing has been drawn before
    ours = distillation_loss(logits, soft, labels, weight=0.4, temperature=3.0)
    expected = ours + 0.7 * distances[0]
    twin = aware_model()
    optimizer = make_optimizer(twin, config)
    loss, _ = train_step(twin, optimizer, features, labels, config, soft)
    assert loss == pytest.approx(expected.item(), rel=1e-6)


def test_a_checkpoint_of_another_circuit_names_both(tmp_path: Path) -> None:
    fit(small_model(), small_data(), CONFIG, folder=start(tmp_path))
    with pytest.raises(
        ValueError,
        match=r"holds Sequential with 66 parameters.*describes Linear with 8 parameters",
    ):
        fit(nn.Linear(3, 2), small_data(), CONFIG, folder=RunFolder(tmp_path))


def test_a_checkpoint_of_other_data(tmp_path: Path) -> None:
    fit(small_model(), small_data(), CONFIG, folder=start(tmp_path))
    with pytest.raises(ValueError, match="was trained on other data than 'small' holds now"):
        fit(small_model(), small_data(seed=1), CONFIG, folder=RunFolder(tmp_path))


def test_another_torch_version_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(small_model(), small_data(), CONFIG, folder=start(tmp_path))
    monkeypatch.setattr("nisqkit.qml.fit.version", lambda name: "99.0")
    with pytest.warns(UserWarning, match=r"started with torch .* goes on with 99\.0"):
        fit(small_model(), small_data(), CONFIG, folder=RunFolder(tmp_path))


class Explodes(nn.Module):
    """Its outputs become infinite in training, or only on the validation split."""

    def __init__(self, in_training: bool) -> None:
        super().__init__()
        self.inner, self.in_training = nn.Linear(3, 2), in_training

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = float("nan") if self.training == self.in_training else 1.0
        return scale * self.inner(x)


@pytest.mark.parametrize(("in_training", "which"), [(True, "training"), (False, "validation")])
def test_a_loss_that_is_not_finite(in_training: bool, which: str) -> None:
    with pytest.raises(ValueError, match=rf"the {which} loss became nan in epoch 1.*below 0\.05"):
        fit(Explodes(in_training), small_data(), CONFIG)
