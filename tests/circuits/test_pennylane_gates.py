"""Gates between our table and PennyLane, checked as matrices."""

import sys

import numpy as np
import pennylane as qp
import pytest
import torch
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import Operator, random_unitary

from nisqkit.circuits.gates import GATES, gate
from nisqkit.circuits.lower import gate_class
from nisqkit.circuits.pennylane_gates import import_pennylane, operators, reverse_bits, steps

X, Y, W = 0.37, -1.2, 2.1


def pennylane_matrix(operations: list[qp.operation.Operator], num_qubits: int) -> NDArray:
    tape = qp.tape.QuantumScript(operations)
    matrix = np.asarray(qp.matrix(tape, wire_order=range(num_qubits)[::-1]))
    return matrix  # wires reversed: Qiskit's bit order


def matrix_of_steps(operation: qp.operation.Operator, num_qubits: int) -> NDArray:
    circuit = QuantumCircuit(num_qubits)
    for step in steps(operation):
        angles = torch.tensor([float(a) for a in step.angles], dtype=torch.float64)
        matrix = gate(step.name, step.matrix).matrix(angles).numpy()
        circuit.append(UnitaryGate(matrix), list(step.wires))
    return np.asarray(Operator(circuit).data)


def assert_equal_up_to_phase(a: NDArray, b: NDArray) -> None:
    k = np.abs(b).argmax()
    phase = a.ravel()[k] / b.ravel()[k]
    assert abs(abs(phase) - 1) < 1e-10
    np.testing.assert_allclose(a, phase * b, atol=1e-10)


@pytest.mark.parametrize("name", GATES)
def test_every_gate_of_the_table_is_qiskits_gate(name: str) -> None:
    record = GATES[name]
    angles = np.random.default_rng(5).uniform(-3, 3, record.num_params).tolist()
    found = pennylane_matrix(operators(name, range(record.num_qubits), angles), record.num_qubits)
    assert_equal_up_to_phase(found, Operator(gate_class(name)(*angles)).data)


@pytest.mark.parametrize("name", GATES)
def test_every_gate_comes_back(name: str) -> None:
    record = GATES[name]
    angles = np.random.default_rng(6).uniform(-3, 3, record.num_params).tolist()
    operations = operators(name, range(record.num_qubits), angles)
    back = [step for operation in operations for step in steps(operation)]
    known = {"r", "dcx", "cu", "xx_plus_yy", "xx_minus_yy"}  # several PennyLane gates
    if name not in known:
        twin = {"u": "u3", "cu1": "cp"}.get(name, name)
        assert [(s.name, s.wires) for s in back] == [(twin, tuple(range(record.num_qubits)))]
        assert [float(a) for a in back[0].angles] == angles


def test_a_two_qubit_unitary_keeps_its_qubits() -> None:
    matrix = random_unitary(4, seed=1).data
    (operation,) = operators("unitary", [0, 1], matrix=matrix)
    np.testing.assert_allclose(pennylane_matrix([operation], 2), matrix, atol=1e-12)
    (step,) = steps(operation)
    np.testing.assert_allclose(np.reshape(step.matrix or (), (4, 4)), matrix, atol=1e-12)
    np.testing.assert_allclose(reverse_bits(reverse_bits(matrix)), matrix)


