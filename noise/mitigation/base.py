"""The contract of error mitigation: mitigators yield tasks, receive results, return better ones.

A mitigator never runs anything. ``[A, B, C]`` wraps the executor one after another, as functions
around functions: C is asked first and yields tasks, each of which B is asked for, and so on down to
the backend. So ``[PauliTwirling(16), ZNE(), ReadoutMitigation()]`` folds circuits and twirls the
folded ones. All tasks that are open at a time are one call of the backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from nisqkit.circuits.task import Task

from ..model import NoiseModel


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a task gave, or is thought to give.

    Attributes:
        values: Shape ``(batch, num_outputs)``.
        std: Standard error of each value, or ``None`` if it is exact or not known.
    """

    values: Tensor
    std: Tensor | None = None


Round: TypeAlias = Generator[list[Task], list[Estimate], Estimate]
"""Yields the tasks of a round, is sent their results, and returns the mitigated result."""


@dataclass(frozen=True)
class Cost:
    """What mitigation multiplies.

    Attributes:
        circuits: Executions of circuits per sample.
        shots: Measurements in all.

    Example:
        >>> Cost(3, 3) * Cost(16, 16)
        Cost(circuits=48, shots=48)
    """

    circuits: float = 1
    shots: float = 1

    def __mul__(self, other: Cost) -> Cost:
        return Cost(self.circuits * other.circuits, self.shots * other.shots)


class Mitigator(ABC):
    """One method of error mitigation.

    Where the backend has a device, tasks come as circuits of that device, one per measurement basis
    (`Task.placement`), and must stay in its gates; else as they were given.

    Attributes:
        differentiable: Whether gradients flow through it.
        rank: Where it may stand in a list: ranks must not fall (see `check_stack`), and there is at
            most one mitigator of rank 2 or 4. 0: changes circuits. 1: takes probabilities as they
            were measured. 2: estimates values without noise. 3: may stand anywhere, but not behind
            4. 4: as 2, and must be the last.
    """

    differentiable: bool = True
    rank: int = 3

    @abstractmethod
    def run(self, task: Task, model: NoiseModel | None) -> Round:
        """Mitigate one task.

        Args:
            task: What is to be known.
            model: The noise that the backend simulates or has, if that is known.
        """

    @abstractmethod
    def cost(self) -> Cost:
        """What it multiplies; known before anything runs."""

    def check(self, task: Task, model: NoiseModel | None) -> None:  # noqa: B027 - an optional hook
        """Raise a ValueError if the task cannot be mitigated so; called before anything runs."""


def stack_cost(mitigators: Sequence[Mitigator]) -> Cost:
    """What a list of mitigators multiplies together.

    Example:
        >>> from nisqkit.noise.mitigation import ZNE, ReadoutMitigation
        >>> stack_cost([ZNE(scale_factors=(1, 3, 5)), ReadoutMitigation()])
        Cost(circuits=3, shots=3)
    """
    total = Cost()
    for mitigator in mitigators:
        total = total * mitigator.cost()
    return total


def check_stack(mitigators: Sequence[Mitigator]) -> None:
    """Refuse lists whose order makes no sense.

    Raises:
        ValueError: Something is no mitigator or stands twice, two methods estimate values without
            noise, or one that adds gates stands behind one that amplifies noise.
        TypeError: Something is no mitigator.
    """
    last: Mitigator | None = None
    for mitigator in mitigators:
        if not isinstance(mitigator, Mitigator):
            raise TypeError(
                f"mitigation takes mitigators such as ZNE(), not {type(mitigator).__name__}"
            )
        name = type(mitigator).__name__
        if last is not None and last.rank == 4:
            raise ValueError(
                f"mitigation has {name} behind {type(last).__name__}, which compares with values "
                f"that are computed without noise, so that {name} would undo errors which these do "
                f"not have: put {type(last).__name__} last"
            )
        if sum(type(m) is type(mitigator) for m in mitigators) > 1:
            raise ValueError(f"mitigation lists {name} twice: once is what it does")
        if mitigator.rank == 3:
            continue
        if last is not None and last.rank == 2 and mitigator.rank in (2, 4):
            raise ValueError(
                f"mitigation has {type(last).__name__} and {name}, which both estimate values "
                "without noise: the second would see none. Choose one"
            )
        if last is not None and mitigator.rank < last.rank:
            why = (
                f"the gates which {name} adds would be taken for the circuit's own, and have their "
                "noise amplified or removed along with it"
                if mitigator.rank == 0
                else f"what is extrapolated would come to {name} in the place of measured "
                "probabilities"
            )
            raise ValueError(
                f"mitigation has {name} behind {type(last).__name__}, so that {why}: put {name} "
                "first"
            )
        last = mitigator


def of_part(task: Task, part: int) -> tuple[int, int, int]:
    """The seed of the ``part``-th task that a mitigator makes of one.

    Example:
        >>> from nisqkit.circuits import Observables, Task, angle, lower
        >>> import torch
        >>> z, x = Observables.parse("Z", 1), torch.zeros(1, 1)
        >>> task = Task(lower(angle(1), "x"), x, torch.zeros(0), z, seed=(7, 1, 0))
        >>> of_part(task, 0), of_part(task, 1)
        ((7, 1, 1), (7, 1, 2))
    """
    run, step, number = task.seed
    return run, step, (number * 1021 + part + 1) % 2**32
