"""Layouts: an injection of logical qubits onto distinct physical ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nisqkit.search.base import Value
from nisqkit.search.leaves import Leaf

if TYPE_CHECKING:
    from numpy.random import Generator

ENUMERATED = 20_000  # up to so many connected sets are listed, to draw from them uniformly


class Injection(Leaf):
    """`num_logical` different physical qubits, in the order of the logical ones.

    The value is a list of integers: entry i is the place of logical qubit i.

    Args:
        num_logical: how many.
        allowed: the physical ones to choose from; all different.
        coupled: pairs of physical qubits. With them only injections count whose image is connected
            (by pairs of which both ends are allowed). Samples are then uniform as long as there
            are at most 20 000 connected sets of qubits; beyond that sets are grown at random,
            which favours the middle of the device.

    Mutation moves each logical qubit with the given probability, to a free place or by a swap with
    another. A child keeps the places of one parent and takes those of the other that are free.

    Raises:
        ValueError: too few allowed, equal ones, or no connected set that is large enough.

    Example:
        >>> line = Injection(2, allowed=[0, 1, 2, 3], coupled=[(0, 1), (1, 2), (2, 3)])
        >>> line.size()  # 3 edges, 2 directions
        6
    """

    kind = "injection"

    def __init__(
        self,
        num_logical: int,
        allowed: Sequence[int],
        coupled: Iterable[Sequence[int]] | None = None,
    ) -> None:
        self.num_logical = num_logical
        self.allowed = [int(qubit) for qubit in allowed]
        if len(set(self.allowed)) < len(self.allowed):
            raise ValueError(f"Injection: allowed={self.allowed} names a qubit twice")
        if not 1 <= num_logical <= len(self.allowed):
            raise ValueError(
                f"Injection: {num_logical} logical qubits onto {len(self.allowed)} allowed "
                "physical ones; there must be at least 1, and at most as many as are allowed"
            )
        self.coupled = None if coupled is None else sorted({_edge(pair) for pair in coupled})
        self._neighbours: dict[int, list[int]] = {qubit: [] for qubit in self.allowed}
        for a, b in self.coupled or ():
            if a in self._neighbours and b in self._neighbours:
                self._neighbours[a].append(b)
                self._neighbours[b].append(a)
        # The qubits from which a connected set of the right size can be grown at all.
        self._usable = self.allowed
        if self.coupled is not None:
            parts = _components(self.allowed, self._neighbours)
            large = set().union(*(part for part in parts if len(part) >= num_logical))
            self._usable = [qubit for qubit in self.allowed if qubit in large]
            if not self._usable:
                raise ValueError(
                    f"Injection: no {num_logical} of the allowed qubits are connected; the "
                    f"largest connected part has {max(len(part) for part in parts)}"
                )
        self._sets: list[frozenset[int]] | None = None

    def sample(self, rng: Generator) -> Value:
        """Uniform (see `coupled` for the limit)."""
        if self.coupled is None:
            return self._shuffled(self.allowed, rng)[: self.num_logical]
        if self._sets is None:
            self._sets = []
            for connected in self._connected_sets():
                self._sets.append(connected)
                if len(self._sets) > ENUMERATED:
                    break
        if len(self._sets) <= ENUMERATED:
            return self._shuffled(sorted(self._sets[int(rng.integers(len(self._sets)))]), rng)
        image = [self._usable[int(rng.integers(len(self._usable)))]]
        while len(image) < self.num_logical:
            border = self._border(image)
            image.append(border[int(rng.integers(len(border)))])
        return self._shuffled(image, rng)

    def mutate(self, value: Value, rng: Generator, probability: float = 0.4) -> Value:
        """Every logical qubit moves with this probability."""
        value = list(value)
        for i in range(self.num_logical):
            if rng.random() < probability:
                moves = [
                    moved
                    for place in self._usable
                    if (moved := _moved(value, i, place)) != value and self._fits(moved)
                ]
                if moves:
                    value = moves[int(rng.integers(len(moves)))]
        return value

    def crossover(self, a: Value, b: Value, rng: Generator) -> Value:
        """Some places of one parent; the others from the second parent where they are free."""
        if rng.random() < 0.5:
            a, b = b, a
        kept = rng.random(self.num_logical) < 0.5
        child: list[int | None] = [
            q if keep else None for q, keep in zip(a, kept.tolist(), strict=True)
        ]
        for i, place in enumerate(b):
            if child[i] is None and place not in child:
                child[i] = place
        return self.repair(child)

    def repair(self, value: Value) -> Value:
        """Keeps the places that are allowed, new and connected, and fills in the lowest others."""
        given = list(value) if isinstance(value, list | tuple) else []
        given = [place if type(place) is int else None for place in given]
        given = (given + [None] * self.num_logical)[: self.num_logical]
        places: list[int | None] = []
        for place in given:
            good = place is not None and place in self._usable and place not in places
            places.append(place if good else None)
        if self.coupled is not None:
            parts = _components([q for q in places if q is not None], self._neighbours)
            largest = max(parts, key=lambda part: (len(part), -min(part)), default=set())
            places = [q if q in largest else None for q in places]
        for i, place in enumerate(places):
            if place is None:
                image = [q for q in places if q is not None]
                # Stay near the place that was asked for, if it is free and coupled by now.
                border = self._border(image)
                places[i] = given[i] if given[i] in border else border[0]
        return places

    def check(self, value: Value, path: str = "value") -> None:
        """Raise a ValueError unless it is a list of different, allowed, connected qubits."""
        if not isinstance(value, list) or len(value) != self.num_logical:
            raise ValueError(f"{path} is {value!r}, but must be a list of {self.num_logical}")
        for i, place in enumerate(value):
            if type(place) is not int or place not in self._neighbours:
                raise ValueError(f"{path}[{i}] is {place!r}, but must be one of {self.allowed}")
            if place in value[:i]:
                raise ValueError(f"{path}[{i}] is {place}, which another logical qubit has")
        if not self._fits(value):
            raise ValueError(f"{path} is {value}, but these qubits are not connected")

    def size(self) -> int:
        """Counts the connected sets one by one, which takes long for many qubits."""
        if self.coupled is None:
            return math.perm(len(self.allowed), self.num_logical)
        return sum(1 for _ in self._connected_sets()) * math.factorial(self.num_logical)

    def to_json(self) -> dict[str, Any]:
        """Kind and arguments."""
        coupled = None if self.coupled is None else [list(pair) for pair in self.coupled]
        return {
            "kind": self.kind,
            "num_logical": self.num_logical,
            "allowed": self.allowed,
            "coupled": coupled,
        }

    def _fits(self, image: Sequence[int]) -> bool:
        return self.coupled is None or len(_components(image, self._neighbours)) == 1

    def _border(self, image: Sequence[int]) -> list[int]:
        """The usable qubits by which an image can grow."""
        if self.coupled is None or not image:
            return sorted(set(self._usable) - set(image))
        return sorted({n for qubit in image for n in self._neighbours[qubit]} - set(image))

    def _shuffled(self, qubits: Sequence[int], rng: Generator) -> list[int]:
        return [qubits[i] for i in rng.permutation(len(qubits)).tolist()]

    def _connected_sets(self) -> Iterator[frozenset[int]]:
        """Every connected set once (Wernicke's ESU, IEEE/ACM TCBB 3, 347, 2006)."""

        def extend(chosen: set[int], extension: set[int], root: int) -> Iterator[frozenset[int]]:
            if len(chosen) == self.num_logical:
                yield frozenset(chosen)
                return
            extension = set(extension)
            while extension:
                new = min(extension)
                extension.remove(new)
                near = chosen | {n for qubit in chosen for n in self._neighbours[qubit]}
                exclusive = {n for n in self._neighbours[new] if n > root} - near
                yield from extend(chosen | {new}, extension | exclusive, root)

        for root in sorted(self._usable):
            yield from extend({root}, {n for n in self._neighbours[root] if n > root}, root)


def _edge(pair: Sequence[int]) -> tuple[int, int]:
    a, b = sorted(int(qubit) for qubit in pair)
    return a, b


def _moved(value: list[int], i: int, place: int) -> list[int]:
    """Logical qubit i at `place`; who was there goes where i was."""
    moved = [value[i] if qubit == place else qubit for qubit in value]
    moved[i] = place
    return moved


def _components(qubits: Iterable[int], neighbours: dict[int, list[int]]) -> list[set[int]]:
    left = set(qubits)
    parts = []
    while left:
        todo = [min(left)]
        left.remove(todo[0])
        part = set(todo)
        while todo:
            near = left.intersection(neighbours[todo.pop()])
            left -= near
            part |= near
            todo += near
        parts.append(part)
    return parts
