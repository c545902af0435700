"""What all search spaces share: the operators that each defines, canonical keys, fingerprints."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from numpy.random import Generator

    from nisqkit.search.budget import Budget
    from nisqkit.search.feasibility import Feasibility

Value = Any  # plain JSON: None, bool, int, float, str, lists and dicts of them


class Space(ABC):
    """A set of candidates with the operators that a search needs. Spaces do not change.

    A value of a space (a candidate) is plain JSON and holds active genes only. A gene is a leaf of
    the tree. Every operator returns a new value of the space; none changes its arguments. The same
    generator state gives the same result.
    """

    kind: ClassVar[str]  # the name in JSON
    _fingerprint: str | None = None

    @abstractmethod
    def sample(self, rng: Generator) -> Value:
        """A random value; every gene is uniform among what it can be."""

    @abstractmethod
    def mutate(self, value: Value, rng: Generator, probability: float = 0.4) -> Value:
        """A value in which every gene has changed with this probability."""

    @abstractmethod
    def crossover(self, a: Value, b: Value, rng: Generator) -> Value:
        """A value that takes each gene from one of two parents."""

    @abstractmethod
    def repair(self, value: Value) -> Value:
        """The value itself if it is one of this space, else a similar one that is.

        Deterministic. Anything is accepted; inactive genes are dropped and missing ones filled in.
        """

    @abstractmethod
    def check(self, value: Value, path: str = "value") -> None:
        """Raise a ValueError that names the path at which this is no value of the space."""

    @abstractmethod
    def size(self) -> int | float:
        """How many values there are: an exact int, or ``math.inf`` with a float in it."""

    @abstractmethod
    def leaves(self, value: Value, path: str = "") -> Iterator[tuple[str, Space, Value]]:
        """The active genes of a value as (path, leaf space, leaf value)."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The space as plain JSON."""

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Space:
        """Read what `to_json` wrote; see `nisqkit.search.space.space_from_json`."""
        from nisqkit.search.space import space_from_json

        return space_from_json(data)

    def key(self, value: Value) -> str:
        """The canonical text of a value: equal exactly if two candidates are the same.

        Values hold no inactive genes, so neither do keys (`repair` drops those of foreign values).

        Example:
            >>> from nisqkit.search import Choice, Group, When
            >>> space = Group({"use": Choice([False, True]),
            ...                "bits": When("use", equals=True, space=Choice([4, 8]))})
            >>> space.key(space.repair({"use": False, "bits": 4}))
            '{"use":false}'
        """
        return canonical(value)

    def fingerprint(self) -> str:
        """16 hexadecimal digits that differ between spaces that differ."""
        if self._fingerprint is None:  # large trees take milliseconds, and every candidate has it
            text = canonical(self.to_json())
            self._fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._fingerprint

    def feasible(
        self,
        budgets: Sequence[Budget],
        measure: Callable[[Value], Mapping[str, float]],
        samples: int = 1000,
        seed: int = 0,
    ) -> Feasibility:
        """What share of the space fits the budgets, and which budget kills the rest.

        See `nisqkit.search.feasibility.measure_feasibility`.
        """
        from nisqkit.search.feasibility import measure_feasibility

        return measure_feasibility(self, budgets, measure, samples=samples, seed=seed)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __repr__(self) -> str:
        fields = {name: field for name, field in self.to_json().items() if name != "kind"}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in fields.items())})"


def canonical(value: Value) -> str:
    """JSON with sorted names and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def product(sizes: Iterable[int | float]) -> int | float:
    """The product of sizes, of which one may be infinite and another beyond any float."""
    factors = list(sizes)
    return math.inf if math.inf in factors else math.prod(factors)


def total(sizes: Iterable[int | float]) -> int | float:
    """The sum of sizes, of which one may be infinite and another beyond any float."""
    terms = list(sizes)
    return math.inf if math.inf in terms else sum(terms)
