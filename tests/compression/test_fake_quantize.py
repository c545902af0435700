from itertools import pairwise

import numpy as np
import pytest
import torch

from nisqkit.compression.fake_quantize import (
    METHODS,
    RangeMethod,
    round_values,
    round_weight,
    value_range,
    weight_scales,
)


def weights(seed: int = 0) -> torch.Tensor:
    return torch.randn(6, 50, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_round_as_torch_does(bits: int) -> None:
    weight, levels = weights(), 2 ** (bits - 1) - 1
    scales = weight_scales(weight, bits, "minmax", per_channel=True)
    expected = torch.fake_quantize_per_channel_affine(
        weight, scales.flatten(), torch.zeros(6, dtype=torch.int32), 0, -levels, levels
    )
    found = round_weight(weight, scales, bits)
    assert torch.allclose(found, expected, atol=1e-6)
    assert len(found[0].unique()) <= 2**bits - 1


@pytest.mark.parametrize("bits", range(2, 9))
def test_values_round_as_torch_does(bits: int) -> None:
    x, low, high = weights().flatten(), torch.tensor(-0.7), torch.tensor(1.9)
    step = float(high - low) / (2**bits - 1)
    zero = round(0.7 / step)
    expected = torch.fake_quantize_per_tensor_affine(x, step, zero, 0, 2**bits - 1)
    found = round_values(x, low, high, bits)
    assert torch.allclose(found, expected, atol=1e-5)
    assert 0 in found  # padding and ReLU give exact zeros


def test_one_bit_has_the_least_error_of_all_scales() -> None:
    weight = weights()
    scales = weight_scales(weight, 1, "minmax", per_channel=True)
    error = (round_weight(weight, scales, 1) - weight).square().sum(1)
    for other in torch.linspace(0.1, 3, 100):
        assert bool((error <= (other * weight.sign() - weight).square().sum(1) + 1e-5).all())
    assert len(round_values(weight, torch.tensor(-1.0), torch.tensor(2.0), 1).unique()) == 2


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_mse_is_no_worse_than_the_full_range(bits: int) -> None:
    weight = weights()
    errors = {}
    for method in METHODS:
        scales = weight_scales(weight, bits, method, per_channel=True, percentile=95)
        errors[method] = float((round_weight(weight, scales, bits) - weight).square().sum())
    assert errors["mse"] <= errors["minmax"]
    x = weight.abs().flatten()
    found = {}
    for method in METHODS:
        low, high = torch.tensor(value_range(x, bits, method, percentile=95))
        found[method] = float((round_values(x, low, high, bits) - x).square().sum())
    assert found["mse"] <= min(found["minmax"], 1.05 * found["percentile"])  # it tries few ranges
    if bits == 2:
        assert errors["mse"] < 0.7 * errors["minmax"]


def test_scales_per_channel_are_finer() -> None:
    weight = weights() * torch.tensor([1.0, 0.1, 0.01, 1, 1, 1])[:, None]
    error = {
        each: float(
            (round_weight(weight, weight_scales(weight, 4, "minmax", each), 4) - weight)[2]
            .abs()
            .max()
        )
        for each in (True, False)
    }
    assert error[True] < 0.1 * error[False]


def test_percentiles_are_those_of_numpy() -> None:
    x = weights().flatten()
    low, high = value_range(x, 8, "percentile", percentile=99)
    assert [low, high] == pytest.approx(np.percentile(x.numpy(), [1, 99]).tolist(), rel=1e-5)
    assert value_range(x.abs() + 1, 8, "minmax")[0] == 0  # 0 is always within


def test_more_bits_are_finer() -> None:
    x = weights().flatten()
    for method in METHODS:
        ranges = [value_range(x, bits, method) for bits in range(2, 9)]
        errors = [
            float((round_values(x, torch.tensor(low), torch.tensor(high), bits) - x).abs().mean())
            for bits, (low, high) in zip(range(2, 9), ranges, strict=True)
        ]
        assert all(fine < coarse for coarse, fine in pairwise(errors))


def test_gradients_pass_where_nothing_is_clipped() -> None:
    x = torch.tensor([-9.0, -0.3, 0.4, 9.0], requires_grad=True)
    round_values(x, torch.tensor(-1.0), torch.tensor(1.0), 4).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]
    weight = torch.tensor([[0.2, -5.0]], requires_grad=True)
    round_weight(weight, torch.tensor([[0.1]]), 4).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1, 1]]


@pytest.mark.parametrize("method", METHODS)
def test_constant_tensors(method: RangeMethod) -> None:
    zero = torch.zeros(3, 4)
    for bits in (1, 2, 8):
        scales = weight_scales(zero, bits, method, per_channel=True)
        assert torch.allclose(round_weight(zero, scales, bits), zero, atol=1e-30)
        low, high = torch.tensor(value_range(zero, bits, method))
        assert torch.equal(round_values(zero, low, high, bits), zero)
