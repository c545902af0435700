"""Where devices come from: the snapshots in qiskit-ibm-runtime, and any Qiskit backend."""

from __future__ import annotations

import difflib
from datetime import UTC
from functools import cache
from typing import Any

from qiskit.circuit import Gate
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.providers import BackendV2

from .device import Device, GateCalibration


@cache
def _snapshots() -> dict[str, type[BackendV2]]:
    # imported here because it takes a second, which importing nisqkit should not
    from qiskit_ibm_runtime.fake_provider import backends
    from qiskit_ibm_runtime.fake_provider.fake_backend import FakeBackendV2

    found: list[Any] = [c for c in vars(backends).values() if isinstance(c, type)]
    return {c.backend_name: c for c in found if issubclass(c, FakeBackendV2)}


def available_devices() -> tuple[str, ...]:
    """Return the names that `Device.load` knows, sorted; nothing is loaded.

    Example:
        >>> "fake_santiago" in available_devices()
        True
    """
    return tuple(sorted(_snapshots()))


@cache
def load(name: str) -> Device:
    """Return one of the snapshots of IBM machines that come with qiskit-ibm-runtime.

    A snapshot is the machine's calibration on one day (`device.date`), including the two separate
    readout errors of each qubit, which noise models made from these backends average away.

    Raises:
        ValueError: if there is no snapshot of this name.
        TypeError: if it is no name.

    Example:
        >>> load("fake_manila").num_qubits
        5
    """
    snapshots = _snapshots()
    if name not in snapshots:
        if not isinstance(name, str):
            raise TypeError(
                f"Device.load takes the name of a snapshot, such as 'fake_santiago', not "
                f"{type(name).__name__}; for a Qiskit backend object use Device.from_backend"
            )
        nearest = difflib.get_close_matches(name, snapshots, n=1, cutoff=0.7)
        raise ValueError(
            f"no device named {name!r}{f', did you mean {nearest[0]!r}?' if nearest else ';'} "
            f"nisqkit.noise.available_devices() lists all {len(snapshots)}"
        )
    return from_backend(snapshots[name]())


def from_backend(backend: Any) -> Device:
    """Take a snapshot of a Qiskit `BackendV2`: IBM's real and fake ones, Aer with a target, others.

    Gates, errors, durations, T1 and T2 come from `backend.target`. Readout errors come from
    `backend.properties()` (`prob_meas1_prep0`, `prob_meas0_prep1`) or from the target's `measure`
    where it has these two; where a backend has only their mean, both are set to the mean and the
    qubit is listed in `device.symmetric_readout`.

    Left out, so that a circuit which uses them is refused later: gates that Qiskit's standard
    library does not have, gates limited to some angles (IBM's `rzz` takes 0 to pi/2 only),
    control flow, and instructions other than `reset` that are not gates.

    Raises:
        TypeError: if it is not a `BackendV2`.
        ValueError: if the backend lists no gates per qubit (a plain simulator), or a value that is
            no number.

    Example:
        >>> from qiskit.providers.fake_provider import GenericBackendV2
        >>> from_backend(GenericBackendV2(3, seed=1)).symmetric_readout
        (0, 1, 2)
    """
    if not isinstance(backend, BackendV2):
        raise TypeError(
            f"Device.from_backend takes a qiskit BackendV2, got {type(backend).__name__}: "
            f"for a snapshot by name use Device.load"
        )
    target: Any = backend.target
    standard = get_standard_gate_name_mapping()
    gates = [
        GateCalibration(name, qubits, *((p.error, p.duration) if p else (None, None)))
        for name in target.operation_names
        if name == "reset"
        or (name in standard and isinstance(target.operation_from_name(name), Gate))
        if not target.gate_has_angle_bounds(name)
        for qubits, p in (target[name] or {}).items()
        if qubits
    ]
    if not any(g.gate != "reset" for g in gates):
        raise ValueError(
            f"{backend.name} does not say which gates it has on which qubits, so there is no "
            f"device in it: give a backend with a calibrated target, or use Device.load"
        )
    calibration = getattr(backend, "properties", None)
    properties = calibration() if calibration else None
    measure = target["measure"] if "measure" in target.operation_names else {}
    readout, symmetric = [], []
    for q in range(target.num_qubits):
        pair, is_mean = _readout(q, measure.get((q,)), properties)
        readout.append(pair)
        if is_mean:
            symmetric.append(q)
    qubits = target.qubit_properties or [None] * target.num_qubits
    date = getattr(properties, "last_update_date", None)
    return Device(
        name=str(backend.name),
        gates=tuple(gates),
        t1=tuple(p and p.t1 for p in qubits),
        t2=tuple(p and p.t2 for p in qubits),
        readout=tuple(readout),
        frequency=tuple(p and p.frequency for p in qubits),
        readout_duration=tuple(
            p and p.duration for p in map(measure.get, ((q,) for q in range(target.num_qubits)))
        ),
        # one time zone for all, whatever the zone of the machine that wrote the file
        date=date and date.astimezone(UTC),
        dt=target.dt,
        symmetric_readout=tuple(symmetric),
        source=f"{type(backend).__name__} of {type(backend).__module__.partition('.')[0]}",
    )


def _readout(q: int, measure: Any, properties: Any) -> tuple[tuple[float, float] | None, bool]:
    """Return `(P(1|0), P(0|1))` of qubit q, and whether they are only their mean.

    `measure` is the target's entry for the qubit, `properties` the backend's whole calibration;
    either may be missing.
    """
    if measure is None:
        return None, False
    names = ("prob_meas1_prep0", "prob_meas0_prep1")
    reported = {} if properties is None else properties.qubit_property(q)
    if all(name in reported for name in names):
        # each entry is (value, date)
        return (reported[names[0]][0], reported[names[1]][0]), False
    if all(hasattr(measure, name) for name in names):
        return (getattr(measure, names[0]), getattr(measure, names[1])), False
    if measure.error is None:
        return None, False
    return (measure.error, measure.error), True
