"""Schedules of the noise factor."""

from __future__ import annotations

import numpy as np
import pytest

from nisqkit.qml.noise_schedule import SCHEDULES, noise_factor

PROGRESS = np.linspace(0, 1, 401)


@pytest.mark.parametrize(
    ("schedule", "curve"),
    [
        ("constant", lambda p: 1.5 + 0 * p),
        ("linear", lambda p: 1.5 * p),
        ("cosine-up", lambda p: 1.5 * np.sin(np.pi * p / 2) ** 2),
        ("cosine-down", lambda p: 1.5 * np.cos(np.pi * p / 2) ** 2),
    ],
)
def test_a_schedule_follows_its_curve_in_few_steps(schedule: str, curve) -> None:  # type: ignore[no-untyped-def]
    found = np.array([noise_factor(schedule, 1.5, p) for p in PROGRESS])
    assert len(set(found)) <= 21
    assert np.abs(found - curve(PROGRESS)).max() < 1.5 * np.pi / 2 / 40 + 1e-9  # half a step
    np.testing.assert_allclose(found[[0, -1]], curve(PROGRESS[[0, -1]]), atol=1e-12)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'cosine-up'"):
        noise_factor("cosine_up", 1.0, 0.5)
    assert "constant" in SCHEDULES
