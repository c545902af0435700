"""`nisqkit evaluate` and `nisqkit predict`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Annotated

import typer

from nisqkit.cli.console import accuracy_table, check_out, console, device_names, with_interval

_Run = Annotated[Path, typer.Argument(help="A run's folder, or a checkpoint.", show_default=False)]


def evaluate(
    run: _Run,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Noisy device. May be repeated."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="What simulates the device, such as aer.",
            show_default="native where the circuit fits",
        ),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(help="Measurements per circuit on devices.", show_default="exact values"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="Use this many test samples, evenly spaced.", show_default="all"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="JSON file to write.", show_default="evaluation.json beside the run"),
    ] = None,
) -> None:
    """Evaluate a trained model on its test split, noise-free and on devices."""
    from nisqkit.qml.checkpoint import write_atomic
    from nisqkit.qml.metrics import with_shots
    from nisqkit.qml.models import count_parameters
    from nisqkit.qml.runs import evaluate_run, load_run
    from nisqkit.qml.seeds import model_name

    check_out(out)
    devices = device_names(device)
    loaded = load_run(run)
    with console.status("evaluating"):
        results = list(evaluate_run(loaded, devices, shots=shots, limit=limit, backend=backend))
    model, parameters = model_name(loaded.config), count_parameters(loaded.model)
    rows = [
        (
            model,
            with_shots(r.condition, r.shots),
            parameters,
            with_interval(r.accuracy, *r.interval),
        )
        for r in results
    ]
    title = f"{loaded.config.task_name}, {results[0].total} test samples, Wilson's 95 % interval"
    console.print(accuracy_table(title, rows))
    content = {
        "run": str(loaded.path),
        "shots": shots,
        "backend": backend,
        "test": [result.to_dict() for result in results],
    }
    target = out or loaded.path.parent / "evaluation.json"
    write_atomic(target, f"{json.dumps(content, indent=2)}\n".encode())
    console.print(f"written to {target}", soft_wrap=True, highlight=False)


def predict(
    run: _Run,
    data: Annotated[
        Path,
        typer.Option(
            help="Samples: an .npz file with the array features, (N, F), or a .csv file with one "
            "sample per row.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write.", show_default="standard output")
    ] = None,
) -> None:
    """Predict the class of every sample in a file, with the probability of each class.

    Features must be prepared as the training data were: they are used as angles in radians and
    are not scaled.
    """
    from nisqkit.qml.checkpoint import write_atomic
    from nisqkit.qml.runs import load_run, read_features
    from nisqkit.qml.runs import predict as predict_classes

    check_out(out)
    loaded = load_run(run)
    labels, probabilities = predict_classes(loaded, read_features(data, loaded.num_features))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", *(f"p({name})" for name in loaded.class_names)])
    for label, row in zip(labels, probabilities, strict=True):
        writer.writerow([label, *(f"{p:.6f}" for p in row)])
    if out is None:
        print(text.getvalue(), end="")
    else:
        write_atomic(out, text.getvalue().encode())
        console.print(
            f"{len(labels)} predictions written to {out}", soft_wrap=True, highlight=False
        )
