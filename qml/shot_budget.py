"""Shots per circuit that grow as training goes on.

Early gradients are large, and a few shots tell their direction; near the end gradients drown in the
noise of the same few shots.
"""

from __future__ import annotations

from dataclasses import dataclass

from nisqkit.circuits.names import unknown

GROWTHS = ("geometric", "linear")
"""What `ShotBudget` takes."""


@dataclass(frozen=True)
class ShotBudget:
    """Shots per circuit at each step of training.

    With ``u = step / (steps - 1)``, ``"geometric"`` gives ``first * (last / first)**u`` and
    ``"linear"`` ``first + (last - first) * u``, rounded down.

    Attributes:
        first: Shots in the first step, at least 1.
        last: Shots in the last step, at least `first`.
        growth: One of `GROWTHS`.

    Raises:
        ValueError: An unknown growth, or shots that shrink or are below 1.

    Example:
        >>> budget = ShotBudget(first=128, last=1024)
        >>> [budget.shots(step, steps=4) for step in range(4)], budget.total(steps=4)
        ([128, 256, 512, 1024], 1920)
    """

    first: int
    last: int
    growth: str = "geometric"

    def __post_init__(self) -> None:
        if self.growth not in GROWTHS:
            raise ValueError(unknown("growth", self.growth, GROWTHS))
        for name in ("first", "last"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number of shots, at least 1")
        if self.last < self.first:
            raise ValueError(
                f"shots must not shrink, but first={self.first} and last={self.last}: swap them"
            )

    def shots(self, step: int, steps: int) -> int:
        """Shots per circuit in one of so many steps, counted from 0.

        Raises:
            ValueError: There is no such step.
        """
        if not 0 <= step < steps:
            raise ValueError(f"step {step} is none of {steps} steps, counted from 0")
        if step == steps - 1:  # what floating point would miss by an ulp; a single step is the last
            return self.last
        u = step / (steps - 1)
        if self.growth == "linear":
            return int(self.first + (self.last - self.first) * u + 1e-9)
        return int(self.first * (self.last / self.first) ** u + 1e-9)

    def total(self, steps: int) -> int:
        """Shots of a circuit that runs once in each of so many steps."""
        return sum(self.shots(step, steps) for step in range(steps))

    @classmethod
    def of_total(
        cls, total: int, steps: int, *, times: float = 8.0, growth: str = "geometric"
    ) -> ShotBudget:
        """The largest budget that grows by a factor and spends no more than a total.

        Args:
            total: Shots of a circuit that runs once in each step.
            steps: Number of steps.
            times: ``last / first``, 1 or more.
            growth: One of `GROWTHS`.

        Raises:
            ValueError: The total is too small for one shot in the first step, or ``times`` below 1.

        Example:
            >>> budget = ShotBudget.of_total(total=1024 * 40, steps=40)
            >>> budget, budget.total(40) <= 1024 * 40
            (ShotBudget(first=301, last=2408, growth='geometric'), True)
        """
        if times < 1:
            raise ValueError(f"times={times!r} must be 1 or more: shots must not shrink")

        def of(first: int) -> ShotBudget:
            return cls(first, int(first * times), growth)

        if of(1).total(steps) > total:
            raise ValueError(
                f"total={total} is too small: {steps} steps that grow {times:g} times from 1 shot "
                f"take {of(1).total(steps)}; give more, or a smaller factor"
            )
        low, high = 1, total + 1  # of(low) fits, and of(high) does not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if of(middle).total(steps) <= total else (low, middle)
        return of(low)
