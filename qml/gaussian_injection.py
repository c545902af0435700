"""Injection of Gaussian noise: into outcomes, or into angles."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Result
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.sampling import generator
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.noise.readout import confuse, through_readout
from nisqkit.qml.injection_base import Injection, State, check_number, noise_of

_NOISE_FREE = Execution("native")


@dataclass(frozen=True)
class InjectOutcomes(Injection):
    """Gaussian noise on the outputs: ``N(mean, (factor * std)**2)`` added to noise-free values.

    Each sample and output has its own number. The circuit runs without noise, so a step costs what
    it costs there. The factor does not change the mean.

    Attributes:
        std: Standard deviation; ``None`` measures it, and the mean with it, per output in the first
            training pass: mean and standard deviation over that batch of what the layer's device
            returns minus the noise-free values. What was measured is in the layer's `state_dict`.
        mean: Mean; 0 if only ``std`` is given.

    Raises:
        ValueError: A factor or ``std`` that is negative or not finite; ``mean`` without ``std``. As
            part of a layer: neither noise nor ``std``, or a first batch of less than two samples.

    Example:
        >>> from nisqkit.circuits import hardware_efficient
        >>> from nisqkit.qml import QuantumLayer
        >>> inject = InjectOutcomes(factor=0.5, std=0.1)
        >>> layer = QuantumLayer(hardware_efficient(2, 1), inject=inject, seed=0)
        >>> bool((layer.train()() - layer.eval()()).abs().max() < 0.3)
        True
    """

    std: float | None = None
    mean: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.std is not None:
            check_number("std", self.std)
        if self.mean is not None and self.std is None:
            raise ValueError(
                f"mean={self.mean} is given without std: give both, or leave both out to have them "
                "measured"
            )
        if self.mean is not None and not math.isfinite(self.mean):
            raise ValueError(f"mean is {self.mean}: give a finite number")

    def state(self, num_outputs: int) -> dict[str, Tensor]:
        """See `Injection.state`."""
        if self.std is not None:
            return {}
        return {
            "outcome_mean": torch.zeros(num_outputs),
            "outcome_std": torch.zeros(num_outputs),
            "outcome_known": torch.tensor(False),
        }

    def check(self, task: Task, execution: Execution) -> None:
        """See `Injection.check`."""
        super().check(task, execution)
        _NOISE_FREE.resolved.check(task)
        if self.std is None:
            noise_of(execution, self, "; or give InjectOutcomes(std=...)")
            execution.resolved.check(task)

    def run(self, task: Task, execution: Execution, state: State) -> Result:
        """See `Injection.run`."""
        clean = execute([task], _NOISE_FREE)[0].values
        mean, std = self._moments(task, execution, clean, state)
        drawn = generator(task.seed, 0, 0).standard_normal(clean.shape)
        return Result(clean + (mean + self.factor * std * torch.from_numpy(drawn).to(clean)))

    def _moments(
        self,
        task: Task,
        execution: Execution,
        clean: Tensor,
        state: State,
    ) -> tuple[Tensor | float, Tensor | float]:
        if self.std is not None:
            return self.mean or 0.0, self.std
        mean, std, known = (state[name] for name in self.state(0))
        assert mean is not None and std is not None and known is not None
        if not known:
            if task.batch < 2:
                raise ValueError(
                    f"the first training batch has {task.batch} samples, and the spread of the "
                    "outcomes is measured over it: begin with at least 2, or give "
                    "InjectOutcomes(std=...)"
                )
            with torch.no_grad():
                error = execute([task], execution)[0].values - clean
                mean.copy_(error.mean(dim=0))
                std.copy_(error.std(dim=0, correction=0))
                known.fill_(True)
        return mean, std


@dataclass(frozen=True)
class InjectAngles(Injection):
    """Gaussian noise on the weights: ``N(0, (factor * std)**2)`` radians, one draw per step.

    The circuit runs without noise at the weights that were drawn, which all samples of a batch
    share.

    Attributes:
        std: Standard deviation in radians.
        readout: Whether qubits are read with the readout errors of the layer's noise, if it has
            any.

    Raises:
        ValueError: A factor or ``std`` that is negative or not finite.

    Example:
        >>> from nisqkit.circuits import hardware_efficient
        >>> from nisqkit.qml import QuantumLayer
        >>> inject = InjectAngles(std=0.05)
        >>> layer = QuantumLayer(hardware_efficient(2, 1), inject=inject, seed=0)
        >>> layer.train()().equal(layer.train()()), layer.eval()().equal(layer.eval()())
        (False, True)
    """

    std: float = 0.05
    readout: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("std", self.std)

    def check(self, task: Task, execution: Execution) -> None:
        """See `Injection.check`."""
        super().check(task, execution)
        _NOISE_FREE.resolved.check(task)

    def run(self, task: Task, execution: Execution, state: State) -> Result:
        """See `Injection.run`."""
        drawn = generator(task.seed, 0, 0).standard_normal(task.weights.shape)
        moved = task.weights + self.factor * self.std * torch.from_numpy(drawn).to(task.weights)
        task = replace(task, weights=moved)
        if execution.noise is None or not self.readout:
            return execute([task], _NOISE_FREE)[0]
        binder = _readout_only(task.program, execution.noise, execution.layout)
        values = []
        for noisy, observables in binder.measurements(task.program, task.observables):
            seen = through_readout(observables, noisy)
            part = replace(task, program=noisy.program, observables=seen)
            found = execute([part], _NOISE_FREE)[0].values
            values.append(found if observables.sums is not None else confuse(found, noisy))
        return Result(torch.stack(values).sum(dim=0) if len(values) > 1 else values[0])


def _readout_only(
    program: Program, noise: Device | NoiseModel, layout: tuple[int, ...] | None
) -> Binder:
    """Noise of the logical circuit: gates are exact, and qubits are read as on the device."""
    key = "readout only", noise, layout
    if key not in program.cache:
        binder = Binder.make(noise, layout)
        transpiled = binder.transpile(program)
        physical = range(program.num_qubits) if transpiled is None else transpiled.layout
        logical = {p: q for q, p in enumerate(physical)}
        program.cache[key] = Binder.make(
            NoiseModel(
                f"readout of {binder.model.name}",
                {},
                ideal={*(use.name for use in program.gates), "measure", "prepare"},
                readout=[
                    c.moved([logical[p] for p in c.qubits])
                    for c in binder.model.readout_of(tuple(physical))
                ],
            )
        )
    found: Binder = program.cache[key]
    return found
