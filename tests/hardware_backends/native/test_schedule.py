"""Schedules: read back by an interpreter in NumPy, they are the circuit that Qiskit computes."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import CU3Gate, CXGate, CZGate, UnitaryGate
from qiskit.quantum_info import Operator, random_unitary

from nisqkit.circuits import Program, lower
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.native.kernels import CX, CZ, ONE, TWO
from nisqkit.hardware_backends.native.schedule import Factors, schedule

Matrix = NDArray[np.complex128]


def factor_product(factors: Factors, k: int, angles: NDArray[np.float64]) -> Matrix:
    """The ``k``-th matrix: ``C0 + cos(s a) C1 + sin(s a) C2``, multiplied in order."""
    dim = int(factors.dims[k])
    result = np.eye(dim, dtype=complex)
    for f in range(factors.first[k], factors.last[k]):
        c0, c1, c2 = factors.table[f, :, : dim * dim].reshape(3, dim, dim)
        step = c0
        if factors.slot[f] >= 0:
            phase = factors.frequency[f] * angles[factors.slot[f]]
            step = c0 + np.cos(phase) * c1 + np.sin(phase) * c2
        result = step @ result
    return result


def unitary(program: Program, angles: NDArray[np.float64]) -> Matrix:
    """The matrix of a whole schedule, for one sample's angles."""
    plan = schedule(program)
    shared, lanes = angles[list(plan.shared_slots)], angles[list(plan.lane_slots)]
    total = Operator(np.eye(2**program.num_qubits))
    for kind, a, b, per_lane, index in plan.blocks.tolist():
        if kind in (CX, CZ):
            total = total.compose(CXGate() if kind == CX else CZGate(), [a, b])
        else:
            factors, own = (plan.lanes, lanes) if per_lane else (plan.shared, shared)
            assert factors.dims[index] == (2 if kind == ONE else 4)
            matrix = factor_product(factors, index, own)
            total = total.compose(Operator(matrix), [a] if kind == ONE else [a, b])
    return np.asarray(total.data)


def without_phase(matrix: Matrix, like: Matrix) -> Matrix:
    overlap = np.vdot(matrix, like)
    return np.asarray(matrix * overlap / abs(overlap))


