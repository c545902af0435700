"""Layers and trained models on IBM's machines: what that costs, and how good they are there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nisqkit.circuits.names import unknown
from nisqkit.hardware_backends.base import Result
from nisqkit.hardware_backends.ibm.backend import IBMBackend
from nisqkit.hardware_backends.ibm.plan import Plan, Recorder, make_plan
from nisqkit.noise.mitigation import ZNE, Mitigator, PauliTwirling, ReadoutMitigation
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.datasets import Dataset, Split
from nisqkit.qml.evaluation import calibrated, evaluate, limited, logits, noise_free, on_device
from nisqkit.qml.layer import QuantumLayer
from nisqkit.qml.metrics import Evaluation
from nisqkit.qml.models import quantum_layers, with_backend
from nisqkit.qml.post_measurement_norm import freeze_statistics, frozen_norms

MITIGATIONS: dict[str, Callable[[], Mitigator]] = {
    "twirling": lambda: PauliTwirling(16),
    "zne": lambda: ZNE(extrapolation="linear"),
    "readout": ReadoutMitigation,
    "readout-calibrated": lambda: ReadoutMitigation(source="calibration"),
}
"""What ``--mitigation`` takes; all of it is nisqkit's own and acts on fakes and machines alike."""

_REDRAWS = 500


def mitigation_stack(names: Sequence[str]) -> tuple[Mitigator, ...]:
    """Mitigators by name, in the order in which they are given.

    Raises:
        ValueError: An unknown name.

    Example:
        >>> [type(m).__name__ for m in mitigation_stack(["zne", "readout"])]
        ['ZNE', 'ReadoutMitigation']
    """
    for name in names:
        if name not in MITIGATIONS:
            raise ValueError(unknown("mitigation", name, MITIGATIONS))
    return tuple(MITIGATIONS[name]() for name in names)


def plan_layer(
    layer: QuantumLayer,
    x: Tensor | int = 1,
    *,
    train: bool = True,
    inputs: bool = False,
    steps: int = 1,
) -> Plan:
    """What steps of a layer on an IBM backend send and cost; nothing is sent.

    The jobs are those that `forward` (and `backward`) would send: the same code makes them.

    Args:
        layer: On an IBM backend, with shots.
        x: A batch of inputs, or how many samples it has.
        train: Whether the weights' gradient is wanted.
        inputs: Whether that of the inputs is wanted, too: something before the layer is trained.
        steps: How many such steps; calibration circuits are counted once.

    Raises:
        ValueError: Another backend, no shots, or numbers below 1.

    Example:
        >>> from nisqkit.circuits import angle, hardware_efficient
        >>> circuit = angle(2).compose(hardware_efficient(2, layers=1))
        >>> layer = QuantumLayer(circuit, inputs="x", backend="ibm:fake_manila", shots=4096)
        >>> plan = layer.plan(4)  # a training step of 4 samples, 4 weights
        >>> plan.jobs, plan.pubs, plan.circuits
        (1, 1, 36)
    """
    backend = layer.backend
    if not isinstance(backend, IBMBackend):
        raise ValueError(
            f"a plan is of jobs on IBM's machines, and this layer is on {backend.name!r}: use "
            'layer.with_backend("ibm:...", shots=4096).plan(...)'
        )
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    if isinstance(x, int):
        if x < 1:
            raise ValueError(f"a batch of {x} samples: give at least 1")
        width = len(layer.program.inputs)
        x = torch.full((x, width), 0.5, dtype=layer.weights.dtype)
    recorder = Recorder(backend)
    twin = layer.with_backend(
        recorder,
        shots=layer.shots,
        diff_method=layer.execution.diff_method,
        mitigation=copy.deepcopy(layer.execution.mitigators),
    )
    parts = []
    rows = x.detach().to(layer.weights.dtype).requires_grad_(inputs)
    for _ in range(min(steps, 2)):
        recorder.recorded = []
        with torch.set_grad_enabled(train or inputs):
            twin.estimate(rows)
        parts.append(recorder.recorded)
    task = twin._task(rows.detach().reshape(-1, rows.shape[-1])[:1])
    return make_plan(backend, task, parts[0], parts[-1], steps)


@dataclass(frozen=True)
class OnHardware:
    """A model on a machine, under one mitigation.

    Attributes:
        evaluation: Of the test samples.
        shot_interval: Where 95 % of accuracies lie if all shots of the last circuit are drawn
            again (its values moved by their standard errors, 500 times). The other interval,
            `Evaluation.interval`, is for other samples.
        std: Mean standard error of the last circuit's values.
        error: Mean absolute difference of these values from noise-free ones.
    """

    evaluation: Evaluation
    shot_interval: tuple[float, float]
    std: float
    error: float

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        found = {
            "accuracy_interval_95_shots": list(self.shot_interval),
            "mean_standard_error": self.std,
            "mean_error_of_values": self.error,
        }
        return self.evaluation.to_dict() | found


