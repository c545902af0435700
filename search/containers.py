"""Trees of genes: named members, members that depend on a sibling, and lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from nisqkit.search.base import Space, Value, product, total
from nisqkit.search.leaves import Finite, Int
from nisqkit.search.names import nearest

if TYPE_CHECKING:
    from numpy.random import Generator


class When:
    """A member of a `Group` that is there only if a sibling has a certain value.

    Args:
        sibling: the name of a `Choice`, `Ordered` or `Int` that stands before it in the group.
        equals: that value, or a list of them.
        space: what the member then is.

    If the sibling itself is a `When` that is not there, neither is this one.

    Example:
        >>> from nisqkit.search import Choice, Float
        >>> space = Group({"optimizer": Choice(["adam", "sgd"]),
        ...                "momentum": When("optimizer", equals="sgd", space=Float(0, 1))})
        >>> space.check({"optimizer": "adam"})
        >>> space.check({"optimizer": "adam", "momentum": 0.9})
        Traceback (most recent call last):
        ...
        ValueError: value.momentum is there, but only belongs there if optimizer is one of ['sgd']
    """

    def __init__(self, sibling: str, *, equals: Value, space: Space) -> None:
        self.sibling = sibling
        self.equals: list[Value] = list(equals) if isinstance(equals, list | tuple) else [equals]
        self.space = space

    def to_json(self) -> dict[str, Any]:
        """Kind and arguments."""
        return {
            "kind": "when",
            "sibling": self.sibling,
            "equals": self.equals,
            "space": self.space.to_json(),
        }


class Group(Space):
    """Named members; the value is a dict of those that are active.

    Raises:
        ValueError: a name with a dot or a bracket, or a `When` whose sibling does not stand before
            it, has no finite set of values, or never has the value.

    Example:
        >>> from nisqkit.search import Choice
        >>> space = Group({"layers": Int(1, 8), "entangler": Choice(["ring", "line"])})
        >>> space.size()
        16
    """

    kind = "group"

    def __init__(self, members: Mapping[str, Space | When]) -> None:
        self.members = dict(members)
        for i, (name, member) in enumerate(self.members.items()):
            if not isinstance(name, str) or not name or any(sign in name for sign in ".[]"):
                raise ValueError(f"Group: {name!r} is no name; names have no dots and no brackets")
            if isinstance(member, When):
                before = list(self.members)[:i]
                if member.sibling not in before:
                    raise ValueError(
                        f"Group: {name!r} depends on {member.sibling!r}, which must be a member "
                        f"before it{nearest(member.sibling, before)}"
                    )
                sibling = self._space(member.sibling)
                if not isinstance(sibling, Finite):
                    raise ValueError(
                        f"Group: {name!r} depends on {member.sibling!r}, which must be a Choice, "
                        f"an Ordered or an Int, not {type(sibling).__name__}"
                    )
                for value in member.equals:
                    sibling.check(value, f"Group: equals of {name!r}")
            elif not isinstance(member, Space):
                raise ValueError(f"Group: {name!r} must be a space or a When, got {member!r}")

    def _space(self, name: str) -> Space:
        member = self.members[name]
        return member.space if isinstance(member, When) else member

    def _active(self, name: str, value: Mapping[str, Value]) -> bool:
        """Whether a member is there, given those before it."""
        member = self.members[name]
        if not isinstance(member, When):
            return True
        return member.sibling in value and value[member.sibling] in member.equals

    def active_members(self, value: Mapping[str, Value]) -> Iterator[tuple[str, Space]]:
        """Names and spaces of the members that are there.

        Whether one is there is decided when its turn comes, so a value can be built on the way.
        """
        for name in self.members:
            if self._active(name, value):
                yield name, self._space(name)

    def sample(self, rng: Generator) -> Value:
        """Every active member sampled."""
        value: dict[str, Value] = {}
        for name, space in self.active_members(value):
            value[name] = space.sample(rng)
        return value

    def mutate(self, value: Value, rng: Generator, probability: float = 0.4) -> Value:
        """Every gene mutated with this probability; members that become active are sampled."""
        child: dict[str, Value] = {}
        for name, space in self.active_members(child):
            if name in value:
                child[name] = space.mutate(value[name], rng, probability)
            else:
                child[name] = space.sample(rng)
        return child

    def crossover(self, a: Value, b: Value, rng: Generator) -> Value:
        """Every member crossed over; one that a single parent has is taken from there."""
        child: dict[str, Value] = {}
        for name, space in self.active_members(child):
            if name in a and name in b:
                child[name] = space.crossover(a[name], b[name], rng)
            elif name in a or name in b:
                child[name] = a[name] if name in a else b[name]
            else:
                child[name] = space.sample(rng)
        return child

    def repair(self, value: Value) -> Value:
        """Every active member repaired, all others dropped."""
        given = value if isinstance(value, dict) else {}
        repaired: dict[str, Value] = {}
        for name, space in self.active_members(repaired):
            repaired[name] = space.repair(given.get(name))
        return repaired

    def check(self, value: Value, path: str = "value") -> None:
        """Raise a ValueError that names the path of what is missing, too much or wrong."""
        if not isinstance(value, dict):
            raise ValueError(f"{path} is {value!r}, but must be a dict of {list(self.members)}")
        for name in value:
            if name not in self.members:
                raise ValueError(f"{path}.{name} is unknown{nearest(name, list(self.members))}")
        for name, member in self.members.items():
            active = self._active(name, value)
            if active and name not in value:
                raise ValueError(f"{path}.{name} is missing")
            if name in value and not active:
                assert isinstance(member, When)
                raise ValueError(
                    f"{path}.{name} is there, but only belongs there if {member.sibling} is one "
                    f"of {member.equals}"
                )
            if active:
                self._space(name).check(value[name], f"{path}.{name}")

    def size(self) -> int | float:
        """Exact, with every member counted only where it is active."""
        part = {name: name for name in self.members}  # the first member of what hangs together
        for name, member in self.members.items():
            if isinstance(member, When):
                old, new = part[name], part[member.sibling]
                part = {other: new if p == old else p for other, p in part.items()}
        return product(
            self._count([name for name in self.members if part[name] == first])
            for first in set(part.values())
        )

    def _count(self, names: list[str]) -> int | float:
        """How many values members have that depend on each other, but on no others."""
        last_use: dict[str, int] = {}
        for i, name in enumerate(names):
            member = self.members[name]
            if isinstance(member, When):
                last_use[member.sibling] = i

        @cache
        def count(i: int, known: tuple[tuple[str, Value], ...]) -> int | float:
            if i == len(names):
                return 1
            name = names[i]
            value = dict(known)
            active = self._active(name, value)
            # What no later member asks for is forgotten, so that few different states are left.
            still = tuple(pair for pair in known if last_use[pair[0]] > i)
            if not active:
                return count(i + 1, still)
            space = self._space(name)
            if name not in last_use:
                return product([space.size(), count(i + 1, still)])
            assert isinstance(space, Finite)
            return total(count(i + 1, (*still, (name, option))) for option in space.options)

        return count(0, ())

    def leaves(self, value: Value, path: str = "") -> Iterator[tuple[str, Space, Value]]:
        """The leaves of all active members."""
        for name, space in ((name, self._space(name)) for name in self.members if name in value):
            yield from space.leaves(value[name], f"{path}.{name}" if path else name)

    def to_json(self) -> dict[str, Any]:
        """Kind and members, in their order (a list: JSON objects have none)."""
        members = [[name, member.to_json()] for name, member in self.members.items()]
        return {"kind": self.kind, "members": members}


class Repeat(Space):
    """A list of values of one space; how many is a gene, too.

    Args:
        count: an `Int`, from at least 0.
        item: the space of every entry.

    Mutation of the count inserts new entries, or removes some, at random places.

    Example:
        >>> from nisqkit.search import Choice
        >>> Repeat(Int(1, 2), Choice(["x", "y", "z"])).size()  # 3 + 9
        12
    """

    kind = "repeat"

    def __init__(self, count: Int, item: Space) -> None:
        if not isinstance(count, Int) or count.low < 0:
            raise ValueError(f"Repeat: the count must be an Int from at least 0, got {count!r}")
        self.count = count
        self.item = item

    def sample(self, rng: Generator) -> Value:
        """A sampled count of sampled entries."""
        return [self.item.sample(rng) for _ in range(self.count.sample(rng))]

    def mutate(self, value: Value, rng: Generator, probability: float = 0.4) -> Value:
        """Count and entries mutated; new entries are sampled."""
        number = self.count.mutate(len(value), rng, probability)
        child = list(value)
        while len(child) > number:
            del child[int(rng.integers(len(child)))]
        child = [self.item.mutate(entry, rng, probability) for entry in child]
        while len(child) < number:
            child.insert(int(rng.integers(len(child) + 1)), self.item.sample(rng))
        return child

    def crossover(self, a: Value, b: Value, rng: Generator) -> Value:
        """The length of one parent; entries that both have are crossed over."""
        number = self.count.crossover(len(a), len(b), rng)
        longer = a if len(a) >= len(b) else b
        both = min(len(a), len(b))
        child = [self.item.crossover(x, y, rng) for x, y in zip(a, b, strict=False)]
        return (child + list(longer[both:]))[:number]

    def repair(self, value: Value) -> Value:
        """Entries repaired; the last dropped, or new ones appended."""
        given = value if isinstance(value, list | tuple) else []
        number = self.count.repair(len(given))
        given = [*given, *[None] * number][:number]
        return [self.item.repair(entry) for entry in given]

    def check(self, value: Value, path: str = "value") -> None:
        """Raise a ValueError unless it is a list of the right length and entries."""
        if not isinstance(value, list):
            raise ValueError(f"{path} is {value!r}, but must be a list")
        self.count.check(len(value), f"the length of {path}")
        for i, entry in enumerate(value):
            self.item.check(entry, f"{path}[{i}]")

    def size(self) -> int | float:
        """The sum over all lengths."""
        size = self.item.size()
        return total(product([size] * number) for number in self.count.options)

    def leaves(self, value: Value, path: str = "") -> Iterator[tuple[str, Space, Value]]:
        """The count, then the leaves of all entries."""
        path = path or "value"
        yield f"{path}.count", self.count, len(value)
        for i, entry in enumerate(value):
            yield from self.item.leaves(entry, f"{path}[{i}]")

    def to_json(self) -> dict[str, Any]:
        """Kind, count and item."""
        return {"kind": self.kind, "count": self.count.to_json(), "item": self.item.to_json()}
