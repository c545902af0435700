"""`nisqkit submit`, `nisqkit resume` and `nisqkit jobs`: trained models on IBM's machines."""

from __future__ import annotations

import json
import time
import uuid
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from nisqkit.cli.console import accuracy_table, check_out, console, with_interval

_Ledger = Annotated[
    Path | None,
    typer.Option(help="The ledger's file.", show_default="NISQKIT_LEDGER, or in your data folder"),
]


def submit(
    run: Annotated[
        Path, typer.Argument(help="A training run's folder, or a checkpoint.", show_default=False)
    ],
    backend: Annotated[
        str,
        typer.Option(help="Such as ibm:ibm_fez, or ibm:fake_fez, which costs nothing."),
    ],
    shots: Annotated[int, typer.Option(min=1, help="Measurements per circuit.")] = 4096,
    limit: Annotated[
        int, typer.Option(min=1, help="Use this many test samples, evenly spaced.")
    ] = 50,
    mitigation: Annotated[
        list[str] | None,
        typer.Option(
            help="twirling, zne, readout or readout-calibrated; repeat it for several, in order.",
            show_default="readout",
        ),
    ] = None,
    no_mitigation: Annotated[
        bool, typer.Option("--no-mitigation", help="Raw values only, at a fraction of the price.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show jobs, QPU seconds and price; send nothing.")
    ] = False,
    max_qpu_seconds: Annotated[
        float | None,
        typer.Option(help="Send nothing beyond this. Looked at before each job.", min=0.0),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the run in the ledger.", show_default="new")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="JSON file to write.", show_default="submit-NAME.json beside the run"),
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option(help="Of IBM Quantum, name or CRN.", show_default="that of the account"),
    ] = None,
    mode: Annotated[str, typer.Option(help="auto, job, batch or session.")] = "auto",
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Of IBM's primitives, such as dynamical_decoupling.enable=true, "
            "twirling.enable_gates=true or resilience_level=1.",
        ),
    ] = None,
    ledger: _Ledger = None,
) -> None:
    """Evaluate a trained model on a machine of IBM Quantum, or on a fake of one.

    Every job is in the ledger before it is sent. After a crash, a lost connection or a reboot
    `nisqkit resume NAME` goes on, and no job is paid twice.
    """
    if no_mitigation and mitigation:
        raise ValueError("--no-mitigation goes without --mitigation: leave one of them out")
    check_out(out)
    chosen = [] if no_mitigation else (mitigation or ["readout"])
    label = name or f"{backend.removeprefix('ibm:')}-{uuid.uuid4().hex[:8]}"
    command = {
        "kind": "submit",
        "checkpoint": str(run.resolve()),
        "backend": backend,
        "shots": shots,
        "limit": limit,
        "mitigation": chosen,
        "max_qpu_seconds": max_qpu_seconds,
        "out": None if out is None else str(out.resolve()),
        "instance": instance,
        "mode": mode,
        "options": _options(option or []),
    }
    _submit(label, command, ledger, dry_run=dry_run)


def resume(
    run: Annotated[str, typer.Argument(help="A run of the ledger, or a training run's folder.")],
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Send jobs once more that failed, were cancelled, or whose result is gone. They "
            "are paid once more.",
        ),
    ] = False,
    job_id: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG=ID", help="Which job at IBM it is that was sent under a tag."),
    ] = None,
    max_qpu_seconds: Annotated[
        float | None, typer.Option(help="A new limit for the run.", min=0.0)
    ] = None,
    ledger: _Ledger = None,
) -> None:
    """Go on with a run after a crash: jobs that are paid for are fetched, never sent twice."""
    from nisqkit.hardware_backends.ibm.ledger import Ledger

    book = Ledger(ledger)
    label = str(Path(run).resolve()) if Path(run).is_dir() else run
    command = book.command(label)
    for given in job_id or ():
        tag, equals, number = given.partition("=")
        if not (equals and tag and number):
            raise ValueError(f"--job-id {given}: give TAG=ID, as nisqkit jobs shows them")
        book.submitted(book.tagged(tag), number)
    kind = None if command is None else command["kind"]
    if command is not None and kind == "submit":
        if max_qpu_seconds is not None:
            command["max_qpu_seconds"] = max_qpu_seconds
        _submit(label, command, ledger, again=again)
    elif command is not None and kind == "train":
        _train(label, command, again, max_qpu_seconds, ledger)
    else:
        _fetch(label, book, again, max_qpu_seconds)


