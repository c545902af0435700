from typing import Any

import numpy as np
import pennylane as qp
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import DensityMatrix, SparsePauliOp

from nisqkit.circuits import Observables, amplitude, lower
from nisqkit.circuits.pennylane_gates import operators, reverse_bits
from nisqkit.noise import (
    Channel,
    Confusion,
    Device,
    Idle,
    Noise,
    NoiseModel,
    through_readout,
)
from nisqkit.noise.aer_io import aer_circuit
from nisqkit.noise.channels import total_ptm
from nisqkit.noise.pennylane_io import pennylane_operations

FLIP = Channel.pauli({"X": 0.1})
SKEW = Channel.pauli({"XZ": 0.2, "IY": 0.1})
MODEL = NoiseModel(
    "mine",
    {
        ("cx", ()): [SKEW, Noise(Channel.relaxation(0.3), (0,))],
        ("cx", (0, 1)): Noise(FLIP, (1,)),
        ("h", (2,)): FLIP,
        ("sdg", ()): Channel.dephasing(0.2),
    },
    ["ry", "measure"],
)


def circuit() -> QuantumCircuit:
    found = QuantumCircuit(3)
    found.ry(0.4, 0)
    found.h(2)
    found.cx(2, 0)
    found.ry(0.9, 2)
    found.sdg(2)
    found.cx(0, 1)
    found.cx(1, 0)
    return found


def exact() -> np.ndarray:
    """By Qiskit's instructions."""
    program = lower(circuit())
    saved = aer_circuit(MODEL.bind(program), program.angle_map.constants)
    return np.asarray(DensityMatrix(saved).data)


def state(operations: list[Any], wires: int = 3) -> np.ndarray:
    tape = qp.tape.QuantumScript(operations, [qp.density_matrix(wires=range(wires))])
    (result,) = qp.execute([tape], qp.device("default.mixed", wires=wires))
    return reverse_bits(np.asarray(result))


def test_operations_have_the_channels_on_the_right_wires() -> None:
    program = lower(circuit())
    operations = pennylane_operations(MODEL.bind(program), program.angle_map.constants)
    assert np.allclose(state(operations), exact(), atol=1e-10)


def test_a_noise_model_for_pennylane_adds_the_same_channels() -> None:
    noise = MODEL.to_pennylane()
    assert not noise.meas_map
    program = lower(circuit())
    constants = program.angle_map.constants
    clean = [
        op
        for use in program.gates
        for op in operators(use.name, use.qubits, [constants[s] for s in use.slots])
    ]
    tape = qp.tape.QuantumScript(clean, [qp.expval(qp.Z(0))])
    (noisy,), _ = qp.add_noise(tape, noise, level="top")
    assert np.allclose(state(noisy.operations), exact(), atol=1e-10)


def test_uncovered_operators_are_an_error_in_pennylane_too() -> None:
    noise = MODEL.to_pennylane()
    for operation in (qp.RX(0.1, 0), qp.Hadamard(0)):
        tape = qp.tape.QuantumScript([operation], [qp.expval(qp.Z(0))])
        with pytest.raises(ValueError, match=r"on wires \[0\] is not covered by mine: write the"):
            qp.add_noise(tape, noise)


PAIR = np.array([[0.9, 0.05, 0, 0.1], [0.1, 0.9, 0, 0], [0, 0.05, 0.8, 0], [0, 0, 0.2, 0.9]])
READOUT = [
    Confusion((2, 0), PAIR),
    Confusion.flips(1, read_1_after_0=0.02, read_0_after_1=0.3),
]


@pytest.mark.parametrize("string", ["ZZZ", "XIY", "IYX", "YZI", "IIZ"])
def test_readout_errors_act_in_the_basis_of_the_observable(string: str) -> None:
    model = NoiseModel("mine", {}, ["ry", "cx", "h"], READOUT)

    @qp.qnode(qp.device("default.mixed", wires=3))
    def qnode() -> Any:
        qp.RY(0.4, 0)
        qp.Hadamard(2)
        qp.CNOT([2, 1])
        qp.RY(0.9, 1)
        letters = zip(reversed(string), range(3), strict=True)
        return qp.expval(qp.pauli.PauliWord({w: p for p, w in letters if p != "I"}).operation())

    plain = QuantumCircuit(3)
    plain.ry(0.4, 0)
    plain.h(2)
    plain.cx(2, 1)
    plain.ry(0.9, 1)
    seen = through_readout(Observables.parse(string, 3), model.bind(lower(plain)))
    assert seen.sums is not None
    wanted = DensityMatrix(plain).expectation_value(SparsePauliOp.from_list(list(seen.sums[0])))
    assert qp.add_noise(qnode, model.to_pennylane())() == pytest.approx(wanted.real, abs=1e-10)


