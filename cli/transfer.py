"""`nisqkit transfer`: what models that were trained on one device do on others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from nisqkit.cli.console import check_out, console, device_names

if TYPE_CHECKING:
    from nisqkit.qml.transfer import TransferMatrix


def transfer(
    run: Annotated[
        list[Path],
        typer.Argument(help="Folders of runs, or of seeds of a run.", show_default=False),
    ],
    device: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="Noisy device; `nisqkit devices` lists them. May be repeated.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("transfer.png"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file to write, with every seed's accuracy.")
    ] = None,
) -> None:
    """Test trained models on all devices, whether they were trained on these or not.

    Rows are the runs, columns noise-free values and the devices. Values are exact.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from nisqkit.qml.checkpoint import write_atomic
    from nisqkit.qml.plots import save_figure
    from nisqkit.qml.transfer import transfer_matrix
    from nisqkit.qml.transfer_plot import transfer_plot

    check_out(out)
    check_out(json_file)
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: give a file that ends in .png")
    devices = device_names(device)
    columns = (TextColumn("{task.description}"), BarColumn(20), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("evaluating", total=1.0)
        matrix = transfer_matrix(
            run, devices, progress=lambda done: bar.update(task, completed=done)
        )
    console.print(_table(matrix))
    save_figure(transfer_plot(matrix), out)
    written = [out]
    if json_file is not None:
        write_atomic(json_file, f"{json.dumps(matrix.to_dict(), indent=2)}\n".encode())
        written.append(json_file)
    names = " and ".join(map(str, written))
    console.print(f"written to {names}", soft_wrap=True, highlight=False)


def _table(matrix: TransferMatrix) -> Table:
    from nisqkit.qml.transfer_plot import cell_text

    table = Table(
        title=f"{matrix.task}: test accuracy, %; rows: trained on, columns: tested on",
        title_justify="left",
    )
    table.add_column("")
    for name in matrix.columns:
        table.add_column(name, justify="right", overflow="fold")
    for name, own, row in zip(matrix.rows, matrix.trained_on, matrix.accuracies, strict=True):
        cells = [cell_text(seeds) for seeds in row]
        bold = [
            f"[bold]{cell}[/]" if column == own else cell
            for cell, column in zip(cells, matrix.columns, strict=True)
        ]
        table.add_row(name, *bold)
    return table
