# pyright: reportIndexIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# (models are indexed here, and what compression returns is only known to be a module)

import copy
import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nisqkit.compression.channels import prune_channels
from nisqkit.compression.masks import prune_weights
from nisqkit.compression.quantize import QuantizePolicy, bits_space, quantize
from nisqkit.search.profile import profile

from .models import accuracy, circuit, digits4, hybrid, images, train


def bytes_of(model: nn.Module, x: torch.Tensor) -> float:
    return profile(model, x[:1]).total("weight_bytes").value


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("per_channel", [True, False])
def test_packed_bytes(bits: int, per_channel: bool) -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(12, 5))
    policy = QuantizePolicy(weight_bits=bits, activation_bits=8, per_channel=per_channel)
    small = quantize(model, policy, calibrate=images())
    weights = -(-27 * bits // 8) + -(-60 * bits // 8)
    scales = 4 * (3 + 5 if per_channel else 2)
    ranges, biases = 2 * 8, 4 * (3 + 5)
    assert bytes_of(small, images()) == weights + scales + ranges + biases


def test_pruned_weights_stay_zero_and_are_counted() -> None:
    model = prune_weights(nn.Sequential(nn.Linear(16, 10, bias=False)), {"0": 0.75})
    for bits in (1, 4):
        small = quantize(model, {"0": (bits, 32)})
        found = profile(small, torch.zeros(1, 16))
        assert bool((small[0].weight[model[0].weight == 0] == 0).all())
        assert found.total("macs").value == 160 and found.total("nonzero_macs").value <= 40
        assert found.total("weight_bytes").value == 160 * bits // 8 + 160 // 8 + 40


def test_outputs_come_from_the_grid() -> None:
    model, x = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 2)), images()
    small = quantize(model, QuantizePolicy(3, 4), calibrate=x)
    assert len(small[0].weight[0].unique()) <= 7 and len(small[2].activations(x).unique()) <= 16
    seen = small[0].activations(x)
    by_hand = nn.functional.conv2d(seen, small[0].weight, model[0].bias)
    assert torch.allclose(small[0](x), by_hand, atol=1e-6)


def test_more_bits_give_smaller_errors() -> None:
    model, x = hybrid().eval(), images(40)
    errors = []
    for bits in (2, 4, 6, 8):
        small = quantize(model, QuantizePolicy(bits, bits), calibrate=x)
        errors.append((small(x) - model(x)).abs().mean().item())
    assert all(after < before for before, after in itertools.pairwise(errors))
    assert errors[-1] < 0.02


@pytest.mark.parametrize(
    "policy",
    [QuantizePolicy(8, 8), QuantizePolicy(2, 4, mode="qat"), QuantizePolicy(4, rounding="gptq")],
    ids=["int8", "qat", "gptq"],
)
def test_the_circuit_gives_the_same_numbers_as_before(policy: QuantizePolicy) -> None:
    model = prune_channels(prune_channels(hybrid(), {"0": 0.5}, images()), {"4": 0.5}, images())
    small = quantize(model, policy, calibrate=images(20))
    angles = torch.rand(9, 4, generator=torch.Generator().manual_seed(3)) * 3
    assert torch.allclose(small[7](angles), hybrid()[7](angles), atol=1e-6)
    assert torch.equal(small[7].weights, hybrid()[7].weights)


def test_two_bits_of_angle_make_a_clifford_circuit() -> None:
    # Multiples of pi / 2 keep stabiliser states, whose Pauli expectation values are -1, 0 or 1.
    model = nn.Sequential(circuit(seed=4, init="uniform"))
    small = quantize(model, QuantizePolicy(32, angle_bits=2))
    values = small(torch.randint(4, (30, 4)) * torch.pi / 2)
    assert torch.allclose(values, values.round(), atol=1e-5)
    plain = model(torch.zeros(1, 4))
    assert not torch.allclose(plain, plain.round(), atol=1e-2)
    found = profile(small, torch.zeros(1, 4))
    assert found.total("weight_bytes").value == 16 * 2 // 8 + 8  # and the number of calls
    assert found.total("qubits").value == 4  # the circuit still describes itself


def test_angles_and_measured_values_with_few_bits() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), circuit(), nn.Linear(4, 2)), torch.rand(50, 4)
    policy = QuantizePolicy(32, circuits={"1": (8, 3)})
    small = quantize(model, policy, calibrate=x)
    assert len(small[1](x).unique()) <= 8
    exact = quantize(model, QuantizePolicy(32, circuits={"1": (8, 32)}))
    assert (exact(x) - model(x)).abs().max().item() < 8 * 2 * torch.pi / 2**8
    small(x).sum().backward()
    assert small[1].circuit.weights.grad.abs().sum() > 0 and small[0].weight.grad.abs().sum() > 0


def test_training_with_eight_bits_costs_less_than_half_a_point() -> None:
    x, y, test_x, test_y = digits4()
    model = train(hybrid(), x, y, epochs=10)
    copies = copy.deepcopy(model)
    small = quantize(model, QuantizePolicy(8, 8, mode="qat"), calibrate=x)
    trained, more = train(small, x, y, 4, lr=0.002), train(copies, x, y, 4, lr=0.002)
    every_x, every_y = torch.cat([x, test_x]), torch.cat([y, test_y])
    assert accuracy(more, test_x, test_y) > 0.9
    assert accuracy(trained, every_x, every_y) >= accuracy(more, every_x, every_y) - 0.005


