"""The name under which a command's hardware jobs are kept, so that it can be resumed by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NamedRun:
    """A run.

    Attributes:
        name: In the ledger.
        command: What `nisqkit resume` needs to go on with it, as plain JSON.
    """

    name: str
    command: Mapping[str, Any]


_current: ContextVar[NamedRun | None] = ContextVar("nisqkit_named_run", default=None)


def current_run() -> NamedRun | None:
    """The run that is named at this moment, if any."""
    return _current.get()


@contextmanager
def named_run(name: str, command: Mapping[str, Any]) -> Iterator[None]:
    """Name the run of all hardware backends that are made inside and have no run of their own.

    Example:
        >>> with named_run("runs/first", {"kind": "train", "out": "runs/first"}):
        ...     current_run().name
        'runs/first'
    """
    token = _current.set(NamedRun(name, command))
    try:
        yield
    finally:
        _current.reset(token)
