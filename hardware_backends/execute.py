"""Execute tasks: the core that layers, VQE, search and mitigation are written on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nisqkit.circuits.names import unknown
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.gradients import SPSA, ParameterShift, parameter_shift, spsa
from nisqkit.hardware_backends.mitigated import check_mitigated, mitigated
from nisqkit.hardware_backends.registry import get_backend
from nisqkit.noise.device import Device
from nisqkit.noise.mitigation.base import Mitigator, check_stack
from nisqkit.noise.model import NoiseModel

DIFF_METHODS = ("auto", "adjoint", "backprop", "parameter-shift", "spsa")


@dataclass(frozen=True)
class Execution:
    """How to evaluate tasks.

    Attributes:
        backend: A name (see `available_backends`), a `Backend`, or a Qiskit V2 estimator or
            sampler.
        noise: The device whose noise the backend simulates, or a noise model.
        diff_method: ``"auto"`` (the backend's own gradient for exact values, else parameter shift),
            ``"adjoint"``, ``"backprop"``, ``"parameter-shift"``, ``"spsa"``, or `SPSA` or
            `ParameterShift` with options.
        layout: The physical qubit of each logical one; ``None`` lets Qiskit choose. Only with noise
            that has a device.
        mitigation: Error mitigation: a `Mitigator`, or several in order.

    Raises:
        ValueError: An unknown backend or method, a backend that does not take this noise or layout,
            a method that it does not offer, or as `check_stack`.
        TypeError: Something in ``mitigation`` is no mitigator.
    """

    backend: str | Backend | Any = "native"
    noise: Device | NoiseModel | None = None
    diff_method: str | SPSA | ParameterShift = "auto"
    layout: tuple[int, ...] | None = None
    mitigation: Mitigator | Sequence[Mitigator] | None = ()

    def __post_init__(self) -> None:
        given = self.mitigation or ()
        stack = (given,) if isinstance(given, Mitigator) else tuple(given)
        check_stack(stack)
        object.__setattr__(self, "mitigation", stack)
        if self.layout is not None:
            object.__setattr__(self, "layout", tuple(self.layout))
        if isinstance(self.diff_method, str) and self.diff_method not in DIFF_METHODS:
            raise ValueError(unknown("diff_method", self.diff_method, DIFF_METHODS))
        own = self.resolved.gradient
        if self.diff_method in ("adjoint", "backprop") and self.diff_method != own:
            offers = f"it offers {own!r}" if own else "it has no gradient of its own"
            raise ValueError(
                f"backend {self.resolved.name!r} does not differentiate by {self.diff_method!r}: "
                f"{offers}; 'parameter-shift' and 'spsa' work everywhere"
            )

    @cached_property
    def resolved(self) -> Backend:
        """The backend object."""
        return get_backend(self.backend, noise=self.noise, layout=self.layout)

    @property
    def mitigators(self) -> tuple[Mitigator, ...]:
        """What ``mitigation`` holds."""
        assert isinstance(self.mitigation, tuple)
        return self.mitigation

    @cached_property
    def plain(self) -> Execution:
        """The same without mitigation, on the same backend object."""
        return Execution(self.resolved, None, self.diff_method)

    def check(self, task: Task) -> None:
        """Raise a ValueError if a task cannot be run, before any work is done."""
        self.resolved.check(task)
        if self.mitigators:
            check_mitigated(task, self.mitigators, self.resolved)


def execute(tasks: Sequence[Task], execution: Execution) -> list[Result]:
    """Run all tasks as one grouped call; gradients flow to every task's inputs and weights.

    Raises:
        ValueError: A task that the backend cannot run, found before any work is done; exact
            gradients asked for together with shots.

    Example:
        >>> import torch
        >>> from nisqkit.circuits import Observables, lower, angle
        >>> program = lower(angle(1), inputs="x")
        >>> x = torch.tensor([[0.0], [torch.pi]])
        >>> task = Task(program, x, torch.zeros(0), Observables.parse(None, 1))
        >>> execute([task], Execution())[0].values
        tensor([[ 1.],
                [-1.]])
    """
    backend = execution.resolved
    for task in tasks:
        if task.shots is None and not backend.exact:
            raise ValueError(
                f"backend {backend.name!r} only samples: give shots=, for example shots=4096"
            )
        if task.ideal:
            raise ValueError(
                "task.ideal is what mitigators ask for, beside noisy tasks: for noise-free values "
                "use an Execution without noise"
            )
        if task.shots is not None and task.shots < 1:
            raise ValueError(f"shots must be at least 1, got {task.shots}; None means exact values")
        execution.check(task)
    if execution.mitigators:
        return mitigated(
            tasks, execution.mitigators, backend, lambda parts: execute(parts, execution.plain)
        )
    method = execution.diff_method
    if isinstance(method, SPSA):
        return spsa(tasks, backend, method)
    if method == "spsa":
        return spsa(tasks, backend, SPSA())
    if isinstance(method, ParameterShift):
        return parameter_shift(tasks, backend, method)
    sampled = any(task.shots is not None for task in tasks)
    if method in ("adjoint", "backprop") and sampled:
        raise ValueError(
            f"diff_method={method!r} needs exact values; with shots use 'parameter-shift' or 'spsa'"
        )
    if method == "parameter-shift" or sampled or backend.gradient is None:
        return parameter_shift(tasks, backend)
    return backend.run(tasks)