def jobs(
    run: Annotated[
        str | None, typer.Argument(help="Jobs of this run only.", show_default="all runs")
    ] = None,
    ledger: _Ledger = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the jobs of the ledger with their states and costs; nothing is asked or sent."""
    from dataclasses import asdict

    from nisqkit.hardware_backends.ibm.ledger import Ledger
    from nisqkit.hardware_backends.ibm_price import price_usd

    book = Ledger(ledger)
    if run is not None:
        run = str(Path(run).resolve()) if Path(run).is_dir() else run
        book.command(run)  # raises if there is none
    entries = book.entries(run)
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries], indent=2))
        return
    table = Table(title=f"jobs in {book.path}", title_justify="left")
    for column in ("run", "state", "job", "on", "sent"):
        table.add_column(column, overflow="fold")
    for column in ("PUBs", "executions", "QPU s", "USD"):
        table.add_column(column, justify="right")
    for entry in entries:
        used = entry.used_seconds
        seconds = entry.estimated_seconds if used is None else used
        sent = (
            "" if entry.sent is None else time.strftime("%m-%d %H:%M", time.localtime(entry.sent))
        )
        table.add_row(
            entry.run,
            entry.state + (f": {entry.message}" if entry.message else ""),
            entry.job_id or entry.tag,
            entry.backend,
            sent,
            str(entry.pubs),
            str(entry.executions),
            f"{seconds:.1f}" + ("" if used is not None else " est."),
            f"{price_usd(seconds):.2f}",
        )
    console.print(table)
    waiting = sum(entry.state in ("prepared", "sending", "submitted") for entry in entries)
    done = sum(entry.state == "done" for entry in entries)
    console.print(
        f"{len(entries)} jobs: {done} with results, {waiting} without. Prices are pay-as-you-go."
    )


def _submit(
    label: str,
    command: dict[str, Any],
    ledger: Path | None,
    *,
    dry_run: bool = False,
    again: bool = False,
) -> None:
    from nisqkit.hardware_backends.ibm import IBMBackend
    from nisqkit.hardware_backends.ibm.runner import OverBudget
    from nisqkit.qml.checkpoint import write_atomic
    from nisqkit.qml.evaluation import evaluate_everywhere
    from nisqkit.qml.fit import check_same_data
    from nisqkit.qml.models import count_parameters
    from nisqkit.qml.runs import load_run
    from nisqkit.qml.seeds import model_name
    from nisqkit.qml.submit import (
        evaluate_on_hardware,
        layout_on,
        mitigation_stack,
        plan_evaluation,
    )
    from nisqkit.qml.training import load_data, torch_settings

    shots, limit, names = command["shots"], command["limit"], command["mitigation"]
    stacks = {"raw": mitigation_stack([])}
    if names:
        stacks[" + ".join(names)] = mitigation_stack(names)
    with warnings.catch_warnings(action="ignore"):  # the calibration's date is in the plan
        loaded = load_run(command["checkpoint"])
        machine = IBMBackend(
            command["backend"],
            layout=layout_on(loaded.config, command["backend"]),
            run=label,
            ledger=None if ledger is None else str(ledger),
            options=command["options"],
            mode=command["mode"],
            instance=command["instance"],
            max_qpu_seconds=command["max_qpu_seconds"] or None,
            again=again,
            tell=lambda text: console.print(text, style="dim", markup=False, highlight=False),
        )
        dataset = load_data(loaded.config)
        check_same_data(loaded.checkpoint, dataset, str(loaded.path))
        with torch_settings(loaded.config):
            plan = plan_evaluation(
                loaded.model, dataset, machine, list(stacks.values()), shots=shots, limit=limit
            )
            console.print(str(plan), markup=False, highlight=False, soft_wrap=True)
            most = machine.max_qpu_seconds
            fresh = machine.local or not machine.ledger.entries(label)
            if most is not None and plan.qpu_seconds > most and fresh:
                raise OverBudget(
                    f"the plan takes {plan.qpu_seconds:.1f} QPU seconds, which is over "
                    f"--max-qpu-seconds {most:g}: nothing was sent. Use fewer --shots, a smaller "
                    "--limit or --no-mitigation, or allow more"
                )
            if dry_run:
                console.print("dry run: nothing was sent")
                return
            if not machine.local:
                machine.ledger.start_run(label, command)
                console.print(f"run {label}; after an interruption: nisqkit resume {label}")
            (ideal,) = evaluate_everywhere(loaded.model, dataset, limit=limit)
            found = {
                title: evaluate_on_hardware(
                    loaded.model,
                    dataset,
                    machine,
                    stack,
                    shots=shots,
                    limit=limit,
                    condition=f"{machine.name}, {title}",
                )
                for title, stack in stacks.items()
            }
    model, parameters = model_name(loaded.config), count_parameters(loaded.model)
    results = [ideal, *(one.evaluation for one in found.values())]
    rows = [
        (model, r.condition, parameters, with_interval(r.accuracy, *r.interval)) for r in results
    ]
    total = results[0].total
    title = f"{loaded.config.task_name}, {total} test samples, Wilson's 95 % interval"
    console.print(accuracy_table(title, rows))
    for name, one in found.items():
        low, high = (f"{100 * x:.1f}" for x in one.shot_interval)
        console.print(
            f"{name}: shots alone move the accuracy from {low} to {high} % (95 %); values differ "
            f"from noise-free ones by {one.error:.4f}, with a standard error of {one.std:.4f}",
            highlight=False,
        )
    entries = [] if machine.local else machine.ledger.entries(label)
    content = {
        "format": "nisqkit.submission",
        "version": 1,
        "run": label,
        "command": command,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {p: version(p) for p in ("nisqkit", "qiskit", "qiskit-ibm-runtime", "torch")},
        "plan": plan.to_dict(),
        "noise_free": ideal.to_dict(),
        "on_hardware": {name: one.to_dict() for name, one in found.items()},
        "ledger": None if machine.local else str(machine.ledger.path.resolve()),
        "jobs": [
            {
                "id": entry.job_id,
                "tag": entry.tag,
                "state": entry.state,
                "used_seconds": entry.used_seconds,
                "estimated_seconds": entry.estimated_seconds,
            }
            for entry in entries
        ],
        "calibration": json.loads(machine.device.to_json()),
    }
    beside = loaded.path.parent / f"submit-{_file_name(label)}.json"
    target = beside if command["out"] is None else Path(command["out"])
    write_atomic(target, f"{json.dumps(content, indent=2)}\n".encode())
    console.print(f"written to {target}", soft_wrap=True, highlight=False)


def _train(
    label: str, command: dict[str, Any], again: bool, limit: float | None, ledger: Path | None
) -> None:
    from nisqkit.cli.watcher import ProgressWatcher, progress_bar
    from nisqkit.hardware_backends.hardware_context import hardware_context
    from nisqkit.qml.run_folder import RunFolder
    from nisqkit.qml.training import train

    out = command["out"]
    config = RunFolder(out).config()
    with (
        progress_bar() as progress,
        hardware_context(
            again=again, max_qpu_seconds=limit, ledger=None if ledger is None else str(ledger)
        ),
    ):
        watcher = ProgressWatcher(progress, config.task_name)
        train(config, out=out, resume=True, watcher=watcher)
    console.print(f"run {label} is finished; its report is in {out}", soft_wrap=True)


def _fetch(label: str, book: Any, again: bool, limit: float | None) -> None:
    """A run of a script: all that is pending is brought in, and the script does the rest."""
    from nisqkit.hardware_backends.ibm.account import IBMService
    from nisqkit.hardware_backends.ibm.runner import Runner

    machines = {entry.backend for entry in book.entries(label)}
    for machine in sorted(machines):
        service = IBMService(machine.removeprefix("ibm:"))
        runner = Runner(
            service, book, label, max_qpu_seconds=limit, again=again, tell=console.print
        )
        entries = runner.pending()
        console.print(f"{len(entries)} jobs of run {label} have their results in the ledger")
    console.print(
        "Run your script again with the same run name: it goes on from there, and calls that are "
        "paid for are answered from the ledger"
    )


def _options(given: list[str]) -> dict[str, Any]:
    """``a.b=value`` as nested options; values are JSON, or text if they are not."""
    found: dict[str, Any] = {}
    for text in given:
        path, equals, value = text.partition("=")
        if not (equals and path):
            raise ValueError(f"--option {text}: give NAME=VALUE, such as resilience_level=1")
        *parents, last = path.split(".")
        inner = found
        for parent in parents:
            inner = inner.setdefault(parent, {})
        try:
            inner[last] = json.loads(value)
        except json.JSONDecodeError:
            inner[last] = value
    return found


def _file_name(label: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in label)
