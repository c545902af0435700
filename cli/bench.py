"""`nisqkit bench`: studies that compare methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from nisqkit.cli.console import console, device_names

bench = typer.Typer(no_args_is_help=True, help="Compare methods, with intervals over seeds.")


@bench.callback()
def _group() -> None:
    """Keep `nat` a command of its own: Typer would merge a single one into the group."""


@bench.command()
def nat(
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Task; `nisqkit tasks` lists them. May be repeated.",
            show_default="digits4",
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Device to train for. May be repeated.",
            show_default="fake_santiago, fake_yorktown, fake_belem",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with the files of the tasks.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="How many seeds.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = 60,
    full: Annotated[bool, typer.Option("--full", help="200 epochs, as in the paper.")] = False,
    technique: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Only this row. May be repeated.", show_default="all"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes.", show_default="one per core")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for runs and results.")] = Path("runs/nat"),
) -> None:
    """Measure each technique of QuantumNAT: normalisation, injection of every kind, quantisation.

    Every row is trained for each task, device and seed, and judged on the device's full noise,
    beside a circuit without entanglement and classical models. The same command again goes on
    after an interruption. Writes nat.json, nat.md and nat.png.
    """
    from nisqkit.qml.checkpoint import write_atomic
    from nisqkit.qml.nat_plot import nat_plot
    from nisqkit.qml.nat_report import entries, settings, to_json, to_markdown
    from nisqkit.qml.nat_study import FULL_EPOCHS, TECHNIQUES, NatStudy, find_technique, run_study
    from nisqkit.qml.plots import save_figure
    from nisqkit.qml.run_folder import RunFolder

    devices = device_names(device) or ("fake_santiago", "fake_yorktown", "fake_belem")
    keys = tuple(find_technique(key).key for key in technique or [t.key for t in TECHNIQUES])
    study = NatStudy(
        tuple(task or ["digits4"]),
        devices,
        seeds,
        FULL_EPOCHS if full else epochs,
        None if data_dir is None else str(data_dir),
        keys,
    )
    for name in devices:
        console.print(f"{name}: {settings(name)}", highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        TextColumn("{task.completed} of {task.total} epochs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        records = run_study(study, out, workers=workers, progress=_bar(bar))
    out.mkdir(parents=True, exist_ok=True)
    RunFolder(out).write_json(out / "nat.json", to_json(records))
    write_atomic(out / "nat.md", to_markdown(records).encode())
    if entries(records):
        save_figure(nat_plot(records), out / "nat.png")
    _show(records)
    for cell, error in records.failures.items():
        console.print(f"failed: {cell}: {error}", style="red", markup=False, soft_wrap=True)
    console.print(f"results in {out}: nat.json, nat.md, nat.png", soft_wrap=True, highlight=False)
    if records.failures:
        raise typer.Exit(1)


def _bar(bar: Progress) -> Any:
    """The progress of a study as one bar."""
    from nisqkit.qml import nat_study

    class Bar(nat_study.Progress):
        def started(self, epochs: int, done: int) -> None:
            self.bar = bar.add_task("classical models", total=epochs, completed=done)

        def epoch(self, cell: nat_study.Cell) -> None:
            bar.update(self.bar, advance=1, description=str(cell))

        def failed(self, cell: nat_study.Cell, error: str) -> None:
            bar.console.print(f"failed: {cell}", style="red", markup=False)

    return Bar()


def _show(records: Any) -> None:
    from nisqkit.qml.nat_report import classical_rows, entries, percent, short
    from nisqkit.qml.nat_study import find_technique

    table = entries(records)
    for task in records.study.tasks:
        for device in records.study.devices:
            title = f"{task} on {device}: accuracy, %, mean ± half of the 95 % interval"
            shown = Table(title=title, title_justify="left")
            shown.add_column("technique")
            for column in ("on the device", "noise-free", "retained", "gain"):
                shown.add_column(column, justify="right")
            for entry in table:
                if (entry.task, entry.device) == (task, device):
                    shown.add_row(
                        find_technique(entry.technique).title,
                        short(entry.device_accuracy),
                        short(entry.noise_free_accuracy),
                        short(entry.retained),
                        "" if entry.gain is None else short(entry.gain, "+"),
                    )
            console.print(shown)
        for name, _, accuracy in classical_rows(records, task):
            console.print(f"{task}, {name}: {percent(accuracy)}", highlight=False)
