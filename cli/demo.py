"""`nisqkit demo`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from nisqkit.cli.console import accuracy_table, console, with_interval


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs/demo"),
) -> None:
    """Train a 4-qubit circuit on digits, and put it beside noisy devices and classical models.

    Takes about a minute.
    """
    start = time.perf_counter()
    from nisqkit.cli.watcher import ProgressWatcher, progress_bar
    from nisqkit.qml.demo import CONFIG, SEEDS, run_demo

    console.print(
        f"Circuits of 4 qubits and depth {CONFIG.depth} learn to tell the handwritten digits 0 to "
        f"3 apart,\naveraged to 4 x 4 = 16 features; {SEEDS} seeds.",
        highlight=False,
    )
    with progress_bar() as progress:
        result = run_demo(
            out,
            config=CONFIG,
            num_seeds=SEEDS,
            watcher=lambda name, seed: ProgressWatcher(progress, f"{name}, seed {seed}"),
        )
    rows = [
        (r.model, r.condition, r.parameters, with_interval(r.mean, r.low, r.high))
        for r in result.rows
    ]
    console.print(accuracy_table(f"Mean of {SEEDS} seeds with Student's 95 % interval", rows))
    earlier = " (those of an earlier demonstration were replaced)" if result.replaced else ""
    seconds = time.perf_counter() - start
    console.print(f"{seconds:.0f} s; results in {out}{earlier}", soft_wrap=True, highlight=False)
    for picture in result.pictures:
        console.print(f"  {picture}", soft_wrap=True, highlight=False)
