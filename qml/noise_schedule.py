"""How strong injected noise is over the course of training."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import nn

from nisqkit.circuits.names import unknown
from nisqkit.qml.layer import QuantumLayer

SCHEDULES = ("constant", "linear", "cosine-up", "cosine-down")
"""What `noise_factor` takes."""

_VALUES = 20


def noise_factor(schedule: str, peak: float, progress: float) -> float:
    """The noise factor T at a point of training.

    With ``u = progress``: ``"constant"`` is the peak; ``"linear"`` is ``peak * u``; ``"cosine-up"``
    is ``peak * (1 - cos(pi u)) / 2``; ``"cosine-down"`` is ``peak * (1 + cos(pi u)) / 2``.

    ``u`` is rounded to one of 20 values: for every other noise factor the engine builds a new plan
    of the circuit, so that a run builds at most 20 of them, however many epochs it has.

    Args:
        schedule: One of `SCHEDULES`.
        peak: The largest value.
        progress: From 0 at the start of training to 1 in its last epoch.

    Raises:
        ValueError: An unknown schedule, or a progress that is not in [0, 1].

    Example:
        >>> [round(noise_factor("cosine-up", 1.5, epoch / 4), 2) for epoch in range(5)]
        [0.0, 0.24, 0.81, 1.26, 1.5]
    """
    if schedule not in SCHEDULES:
        raise ValueError(unknown("noise schedule", schedule, SCHEDULES))
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is {progress}: give a number from 0 to 1")
    u = round(progress * (_VALUES - 1)) / (_VALUES - 1)
    if schedule == "constant":
        return peak
    if schedule == "linear":
        return peak * u
    sign = -1 if schedule == "cosine-up" else 1
    return peak * (1 + sign * math.cos(math.pi * u)) / 2


def set_noise_factor(model: nn.Module, factor: float) -> None:
    """Give the injection of every layer of a model another noise factor.

    Args:
        model: A `QuantumLayer` or a module with some; layers without injection stay as they are.
        factor: The noise factor T, 0 or more.

    Raises:
        ValueError: No layer has an injection, or the factor is negative or not finite.

    Example:
        >>> from nisqkit.circuits import hardware_efficient
        >>> layer = QuantumLayer(hardware_efficient(2, 1), inject="angles", seed=0)
        >>> set_noise_factor(nn.Sequential(layer), 0.5)
        >>> layer.injection
        InjectAngles(factor=0.5, std=0.05, readout=True)
    """
    found = False
    for layer in model.modules():
        if isinstance(layer, QuantumLayer) and layer.injection is not None:
            layer.injection = replace(layer.injection, factor=factor)
            found = True
    if not found:
        raise ValueError(
            "no layer of the model injects noise, so a noise factor would change nothing: make "
            "the layers with inject="
        )
