"""The `nisqkit` command: its options, its errors, and its small commands.

Commands import what they need when they run, so that ``nisqkit --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import version
from typing import Annotated, Any

import typer
import typer.core

from nisqkit.cli.bench import bench
from nisqkit.cli.console import console, errors
from nisqkit.cli.demo import demo
from nisqkit.cli.device import device
from nisqkit.cli.evaluate import evaluate, predict
from nisqkit.cli.mitigate import mitigate
from nisqkit.cli.profile import profile
from nisqkit.cli.search import search
from nisqkit.cli.submit import jobs, resume, submit
from nisqkit.cli.train import train
from nisqkit.cli.transfer import transfer
from nisqkit.cli.why import why

INTERRUPTED = 130
FAILED = 2


class CleanErrors(typer.core.TyperGroup):
    """Shows what the library refuses as one line, and Ctrl-C as what was saved."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            errors.print(f"\n{stop or 'interrupted'}", style="yellow", markup=False, soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit from None
        except (ValueError, OSError, ImportError) as error:
            if ctx.params.get("traceback"):
                raise
            errors.print(f"Error: {error}", style="red", markup=False, soft_wrap=True)
            raise typer.Exit(FAILED) from None


app = typer.Typer(
    cls=CleanErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="PyTorch layers from quantum circuits, trained for noisy devices.",
)
app.command()(train)
app.command()(evaluate)
app.command()(predict)
app.command()(transfer)
app.command()(device)
app.command()(why)
app.command()(mitigate)
app.command()(profile)
app.command()(submit)
app.command()(resume)
app.command()(jobs)
app.command()(demo)
app.add_typer(bench, name="bench")
app.add_typer(search, name="search")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"nisqkit {version('nisqkit')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    traceback: Annotated[
        bool,
        typer.Option("--traceback", envvar="NISQKIT_TRACEBACK", help="Show where an error arose."),
    ] = False,
) -> None:
    """Take the options that stand before the command."""


@app.command()
def devices() -> None:
    """List the devices, with qubits and date; `nisqkit device NAME` shows one."""
    from nisqkit.noise.device import Device
    from nisqkit.noise.device_sources import available_devices

    names = available_devices()
    width = max(map(len, names))
    with warnings.catch_warnings(action="ignore"):  # what a snapshot says about itself when loaded
        for found in map(Device.load, names):
            date = f"{found.date:%Y-%m-%d}" if found.date else "undated"
            print(f"{found.name:<{width}} {found.num_qubits:>4} qubits, {date}")


@app.command()
def tasks() -> None:
    """List the tasks for --task."""
    from nisqkit.qml.datasets import available_datasets

    for name in available_datasets():
        console.print(name, highlight=False)


@app.command()
def circuits() -> None:
    """List the circuits for --circuit."""
    from nisqkit.qml.models import CIRCUITS

    for name in CIRCUITS:
        console.print(name, highlight=False)
