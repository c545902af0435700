"""The backend contract: one required method, which runs a list of tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task


@dataclass(frozen=True, eq=False)
class Result:
    """What a task gave.

    Attributes:
        values: Shape ``(batch, num_outputs)``, in the dtype of the task's inputs.
        std: Standard error of each value, same shape; ``None`` for exact values.
    """

    values: Tensor
    std: Tensor | None = None


class Backend(ABC):
    """Something that executes programs.

    A subclass defines `run` and `name`. `nisqkit.hardware_backends.conformance` is the test that it
    must pass.

    Attributes:
        name: The name users pass as ``backend=``, also in error messages.
        gradient: ``"adjoint"`` or ``"backprop"`` if the exact values that `run` returns carry
            gradients to the task's inputs and weights; ``None`` if gradients need shifted copies.
        exact: Whether tasks with ``shots=None`` can be run.
        seeded: Whether the task's seed decides the shots (a queued machine has no seed).
        places: Whether it runs circuits of a device as they stand (`Task.placement`) and noise at
            other strengths (`Task.noise_scale`).
    """

    name: str
    gradient: str | None = None
    exact: bool = True
    seeded: bool = True
    places: bool = False

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """Run all tasks as one grouped call and return their results in order.

        Args:
            tasks: Every task brings a batch of inputs. With ``shots``, all observables of one
                measurement group share bitstrings, and randomness depends only on the task's seed
                and the sample's place in the batch.
        """

    def check(self, task: Task) -> None:  # noqa: B027 - an optional hook, not an abstract method
        """Raise a ValueError if the task cannot be run here.

        It is called before any work is done or money spent.
        """

    def random(self, program: Program, shots: int | None) -> bool:
        """Whether two runs with different seeds may differ."""
        return shots is not None

    def describe(self, program: Program) -> str:
        """How a program is run, in a few words, where that is not plain from the name."""
        return ""
