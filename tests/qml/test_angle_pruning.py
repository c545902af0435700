"""Pruned angles stay at zero to the bit, shares follow the schedule, and idle gates go."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nisqkit.circuits import encoder, u3_cu3
from nisqkit.qml import QuantumLayer, TrainConfig, classifier, load_dataset, train
from nisqkit.qml.angle_pruning import AnglePruning, idle_gates, without_idle_gates, wrapped
from nisqkit.qml.models import quantum_layers
from nisqkit.qml.runs import load_run

DATA = load_dataset("digits4")


def pruned_of(layer: QuantumLayer) -> torch.Tensor:
    return layer.get_buffer("pruned")


def test_shares_are_the_cubic_polynomial() -> None:
    schedule = AnglePruning(0.5, start=0.05, end=0.5)
    for progress in np.linspace(0, 1, 11):
        left = max(0.0, 1 - progress / 0.5)
        assert schedule.share(progress) == pytest.approx(0.5 - 0.45 * left**3)


def test_angles_are_ranked_modulo_full_turns() -> None:
    angles = torch.tensor([0.1, 2 * math.pi - 0.05, -3.0, 4 * math.pi])
    np.testing.assert_allclose(wrapped(angles), [0.1, -0.05, -3.0, 0.0], atol=1e-6)
    assert wrapped(torch.tensor(math.pi)) == pytest.approx(math.pi)


def test_pruned_angles_are_zero_to_the_bit_after_every_step() -> None:
    """With Adam, whose momentum would move them, and weight decay."""
    model = classifier(16, 4, depth=2, seed=0)
    pruning = AnglePruning(0.4)
    pruning.attach(model)
    (layer,) = quantum_layers(model).values()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)
    x, y = DATA.train.tensors()
    seen = []
    for epoch in range(6):
        pruning.begin_epoch(model, epoch / 6)
        for _ in range(3):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[:64]), y[:64]).backward()
            pruning.before_step(model)
            optimizer.step()
            pruning.after_step(model)
            assert (layer.weights[pruned_of(layer)] == 0).all()
            assert (layer.weights[~pruned_of(layer)] != 0).all()
        seen.append(int(pruned_of(layer).sum()))
    expected = [round(pruning.share(epoch / 6) * layer.weights.numel()) for epoch in range(6)]
    assert seen == expected


def test_a_pruned_angle_may_come_back_with_its_value() -> None:
    layer = QuantumLayer(u3_cu3(1, blocks=1), seed=0)
    pruning = AnglePruning(0.34, start=0.34)
    pruning.attach(layer)
    with torch.no_grad():
        layer.weights.copy_(torch.tensor([0.3, 1.0, 2.0]))
    pruning.begin_epoch(layer, 0)
    assert layer.weights.tolist() == [0.0, 1.0, 2.0]
    with torch.no_grad():
        layer.weights[1] = 0.2  # now smaller than the pruned one was
    pruning.begin_epoch(layer, 0.1)
    np.testing.assert_allclose(layer.weights.detach(), [0.3, 0.0, 2.0], atol=1e-7)


def test_growing_keeps_the_number_and_takes_the_steepest() -> None:
    layer = QuantumLayer(u3_cu3(2, blocks=1), seed=0)
    pruning = AnglePruning(4 / 9, grow=0.4)
    pruning.attach(layer)
    with torch.no_grad():
        layer.weights.copy_(torch.arange(1.0, 10) / 10)
    pruning.begin_epoch(layer, 0)
    assert pruned_of(layer).nonzero()[:, 0].tolist() == [0, 1, 2, 3]
    layer.weights.grad = torch.tensor([0.1, 9.0, 0.2, 8.0, 0, 0, 0, 0, 0])
    pruning.before_step(layer)
    assert (layer.weights.grad[pruned_of(layer)] == 0).all()
    pruning.begin_epoch(layer, 0.5)  # 2 of the 5 active ones: the smallest for the steepest
    assert pruned_of(layer).nonzero()[:, 0].tolist() == [0, 2, 4, 5]
    assert layer.weights[1] == 0 and layer.weights[3] == 0  # grown from zero


def test_idle_gates_can_be_left_out() -> None:
    circuit = encoder("4_ry").compose(u3_cu3(4, blocks=2))
    layer = QuantumLayer(circuit, "x", init="uniform", seed=0).double()
    with torch.no_grad():
        layer.weights[:6] = torch.tensor([0, 2 * math.pi, 0, 0, 0, 1e-9], dtype=torch.float64)
        layer.weights[12:15] = 0.0  # the first CU3
        layer.weights[15] = 0.0  # one angle of the second, which stays
    small = without_idle_gates(layer)
    assert [k for k, idle in enumerate(idle_gates(layer)) if idle] == [4, 5, 8]
    assert small.program.num_gates == layer.program.num_gates - 3
    x = torch.rand(5, 4, dtype=torch.float64)
    torch.testing.assert_close(small(x), layer(x), atol=1e-8, rtol=0)
    assert small.circuit is not None and small.circuit.count_ops()["cu3"] == 7


def test_training_prunes_and_the_run_is_loaded_again(tmp_path: object) -> None:
    config = TrainConfig(epochs=4, depth=2, prune=0.5, keep="last", seed=1)
    result = train(config, out=tmp_path / "run", pictures=False)  # type: ignore[operator]
    (layer,) = quantum_layers(result.model).values()
    assert int((layer.weights == 0).sum()) == 24  # of 48
    loaded = load_run(tmp_path / "run").model  # type: ignore[operator]
    (again,) = quantum_layers(loaded).values()
    assert torch.equal(again.weights, layer.weights) and torch.equal(
        pruned_of(again), pruned_of(layer)
    )


def test_training_begins_with_another_run(tmp_path: object) -> None:
    first = train(TrainConfig(epochs=1, depth=1), out=tmp_path / "a", pictures=False)  # type: ignore[operator]
    still = TrainConfig(epochs=1, depth=1, start=str(tmp_path / "a"), lr=1e-12)  # type: ignore[operator]
    second = train(still, pictures=False)
    torch.testing.assert_close(
        next(second.model.parameters()), next(first.model.parameters()), atol=1e-6, rtol=0
    )
    with pytest.raises(ValueError, match="is a run of another model"):
        train(TrainConfig(epochs=1, depth=2, start=str(tmp_path / "a")))  # type: ignore[operator]


def test_bad_input() -> None:
    for wrong, message in (
        ({"target": 1.0}, "target=1.0 are shares that are pruned"),
        ({"target": 0.5, "end": 0.0}, "end=0.0 is a share of the training"),
        ({"target": 0.5, "grow": 1.0}, "grow=1.0 must be between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            AnglePruning(**wrong)
    with pytest.raises(ValueError, match="pruning angles needs a model with a QuantumLayer"):
        AnglePruning(0.5).attach(torch.nn.Linear(2, 2))

    layer = QuantumLayer(u3_cu3(1, blocks=1), seed=0)
    layer.circuit = None
    with pytest.raises(ValueError, match="only a layer that was made from a QuantumCircuit"):
        without_idle_gates(layer)
