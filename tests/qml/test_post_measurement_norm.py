"""Normalisation cancels affine noise, and needs no other samples once its statistics are frozen."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nisqkit.circuits import angle, encoder, u3_cu3
from nisqkit.qml import PostMeasurementNorm, QuantumLayer, freeze_statistics

RANDOM = np.random.default_rng(0)


def values(batch: int = 64, std: float = 0.1) -> Tensor:
    """Outcomes between -1 and 1 with a standard deviation of ``std`` per qubit, exactly."""
    y = RANDOM.uniform(-1, 1, (batch, 4))
    y = (y - y.mean(axis=0)) / y.std(axis=0) * std
    return torch.from_numpy(y + RANDOM.uniform(-0.5, 0.5, 4))


def test_the_definition() -> None:
    y = values()
    expected = (y.numpy() - y.numpy().mean(axis=0)) / np.sqrt(y.numpy().var(axis=0) + 1e-5)
    np.testing.assert_allclose(PostMeasurementNorm(4, eps=1e-5)(y).numpy(), expected, atol=1e-12)


def test_affine_noise_is_cancelled() -> None:
    """y -> a y + b per qubit, a >= 0.1, std >= 0.1, to 1e-4; the control must fail."""
    norm = PostMeasurementNorm(4)
    for _ in range(20):
        y = values(std=RANDOM.uniform(0.1, 0.5))
        a, b = torch.from_numpy(RANDOM.uniform(0.1, 1, 4)), torch.from_numpy(RANDOM.normal(size=4))
        noisy, wanted = a * y + b, norm(y)
        assert (norm(noisy) - wanted).abs().max() < 1e-4

        order = [1, 2, 3, 0]  # the statistics of another qubit
        shuffled = (noisy - noisy.mean(0)[order]) / noisy.std(0)[order]
        assert (shuffled - wanted).abs().max() > 1e-2


def test_affine_noise_between_two_nodes_leaves_the_logits() -> None:
    first = QuantumLayer(encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1)), inputs="x", seed=0)
    second = QuantumLayer(angle(4).compose(u3_cu3(4, blocks=1)), inputs="x", seed=1)
    x = torch.from_numpy(RANDOM.uniform(0, 3, (32, 16)))

    class Affine(nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            return y * torch.tensor([0.9, 0.5, 0.7, 0.8]) + torch.tensor([0.1, -0.2, 0.0, 0.05])

    norm = PostMeasurementNorm(4)
    clean = nn.Sequential(first, norm, second).double()
    noisy = nn.Sequential(first, Affine(), norm, second).double()
    assert (clean(x) - noisy(x)).abs().max() < 1e-4
    bare = nn.Sequential(first, Affine(), second).double()
    assert (nn.Sequential(first, second)(x) - bare(x)).abs().max() > 1e-2


def test_gradients_flow_through_the_statistics() -> None:
    y = values(batch=6).requires_grad_()
    assert torch.autograd.gradcheck(PostMeasurementNorm(4).double(), y)


def test_frozen_statistics_need_no_batch() -> None:
    model = nn.Sequential(nn.Linear(3, 4), PostMeasurementNorm(4), nn.Linear(4, 2)).double().eval()
    x = torch.from_numpy(RANDOM.normal(size=(50, 3)))
    freeze_statistics(model, x)
    together = model(x)
    assert torch.allclose(together, torch.cat([model(row[None]) for row in x]), atol=1e-12)
    batch = nn.Sequential(model[0], PostMeasurementNorm(4, statistics="batch"), model[2]).double()
    assert torch.allclose(together, batch.eval()(x), atol=1e-12)


def test_norms_behind_norms_are_frozen_in_one_pass() -> None:
    parts = [PostMeasurementNorm(4), nn.Linear(4, 4), nn.Tanh(), PostMeasurementNorm(4)]
    model = nn.Sequential(*parts).double()
    y = values()
    freeze_statistics(model, y)
    trained = model.train()(y)  # each uses its own batch
    assert torch.allclose(model.eval()(y), trained, atol=1e-12)
    assert torch.allclose(trained.var(0, correction=0), torch.ones(4).double(), atol=1e-2)


def test_freezing_keeps_the_mode_and_leaves_other_models_alone() -> None:
    model = nn.Sequential(PostMeasurementNorm(4)).double().train()
    freeze_statistics(model, values())
    assert model.training
    freeze_statistics(nn.Linear(2, 2), torch.zeros(1, 99))  # would fail if it ran


def test_running_statistics_follow_the_batches() -> None:
    norm = PostMeasurementNorm(4, statistics="running", momentum=0.5).double()
    one, two = values(), values()
    norm(one)
    norm(two)
    assert torch.allclose(norm.mean, (one.mean(0) + two.mean(0)) / 2)
    assert norm.eval()(one[:1]).shape == (1, 4)


def test_statistics_are_saved_and_copied() -> None:
    norm = PostMeasurementNorm(4).double().eval()
    freeze_statistics(norm, values())
    y = values()
    other = PostMeasurementNorm(4).double().eval()
    other.load_state_dict(norm.state_dict())
    for twin in (other, copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))):
        assert torch.equal(twin(y), norm(y))
    assert not list(norm.parameters())  # nothing is trained


def test_what_cannot_be_normalised_is_refused() -> None:
    norm = PostMeasurementNorm(4)
    with pytest.raises(ValueError, match=r"shape \(3, 2\), expected \(\.\.\., 4\)"):
        norm(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="a batch of 1 has no variance"):
        norm(torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"call freeze_statistics\(model, x_valid\)"):
        norm.eval()(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="train first"):
        PostMeasurementNorm(4, statistics="running").eval()(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="did you mean 'frozen'"):
        PostMeasurementNorm(4, statistics="frosen")
    with pytest.raises(ValueError, match="momentum=0 must be above 0"):
        PostMeasurementNorm(4, momentum=0)
    with pytest.raises(ValueError, match="eps=0 must be positive"):
        PostMeasurementNorm(4, eps=0)
    with pytest.raises(ValueError, match="num_outputs=0 must be at least 1"):
        PostMeasurementNorm(0)
