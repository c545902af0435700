"""From tasks to as few broadcast PUBs as they allow, and from results back to values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Result
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.ibm.counts import Counts, estimate
from nisqkit.hardware_backends.ibm.job import Found, Pub, Values
from nisqkit.hardware_backends.sampling import measurement_bases
from nisqkit.hardware_backends.slot_circuit import slot_angles, slot_circuit
from nisqkit.noise.device import Device


@dataclass(frozen=True)
class Rows:
    """Where the rows of a task, in one measurement basis, are: PUB, first row, last row + 1."""

    pub: int
    first: int
    stop: int


@dataclass(frozen=True, eq=False)
class Grouped:
    """All tasks of a call as PUBs.

    Attributes:
        pubs: One per different circuit, with shots.
        shots: Of each PUB.
        rows: For each task, the rows of each of its measurement bases.
    """

    pubs: tuple[Pub, ...]
    shots: tuple[int, ...]
    rows: tuple[tuple[Rows, ...], ...]


def group_tasks(tasks: Sequence[Task], binder: Binder, estimator: bool) -> Grouped:
    """Put all tasks with the same circuit and shots into one PUB.

    Args:
        tasks: With shots.
        binder: Of the device.
        estimator: Whether observables go along (one circuit per task), or each measurement basis is
            a circuit of its own.
    """
    rows, firsts = _layout(tasks, estimator)
    circuits = [_circuit(task, basis, binder) for task, basis in firsts]
    used = [[p.index for p in circuit.parameters] for circuit, _, _ in circuits]
    blocks: list[list[NDArray[np.float64]]] = [[] for _ in circuits]
    for task, places in zip(tasks, rows, strict=True):
        angles = task_angles(task)
        for place in places:
            blocks[place.pub].append(angles[:, used[place.pub]])
    device = binder.model.device
    assert device is not None, "an IBM backend has a device"
    pubs, shots = [], []
    for (task, _), on_device, block in zip(firsts, circuits, blocks, strict=True):
        sums = task.observables.sums if estimator else None
        circuit, physical, measured = on_device
        values = np.concatenate(block)
        seconds = circuit_seconds(circuit, physical, measured, device)
        if not values.shape[1] and len(values) > 1:  # rows need a parameter, even without effect
            circuit = circuit.copy()
            circuit.global_phase = ParameterVector("row", 1)[0]
            values = np.zeros((len(values), 1))
        pubs.append(Pub(circuit, physical, measured, values, sums, seconds))
        assert task.shots is not None
        shots.append(task.shots)
    return Grouped(tuple(pubs), tuple(shots), rows)


def call_rows(tasks: Sequence[Task], estimator: bool) -> tuple[tuple[Rows, ...], ...]:
    """`Grouped.rows` without transpiling: it does not depend on the device."""
    return _layout(tasks, estimator)[0]


def _layout(
    tasks: Sequence[Task], estimator: bool
) -> tuple[tuple[tuple[Rows, ...], ...], list[tuple[Task, str | None]]]:
    """Rows of every task, and for each PUB the first task that is in it, with the basis."""
    order: dict[Any, int] = {}
    firsts: list[tuple[Task, str | None]] = []
    filled: list[int] = []
    rows = []
    for task in tasks:
        places = []
        for basis in [None] if estimator else measurement_bases(task.observables):
            sums = task.observables.sums if estimator else None
            key = task.program.by_slots, task.placement, basis, sums, task.shots
            if key not in order:
                order[key] = len(order)
                firsts.append((task, basis))
                filled.append(0)
            pub = order[key]
            places.append(Rows(pub, filled[pub], filled[pub] + task.batch))
            filled[pub] += task.batch
        rows.append(tuple(places))
    return tuple(rows), firsts


def task_angles(task: Task) -> NDArray[np.float64]:
    """The angle of every slot, ``(batch, slots)``, in float64."""
    with torch.no_grad():
        found = slot_angles(task.program, task.inputs, task.weights)
    return np.ascontiguousarray(found.double().cpu().numpy())


def call_digest(tasks: Sequence[Task], backend: str, options: Mapping[str, Any]) -> str:
    """What identifies a call, in this process and in one that resumes it.

    It says what is wanted and not how that is transpiled, so that a call that is paid for is
    found again although the machine was calibrated in the meantime.
    """
    key = hashlib.sha256(json.dumps([backend, dict(options)], sort_keys=True).encode())
    for task in tasks:
        program = task.program.by_slots
        gates = [(use.name, use.qubits, use.slots, use.matrix) for use in program.gates]
        text = repr((program.num_qubits, gates, program.prepare, task.observables, task.placement))
        key.update(f"{text} {task.shots} {task.seed} {task.batch}".encode())
        key.update(task_angles(task).tobytes())
    return key.hexdigest()


def task_results(
    tasks: Sequence[Task], rows: Sequence[Sequence[Rows]], found: Sequence[Found]
) -> list[Result]:
    """Values and standard errors of tasks, from the results of all PUBs of their call."""
    results = []
    for task, places in zip(tasks, rows, strict=True):
        parts = [found[place.pub].part(place.first, place.stop) for place in places]
        dtype, device = task.inputs.dtype, task.inputs.device
        if isinstance(parts[0], Values):
            values, std = (torch.as_tensor(a).to(dtype) for a in (parts[0].means, parts[0].errors))
            result = Result(values, std)
        else:
            counts = [part for part in parts if isinstance(part, Counts)]
            result = estimate(counts, task.observables, dtype)
        assert result.std is not None
        results.append(Result(result.values.to(device), result.std.to(device)))
    return results


def circuit_seconds(
    circuit: QuantumCircuit, physical: Sequence[int], measured: Sequence[int], device: Device
) -> float | None:
    """One execution: reset, gates along the longest path, and readout; None if one is not known."""
    ready = [0.0] * circuit.num_qubits
    for use in circuit.data:
        qubits = [circuit.find_bit(q).index for q in use.qubits]
        start = max((ready[q] for q in qubits), default=0.0)
        duration: float | None = 0.0
        if not use.is_directive():
            gate = device.gate(use.operation.name, [physical[q] for q in qubits])
            duration = None if gate is None else gate.duration
        if duration is None:
            return None
        for q in qubits:
            ready[q] = start + duration
    reads = [device.readout_duration[physical[q]] for q in measured]
    known = [read for read in reads if read is not None]
    resets = [device.gate("reset", (physical[q],)) for q in measured]
    reset = max((gate.duration or 0.0 for gate in resets if gate is not None), default=0.0)
    return None if len(known) < len(reads) else reset + max(ready) + max(known, default=0.0)


def _circuit(
    task: Task, basis: str | None, binder: Binder
) -> tuple[QuantumCircuit, tuple[int, ...], tuple[int, ...]]:
    """A task's circuit in one basis: on the qubits in use, which these are, where to read."""
    if task.placement is not None:  # the device's circuit already
        circuit, _ = slot_circuit(task.program)
        return circuit, task.placement.physical, task.placement.measured
    transpiled = binder.transpile(task.program, basis)
    assert transpiled is not None, "an IBM backend has a device"
    return transpiled.reduced, transpiled.active, transpiled.measured
