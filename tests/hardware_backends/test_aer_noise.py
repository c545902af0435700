import math
from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit.library import CXGate
from qiskit.quantum_info import DensityMatrix, Operator, SuperOp, average_gate_fidelity
from qiskit_aer import AerSimulator
from qiskit_aer.library import SaveDensityMatrix, SaveSuperOp
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime.fake_provider import FakeQuitoV2, FakeSantiagoV2

from nisqkit.hardware_backends.aer_noise import aer_noise_model
from nisqkit.noise import Device, coverage


def final_state(circuit: QuantumCircuit, noise: NoiseModel | None) -> DensityMatrix:
    """The state before readout, exactly."""
    circuit = circuit.copy()
    circuit.append(SaveDensityMatrix(circuit.num_qubits), circuit.qubits)
    simulator = AerSimulator(method="density_matrix", noise_model=noise)
    return DensityMatrix(simulator.run(circuit).result().data()["density_matrix"])


def single_gates(device: Device) -> list[tuple[Device, QuantumCircuit, float]]:
    """Every noisy gate alone, on the device of its own qubits, with its reported error."""
    found = []
    for gate in device.gates:
        if gate.error:
            circuit = QuantumCircuit(len(gate.qubits))
            getattr(circuit, gate.gate)(*circuit.qubits)
            found.append((device.reduced(gate.qubits), circuit, gate.error))
    return found


@pytest.mark.parametrize("name", ["fake_santiago", "fake_quito"])
def test_a_noisy_gate_has_the_reported_error(name: str) -> None:
    for device, circuit, error in single_gates(Device.load(name)):
        noisy = circuit.copy()
        noisy.append(SaveSuperOp(noisy.num_qubits), noisy.qubits)
        simulator = AerSimulator(method="superop", noise_model=aer_noise_model(device))
        channel = SuperOp(simulator.run(noisy).result().data()["superop"])
        relaxation = average_gate_fidelity(relax(device, circuit))
        found = 1 - average_gate_fidelity(channel, Operator(circuit))
        assert found == pytest.approx(max(error, 1 - relaxation), abs=1e-9)


def relax(device: Device, circuit: QuantumCircuit) -> SuperOp:
    """Amplitude and phase damping of all qubits over the gate's duration, from T1 and T2."""
    gate = device.gate(circuit.data[0].name, range(circuit.num_qubits))
    assert gate is not None
    assert gate.duration is not None
    total = SuperOp(np.eye(1))
    for t1, t2 in zip(device.t1, device.t2, strict=True):
        assert t1 is not None
        assert t2 is not None
        decay = math.exp(-gate.duration / t1)
        coherence = math.exp(-gate.duration / min(t2, 2 * t1))
        # the column-stacked density matrix (00, 10, 01, 11)
        one = np.diag([1.0, coherence, coherence, decay])
        one[0, 3] = 1 - decay
        total = total.expand(SuperOp(one))
    return total


def test_gates_agree_with_qiskits_own_noise_model() -> None:
    circuit = QuantumCircuit(5)
    rng = np.random.default_rng(2)
    for _ in range(3):
        for q in range(5):
            circuit.sx(q)
            circuit.rz(rng.uniform(0, 6), q)
            circuit.sx(q)
        for q in range(4):
            circuit.cx(q, q + 1)
            circuit.cx(q + 1, q)
        circuit.reset(2)
        circuit.x(3)
        circuit.id(4)
    for backend, name in [(FakeSantiagoV2(), "fake_santiago"), (FakeQuitoV2(), "fake_quito")]:
        ours = final_state(circuit, aer_noise_model(Device.load(name)))
        theirs = final_state(circuit, NoiseModel.from_backend(backend))
        np.testing.assert_allclose(ours.data, theirs.data, atol=1e-12)
        assert ours.purity().real < 0.9


@pytest.mark.parametrize("name", ["fake_santiago", "fake_yorktown"])
@pytest.mark.parametrize("prepared", [0, 1])
def test_readout_is_wrong_by_the_two_errors_of_each_qubit(name: str, prepared: int) -> None:
    device = Device.load(name)
    noise = aer_noise_model(device)
    circuit = QuantumCircuit(5)
    if prepared:
        circuit.x(range(5))
    state = final_state(circuit, noise)
    circuit.measure_all()
    shots = 100_000
    result = AerSimulator(noise_model=noise, seed_simulator=11).run(circuit, shots=shots).result()
    counts = result.get_counts()
    for q, pair in enumerate(device.readout):
        assert pair is not None
        p10, p01 = pair
        zero, one = state.probabilities([q])
        expected = zero * p10 + one * (1 - p01)
        found = sum(n for bits, n in counts.items() if bits[-1 - q] == "1") / shots
        sigma = math.sqrt(expected * (1 - expected) / shots)
        assert abs(found - expected) < 4 * sigma
        # and not by their mean, which is what the backend's own noise model uses
        if abs(p10 - p01) > 0.005:
            mean = (p10 + p01) / 2
            assert abs(found - (zero * mean + one * (1 - mean))) > 4 * sigma


