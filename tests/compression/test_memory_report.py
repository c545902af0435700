import pytest
import torch
from rich.console import Console
from torch import nn

from nisqkit.compression.memory_report import memory_report, microcontroller
from nisqkit.search.profile import profile


def net() -> nn.Sequential:
    block = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
    return nn.Sequential(block, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16 * 16, 2))


def test_peaks_by_hand() -> None:
    """What a layer takes, what it gives, and the example, which the caller holds."""
    report = memory_report(net(), torch.zeros(1, 3, 16, 16))
    image, channel = 3 * 256, 256
    peaks = {layer.name: layer.peak_bytes for layer in report.layers}
    assert peaks == {
        "0.0": 4 * (image + 16 * channel),
        "0.1": 4 * (image + 2 * 16 * channel),
        "1": 4 * (image + 16 * channel + 16 * 16),
        "2": 4 * (image + 16 * 16),
        "3": 4 * (image + 16 * 16 + 2),
    }
    assert report.worst.name == "0.1"
    assert report.peak_bytes == peaks["0.1"]
    assert report.weight_bytes == 4 * (16 * 27 + 16 + 2 * 256 + 2)
    assert [layer.weight_bytes for layer in report.layers] == [1792, 0, 0, 0, 2056]


def test_bits() -> None:
    model, x = net(), torch.zeros(1, 3, 16, 16)
    eight = memory_report(model, x, activation_bits=8, bits={"3.weight": 4})
    assert 4 * eight.peak_bytes == memory_report(model, x).peak_bytes
    assert eight.layers[-1].weight_bytes == 256 + 8
    assert memory_report(model.double(), x.double(), activation_bits=8).peak_bytes == (
        eight.peak_bytes
    )


def test_devices() -> None:
    small, large = microcontroller("256kB"), microcontroller("stm32f746")
    assert (small.sram_bytes, small.flash_bytes) == (262_144, 1_048_576)
    assert (large.sram_bytes, large.flash_bytes) == (327_680, 1_048_576)
    # (3 + 2 x 16) x 88 x 88 bytes are 271 040: between the two
    report = memory_report(
        nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU()), torch.zeros(1, 3, 88, 88), activation_bits=8
    )
    assert report.peak_bytes == 271_040
    assert report.fits(large) and not report.fits(small)
    wide = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
    metrics = profile(wide, torch.zeros(1, 3, 64, 64)).flat()
    # (3 + 32) x 64 x 64 floats are 573 440 bytes, 245 760 too many
    excess = [budget.excess(metrics) for budget in large.budgets()]
    assert excess[0] == 245_760
    assert excess[1] <= 0


def test_table() -> None:
    report = memory_report(net(), torch.zeros(1, 3, 16, 16))
    console = Console(width=100)
    with console.capture() as capture:
        console.print(report.table(microcontroller("256kB")))
    text = capture.get()
    assert "35,840 B (14%)" in text  # of 262 144
    assert "total" in text


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="no preset 'stm32f764'; did you mean 'stm32f746'"):
        microcontroller("stm32f764")
    with pytest.raises(ValueError, match="activation_bits=0: give 1 or more"):
        memory_report(net(), torch.zeros(1, 3, 16, 16), activation_bits=0)
    with pytest.raises(ValueError, match="ReLU has no floating-point weights"):
        memory_report(nn.ReLU(), torch.zeros(1, 3))
