"""Noise injection: what a layer adds while it is trained, so that it survives the device.

A layer with ``inject=`` behaves in training mode as described here, and in evaluation mode as the
device would: exact values under the full noise.

Source: Wang et al., QuantumNAT, DAC 2022 (arXiv:2110.11331), section 3.2. There, errors are drawn
once per step for the whole batch (``shared=True``), encoders are exact (``ideal_encoder=True``) and
the angles of the transpiled circuit are trained (`nisqkit.qml.native_layer`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from nisqkit.circuits.names import unknown
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Result
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.sampling import generator
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.noise.readout import confuse, through_readout

_STREAM = 2**63 + 1
"""Of injected numbers, where `sampling.generator` takes a measurement group."""


@dataclass(frozen=True)
class Injection(ABC):
    """What is injected in training mode.

    Attributes:
        factor: The noise factor T: 0 is no noise, 1 the device's.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.factor < float("inf"):
            raise ValueError(f"factor={self.factor} must be 0 (no noise) or a positive number")

    @abstractmethod
    def run(self, task: Task, execution: Execution, memory: Tensor | None) -> Result:
        """The outputs of a training step.

        Args:
            task: Without shots.
            execution: How the layer is evaluated.
            memory: What `memory` returned once; may be filled in.
        """

    def random(self, program: Program, execution: Execution) -> bool:
        """Whether two steps on the same batch differ."""
        return True

    def memory(self, num_outputs: int) -> Tensor | None:
        """What a layer keeps between steps, in its `state_dict`."""
        return None

    def needs_noise(self) -> bool:
        """Whether it is made from the noise of the layer."""
        return True


@dataclass(frozen=True)
class _OfTheDevice(Injection):
    kind: str = "full"
    ideal_encoder: bool = False
    readout: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("full", "pauli"):
            raise ValueError(f"kind={self.kind!r}: give 'full' or 'pauli'")

    def _execution(self, execution: Execution, method: str, shared: bool = False) -> Execution:
        assert execution.noise is not None
        model = _model(execution.noise, self.kind, self.factor, self.readout)
        return _noisy(model, execution.layout, method, shared, self.ideal_encoder)


@dataclass(frozen=True)
class InjectExact(_OfTheDevice):
    """The mean over all errors, as density matrices: no sampling noise in values and gradients.

    Args:
        factor: The noise factor T; rates and probabilities of the device are multiplied by it.
        kind: ``"full"`` noise of a device, or ``"pauli"``: its Pauli twirl.
        ideal_encoder: The gates before the first trained one are exact; see `Binder`.
        readout: With the readout errors of the device; T does not change them.

    Example:
        >>> InjectExact(factor=0.5)
        InjectExact(factor=0.5, kind='full', ideal_encoder=False, readout=True)
    """

    def run(self, task: Task, execution: Execution, memory: Tensor | None) -> Result:
        """See `Injection.run`."""
        return execute([task], self._execution(execution, "auto"))[0]

    def random(self, program: Program, execution: Execution) -> bool:
        """Wide circuits run as trajectories, which draw errors."""
        return self._execution(execution, "auto").resolved.random(program, None)


@dataclass(frozen=True)
class InjectGates(_OfTheDevice):
    """Random errors behind the gates: one pattern per sample and step, as often as on the device.

    Args:
        factor: The noise factor T; where probabilities would pass 1, they are clipped.
        kind: ``"pauli"``: Pauli errors, the twirl of the device's noise, as published; ``"full"``:
            relaxation, too.
        ideal_encoder: As in `InjectExact`.
        readout: As in `InjectExact`.
        shared: One pattern for the whole batch, as published, instead of one per sample.

    Example:
        >>> InjectGates(factor=1.5).shared
        False
    """

    kind: str = "pauli"
    shared: bool = False

    def run(self, task: Task, execution: Execution, memory: Tensor | None) -> Result:
        """See `Injection.run`."""
        return execute([task], self._execution(execution, "patterns", self.shared))[0]


@dataclass(frozen=True)
class InjectOutcomes(Injection):
    """Normal errors on the measured values: ``y + N(mean, (T std)^2)`` of a noise-free circuit.

    Args:
        factor: The noise factor T.
        std: Standard deviation of the error, for every output; None: measured, per output, in the
            first training step, as that of (value on the device - noise-free value) over the batch.
        mean: Of the error; measured along with ``std``.

    Example:
        >>> InjectOutcomes(std=0.05).needs_noise()
        False
    """

    std: float | None = None
    mean: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.std is not None and not 0 <= self.std < float("inf"):
            raise ValueError(f"std={self.std} must be 0 or a positive number, or None to measure")
        if self.std is None and self.mean != 0:
            raise ValueError(f"mean={self.mean} goes with std=: without, both are measured")

    def needs_noise(self) -> bool:
        """Only to measure it."""
        return self.std is None

    def memory(self, num_outputs: int) -> Tensor | None:
        """Mean and standard deviation per output, NaN until they are measured."""
        return torch.full((2, num_outputs), torch.nan) if self.std is None else None

    def run(self, task: Task, execution: Execution, memory: Tensor | None) -> Result:
        """See `Injection.run`."""
        values = execute([task], Execution())[0].values
        if memory is None:
            assert self.std is not None
            mean, std = values.new_tensor(self.mean), values.new_tensor(self.std)
        else:
            if not memory.isfinite().all():
                memory.copy_(_outcome_errors(task, execution, values.detach()))
            mean, std = memory.to(values)
        return Result(values + mean + self.factor * std * _normal(task, values.shape))


