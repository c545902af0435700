"""Activation memory against torch's tracker and hand counts."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributed._tools.mem_tracker import MemTracker

from nisqkit.search.profile import profile


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.body = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)
        )
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).relu()
        y = y + self.body(y)
        return self.head(y.mean(dim=(2, 3)))


NETS = [
    (Residual(), torch.zeros(2, 3, 16, 16)),
    (nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 8)), torch.zeros(5, 64)),
    (nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), torch.zeros(3, 7, 16)),
]


@pytest.mark.parametrize(("net", "x"), NETS, ids=["residual", "mlp", "attention"])
def test_the_peak_is_that_of_torchs_tracker(net: nn.Module, x: Tensor) -> None:
    tracker = MemTracker()
    tracker.track_external(net, x)
    with torch.no_grad(), tracker:
        net(x)
    snapshot = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]
    held = sum(p.numel() * p.element_size() for p in net.parameters())
    assert profile(net, x).total("peak_activation_bytes").value == snapshot["Total"] - held


def test_the_peak_by_hand() -> None:
    net, x = nn.Sequential(nn.Linear(4, 100), nn.ReLU(), nn.Linear(100, 2)), torch.zeros(1, 4)
    flat = profile(net, x).flat()
    # the input stays; the ReLU has its input and its output
    assert flat["peak_activation_bytes"] == flat["1.peak_activation_bytes"] == 4 * (4 + 200)
    assert flat["0.peak_activation_bytes"] == 4 * (4 + 100)
    assert flat["2.peak_activation_bytes"] == 4 * (4 + 100 + 2)
    inplace = nn.Sequential(nn.Linear(4, 100), nn.ReLU(inplace=True), nn.Linear(100, 2))
    assert profile(inplace, x).total("peak_activation_bytes").value == 4 * (4 + 100 + 2)


def test_what_is_saved_by_hand() -> None:
    net = nn.Sequential(nn.Linear(4, 100), nn.Sigmoid(), nn.Linear(100, 2))
    flat = profile(net, torch.zeros(3, 4)).flat()
    assert flat["0.saved_for_backward_bytes"] == 4 * 3 * 4  # its input, and no weights
    assert flat["1.saved_for_backward_bytes"] == 4 * 3 * 100  # its output
    assert flat["2.saved_for_backward_bytes"] == 4 * 3 * 100  # its input, which is the same
    assert flat["saved_for_backward_bytes"] == 4 * 3 * (4 + 100)
    net.requires_grad_(False)
    assert profile(net, torch.zeros(3, 4)).total("saved_for_backward_bytes").value == 0


def test_a_frozen_front_saves_nothing() -> None:
    net = nn.Sequential(nn.Linear(4, 100).requires_grad_(False), nn.Sigmoid(), nn.Linear(100, 2))
    flat = profile(net, torch.zeros(3, 4)).flat()
    assert "0.saved_for_backward_bytes" not in flat
    assert flat["saved_for_backward_bytes"] == 4 * 3 * 100
