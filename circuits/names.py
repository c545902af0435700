"""Order and lookup of names.

Natural order (``w2`` before ``w10``), and the nearest match for an error message.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that orders numbers inside names by value.

    Example:
        >>> sorted(["w10", "w2", "a"], key=natural_key)
        ['a', 'w2', 'w10']
    """
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts)


def unknown(kind: str, given: str, known: Iterable[str]) -> str:
    """The text of an error about an unknown name: the nearest match first, then what is known.

    Example:
        >>> unknown("backend", "natve", ["native", "reference"])
        "unknown backend 'natve'; did you mean 'native'? Known: native, reference."
    """
    names = sorted(known, key=natural_key)
    lowered = {name.lower(): name for name in names}
    near = difflib.get_close_matches(given.lower(), lowered, n=1, cutoff=0.7)
    hint = f"; did you mean {lowered[near[0]]!r}?" if near else "."
    listed = ", ".join(names[:24]) + (f", ... ({len(names)} in all)" if len(names) > 24 else "")
    return f"unknown {kind} {given!r}{hint} Known: {listed or 'none'}."