def test_training_repairs_two_bits() -> None:
    x, y, test_x, test_y = digits4()
    model = train(hybrid(), x, y, epochs=10)
    policy = QuantizePolicy(2, 4, range_method="mse", mode="qat")
    small = quantize(model, policy, calibrate=x)
    before = accuracy(copy.deepcopy(small), test_x, test_y)
    assert accuracy(train(small, x, y, 6), test_x, test_y) > before + 0.02
    assert len(small[4].weight[0].unique()) <= 3


def test_after_training_nothing_moves_with_ptq() -> None:
    x = images(20)
    small = quantize(hybrid(), QuantizePolicy(4, 4), calibrate=x).train()
    state = {k: v.clone() for k, v in small.state_dict().items() if "scale" in k or "low" in k}
    small(x + 5)
    assert all(torch.equal(small.state_dict()[k], v) for k, v in state.items())
    trained = quantize(hybrid(), QuantizePolicy(4, 4, mode="qat"), calibrate=x).train()
    high = trained[0].activations.high.clone()
    trained(x + 5)
    assert torch.isclose(trained[0].activations.high, 0.9 * high + 0.1 * (x + 5).max())


def test_candidates_of_the_space_can_be_applied() -> None:
    model, x = nn.ModuleDict({"net": hybrid()})["net"], images(10)
    space = bits_space(model, angle_bits=[3, 8], measurement_bits=[4, 32])
    assert space.size() == (5 * 4) ** 4 * 4
    random = np.random.default_rng(1)
    for _ in range(3):
        candidate: dict[str, Any] = json.loads(json.dumps(space.sample(random)))
        small = quantize(model, candidate, calibrate=x)
        expected = bytes_of(model, x)
        for name in ("0", "4", "6", "8"):
            weight, bits = model.get_submodule(name).weight, candidate[name]["weight_bits"]
            expected += -(-weight.numel() * bits // 8) - 4 * weight.numel() + 4 * len(weight)
            expected += 8 * (candidate[name]["activation_bits"] != 32)
        expected += 16 * candidate["7"]["angle_bits"] // 8 - 4 * 16
        expected += 8 * (candidate["7"]["measurement_bits"] != 32)
        assert bytes_of(small, x) == expected


def test_gptq_keeps_outputs_closer_than_rounding() -> None:
    model = nn.Sequential(nn.Linear(30, 20))
    random = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=random) @ torch.randn(5, 30, generator=random)
    errors = {}
    for rounding in ("nearest", "gptq"):
        policy = QuantizePolicy(3, rounding=rounding)  # type: ignore[arg-type]
        small = quantize(model, policy, calibrate=x)
        errors[rounding] = (small(x) - model(x)).square().mean().item()
    assert errors["gptq"] < 0.5 * errors["nearest"]


@pytest.mark.parametrize("bits", [0, 9, 16, 2.5, True, "8"])
def test_bits_out_of_range(bits: Any) -> None:
    given: list[dict[str, Any]] = [
        {"weight_bits": bits},
        {"layers": {"0": (8, bits)}},
        {"angle_bits": bits},
    ]
    for options in given:
        with pytest.raises(ValueError, match="must be a whole number from 1 to 8, or 32 for none"):
            QuantizePolicy(**options)
    with pytest.raises(ValueError, match="must be a whole number from 1 to 8"):
        bits_space(hybrid(), weight_bits=[4, bits])


def test_bad_policies() -> None:
    model = hybrid()
    with pytest.raises(ValueError, match=r"the policy names '44', which is no layer"):
        quantize(model, {"44": (8, 32)})
    with pytest.raises(ValueError, match=r"the policy names '1', but a BatchNorm2d cannot be"):
        quantize(model, {"1": (8, 32)})
    with pytest.raises(ValueError, match="the policy names the circuit '0', which is none"):
        quantize(model, QuantizePolicy(circuits={"0": (8, 32)}))
    with pytest.raises(ValueError, match=r"layers\['0'\] must be a pair"):
        quantize(model, {"0": 8})
    with pytest.raises(TypeError, match="policy must be a QuantizePolicy or a mapping"):
        quantize(model, 8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mode must be 'ptq' or 'qat', got 'later'"):
        QuantizePolicy(mode="later")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"range_method must be one of .* got 'max'"):
        QuantizePolicy(range_method="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"percentile must be in \(50, 100\], got 5"):
        QuantizePolicy(percentile=5)
    with pytest.raises(ValueError, match="rounding must be 'nearest' or 'gptq'"):
        QuantizePolicy(rounding="up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gptq rounds once, after training"):
        QuantizePolicy(rounding="gptq", mode="qat")
    with pytest.raises(ValueError, match="'0' is quantized already"):
        quantize(quantize(model, {"0": (8, 32)}), QuantizePolicy(8))


def test_calibration_without_data() -> None:
    with pytest.raises(ValueError, match=r"'0' needs calibration data: pass calibrate=inputs"):
        quantize(hybrid(), QuantizePolicy(8, 8))
    with pytest.raises(ValueError, match="calibration needs data"):
        quantize(hybrid(), QuantizePolicy(8, 8), calibrate=[])
    unused = nn.Sequential(nn.Linear(2, 2))
    unused.spare = nn.Linear(2, 2)
    unused.forward = lambda x: unused[0](x)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="was not called with the calibration data"):
        quantize(
            nn.ModuleDict({"a": nn.Linear(2, 2)}) and unused, {"spare": (8, 8)}, torch.rand(3, 2)
        )


def test_circuits_without_angles() -> None:
    class Other(nn.Module):
        def __profile__(self, example: Any = None) -> None: ...

    with pytest.raises(ValueError, match="'0' is a Other without `program` and `weights`"):
        quantize(nn.Sequential(Other()), QuantizePolicy(angle_bits=4))
