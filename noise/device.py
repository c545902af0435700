"""`Device`: a dated snapshot of a quantum computer, and nothing else.

A device says which gates exist on which qubits, how wrong and how slow each of them is, how long
the qubits stay coherent and how often each readout is wrong in each direction. It is plain data:
comparable, hashable, and the same after a trip through JSON.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from qiskit.circuit import Delay, Measure, Parameter
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.providers import QubitProperties
from qiskit.transpiler import InstructionProperties, Target

_FORMAT = {"format": "nisqkit.device", "version": 1}


class GateCalibration(NamedTuple):
    """One native gate on one ordered set of qubits.

    Attributes:
        gate: Qiskit's name of the gate (`"cx"`).
        qubits: physical qubits in the order the gate takes them.
        error: 1 - average gate fidelity, between 0 and 1; None if not reported.
        duration: seconds; None if not reported.
    """

    gate: str
    qubits: tuple[int, ...]
    error: float | None
    duration: float | None

    @property
    def is_virtual(self) -> bool:
        """True for a gate done in software, such as `rz`: it has no error and takes no time."""
        return self.error == 0.0 and self.duration == 0.0

    @property
    def is_dead(self) -> bool:
        """True if the error is 1, which is how calibrations mark a gate that does not work."""
        return self.error is not None and self.error >= 1.0


@dataclass(frozen=True, repr=False)
class Device:
    """A snapshot of a machine: native gates with errors and durations, T1, T2, readout errors.

    The per-qubit fields are tuples with one entry per physical qubit; None says that the machine
    did not report the value (a missing error is never an error of 0). Values are kept as reported,
    also where they break physics a little (T2 above 2 T1 occurs in real calibrations).

    Attributes:
        name: name of the machine, for messages and records.
        gates: one `GateCalibration` (or 4-tuple) per gate and ordered qubits; kept sorted.
        t1: relaxation times in seconds (`math.inf` is allowed: no relaxation).
        t2: dephasing times in seconds.
        readout: pairs `(P(1|0), P(0|1))`: the probability to read 1 after preparing 0, and 0 after
            preparing 1. They differ on most machines.
        frequency: qubit frequencies in Hz.
        readout_duration: durations of a measurement in seconds.
        date: when the calibration was last updated, with its time zone; None if unknown.
        dt: length of the machine's clock cycle in seconds.
        symmetric_readout: qubits of which only the mean readout error is known, so that both
            entries of `readout` are this mean.
        source: where the numbers come from.

    Raises:
        ValueError: if a value is not a number or out of range (the message names the field and the
            qubits), or if fields have different lengths.

    Example:
        >>> device = Device.load("fake_santiago")
        >>> device
        Device('fake_santiago', 5 qubits, 2021-03-15, mean errors: cx 0.0060, sx 0.00020, \
x 0.00020, readout 0.014)
        >>> read_1_after_0, read_0_after_1 = device.readout[0]
        >>> round(read_1_after_0, 4), read_0_after_1
        (0.0064, 0.0202)
        >>> round(device.gate("cx", (0, 1)).error, 4)
        0.0063
        >>> Device.from_json(device.to_json()) == device
        True
    """

    name: str
    gates: tuple[GateCalibration, ...]
    t1: tuple[float | None, ...]
    t2: tuple[float | None, ...]
    readout: tuple[tuple[float, float] | None, ...]
    frequency: tuple[float | None, ...] = ()
    readout_duration: tuple[float | None, ...] = ()
    date: datetime | None = None
    dt: float | None = None
    symmetric_readout: tuple[int, ...] = ()
    source: str = "written by hand"

    def __post_init__(self) -> None:
        unknown = (None,) * len(self.t1)
        gates = (GateCalibration(g[0], tuple(g[1]), *_floats(g[2:])) for g in self.gates)
        normal: dict[str, Any] = {
            "gates": tuple(sorted(gates, key=lambda g: g[:2])),
            "t1": _floats(self.t1),
            "t2": _floats(self.t2),
            "readout": tuple(pair if pair is None else _floats(pair) for pair in self.readout),
            "frequency": _floats(self.frequency) or unknown,
            "readout_duration": _floats(self.readout_duration) or unknown,
            "symmetric_readout": tuple(self.symmetric_readout),
        }
        for field, value in normal.items():
            object.__setattr__(self, field, value)
        self._validate()

    def _validate(self) -> None:
        name, n = self.name, self.num_qubits
        if self.date is not None and self.date.tzinfo is None:
            raise ValueError(
                f"date of {name} is {self.date.isoformat()}, without a time zone: give one, "
                f"for example datetime(2026, 1, 31, tzinfo=UTC)"
            )
        for field in ("t2", "readout", "frequency", "readout_duration"):
            if (length := len(getattr(self, field))) != n:
                raise ValueError(
                    f"{name} has {n} qubits (the length of t1) but {length} entries in {field}: "
                    f"give one entry per qubit, None where the value is unknown"
                )
        for q in range(n):
            on = f"on qubit {q} of {name}"
            _check(f"t1 {on}", self.t1[q], positive=True, top=math.inf)
            _check(f"t2 {on}", self.t2[q], positive=True, top=math.inf)
            _check(f"frequency {on}", self.frequency[q], positive=True)
            _check(f"readout_duration {on}", self.readout_duration[q])
            if (pair := self.readout[q]) is not None:
                if len(pair) != 2 or None in pair:
                    raise ValueError(
                        f"readout {on} is {pair}: give the pair (P(1|0), P(0|1)), or None if it "
                        f"is not known"
                    )
                _check(f"readout P(1|0) {on}", pair[0], top=1.0)
                _check(f"readout P(0|1) {on}", pair[1], top=1.0)
        seen = set()
        for gate, qubits, error, duration in self.gates:
            if not all(q in range(n) for q in qubits) or len(set(qubits)) != len(qubits):
                raise ValueError(
                    f"{name} lists {gate} on {qubits}: the qubits of a gate must be distinct and "
                    f"between 0 and {n - 1}"
                )
            if (gate, qubits) in seen:
                raise ValueError(f"{name} lists {gate} on {qubits} twice: keep one of the entries")
            seen.add((gate, qubits))
            _check(f"error of {gate} on {qubits} of {name}", error, top=1.0)
            _check(f"duration of {gate} on {qubits} of {name}", duration)

    @classmethod
    def load(cls, name: str) -> Device:
        """Return a snapshot by name; `available_devices()` lists the names.

        See `nisqkit.noise.device_sources.load`.
        """
        from .device_sources import load

        return load(name)

    @classmethod
    def from_backend(cls, backend: Any) -> Device:
        """Take a snapshot of a Qiskit `BackendV2`, real or simulated.

        See `nisqkit.noise.device_sources.from_backend`.
        """
        from .device_sources import from_backend

        return from_backend(backend)

    @property
    def num_qubits(self) -> int:
        """Number of physical qubits."""
        return len(self.t1)

    @cached_property
    def native_gates(self) -> tuple[str, ...]:
        """Names of the native gates, sorted (`reset` is among them where the machine has it)."""
        return tuple(sorted({g.gate for g in self.gates}))

    @cached_property
    def coupling(self) -> tuple[tuple[int, int], ...]:
        """Directed pairs of qubits that have a two-qubit gate, dead ones included, sorted."""
        return tuple(sorted({(g.qubits[0], g.qubits[1]) for g in self._edges}))

    @cached_property
    def dead_edges(self) -> tuple[tuple[int, int], ...]:
        """Directed pairs of which a two-qubit gate has error 1, sorted."""
        return tuple(sorted({(g.qubits[0], g.qubits[1]) for g in self._edges if g.is_dead}))

    @property
    def _edges(self) -> list[GateCalibration]:
        return [g for g in self.gates if len(g.qubits) == 2]

    def gate(self, name: str, qubits: Sequence[int]) -> GateCalibration | None:
        """Return the calibration of a gate on these qubits in this order, or None."""
        return self._by_use.get((name, tuple(qubits)))

    @cached_property
    def _by_use(self) -> dict[tuple[str, tuple[int, ...]], GateCalibration]:
        return {(g.gate, g.qubits): g for g in self.gates}

    def reduced(self, qubits: Sequence[int]) -> Device:
        """Return the sub-device on some physical qubits, renumbered in the order given.

        Qubit k of the result is `qubits[k]` here, and gates that touch any other qubit are left
        out. Four qubits of a machine with 127 then cost what four qubits cost.

        Raises:
            ValueError: if a qubit is repeated or not on the device.

        Example:
            >>> pair = Device.load("fake_santiago").reduced([3, 2])
            >>> pair.name, pair.coupling
            ('fake_santiago[3,2]', ((0, 1), (1, 0)))
        """
        kept = list(qubits)
        if not kept or len(set(kept)) != len(kept) or not set(kept) <= set(range(self.num_qubits)):
            raise ValueError(
                f"reduced({kept}) on {self.name}: give one or more distinct qubits between 0 and "
                f"{self.num_qubits - 1}"
            )
        new = {q: k for k, q in enumerate(kept)}
        gates = (
            g._replace(qubits=tuple(new[q] for q in g.qubits))
            for g in self.gates
            if new.keys() >= set(g.qubits)
        )
        return Device(
            name=f"{self.name}[{','.join(map(str, kept))}]",
            gates=tuple(gates),
            t1=tuple(self.t1[q] for q in kept),
            t2=tuple(self.t2[q] for q in kept),
            readout=tuple(self.readout[q] for q in kept),
            frequency=tuple(self.frequency[q] for q in kept),
            readout_duration=tuple(self.readout_duration[q] for q in kept),
            date=self.date,
            dt=self.dt,
            symmetric_readout=tuple(k for k, q in enumerate(kept) if q in self.symmetric_readout),
            source=self.source,
        )

    def target(self, *, dead_edges: bool = False) -> Target:
        """Return a Qiskit `Target` with errors and durations, to transpile for this device.

        Dead edges are left out, so that no circuit is routed over them, unless `dead_edges=True`.
        Measurements carry the mean of the two readout errors, as on IBM's backends. Control flow
        and the alignment constraints of pulses are not part of a device.

        Raises:
            ValueError: if a gate is not one of Qiskit's standard gates.

        Example:
            >>> from qiskit import QuantumCircuit, transpile
            >>> circuit = QuantumCircuit(2)
            >>> _ = circuit.h(0), circuit.cx(0, 1)
            >>> native = transpile(circuit, target=Device.load("fake_santiago").target())
            >>> sorted(native.count_ops())
            ['cx', 'rz', 'sx']
        """
        standard = get_standard_gate_name_mapping()
        everywhere = [(q,) for q in range(self.num_qubits)]
        target = Target(
            num_qubits=self.num_qubits,
            dt=self.dt,
            qubit_properties=[
                QubitProperties(t1=t1, t2=t2, frequency=frequency)
                for t1, t2, frequency in zip(self.t1, self.t2, self.frequency, strict=True)
            ],
        )
        for name in self.native_gates:
            if name not in standard:
                raise ValueError(
                    f"{self.name} has the gate {name!r}, which is not one of Qiskit's standard "
                    f"gates: use the names of qiskit.circuit.library.get_standard_gate_name_mapping"
                )
            properties = {
                g.qubits: InstructionProperties(duration=g.duration, error=g.error)
                for g in self.gates
                if g.gate == name and (dead_edges or len(g.qubits) != 2 or not g.is_dead)
            }
            if properties:
                target.add_instruction(standard[name], properties, name=name)
        measure = {
            (q,): InstructionProperties(duration=self.readout_duration[q], error=_mean(pair or ()))
            for q, pair in enumerate(self.readout)
        }
        target.add_instruction(Measure(), measure)
        target.add_instruction(Delay(Parameter("t")), dict.fromkeys(everywhere))
        return target

    def to_json(self) -> str:
        """Return the device as JSON text, with the version of the format in it."""
        record: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        record["date"] = self.date and self.date.isoformat()
        # JSON has no infinity
        for field in ("t1", "t2"):
            record[field] = ["inf" if value == math.inf else value for value in record[field]]
        return json.dumps(_FORMAT | record, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Device:
        """Read a device from the text of `to_json`.

        Raises:
            ValueError: if the text is no device, misses a field, or has another format version.
        """
        record = json.loads(text)
        if not isinstance(record, Mapping) or record.get("format") != _FORMAT["format"]:
            raise ValueError(f"not a device: expected JSON with {_FORMAT}, got {text[:60]!r}")
        if record.get("version") != _FORMAT["version"]:
            raise ValueError(
                f"device in format version {record.get('version')!r}, this nisqkit reads version "
                f"{_FORMAT['version']}: write the file again with this version"
            )
        values = {key: value for key, value in record.items() if key not in _FORMAT}
        if wrong := values.keys() ^ {f.name for f in fields(cls)}:
            raise ValueError(
                f"device with missing or unknown fields {sorted(wrong)}: a device has exactly the "
                f"fields {[f.name for f in fields(cls)]}"
            )
        values["date"] = values["date"] and datetime.fromisoformat(values["date"])
        return cls(**values)

    def __repr__(self) -> str:
        errors = [
            f"{name} {_short(mean)}"
            for name in self.native_gates
            if name != "id" and (mean := _mean(g.error for g in self._alive(name)))
        ]
        mean_readout = _mean(p for pair in self.readout if pair for p in pair)
        parts = [
            repr(self.name),
            f"{self.num_qubits} qubit{'s' * (self.num_qubits != 1)}",
            self.date.date().isoformat() if self.date else "undated",
            f"mean errors: {', '.join([*errors, f'readout {_short(mean_readout)}'])}",
        ]
        if self.dead_edges:
            parts.append(f"{len(self.dead_edges)} of {len(self.coupling)} edges dead")
        if self.symmetric_readout:
            parts.append(f"symmetric readout on {len(self.symmetric_readout)} qubits")
        return f"Device({', '.join(parts)})"

    def _alive(self, name: str) -> list[GateCalibration]:
        return [g for g in self.gates if g.gate == name and not g.is_dead]

    def summary(self) -> str:
        """Return a description for people: the calibration of every gate kind and every qubit.

        Means, minima and maxima leave dead gates (error 1) out and count them instead.
        """
        date = f"{self.date.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if self.date else "undated"
        lines = [f"{self.name}: {self.num_qubits} qubits, {date}, {self.source}", ""]
        lines.append(f"{'gate':<8}{'on':>5}{'dead':>6}{'error':>10}{'min':>10}{'max':>10}{'ns':>8}")
        for name in self.native_gates:
            alive = self._alive(name)
            uses = sum(g.gate == name for g in self.gates)
            errors = [g.error for g in alive if g.error is not None]
            cells = "".join(f"{_short(x):>10}" for x in (_mean(errors), *_ends(errors))) + _scaled(
                _mean(g.duration for g in alive), 1e9, 8, 0
            )
            virtual = "  virtual" if alive and all(g.is_virtual for g in alive) else ""
            lines.append(f"{name:<8}{uses:>5}{uses - len(alive):>6}{cells}{virtual}")
        lines += ["", f"{'qubit':<8}{'T1 us':>8}{'T2 us':>8}{'P(1|0)':>9}{'P(0|1)':>9}"]
        for q, pair in enumerate(self.readout):
            times = _scaled(self.t1[q], 1e6, 8, 1) + _scaled(self.t2[q], 1e6, 8, 1)
            read = "".join(_scaled(p, 1.0, 9, 4) for p in pair or (None, None))
            note = "  only the mean readout error is known" if q in self.symmetric_readout else ""
            lines.append(f"{q:<8}{times}{read}{note}")
        return "\n".join(lines)


def _check(
    what: str, value: float | None, *, positive: bool = False, top: float = sys.float_info.max
) -> None:
    """Refuse values that are no number between 0 and `top`; None is fine: it is not known."""
    if value is None or (0.0 <= value <= top and not (positive and value == 0.0)):
        return
    allowed = "above 0" if positive else "0 or more" if top > 1.0 else "between 0 and 1"
    raise ValueError(f"{what} is {value}: give a number {allowed}, or None if it is not known")


def _floats(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(None if value is None else float(value) for value in values)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _ends(values: list[float]) -> tuple[float | None, float | None]:
    return (min(values), max(values)) if values else (None, None)


def _short(value: float | None) -> str:
    """Two significant digits: 0.0060, 0.00020."""
    return "?" if value is None else f"{value:#.2g}" if value else "0"


def _scaled(value: float | None, factor: float, width: int, digits: int) -> str:
    return f"{'?' if value is None else f'{value * factor:.{digits}f}':>{width}}"