def test_a_wide_device_costs_what_the_used_qubits_cost() -> None:
    device = Device.load("fake_fez")
    circuit = QuantumCircuit(3)
    circuit.ry(0.4, 0)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    native = transpile(circuit, target=device.target(), seed_transpiler=3, optimization_level=1)
    found = coverage(native, device)
    found.check()
    noise = aer_noise_model(device, found.qubits)
    unmeasured = native.copy()
    native.measure_active()
    shots = 50_000
    counts = (
        AerSimulator(noise_model=noise, seed_simulator=5)
        .run(native, shots=shots)
        .result()
        .get_counts()
    )

    # the same circuit on the sub-device, exactly, and its readout by hand
    part = device.reduced(found.qubits)
    small = QuantumCircuit(part.num_qubits)
    for step in unmeasured.data:
        qubits = [found.qubits.index(unmeasured.find_bit(q).index) for q in step.qubits]
        small.append(step.operation, qubits)
    probabilities = final_state(small, aer_noise_model(part)).probabilities()
    confusion = np.eye(1)
    for pair in part.readout:
        assert pair is not None
        confusion = np.kron([[1 - pair[0], pair[1]], [pair[0], 1 - pair[1]]], confusion)
    expected = confusion @ probabilities
    for k, p in enumerate(expected):
        sampled = counts.get(f"{k:0{part.num_qubits}b}", 0) / shots
        assert abs(sampled - p) < 4 * math.sqrt(p * (1 - p) / shots) + 1 / shots


def test_what_coverage_reports_is_what_aer_does() -> None:
    device = Device.load("fake_santiago")
    noise = aer_noise_model(device)
    circuits = {}
    for name in ("native", "not coupled", "labelled", "not a gate"):
        circuits[name] = QuantumCircuit(3)
        circuits[name].rz(0.3, 0)
    circuits["native"].cx(0, 1)
    circuits["not coupled"].cx(0, 2)
    circuits["labelled"].append(CXGate(label="mine"), [0, 1])
    circuits["not a gate"].cz(0, 1)
    for name, circuit in circuits.items():
        purity = final_state(circuit, noise).purity().real
        if name == "native":
            coverage(circuit, device).check()
            assert purity < 0.9999
        else:
            assert coverage(circuit, device).num_noisy == 0
            assert purity == pytest.approx(1.0, abs=1e-12)


def test_qubits_without_coherence_times_get_the_reported_error_as_depolarising() -> None:
    device = replace(Device.load("fake_santiago").reduced([0]), t1=(math.inf,), t2=(math.inf,))
    circuit = QuantumCircuit(1)
    circuit.x(0)
    gate = device.gate("x", (0,))
    assert gate is not None
    assert gate.error is not None
    # the average fidelity over all states, as depolarising treats them alike
    fidelity = final_state(circuit, aer_noise_model(device)).probabilities()[1]
    assert 1 - fidelity == pytest.approx(gate.error, abs=1e-9)


def test_qubits_that_are_not_on_the_device_are_refused() -> None:
    with pytest.raises(ValueError, match=r"qubits \[7\] are not on fake_santiago: .* 0 and 4"):
        aer_noise_model(Device.load("fake_santiago"), [0, 7])


def test_dead_gates_are_as_noisy_as_depolarising_can_make_them() -> None:
    device = Device.load("fake_manhattan")
    dead = device.reduced(device.dead_edges[0])
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    noisy = circuit.copy()
    noisy.append(SaveSuperOp(noisy.num_qubits), noisy.qubits)
    simulator = AerSimulator(method="superop", noise_model=aer_noise_model(dead))
    channel = SuperOp(simulator.run(noisy).result().data()["superop"])
    found = 1 - average_gate_fidelity(channel, Operator(circuit))
    assert found == pytest.approx(4 / 5, abs=1e-3)
