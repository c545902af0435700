"""Compared with what Qiskit says about the same circuit on the snapshot's own target."""

import math
from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit_ibm_runtime.fake_provider import FakeBelemV2

from nisqkit.circuits import hardware_efficient, lower, strongly_entangling, u3_cu3
from nisqkit.hardware_backends.device_report import DeviceReport, device_report
from nisqkit.noise import Device

BELEM = Device.load("fake_belem")
CIRCUITS = [u3_cu3(4, blocks=2), hardware_efficient(3, 2), strongly_entangling(4, 2), u3_cu3(5, 1)]


def report_of(circuit: QuantumCircuit, device: Device = BELEM) -> DeviceReport:
    return device_report(lower(circuit), device)


@pytest.mark.parametrize("circuit", CIRCUITS, ids=lambda circuit: f"{circuit.num_qubits} qubits")
def test_errors_and_counts_are_those_of_the_backend(circuit: QuantumCircuit) -> None:
    report = report_of(circuit)
    target = FakeBelemV2().target
    native = report.transpiled.circuit
    success, counts = 1.0, dict[str, int]()
    for use in native.data:
        error = target[use.name][tuple(native.find_bit(q).index for q in use.qubits)].error
        if error:
            success *= 1 - error
            counts[use.name] = counts.get(use.name, 0) + 1
    for q in report.transpiled.layout:
        success *= 1 - target["measure"][(q,)].error  # the mean of both readout errors
    counts["measure"] = circuit.num_qubits
    assert report.success == pytest.approx(success, rel=1e-9)
    assert {total.gate: total.count for total in report.totals} == counts
    assert report.coverage.num_virtual == native.count_ops()["rz"]
    worst = [total.success for total in report.totals]
    assert worst == sorted(worst)
    assert math.prod(worst) == pytest.approx(report.success)


@pytest.mark.parametrize("circuit", CIRCUITS, ids=lambda circuit: f"{circuit.num_qubits} qubits")
def test_depth_and_duration_are_qiskits(circuit: QuantumCircuit) -> None:
    report = report_of(circuit)
    native = report.transpiled.circuit
    assert report.depth == native.depth()
    assert report.two_qubit_depth == native.depth(lambda use: use.operation.num_qubits == 2)
    bound = native.assign_parameters(np.zeros(native.num_parameters))
    expected = bound.estimate_duration(FakeBelemV2().target, unit="s")
    assert report.duration == pytest.approx(expected, rel=1e-9)
    reads = [FakeBelemV2().target["measure"][(q,)].duration for q in report.transpiled.layout]
    assert report.readout_duration == max(reads)


def test_barriers_order_gates_and_take_no_time() -> None:
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.barrier()
    circuit.x(1)
    report = report_of(circuit)
    lengths = [g.duration for q in report.transpiled.layout if (g := BELEM.gate("x", (q,)))]
    assert report.duration == pytest.approx(sum(filter(None, lengths)))


def test_what_is_not_covered_is_listed_and_times_can_be_unknown() -> None:
    gates = tuple(g._replace(duration=None) if g.gate == "sx" else g for g in BELEM.gates)
    circuit = hardware_efficient(5, 1)
    assert report_of(circuit, replace(BELEM, gates=gates)).duration is None
    silent = replace(BELEM, readout=(None,) * 5, readout_duration=(None,) * 5)
    report = report_of(circuit, silent)
    assert report.readout_duration is None
    assert {use.gate for use in report.coverage.uncovered} == {"measure"}
    with pytest.raises(ValueError, match="fake_belem has no readout error for this qubit"):
        report.coverage.check()


def test_a_layout_is_followed() -> None:
    report = device_report(lower(u3_cu3(2, blocks=1)), BELEM, layout=[4, 3])
    assert report.transpiled.initial_layout == (4, 3)
    assert report.coverage.qubits == (3, 4)
    with pytest.raises(ValueError, match="lists qubit 4 twice"):
        device_report(lower(u3_cu3(2, blocks=1)), BELEM, layout=[4, 4])
