"""Evaluate a classifier: noise-free, and on noisy devices."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nisqkit.noise.device import Device
from nisqkit.qml.datasets import Dataset, Split
from nisqkit.qml.metrics import Evaluation
from nisqkit.qml.models import kept_layout, quantum_layers, with_backend
from nisqkit.qml.post_measurement_norm import freeze_statistics, frozen_norms

BATCH = 512
NOISE_FREE = "noise-free"


def logits(model: nn.Module, features: NDArray[np.float32] | Tensor) -> Tensor:
    """Run a model in evaluation mode, in batches and without gradients.

    Args:
        model: maps ``(batch, F)`` to ``(batch, num_classes)``; left in its mode.
        features: shape ``(N, F)``.

    Returns:
        Shape ``(N, num_classes)``.

    Example:
        >>> logits(nn.Linear(2, 3), torch.zeros(5, 2)).shape
        torch.Size([5, 3])
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            parts = torch.split(torch.as_tensor(features), BATCH)
            return torch.cat([model(part) for part in parts])
    finally:
        model.train(training)


def evaluate(
    model: nn.Module, split: Split, class_names: Sequence[str], condition: str = NOISE_FREE
) -> Evaluation:
    """Evaluate a model on one split, as it is.

    Args:
        model: maps features to one logit per class.
        split: features and labels.
        class_names: one name per class.
        condition: what to call the result.

    Example:
        >>> split = Split(np.eye(2, dtype=np.float32), np.array([0, 1]))
        >>> evaluate(nn.Identity(), split, ("a", "b")).accuracy
        1.0
    """
    scores = logits(model, split.features)
    loss = float(cross_entropy(scores.double(), torch.as_tensor(split.labels)))
    predictions = scores.argmax(dim=1).numpy()
    return Evaluation.from_predictions(condition, split.labels, predictions, loss, class_names)


def evaluate_everywhere(
    model: nn.Module,
    dataset: Dataset,
    devices: Sequence[Device] = (),
    *,
    shots: int | None = None,
    limit: int | None = None,
    backend: str | None = None,
    layouts: Mapping[str, Sequence[int]] | None = None,
) -> Iterator[Evaluation]:
    """Evaluate on the test split: noise-free first, then on each device.

    Post-measurement normalisation takes its statistics from the validation split, each time under
    the noise of the evaluation (`freeze_statistics`).

    Args:
        model: a classifier; wherever it was trained, noise-free means exact and without a device.
        dataset: whose test split is used.
        devices: noisy devices.
        shots: measurements per circuit on devices; None: exact noisy expectation values.
        limit: use this many test samples only, evenly spaced over the split.
        backend: on devices; None: as in `on_device`.
        layouts: by the name of a device, its qubit for each qubit of the circuits.

    Raises:
        ValueError: devices for a model without a `QuantumLayer`, a device that the circuit does
            not fit on, or a limit below 1.

    Example:
        >>> from nisqkit.qml import load_dataset
        >>> from nisqkit.qml.models import classifier
        >>> results = evaluate_everywhere(classifier(16, 4, seed=0), load_dataset("digits4"))
        >>> [result.condition for result in results]
        ['noise-free']
    """
    split = limited(dataset.test, limit)
    places = layouts or {}
    noisy = [on_device(model, d, shots, backend, places.get(d.name)) for d in devices]
    yield evaluate(calibrated(noise_free(model), dataset.valid), split, dataset.class_names)
    for device, moved in zip(devices, noisy, strict=True):
        freeze_statistics(moved, dataset.valid.features)  # a copy already
        yield replace(evaluate(moved, split, dataset.class_names, device.name), shots=shots)


def calibrated(model: nn.Module, valid: Split) -> nn.Module:
    """The model as it is evaluated where it stands: with statistics from the validation split.

    Args:
        model: any module; it is left as it is, and returned if it has no `PostMeasurementNorm`
            with frozen statistics.
        valid: the validation split.
    """
    if not frozen_norms(model):
        return model
    result = copy.deepcopy(model)
    freeze_statistics(result, valid.features)
    return result


def on_device(
    model: nn.Module,
    device: Device,
    shots: int | None = None,
    backend: str | None = None,
    layout: Sequence[int] | None = None,
) -> nn.Module:
    """The model with the full noise of a device.

    Args:
        model: any module with quantum layers; it is left as it is.
        device: the device.
        shots: measurements per circuit; None: exact noisy expectation values.
        backend: such as ``"aer"``; None: density matrices of the native engine, or Aer where a
            circuit is too wide for these.
        layout: the device's qubit for each qubit of the circuits; None: as in `with_backend`.

    Raises:
        ValueError: no `QuantumLayer`, or a circuit that does not fit on the device.
    """
    if backend is not None:
        return with_backend(model, backend, noise=device, shots=shots, layout=layout)
    # imports and declares the kernels of both noisy engines
    from nisqkit.hardware_backends.native.noisy import NoisyBackend

    exact = all(
        NoisyBackend(device, layout=layout or kept_layout(layer, device)).method_for(layer.program)
        == "density"
        for layer in quantum_layers(model).values()
    )
    chosen = "native" if exact else "aer"
    return with_backend(model, chosen, noise=device, shots=shots, layout=layout)


def noise_free(model: nn.Module) -> nn.Module:
    """The model without device noise and shots; itself if it has neither."""
    layers = quantum_layers(model).values()
    if any(layer.execution.noise is not None or layer.shots is not None for layer in layers):
        return with_backend(model, "native")
    return model


def limited(split: Split, limit: int | None) -> Split:
    """At most so many samples of a split, evenly spaced over it.

    Raises:
        ValueError: A limit below 1.

    Example:
        >>> split = Split(np.eye(4, dtype=np.float32), np.arange(4))
        >>> limited(split, 2).labels.tolist()
        [0, 3]
    """
    if limit is None or limit >= len(split):
        return split
    if limit < 1:
        raise ValueError(f"limit={limit} must be at least 1 (None: all {len(split)} test samples)")
    # Evenly spaced, since the first rows of an official test set can be easier than the rest.
    rows = np.linspace(0, len(split) - 1, limit).round().astype(int)
    return Split(split.features[rows], split.labels[rows])
