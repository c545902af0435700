"""How a `QuantumLayer` describes itself to `nisqkit.search.profile`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nisqkit.hardware_backends.circuit_profile import profile_circuit
from nisqkit.hardware_backends.gradients import SPSA
from nisqkit.noise.device import Device
from nisqkit.search.profile import Profile
from nisqkit.search.weight_bytes import weight_metrics

if TYPE_CHECKING:
    from nisqkit.qml.layer import QuantumLayer


def profile_layer(
    layer: QuantumLayer,
    example: Tensor | None = None,
    *,
    device: Device | None = None,
    layout: Sequence[int] | None = None,
    shots: int | None = None,
    **options: Any,
) -> Profile:
    """Profile a layer's circuit as the layer runs it; see `profile_circuit` for the metrics.

    Args:
        layer: The layer.
        example: Its input; the numbers are for this many samples. If it requires a gradient, a
            training step differentiates the inputs too, as an encoder before the circuit needs.
            Default one sample without.
        device: Default the device of the layer's noise, if it has one.
        layout: Default that of the layer, on its own device.
        shots: Default those of the layer.
        options: As in `profile_circuit`.

    Raises:
        ValueError: As `profile_circuit`.
        TypeError: An option that it does not have.

    Example:
        >>> from nisqkit.circuits import angle, hardware_efficient
        >>> from nisqkit.qml import QuantumLayer
        >>> layer = QuantumLayer(angle(4).compose(hardware_efficient(4, layers=3)), inputs="x")
        >>> found = profile_layer(layer, torch.zeros(64, 4))
        >>> found.total("executions_per_step.parameter_shift").value
        3136
        >>> found.total("parameters").value
        24
    """
    noise = layer.execution.noise
    own = noise if isinstance(noise, Device) else getattr(noise, "device", None)
    if layout is None and device in (None, own):
        layout = layer.execution.layout
    method = layer.execution.diff_method
    if isinstance(method, SPSA):
        options.setdefault("spsa_samples", method.samples)
    rows = 1 if example is None else example.shape[:-1].numel()
    options.setdefault("train_inputs", example is not None and example.requires_grad)
    options.setdefault("train_weights", layer.weights.requires_grad)
    options.setdefault("mitigation", layer.execution.mitigators)
    found = profile_circuit(
        layer.program,
        device or own,
        layout,
        observables=layer.observables,
        batch=rows,
        shots=shots or layer.shots,
        double=layer.weights.dtype == torch.float64,
        name="QuantumLayer",
        **options,
    )
    metrics = weight_metrics(layer) | dict(found.metrics)
    return Profile(found.name, "quantum", metrics, (), found.notes, "QuantumLayer")
