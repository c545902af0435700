"""Hard limits on static metrics, checked before anything is simulated."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nisqkit.search.names import nearest

FACTORS = {"": 1.0, "k": 1e3, "M": 1e6}


@dataclass(frozen=True)
class Budget:
    """A metric may not be above `max`, or not below `min`.

    Attributes:
        metric: name of a static metric, in whatever unit the metric has.
        max: the largest value allowed, or None.
        min: the smallest value allowed, or None.

    Raises:
        ValueError: neither `max` nor `min`, or no finite number.

    Example:
        >>> Budget("two_qubit_gates", max=40).excess({"two_qubit_gates": 43})
        3.0
    """

    metric: str
    max: float | None = None
    min: float | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.max, self.min) if limit is not None]
        if not limits or not all(math.isfinite(limit) for limit in limits):
            raise ValueError(
                f"Budget({self.metric!r}, max={self.max}, min={self.min}): give a finite max, or "
                "min, or both"
            )

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``metric<=number`` or ``metric>=number``; k is 1000 and M a million.

        Raises:
            ValueError: any other text.

        Example:
            >>> Budget.parse("weight_bytes<=8k")
            Budget(metric='weight_bytes', max=8000.0, min=None)
        """
        match = re.fullmatch(r"\s*([^<>=\s]+)\s*(<=|>=)\s*([-+.\deE]+?)\s*([kM]?)\s*", text)
        try:
            if match is None:
                raise ValueError
            limit = float(match[3]) * FACTORS[match[4]]
        except ValueError:
            raise ValueError(
                f"budget {text!r}: expected metric<=number or metric>=number, such as "
                "two_qubit_gates<=40 or weight_bytes<=8k"
            ) from None
        return cls(match[1], max=limit) if match[2] == "<=" else cls(match[1], min=limit)

    def excess(self, metrics: Mapping[str, float]) -> float:
        """By how much the metrics break the budget, in the metric's unit; 0 if they do not.

        Raises:
            ValueError: the metric is unknown, or not a number.
        """
        if self.metric not in metrics:
            raise ValueError(
                f"budget {self}: there is no static metric {self.metric!r}"
                f"{nearest(self.metric, metrics)}"
            )
        value = float(metrics[self.metric])
        if math.isnan(value):
            raise ValueError(f"budget {self}: the metric is NaN")
        above = 0.0 if self.max is None else value - self.max
        below = 0.0 if self.min is None else self.min - value
        return max(above, below, 0.0)

    def __str__(self) -> str:
        parts = [] if self.max is None else [f"{self.metric}<={self.max:g}"]
        return " and ".join(parts + ([] if self.min is None else [f"{self.metric}>={self.min:g}"]))
