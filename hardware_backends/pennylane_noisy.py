"""PennyLane's density matrices with the noise of a device or of a noise model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.memory import check_memory
from nisqkit.hardware_backends.pennylane import PennyLaneBackend, Plan, program_angles
from nisqkit.hardware_backends.transpile import Transpiled
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.noise.noisy_program import NoisyProgram
from nisqkit.noise.readout import confuse, through_readout


class PennyLaneNoisyBackend(PennyLaneBackend):
    """Noisy values from PennyLane's ``default.mixed``, in double precision; gradients by backprop.

    The noise is that of `NoisyBackend`, written as PennyLane's channels: a second opinion on small
    circuits, far slower. A batch is one tape (parameter broadcasting); backprop
    keeps every intermediate state. Shots are drawn from exact probabilities, by the task's seed.

    Args:
        noise: A device (its full noise) or a noise model.
        layout: Physical qubits of the logical ones; ``None`` lets Qiskit choose. Only with a
            device.
        optimization_level: Of Qiskit's transpiler, 0 to 3.
        seed: Of Qiskit's transpiler.

    Raises:
        TypeError: Neither a device nor a noise model.
        ValueError: A layout without a device; in `check`, what `transpile_to` and
            `NoiseModel.bind` refuse, or states that do not fit in memory.
        ImportError: PennyLane is not installed.

    Example:
        >>> import torch
        >>> from nisqkit.circuits import angle, lower
        >>> x = torch.zeros(1, 1, dtype=torch.float64)
        >>> task = Task(lower(angle(1), inputs="x"), x, x.new_zeros(0), Observables.parse("Z", 1))
        >>> backend = PennyLaneNoisyBackend(Device.load("fake_santiago"), layout=[0])
        >>> round(backend.run([task])[0].values.item(), 4)  # 1 - 2 P(1|0), and two sx
        0.9868
    """

    def __init__(
        self,
        noise: Device | NoiseModel,
        *,
        layout: Sequence[int] | None = None,
        optimization_level: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__("default.mixed")
        self.gradient = "backprop"
        self.binder = Binder.make(noise, layout, optimization_level, seed)

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        bound = self.binder
        options: dict[str, Any] = {
            "layout": bound.layout,
            "optimization_level": bound.optimization_level,
            "seed": bound.seed,
        }
        return partial(PennyLaneNoisyBackend, bound.model, **options), ()

    def transpile(self, program: Program) -> Transpiled | None:
        """Return the program as the device gets it, without measurements; None without a device."""
        return self.binder.transpile(program)

    def check(self, task: Task) -> None:
        """See the class."""
        for noisy, _ in self.binder.measurements(task.program, task.observables):
            states = len(noisy.operations) * max(1, task.batch)
            check_memory(noisy.num_qubits, 16 * 4**noisy.num_qubits * states, density=True)

    def _exact(self, task: Task) -> Plan:
        parts = [
            self._read(noisy, task, observables)
            for noisy, observables in self.binder.measurements(task.program, task.observables)
        ]
        counts = [len(part.tapes) for part in parts]

        def read(results: list[Any]) -> Any:
            left = iter(results)
            values = [
                part.read([next(left) for _ in range(count)])
                for part, count in zip(parts, counts, strict=True)
            ]
            return sum(values[1:], values[0])

        return Plan([tape for part in parts for tape in part.tapes], read)

    def _outcomes(self, task: Task, basis: str) -> Plan:
        noisy = self.binder.bind(task.program, basis)
        return self._read(noisy, task, Observables(task.program.num_qubits, None))

    def _read(self, noisy: NoisyProgram, task: Task, observables: Observables) -> Plan:
        angles = program_angles(noisy.program, task)
        plan = self._values(noisy, angles, through_readout(observables, noisy))
        if observables.sums is not None:
            return plan
        return Plan(plan.tapes, lambda results: confuse(plan.read(results), noisy))
