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
from nisqkit.hardware_backends.native.schedule import (
    CX,
    CZ,
    ONE,
    OWN,
    SHARED,
    TWO,
    Block,
    BlockFactor,
    Groups,
    schedule,
)

Matrix = NDArray[np.complex128]
Angles = NDArray[np.float64]


def expanded(pairs: list[tuple[int, int]], small: Matrix, dim: int) -> Matrix:
    """A 2x2 matrix on some pairs of rows as one on all rows; without pairs, it is there already."""
    if not pairs:
        return small.reshape(dim, dim)
    matrix = np.eye(dim, dtype=complex)
    for rows in pairs:
        matrix[np.ix_(rows, rows)] = small.reshape(2, 2)
    return matrix


def factor_matrix(factor: BlockFactor, angles: Angles, dim: int) -> Matrix:
    """``C0 + cos(s a) C1 + sin(s a) C2`` on the factor's rows."""
    c0, c1, c2 = factor.matrices
    phase = factor.frequency * angles[factor.slot] if factor.slot >= 0 else 0.0
    small = c0 + np.cos(phase) * c1 + np.sin(phase) * c2
    return expanded(list(factor.pairs), small, dim)


def block_matrix(block: Block, angles: Angles) -> Matrix:
    dim = 2 ** len(block.qubits)
    result = np.eye(dim, dtype=complex)
    for factor in block.factors:
        result = factor_matrix(factor, angles, dim) @ result
    return result


