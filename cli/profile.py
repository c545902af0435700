"""`nisqkit profile`: what a trained model or a circuit costs, part by part."""

from __future__ import annotations

import contextlib
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nisqkit.cli.console import console, device_names

if TYPE_CHECKING:
    from nisqkit.noise.device import Device
    from nisqkit.search.profile import Profile

_LATENCY_RUNS = 20


def profile(
    thing: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT_OR_CIRCUIT",
            help="A run's folder, a checkpoint, or a circuit: .qasm (OpenQASM 3) or .qpy.",
            show_default=False,
        ),
    ],
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Device to transpile circuits for."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Samples per pass.", show_default="the run's; 1 for a circuit"),
    ] = None,
    shots: Annotated[
        int | None, typer.Option(min=1, help="Per circuit on a QPU.", show_default="4096")
    ] = None,
    plan: Annotated[str, typer.Option(help="Of IBM's price list.")] = "pay-as-you-go",
    json: Annotated[Path | None, typer.Option(help="JSON file to write: all numbers.")] = None,
    diff: Annotated[
        Path | None,
        typer.Option(
            metavar="OTHER",
            help="Show what differs from this one: a checkpoint, a circuit, or a file of --json.",
        ),
    ] = None,
) -> None:
    """Show parameters, memory, latency, circuits, QPU time and price of a model, or of a circuit.

    Numbers are for one pass over a batch, and for one training step.
    """
    from nisqkit.noise.device import Device
    from nisqkit.qml.checkpoint import write_atomic
    from nisqkit.search.profile_table import profile_tables

    if json is not None and (json.is_dir() or not json.parent.is_dir()):
        what = f"{json} is a folder" if json.is_dir() else f"there is no folder {json.parent}"
        raise FileNotFoundError(f"--json {json}: {what}; give a file in a folder that exists")
    found: Device | None = None
    if device is not None:
        with warnings.catch_warnings(action="ignore"):  # its date is in the table
            found = Device.load(*device_names([device]))
    with console.status("profiling"):
        made = _profile(thing, found, batch, shots, plan)
        other = None if diff is None else _profile(diff, found, batch, shots, plan)
    for table in profile_tables(made, console.width) if other is None else [other.diff(made)]:
        console.print(table)
    for note in made.all_notes():
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    if json is not None:
        write_atomic(json, f"{made.to_json()}\n".encode())
        console.print(f"written to {json}", soft_wrap=True, highlight=False)


def _profile(
    path: Path, device: Device | None, batch: int | None, shots: int | None, plan: str
) -> Profile:
    suffix = path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(
            f"there is no {path}: give a run's folder, a checkpoint, or a .qasm or .qpy file"
        )
    if suffix == ".json":
        from nisqkit.search.profile import Profile

        return Profile.from_json(path.read_text(encoding="utf-8"))
    if suffix in (".qasm", ".qpy"):
        return _circuit(path, device, batch or 1, shots, plan)
    if path.is_file() and suffix != ".pt":
        raise ValueError(f"{path}: give a run's folder, a checkpoint, or a .qasm or .qpy file")
    return _run(path, device, batch, shots, plan)


def _circuit(
    path: Path, device: Device | None, batch: int, shots: int | None, plan: str
) -> Profile:
    from nisqkit.circuits.qasm import from_qasm3
    from nisqkit.hardware_backends.circuit_profile import profile_circuit

    inputs: tuple[str, ...] = ()
    if path.suffix.lower() == ".qasm":
        circuit, inputs = from_qasm3(path.read_text(encoding="utf-8"))
    else:
        from qiskit import QuantumCircuit, qpy
        from qiskit.exceptions import QiskitError

        try:
            with path.open("rb") as file:
                held = qpy.load(file)
        except (QiskitError, struct.error, ValueError, EOFError) as error:
            raise ValueError(f"{path} is no QPY file that Qiskit can read: {error}") from error
        if len(held) != 1 or not isinstance(held[0], QuantumCircuit):
            raise ValueError(f"{path} holds {len(held)} circuits: give a file with one")
        circuit = held[0]
    return profile_circuit(
        circuit,
        device,
        inputs=inputs or None,
        batch=batch,
        shots=shots,
        plan=plan,
        name=path.name,
    )


def _run(
    path: Path, device: Device | None, batch: int | None, shots: int | None, plan: str
) -> Profile:
    import torch

    from nisqkit.qml.fit import num_steps
    from nisqkit.qml.models import quantum_layers
    from nisqkit.qml.runs import load_run
    from nisqkit.qml.training import load_data, torch_settings
    from nisqkit.search.profile import profile as profile_of

    loaded = load_run(path)
    rows = batch or loaded.config.batch_size
    # not zeros, which are no amplitudes
    example = torch.rand(rows, loaded.num_features, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"device": device, "shots": shots, "plan": plan}
    if device is not None and device.name in loaded.config.layouts:
        options["layout"] = loaded.config.layouts[device.name]
    layers = quantum_layers(loaded.model)
    with contextlib.suppress(ValueError, OSError):  # without the data there is no epoch
        samples = len(load_data(loaded.config).train)
        options["steps_per_epoch"] = num_steps(samples, rows, loaded.model)
    with torch_settings(loaded.config):
        return profile_of(
            loaded.model,
            example,
            name=str(path),
            latency_runs=_LATENCY_RUNS,
            **(options if layers else {}),
        )
