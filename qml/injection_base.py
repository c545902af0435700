"""The contract of noise injection: what a layer computes in training mode."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Result
from nisqkit.hardware_backends.execute import Execution
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel

State: TypeAlias = Mapping[str, Tensor | None]
"""The buffers of a layer by name; they may be written to."""


@dataclass(frozen=True)
class Injection(ABC):
    """What a `QuantumLayer` computes in training mode, given as ``inject=``.

    In evaluation mode (``layer.eval()``) the layer returns what its device returns, and injection
    plays no part. All kinds run on the native engine and are differentiated by its adjoint method;
    what they draw depends on the layer's seed and on the number of the step alone.

    Source: Wang et al., QuantumNAT, DAC 2022 (arXiv:2110.11331), compares all kinds but the exact
    one.

    Attributes:
        factor: The noise factor T: how much stronger the noise is than the device's, 0 or more.

    Raises:
        ValueError: A factor that is negative or not finite.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        check_number("factor", self.factor)

    def random(self, program: Program, execution: Execution) -> bool:
        """Whether two training passes with different seeds may differ."""
        return True

    def state(self, num_outputs: int) -> dict[str, Tensor]:
        """What the layer has to keep between passes, as it is at the start: buffers by name."""
        return {}

    def check(self, task: Task, execution: Execution) -> None:
        """Raise a ValueError if the task cannot be run with this injection."""
        if task.shots is not None:
            raise ValueError(
                f"inject={type(self).__name__} trains on exact values, and shots={task.shots}: "
                "leave shots out, and evaluate with layer.with_backend(..., shots=...)"
            )
        if execution.mitigators:
            raise ValueError(
                f"inject={type(self).__name__} takes the place of what the layer returns in "
                "training, so that mitigation would play no part: leave one of them out, or "
                "evaluate with layer.with_backend(..., mitigation=...)"
            )
        if execution.diff_method not in ("auto", "adjoint"):
            raise ValueError(
                f"inject={type(self).__name__} is differentiated by the adjoint method, not by "
                f"{execution.diff_method!r}: leave diff_method out"
            )

    @abstractmethod
    def run(self, task: Task, execution: Execution, state: State) -> Result:
        """Values of a training pass, with gradients to the task's inputs and weights.

        Args:
            task: What to run.
            execution: What the layer runs in evaluation mode.
            state: The layer's buffers, with those of `state` among them; they may be written to.
        """


def noise_of(execution: Execution, injection: Injection, instead: str = "") -> Device | NoiseModel:
    """The noise of a layer; an error that says what needs it if there is none."""
    if execution.noise is None:
        raise ValueError(
            f"inject={type(injection).__name__} needs noise: give noise=, a Device or a "
            f"NoiseModel, with the name of a backend{instead}"
        )
    return execution.noise


def check_number(name: str, value: float) -> None:
    """Refuse numbers that are negative or not finite."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}: give a finite number, 0 or more")
