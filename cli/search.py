"""`nisqkit search`: find a circuit and its qubits for a task and a device, and train it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from nisqkit.cli.console import console, device_names, with_interval

search = typer.Typer(invoke_without_command=True)


@search.callback()
def _search(
    context: typer.Context,
    task: Annotated[str, typer.Option(help="Task; `nisqkit tasks` lists them.")] = "digits4",
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the task's files.")] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Device.", show_default=False)
    ] = None,
    space: Annotated[
        str, typer.Option(help="u3cu3, zzry, rxyz, zxxx, rxyz_u1_cu3 or ibm_basis.")
    ] = "u3cu3",
    blocks: Annotated[
        int | None,
        typer.Option(min=1, help="Blocks of the SuperCircuit.", show_default="of the space"),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="Hard limit, such as 'two_qubit_gates<=40'. May be repeated.", show_default=False
        ),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="What is minimised: score, and with it two_qubit_gates, depth, parameters or "
            "duration_seconds. May be repeated.",
            show_default="score",
        ),
    ] = None,
    score: Annotated[
        str,
        typer.Option(
            help="loss (exact noise), loss/success (estimated), ideal (none) or training-free."
        ),
    ] = "loss",
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate/--plain-loss", help="Take the loss at the best scale of the logits."
        ),
    ] = True,
    evaluations: Annotated[
        int | None, typer.Option(min=1, help="Candidates.", show_default="1600; joint: 400")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="evolution, nsga2, regularized or random.",
            show_default="evolution; nsga2 with several objectives",
        ),
    ] = None,
    sampling: Annotated[
        str, typer.Option(help="Of sub-circuits in training: plain, restricted or progressive.")
    ] = "restricted",
    super_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of the SuperCircuit.", show_default="100; joint: 40"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the winner.", show_default="60; joint: 20")
    ] = None,
    prune: Annotated[
        float | None,
        typer.Option(
            min=0, max=0.95, help="Share of the winner's angles to prune.", show_default="none"
        ),
    ] = None,
    joint: Annotated[
        bool,
        typer.Option(
            "--joint",
            help="Search a hybrid model instead: circuit, qubits, encoder, bits, shots, and what "
            "is trained, under budgets such as 'weight_bytes<=8k' and 'qpu_seconds_per_epoch<=60'.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that evaluate.")] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where the study is kept: a file, or a URL such as postgresql://...",
            show_default="a file in --out",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("runs/search"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in --out.")] = (
        False
    ),
) -> None:
    """Search a circuit and its qubits for a device, and train what was found (QuantumNAS).

    One SuperCircuit is trained, an evolutionary search scores its sub-circuits on qubits of the
    device under its exact noise, the best are transpiled, and the winner is trained from scratch.
    The folder then holds winner/, a run for evaluate, profile, mitigate and the others.
    """
    if context.invoked_subcommand is not None:
        return
    if device is None:
        raise ValueError("search needs a device to search for: --device NAME, see nisqkit devices")
    from nisqkit.cli.search_watcher import SearchWatcher
    from nisqkit.qml.joint_run import JointConfig, run_joint
    from nisqkit.qml.quantum_nas import NasConfig, run_nas

    (name,) = device_names([device])
    common: dict[str, Any] = {
        "task": task,
        "data_dir": None if data_dir is None else str(data_dir),
        "device": name,
        "space": space,
        "budgets": tuple(budget or ()),
        "seed": seed,
    }
    given = {
        "blocks": blocks,
        "objectives": tuple(objective) if objective else None,
        "evaluations": evaluations,
        "super_epochs": super_epochs,
        "epochs": epochs,
    }
    common |= {key: value for key, value in given.items() if value is not None}
    if joint:
        only = {
            "--sampler": sampler,
            "--prune": prune,
            "--workers": workers if workers > 1 else None,
        }
        if idle := [option for option, value in only.items() if value is not None]:
            raise ValueError(f"{idle[0]} does not go with --joint: leave it out")
        config: JointConfig | NasConfig = JointConfig(**common)
    else:
        config = NasConfig(
            **common,
            score=score,
            calibrate=calibrate,
            sampler=sampler,
            sampling=sampling,
            prune=prune,
        )
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        watcher = SearchWatcher(bar, out / "search.png")
        if isinstance(config, JointConfig):
            report = run_joint(config, out, storage=storage, resume=resume, watcher=watcher)
        else:
            report = run_nas(
                config, out, storage=storage, workers=workers, resume=resume, watcher=watcher
            )
    (_print_joint if joint else _print)(report, out)


@search.command()
def report(
    study: Annotated[Path, typer.Argument(help="Folder of a search.", show_default=False)],
    storage: Annotated[
        str | None,
        typer.Option(help="As it was given to the search.", show_default="in the folder"),
    ] = None,
) -> None:
    """Show the front of a search, also of one that is going on, and what came out.

    Draws search.png again.
    """
    from nisqkit.qml.quantum_nas import open_search

    finished = study / "report.json"
    if finished.is_file() and (found := json.loads(finished.read_text("utf-8"))).get("kind"):
        _print_joint(found, study)
        return
    opened, _ = open_search(study, storage)
    if not opened.evaluated:
        raise ValueError(f"nothing is evaluated yet in {study}")
    opened.plot(study / "search.png")
    file = study / "report.json"
    if file.is_file():
        _print(json.loads(file.read_text("utf-8")), study)
        return
    console.print(_front([(c.value, dict(c.metrics)) for c in opened.front], "Front so far"))
    console.print(f"{len(opened.evaluated)} candidates evaluated; picture: {study / 'search.png'}")


def _front(front: list[tuple[dict[str, Any], dict[str, float]]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("qubits")
    table.add_column("blocks", justify="right")
    for name in ("weights", "2-qubit gates", "depth", "score", "accuracy"):
        table.add_column(name, justify="right")
    for candidate, metrics in front:
        table.add_row(
            ",".join(map(str, candidate["layout"])),
            str(len(candidate["circuit"])),
            f"{metrics['parameters']:.0f}",
            f"{metrics['two_qubit_gates']:.0f}",
            f"{metrics['depth']:.0f}",
            f"{metrics['score']:.4f}",
            f"{metrics['accuracy']:.1%}" if "accuracy" in metrics else "",
        )
    return table


def _print_joint(found: dict[str, Any], out: Path) -> None:
    config = found["config"]
    table = Table(
        title=f"{config['task']} on {config['device']}: front of {found['evaluated']} candidates "
        f"of {found['space_size']:.3g}, weights inherited and tuned",
        title_justify="left",
    )
    for name in ("loss", "accuracy", "bytes", "QPU s", "2-qubit", "shots", "trained", "bits"):
        table.add_column(name, justify="left" if name in ("trained", "bits") else "right")
    rows = sorted(found["front"], key=lambda one: one["metrics"]["loss"])
    for one in rows[:15]:
        chosen, metrics = one["candidate"], one["metrics"]
        bits = [*chosen["weight_bits"].values(), chosen["angle_bits"], chosen["measurement_bits"]]
        table.add_row(
            f"{metrics['loss']:.3f}",
            f"{metrics['accuracy']:.1%}",
            f"{metrics['weight_bytes']:.0f}",
            f"{metrics['qpu_seconds_per_epoch']:.0f}",
            f"{metrics['two_qubit_gates']:.0f}",
            str(chosen["shots"]),
            chosen["trained"],
            "/".join(map(str, bits)),
        )
    console.print(table)
    console.print(
        "QPU s: of an epoch by parameter shift; bits: of weights, angles, measured values"
    )
    tested = Table(title="The winner, trained on, test split", title_justify="left")
    for name in ("model", "on", "accuracy"):
        tested.add_column(name, justify="right" if name == "accuracy" else "left")
    for one in found["result"]["test"]:
        low, high = one["accuracy_interval_95"]
        text = with_interval(one["accuracy"], low, high)
        tested.add_row("winner", one["condition"], text)
    for one in found["baselines"]:
        low, high = one["test_interval"]
        tested.add_row(one["name"], "classical", with_interval(one["test_accuracy"], low, high))
    console.print(tested)
    console.print(f"results in {out}", highlight=False, soft_wrap=True)


def _print(found: dict[str, Any], out: Path) -> None:
    from nisqkit.qml.statistics import wilson_interval

    config = found["config"]
    front = [(one["candidate"], one["metrics"]) for one in found["front"][:12]]
    title = (
        f"{config['task']} on {config['device']}: {found['evaluated']} candidates of "
        f"{found['space_size']:.3g}, weights inherited"
    )
    console.print(_front(front, title))
    table = Table(title="Trained from scratch, test split", title_justify="left")
    table.add_column("model")
    table.add_column("weights", justify="right")
    table.add_column("gates", justify="right")
    table.add_column("on")
    table.add_column("accuracy", justify="right")
    for name, row in found["results"].items():
        gates = ", ".join(f"{number} {gate}" for gate, number in row["gates"].items())
        for condition, accuracy in row["test_accuracy"].items():
            total = row["test_samples"]
            low, high = wilson_interval(round(accuracy * total), total)
            table.add_row(
                name, str(row["parameters"]), gates, condition, with_interval(accuracy, low, high)
            )
    for one in found["baselines"]:
        low, high = one["test_interval"]
        table.add_row(
            one["name"],
            str(one["num_parameters"]),
            "",
            "classical",
            with_interval(one["test_accuracy"], low, high),
        )
    console.print(table)
    for name, what in (
        ("block_loss_against_transpiled", "loss by blocks against transpiled"),
        ("inherited_against_scratch", "inherited weights against from scratch"),
    ):
        if (one := found[name]) is not None:
            console.print(
                f"Spearman, {what}: {one['spearman']:.2f} ({one['low']:.2f} to {one['high']:.2f}), "
                f"{one['count']} circuits",
                highlight=False,
            )
    console.print(f"results in {out}", highlight=False, soft_wrap=True)
