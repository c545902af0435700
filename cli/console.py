"""What the commands print with: two consoles, and tables."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

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


def check_out(out: Path | None) -> None:
    """Refuse a file to write whose folder does not exist, before any work is done for it."""
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        what = f"{out} is a folder" if out.is_dir() else f"there is no folder {out.parent}"
        raise FileNotFoundError(f"--out {out}: {what}; give a file in a folder that exists")


def device_names(given: list[str] | None) -> tuple[str, ...]:
    """Check the values of --device."""
    from nisqkit.noise.device_sources import available_devices

    for text in given or ():
        names = [name.strip() for name in text.split(",")]
        if len(names) > 1:
            repeated = " ".join(f"--device {name}" for name in names if name)
            raise ValueError(f"--device {text}: repeat the option for each device: {repeated}")
        if text not in (known := available_devices()):
            near = difflib.get_close_matches(text, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"no device named {text!r}; {hint}`nisqkit devices` lists all")
    return tuple(given or ())


def with_interval(mean: float, low: float, high: float) -> str:
    """Write an accuracy and its interval in percent.

    Example:
        >>> with_interval(0.9, 0.85, 0.94)
        '90.0 % (85.0 to 94.0)'
    """
    return f"{100 * mean:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
