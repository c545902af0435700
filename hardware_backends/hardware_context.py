"""What commands tell the hardware backends that are made inside them, however deep in a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class HardwareContext:
    """Defaults of hardware backends.

    Attributes:
        run: Name of the run in the ledger.
        command: What `nisqkit resume` needs to go on with the run, as plain JSON.
        ledger: The ledger's file.
        max_qpu_seconds: What the run may take in all.
        again: Whether jobs that were lost are sent once more.
    """

    run: str | None = None
    command: Mapping[str, Any] | None = None
    ledger: str | None = None
    max_qpu_seconds: float | None = None
    again: bool = False


_current: ContextVar[HardwareContext | None] = ContextVar("nisqkit_hardware", default=None)


def current_hardware() -> HardwareContext:
    """The defaults at this moment."""
    return _current.get() or HardwareContext()


@contextmanager
def hardware_context(**values: Any) -> Iterator[None]:
    """Set defaults of all hardware backends that are made inside; others stay as they are.

    Args:
        **values: Fields of `HardwareContext`.

    Example:
        >>> with hardware_context(max_qpu_seconds=60), hardware_context(run="runs/first"):
        ...     current_hardware().run, current_hardware().max_qpu_seconds
        ('runs/first', 60)
    """
    token = _current.set(replace(current_hardware(), **values))
    try:
        yield
    finally:
        _current.reset(token)
