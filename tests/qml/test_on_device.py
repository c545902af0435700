"""What training on a device runs, moves and resumes."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nisqkit.circuits import Task, encoder
from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.hardware_backends import Backend, Result
from nisqkit.hardware_backends.gradients import SPSA
from nisqkit.hardware_backends.metered import Meter
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.noise import Device
from nisqkit.qml import QuantumLayer, TrainConfig, classifier
from nisqkit.qml.datasets import Dataset, Split
from nisqkit.qml.fit import fit
from nisqkit.qml.gradient_pruning import GradientPruning
from nisqkit.qml.models import quantum_layers
from nisqkit.qml.on_device import measured, train_on_device
from nisqkit.qml.shot_budget import ShotBudget

CIRCUIT = encoder("4x4_ryzxy").compose(DesignSpace("rxyz", 4, blocks=3).circuit())
WEIGHTS = 36


class Counting(Backend):
    """The native engine without its gradients, noting what it is given."""

    name = "counting"

    def __init__(self, fails_at: int | None = None) -> None:
        self.rows: list[int] = []
        self.shots: list[int | None] = []
        self.fails_at = fails_at

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        if len(self.rows) == self.fails_at:
            raise ConnectionError("the line is dead")
        self.rows.append(sum(task.batch for task in tasks))
        self.shots.append(tasks[0].shots)
        return NativeBackend().run(tasks)


def samples(count: int) -> Dataset:
    """Random features with labels."""
    random = np.random.default_rng(5)
    split = Split(
        random.uniform(0, 3, (count, 16)).astype(np.float32), np.arange(count, dtype=np.int64) % 4
    )
    return Dataset("random", tuple("abcd"), (4, 4), split, split, split, {})


def model(backend: Any = "native", shots: int | None = None, **options: Any) -> nn.Sequential:
    return nn.Sequential(
        QuantumLayer(CIRCUIT, "x", backend=backend, shots=shots, seed=0, **options)
    )


def layer(net: nn.Sequential) -> QuantumLayer:
    (found,) = quantum_layers(net).values()
    return found


def config(**options: Any) -> TrainConfig:
    return TrainConfig(lr=0.1, weight_decay=0.01, seed=3, **options)


@pytest.mark.parametrize(
    ("pruning", "expected"),
    [
        (None, 21_900),
        (GradientPruning(), 14_700),
    ],
)
def test_300_steps_of_36_weights_take_as_many_circuits_as_in_the_notebook_of_qoc(
    pruning: GradientPruning | None, expected: int
) -> None:
    """300 x 73, and 100 x 73 + 200 x 37; counted by the backend itself."""
    backend = Counting()
    run = train_on_device(
        model(backend), samples(1), config(epochs=300, batch_size=1), pruning=pruning
    )
    assert sum(backend.rows) == run.executions == expected
    assert len(backend.rows) == run.calls == 300
    assert set(backend.rows) == ({73} if pruning is None else {73, 37})


@pytest.mark.parametrize("method", ["probabilistic", "random", "top-k"])
@pytest.mark.parametrize("freeze", [True, False])
def test_pruned_weights_keep_their_bits(method: str, freeze: bool) -> None:
    """With Adam and weight decay; without freezing both move them."""
    net = model(Counting())
    seen = [layer(net).weights.detach().clone()]

    def look(record: Mapping[str, Any]) -> None:
        seen.append(layer(net).weights.detach().clone())

    train_on_device(
        net,
        samples(4),
        config(epochs=7, batch_size=4),  # one step per epoch
        pruning=GradientPruning(method),
        freeze=freeze,
        on_epoch=look,
    )
    moved = [int((a != b).sum()) for a, b in pairwise(seen)]
    part = WEIGHTS // 2 if freeze else WEIGHTS
    assert moved == [WEIGHTS, part, part, WEIGHTS, part, part, WEIGHTS]


def test_probabilistic_pruning_prefers_the_gradients_that_it_measured() -> None:
    """Weights whose gradient is zero by construction are hardly ever kept."""
    net, kept = model(Counting()), []
    dead = np.arange(WEIGHTS) >= 32  # RZ before the last CZ, which Z does not see
    before = layer(net).weights.detach().clone()

    def look(record: Mapping[str, Any]) -> None:
        nonlocal before
        if record["epoch"] % 3 != 1:  # a step of the pruning window
            kept.append((layer(net).weights.detach() != before).numpy())
        before = layer(net).weights.detach().clone()

    train_on_device(
        net,
        samples(4),
        config(epochs=90, batch_size=4),
        pruning=GradientPruning(ratio=0.7, floor=1e-3),
        on_epoch=look,
    )
    shares = np.mean(kept, axis=0)
    assert shares[dead].mean() < 0.3 * shares[~dead].mean()


def test_without_pruning_and_shots_it_is_ordinary_training() -> None:
    """`fit` has the native engine's own gradient."""
    one, two = model().double(), model().double()
    settings = config(epochs=3, batch_size=5)
    dataset = samples(12)
    train_on_device(one, dataset, settings)
    fit(two, dataset, settings)
    torch.testing.assert_close(layer(one).weights, layer(two).weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fails_at", [1, 4, 5])
def test_a_run_that_broke_down_goes_on_with_the_same_bits(tmp_path: Path, fails_at: int) -> None:
    options: dict[str, Any] = {
        "pruning": GradientPruning(ratio=0.7),
        "shots": ShotBudget(20, 100),
    }
    settings, dataset = config(epochs=3, batch_size=4), samples(10)  # 3 steps per epoch
    whole = model(Counting(), shots=1)
    expected = train_on_device(whole, dataset, settings, **options)
    first, then = Counting(fails_at), Counting()
    with pytest.raises(ConnectionError):
        train_on_device(model(first, shots=1), dataset, settings, out=tmp_path, **options)
    resumed = model(then, shots=1)
    run = train_on_device(resumed, dataset, settings, out=tmp_path, **options)

    assert all(torch.equal(a, b) for a, b in zip(*map(state, (whole, resumed)), strict=True))
    assert len(first.rows) + len(then.rows) == 9  # no step was paid for twice
    assert run.executions == expected.executions and run.shots == expected.shots
    assert len(run.history) == 3
    again = train_on_device(model(Counting(0), shots=1), dataset, settings, out=tmp_path, **options)
    assert again.history == run.history  # finished: nothing is run


def test_an_epoch_whose_end_broke_down_is_not_run_again(tmp_path: Path) -> None:
    def breaks(record: Mapping[str, Any]) -> None:
        raise OSError("disk full")

    settings, dataset, backend = config(epochs=1, batch_size=4), samples(8), Counting()
    with pytest.raises(OSError, match="disk full"):
        train_on_device(model(backend), dataset, settings, out=tmp_path, on_epoch=breaks)
    run = train_on_device(
        model(backend), dataset, settings, out=tmp_path, on_epoch=lambda r: {"seen": r["epoch"]}
    )
    assert len(backend.rows) == 2 and run.history[0]["seen"] == 1


def state(net: nn.Module) -> list[Tensor]:
    return list(net.state_dict().values())


def test_shots_follow_the_budget_and_are_summed_up() -> None:
    backend, budget = Counting(), ShotBudget(10, 80)
    net = model(backend, shots=7)
    run = train_on_device(net, samples(4), config(epochs=4, batch_size=4), shots=budget)
    assert backend.shots == [10, 20, 40, 80]
    assert run.shots == sum(s * r for s, r in zip(backend.shots, backend.rows, strict=True) if s)
    assert layer(net).shots == 7 and layer(net).backend is backend  # as before


def test_spsa_takes_three_circuits_per_sample() -> None:
    net = model(Counting(), diff_method="spsa")
    run = train_on_device(net, samples(4), config(epochs=2, batch_size=4))
    assert run.executions == 2 * 4 * 3
    net = model(Counting(), diff_method=SPSA(samples=5))
    assert train_on_device(net, samples(4), config(epochs=1, batch_size=4)).executions == 4 * 11


def test_in_a_network_of_several_circuits_kept_gradients_are_those_of_all() -> None:
    """On a noisy device, where the second circuit's inputs carry the gradient to the first."""
    net = classifier(
        16, 4, "hardware-efficient", 1, nodes=2, noise=Device.load("fake_jakarta"), seed=1
    )
    layers = list(quantum_layers(net).values())
    x = torch.rand(3, 16)

    def gradients(keep: Mapping[Tensor, Tensor]) -> tuple[list[Tensor], int]:
        net.zero_grad()
        meter = Meter()
        with measured(layers, keep, None, meter):
            values = net(x)
        values.square().sum().backward()
        found = [layer.weights.grad for layer in layers]
        return [g.clone() for g in found if g is not None], meter.executions

    every: dict[Tensor, Tensor] = {
        layer.weights: torch.ones(8, dtype=torch.bool) for layer in layers
    }
    some: dict[Tensor, Tensor] = {
        layers[0].weights: torch.arange(8) == 2,
        layers[1].weights: torch.arange(8) < 0,
    }
    complete, cost = gradients(every)
    found, less = gradients(some)
    assert cost == 3 * (1 + 2 * 8) + 3 * (1 + 2 * 8 + 2 * 4)
    assert less == 3 * (1 + 2 * 1) + 3 * (1 + 2 * 4)  # inputs of the second are always shifted
    torch.testing.assert_close(found[0][2], complete[0][2], atol=1e-6, rtol=0)
    assert found[0].nonzero()[:, 0].tolist() == [2] and not found[1].any()


def test_classical_parts_are_trained_and_never_pruned() -> None:
    linear = nn.Linear(16, 16)
    net = nn.Sequential(linear, *model(Counting()))
    before = linear.weight.detach().clone()
    train_on_device(
        net, samples(4), config(epochs=2, batch_size=4), pruning=GradientPruning(ratio=0.9)
    )
    assert not torch.eq(linear.weight, before).any()


def test_refuses_what_it_does_not_do(tmp_path: Path) -> None:
    settings, dataset = config(epochs=1, batch_size=4), samples(4)
    with pytest.raises(ValueError, match="no QuantumLayer with trained weights"):
        train_on_device(nn.Linear(16, 4), dataset, settings)
    with pytest.raises(ValueError, match="injects noise in training"):
        train_on_device(model(inject="angles"), dataset, settings)
    with pytest.raises(ValueError, match="SPSA moves all weights at once"):
        train_on_device(model(diff_method="spsa"), dataset, settings, pruning=GradientPruning())
    with pytest.raises(ValueError, match="patience=3 is not used"):
        train_on_device(model(), dataset, config(epochs=1, patience=3))
    train_on_device(model(), dataset, settings, out=tmp_path)
    with pytest.raises(ValueError, match=r"other settings \(pruning\)"):
        train_on_device(model(), dataset, settings, out=tmp_path, pruning=GradientPruning())
    with pytest.raises(ValueError, match="trained on other data"):
        train_on_device(model(), samples(5), settings, out=tmp_path)
