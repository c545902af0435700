"""Search spaces: everything that a space is made of, and how to read one from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nisqkit.search.base import Space as Space
from nisqkit.search.base import Value as Value
from nisqkit.search.containers import Group, Repeat, When
from nisqkit.search.injection import Injection
from nisqkit.search.leaves import Choice, Float, Int, Ordered


def space_from_json(data: Mapping[str, Any]) -> Space:
    """Read what `Space.to_json` wrote.

    Raises:
        ValueError: a kind of space that this version does not know.

    Example:
        >>> space_from_json(Int(1, 8).to_json())
        Int(low=1, high=8)
    """
    match data.get("kind"):
        case "choice":
            return Choice(data["options"])
        case "ordered":
            return Ordered(data["options"])
        case "int":
            return Int(data["low"], data["high"])
        case "float":
            return Float(data["low"], data["high"], log=data["log"])
        case "injection":
            return Injection(data["num_logical"], data["allowed"], data["coupled"])
        case "group":
            return Group({name: _member(member) for name, member in data["members"]})
        case "repeat":
            count = space_from_json(data["count"])
            assert isinstance(count, Int)
            return Repeat(count, space_from_json(data["item"]))
        case kind:
            raise ValueError(
                f"a space of the kind {kind!r} is unknown to this version of nisqkit; known are "
                "choice, ordered, int, float, injection, group and repeat"
            )


def _member(data: Mapping[str, Any]) -> Space | When:
    if data.get("kind") == "when":
        space = space_from_json(data["space"])
        return When(data["sibling"], equals=data["equals"], space=space)
    return space_from_json(data)
