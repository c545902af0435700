"""Results that were evaluated but could not be stored, in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nisqkit.search.base import Space, Value

VERSION = 1


def write_results(
    path: Path, space: Space, results: Sequence[tuple[Value, dict[str, float]]]
) -> None:
    """Write candidates and their metrics."""
    data = {
        "nisqkit_results": VERSION,
        "space": space.fingerprint(),
        "results": [{"value": value, "metrics": metrics} for value, metrics in results],
    }
    path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


def read_results(path: str | Path, space: Space) -> dict[str, dict[str, float]]:
    """Metrics by the key of the candidate.

    Raises:
        ValueError: no such file, or of another version or space.
    """
    try:
        data: Any = json.loads(Path(path).read_text("utf-8"))
        version = data.get("nisqkit_results")
    except (OSError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no file of results: {error}") from None
    if version != VERSION:
        raise ValueError(
            f"{path} has version {version!r} of the format; this nisqkit reads version {VERSION}"
        )
    if data["space"] != space.fingerprint():
        raise ValueError(
            f"{path} has results of the space {data['space']!r}, not of this one "
            f"({space.fingerprint()!r})"
        )
    return {space.key(result["value"]): result["metrics"] for result in data["results"]}
