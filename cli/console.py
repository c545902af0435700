"""What the commands print with: two consoles, and tables."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

console = Console()
errors = Console(stderr=True)


def accuracy_table(title: str, rows: Iterable[tuple[str, str, int | None, str]]) -> Table:
    """Lay out rows of (model, condition, parameters, accuracy with interval)."""
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    table.add_column("on")
    table.add_column("parameters", justify="right")
    table.add_column("test accuracy", justify="right")
    for model, condition, parameters, accuracy in rows:
        table.add_row(model, condition, "" if parameters is None else str(parameters), accuracy)
    return table


def with_interval(mean: float, low: float, high: float) -> str:
    """Write an accuracy and its interval in percent.

    Example:
        >>> with_interval(0.9, 0.85, 0.94)
        '90.0 % (85.0 to 94.0)'
    """
    return f"{100 * mean:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