@pytest.mark.parametrize(
    "operation",
    [
        qp.Rot(X, Y, W, 0),
        qp.CRot(X, Y, W, [1, 0]),
        qp.adjoint(qp.U3(X, Y, W, 0)),
        qp.adjoint(qp.CRot(X, Y, W, [0, 1])),
        qp.pow(qp.RX(X, 1), 0.3),
        qp.pow(qp.SX(0), 0.5),
        qp.pow(qp.U3(X, Y, W, 0), 2),
        qp.PauliRot(X, "ZX", [0, 1]),
        qp.PauliRot(X, "XZ", [0, 1]),
        qp.PauliRot(X, "XI", [0, 1]),
        qp.PauliRot(X, "XYZ", [2, 0, 1]),
        qp.MultiRZ(X, [0]),
        qp.MultiRZ(X, [1, 0]),
        qp.MultiRZ(X, [1, 0, 2]),
        qp.IsingXY(X, [1, 0]),
        qp.SingleExcitation(X, [0, 1]),
        qp.exp(qp.X(0) @ qp.X(1), -0.5j * X),
        qp.evolve(qp.X(0) @ qp.Z(2), X),
        qp.evolve(0.5 * qp.X(0), X),
        qp.prod(qp.RX(X, 0), qp.RY(Y, 0)),
        qp.adjoint(qp.ISWAP([0, 1])),
        qp.ctrl(qp.U3(X, Y, W, 0), 1),
        qp.ctrl(qp.U3(X, Y, W, 0), 1, control_values=0),
        qp.ctrl(qp.U3(X, Y, W, 0), [2, 1]),
        qp.ctrl(qp.Rot(X, Y, W, 0), [2, 1]),
        qp.ctrl(qp.U2(X, Y, 0), [2, 1]),
        qp.ctrl(qp.U1(X, 0), [2, 1]),
        qp.ctrl(qp.RX(X, 0), [1, 2]),
        qp.ctrl(qp.RY(X, 0), [1, 2], control_values=[0, 1]),
        qp.ctrl(qp.RZ(X, 0), [1, 2]),
        qp.ctrl(qp.PhaseShift(X, 0), [1, 2]),
        qp.ctrl(qp.IsingXX(X, [0, 1]), 2),
        qp.ctrl(qp.GlobalPhase(X), [0, 1]),
        qp.ctrl(qp.S(0), 1, control_values=0),
        qp.ctrl(qp.S(0), [1, 2]),
        qp.ctrl(qp.QubitUnitary(random_unitary(2, seed=3).data, 0), 1),
        qp.QubitUnitary(random_unitary(8, seed=4).data, [0, 2, 1]),
        qp.Toffoli([2, 0, 1]),
        qp.MultiControlledX([0, 1, 2], [0, 1]),
        qp.QFT([0, 2, 1]),
        qp.Permute([2, 0, 1], wires=[0, 1, 2]),
        qp.GlobalPhase(X),
        qp.Barrier([0, 1]),
        qp.Identity([0, 1]),
    ],
    ids=str,
)
def test_decompositions_are_the_operator(operation: qp.operation.Operator) -> None:
    expected = pennylane_matrix([operation], 3)
    assert_equal_up_to_phase(matrix_of_steps(operation, 3), expected)


@pytest.mark.parametrize("base", [qp.RX, qp.RY, qp.RZ, qp.PhaseShift])
def test_gradients_of_controlled_rotations_are_right_at_zero(base: type) -> None:
    """Decompositions through the matrix are singular there."""
    angle = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    for step in steps(qp.ctrl(base(angle, 0), [1, 2])):
        for a in step.angles:
            if isinstance(a, torch.Tensor) and a.requires_grad:
                (slope,) = torch.autograd.grad(a, angle, retain_graph=True)
                assert 0 < abs(slope) <= 1


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (qp.DepolarizingChannel(0.1, 0), "is a noise channel, not a gate: .* noise="),
        (qp.RX(np.array([0.1, 0.2]), 0), "RX on wires .* got a vector of 2 angles: .* one sample"),
        (qp.s_prod(2.0, qp.X(0)), "is not unitary"),
        (qp.pow(qp.Toffoli([0, 1, 2]), 0.3), "no decomposition into gates"),
    ],
)
def test_what_is_no_gate_is_refused(operation: qp.operation.Operator, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(steps(operation))


def test_measurements_in_the_middle_are_refused() -> None:
    with qp.queuing.AnnotatedQueue() as queue:
        qp.measure(0)
    (operation,) = qp.tape.QuantumScript.from_queue(queue).operations
    with pytest.raises(ValueError, match="measures only at its end"):
        list(steps(operation))


def test_without_pennylane_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pennylane", None)
    with pytest.raises(ImportError, match=r'pip install "nisqkit\[pennylane\]"'):
        import_pennylane()
