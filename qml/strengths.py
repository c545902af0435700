"""A model on a noisy device, as a function of the strength of each cause of noise."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy, mse_loss

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.execute import Execution
from nisqkit.hardware_backends.native.density import density_values, strength_gradients
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.noise.noisy_program import NoiseUse, NoisyProgram
from nisqkit.noise.readout import confuse, through_readout
from nisqkit.qml.layer import QuantumLayer
from nisqkit.qml.models import quantum_layers

MAX_QUBITS = 8
"""Widest circuit: its density matrix has ``4**n`` numbers per sample."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""``(outputs, y) -> one number``."""


@dataclass(frozen=True)
class Score:
    """How good a model is on some samples.

    Attributes:
        loss: The loss.
        accuracy: Share of right answers; None if the targets are no class labels.
    """

    loss: float
    accuracy: float | None


class NoisyModel:
    """A model with data and noise: its loss at any strength of each cause.

    Everything is computed in float64, in evaluation mode, and exactly: shots, and the backends that
    the layers were made with, do not count. The model itself is left as it is.

    Args:
        model: A `QuantumLayer`, or a module with some; what is classical in it stays.
        x: What the model is called with; ``None`` for a layer without inputs.
        y: Class labels (integers, shape ``(samples,)``), or targets in the shape of the outputs.
        noise: The device (its full noise) or noise model; ``None`` for what the layers have.
        loss: ``(outputs, y) -> one number``; by default the cross entropy for class labels, and
            else the mean squared error.
        layout: Physical qubits of the logical ones, as in `NoisyBackend`.
        idle: Whether waiting qubits decohere too.

    Attributes:
        causes: The causes of noise, as `NoisyProgram.causes`. With several quantum layers, the name
            of the layer is in front: ``"0: cx 0-1"``.
        layers: The quantum layers by name; ``""`` is the model itself.

    Raises:
        ValueError: No quantum layer; no noise; ``y`` that does not fit; a circuit that is too wide;
            an error so large that it has no rate; what `transpile_to` and `NoiseModel.bind` refuse.
        TypeError: As `Binder.make`.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor | None,
        y: Tensor,
        *,
        noise: Device | NoiseModel | None = None,
        loss: Loss | None = None,
        layout: Sequence[int] | None = None,
        idle: bool = False,
    ) -> None:
        given = quantum_layers(model)
        if not given:
            raise ValueError(
                f"the model ({type(model).__name__}) has no QuantumLayer, so noise changes nothing"
            )
        # programs and backends are shared with the model: what is worked out for them is kept
        shared = [part for layer in given.values() for part in (layer.program, layer.execution)]
        copied = copy.deepcopy(model, {id(part): part for part in shared})
        self.model = copied.to("cpu", torch.float64).eval().requires_grad_(False)
        self.layers = quantum_layers(self.model)
        self.binders: dict[str, Binder] = {}
        self._backends: dict[str, _StrengthBackend] = {}
        for name, layer in self.layers.items():
            self.binders[name] = _binder(given[name], noise, layout, idle)
            prefix = f"{name}: " if len(given) > 1 else ""
            self._backends[name] = _StrengthBackend(self.binders[name], prefix)
            layer.execution, layer.shots = Execution(self._backends[name]), None
        self.causes = tuple(
            cause
            for name, layer in self.layers.items()
            for cause in self._backends[name].causes(layer.program, layer.observables)
        )
        self.x = None if x is None else _float64(torch.as_tensor(x))
        self.y = _float64(torch.as_tensor(y))
        self.labelled = not self.y.is_floating_point() and self.y.dim() == 1
        self._loss = loss or (cross_entropy if self.labelled else mse_loss)
        with torch.no_grad():
            self._check(self.outputs(), standard=loss is None)

    def _check(self, outputs: Tensor, standard: bool) -> None:
        shapes = f"the outputs have shape {tuple(outputs.shape)} and y {tuple(self.y.shape)}"
        if self.labelled and (outputs.dim() != 2 or len(outputs) != len(self.y)):
            raise ValueError(f"{shapes}: integer y are class labels, one for each row of outputs")
        if self.labelled and not 0 <= int(self.y.min()) <= int(self.y.max()) < outputs.shape[1]:
            raise ValueError(
                f"y has labels from {int(self.y.min())} to {int(self.y.max())}, and there are "
                f"{outputs.shape[1]} outputs: give labels from 0 to {outputs.shape[1] - 1}, or "
                "the whole model, with what comes after the layer"
            )
        if standard and not self.labelled and outputs.shape != self.y.shape:
            raise ValueError(f"{shapes}: give y in the shape of the outputs, or loss=")
        self._of(outputs)

    @property
    def noise(self) -> NoiseModel:
        """The noise of the first layer."""
        return next(iter(self.binders.values())).model

    @property
    def layouts(self) -> dict[str, tuple[int, ...]]:
        """The physical qubit that each logical qubit starts on, by layer; none without a device."""
        found = {}
        for name, layer in self.layers.items():
            if (transpiled := self.binders[name].transpile(layer.program)) is not None:
                found[name] = transpiled.initial_layout
        return found

    def outputs(self, strengths: Mapping[str, Tensor] | None = None) -> Tensor:
        """Outputs of the model; causes that are not named have strength 1."""
        for backend in self._backends.values():
            backend.strengths = strengths or {}
        found: Tensor = self.model() if self.x is None else self.model(self.x)
        return found

    def loss(self, strengths: Mapping[str, Tensor] | None = None) -> Tensor:
        """The loss, differentiable by the strengths (numbers in float64)."""
        return self._of(self.outputs(strengths))

    def _of(self, outputs: Tensor) -> Tensor:
        found = self._loss(outputs, self.y)
        if not isinstance(found, Tensor) or found.numel() != 1:
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found)
            raise ValueError(f"loss(outputs, y) gave {what}: it must give a tensor of one number")
        return found.reshape(())

    def score(self, strengths: Mapping[str, float] | None = None) -> Score:
        """Loss and accuracy; causes that are not named have strength 1."""
        at = {c: torch.tensor(t, dtype=torch.float64) for c, t in (strengths or {}).items()}
        with torch.no_grad():
            outputs = self.outputs(at)
            accuracy = None
            if self.labelled:
                accuracy = float((outputs.argmax(dim=1) == self.y).double().mean())
            return Score(float(self._of(outputs)), accuracy)

    def slopes(self, strength: float) -> tuple[float, ...]:
        """Derivatives of the loss by the strength of each of `causes`, all of them at one."""
        one = torch.full((len(self.causes),), strength, dtype=torch.float64, requires_grad=True)
        loss = self.loss(dict(zip(self.causes, one, strict=True)))
        if not loss.requires_grad:  # nothing is noisy
            return (0.0,) * len(self.causes)
        (found,) = torch.autograd.grad(loss, one)
        return tuple(found.tolist())

    @contextmanager
    def changed(
        self, name: str, *, program: Program | None = None, binder: Binder | None = None
    ) -> Iterator[None]:
        """For a while, one layer has another program, or its own is bound otherwise."""
        layer = self.layers[name]
        kept = layer.program, layer.execution
        layer.program = program or layer.program
        if binder is not None:
            layer.execution = Execution(_StrengthBackend(binder, ""))
        try:
            yield
        finally:
            layer.program, layer.execution = kept

    @contextmanager
    def noise_free(self) -> Iterator[None]:
        """For a while, there is no noise, and nothing is transpiled."""
        kept = {layer: layer.execution for layer in self.layers.values()}
        for layer in kept:
            layer.execution = Execution("native")
        try:
            yield
        finally:
            for layer, execution in kept.items():
                layer.execution = execution


class _StrengthBackend(Backend):
    """Exact noisy values, with gradients to inputs and to the strengths."""

    name = "native"
    gradient = "adjoint"

    def __init__(self, binder: Binder, prefix: str) -> None:
        self.binder, self.prefix = binder, prefix
        self.strengths: Mapping[str, Tensor] = {}
        self.workers = (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ) or 1

    def causes(self, program: Program, observables: Observables) -> tuple[str, ...]:
        """All causes of a program, with the prefix; refuses what has no budget."""
        found: dict[str, None] = {}
        for noisy, _ in self.binder.measurements(program, observables):
            if noisy.num_qubits > MAX_QUBITS:
                raise ValueError(
                    f"the circuit has {noisy.num_qubits} qubits in use on {noisy.model.name}, and "
                    f"the error budget needs exact density matrices, which it has up to "
                    f"{MAX_QUBITS} qubits: use a narrower circuit, or a layout= of neighbouring "
                    "qubits"
                )
            _check_rates(noisy)
            found.update(dict.fromkeys(self.prefix + cause for cause in noisy.causes))
        return tuple(found)

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """See `Backend.run`."""
        return [Result(self._values(task)) for task in tasks]

    def _values(self, task: Task) -> Tensor:
        values = []
        for noisy, observables in self.binder.measurements(task.program, task.observables):
            own = [self.strengths.get(self.prefix + cause) for cause in noisy.causes]
            one = torch.ones((), dtype=torch.float64)
            strengths = torch.stack([one, *(one if t is None else t for t in own)])[1:]
            values.append(strength_values(noisy, task, observables, strengths, self.workers))
        return torch.stack(values).sum(dim=0)


def strength_values(
    noisy: NoisyProgram, task: Task, observables: Observables, strengths: Tensor, workers: int
) -> Tensor:
    """Exact values as they are read, with gradients to the inputs and to the strengths.

    Args:
        noisy: The noisy program.
        task: For the inputs and weights.
        observables: On the logical qubits.
        strengths: One for each of ``noisy.causes``.
        workers: Number of threads.
    """
    inputs, weights = task.inputs, task.weights.detach()
    at = dict(zip(noisy.causes, strengths.tolist(), strict=True))
    there = noisy if all(t == 1 for t in at.values()) else noisy.at_strength(at)
    readers = {-1: there}
    if strengths.requires_grad:
        # What is read is linear in each confusion, so that its derivative by the strength of one is
        # the difference between all of that and none.
        read = {noisy.readout_cause(c) for c in noisy.readout}
        for k, cause in enumerate(noisy.causes):
            if cause in read:
                readers[2 * k] = _only_readout(noisy, at | {cause: 0.0})
                readers[2 * k + 1] = _only_readout(noisy, at | {cause: 1.0})
    seen: dict[int, Observables] = {}
    strings: tuple[str, ...] = ()
    if observables.sums is None:
        state = Observables(noisy.num_qubits, None)
    else:
        seen = {key: through_readout(observables, reader) for key, reader in readers.items()}
        strings = tuple(dict.fromkeys(s for found in seen.values() for s in found.strings))
        state = Observables(noisy.num_qubits, tuple(((s, 1.0),) for s in strings))
    expected = density_values(there, inputs, weights, state, workers)
    if strengths.requires_grad:
        expected = expected + _Slopes.apply(  # type: ignore[no-untyped-call]
            strengths, noisy, inputs.detach(), weights, state, at, workers
        )

    def read_by(key: int, values: Tensor) -> Tensor:
        if observables.sums is None:
            return confuse(values, readers[key])
        return values @ torch.from_numpy(_coefficients(seen[key], strings)).to(values).T

    values = read_by(-1, expected)
    for k in range(len(noisy.causes)):
        if 2 * k in readers:  # adds zero, and the derivative
            slope = read_by(2 * k + 1, expected.detach()) - read_by(2 * k, expected.detach())
            values = values + (strengths[k] - strengths[k].detach()) * slope
    return values


def _only_readout(noisy: NoisyProgram, strengths: Mapping[str, float]) -> NoisyProgram:
    """The readout at some strengths; the channels do not matter."""
    bare = replace(noisy, operations=())
    return bare.at_strength({cause: strengths[cause] for cause in bare.causes})


def _coefficients(observables: Observables, strings: tuple[str, ...]) -> np.ndarray[Any, Any]:
    place = [strings.index(s) for s in observables.strings]
    found = np.zeros((observables.num_outputs, len(strings)))
    found[:, place] = observables.coefficients
    return found


class _Slopes(torch.autograd.Function):
    """Zero, with the derivatives of the values by the strengths of the channels."""

    @staticmethod
    def forward(
        ctx: Any,
        strengths: Tensor,
        noisy: NoisyProgram,
        inputs: Tensor,
        weights: Tensor,
        observables: Observables,
        at: dict[str, float],
        workers: int,
    ) -> Tensor:
        ctx.given = noisy, inputs, weights, observables, at, workers
        return inputs.new_zeros(len(inputs), observables.num_outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        noisy, inputs, weights, observables, at, workers = ctx.given
        found = strength_gradients(
            noisy, inputs, weights, observables, grad.contiguous(), at, workers
        )
        slopes = torch.tensor([found.get(c, 0.0) for c in noisy.causes], dtype=torch.float64)
        return (slopes, *[None] * 6)


def _float64(values: Tensor) -> Tensor:
    """On the CPU; integers and booleans as 64-bit integers."""
    values = values.detach().cpu()
    return values.double() if values.is_floating_point() else values.long()


def _binder(
    layer: QuantumLayer,
    noise: Device | NoiseModel | None,
    layout: Sequence[int] | None,
    idle: bool,
) -> Binder:
    """Where a layer runs: on what is given, or as it is."""
    backend = layer.backend
    if noise is not None:
        binder = Binder.make(noise, layout)
    elif isinstance(own := getattr(backend, "binder", None), Binder):
        binder = own
    elif (device := layer.execution.noise or getattr(backend, "device", None)) is not None:
        options = ("layout", "optimization_level", "seed")
        binder = Binder.make(device, *(getattr(backend, name) for name in options))
    else:
        raise ValueError(
            "the layer has no noise, so there is nothing to account for: give noise=, for example "
            "noise=Device.load('fake_santiago')"
        )
    if layout is not None and noise is None:
        binder = Binder.make(binder.model, layout, binder.optimization_level, binder.seed)
    if not idle or binder.model.idle is not None:
        return binder
    model = binder.model
    if model.device is None or model.kind == "custom":
        raise ValueError(
            f"idle=True needs the durations of a device, and {model.name!r} is a noise model of "
            "its own: give a Device, or a NoiseModel with idle="
        )
    waiting = NoiseModel.from_device(model.device, model.kind, idle=True)
    if waiting.gates != model.gates or waiting.readout != model.readout:
        raise ValueError(
            f"idle=True would put the noise of {model.device.name} as it is in the place of "
            f"{model.name!r}: give NoiseModel.from_device(device, idle=True).scale(...)"
        )
    return replace(binder, model=waiting)


def _check_rates(noisy: NoisyProgram) -> None:
    for use in noisy.operations:
        if not isinstance(use, NoiseUse) or use.channel.kind in ("pauli", "general"):
            continue
        if use.channel.parameters[0] >= 1:
            raise ValueError(
                f"{use.cause} on {noisy.model.name} leaves nothing of the state ({use.channel}), "
                "so that it has no rate to integrate along: choose a layout without it"
            )
