from dataclasses import replace

import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit.library import CXGate

from nisqkit.noise import Device, GateUse, coverage


@pytest.fixture
def santiago() -> Device:
    return Device.load("fake_santiago")


def logical_circuit() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    for q in range(3):
        circuit.ry(0.3 + q, q)
    for q in range(3):
        circuit.cu(0.1, 0.2, 0.3, 0.0, q, (q + 1) % 3)
    circuit.measure_all()
    return circuit


def test_a_transpiled_circuit_is_covered(santiago: Device) -> None:
    native = transpile(logical_circuit(), target=santiago.target(), seed_transpiler=1)
    found = coverage(native, santiago)
    found.check()
    ops = native.count_ops()
    assert found.uncovered == ()
    assert found.num_virtual == ops["rz"]
    assert found.num_noisy == ops["cx"] + ops["sx"] + ops.get("x", 0)
    assert found.num_gates == found.num_noisy + found.num_virtual
    assert len(found.measured) == 3
    assert set(found.measured) == set(found.qubits)


def test_counts_are_per_gate_and_qubits(santiago: Device) -> None:
    circuit = QuantumCircuit(5)
    circuit.sx(3)
    circuit.sx(3)
    circuit.cx(3, 2)
    circuit.rz(0.1, 4)
    circuit.barrier()
    circuit.delay(100, 0)
    found = coverage(circuit, santiago)
    assert found.noisy == (GateUse("cx", (3, 2), 1), GateUse("sx", (3,), 2))
    assert found.virtual == (GateUse("rz", (4,), 1),)
    assert found.delays == 1
    assert found.qubits == (0, 2, 3, 4)
    assert found.measured == ()


def test_a_circuit_that_was_not_transpiled(santiago: Device) -> None:
    found = coverage(logical_circuit(), santiago)
    assert found.num_noisy == 0
    assert found.measured == (0, 1, 2)
    with pytest.raises(
        ValueError,
        match=r"(?s)^0 of 6 gates would be noisy on fake_santiago and 0 are virtual; not covered:"
        r".*cu on \(0, 1\): not a gate of fake_santiago .*: transpile the circuit.*and 1 more$",
    ):
        found.check()


def test_a_pair_that_is_not_coupled(santiago: Device) -> None:
    circuit = QuantumCircuit(5)
    circuit.cx(0, 2)
    circuit.cx(0, 2)
    with pytest.raises(ValueError, match=r"cx on \(0, 2\), 2 times: .* not on these qubits"):
        coverage(circuit, santiago).check()


def test_a_gate_in_the_direction_that_the_machine_does_not_have() -> None:
    device = Device.load("fake_brisbane")
    a, b = device.coupling[0]
    assert (b, a) not in device.coupling
    circuit = QuantumCircuit(127)
    circuit.ecr(a, b)
    coverage(circuit, device).check()
    circuit.ecr(b, a)
    with pytest.raises(ValueError, match=rf"ecr on \({b}, {a}\): .* in this order"):
        coverage(circuit, device).check()


def test_a_dead_edge() -> None:
    device = Device.load("fake_manhattan")
    circuit = QuantumCircuit(65)
    circuit.cx(*device.dead_edges[0])
    with pytest.raises(ValueError, match="its error is 1, it does not work"):
        coverage(circuit, device).check()


def test_a_gate_without_calibration(santiago: Device) -> None:
    gates = [g._replace(error=None) if g.qubits == (1,) else g for g in santiago.gates]
    circuit = QuantumCircuit(2)
    circuit.sx(0)
    circuit.sx(1)
    with pytest.raises(ValueError, match=r"1 of 2 .*\n  sx on \(1,\): not calibrated"):
        coverage(circuit, replace(santiago, gates=tuple(gates))).check()


def test_an_error_of_zero_needs_a_duration(santiago: Device) -> None:
    gates = [g._replace(duration=None) if g.gate == "rz" else g for g in santiago.gates]
    circuit = QuantumCircuit(1)
    circuit.rz(0.1, 0)
    with pytest.raises(ValueError, match=r"rz on \(0,\): not calibrated \(error 0.0, duration N"):
        coverage(circuit, replace(santiago, gates=tuple(gates))).check()


def test_resets_are_noisy_by_their_duration_alone(santiago: Device) -> None:
    circuit = QuantumCircuit(1)
    circuit.reset(0)
    assert coverage(circuit, santiago).num_noisy == 1
    almaden = Device.load("fake_almaden")  # reports no duration
    with pytest.raises(ValueError, match=r"reset on \(0,\): not calibrated"):
        coverage(circuit, almaden).check()


def test_a_qubit_without_coherence_times(santiago: Device) -> None:
    circuit = QuantumCircuit(2)
    circuit.rz(0.1, 1)
    device = replace(santiago, t1=(*santiago.t1[:1], None, *santiago.t1[2:]))
    coverage(circuit, device).check()  # virtual gates take no time
    circuit.cx(0, 1)
    with pytest.raises(ValueError, match="T1 or T2 of qubit 1 is not known"):
        coverage(circuit, device).check()


def test_a_qubit_without_readout_error(santiago: Device) -> None:
    device = replace(santiago, readout=(None, *santiago.readout[1:]))
    circuit = QuantumCircuit(2)
    circuit.measure_all()
    found = coverage(circuit, device)
    assert found.measured == (1,)
    assert found.num_gates == 0
    with pytest.raises(ValueError, match=r"measure on \(0,\): .* no readout error"):
        found.check()


def test_a_label_hides_a_gate_from_the_noise(santiago: Device) -> None:
    circuit = QuantumCircuit(2)
    circuit.append(CXGate(label="mine"), [0, 1])
    with pytest.raises(ValueError, match=r"it has the label 'mine'.*remove the label"):
        coverage(circuit, santiago).check()


def test_a_circuit_that_does_not_fit(santiago: Device) -> None:
    with pytest.raises(ValueError, match="the circuit has 6 qubits and fake_santiago has 5"):
        coverage(QuantumCircuit(6), santiago)
