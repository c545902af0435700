"""Tables and numbers in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


def table(head: list[str], rows: Iterable[list[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    lines += ["| " + " | ".join(str(c).replace("|", "/") for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits; nothing for ``None``."""
    if value is None:
        return ""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}{unit}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}{unit}"


def threads(count: str) -> str:
    """A number of threads in words."""
    return "1 thread" if count == "1" else f"{count} threads"
