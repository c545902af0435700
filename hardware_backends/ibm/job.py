"""Jobs as plain data: circuits, bindings and options, before anything of a service is known."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import ClassicalRegister
from qiskit.quantum_info import SparsePauliOp

from nisqkit.hardware_backends.ibm.counts import Counts

_FORMAT = {"format": "nisqkit.ibm_job", "version": 1}

Sums: TypeAlias = tuple[tuple[tuple[str, float], ...], ...]
"""One tuple of (Pauli string over logical qubits, coefficient) per output."""


@dataclass(frozen=True, eq=False)
class Values:
    """What an estimator gave for a PUB: means and standard errors, shape ``(rows, outputs)``."""

    means: NDArray[np.float64]
    errors: NDArray[np.float64]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.means)

    def part(self, first: int, stop: int) -> Values:
        """The rows from ``first`` to before ``stop``."""
        return Values(self.means[first:stop], self.errors[first:stop])

    @classmethod
    def join(cls, parts: Sequence[Values]) -> Values:
        """The rows of several, one after another."""
        means, errors = ([getattr(p, name) for p in parts] for name in ("means", "errors"))
        return cls(np.concatenate(means), np.concatenate(errors))


Found: TypeAlias = Counts | Values


@dataclass(frozen=True, eq=False)
class Pub:
    """A circuit of the device, and all rows of angles that it is run with.

    Attributes:
        circuit: On the qubits in use alone, in the device's gates, without measurements.
        physical: For each of its qubits, the device's qubit.
        measured: For each logical qubit, the qubit of the circuit that it is read on.
        values: Shape ``(rows, parameters)``, in the order of ``circuit.parameters``.
        sums: What an estimator returns; ``None`` for a sampler, which returns bitstrings.
        seconds: One execution, reset and readout included; ``None`` if the device does not say.
    """

    circuit: QuantumCircuit
    physical: tuple[int, ...]
    measured: tuple[int, ...]
    values: NDArray[np.float64]
    sums: Sums | None = None
    seconds: float | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.values)

    def part(self, first: int, stop: int) -> Pub:
        """The rows from ``first`` to before ``stop``."""
        return replace(self, values=self.values[first:stop])

    def ready(self, width: int | None = None) -> QuantumCircuit:
        """The circuit as a primitive takes it; a sampler's measures logical qubit k into bit k.

        Args:
            width: Put it on its physical qubits of a device so wide; ``None`` leaves it small.
        """
        places = self.physical if width is not None else range(self.circuit.num_qubits)
        found = QuantumCircuit(width or self.circuit.num_qubits)
        found.global_phase = self.circuit.global_phase
        for use in self.circuit.data:
            at = [places[self.circuit.find_bit(q).index] for q in use.qubits]
            found.append(use.operation, at)
        if self.sums is None:
            found.add_register(ClassicalRegister(len(self.measured), "meas"))
            found.measure([places[q] for q in self.measured], range(len(self.measured)))
        return found

    def operators(self, width: int | None = None) -> list[SparsePauliOp]:
        """The observables of an estimator's PUB, on the qubits of `ready`."""
        assert self.sums is not None
        places = self.physical if width is not None else range(self.circuit.num_qubits)
        at = [places[q] for q in self.measured]
        return [
            SparsePauliOp.from_list(list(terms)).apply_layout(at, width or self.circuit.num_qubits)
            for terms in self.sums
        ]


@dataclass(frozen=True, eq=False)
class Job:
    """What is sent at once.

    Attributes:
        pubs: Its PUBs.
        shots: Of every row.
        options: For the primitive, by the runtime's own names.
        seed: For simulators.
    """

    pubs: tuple[Pub, ...]
    shots: int
    options: Mapping[str, Any]
    seed: int

    @property
    def kind(self) -> str:
        """``"sampler"`` or ``"estimator"``."""
        return "sampler" if self.pubs[0].sums is None else "estimator"

    @property
    def executions(self) -> int:
        """Circuits times shots; an estimator runs one circuit per measurement basis."""
        return self.shots * sum(pub.rows * _bases(pub) for pub in self.pubs)

    def to_bytes(self) -> bytes:
        """Everything, circuits as QPY, in numpy's ``.npz`` format without pickles."""
        circuits = io.BytesIO()
        qpy.dump([pub.circuit for pub in self.pubs], circuits)
        header = _FORMAT | {
            "kind": self.kind,
            "shots": self.shots,
            "options": dict(self.options),
            "seed": self.seed,
            "pubs": [
                {name: getattr(pub, name) for name in ("physical", "measured", "sums", "seconds")}
                for pub in self.pubs
            ],
        }
        arrays: dict[str, NDArray[Any]] = {
            f"values{k}": pub.values for k, pub in enumerate(self.pubs)
        }
        arrays["circuits"] = np.frombuffer(circuits.getvalue(), dtype=np.uint8)
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        return _packed(arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> Job:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: It is of another format or version.
        """
        arrays = _unpacked(data)
        header = json.loads(arrays["header"].tobytes())
        if {key: header.get(key) for key in _FORMAT} != _FORMAT:
            raise ValueError(
                f"a job of {header.get('format')!r} version {header.get('version')!r}; this "
                f"nisqkit reads {_FORMAT}: use the nisqkit that wrote it"
            )
        circuits = qpy.load(io.BytesIO(arrays["circuits"].tobytes()))
        pubs = []
        for k, (circuit, told) in enumerate(zip(circuits, header["pubs"], strict=True)):
            sums = told["sums"]
            if sums is not None:
                sums = tuple(tuple((s, float(c)) for s, c in terms) for terms in sums)
            places = tuple(told["physical"]), tuple(told["measured"])
            pubs.append(Pub(circuit, *places, arrays[f"values{k}"], sums, told["seconds"]))
        return cls(tuple(pubs), header["shots"], header["options"], header["seed"])


def pack_found(found: Sequence[Found]) -> bytes:
    """Results of a job's PUBs as bytes."""
    arrays: dict[str, NDArray[Any]] = {}
    for k, one in enumerate(found):
        for name, value in vars(one).items():
            arrays[f"{k}.{name}"] = value
    return _packed(arrays)


def unpack_found(data: bytes) -> list[Found]:
    """Read what `pack_found` wrote."""
    arrays = _unpacked(data)
    found: list[Found] = []
    for k in range(len({name.partition(".")[0] for name in arrays})):
        own = {n.partition(".")[2]: a for n, a in arrays.items() if n.partition(".")[0] == str(k)}
        found.append(Counts(**own) if "counts" in own else Values(**own))
    return found


def _bases(pub: Pub) -> int:
    if pub.sums is None:
        return 1
    from nisqkit.circuits.observables import Observables

    return len(Observables(len(pub.measured), pub.sums).groups)


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
