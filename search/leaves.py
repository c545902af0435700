"""Genes: one option of several, an integer, a float. `Injection` has a file of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nisqkit.search.base import Space, Value

if TYPE_CHECKING:
    from numpy.random import Generator


class Leaf(Space):
    """A space that is one gene: it mutates as a whole, and a child has it from one parent."""

    def mutate(self, value: Value, rng: Generator, probability: float = 0.4) -> Value:
        """With this probability another value, else the same."""
        return self._another(value, rng) if rng.random() < probability else value

    def _another(self, value: Value, rng: Generator) -> Value:
        raise NotImplementedError

    def crossover(self, a: Value, b: Value, rng: Generator) -> Value:
        """One of the two."""
        return a if rng.random() < 0.5 else b

    def leaves(self, value: Value, path: str = "") -> Iterator[tuple[str, Space, Value]]:
        """Itself."""
        yield path or "value", self, value


class Finite(Leaf):
    """A gene with finitely many values, in a fixed order."""

    @property
    def options(self) -> Sequence[Value]:
        """All values."""
        raise NotImplementedError

    def sample(self, rng: Generator) -> Value:
        """Uniform among the options."""
        return self.options[int(rng.integers(len(self.options)))]

    def size(self) -> int:
        """The number of options."""
        return len(self.options)


class Choice(Finite):
    """One of several options that have no order; mutates to any other.

    Args:
        options: strings, numbers, bools or None; all different.

    Raises:
        ValueError: no options, equal ones (``1`` and ``True`` count as equal), or other types.

    Example:
        >>> import numpy as np
        >>> Choice(["ring", "line", "all"]).sample(np.random.default_rng(0))
        'all'
    """

    kind = "choice"

    def __init__(self, options: Sequence[Value]) -> None:
        self._options = tuple(options)
        name = type(self).__name__
        if not self._options:
            raise ValueError(f"{name} needs at least one option")
        for option in self._options:
            finite = not isinstance(option, float) or math.isfinite(option)
            if not (option is None or isinstance(option, bool | int | float | str)) or not finite:
                raise ValueError(
                    f"{name} got the option {option!r}; options are strings, finite numbers, bools "
                    "or None, so that candidates are plain JSON: give it a name and look it up"
                )
        for i, option in enumerate(self._options):
            if option in self._options[:i]:
                raise ValueError(f"{name} got {option!r} (or an equal option) twice")

    @property
    def options(self) -> tuple[Value, ...]:
        """All values."""
        return self._options

    def _another(self, value: Value, rng: Generator) -> Value:
        others = [option for option in self._options if option != value]
        return others[int(rng.integers(len(others)))] if others else value

    def repair(self, value: Value) -> Value:
        """The option that equals the value, else the first."""
        return next((o for o in self._options if _same(o, value)), self._options[0])

    def check(self, value: Value, path: str = "value") -> None:
        """Raise a ValueError unless it is one of the options."""
        if not any(_same(option, value) for option in self._options):
            raise ValueError(f"{path} is {value!r}, but must be one of {list(self._options)}")

    def to_json(self) -> dict[str, Any]:
        """Kind and options."""
        return {"kind": self.kind, "options": list(self._options)}


class Ordered(Choice):
    """One of several options in their order; mutates to a neighbour.

    Example:
        >>> import numpy as np
        >>> Ordered([2, 4, 8]).mutate(2, np.random.default_rng(0), probability=1.0)
        4
    """

    kind = "ordered"

    def _another(self, value: Value, rng: Generator) -> Value:
        return self._options[_step(self._options.index(value), 0, len(self._options) - 1, 1, rng)]

    def repair(self, value: Value) -> Value:
        """The option that equals the value, else the nearest number, else the first."""
        numbers = [option for option in self._options if _is_number(option)]
        if not _is_number(value) or len(numbers) < len(self._options):
            return super().repair(value)
        return min(numbers, key=lambda option: abs(option - value))


class Int(Finite):
    """An integer, both ends included; mutates by up to a fifth of the range.

    Example:
        >>> Int(1, 8).size()
        8
    """

    kind = "int"

    def __init__(self, low: int, high: int) -> None:
        for end in (low, high):
            if isinstance(end, bool) or not isinstance(end, int):
                raise ValueError(f"Int({low!r}, {high!r}): both ends must be integers")
        if low > high:
            raise ValueError(f"Int({low}, {high}): the first must not be above the second")
        self.low, self.high = low, high

    @property
    def options(self) -> range:
        """All values."""
        return range(self.low, self.high + 1)

    def _another(self, value: Value, rng: Generator) -> Value:
        reach = max(1, (self.high - self.low) // 5)
        return _step(value, self.low, self.high, 1 + int(rng.integers(reach)), rng)

    def repair(self, value: Value) -> Value:
        """The nearest integer of the range; the low end for what is not a number."""
        if not _is_number(value):
            return self.low
        return min(max(round(value), self.low), self.high)

    def check(self, value: Value, path: str = "value") -> None:
        """Raise a ValueError unless it is an integer of the range."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not self.low <= value <= self.high:
            raise ValueError(
                f"{path} is {value!r}, but must be an integer from {self.low} to {self.high}"
            )

    def to_json(self) -> dict[str, Any]:
        """Kind and ends."""
        return {"kind": self.kind, "low": self.low, "high": self.high}


