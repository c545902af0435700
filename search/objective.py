"""What a search optimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Direction = Literal["minimize", "maximize"]
Cost = Literal["static", "cheap", "expensive"]


@dataclass(frozen=True)
class Objective:
    """A metric to minimise or maximise.

    Attributes:
        metric: its name.
        direction: "minimize" or "maximize".
        cost: "static" if `Problem.measure` returns it, which needs no simulation; "cheap" or
            "expensive" if `Problem.evaluate` does. The last two differ only in reports: a search
            of static and cheap objectives alone is one to rehearse with.

    Raises:
        ValueError: any other direction or cost.

    Example:
        >>> Objective("accuracy", direction="maximize").loss(0.75)
        -0.75
    """

    metric: str
    direction: Direction = "minimize"
    cost: Cost = "expensive"

    def __post_init__(self) -> None:
        for name, given, allowed in (
            ("direction", self.direction, get_args(Direction)),
            ("cost", self.cost, get_args(Cost)),
        ):
            if given not in allowed:
                raise ValueError(
                    f"objective {self.metric!r}: {name} is {given!r}, but must be one of {allowed}"
                )

    def loss(self, value: float) -> float:
        """The value as something to minimise."""
        return value if self.direction == "minimize" else -value