def plan_evaluation(
    model: nn.Module,
    dataset: Dataset,
    backend: IBMBackend,
    stacks: Sequence[Sequence[Mitigator]],
    *,
    shots: int,
    limit: int | None = None,
) -> Plan:
    """What `evaluate_on_hardware` would send for all these mitigations; nothing is sent."""
    recorder = Recorder(backend)
    split = limited(dataset.test, limit)
    prepared = _prepared(model, dataset, backend)
    for stack in stacks:
        logits(_moved(prepared, recorder, shots, copy.deepcopy(tuple(stack))), split.features)
    layer = next(iter(quantum_layers(model).values()))
    task = layer._task(layer.weights.detach().new_full((1, len(layer.program.inputs)), 0.5))
    return make_plan(backend, task, recorder.recorded, [], 1)


def evaluate_on_hardware(
    model: nn.Module,
    dataset: Dataset,
    backend: IBMBackend,
    mitigation: Sequence[Mitigator] = (),
    *,
    shots: int,
    limit: int | None = None,
    condition: str = "",
) -> OnHardware:
    """Evaluate a classifier's test split on a machine.

    Each circuit of the model is one call: all samples in as few jobs as go. Post-measurement
    normalisation takes its statistics from the validation split under the machine's simulated noise
    of this moment, which costs no QPU time.

    Args:
        model: A classifier with quantum layers; it is left as it is.
        dataset: Its data.
        backend: The machine.
        mitigation: Mitigators in order.
        shots: Of each circuit.
        limit: Use this many test samples only, evenly spaced.
        condition: What to call the result.

    Raises:
        ValueError: No quantum layer, or what the backend refuses.
    """
    split = limited(dataset.test, limit)
    moved = _moved(_prepared(model, dataset, backend), backend, shots, tuple(mitigation))
    recorded = _record(moved)
    result = evaluate(moved, split, dataset.class_names, condition or backend.name)
    result = Evaluation(**{**vars(result), "shots": shots})
    last = recorded[-1]
    std = torch.cat([one.std for one in last.results if one.std is not None])
    values = torch.cat([one.values for one in last.results])
    ideal = calibrated(noise_free(model), dataset.valid)
    wanted = _record(ideal := copy.deepcopy(ideal))[-1]
    logits(ideal, split.features)
    exact = torch.cat([one.values for one in wanted.results])
    return OnHardware(
        result,
        _shot_interval(moved, recorded, split),
        float(std.mean()) if len(std) else float("nan"),
        float((values - exact).abs().mean()),
    )


def layout_on(config: TrainConfig, backend: str) -> tuple[int, ...] | None:
    """The qubits of a run, if they are those of this machine or of the fake of it.

    Example:
        >>> config = TrainConfig(devices=("fake_manila",), layout=(2, 1, 3, 4))
        >>> layout_on(config, "ibm:ibm_manila"), layout_on(config, "ibm:fake_lima")
        ((2, 1, 3, 4), None)
    """
    machine = backend.removeprefix("ibm:")
    for name in (machine, f"fake_{machine.removeprefix('ibm_')}"):
        if name in config.layouts:
            return config.layouts[name]
    return None


class _Recorded(nn.Module):
    """A layer that remembers what it gave, or gives it again, moved by its standard error."""

    def __init__(self, layer: QuantumLayer) -> None:
        super().__init__()
        self.layer = layer
        self.weights = layer.weights  # the same parameter, for those that look for it (bits)
        self.results: list[Result] = []
        self.replay: int | None = None
        self.random: torch.Generator | None = None

    def forward(self, x: Tensor | None = None) -> Tensor:
        if self.replay is None:
            result = self.layer.estimate(x)
            self.results.append(result)
            return result.values
        result = self.results[self.replay]
        self.replay += 1
        if self.random is None or result.std is None:
            return result.values
        noise = torch.randn(result.values.shape, generator=self.random, dtype=result.values.dtype)
        return result.values + result.std * noise


def _record(model: nn.Module) -> list[_Recorded]:
    """Put a recorder around every quantum layer of a model, in place."""
    found: dict[nn.Module, _Recorded] = {}
    for name, layer in quantum_layers(model).items():
        if name == "":
            raise ValueError("wrap the layer: torch.nn.Sequential(layer)")
        recorded = found.setdefault(layer, _Recorded(layer))
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, recorded)
    return list(found.values())


def _shot_interval(
    model: nn.Module, recorded: Sequence[_Recorded], split: Split
) -> tuple[float, float]:
    recorded[-1].random = torch.Generator().manual_seed(0)
    accuracies = []
    for _ in range(_REDRAWS):
        for layer in recorded:
            layer.replay = 0
        predictions = logits(model, split.features).argmax(dim=1).numpy()
        accuracies.append(float((predictions == split.labels).mean()))
    low, high = np.quantile(accuracies, [0.025, 0.975])
    return float(low), float(high)


def _prepared(model: nn.Module, dataset: Dataset, backend: IBMBackend) -> nn.Module:
    """The model with its normalisation's statistics under the machine's simulated noise."""
    if not quantum_layers(model):
        raise ValueError(
            f"the model ({type(model).__name__}) has no QuantumLayer, so there is nothing to run "
            f"on {backend.name}"
        )
    if not frozen_norms(model):
        return model
    simulated = on_device(model, backend.device)
    freeze_statistics(simulated, dataset.valid.features)
    return simulated


def _moved(
    model: nn.Module, backend: IBMBackend, shots: int, mitigation: tuple[Mitigator, ...]
) -> nn.Module:
    anything: Any = backend  # `with_backend` names backends, and hands objects on
    return with_backend(model, anything, shots=shots, mitigation=mitigation)
