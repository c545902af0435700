"""`nisqkit device`: a device's calibration, its error map, and what a circuit becomes on it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from nisqkit.cli.console import console, device_names

if TYPE_CHECKING:
    from nisqkit.circuits.program import Program
    from nisqkit.hardware_backends.device_report import DeviceReport
    from nisqkit.noise.device import Device

_QUBITS, _DEPTH = 4, 4
_LISTED = 6


def device(
    name: Annotated[
        str,
        typer.Argument(help="Device; `nisqkit devices` lists them.", show_default=False),
    ],
    circuit: Annotated[
        str | None,
        typer.Argument(
            help="Show what becomes of this on the device: an ansatz (`nisqkit circuits` lists "
            "them), an OpenQASM 3 file, or a run's folder.",
            show_default=False,
        ),
    ] = None,
    qubits: Annotated[
        int | None, typer.Option(min=1, help="Qubits of the ansatz.", show_default=str(_QUBITS))
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(min=1, help="Blocks or layers of the ansatz.", show_default=str(_DEPTH)),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="PNG file to write: the errors, drawn on the coupling graph."),
    ] = None,
) -> None:
    """Show the calibration of a device, or how a circuit runs on it.

    With a circuit: what it becomes, and an estimate of how often no gate and no readout fails.
    """
    from nisqkit.noise.age import age_note
    from nisqkit.noise.device import Device

    _check_picture(picture)
    with warnings.catch_warnings(action="ignore"):  # what a snapshot says about itself when loaded
        found = Device.load(*device_names([name]))
    reports: dict[str, DeviceReport] = {}
    if circuit is not None:
        from nisqkit.hardware_backends.device_report import device_report

        for title, program in _programs(circuit, qubits, depth).items():
            reports[title] = device_report(program, found)
    elif qubits is not None or depth is not None:
        raise ValueError("--qubits and --depth are of an ansatz: name one, such as u3-cu3")

    plural = "s" if found.num_qubits > 1 else ""
    _line(
        f"{found.name}: {found.num_qubits} qubit{plural}, {age_note(found, datetime.now(UTC))}, "
        f"{found.source}"
    )
    if picture is not None:
        from nisqkit.qml.device_plot import error_map
        from nisqkit.qml.plots import save_figure

        used = {q for report in reports.values() for q in report.transpiled.active}
        save_figure(error_map(found, used), picture)
        _line(f"picture written to {picture}")
    if circuit is None:
        show_device(found)
    for title, report in reports.items():
        show_report(title, report)


def _check_picture(picture: Path | None) -> None:
    if picture is None:
        return
    if picture.suffix.lower() != ".png":
        raise ValueError(f"--picture {picture}: give a file that ends in .png")
    if not picture.parent.is_dir():
        raise FileNotFoundError(
            f"--picture {picture}: there is no folder {picture.parent}; give a file in a folder "
            "that exists"
        )


def _programs(circuit: str, qubits: int | None, depth: int | None) -> dict[str, Program]:
    """What stands for a circuit on the command line, with a title for each part."""
    from nisqkit.circuits.lower import lower
    from nisqkit.circuits.names import unknown
    from nisqkit.qml.models import CIRCUITS, quantum_layers

    if circuit in CIRCUITS:
        size = qubits or _QUBITS, depth or _DEPTH
        title = f"{circuit} on {size[0]} qubits, depth {size[1]}"
        return {title: lower(CIRCUITS[circuit](*size))}
    path = Path(circuit)
    if not path.exists():
        raise ValueError(
            f"{unknown('circuit', circuit, CIRCUITS)} There is no file or folder of this name "
            "either: an OpenQASM 3 file or a run's folder will do"
        )
    if qubits is not None or depth is not None:
        raise ValueError(f"--qubits and --depth would change nothing: {circuit} has its own")
    if path.is_file() and path.suffix != ".pt":
        from nisqkit.circuits.qasm import from_qasm3

        return {path.name: lower(*from_qasm3(path.read_text(encoding="utf-8")))}
    from nisqkit.qml.runs import load_run

    layers = quantum_layers(load_run(path).model)
    if not layers:
        raise ValueError(f"the model in {circuit} has no QuantumLayer, so nothing runs on a device")
    if len(layers) == 1:
        (layer,) = layers.values()
        return {circuit: layer.program}
    return {f"{circuit}, layer {name}": layer.program for name, layer in layers.items()}


def show_device(device: Device) -> None:
    """Print the calibration of a device, and what is missing from it."""
    for table in (_gates(device), _qubits(device), _edges(device)):
        if table.row_count:
            console.print(table)
    exact = [
        gate
        for gate in device.native_gates
        if all(g.is_virtual for g in device.gates if g.gate == gate)
    ]
    if exact:
        _line(f"Done in software, and so exact and in no time: {', '.join(exact)}.")
    if device.dead_edges:
        edges = {f"{min(pair)}-{max(pair)}" for pair in device.dead_edges}
        _line(f"Dead (error 1), and never used: {len(edges)} edge{'s' * (len(edges) > 1)}.")
    if mean := device.symmetric_readout:
        _line(f"Only the mean of the two readout errors is known: {_some(mean, 'qubits')}.")
    missing = _missing(device)
    for reason, uses in missing.items():
        _line(f"Refused in circuits: {_some(uses)}: {reason}.", style="yellow")
    if not missing:
        _line("Nothing is missing from the calibration.")


def _gates(device: Device) -> Table:
    table = _table("Native gates", "gate", ">on", ">dead", ">mean error", ">min", ">max", ">ns")
    for gate in device.native_gates:
        every = [g for g in device.gates if g.gate == gate]
        alive = [g for g in every if not g.is_dead]
        errors = [g.error for g in alive if g.error is not None]
        times = [1e9 * g.duration for g in alive if g.duration is not None]
        if alive and all(g.is_virtual for g in alive):
            cells = ["exact", "", ""]
        elif gate == "reset" and not errors:
            cells = ["relaxation", "", ""]
        elif errors:
            cells = [_error(x) for x in (sum(errors) / len(errors), min(errors), max(errors))]
        else:
            cells = ["?" if alive else "dead", "", ""]
        ends = list(dict.fromkeys(_whole(x) for x in (min(times), max(times)))) if times else ["?"]
        dead = len(every) - len(alive)
        table.add_row(gate, str(len(every)), str(dead or ""), *cells, " to ".join(ends))
    return table


def _qubits(device: Device) -> Table:
    pulse = _pulse(device)
    headings = ["qubit", ">T1 µs", ">T2 µs", ">P(1|0)", ">P(0|1)"]
    table = _table("Qubits", *headings, *[f">{pulse} error"] * (pulse is not None))
    for q, pair in enumerate(device.readout):
        times = ["?" if t is None else f"{1e6 * t:.1f}" for t in (device.t1[q], device.t2[q])]
        read = [_error(p) for p in pair or (None, None)]
        gate = None if pulse is None else device.gate(pulse, (q,))
        last = [_error(gate.error if gate else None)] * (pulse is not None)
        table.add_row(str(q), *times, *read, *last)
    return table


def _pulse(device: Device) -> str | None:
    """The one-qubit gate that a qubit's row shows: a single pulse, if the machine has one."""
    names = {g.gate for g in device.gates if len(g.qubits) == 1 and not g.is_virtual and g.error}
    preferred = ("sx", "u2", "x", *sorted(names - {"id"}))
    return next((name for name in preferred if name in names), None)


