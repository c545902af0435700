"""The noise factor T over the course of a training run."""

from __future__ import annotations

from math import cos, pi

from nisqkit.circuits.names import unknown

SCHEDULES = ("constant", "linear", "cosine-up", "cosine-down")
_LEVELS = 20


def noise_factor(schedule: str, peak: float, progress: float) -> float:
    """The noise factor at some point of training.

    It takes at most 21 different values, since the engine plans the noisy circuit anew for each.

    Args:
        schedule: ``"constant"``; ``"linear"`` from 0 to the peak; ``"cosine-up"`` the same along
            half a cosine; ``"cosine-down"`` from the peak to 0.
        peak: The largest factor.
        progress: From 0 at the beginning to 1 at the end.

    Raises:
        ValueError: An unknown schedule.

    Example:
        >>> [noise_factor("linear", 2.0, p) for p in (0.0, 0.24, 1.0)]
        [0.0, 0.5, 2.0]
    """
    if schedule not in SCHEDULES:
        raise ValueError(unknown("noise schedule", schedule, SCHEDULES))
    step = round(progress * _LEVELS) / _LEVELS
    share = {
        "constant": 1.0,
        "linear": step,
        "cosine-up": (1 - cos(pi * step)) / 2,
        "cosine-down": (1 + cos(pi * step)) / 2,
    }[schedule]
    return peak * share
