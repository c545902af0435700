from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from nisqkit.circuits import angle
from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.compression import ElasticNet, HybridSupernet
from nisqkit.compression.shrinking import sandwich_step, train_supernet
from nisqkit.compression.supernet import calibrate, largest, smallest
from nisqkit.qml.super_circuit import SuperCircuit

X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] * X[:, 1] > 0).long()


def net(seed: int = 0) -> ElasticNet:
    torch.manual_seed(seed)
    stage = nn.Sequential(*(nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(2)))
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), stage, nn.Linear(16, 2))
    return ElasticNet(model, widths={"0": [4, 8, 16]}, depths={"2": [1, 2]})


def test_the_gradient_is_that_of_the_sandwich() -> None:
    """Largest by labels and smallest by the largest's outputs, written with torch's own losses."""
    mine, theirs = net(), net()
    value = sandwich_step(mine, X, Y, np.random.default_rng(0), random=0)
    space = theirs.__space__()
    teacher = theirs.of(largest(space), X)
    loss = functional.cross_entropy(teacher, Y)
    loss.backward()
    assert value == pytest.approx(loss.item())
    student = theirs.of(smallest(space), X)
    soft = teacher.detach().softmax(1)
    # the cross entropy with soft labels has the gradient of the divergence
    functional.cross_entropy(student, soft).backward()
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        assert torch.allclose(a.grad, b.grad, atol=1e-6)


def test_only_free_genes_shrink() -> None:
    seen: list[Any] = []

    class Spy(ElasticNet):
        def of(self, candidate: Any, x: torch.Tensor) -> torch.Tensor:
            seen.append(candidate)
            return super().of(candidate, x)

    torch.manual_seed(0)
    model = net().model
    spy = Spy(model, widths={"0": [4, 8, 16]}, depths={"2": [1, 2]})
    rng = np.random.default_rng(0)
    for _ in range(20):
        sandwich_step(spy, X, Y, rng, free=["depth"])
    assert {candidate["0"]["width"] for candidate in seen} == {16}
    assert {candidate["2"]["depth"] for candidate in seen} == {1, 2}
    assert len(seen) == 80
    seen.clear()
    train_supernet(spy, X, Y, epochs=8, batch_size=24)
    # phases of this space: none, depth, depth and width, in 2, 2 and 4 epochs of 4 candidates
    widths = [{c["0"]["width"] for c in seen[k : k + 4]} for k in range(0, 32, 4)]
    assert widths[:4] == [{16}] * 4
    assert all(4 in drawn for drawn in widths[4:])
    depths = [{c["2"]["depth"] for c in seen[k : k + 4]} for k in range(0, 32, 4)]
    assert depths[:2] == [{2}] * 2
    assert all(drawn == {1, 2} for drawn in depths[2:])
    assert len(seen) == 32


def test_all_candidates_learn() -> None:
    """Sign of a product of two features; 0.65 of 200 samples is 4 sigma above chance."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(200, 4, generator=random)
    y = (x[:, 0] * x[:, 1] > 0).long()
    trained = net()
    losses = train_supernet(trained, x, y, epochs=40, seed=0)
    assert losses[-1] < 0.3 < losses[0]
    trained.eval()
    for candidate in (largest(trained.__space__()), smallest(trained.__space__())):
        accuracy = (trained.of(candidate, x).argmax(1) == y).float().mean()
        assert accuracy > 0.65


def test_same_seed_same_weights() -> None:
    models = [net(), net(), net()]
    for model, seed in zip(models, (3, 3, 4), strict=True):
        train_supernet(model, X, Y, epochs=3, seed=seed)
    first, same, other = (model.layer("0").weight for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_hybrid_trains() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2))
    encoder = ElasticNet(model, widths={"0": [2, 6]})
    circuit = SuperCircuit(DesignSpace("u3cu3", 2, blocks=2), angle(2), seed=0)
    pair = HybridSupernet({"encoder": encoder, "circuit": circuit})
    before = circuit.layer.weights.detach().clone()
    losses = train_supernet(pair, X, Y, epochs=12, phases=[None], seed=0)
    assert losses[-1] < losses[0]
    assert not torch.equal(circuit.layer.weights, before)
    small = smallest(pair.__space__())
    calibrate(pair, small, X)
    assert pair.eval()(X).isfinite().all()


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="random=-1: give 0 random candidates or more"):
        sandwich_step(net(), X, Y, np.random.default_rng(0), random=-1)
    with pytest.raises(ValueError, match=r"epochs=2 is less than the 3 phases"):
        train_supernet(net(), X, Y, epochs=2)
    with pytest.raises(ValueError, match="phases is empty: use"):
        train_supernet(net(), X, Y, epochs=2, phases=[])
    with pytest.raises(ValueError, match="24 samples and 23 labels"):
        train_supernet(net(), X, Y[:-1], epochs=3)
    with pytest.raises(TypeError, match="Linear is no supernet"):
        train_supernet(nn.Linear(4, 2), X, Y, epochs=3)