def test_readout_errors_act_on_probabilities_and_sums() -> None:
    noise = NoiseModel("mine", {}, ["ry"], READOUT).to_pennylane()
    device = qp.device("default.mixed", wires=3)

    @qp.qnode(device)
    def probabilities() -> Any:
        qp.RY(0.9, 1)
        return qp.probs(wires=[1])

    there = np.array([np.cos(0.45) ** 2, np.sin(0.45) ** 2])
    assert np.allclose(qp.add_noise(probabilities, noise)(), READOUT[1].array @ there)

    @qp.qnode(device)
    def total() -> Any:
        return qp.expval(qp.Z(1) + qp.Z(0) @ qp.Z(2))

    single = 1 - 2 * 0.02
    pair = np.array([1, -1, -1, 1]) @ PAIR[:, 0]
    assert qp.add_noise(total, noise)() == pytest.approx(single + pair)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: qp.state(), r"readout errors do not apply to state\(wires=\[\]\): use qp.expval"),
        (lambda: qp.probs(), "and give the wires"),
        (lambda: qp.expval(qp.X(1) + qp.Z(1)), "is not read in one Pauli basis: measure its Pauli"),
        (lambda: qp.expval(qp.Hermitian(np.diag([1, 3]), 1)), "is not read in one Pauli basis"),
        (lambda: qp.expval(qp.Z(4)), "wire 4 is measured, and mine has no readout error for it"),
    ],
)
def test_measurements_that_no_readout_error_fits(measure: Any, message: str) -> None:
    tape = qp.tape.QuantumScript([], [measure()])
    with pytest.raises(ValueError, match=message):
        qp.add_noise(tape, NoiseModel("mine", {}, [], READOUT).to_pennylane())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"idle": Idle((), {})}, "mine has idle noise, which depends on the schedule"),
        ({"gates": {("dcx", ()): SKEW}}, "noise for dcx, which PennyLane writes as several"),
        ({"gates": {("u", ()): FLIP, ("u3", ()): FLIP}}, "u and u3, which are both U3"),
    ],
)
def test_what_pennylane_cannot_say_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NoiseModel(**{"name": "mine", "gates": {}} | changes).to_pennylane()


def test_a_devices_noise_in_pennylane() -> None:
    NoiseModel("mine", {("x", ()): FLIP}, ["dcx", "measure", "prepare"]).to_pennylane()
    device = Device.load("fake_santiago")
    noise = NoiseModel.from_device(device).to_pennylane()

    @qp.qnode(qp.device("default.mixed", wires=5))
    def qnode() -> Any:
        qp.X(3)
        return qp.expval(qp.Z(3))

    program = lower(one_x())
    model = NoiseModel.from_device(device)
    seen = through_readout(Observables.parse("Z", 1), model.bind(program, physical=[3]))
    rho = DensityMatrix(aer_circuit(model.bind(program, physical=[3]), []))
    assert seen.sums is not None
    wanted = rho.expectation_value(SparsePauliOp.from_list(list(seen.sums[0]))).real
    assert qp.add_noise(qnode, noise)() == pytest.approx(wanted, abs=1e-10)


def one_x() -> QuantumCircuit:
    found = QuantumCircuit(1)
    found.x(0)
    return found


