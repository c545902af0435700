from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nisqkit.compression import ElasticNet
from nisqkit.compression.differentiable_choice import (
    DifferentiableChoice,
    gene_options,
    mixed,
)
from nisqkit.compression.supernet import sample


def net(norm: bool = True) -> ElasticNet:
    """Widths, kernels, depth and a depthwise convolution, in float64."""
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6) if norm else nn.Identity())
        for _ in range(2)
    ]
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.Sigmoid(),  # absent channels are 0 behind it, too
        nn.Sequential(*blocks),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.Flatten(),
        nn.Linear(6 * 16, 8),
        nn.Softplus(),
        nn.Linear(8, 3),
    )
    made = ElasticNet(
        model.double(),
        widths={"0": [2, 6], "2.0.0": [3, 6], "2.1.0": [1, 6], "5": [4, 8]},
        kernels={"0": [1, 3, 5], "2.1.0": [1, 3]},
        depths={"2": [0, 1, 2]},
    )
    with torch.no_grad():
        for matrix in made._transforms.values():
            matrix.add_(0.1 * torch.randn_like(matrix))
    return made


X = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def one_hot(supernet: ElasticNet, candidate: Any) -> dict[str, Tensor]:
    """Shares of 0 and 1; what the candidate does not say is at its first option."""
    found = {}
    for path, options in gene_options(supernet).items():
        value: Any = candidate
        for name in path.split("."):
            value = value.get(name, {})
        place = options.index(value) if value != {} else 0
        found[path] = functional.one_hot(torch.tensor(place), len(options)).double()
    return found


def test_a_mixture_of_one_is_the_candidate() -> None:
    supernet, rng = net(), np.random.default_rng(0)
    for _ in range(40):
        candidate = sample(supernet.__space__(), rng)
        expected = supernet.of(candidate, X)
        found = mixed(supernet, X, one_hot(supernet, candidate))
        assert torch.allclose(found, expected, atol=1e-12)


def test_the_last_gene_mixes_outputs() -> None:
    """What stands before a linear layer is mixed as its outputs are: exact, by hand."""
    supernet = net(norm=False)
    small: Any = {"0": {"width": 6, "kernel": 5}, "2": {"depth": 0}, "5": {"width": 4}}
    large = small | {"5": {"width": 8}}
    shares = one_hot(supernet, small) | {"5.width": torch.tensor([0.3, 0.7]).double()}
    expected = 0.3 * supernet.of(small, X) + 0.7 * supernet.of(large, X)
    assert torch.allclose(mixed(supernet, X, shares), expected, atol=1e-12)


def test_gradients_of_logits_against_finite_differences() -> None:
    model = DifferentiableChoice(net(norm=False)).double()
    logits = list(model.choices())
    with torch.no_grad():
        for vector in logits:
            vector.copy_(torch.randn(len(vector)))
    model(X).square().sum().backward()
    for vector in logits:
        assert vector.grad is not None
        for k in range(len(vector)):
            ends = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    vector[k] += step
                    ends.append(float(model(X).square().sum()))
                    vector[k] -= step
            assert float(vector.grad[k]) == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-4)


def test_training_finds_the_width_that_is_needed() -> None:
    """Outputs that need four channels: the loss alone moves the shares to them."""
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    nn.init.eye_(model[0].weight)
    nn.init.eye_(model[1].weight)
    choice = DifferentiableChoice(ElasticNet(model, widths={"0": [1, 2, 4]}))
    optimizer = torch.optim.Adam(choice.choices(), lr=0.1)
    x = torch.randn(50, 4)
    for _ in range(60):
        optimizer.zero_grad()
        functional.mse_loss(choice(x), x).backward()
        optimizer.step()
    assert choice.best() == {"0": {"width": 4}}
    assert float(choice.shares()["0.width"][2].detach()) > 0.9


def test_sampled_forward_passes_are_candidates() -> None:
    supernet = net(norm=False)
    model = DifferentiableChoice(supernet, sampled=True, seed=1).double()
    rng = np.random.default_rng(0)
    texts = {}
    while len(texts) < supernet.__space__().size():
        candidate = sample(supernet.__space__(), rng)
        if str(candidate) not in texts:
            texts[str(candidate)] = supernet.of(candidate, X)
    known = torch.stack(list(texts.values())).detach()
    for _ in range(20):
        found = model(X).detach()
        assert (known - found).abs().amax((1, 2)).min() < 1e-10
    model(X).sum().backward()
    assert any(v.grad is not None and v.grad.abs().sum() > 0 for v in model.choices())


def test_draws_have_the_frequencies_of_the_shares() -> None:
    """Gumbel's trick: 2000 draws, 5 sigma are at most 0.056."""
    model = DifferentiableChoice(net(), seed=3)
    share = torch.tensor([0.1, 0.3, 0.6])
    counts = sum(model._drawn(share) for _ in range(2000))
    assert torch.allclose(torch.as_tensor(counts) / 2000, share, atol=0.056)


def test_same_seed_same_draws() -> None:
    outputs = [
        DifferentiableChoice(net(False), sampled=True, seed=s).double()(X) for s in (1, 1, 2)
    ]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_best_is_of_the_space() -> None:
    model = DifferentiableChoice(net())
    with torch.no_grad():
        model.logits["2/depth"][0] = 5.0
        model.logits["5/width"][1] = 5.0
    best = model.best()
    model.net.__space__().check(best)
    assert best["2"] == {"depth": 0}
    assert best["5"] == {"width": 8}


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="temperature=0 must be positive"):
        DifferentiableChoice(net(), temperature=0)
    supernet = net()
    shares = DifferentiableChoice(supernet).shares()
    with pytest.raises(ValueError, match=r"gene '0\.kernel' has 3 options in the network and 2 sh"):
        mixed(supernet, X, shares | {"0.kernel": torch.ones(2) / 2})
    with pytest.raises(ValueError, match=r"gene '9\.width' has 0 options in the network and 2"):
        mixed(supernet, X, shares | {"9.width": torch.ones(2) / 2})
    with pytest.raises(ValueError, match=r"a mixture is none: keep training mode, or take best"):
        mixed(supernet.eval(), X, shares)
