"""Unknown names in error messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest one, or all there are.

    Example:
        >>> nearest("two_qubit_gate", ["two_qubit_gates", "depth"])
        "; did you mean 'two_qubit_gates'?"
    """
    names = list(known)
    close = get_close_matches(str(name), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {names}"
