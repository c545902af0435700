"""`nisqkit why`: what each physical cause of noise costs a trained model, and what would help."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from nisqkit.cli.console import check_out, console, device_names

if TYPE_CHECKING:
    from torch import Tensor

    from nisqkit.qml.datasets import Dataset
    from nisqkit.qml.error_budget import ErrorBudget
    from nisqkit.qml.proposals import Proposal
    from nisqkit.qml.runs import Run

_SHOWN = 12


def why(
    run: Annotated[
        Path, typer.Argument(help="A run's folder, or a checkpoint.", show_default=False)
    ],
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Noisy device; `nisqkit devices` lists them.", show_default=False
        ),
    ],
    samples: Annotated[
        int, typer.Option(min=1, help="Use this many test samples, evenly spaced.")
    ] = 200,
    idle: Annotated[
        bool, typer.Option("--idle", help="Qubits that wait relax and dephase too.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help=f"List all causes, not the {_SHOWN} largest.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="PNG file to write.", show_default="why-NAME.png beside the run"),
    ] = None,
) -> None:
    """Say what each cause of noise costs a trained model on a device, and what would help.

    The loss that noise costs is divided among each edge's gates, each qubit's T1, T2 and readout,
    and idle time. Proposals have been tried on the same samples. Values are exact.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from nisqkit.noise.device import Device
    from nisqkit.qml.error_budget import error_budget
    from nisqkit.qml.error_budget_plot import budget_map
    from nisqkit.qml.evaluation import on_device
    from nisqkit.qml.models import quantum_layers
    from nisqkit.qml.plots import save_figure
    from nisqkit.qml.post_measurement_norm import freeze_statistics
    from nisqkit.qml.post_measurement_quantize import PostMeasurementQuantize
    from nisqkit.qml.proposals import propose
    from nisqkit.qml.runs import load_run
    from nisqkit.qml.training import torch_settings

    check_out(out)
    if out is not None and out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: give a file that ends in .png")
    (name,) = device_names([device])
    with warnings.catch_warnings(action="ignore"):  # its date is in the title
        noise = Device.load(name)
    loaded = load_run(run)
    dataset = _dataset(loaded)
    x, y = _test_samples(dataset, samples)
    model, on = loaded.model, None
    if quantum_layers(model):  # as `nisqkit evaluate` does: with its layout, and statistics there
        model = on_device(model, noise)
        freeze_statistics(model, dataset.valid.features)
    else:
        on = noise  # refused below
    columns = (TextColumn("{task.description}"), BarColumn(20), TimeRemainingColumn())
    with torch_settings(loaded.config), Progress(*columns, console=console, transient=True) as bar:
        first = bar.add_task("the error budget", total=1.0)
        second = bar.add_task("trying proposals", total=1.0)
        budget = error_budget(
            model,
            x,
            y,
            noise=on,
            idle=idle,
            progress=lambda done: bar.update(first, completed=done),
        )
        proposals = propose(
            model,
            x,
            y,
            noise=on,
            idle=idle,
            progress=lambda done: bar.update(second, completed=done),
        )
    _show_budget(budget, loaded.config.task_name, every)
    if any(isinstance(part, PostMeasurementQuantize) for part in loaded.model.modules()):
        _line(
            "between its nodes the model rounds to levels, where the loss jumps: what the parts "
            "miss of these jumps is in the residual"
        )
    _show_proposals(proposals, budget)
    target = out or loaded.path.parent / f"why-{name}.png"
    save_figure(budget_map(budget), target)
    _line(f"picture written to {target}")


def _dataset(run: Run) -> Dataset:
    from nisqkit.qml.fit import check_same_data
    from nisqkit.qml.training import load_data

    dataset = load_data(run.config)
    check_same_data(run.checkpoint, dataset, str(run.path))
    return dataset


def _test_samples(dataset: Dataset, samples: int) -> tuple[Tensor, Tensor]:
    import numpy as np
    import torch

    split = dataset.test
    # as `nisqkit evaluate --limit`, since the first rows of a test set can be easier than the rest
    rows = np.linspace(0, len(split) - 1, min(samples, len(split))).round().astype(int)
    return torch.from_numpy(split.features[rows]), torch.from_numpy(split.labels[rows])


def _line(text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def _show_budget(budget: ErrorBudget, task: str, every: bool) -> None:
    from nisqkit.qml.error_budget import accuracies, percent, points

    _line(f"{task} on {budget.title}, {budget.num_samples} test samples")
    for name, layout in budget.layouts:
        of = f" of layer {name}" if len(budget.layouts) > 1 else ""
        _line(f"layout{of} {'-'.join(map(str, layout))}")
    change = budget.noisy_loss - budget.noise_free_loss
    _line(
        f"loss {budget.noise_free_loss:.4f} noise-free, {budget.noisy_loss:.4f} noisy: noise costs "
        f"{change:+.4f} {budget.unit}"
        f"{accuracies(budget.noise_free_accuracy, budget.noisy_accuracy)}"
    )
    table = Table(title="what each cause costs", title_justify="left")
    table.add_column("cause")
    for column in (f"loss ({budget.unit})", "share", "accuracy without it"):
        table.add_column(column, justify="right")
    shown = budget.parts if every else budget.parts[:_SHOWN]
    for part in shown:
        without = points(part.accuracy_without, budget.noisy_accuracy)
        table.add_row(part.cause, f"{part.loss:+.4f}", percent(part.share), without)
    if rest := budget.parts[len(shown) :]:
        loss, share = sum(p.loss for p in rest), sum(p.share for p in rest)
        table.add_row(f"{len(rest)} others (--all)", f"{loss:+.4f}", percent(share), "")
    table.add_section()
    for kind, loss in budget.by_kind().items():
        share = loss / change if change else float("nan")
        table.add_row(f"all {kind}", f"{loss:+.4f}", percent(share), "")
    console.print(table)
    _line(f"residual of the integration: {budget.residual:+.1e} {budget.unit}")


def _show_proposals(proposals: tuple[Proposal, ...], budget: ErrorBudget) -> None:
    from nisqkit.qml.error_budget import points

    table = Table(title="what was tried, on the same samples", title_justify="left")
    table.add_column("proposal")
    for column in ("accuracy", f"loss ({budget.unit})"):
        table.add_column(column, justify="right")
    for proposal in proposals:
        gain = points(proposal.accuracy, budget.noisy_accuracy)
        style = None if proposal.is_better else "dim"
        table.add_row(proposal.what, gain, f"{proposal.loss_change:+.4f}", style=style)
    console.print(table)
