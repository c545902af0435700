"""Schedules of the noise factor, and how a model is given one."""

import numpy as np
import pytest
import torch
from torch import nn

from nisqkit.circuits import hardware_efficient
from nisqkit.qml import InjectAngles, QuantumLayer, set_noise_factor
from nisqkit.qml.noise_schedule import SCHEDULES, noise_factor

CURVES = {
    "constant": lambda u: 1.0,
    "linear": lambda u: u,
    "cosine-up": lambda u: np.sin(np.pi * u / 2) ** 2,
    "cosine-down": lambda u: np.cos(np.pi * u / 2) ** 2,
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_follow_their_curves_in_twenty_steps(schedule: str) -> None:
    progress = np.linspace(0, 1, 1001)
    found = np.array([noise_factor(schedule, 1.5, u) for u in progress])
    wanted = 1.5 * np.array([CURVES[schedule](u) for u in progress])
    # the steepest curve climbs by pi / 2 per unit, and progress is rounded by up to 1 / 38
    assert abs(found - wanted).max() <= 1.5 * np.pi / 2 / 38 + 1e-12
    np.testing.assert_allclose(found[[0, -1]], wanted[[0, -1]], atol=1e-12)
    assert len(set(found.tolist())) == (1 if schedule == "constant" else 20)


def test_bad_schedules() -> None:
    with pytest.raises(ValueError, match="unknown noise schedule 'cosine'"):
        noise_factor("cosine", 1.0, 0.5)
    for progress in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"progress is .*: give a number from 0 to 1"):
            noise_factor("linear", 1.0, progress)


def test_every_injecting_layer_of_a_model_gets_the_factor() -> None:
    circuit = hardware_efficient(2, 1)
    plain, one, two = (
        QuantumLayer(circuit, inject=inject, seed=0)
        for inject in (None, InjectAngles(std=0.2), "angles")
    )
    set_noise_factor(nn.ModuleList([plain, nn.Sequential(one), nn.Tanh(), two]), 0.5)
    assert plain.injection is None
    assert one.injection == InjectAngles(0.5, std=0.2)
    assert two.injection == InjectAngles(0.5)


def test_factors_that_cannot_be_set() -> None:
    layer = QuantumLayer(hardware_efficient(2, 1), inject="angles", seed=0)
    with pytest.raises(ValueError, match="factor is -1: give a finite number, 0 or more"):
        set_noise_factor(layer, -1)
    with pytest.raises(ValueError, match="no layer of the model injects noise"):
        set_noise_factor(nn.Sequential(layer.with_backend("native")), 1.0)
    assert torch.isfinite(layer()).all()
