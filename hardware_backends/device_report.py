"""What a circuit becomes on a device: its gates, their places, time and errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qiskit import QuantumCircuit

from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.transpile import Transpiled, transpile_to
from nisqkit.noise.coverage import Coverage, coverage
from nisqkit.noise.device import Device


@dataclass(frozen=True)
class GateTotal:
    """All gates of one name, or all readouts (``"measure"``).

    Attributes:
        gate: Name of the gate.
        count: How many there are.
        mean_error: Mean of their errors as calibrated.
        success: The product of ``1 - error`` over them.
    """

    gate: str
    count: int
    mean_error: float
    success: float


@dataclass(frozen=True, eq=False)
class DeviceReport:
    """A program on a device.

    Attributes:
        transpiled: The native circuit, and on which physical qubits it runs.
        coverage: Which of its gates and measurements the device's noise reaches.
        depth: Layers of gates, virtual ones included.
        two_qubit_depth: Layers of two-qubit gates.
        duration: Seconds from the first gate to the last, without measurements, if each starts as
            early as it can; None if the duration of a gate is not known.
        readout_duration: Seconds of the longest measurement, None if one is not known.
        totals: Noisy gates by name and the readouts, the costliest first.
    """

    transpiled: Transpiled
    coverage: Coverage
    depth: int
    two_qubit_depth: int
    duration: float | None
    readout_duration: float | None
    totals: tuple[GateTotal, ...]

    @property
    def success(self) -> float:
        """An estimate of the probability that no gate and no readout fails.

        It is the product of ``1 - error`` over all gates and readouts that are covered. Errors may
        cancel or not matter, and waiting costs too, so that no accuracy follows from it; it is good
        for comparing layouts and devices.
        """
        return math.prod(total.success for total in self.totals)


def device_report(
    program: Program,
    device: Device,
    *,
    layout: Sequence[int] | None = None,
    optimization_level: int = 2,
    seed: int = 0,
) -> DeviceReport:
    """Transpile a program for a device and add up what its calibration says.

    All logical qubits are measured. What the noise does not cover is listed, not refused:
    ``report.coverage.check()`` refuses it.

    Args:
        program: The program.
        device: The device.
        layout: As in `transpile_to`.
        optimization_level: As in `transpile_to`.
        seed: As in `transpile_to`.

    Raises:
        ValueError: As `transpile_to`.

    Example:
        >>> from nisqkit.circuits import lower, u3_cu3
        >>> report = device_report(lower(u3_cu3(4, blocks=1)), Device.load("fake_santiago"))
        >>> report.coverage.check()
        >>> [total.gate for total in report.totals]
        ['cx', 'measure', 'sx']
        >>> 0.5 < report.success < 1
        True
    """
    transpiled = transpile_to(
        program, device, layout=layout, optimization_level=optimization_level, seed=seed
    )
    measured = QuantumCircuit(device.num_qubits, program.num_qubits)
    measured.compose(transpiled.circuit, inplace=True)
    measured.measure(transpiled.layout, range(program.num_qubits))
    covered = coverage(measured, device)
    circuit = transpiled.circuit
    reads = [t for q in transpiled.layout if (t := device.readout_duration[q]) is not None]
    return DeviceReport(
        transpiled=transpiled,
        coverage=covered,
        depth=circuit.depth(),
        two_qubit_depth=circuit.depth(lambda use: len(use.qubits) == 2),
        duration=_duration(circuit, device),
        readout_duration=max(reads) if len(reads) == program.num_qubits else None,
        totals=_totals(covered, device),
    )


def _totals(covered: Coverage, device: Device) -> tuple[GateTotal, ...]:
    errors: dict[str, list[float]] = {}
    for use in covered.noisy:
        calibration = device.gate(use.gate, use.qubits)
        assert calibration is not None, "it is covered"
        # a reset has no reported error
        errors.setdefault(use.gate, []).extend([calibration.error or 0.0] * use.count)
    pairs = [pair for q in covered.measured if (pair := device.readout[q]) is not None]
    if pairs:
        errors["measure"] = [(read_1 + read_0) / 2 for read_1, read_0 in pairs]
    totals = (
        GateTotal(gate, len(found), math.fsum(found) / len(found), math.prod(1 - e for e in found))
        for gate, found in errors.items()
    )
    return tuple(sorted(totals, key=lambda total: total.success))


def _duration(circuit: QuantumCircuit, device: Device) -> float | None:
    """Seconds along the longest path; None if a gate's duration is not known."""
    ready = [0.0] * circuit.num_qubits
    for use in circuit.data:
        qubits = [circuit.find_bit(q).index for q in use.qubits]
        duration: float | None = 0.0
        if not use.is_directive():
            calibration = device.gate(use.name, qubits)
            duration = None if calibration is None else calibration.duration
        if duration is None:
            return None
        end = max(ready[q] for q in qubits) + duration
        for q in qubits:
            ready[q] = end
    return max(ready)
