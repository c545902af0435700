"""What error mitigation is worth for a trained model on a device, and what it costs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.execute import execute
from nisqkit.noise.device import Device
from nisqkit.noise.mitigation import (
    ZNE,
    CliffordDataRegression,
    LayerwiseRichardson,
    Mitigator,
    PauliTwirling,
    ReadoutMitigation,
    stack_cost,
)
from nisqkit.noise.mitigation.extrapolation import extrapolate
from nisqkit.noise.mitigation.pec import cancelled, overhead
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.datasets import Split
from nisqkit.qml.evaluation import evaluate, noise_free
from nisqkit.qml.layer import QuantumLayer
from nisqkit.qml.models import quantum_layers, with_backend
from nisqkit.qml.post_measurement_norm import freeze_statistics

STACKS: Mapping[str, tuple[Mitigator, ...]] = {
    "raw": (),
    "ZNE, linear": (ZNE(extrapolation="linear"),),
    "ZNE, Richardson": (ZNE(),),
    "readout": (ReadoutMitigation(),),
    "ZNE, linear + readout": (ZNE(extrapolation="linear"), ReadoutMitigation()),
    "ZNE, Richardson + readout": (ZNE(), ReadoutMitigation()),
    "twirling + ZNE, linear + readout": (
        PauliTwirling(16),
        ZNE(extrapolation="linear"),
        ReadoutMitigation(),
    ),
    "layerwise Richardson + readout": (LayerwiseRichardson(), ReadoutMitigation()),
    "Clifford data regression": (CliffordDataRegression(),),
}
"""What is compared."""


@dataclass(frozen=True)
class MitigationRow:
    """One mitigation on one device.

    Attributes:
        name: Which one.
        error: Mean absolute difference of the last circuit's values from those noise-free, over
            samples and outputs.
        std: Mean standard error of these values; None for exact ones.
        correct: Right answers.
        total: Samples.
        circuits: Executions of circuits per sample, as a multiple of raw ones.
        shots: Of each circuit; None for exact values.
    """

    name: str
    error: float
    std: float | None
    correct: int
    total: int
    circuits: float
    shots: int | None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return asdict(self)


def mitigation_report(
    model: nn.Module,
    split: Split,
    class_names: Sequence[str],
    device: Device,
    *,
    shots: int | None = None,
    freeze_on: Tensor | None = None,
    stacks: Mapping[str, tuple[Mitigator, ...]] = STACKS,
    progress: Callable[[str], None] | None = None,
) -> list[MitigationRow]:
    """Compare mitigations of a classifier on one device.

    Args:
        model: A classifier with quantum layers.
        split: Samples to classify.
        class_names: One per class.
        device: Its full noise.
        shots: Per sample and measurement basis, for all circuits of a mitigation together, so that
            every row spends the same; None: exact values.
        freeze_on: Samples for the statistics of post-measurement normalisation, each time with the
            mitigation at hand.
        stacks: What to compare; the empty one is the raw device.
        progress: Is told the name of what begins.

    Raises:
        ValueError: The model has no quantum layer, or fewer shots than circuits.
    """
    ideal = copy.deepcopy(noise_free(model))
    if freeze_on is not None:
        freeze_statistics(ideal, freeze_on)
    wanted, _, _ = _last_values(ideal, split)
    rows = []
    for name, stack in stacks.items():
        if progress is not None:
            progress(name)
        cost = stack_cost(stack)
        each = None if shots is None else int(shots / cost.shots)
        if each is not None and each < 1:
            raise ValueError(
                f"shots={shots} cannot be divided among the {cost.circuits:g} circuits of {name!r}"
            )
        noisy = with_backend(model, "native", noise=device, shots=each, mitigation=stack)
        if freeze_on is not None:
            freeze_statistics(noisy, freeze_on)
        found, layer, inputs = _last_values(noisy, split)
        result = evaluate(noisy, split, class_names, name)
        std = None
        if shots is not None:
            with torch.no_grad():
                estimated = layer.estimate(inputs).std
            std = None if estimated is None else float(estimated.mean())
        error = float((found - wanted).abs().mean())
        rows.append(
            MitigationRow(
                name,
                error,
                std,
                result.correct,
                result.total,
                cost.circuits,
                None if shots is None else int(shots / cost.circuits),
            )
        )
    return rows


@dataclass(frozen=True)
class CancellationLimit:
    """What probabilistic error cancellation (with readout mitigation) comes to.

    Attributes:
        bias: Mean absolute error of the last circuit's values with infinitely many patterns: what
            the twirl of the noise leaves.
        overhead: By how much it multiplies the standard error of that circuit's values.
    """

    bias: float
    overhead: float


def cancellation_limit(
    model: nn.Module, split: Split, device: Device, freeze_on: Tensor | None = None
) -> CancellationLimit:
    """The bias of `PEC` on a device's full noise, without its statistical error.

    Args:
        model: A classifier with quantum layers.
        split: Samples.
        device: Its full noise.
        freeze_on: As in `mitigation_report`.

    Raises:
        ValueError: A gate whose noise cannot be undone.
    """
    noise = NoiseModel.from_device(device)
    ideal = copy.deepcopy(noise_free(model))
    noisy = with_backend(model, "native", noise=noise)
    placed: list[list[Task]] = []
    for layer in quantum_layers(noisy).values():
        task = layer._task(layer.weights.new_zeros(1, len(layer.program.inputs)))
        placed.append(layer.backend.binder.placed(task))  # type: ignore[attr-defined]
    left = cancelled([task for tasks in placed for task in tasks], noise)
    limit = with_backend(model, "native", noise=left, mitigation=ReadoutMitigation())
    if freeze_on is not None:
        freeze_statistics(ideal, freeze_on)
        freeze_statistics(limit, freeze_on)
    wanted, _, _ = _last_values(ideal, split)
    found, _, _ = _last_values(limit, split)
    return CancellationLimit(
        float((found - wanted).abs().mean()), max(overhead(task, noise) for task in placed[-1])
    )


def _last_values(model: nn.Module, split: Split) -> tuple[Tensor, QuantumLayer, Tensor]:
    """What the last circuit gives, and what it is given."""
    *_, last = quantum_layers(model).values()
    seen: list[tuple[Tensor, Tensor]] = []

    def remember(_: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        seen.append((inputs[0], outputs))

    hook = last.register_forward_hook(remember)
    try:
        model.eval()
        with torch.no_grad():
            model(torch.as_tensor(split.features))
    finally:
        hook.remove()
    inputs, values = seen[-1]
    return values, last, inputs


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """Values of one output at several noise scales, and what is made of them.

    Attributes:
        scales: Noise scales.
        values: One per scale, with readout errors undone.
        noise_free: The true one.
        zero: By extrapolation: the value at scale 0.
    """

    scales: tuple[float, ...]
    values: tuple[float, ...]
    noise_free: float
    zero: Mapping[str, float]


def extrapolations(
    model: nn.Module, features: Tensor, device: Device, count: int = 4
) -> list[Extrapolation]:
    """How the values of the first circuit change with its noise, for a few samples.

    Args:
        model: With quantum layers.
        features: Samples, (N, F).
        device: Its full noise.
        count: How many outputs, one per sample in turn.
    """
    first = next(iter(quantum_layers(model).values()))
    scales = (1.0, 3.0, 5.0)
    noisy = first.with_backend("native", noise=device, mitigation=ReadoutMitigation())
    ideal = first.with_backend("native")
    rows = features[:count].to(first.weights.dtype)
    with torch.no_grad():
        true = ideal(rows)
        task = noisy._task(rows, False)
        (placed,) = noisy.backend.binder.placed(task)  # type: ignore[attr-defined]
        at = ZNE(scales).amplified(placed)
        table = torch.stack([execute([t], noisy.execution)[0].values for t in at])
    found = []
    for k in range(min(count, len(rows))):
        output = k % table.shape[2]
        column = table[:, k, output]
        zero = {
            method: float(extrapolate(scales, column, method=method)[0])
            for method in ("linear", "richardson")
        }
        values = tuple(column.tolist())
        found.append(Extrapolation(scales, values, float(true[k, output]), zero))
    return found
