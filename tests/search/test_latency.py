"""Latency: the statistics, and that it sees what takes time."""

import time

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nisqkit.search.latency import latency_metric, torch_threads
from nisqkit.search.profile import profile


class Sleep(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        time.sleep(self.seconds)
        return x + 1


def test_median_and_quartiles_are_numpys() -> None:
    times = np.random.default_rng(0).exponential(size=37)
    found = latency_metric(times.tolist())
    assert found.value == pytest.approx(np.median(times))
    assert found.spread == pytest.approx(np.subtract(*np.percentile(times, [75, 25])))


def test_parts_take_their_time() -> None:
    net = nn.Sequential(Sleep(0.004), nn.Sequential(Sleep(0.002), Sleep(0.002)))
    found = profile(net, torch.zeros(1), latency_runs=5, threads=1)
    flat = found.flat()
    # a busy machine sleeps longer, never shorter
    assert flat["latency_seconds"] >= 0.008
    assert flat["0.latency_seconds"] >= 0.004
    assert flat["1.latency_seconds"] >= flat["1.0.latency_seconds"] + 0.002
    assert found.total("latency_seconds").source == "measured"
    assert found.total("latency_seconds").spread is not None
    assert "latency: median of 5 runs with 1 thread" in found.notes
    # 3 passes to count, twice 1 to warm up and 5 to time
    assert net[0].calls == 15


def test_no_runs_no_latency() -> None:
    assert "latency_seconds" not in profile(nn.ReLU(), torch.zeros(1)).flat()


def test_threads_are_set_for_a_while() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1) as used:
        assert used == torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="threads is 0: give 1 or more"):
        profile(nn.ReLU(), torch.zeros(1), threads=0, latency_runs=3)
    with pytest.raises(ValueError, match="latency_runs is 2: give 3 or more"):
        profile(nn.ReLU(), torch.zeros(1), latency_runs=2)
