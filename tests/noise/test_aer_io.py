import logging

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import DensityMatrix, SuperOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel as AerNoiseModel
from qiskit_aer.noise import (
    ReadoutError,
    RelaxationNoisePass,
    amplitude_damping_error,
    depolarizing_error,
    pauli_error,
)

from nisqkit.circuits import amplitude, lower
from nisqkit.hardware_backends.aer_noise import aer_noise_model
from nisqkit.noise import Channel, Confusion, Device, Idle, Noise, NoiseModel, NoiseUse
from nisqkit.noise.aer_io import aer_circuit
from nisqkit.noise.channels import total_ptm

FLIP = Channel.pauli({"X": 0.1})


def density(circuit: QuantumCircuit, noise: AerNoiseModel | None = None) -> np.ndarray:
    saved = circuit.copy()
    saved.save_density_matrix()
    simulator = AerSimulator(method="density_matrix", noise_model=noise)
    return np.asarray(simulator.run(saved).result().data()["density_matrix"])


def random_native(device: Device, seed: int) -> QuantumCircuit:
    circuit = QuantumCircuit(device.num_qubits)
    generator = np.random.default_rng(seed)
    for _ in range(12):
        q = int(generator.integers(device.num_qubits))
        circuit.rz(float(generator.uniform(0, 6)), q)
        circuit.sx(q)
        circuit.cx(*device.coupling[generator.integers(len(device.coupling))])
    return circuit


@pytest.mark.parametrize("kind", ["full", "pauli"])
@pytest.mark.parametrize("name", ["fake_santiago", "fake_yorktown"])
def test_a_devices_model_simulates_as_ibms(name: str, kind: str) -> None:
    device = Device.load(name).reduced([0, 1, 2])
    model = NoiseModel.from_device(device, kind)
    circuit = random_native(device, seed=1)
    program = lower(circuit)
    explicit = density(aer_circuit(model.bind(program), program.angle_map.constants))
    assert np.allclose(density(circuit, model.to_aer()), explicit, atol=1e-7)
    if kind == "full":
        assert np.allclose(density(circuit, aer_noise_model(device)), explicit, atol=1e-10)
    else:
        assert np.abs(density(circuit, aer_noise_model(device)) - explicit).max() > 1e-5


def test_channels_reach_the_right_qubits() -> None:
    """Against Qiskit's own superoperators, with channels that are not symmetric."""
    first, second = Channel.relaxation(0.3), Channel.pauli({"XZ": 0.2, "IY": 0.1})
    model = NoiseModel(
        "mine",
        {("cx", ()): [second, Noise(first, (0,))], ("h", (2,)): FLIP},
        ["ry", "measure"],
    )
    circuit = QuantumCircuit(3)
    circuit.ry(0.4, 0)
    circuit.h(2)
    circuit.cx(2, 0)
    circuit.ry(0.9, 2)
    circuit.cx(0, 1)
    state = DensityMatrix.from_label("000")
    for instruction in circuit.data:
        qubits = [circuit.find_bit(q).index for q in instruction.qubits]
        state = state.evolve(instruction.operation, qubits)
        if instruction.name == "h":
            state = state.evolve(SuperOp(pauli_error([("X", 0.1), ("I", 0.9)])), qubits)
        if instruction.name == "cx":
            mixture = pauli_error([("XZ", 0.2), ("IY", 0.1), ("II", 0.7)])
            state = state.evolve(SuperOp(mixture), qubits)
            state = state.evolve(SuperOp(amplitude_damping_error(0.3)), qubits[:1])
    program = lower(circuit)
    explicit = density(aer_circuit(model.bind(program), program.angle_map.constants))
    assert np.allclose(explicit, state.data, atol=1e-12)
    assert np.allclose(density(circuit, model.to_aer()), state.data, atol=1e-12)


@pytest.mark.parametrize("kind", ["full", "pauli"])
def test_round_trip(kind: str) -> None:
    model = NoiseModel.from_device(Device.load("fake_yorktown"), kind)
    again = NoiseModel.from_aer(model.to_aer())
    assert again.gates.keys() == model.gates.keys()
    for use, noises in model.gates.items():
        wanted = total_ptm([(n.channel, n.on) for n in noises], len(use[1]))
        (noise,) = again.gates[use]
        assert np.allclose(noise.channel.ptm, wanted, atol=1e-12)
        assert (noise.channel.kind == "pauli") == (kind == "pauli")
    for before, after in zip(model.readout, again.readout, strict=True):
        assert after.qubits == before.qubits
        assert np.allclose(after.array, before.array, atol=1e-15)
    assert again.ideal == {"rz"}