def _edges(device: Device) -> Table:
    table = _table("Two-qubit gates", "edge", "gate", ">error", ">ns")
    uses = {(g.gate, *g.qubits): g for g in device.gates if len(g.qubits) == 2}
    for gate, a, b in sorted(uses, key=lambda use: (sorted(use[1:]), use)):
        both = (gate, b, a) in uses
        if both and a > b:
            continue
        found = [uses[gate, a, b], *([uses[gate, b, a]] if both else [])]
        # two numbers where the two directions differ
        errors = " / ".join(dict.fromkeys(_error(g.error) for g in found))
        times = " / ".join(dict.fromkeys(_whole(g.duration and 1e9 * g.duration) for g in found))
        dead = any(g.is_dead for g in found)
        edge = f"{a}-{b}" if both else f"{a} → {b}"
        table.add_row(edge, gate, errors, times, style="red" if dead else None)
    return table


def _missing(device: Device) -> dict[str, list[str]]:
    """What `bind` and `coverage` refuse for want of a calibration, by reason."""
    from nisqkit.noise.coverage import gap

    found: dict[str, list[str]] = {}
    uses = [(g.gate, g.qubits) for g in device.gates if not g.is_dead]
    for gate, qubits in uses + [("measure", (q,)) for q in range(device.num_qubits)]:
        if reason := gap(device, gate, qubits):
            found.setdefault(reason, []).append(f"{gate} on {'-'.join(map(str, qubits))}")
    return found


def show_report(title: str, report: DeviceReport) -> None:
    """Print what becomes of a circuit.

    Raises:
        ValueError: A gate or a readout is not covered; all have been printed.
    """
    transpiled, covered = report.transpiled, report.coverage
    table = _table(title, "gate", ">times", ">mean error", ">all succeed")
    for total in report.totals:
        gate = "readout" if total.gate == "measure" else total.gate
        table.add_row(gate, str(total.count), _error(total.mean_error), f"{total.success:.3f}")
    virtual: dict[str, int] = {}
    for use in covered.virtual:
        virtual[use.gate] = virtual.get(use.gate, 0) + use.count
    for gate, count in virtual.items():
        table.add_row(gate, str(count), "exact", "1")
    for use in covered.uncovered:
        where = f"{use.gate} on {'-'.join(map(str, use.qubits))}"
        table.add_row(where, str(use.count), "not covered", "?", style="red")
    console.print(table)

    starts, ends = transpiled.initial_layout, transpiled.layout
    places = [
        f"{k} on {start}" + (f" (read on {end})" if end != start else "")
        for k, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    _line(f"layout: {', '.join(places)}")
    _line(f"depth: {report.depth}, of two-qubit gates {report.two_qubit_depth}")
    t2 = [device_t2 for q in transpiled.active if (device_t2 := transpiled.device.t2[q])]
    parts = [f"{_time(report.duration)} of gates"]
    parts.append(f"{_time(report.readout_duration)} of readout")
    shortest = f"; the shortest T2 in use is {_time(min(t2))}" if t2 else ""
    _line(f"duration: {', then '.join(parts)}{shortest}")
    covered.check()
    _line(
        f"estimated success probability: {report.success:.3f} (the product of 1 - error over all "
        "gates and readouts; waiting is not counted)"
    )


def _line(text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _table(title: str, *headings: str) -> Table:
    """A table; headings of columns that stand on the right begin with ``>``."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading.lstrip(">"), justify="right" if heading[0] == ">" else "left")
    return table


def _error(error: float | None) -> str:
    if error is None:
        return "?"
    return "dead" if error >= 1 else f"{error:#.2g}" if error else "0"


def _whole(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"


def _time(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else f"{1e6 * seconds:.1f} µs"


def _some(items: Iterable[object], kind: str = "") -> str:
    listed = [str(item) for item in items]
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return f"{kind} {', '.join(listed[:_LISTED])}{more}".strip()
