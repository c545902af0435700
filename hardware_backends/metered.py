"""Counts what is run on a backend: what a machine that is paid for would bill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.sampling import measurement_bases


@dataclass
class Meter:
    """What was run so far; several backends may share one.

    Attributes:
        calls: Grouped calls: jobs, on a queued machine.
        executions: Circuits, each with one setting of its angles and one measurement basis.
        shots: Measurements of all of them; exact values count none.
    """

    calls: int = 0
    executions: int = 0
    shots: int = 0


class Metered(Backend):
    """Another backend, with a `Meter` before it. Values and gradients stay the same.

    A backend with a gradient of its own (``"adjoint"``, ``"backprop"``) runs one circuit where a
    machine would run many shifted ones: train with ``diff_method="parameter-shift"`` to count them.

    Args:
        inner: The backend that runs.
        meter: What counts.

    Example:
        >>> from nisqkit.circuits import hardware_efficient
        >>> from nisqkit.hardware_backends import get_backend
        >>> from nisqkit.qml import QuantumLayer
        >>> meter = Meter()
        >>> backend = Metered(get_backend("native"), meter)
        >>> layer = QuantumLayer(hardware_efficient(2, 1), backend=backend, shots=100, seed=0)
        >>> layer().sum().backward()
        >>> meter  # the circuit itself, and two copies for each of the 4 weights
        Meter(calls=1, executions=9, shots=900)
    """

    def __init__(self, inner: Backend, meter: Meter) -> None:
        self.inner, self.meter = inner, meter
        self.name, self.gradient, self.exact = inner.name, inner.gradient, inner.exact
        self.seeded, self.places = inner.seeded, inner.places

    def __getattr__(self, name: str) -> Any:
        # what some backends have beyond the contract: a device, a transpiler
        if name == "inner":  # not set yet, in a copy that is being made
            raise AttributeError(name)
        return getattr(self.inner, name)

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """Run the tasks, and count them if that succeeds."""
        results = self.inner.run(tasks)
        self.meter.calls += 1
        for task in tasks:
            executions = task.batch * len(measurement_bases(task.observables))
            self.meter.executions += executions
            self.meter.shots += executions * (task.shots or 0)
        return results

    def check(self, task: Task) -> None:
        """As the backend does."""
        self.inner.check(task)

    def random(self, program: Program, shots: int | None) -> bool:
        """As the backend does."""
        return self.inner.random(program, shots)

    def describe(self, program: Program) -> str:
        """As the backend does."""
        return self.inner.describe(program)