def grouped_matrix(groups: Groups, block: Block, lane: int, angles: Angles) -> Matrix:
    """The same from the arrays that the kernels read, at the block's place."""
    first, last, dim = groups.groups[block.row // 16].tolist()
    result = np.eye(dim, dtype=complex)
    for f in range(first, last):
        slot, count = groups.slots[f, lane], groups.pairs[f, 0]
        assert groups.trained[f] == (slot >= 0)
        phase = groups.frequency[f] * angles[slot] if slot >= 0 else 0.0
        c0, c1, c2 = groups.table[f, :, : 4 if count else dim * dim]
        pairs = [(p, q) for p, q in groups.pairs[f, 1 : 1 + 2 * count].reshape(-1, 2).tolist()]
        result = expanded(pairs, c0 + np.cos(phase) * c1 + np.sin(phase) * c2, dim) @ result
    return result


def unitary(program: Program, angles: Angles) -> Matrix:
    """The matrix of a whole schedule, for one sample's angles."""
    plan = schedule(program)
    assert plan.num_qubits == program.num_qubits
    total = Operator(np.eye(2**program.num_qubits))
    for block in plan.blocks:
        if block.kind in (CX, CZ):
            total = total.compose(CXGate() if block.kind == CX else CZGate(), list(block.qubits))
            continue
        assert block.kind == (ONE if len(block.qubits) == 1 else TWO)
        matrix = block_matrix(block, angles)
        groups = plan.own if block.own else plan.shared
        assert_allclose(grouped_matrix(groups, block, block.lane, angles), matrix, atol=1e-13)
        total = total.compose(Operator(matrix), list(block.qubits))
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
    for inputs in ("x", "w", None):  # which gates are the samples' own changes what may be fused
        if inputs and not any(name.startswith(inputs) for name in values):
            continue
        program = lower(circuit, inputs)
        x = torch.tensor([[values.get(name, 0.0) for name in program.inputs]], dtype=torch.float64)
        w = torch.tensor([values[name] for name in program.weights], dtype=torch.float64)
        found = unitary(program, program.angles(x, w)[0].numpy())
        assert_allclose(without_phase(found, expected), expected, atol=1e-11)


def kinds(circuit: QuantumCircuit, inputs: str | None = None) -> list[tuple[int, int]]:
    """Kind of each block, and whose matrix it is."""
    return [(b.kind, b.source) for b in schedule(lower(circuit, inputs)).blocks]


def test_no_gates() -> None:
    circuit = QuantumCircuit(2)
    circuit.id(0)
    plan = schedule(lower(circuit))
    assert plan.blocks == ()
    for groups in (plan.shared, plan.own):
        assert groups.groups.shape == (0, 3) and groups.table.shape == (0, 3, 16)
        assert groups.slots.shape == (0, 16) and groups.frequency.shape == (0,)


def test_runs_on_a_qubit_are_one_block() -> None:
    circuit, w = QuantumCircuit(2), ParameterVector("w", 4)
    for q in (0, 1, 0, 1):
        circuit.h(q)
        circuit.rx(w[q], q)
        circuit.u(w[0], w[2], w[3], q)
    assert kinds(circuit) == [(ONE, SHARED), (ONE, SHARED)]


def test_a_two_qubit_gate_takes_what_comes_before_it() -> None:
    circuit, w = QuantumCircuit(3), ParameterVector("w", 4)
    circuit.rx(w[0], 0)
    circuit.ry(w[1], 1)
    circuit.rzz(w[2], 0, 1)
    circuit.rz(w[0], 1)
    circuit.iswap(1, 0)  # the same pair the other way round
    circuit.rx(w[3], 2)
    circuit.append(CU3Gate(w[0], w[1], w[2]), [0, 1])
    assert kinds(circuit) == [(TWO, SHARED), (ONE, SHARED)]
    circuit.crx(w[0], 1, 2)  # another pair
    assert kinds(circuit) == [(TWO, SHARED)] * 2
    circuit.rzz(w[0], 0, 1)  # the first pair again, but qubit 1 has been elsewhere
    assert kinds(circuit) == [(TWO, SHARED)] * 3


def test_cx_cz_and_swap_stay_alone() -> None:
    """A swap is three CX gates, which cost nothing."""
    circuit, w = QuantumCircuit(2), ParameterVector("w", 1)
    circuit.rx(w[0], 0)
    circuit.cx(0, 1)
    circuit.cz(1, 0)
    circuit.cx(1, 0)
    circuit.swap(0, 1)
    circuit.rx(w[0], 0)
    assert [k for k, _ in kinds(circuit)] == [ONE, CX, CZ, CX, CX, CX, CX, ONE]
    blocks = schedule(lower(circuit)).blocks
    expected = [(0, 1), (1, 0), (1, 0), (0, 1), (1, 0), (0, 1)]
    assert [b.qubits for b in blocks[1:7]] == expected
    assert not any(b.trained or b.factors for b in blocks[1:7])


def test_inputs_are_never_fused_with_weights() -> None:
    circuit, x, w = QuantumCircuit(2), ParameterVector("x", 2), ParameterVector("w", 2)
    circuit.rx(x[0], 0)
    circuit.ry(2 * x[1], 0)
    circuit.rx(w[0], 0)
    circuit.crz(w[1], 0, 1)
    circuit.crz(x[0] + w[1], 0, 1)
    circuit.rxx(w[0], 0, 1)
    assert kinds(circuit, "x") == [(ONE, OWN), (TWO, SHARED), (TWO, OWN), (TWO, SHARED)]
    plan = schedule(lower(circuit, "x"))
    assert set(plan.own.slots.ravel().tolist()) == {-1, 0, 1, 4}
    assert set(plan.shared.slots.ravel().tolist()) == {-1, 2, 3, 5}
    assert kinds(circuit, None) == [(TWO, SHARED)]


def test_a_two_qubit_gate_leaves_runs_of_the_other_sort_alone() -> None:
    circuit, x, w = QuantumCircuit(2), ParameterVector("x", 2), ParameterVector("w", 2)
    circuit.rx(x[0], 0)
    circuit.rx(w[0], 1)
    circuit.crz(w[1], 0, 1)
    circuit.rx(w[0], 0)
    circuit.rx(x[0], 1)
    circuit.crz(x[1], 0, 1)
    assert kinds(circuit, "x") == [(ONE, OWN), (TWO, SHARED), (ONE, SHARED), (TWO, OWN)]


def test_all_angles_of_a_gate_with_an_input_are_the_samples_own() -> None:
    circuit, x, w = QuantumCircuit(1), ParameterVector("x", 1), ParameterVector("w", 1)
    circuit.u(w[0], x[0], 0.3, 0)
    plan = schedule(lower(circuit, "x"))
    assert set(plan.own.slots[:, 0].tolist()) == {0, 1, 2}
    assert len(plan.shared.groups) == 0


def test_neighbouring_fixed_gates_are_one_factor() -> None:
    circuit, w = QuantumCircuit(2), ParameterVector("w", 1)
    for name in ("h", "s", "t", "x"):
        getattr(circuit, name)(0)
    circuit.append(UnitaryGate(random_unitary(4, seed=0)), [1, 0])
    circuit.rx(w[0], 0)
    circuit.iswap(0, 1)
    circuit.ecr(1, 0)
    (block,) = schedule(lower(circuit)).blocks
    # the run on one qubit, the unitary; the rotation; iswap and ecr
    assert [(len(f.matrices[0]), f.slot) for f in block.factors] == [
        (2, -1),
        (4, -1),
        (2, 0),
        (4, -1),
    ]


def test_factors_are_no_wider_than_they_must_be() -> None:
    """Row ``2 * second + first``; rzx turns two pairs of rows in opposite ways, so it is full."""
    circuit, w = QuantumCircuit(2), ParameterVector("w", 1)
    for name in ("rxx", "rzx", "crx"):
        getattr(circuit, name)(w[0], 0, 1)
    circuit.crx(w[0], 1, 0)
    circuit.rx(w[0], 0)
    circuit.rx(w[0], 1)
    circuit.rxx(w[0], 0, 1)
    (block,) = schedule(lower(circuit)).blocks
    assert [f.pairs for f in block.factors] == [
        (),
        (),
        ((1, 3),),  # where the first qubit is one
        ((2, 3),),  # where the second is
        ((0, 1), (2, 3)),
        ((0, 2), (1, 3)),
        (),
    ]


def test_equal_kinds_of_blocks_stand_side_by_side() -> None:
    """Sixteen to a group; a block of another form, or of the samples' own, has another group."""
    circuit, x, w = QuantumCircuit(20), ParameterVector("x", 20), ParameterVector("w", 20)
    for q in range(20):
        circuit.rx(w[q], q)
    for q in range(0, 20, 2):
        circuit.cx(q, q + 1)
        circuit.ry(w[q], q)
        circuit.rx(x[q], q + 1)
    plan = schedule(lower(circuit, "x"))
    assert [g[2] for g in plan.shared.groups] == [2, 2, 2] and len(plan.own.groups) == 10
    shared = [(b.row, b.lane) for b in plan.blocks if b.kind == ONE and not b.own]
    own = [(b.row, b.lane) for b in plan.blocks if b.own]
    # a run is closed by the next CX, so the rotations come out between the others
    assert sorted(shared) == [
        *((0, k) for k in range(16)),
        *((16, k) for k in range(4)),
        *((32, k) for k in range(10)),
    ]
    assert sorted(own) == [(16 * k, 0) for k in range(10)]


def test_blocks_with_different_fixed_gates_are_not_equal() -> None:
    circuit, w = QuantumCircuit(3), ParameterVector("w", 3)
    for q, name in enumerate(("h", "t", "h")):
        getattr(circuit, name)(q)
        circuit.rx(w[q], q)
    blocks = schedule(lower(circuit)).blocks
    assert [(b.row, b.lane) for b in blocks] == [(0, 0), (16, 0), (0, 1)]


def test_schedules_are_cached_by_structure() -> None:
    one, other = (lower(random_circuit(3, 10, seed=0), "x") for _ in range(2))
    assert schedule(one) is schedule(other)