def test_reading_a_pennylane_model() -> None:
    def twice(op: Any, **options: Any) -> None:
        qp.PhaseDamping(options["strength"], wires=op.wires[1])
        qp.DepolarizingChannel(0.3, wires=op.wires[0])

    def together(op: Any, **_: Any) -> None:
        matrices = [reverse_bits(np.array(k)) for k in SKEW.kraus_operators]
        qp.QubitChannel(matrices, wires=op.wires)

    def turn(op: Any, **_: Any) -> None:
        qp.RZ(0.2, wires=op.wires)  # a coherent error

    noise = qp.NoiseModel(
        {
            qp.noise.op_eq(qp.CNOT) & qp.noise.wires_eq([0, 2]): twice,
            qp.noise.op_in([qp.CZ, qp.CNOT]): together,
            qp.noise.op_eq(qp.X) & qp.noise.wires_in([1]): turn,
        },
        strength=0.19,
    )
    model = NoiseModel.from_pennylane(noise, num_qubits=3, ideal=["rz"])
    assert model.ideal == {"rz", "measure"}
    assert {name for name, _ in model.gates} == {"cx", "cz", "x"}
    assert [noise.on for noise in model.gates["cx", (2, 0)]] == [(1,), (0,), (0, 1)]
    parts = [(n.channel, n.on) for n in model.gates["cx", (2, 0)]]
    wanted = [
        # PennyLane's depolarising channel with p = 0.3 has X, Y, Z with 0.1 each
        (Channel.dephasing(1 - np.sqrt(1 - 0.19)), (1,)),
        (Channel.pauli({"X": 0.1, "Y": 0.1, "Z": 0.1}), (0,)),
        (SKEW, (0, 1)),
    ]
    assert np.allclose(total_ptm(parts, 2), total_ptm(wanted, 2), atol=1e-12)
    assert model.noise_after("cx", (1, 2)) is not None
    assert model.noise_after("cx", (1, 2))[0].channel.ptm == pytest.approx(SKEW.ptm)  # type: ignore[index]
    assert model.noise_after("x", (0,)) is None
    rotation = model.gates["x", (1,)][0].channel.ptm
    assert rotation[1, 1] == pytest.approx(np.cos(0.2))
    assert rotation[2, 1] == pytest.approx(np.sin(0.2))


def test_round_trip() -> None:
    noise = MODEL.to_pennylane()
    covered = {"cx", "h", "sdg", "ry"}
    condition, follow = next(iter(noise.model_map.items()))
    # only what the model covers, as it raises for everything else
    known = qp.BooleanFn(
        lambda op: op.name in ("CNOT", "Adjoint(S)") or (op.name == "Hadamard" and op.wires[0] == 2)
    )
    again = NoiseModel.from_pennylane(qp.NoiseModel({condition & known: follow}), 3, ["ry"])
    assert {name for name, _ in again.gates} | {"ry"} == covered
    for (gate, qubits), noises in again.gates.items():
        before = MODEL.noise_after(gate, qubits) or ()
        ours, theirs = (
            total_ptm([(n.channel, n.on) for n in found], len(qubits)) for found in (before, noises)
        )
        assert np.allclose(ours, theirs, atol=1e-12)


def test_what_cannot_be_read_is_refused() -> None:
    def by_angle(op: Any, **_: Any) -> None:
        qp.BitFlip(min(1.0, abs(op.parameters[0]) / 10), wires=op.wires)

    def before(op: Any, **_: Any) -> None:
        qp.BitFlip(0.1, wires=op.wires)
        qp.apply(op)

    def elsewhere(op: Any, **_: Any) -> None:
        qp.BitFlip(0.1, wires=1 - op.wires[0])

    is_rx = qp.noise.op_eq(qp.RX)
    for function, message in (
        (by_angle, r"the noise of rx on wires \[0\] depends on its angles"),
        (before, r"the noise of rx on wires \[0\] repeats the gate, to act before it"),
        (
            elsewhere,
            r"the noise of rx on wires \[0\] acts on wires \[1\]: only noise on the gate's",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            NoiseModel.from_pennylane(qp.NoiseModel({is_rx: function}), 2)
    readout = {qp.noise.meas_eq(qp.expval): qp.noise.partial_wires(qp.BitFlip, 0.1)}
    with pytest.raises(ValueError, match=r"noise for measurements \(meas_map\)"):
        NoiseModel.from_pennylane(qp.NoiseModel({}, readout), 2)
    model = NoiseModel.from_pennylane(qp.NoiseModel({}), 2, readout=READOUT)
    assert model.readout == tuple(READOUT) and model.ideal == frozenset()
    with pytest.raises(TypeError, match=r"takes a qp.NoiseModel, not dict"):
        NoiseModel.from_pennylane({}, 2)


def test_loaded_states_and_bad_angles() -> None:
    noisy = NoiseModel("none", {}, ["measure", "prepare"]).bind(lower(amplitude(4), inputs="x"))
    found = state(pennylane_operations(noisy, [1.0, 2.0, 3.0, 4.0]), wires=2)
    vector = np.array([1, 2, 3, 4]) / np.sqrt(30)
    assert np.allclose(found, np.outer(vector, vector), atol=1e-7)
    with pytest.raises(ValueError, match="3 angles for a program with 4 slots"):
        pennylane_operations(noisy, [1.0, 2.0, 3.0])
