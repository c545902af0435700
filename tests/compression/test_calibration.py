import copy
from typing import Any

import pytest
import torch
from torch import nn

from nisqkit.compression.calibration import measure_statistics
from nisqkit.qml.post_measurement_norm import PostMeasurementNorm, freeze_statistics

X = 3 + 2 * torch.randn(40, 2, 6, 6, generator=torch.Generator().manual_seed(0))


def test_one_norm_has_the_statistics_of_torchs_own_training() -> None:
    mine: Any = nn.BatchNorm2d(2)
    theirs: Any = nn.BatchNorm2d(2, momentum=None)
    assert measure_statistics(mine, X) == 1
    theirs.train()(X)
    assert torch.allclose(mine.running_mean, theirs.running_mean, atol=1e-5)
    assert torch.allclose(mine.running_var, theirs.running_var, rtol=1e-5)
    assert mine.training


def test_deep_norms_see_what_they_will_see() -> None:
    """After calibration, evaluation gives every norm inputs with its own mean and variance."""
    torch.manual_seed(0)
    net: Any = nn.Sequential(
        *(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)),
    )
    measure_statistics(net, X)
    net.eval()
    arriving = net[:4](X)
    assert torch.allclose(net[4].running_mean, arriving.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(net(X).mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(net(X).var((0, 2, 3)), torch.ones(3), atol=1e-3)


def test_the_norm_after_a_measurement() -> None:
    torch.manual_seed(0)
    mine = nn.Sequential(nn.Linear(3, 2), PostMeasurementNorm(2), nn.Linear(2, 2))
    theirs = copy.deepcopy(mine)
    x = torch.randn(20, 3)
    assert measure_statistics(mine, x) == 1
    freeze_statistics(theirs, x)
    for name, value in theirs.state_dict().items():
        assert torch.allclose(mine.state_dict()[name].float(), value.float(), atol=1e-7), name


def test_norms_with_other_statistics_are_left_alone() -> None:
    batch = PostMeasurementNorm(2, statistics="batch")
    assert measure_statistics(batch, torch.randn(5, 2)) == 0
    assert not batch.known
    assert measure_statistics(nn.BatchNorm1d(2, track_running_stats=False), torch.randn(5, 2)) == 0


def test_too_few_samples() -> None:
    with pytest.raises(ValueError, match="BatchNorm1d saw 1 value per channel, too few"):
        measure_statistics(nn.BatchNorm1d(2), torch.zeros(1, 2))


def test_a_norm_in_two_places() -> None:
    norm = nn.BatchNorm1d(2)
    with pytest.raises(ValueError, match="BatchNorm1d is called twice in one pass"):
        measure_statistics(nn.Sequential(norm, nn.Linear(2, 2), norm), torch.randn(5, 2))
