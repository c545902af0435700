"""Multiply-adds against hand counts and torch's own counter, with the traps of such counters."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from nisqkit.search.metric import Metric
from nisqkit.search.profile import profile


def macs(module: nn.Module, example: Any) -> float:
    found = profile(module, example)
    assert found.total("macs").source == "exact", found.all_notes()
    return found.total("macs").value


def torch_flops(run: Callable[[], object]) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return counter.get_total_flops()


class Apply(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Tensor:
        return self.function(*args)


def test_a_network_by_hand_and_by_torch() -> None:
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, stride=2), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        *(nn.LayerNorm(16), nn.Linear(16, 10), nn.Softmax(dim=1)),
    )
    x = torch.zeros(2, 3, 16, 16)
    by_hand = 2 * (16 * 16 * 8 * 3 * 9 + 3 * 3 * 16 * 8 * 9 + 16 * 10)  # biases are no products
    assert macs(net, x) == by_hand == torch_flops(lambda: net(x)) / 2


@pytest.mark.parametrize("groups", [1, 4, 16])
def test_grouped_convolutions_have_no_backward_pass_to_overcount(groups: int) -> None:
    conv, x = nn.Conv2d(16, 16, 3, groups=groups), torch.zeros(1, 16, 8, 8)
    assert macs(conv, x) == 6 * 6 * 16 * (16 // groups) * 9
    # the trap: with both passes torch's counter gives 3 times that, and more with groups
    both = torch_flops(lambda: conv(x.requires_grad_()).sum().backward()) / 2
    assert (both == 3 * macs(conv, x)) == (groups == 1)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_fast_path_of_transformers_is_not_zero(frozen: bool) -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    layer.requires_grad_(not frozen)
    x = torch.zeros(1, 5, 16)
    attention = 2 * 2 * 5 * 5 * 8  # scores and their products with the values, of 2 heads
    assert macs(layer, x) == 5 * 4 * 16 * 16 + attention + 5 * 2 * 16 * 32
    with torch.no_grad():
        assert torch_flops(lambda: layer(x)) == 0  # the trap
    assert torch.backends.mha.get_fastpath_enabled()


def test_complex_products_are_four_real_ones() -> None:
    a = torch.zeros(3, 4, dtype=torch.complex64)
    b = torch.zeros(4, 5, dtype=torch.complex64)
    assert macs(Apply(torch.matmul), (a, b)) == 4 * 3 * 4 * 5
    assert torch_flops(lambda: a @ b) == 2 * 3 * 4 * 5  # the trap


def test_recurrent_networks_are_seen_through() -> None:
    lstm, x = nn.LSTM(4, 8), torch.zeros(5, 1, 4)
    assert macs(lstm, x) == 5 * (4 * 32 + 8 * 32)
    with torch.no_grad():
        assert torch_flops(lambda: lstm(x)) == 0  # the trap
    assert torch._C._get_mkldnn_enabled()


def test_products_without_a_formula_of_torch() -> None:
    matrix, vector = torch.zeros(3, 4), torch.zeros(4)
    assert macs(Apply(torch.mv), (matrix, vector)) == 12
    assert macs(Apply(torch.dot), (vector, vector)) == 4
    assert macs(Apply(torch.addmv), (torch.zeros(3), matrix, vector)) == 12
    bilinear = Apply(lambda a, b: torch.einsum("bi,bj->bij", a, b))
    assert macs(bilinear, (torch.zeros(2, 3), torch.zeros(2, 5))) in (0, 30)  # a product or none


def test_inference_mode_counts_as_much() -> None:
    net, x = nn.Linear(8, 4), torch.zeros(2, 8)
    with torch.inference_mode():
        assert macs(net, x) == 64


def test_what_is_not_known_is_said_and_not_counted_as_zero() -> None:
    x = torch.zeros(1, 8)
    unknown = Apply(lambda x: torch.linalg.inv_ex(x.T @ x + torch.eye(8))[0])
    found = profile(unknown, x)
    assert found.total("macs") == Metric(64, source="estimated")
    assert "macs are a lower bound: there is no formula for aten.linalg_inv_ex" in found.notes
    net = nn.Sequential(nn.Linear(8, 8), Apply(lambda x: torch.fft.fft(x).real))
    found = profile(net, x)
    assert "1.macs" not in found.flat()
    assert found.total("macs").value == 64
    assert any("_fft_r2c" in note and "not known" in note for note in found.all_notes())


def test_custom_operations_bring_their_formula() -> None:
    @torch.library.custom_op("nisqkit_test::triple", mutates_args=())
    def triple(x: Tensor) -> Tensor:
        return 3 * x

    assert any("triple" in note for note in profile(Apply(triple), torch.zeros(7)).notes)
    register_flop_formula(torch.ops.nisqkit_test.triple)(lambda shape, **_: 6 * shape[0])
    assert macs(Apply(triple), torch.zeros(7)) == 21


# --- products with zero weights ---


def half(layer: nn.Linear | nn.Conv2d) -> None:
    with torch.no_grad():
        layer.weight.view(-1)[::2] = 0


def nonzero(net: nn.Module, x: Tensor) -> tuple[float, float]:
    found = profile(net, x)
    return found.total("macs").value, found.total("nonzero_macs").value


def test_zero_weights_are_left_out_and_zero_activations_are_not() -> None:
    linear, conv = nn.Linear(8, 4), nn.Conv2d(2, 4, 3)
    half(linear)
    half(conv)
    assert nonzero(linear, torch.zeros(3, 8)) == (96, 48)
    assert nonzero(conv, torch.zeros(1, 2, 5, 5)) == (648, 324)
    assert nonzero(nn.Linear(8, 4, bias=False), torch.zeros(1, 8)) == (32, 32)


def test_masks_count_however_they_are_applied() -> None:
    pruned = nn.Linear(8, 4)
    prune.l1_unstructured(pruned, "weight", amount=0.75)
    assert nonzero(pruned, torch.zeros(1, 8)) == (32, 8)

    class Mask(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", (torch.arange(32) < 4).view(4, 8).float())

        def forward(self, weight: Tensor) -> Tensor:
            return weight * self.get_buffer("mask")

    masked = nn.Sequential(nn.ReLU(), nn.Linear(8, 4))
    parametrize.register_parametrization(masked[1], "weight", Mask())
    assert nonzero(masked, torch.zeros(1, 8)) == (32, 4)