def test_reading_a_model_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    aer = AerNoiseModel(basis_gates=["rz", "sx", "cx"])
    aer.add_all_qubit_quantum_error(depolarizing_error(0.04, 2), "cx")
    aer.add_quantum_error(
        amplitude_damping_error(0.2).tensor(pauli_error([("I", 1)])), "cx", [3, 1]
    )
    aer.add_all_qubit_readout_error(ReadoutError([[0.9, 0.1], [0.2, 0.8]]))
    aer.add_readout_error(ReadoutError([[0.7, 0.3], [0.0, 1.0]]), [2])
    model = NoiseModel.from_aer(aer, ideal=["x"])
    assert model.ideal == {"rz", "x"}  # sx has no noise, which Aer would not mind
    every = model.gates["cx", ()][0].channel
    assert every.kind == "pauli"
    assert np.allclose(every.ptm, Channel.depolarizing(0.04, 2).ptm, atol=1e-14)
    ptm = model.gates["cx", (3, 1)][0].channel.ptm
    wanted = total_ptm([(Channel.relaxation(0.2), (1,))], 2)
    assert np.allclose(ptm, wanted, atol=1e-12)
    assert model.readout_of([2, 0]) == (
        Confusion.flips(2, read_1_after_0=0.3, read_0_after_1=0.0),
        Confusion.flips(0, read_1_after_0=0.1, read_0_after_1=0.2),
    )
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        again = NoiseModel.from_aer(model.to_aer(), ideal=["x"])
    assert again.gates.keys() == model.gates.keys() and again.readout == model.readout
    circuit = QuantumCircuit(2)
    circuit.sx(0)
    with pytest.raises(ValueError, match=r"from Aer has no noise for it \(it has cx\)"):
        model.bind(lower(circuit))


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(TypeError, match=r"takes a qiskit_aer.noise.NoiseModel, not dict"):
        NoiseModel.from_aer({})  # type: ignore[arg-type]
    measured = AerNoiseModel()
    measured.add_all_qubit_quantum_error(pauli_error([("X", 0.1), ("I", 0.9)]), "measure")
    with pytest.raises(ValueError, match="a quantum error on measurements: give it as a readout"):
        NoiseModel.from_aer(measured)
    passes = AerNoiseModel()
    passes._custom_noise_passes.append(RelaxationNoisePass([1.0], [1.0]))
    with pytest.raises(ValueError, match="has passes that add noise to a circuit"):
        NoiseModel.from_aer(passes)


def test_what_aer_cannot_say_is_refused() -> None:
    idle = NoiseModel("tiny", {}, idle=Idle((), {}))
    with pytest.raises(ValueError, match="tiny has idle noise, which depends on the schedule"):
        idle.to_aer()
    pair = NoiseModel("tiny", {}, readout=[Confusion((3, 1), np.eye(4))])
    with pytest.raises(ValueError, match="the readout of 3-1 of tiny is correlated, and Aer drops"):
        pair.to_aer()
    nothing = Channel.pauli({"I": 1.0})
    for changes in ({"ideal": [("x", (0,))]}, {"ideal": []}):
        gates = {("x", ()): FLIP} | ({} if changes["ideal"] else {("x", (0,)): nothing})
        with pytest.raises(ValueError, match=r"tiny has x exact on \(0,\) and noisy on all other"):
            NoiseModel("tiny", gates, changes["ideal"]).to_aer()


def test_parameters_and_idle_noise() -> None:
    device = Device.load("fake_santiago").reduced([0, 1])
    circuit = QuantumCircuit(2)
    slots = ParameterVector("a", 2)
    circuit.sx(1)
    circuit.cx(0, 1)
    circuit.sx(0)
    circuit.rz(slots[0], 0)
    circuit.sx(0)
    circuit.rz(slots[1], 1)
    circuit.cx(0, 1)
    program = lower(circuit)
    noisy = NoiseModel.from_device(device, idle=True).bind(program)
    symbolic = aer_circuit(noisy, list(slots))
    assert set(symbolic.parameters) == set(slots)
    channels = sum(isinstance(u, NoiseUse) for u in noisy.operations)
    assert symbolic.count_ops()["kraus"] == channels
    bound = density(symbolic.assign_parameters({slots: [0.3, 0.8]}))
    assert np.allclose(bound, density(aer_circuit(noisy, [0.3, 0.8])), atol=1e-14)
    busy = NoiseModel.from_device(device).bind(program)
    assert np.abs(bound - density(aer_circuit(busy, [0.3, 0.8]))).max() > 1e-4


def test_gates_that_aer_does_not_know_and_loaded_states() -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(0.3, 0)
    circuit.dcx(0, 1)
    circuit.ch(1, 0)
    circuit.unitary(np.diag([1, 1j]), 1)
    program = lower(circuit)
    names = {use.name for use in program.gates}
    model = NoiseModel("none", {}, [*names, "measure", "prepare"])
    found = density(aer_circuit(model.bind(program), program.angle_map.constants))
    assert np.allclose(found, DensityMatrix(circuit).data, atol=1e-12)

    loaded = model.bind(lower(amplitude(4), inputs="x"))
    found = density(aer_circuit(loaded, [1.0, 2.0, 3.0, 4.0]))
    state = np.array([1, 2, 3, 4]) / np.sqrt(30)
    assert np.allclose(found, np.outer(state, state), atol=1e-12)
    assert np.allclose(density(aer_circuit(loaded, [2.0, 0.0, 0.0, 0.0])), np.diag([1, 0, 0, 0]))
    with pytest.raises(ValueError, match="3 angles for a program with 4 slots: give one for each"):
        aer_circuit(loaded, [1.0, 2.0, 3.0])


def test_small_channels_are_not_dropped() -> None:
    weak = Channel.relaxation(1e-9)
    circuit = QuantumCircuit(1)
    circuit.x(0)
    model = NoiseModel("weak", {("x", ()): weak}, ["measure"])
    found = density(aer_circuit(model.bind(lower(circuit)), []))
    assert found[0, 0].real == pytest.approx(1e-9, rel=1e-6)
