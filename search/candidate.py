"""Candidates as JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nisqkit.search.base import Space, Value

VERSION = 1


def candidate_to_json(space: Space, value: Value) -> dict[str, Any]:
    """The value with the version of the format and the fingerprint of its space.

    Raises:
        ValueError: it is not a value of the space.

    Example:
        >>> from nisqkit.search import Int
        >>> candidate_to_json(Int(1, 8), 3)
        {'nisqkit_candidate': 1, 'space': '3e7fd474ebbf054b', 'value': 3}
    """
    space.check(value)
    return {"nisqkit_candidate": VERSION, "space": space.fingerprint(), "value": value}


def candidate_from_json(space: Space, data: Mapping[str, Any], source: str = "candidate") -> Value:
    """The value, after all checks.

    Raises:
        ValueError: another version or space, no candidate at all, or no value of the space.
    """
    version = data.get("nisqkit_candidate") if isinstance(data, Mapping) else None
    if version is None:
        raise ValueError(f"{source} is no candidate: it lacks 'nisqkit_candidate'")
    if version != VERSION:
        raise ValueError(
            f"{source} has version {version!r} of the format; this nisqkit reads version {VERSION}"
        )
    if data.get("space") != space.fingerprint():
        raise ValueError(
            f"{source} is of the space {data.get('space')!r}, not of this one "
            f"({space.fingerprint()!r}); if its value is meant for this space all the same, pass "
            "it to space.repair"
        )
    value = data.get("value")
    space.check(value, f"{source}: value")
    return value


def save_candidate(path: str | Path, space: Space, value: Value) -> None:
    """Write a candidate as JSON."""
    Path(path).write_text(json.dumps(candidate_to_json(space, value), indent=2) + "\n", "utf-8")


def load_candidate(path: str | Path, space: Space) -> Value:
    """Read what `save_candidate` wrote.

    Raises:
        ValueError: no JSON, another version or space, or no value of the space.
    """
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    return candidate_from_json(space, data, str(path))
