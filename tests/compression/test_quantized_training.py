import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from nisqkit.compression.quantized_training import (
    integer_weights,
    quantization_aware_scaling,
    snap,
)

X = torch.randn(20, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = (X.mean((1, 2, 3)) > 0).long()


def net() -> Any:
    torch.manual_seed(0)
    layers: Any = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    with torch.no_grad():
        layers[3].weight.mul_(30)  # scales that differ widely
    return layers.double()


def steps(
    model: nn.Module, count: int, rate: float, after: Callable[[], None] | None = None
) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(count):
        optimizer.zero_grad()
        functional.cross_entropy(model(X), Y).backward()
        optimizer.step()
        if after is not None:
            after()


def test_sgd_on_integers_is_sgd_on_the_values() -> None:
    """Without rounding after the steps, both take the same path from the same start."""
    scaled, floats = net(), net()
    with integer_weights(scaled):
        pass  # both begin at values that integers can hold
    floats.load_state_dict(scaled.state_dict())
    plain = copy.deepcopy(scaled)
    steps(floats, 5, 0.1)
    with integer_weights(scaled):
        steps(scaled, 5, 0.1)
    with integer_weights(plain, scaling=False):
        steps(plain, 5, 0.1)
    for name, value in floats.state_dict().items():
        assert torch.allclose(scaled.state_dict()[name], value, rtol=1e-9, atol=1e-12), name
    assert (plain.state_dict()["0.weight"] - floats.state_dict()["0.weight"]).abs().max() > 1e-3


def test_the_ratio_of_weight_and_gradient_is_that_of_the_float_network() -> None:
    floats, integers = net(), net()
    functional.cross_entropy(floats(X), Y).backward()
    expected = [
        float(p.detach().norm() / p.grad.norm()) for p in floats.parameters() if p.grad is not None
    ]
    with integer_weights(integers, bias_bits=32):
        functional.cross_entropy(integers(X), Y).backward()
        weights = [integers[k].parametrizations.weight.original for k in (0, 3)]
        scales = [integers[k].parametrizations.weight[0].scale for k in (0, 3)]
        # per channel, in units of the values
        for q, s, k in zip(weights, scales, (0, 2), strict=True):
            found = float((q.detach() * s).norm() / (q.grad * s).norm())
            assert found == pytest.approx(expected[k], rel=0.05)  # the weights are rounded


def test_what_is_stored_is_integers_in_range() -> None:
    model = net()
    values = model[3].weight.detach().clone()
    with integer_weights(model, bits=4):
        q = model[3].parametrizations.weight.original
        assert torch.equal(q, q.round())
        assert q.abs().amax(1).tolist() == [7, 7]
        largest = values.abs().amax(1, keepdim=True)
        assert torch.allclose(model[3].weight, (values / largest * 7).round() * largest / 7)
        generator = torch.Generator().manual_seed(0)
        steps(model, 3, 1.0, lambda: snap(model, generator))
        assert torch.equal(q, q.round())
        assert q.min() >= -8 and q.max() <= 7
    assert isinstance(model[3].weight, nn.Parameter)
    assert not hasattr(model[3], "parametrizations")


def test_random_rounding_is_right_on_average() -> None:
    """10 000 values of 2.3, whose mean has a standard error of sqrt(0.3 x 0.7) / 100."""
    model: Any = nn.Sequential(nn.Linear(100, 100, bias=False))
    with integer_weights(model):
        q = model[0].parametrizations.weight.original
        with torch.no_grad():
            q.fill_(2.3)
        snap(model, torch.Generator().manual_seed(0))
        assert set(q.unique().tolist()) == {2, 3}
        assert float(q.detach().mean()) == pytest.approx(2.3, abs=5 * 0.0046)
        with torch.no_grad():
            q.fill_(2.3)
        snap(model)
        assert set(q.unique().tolist()) == {2}


def test_integers_learn() -> None:
    """A network of 8 bits by SGD: its training loss falls to half of what it was."""
    model = net()
    with torch.no_grad():
        model[3].weight.div_(30)
    before = float(functional.cross_entropy(model(X), Y).detach())
    with integer_weights(model):
        generator = torch.Generator().manual_seed(0)
        steps(model, 100, 0.2, lambda: snap(model, generator))
        after = float(functional.cross_entropy(model(X), Y).detach())
    assert after < before / 2
    assert float(functional.cross_entropy(model(X), Y).detach()) == pytest.approx(after)


def test_frozen_tensors_stay_frozen() -> None:
    model = net()
    model[0].weight.requires_grad_(False)
    with integer_weights(model, names=["0"]):
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        assert "0.parametrizations.weight.original" not in trained
        assert "0.parametrizations.bias.original" in trained
    assert not model[0].weight.requires_grad and model[0].bias.requires_grad


def test_a_bias_is_in_units_of_weight_and_input() -> None:
    model = net()
    bias = model[3].bias.detach().clone()
    units = model[3].weight.detach().abs().amax(1) / 127 * 0.25
    with integer_weights(model, input_scales={"3": 0.25}):
        q = model[3].parametrizations.bias.original
        assert torch.equal(q, (bias / units).round())


def test_bad_arguments() -> None:
    q = nn.Parameter(torch.ones(3, 4))
    for scale in (0.0, -1.0, torch.ones(4, 3), torch.tensor([1.0, float("nan"), 1.0, 1.0])):
        with pytest.raises(ValueError, match="must be positive, finite, and broadcast against"):
            quantization_aware_scaling(q, scale)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"bits": 1}, "bits=1 must be from 2 to 32"),
        ({"bias_bits": 33}, "bias_bits=33 must be from 2 to 32"),
        ({"names": ["1"]}, "'1' is no Linear and no Conv2d"),
        ({"input_scales": {"4": 1.0}}, "'4' is no Linear and no Conv2d"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message), integer_weights(net(), **options):
            pass
