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

from nisqkit.circuits import AmplitudeInput, Program, lower
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


def start(*first: str) -> tuple[QuantumCircuit, ParameterVector]:
    """A circuit of these gates on the qubits 0, 1, 2, ..."""
    circuit, w = QuantumCircuit(len(first)), ParameterVector("w", 4)
    for q, name in enumerate(first):
        if name == "rx":
            circuit.rx(w[0], q)
        elif name:
            getattr(circuit, name)(q)
    return circuit, w


@pytest.mark.parametrize(
    ("first", "pair", "starts"),
    [
        (("h", "rx", "h"), None, 3),
        (("h", "rx", ""), None, 2),
        (("h", "", "h"), None, 1),
        (("", "rx", "h"), None, 0),
        (("h", "rx", "h"), (0, 2), 0),  # the two-qubit gate takes those on its qubits in
        (("h", "rx", "h"), (1, 2), 1),
    ],
)
def test_first_matrices_make_a_product_state(
    first: tuple[str, ...], pair: tuple[int, int] | None, starts: int
) -> None:
    circuit, w = start(*first)
    if pair:
        circuit.rxx(w[1], *pair)
    circuit.cx(0, 1)
    circuit.rx(w[2], 0)
    circuit.rx(w[3], 2) if first[2] else circuit.cx(1, 2)
    plan = schedule(lower(circuit))
    assert plan.starts == starts
    assert [(b.kind, b.qubits) for b in plan.blocks[:starts]] == [
        (ONE, (q,)) for q in range(starts)
    ]


def test_a_cx_on_the_first_qubit_leaves_no_product_state() -> None:
    circuit, w = QuantumCircuit(2), ParameterVector("w", 2)
    circuit.cx(0, 1)
    circuit.rx(w[0], 0)
    circuit.rx(w[1], 1)
    assert schedule(lower(circuit)).starts == 0


def test_matrices_of_later_qubits_come_to_the_front() -> None:
    """Also those of the samples, from behind other blocks."""
    circuit, x = QuantumCircuit(3), ParameterVector("x", 1)
    circuit.h(0)
    circuit.cz(0, 1)
    circuit.rx(x[0], 2)
    circuit.cz(1, 2)
    assert schedule(lower(circuit, "x")).starts == 1
    other, x = QuantumCircuit(3), ParameterVector("x", 1)
    other.h(1)
    other.h(0)
    other.cz(0, 1)
    other.rx(x[0], 2)
    other.cz(1, 2)
    plan = schedule(lower(other, "x"))
    assert plan.starts == 3
    assert [(b.qubits, b.own) for b in plan.blocks[:3]] == [
        ((0,), False),
        ((1,), False),
        ((2,), True),
    ]
    assert [b.kind for b in plan.blocks[3:]] == [CZ, CZ]


@pytest.mark.parametrize("inputs", ["a", "w"])
def test_amplitudes_are_no_product_state(inputs: str) -> None:
    circuit, a, w = QuantumCircuit(2), ParameterVector("a", 2), ParameterVector("w", 2)
    circuit.append(AmplitudeInput([a[0], a[1]]), [1])
    circuit.rx(w[0], 0)
    circuit.rx(w[1], 1)
    plan = schedule(lower(circuit, inputs))
    assert plan.starts == 0 and len(plan.blocks) == 2


def parts(circuit: QuantumCircuit) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Qubits of the blocks before and after the split."""
    plan = schedule(lower(circuit, "x"))
    assert not any(b.own for b in plan.blocks[plan.split :])
    qubits = [b.qubits for b in plan.blocks]
    return qubits[: plan.split], qubits[plan.split :]


def test_what_all_samples_share_moves_behind_their_own() -> None:
    """As far as no own matrix comes later on its qubits, or on those of a block that stays."""
    circuit, x, w = QuantumCircuit(4), ParameterVector("x", 2), ParameterVector("w", 3)
    circuit.cx(0, 1)
    circuit.crz(w[0], 2, 3)  # nothing holds it
    circuit.rx(x[0], 1)
    circuit.crz(w[1], 1, 2)
    assert parts(circuit) == ([(0, 1), (1,)], [(2, 3), (1, 2)])
    circuit.rx(x[1], 3)  # holds the first controlled gate, but not the second
    assert parts(circuit) == ([(0, 1), (2, 3), (1,), (3,)], [(1, 2)])
    circuit.rx(x[1], 2)  # holds all
    circuit.h(3)
    assert parts(circuit) == ([(0, 1), (2, 3), (1,), (1, 2), (3,), (2,)], [(3,)])


def test_a_chain_of_shared_blocks_is_held_by_the_last() -> None:
    circuit, x, w = QuantumCircuit(4), ParameterVector("x", 1), ParameterVector("w", 3)
    for q in range(3):
        circuit.crx(w[q], q, q + 1)
    circuit.ry(x[0], 3)
    circuit.cz(0, 1)
    assert parts(circuit) == ([(0, 1), (1, 2), (2, 3), (3,)], [(0, 1)])


def test_without_inputs_all_but_the_product_state_is_shared() -> None:
    circuit, w = QuantumCircuit(2), ParameterVector("w", 2)
    circuit.rx(w[0], 0)
    circuit.rx(w[1], 1)
    circuit.cx(0, 1)
    circuit.rx(w[1], 1)
    plan = schedule(lower(circuit))
    assert (plan.starts, plan.split, len(plan.blocks)) == (2, 2, 4)
