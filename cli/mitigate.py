"""`nisqkit mitigate`: what error mitigation is worth for a trained model, and what it costs."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from nisqkit.cli.console import check_out, console, device_names


def mitigate(
    run: Annotated[
        Path, typer.Argument(help="A run's folder, or a checkpoint.", show_default=False)
    ],
    device: Annotated[str, typer.Option(metavar="NAME", help="Device.", show_default=False)],
    shots: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Measurements per sample, divided among the circuits of each mitigation.",
            show_default="exact values",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=2, help="Use this many test samples, evenly spaced.")
    ] = 50,
    out: Annotated[
        Path | None,
        typer.Option(
            help="PNG file to write, with a JSON file beside it.",
            show_default="mitigate-DEVICE.png beside the run",
        ),
    ] = None,
) -> None:
    """Compare zero-noise extrapolation, readout mitigation and their stacks on a trained model.

    The error is that of the last circuit's expectation values against noise-free ones. With shots,
    every row spends as many in all.
    """
    from nisqkit.noise.device import Device
    from nisqkit.qml.checkpoint import write_atomic
    from nisqkit.qml.evaluation import limited
    from nisqkit.qml.fit import check_same_data
    from nisqkit.qml.mitigation_plot import extrapolation_plot
    from nisqkit.qml.mitigation_report import (
        STACKS,
        cancellation_limit,
        extrapolations,
        mitigation_report,
    )
    from nisqkit.qml.plots import save_figure
    from nisqkit.qml.post_measurement_norm import frozen_norms
    from nisqkit.qml.runs import load_run
    from nisqkit.qml.statistics import wilson_interval
    from nisqkit.qml.training import load_data, torch_settings

    check_out(out)
    if out is not None and out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: give a file that ends in .png")
    (name,) = device_names([device])
    with warnings.catch_warnings(action="ignore"):  # its date is in the title
        noise = Device.load(name)
    loaded = load_run(run)
    dataset = load_data(loaded.config)
    check_same_data(loaded.checkpoint, dataset, str(loaded.path))
    split = limited(dataset.test, limit)
    features, _ = split.tensors()
    freeze_on = dataset.valid.tensors()[0] if frozen_norms(loaded.model) else None
    with torch_settings(loaded.config), console.status("raw") as status:
        rows = mitigation_report(
            loaded.model,
            split,
            dataset.class_names,
            noise,
            shots=shots,
            freeze_on=freeze_on,
            progress=lambda text: status.update(f"{text} ({len(STACKS)} in all)"),
        )
        limit_of_pec = cancellation_limit(loaded.model, split, noise, freeze_on)
        curves = extrapolations(loaded.model, features, noise)
    date = f" of {noise.date:%Y-%m-%d}" if noise.date else ""
    spent = "exact values" if shots is None else f"{shots} shots per sample in all"
    title = f"{loaded.config.task_name} on {name}{date}, {len(split)} test samples, {spent}"
    table = Table(title=title, title_justify="left")
    table.add_column("mitigation")
    sampled = () if shots is None else ("standard error", "shots of each")
    for column in ("error", "accuracy", "circuits", *sampled):
        table.add_column(column, justify="right")
    for row in rows:
        low, high = wilson_interval(row.correct, row.total)
        worse = row.error > rows[0].error
        table.add_row(
            row.name,
            f"{row.error:.4f}" + (" worse" if worse else ""),
            f"{row.correct / row.total:.1%} ({low:.1%} to {high:.1%})",
            f"{row.circuits:g}x",
            *(() if shots is None else (f"{row.std:.4f}" if row.std else "", str(row.shots))),
            style="red" if worse else None,
        )
    console.print(table)
    console.print(
        f"PEC + readout: its bias, an error of {limit_of_pec.bias:.4f}, is what infinitely many "
        f"patterns leave; it multiplies standard errors by {limit_of_pec.overhead:.2f}."
    )
    target = out or loaded.path.parent / f"mitigate-{name}.png"
    save_figure(extrapolation_plot(curves, f"{loaded.config.task_name} on {name}{date}"), target)
    content = {"title": title, "rows": [row.to_dict() for row in rows], "pec": asdict(limit_of_pec)}
    write_atomic(target.with_suffix(".json"), f"{json.dumps(content, indent=2)}\n".encode())
    console.print(
        f"written to {target} and {target.with_suffix('.json')}", soft_wrap=True, highlight=False
    )