@pytest.mark.parametrize("num_qubits", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("seed", range(3))
def test_fusion_keeps_the_circuit(num_qubits: int, seed: int) -> None:
    circuit = random_circuit(num_qubits, num_gates=40, seed=seed)
    values = dict(
        zip(
            (p.name for p in circuit.parameters),
            np.random.default_rng(seed).uniform(-2, 2, circuit.num_parameters),
            strict=True,
        )
    )
    bound = circuit.assign_parameters({p: values[p.name] for p in circuit.parameters})
    expected = np.asarray(Operator(bound).data)
    for inputs in ("x", "w", None):  # which gates are per lane changes what may be fused
        if inputs and not any(name.startswith(inputs) for name in values):
            continue
        program = lower(circuit, inputs)
        x = torch.tensor([[values.get(name, 0.0) for name in program.inputs]], dtype=torch.float64)
        w = torch.tensor([values[name] for name in program.weights], dtype=torch.float64)
        found = unitary(program, program.angles(x, w)[0].numpy())
        assert_allclose(without_phase(found, expected), expected, atol=1e-11)


def kinds(circuit: QuantumCircuit, inputs: str | None = None) -> list[tuple[int, int]]:
    """Kind of each block, and whether it is per lane."""
    plan = schedule(lower(circuit, inputs))
    return [(int(k), int(lane)) for k, lane in plan.blocks[:, [0, 3]]]


def test_no_gates() -> None:
    plan = schedule(lower(QuantumCircuit(2)))
    assert plan.blocks.shape == (0, 5)
    assert plan.shared_slots == plan.lane_slots == ()


def test_runs_on_a_qubit_are_one_block() -> None:
    circuit, w = QuantumCircuit(2), ParameterVector("w", 4)
    for q in (0, 1, 0, 1):
        circuit.h(q)
        circuit.rx(w[q], q)
        circuit.u(w[0], w[2], w[3], q)
    assert kinds(circuit) == [(ONE, 0), (ONE, 0)]


def test_a_two_qubit_gate_takes_what_comes_before_it() -> None:
    circuit, w = QuantumCircuit(3), ParameterVector("w", 4)
    circuit.rx(w[0], 0)
    circuit.ry(w[1], 1)
    circuit.rzz(w[2], 0, 1)
    circuit.rz(w[0], 1)
    circuit.swap(1, 0)  # the same pair the other way round
    circuit.rx(w[3], 2)
    circuit.append(CU3Gate(w[0], w[1], w[2]), [0, 1])
    assert kinds(circuit) == [(TWO, 0), (ONE, 0)]
    circuit.crx(w[0], 1, 2)  # another pair
    assert kinds(circuit) == [(TWO, 0), (TWO, 0)]
    circuit.rzz(w[0], 0, 1)  # the first pair again, but qubit 1 has been elsewhere
    assert kinds(circuit) == [(TWO, 0), (TWO, 0), (TWO, 0)]


def test_cx_and_cz_stay_alone() -> None:
    circuit, w = QuantumCircuit(2), ParameterVector("w", 1)
    circuit.rx(w[0], 0)
    circuit.cx(0, 1)
    circuit.cz(1, 0)
    circuit.cx(1, 0)
    circuit.rx(w[0], 0)
    assert [k for k, _ in kinds(circuit)] == [ONE, CX, CZ, CX, ONE]
    plan = schedule(lower(circuit))
    assert plan.blocks[1:4, 1:3].tolist() == [[0, 1], [1, 0], [1, 0]]


def test_inputs_are_never_fused_with_weights() -> None:
    circuit, x, w = QuantumCircuit(2), ParameterVector("x", 2), ParameterVector("w", 2)
    circuit.rx(x[0], 0)
    circuit.ry(2 * x[1], 0)
    circuit.rx(w[0], 0)
    circuit.crz(w[1], 0, 1)
    circuit.crz(x[0] + w[1], 0, 1)
    circuit.rxx(w[0], 0, 1)
    assert kinds(circuit, "x") == [(ONE, 1), (TWO, 0), (TWO, 1), (TWO, 0)]
    plan = schedule(lower(circuit, "x"))
    assert plan.lane_slots == (0, 1, 4)
    assert plan.shared_slots == (2, 3, 5)
    assert kinds(circuit, None) == [(TWO, 0)]


def test_a_two_qubit_gate_leaves_runs_of_the_other_sort_alone() -> None:
    circuit, x, w = QuantumCircuit(2), ParameterVector("x", 2), ParameterVector("w", 2)
    circuit.rx(x[0], 0)
    circuit.rx(w[0], 1)
    circuit.crz(w[1], 0, 1)
    circuit.rx(w[0], 0)
    circuit.rx(x[0], 1)
    circuit.crz(x[1], 0, 1)
    assert kinds(circuit, "x") == [(ONE, 1), (TWO, 0), (ONE, 0), (TWO, 1)]


def test_fixed_angles_of_an_input_gate_are_per_lane_too() -> None:
    """A U gate with one input needs all three of its angles in every lane."""
    circuit, x, w = QuantumCircuit(1), ParameterVector("x", 1), ParameterVector("w", 1)
    circuit.u(w[0], x[0], 0.3, 0)
    plan = schedule(lower(circuit, "x"))
    assert set(plan.lane_slots) == {0, 1, 2}
    assert plan.shared_slots == ()


def test_neighbouring_fixed_gates_are_one_factor() -> None:
    circuit, w = QuantumCircuit(2), ParameterVector("w", 1)
    for name in ("h", "s", "t", "x"):
        getattr(circuit, name)(0)
    circuit.append(UnitaryGate(random_unitary(4, seed=0)), [1, 0])
    circuit.rx(w[0], 0)
    circuit.swap(0, 1)
    plan = schedule(lower(circuit))
    assert plan.shared.slot.tolist() == [-1, 0, -1]
    assert plan.shared.dims.tolist() == [4]


def test_schedules_are_cached_by_structure() -> None:
    one, other = (lower(random_circuit(3, 10, seed=0), "x") for _ in range(2))
    assert schedule(one) is schedule(other)