@dataclass(frozen=True)
class InjectAngles(Injection):
    """Normal errors on the trained angles: ``w + N(0, (T std)^2)``, one draw per step.

    Args:
        factor: The noise factor T.
        std: Standard deviation, radians.
        readout: With the readout errors of the layer's device, if it has one.

    Example:
        >>> InjectAngles(std=0.1)
        InjectAngles(factor=1.0, std=0.1, readout=True)
    """

    std: float = 0.05
    readout: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.std < float("inf"):
            raise ValueError(f"std={self.std} must be 0 or a positive number of radians")

    def needs_noise(self) -> bool:
        """Only for the readout."""
        return False

    def run(self, task: Task, execution: Execution, memory: Tensor | None) -> Result:
        """See `Injection.run`."""
        moved = self.factor * self.std * _normal(task, task.weights.shape)
        task = replace(task, weights=task.weights + moved.to(task.weights))
        if self.readout and execution.noise is not None:
            return Result(_read(task, execution.noise, execution.layout))
        return execute([task], Execution())[0]


_BY_NAME: dict[str, type[Injection]] = {
    "gates": InjectGates,
    "exact": InjectExact,
    "outcomes": InjectOutcomes,
    "angles": InjectAngles,
}
KINDS = tuple(_BY_NAME)
"""Names that ``inject=`` takes."""


def get_injection(inject: str | Injection | None, execution: Execution) -> Injection | None:
    """Read ``inject=``.

    Raises:
        ValueError: An unknown name, or no noise to inject.
        TypeError: Something else.
    """
    if inject is None:
        return None
    if isinstance(inject, str):
        if inject not in _BY_NAME:
            raise ValueError(unknown("injection", inject, KINDS))
        inject = _BY_NAME[inject]()
    if not isinstance(inject, Injection):
        raise TypeError(
            f"inject takes one of {', '.join(map(repr, KINDS))}, an Injection such as "
            f"InjectGates(factor=0.5), or None, not {type(inject).__name__}"
        )
    if inject.needs_noise() and execution.noise is None:
        raise ValueError(
            f"{type(inject).__name__} takes its noise from the layer, which has none: give "
            "noise=Device.load(...) or a NoiseModel"
        )
    return inject


def set_noise_factor(model: nn.Module, factor: float) -> None:
    """Set the noise factor T of all layers that inject noise.

    Raises:
        ValueError: The factor is negative or not finite.

    Example:
        >>> from nisqkit.circuits import hardware_efficient
        >>> from nisqkit.qml import QuantumLayer
        >>> layer = QuantumLayer(hardware_efficient(2, 1), inject=InjectAngles())
        >>> set_noise_factor(layer, 0.5)
        >>> layer.injection.factor
        0.5
    """
    for part in model.modules():
        injection = getattr(part, "injection", None)
        if isinstance(injection, Injection):
            part.injection = replace(injection, factor=factor)


@lru_cache(maxsize=64)
def _model(noise: Device | NoiseModel, kind: str, factor: float, readout: bool) -> NoiseModel:
    """The noise to inject; a model is taken as it is, whatever the kind."""
    model = NoiseModel.from_device(noise, kind) if isinstance(noise, Device) else noise
    if factor != 1:
        model = model.scale(factor, clip=True)
    return model if readout else replace(model, readout=(), ideal=model.ideal | {"measure"})


@lru_cache(maxsize=64)
def _noisy(
    model: NoiseModel,
    layout: tuple[int, ...] | None,
    method: str,
    shared: bool,
    ideal_encoder: bool,
) -> Execution:
    # imports and declares the kernels of both noisy engines
    from nisqkit.hardware_backends.native.noisy import NoisyBackend

    backend = NoisyBackend(
        model, layout=layout, method=method, shared=shared, ideal_encoder=ideal_encoder
    )
    return Execution(backend)


def _normal(task: Task, shape: torch.Size) -> Tensor:
    """Standard normal numbers that depend on the task's seed alone."""
    return torch.from_numpy(generator(task.seed, 0, _STREAM).standard_normal(shape)).to(task.inputs)


def _outcome_errors(task: Task, execution: Execution, clean: Tensor) -> Tensor:
    """Mean and standard deviation over the batch of what the device adds to each output."""
    assert execution.noise is not None
    model = _model(execution.noise, "full", 1.0, True)
    with torch.no_grad():
        noisy = execute([task], _noisy(model, execution.layout, "auto", False, False))[0].values
    apart = noisy - clean
    return torch.stack([apart.mean(dim=0), apart.std(dim=0, correction=0)])


def _read(task: Task, noise: Device | NoiseModel, layout: tuple[int, ...] | None) -> Tensor:
    """Noise-free values through the device's readout, of the qubits that hold them at the end."""
    key = "readout alone", noise, layout
    program = task.program
    if key not in program.cache:
        bound = Binder.make(noise, layout).bind(program)
        read = [c.moved([bound.measured.index(q) for q in c.qubits]) for c in bound.readout]
        exact = {use.name for use in program.gates} | {"prepare", "measure"}
        program.cache[key] = NoiseModel("readout", {}, exact, read).bind(program)
    noisy = program.cache[key]
    if task.observables.sums is None:
        return confuse(execute([task], Execution())[0].values, noisy)
    seen: Observables = through_readout(task.observables, noisy)
    return execute([replace(task, observables=seen)], Execution())[0].values
