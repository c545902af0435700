"""Parameters and packed bytes against state_dict and hand counts."""

import pytest
import torch
from torch import nn

from nisqkit.search.profile import profile
from nisqkit.search.weight_bytes import weight_metrics


def weight_bytes(module: nn.Module, bits: dict[str, int] | None = None) -> float:
    return weight_metrics(module, bits)["weight_bytes"].value


def test_unpacked_it_is_the_state_dict() -> None:
    nets = [
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2).double()),
        nn.LSTM(3, 5),
        nn.Linear(3, 2).half(),
    ]
    for net in nets:
        expected = sum(t.numel() * t.element_size() for t in net.state_dict().values())
        assert weight_bytes(net) == expected


def test_what_is_not_saved_or_shared_counts_once_or_not() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    net[1].weight = net[0].weight
    net.register_buffer("scratch", torch.zeros(1000), persistent=False)
    found = weight_metrics(net)
    assert found["parameters"].value == 64 + 16
    assert found["weight_bytes"].value == 4 * (64 + 16)
    net[0].weight.requires_grad_(False)
    assert weight_metrics(net)["trainable_parameters"].value == 16
    assert weight_bytes(net, {"1.weight": 2}) == 16 + 4 * 16  # under its other name
    assert profile(net, torch.zeros(1, 8)).total("parameters").value == 80


def test_bits_are_packed_and_each_tensor_is_rounded_up() -> None:
    net = nn.Linear(10, 3)
    assert weight_bytes(net, {"weight": 4}) == 15 + 12
    assert weight_bytes(net, {"weight": 3, "bias": 3}) == 12 + 2  # 90 and 9 bits
    assert weight_bytes(net, {"weight": 0}) == 12
    assert weight_metrics(net, {"weight": 4})["weight_bytes"].source == "analytic"


class Quantized(nn.Linear):
    """As a quantised layer says it: its bits in an attribute, scales and zero points as buffers."""

    def __init__(self) -> None:
        super().__init__(10, 4)
        self.bits = {"weight": 2}
        self.register_buffer("scale", torch.ones(4))
        self.register_buffer("zero_point", torch.zeros(4, dtype=torch.int8))


def test_modules_say_their_bits_with_scales_and_zero_points() -> None:
    net = nn.Sequential(nn.Linear(4, 10), Quantized())
    quantized = 10 + 16 + 16 + 4  # weight, bias, scales, zero points
    assert weight_bytes(net) == 4 * 50 + quantized
    flat = profile(net, torch.zeros(1, 4)).flat()
    assert (flat["weight_bytes"], flat["1.weight_bytes"]) == (4 * 50 + quantized, quantized)
    flat = profile(net, torch.zeros(1, 4), bits={"0.weight": 8, "1.weight": 4}).flat()
    assert flat["0.weight_bytes"] == 40 + 40
    assert flat["1.weight_bytes"] == quantized + 10
    notes = profile(net, torch.zeros(1, 4)).notes
    assert "weight_bytes: some weights are packed in 2 bits" in notes


def test_bad_bits_are_refused() -> None:
    net = nn.Sequential(nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"unknown parameter '0.weigth'; did you mean '0.weight'"):
        weight_metrics(net, {"0.weigth": 4})
    for bad in (-1, 65, 2.5, True):
        with pytest.raises(ValueError, match=r"gives '0.bias' .* bits: give a whole number"):
            profile(net, torch.zeros(1, 4), bits={"0.bias": bad})  # type: ignore[dict-item]
    wrong = Quantized()
    wrong.bits = {"weights": 2}
    with pytest.raises(ValueError, match=r"Quantized.bits: unknown parameter 'weights'"):
        weight_metrics(wrong)
