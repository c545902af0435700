"""The native engine with noise: exact density matrices, trajectories, or one pattern per sample."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.memory import check_memory
from nisqkit.hardware_backends.native.density import density_bytes, density_values
from nisqkit.hardware_backends.native.trajectories import pattern_values, trajectory_values
from nisqkit.hardware_backends.sampling import draw, estimate, measurement_bases
from nisqkit.hardware_backends.transpile import Transpiled
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.noise.noisy_program import NoisyProgram
from nisqkit.noise.readout import confuse, through_readout

METHODS = ("auto", "density", "trajectories", "patterns")
DENSITY_QUBITS = 7
"""Widest circuit for density matrices, unless they are asked for: a training step of 16 samples
then takes a fraction of a second."""


class NoisyBackend(Backend):
    """Noisy values and their gradients in compiled code on the CPU.

    With a device, the circuit is transpiled for it once, for all angles; gates, rotations into a
    measurement basis and readout are as noisy as its calibration says, and inputs and weights stay
    those of the logical circuit. Up to 7 qubits in use the values are exact (density matrices); for
    wider circuits they are means over random errors (trajectories), unbiased, with their standard
    error, and other errors are drawn in each step.

    With ``method="patterns"`` a sample's values are those of one random error pattern, other ones
    in each step: unbiased, as their gradients are, for a small multiple of the price of a run
    without noise. QuantumNAT trains so, with one pattern for the whole batch (Wang et al., DAC
    2022, arXiv:2110.11331).

    Args:
        noise: A device (its full noise) or a noise model.
        layout: Physical qubits of the logical ones; ``None`` lets Qiskit choose. Only with a
            device.
        optimization_level: Of Qiskit's transpiler, 0 to 3.
        seed: Of Qiskit's transpiler.
        method: ``"density"``, ``"trajectories"``, ``"patterns"``, or ``"auto"``: one of the first
            two, by width.
        runs: Of each sample, in which errors occur, with trajectories.
        threads: Number of threads; default all cores that this process may use.
        shared: Whether all samples of a batch have the same pattern. Only with patterns.
        ideal_encoder: Whether gates before the first one that depends on a weight are exact; see
            `Binder`.

    Raises:
        TypeError: Neither a device nor a noise model.
        ValueError: Unknown ``method``, less than two runs or one thread, ``shared`` without
            patterns, or what `Binder.make` refuses; in `check`, what `Binder.bind` refuses, a state
            that does not fit in memory, other torch devices and dtypes, or shots with trajectories
            or patterns.

    Example:
        >>> from nisqkit.circuits import angle, lower
        >>> x = torch.zeros(1, 1, dtype=torch.float64)
        >>> task = Task(lower(angle(1), inputs="x"), x, x.new_zeros(0), Observables.parse("Z", 1))
        >>> backend = NoisyBackend(Device.load("fake_santiago"), layout=[0])
        >>> round(backend.run([task])[0].values.item(), 4)  # 1 - 2 P(1|0), and two sx
        0.9868
    """

    name = "native"
    gradient = "adjoint"
    places = True

    def __init__(
        self,
        noise: Device | NoiseModel,
        *,
        layout: Sequence[int] | None = None,
        optimization_level: int = 2,
        seed: int = 0,
        method: str = "auto",
        runs: int = 32,
        threads: int | None = None,
        shared: bool = False,
        ideal_encoder: bool = False,
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method is {method!r}: give one of {', '.join(map(repr, METHODS))}")
        if runs < 2:
            raise ValueError(f"runs is {runs}: give at least 2, since one has no standard error")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        if shared and method != "patterns":
            raise ValueError(
                f"shared=True is for method='patterns', not {method!r}: leave it out, or draw "
                "patterns"
            )
        self.binder = Binder.make(noise, layout, optimization_level, seed, ideal_encoder)
        self.method, self.runs, self.threads, self.shared = method, runs, threads, shared

    def __repr__(self) -> str:
        return f"NoisyBackend({self.binder.model.name}, method={self.method!r})"

    def transpile(self, program: Program) -> Transpiled | None:
        """Return the program as the device gets it, without measurements; None without a device.

        With an ideal encoder: what comes after it.
        """
        return self.binder.transpile(program)

    def method_for(self, program: Program) -> str:
        """``"density"``, ``"trajectories"`` or ``"patterns"``."""
        if self.method != "auto":
            return self.method
        return self._by_width(self.binder.bind(program))

    def _method(self, task: Task) -> str:
        if self.method != "auto":
            return self.method
        return self._by_width(self.binder.bind_task(task))

    def _by_width(self, noisy: NoisyProgram) -> str:
        return "trajectories" if noisy.num_qubits > DENSITY_QUBITS else "density"

    def random(self, program: Program, shots: int | None) -> bool:
        """See `Backend.random`; trajectories and patterns draw errors."""
        return shots is not None or self.method_for(program) != "density"

    def describe(self, program: Program) -> str:
        """How a program is run, in a few words."""
        encoder = ", ideal encoder" if self.binder.ideal_encoder else ""
        found = {
            "density": "density matrix",
            "trajectories": f"trajectories, {self.runs} runs",
            "patterns": f"an error pattern per {'batch' if self.shared else 'sample'}",
        }
        return found[self.method_for(program)] + encoder

    def check(self, task: Task) -> None:
        """See the class."""
        if task.inputs.device.type != "cpu":
            raise ValueError(
                f"the native engine runs on the CPU, but the inputs are on {task.inputs.device}; "
                "move the layer to the CPU"
            )
        if task.inputs.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"the native engine computes in float32 or float64, not in {task.inputs.dtype}; "
                "use layer.float() or layer.double()"
            )
        if task.noise_scale != 1:
            self._at(task.noise_scale).check(replace(task, noise_scale=1.0))
            return
        if self._method(task) == "density":
            for noisy in self._programs(task):
                needed = density_bytes(
                    noisy, task.batch, task.inputs.element_size(), self._workers()
                )
                check_memory(noisy.num_qubits, needed, density=True)
            return
        width = max(noisy.num_qubits for noisy in self._programs(task))
        if task.shots is not None:
            patterns = self.method == "patterns"
            gives = "values of random errors" if patterns else "means with a standard error"
            raise ValueError(
                f"{self._method(task)} ({width} qubits in use) give {gives}, not shots: "
                "leave shots out, or use backend='aer'"
            )

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """See `Backend.run`."""
        return [self._run(task) for task in tasks]

    def _run(self, task: Task) -> Result:
        if task.noise_scale != 1:
            return self._at(task.noise_scale)._run(replace(task, noise_scale=1.0))
        method = self._method(task)
        if method == "trajectories":
            return self._trajectories(task)
        if method == "patterns":
            return Result(self._patterns(task))
        if task.shots is None:
            return Result(self._density(task))
        probs = Observables(task.observables.num_qubits, None)
        with torch.no_grad():
            probabilities = [
                self._read(self.binder.bind_task(task, basis), task, probs).double().numpy()
                for basis in measurement_bases(task.observables)
            ]
        return estimate(
            draw(probabilities, task.shots, task.seed), task.observables, task.inputs.dtype
        )

    def _programs(self, task: Task) -> list[NoisyProgram]:
        if task.shots is not None:
            bases = measurement_bases(task.observables)
            return [self.binder.bind_task(task, basis) for basis in bases]
        return [noisy for noisy, _ in self.binder.measure(task)]

    def _at(self, strength: float) -> NoisyBackend:
        """The same with the noise at another strength."""
        other = copy.copy(self)
        other.binder = self.binder.scaled(strength)
        return other

    def _density(self, task: Task) -> Tensor:
        parts = self.binder.measure(task)
        values = [self._read(noisy, task, observables) for noisy, observables in parts]
        return torch.stack(values).sum(dim=0) if len(values) > 1 else values[0]

    def _read(self, noisy: NoisyProgram, task: Task, observables: Observables) -> Tensor:
        there = _before_readout(observables, noisy)
        values = density_values(noisy, task.inputs, task.weights, there, self._workers())
        return values if observables.sums is not None else confuse(values, noisy)

    def _draws(
        self, task: Task
    ) -> Iterator[tuple[NoisyProgram, Observables, tuple[int, int, int]]]:
        """What to run with errors of its own: the program, what is there to measure, the seed."""
        run, step, number = task.seed
        for group, (noisy, observables) in enumerate(self.binder.measure(task)):
            seed = run, step, number + (group << 32)
            yield noisy, _before_readout(observables, noisy), seed

    def _patterns(self, task: Task) -> Tensor:
        values = []
        for noisy, observables, seed in self._draws(task):
            found = pattern_values(
                noisy, task.inputs, task.weights, observables, seed, self._workers(), self.shared
            )
            values.append(found if observables.sums is not None else confuse(found, noisy))
        return sum(values[1:], values[0])

    def _trajectories(self, task: Task) -> Result:
        values, variances = [], []
        for noisy, observables, seed in self._draws(task):
            found, std = trajectory_values(
                noisy, task.inputs, task.weights, observables, self.runs, seed, self._workers()
            )
            if observables.sums is None:
                # the errors of different outcomes are not independent: this is an upper bound
                found, std = confuse(found, noisy), confuse(std, noisy)
            values.append(found)
            variances.append(std**2)
        return Result(sum(values[1:], values[0]), sum(variances[1:], variances[0]).sqrt())

    def _workers(self) -> int:
        if self.threads is None and hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return self.threads or os.cpu_count() or 1


def _before_readout(observables: Observables, noisy: NoisyProgram) -> Observables:
    """`through_readout`, kept with the program."""
    key = through_readout, observables
    if key not in noisy.cache:
        noisy.cache[key] = through_readout(observables, noisy)
    found: Observables = noisy.cache[key]
    return found