class Float(Leaf):
    """A real number, both ends included; mutates by a normal step of 0.15 ranges.

    With ``log=True`` samples are uniform, and steps are taken, on a logarithmic scale.

    Example:
        >>> Float(1e-3, 1.0, log=True).repair(7.0)
        1.0
    """

    kind = "float"

    def __init__(self, low: float, high: float, *, log: bool = False) -> None:
        if not (_is_number(low) and _is_number(high) and low < high):
            raise ValueError(f"Float({low!r}, {high!r}): needs finite ends, the first below")
        if log and low <= 0:
            raise ValueError(f"Float({low}, {high}, log=True): the ends must be positive")
        self.low, self.high, self.log = float(low), float(high), bool(log)

    def _unit(self, value: float) -> float:
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def _from_unit(self, unit: float) -> float:
        if self.log:
            value = self.low * math.exp(unit * math.log(self.high / self.low))
        else:
            value = self.low + unit * (self.high - self.low)
        return min(max(value, self.low), self.high)  # rounding can leave the range

    def sample(self, rng: Generator) -> Value:
        """Uniform, or uniform in the logarithm."""
        return self._from_unit(float(rng.random()))

    def _another(self, value: Value, rng: Generator) -> Value:
        unit = abs(self._unit(value) + 0.15 * float(rng.standard_normal())) % 2
        return self._from_unit(2 - unit if unit > 1 else unit)  # reflected at both ends

    def repair(self, value: Value) -> Value:
        """The nearest number of the range; the low end for what is not a number."""
        return min(max(float(value), self.low), self.high) if _is_number(value) else self.low

    def check(self, value: Value, path: str = "value") -> None:
        """Raise a ValueError unless it is a float of the range (``1.0``, not ``1``)."""
        if not isinstance(value, float) or not self.low <= value <= self.high:
            raise ValueError(
                f"{path} is {value!r}, but must be a float from {self.low} to {self.high}"
            )

    def size(self) -> float:
        """Infinite."""
        return math.inf

    def to_json(self) -> dict[str, Any]:
        """Kind, ends and scale."""
        return {"kind": self.kind, "low": self.low, "high": self.high, "log": self.log}


def _same(option: Value, value: Value) -> bool:
    """Equal and of one type: candidates are compared as JSON, in which 1, 1.0 and true differ."""
    return type(option) is type(value) and bool(option == value)


def _is_number(value: Value) -> bool:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and math.isfinite(value)


def _step(value: int, low: int, high: int, step: int, rng: Generator) -> int:
    """`step` up or down, as the range allows; to the further end if neither fits."""
    inside = [v for v in (value - step, value + step) if low <= v <= high]
    if not inside:
        return low if value - low > high - value else high
    return inside[int(rng.integers(len(inside)))]
