"""Where qubits stand: masks that follow CX gates, and exchanges that lose and reorder no block."""

import itertools
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Statevector

from nisqkit.circuits import angle, hardware_efficient, lower, u3_cu3
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.native.operations import (
    CHUNK_BITS,
    FEWEST_QUBITS,
    LANE_QUBITS,
    ROUTES,
    Operations,
    on_amplitudes,
    on_samples,
    operations,
    routes,
)
from nisqkit.hardware_backends.native.rows import (
    COUNT,
    KIND,
    LANE,
    LANES_OUT,
    P1,
    P2,
    ROW,
    SOURCE,
    TRAINED,
    V1,
    V2,
    W1,
    W2,
)
from nisqkit.hardware_backends.native.schedule import (
    CX,
    CZ,
    ONE,
    SHARED,
    TWO,
    Schedule,
    schedule,
)

Masks = tuple[tuple[int, int], ...]
Step = tuple[int, tuple[int, ...], tuple[int, ...]]
"""Kind, qubits, and place of the matrix."""


def permutation(num_qubits: int, num_gates: int, seed: int) -> QuantumCircuit:
    """Random CX and SWAP gates."""
    rng, circuit = np.random.default_rng(seed), QuantumCircuit(num_qubits)
    for _ in range(num_gates):
        a, b = rng.choice(num_qubits, 2, replace=False).tolist()
        circuit.cx(a, b) if rng.random() < 0.7 else circuit.swap(a, b)
    return circuit


def state_of(index: int, masks: Masks) -> int:
    """The basis state at an index of memory."""
    return sum(((index & w).bit_count() % 2) << q for q, (_, w) in enumerate(masks))


def assert_masks_fit(masks: Iterable[tuple[int, int]]) -> None:
    """Flipping the bits of ``v`` flips its own qubit and no other."""
    masks = tuple(masks)
    for q, (v, _) in enumerate(masks):
        assert state_of(v, masks) == 1 << q


@pytest.mark.parametrize("num_qubits", [2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_cx_and_swap_change_masks_alone(num_qubits: int, seed: int) -> None:
    """No amplitude moves: what stands at an index is what the gates make of that basis state."""
    circuit = permutation(num_qubits, 12, seed)
    found = on_samples(schedule(lower(circuit)))
    assert found.table.shape == (0, 12)
    assert (found.route, found.rows) == ("samples", 2**num_qubits)
    assert_masks_fit(found.masks)
    for index in range(2**num_qubits):
        (label,) = Statevector.from_int(index, 2**num_qubits).evolve(circuit).to_dict()
        assert state_of(index, found.masks) == int(label, 2)


def assert_bits_single_out(op: NDArray[np.int64], bits: int) -> None:
    """Rows where bits ``P1`` and ``P2`` are zero meet each set ``i, i ^ v1, i ^ v2, ...`` once."""
    sets: dict[int, int] = defaultdict(int)
    v1, v2 = int(op[V1]), int(op[V2])
    for i in range(2**bits):
        if not i >> op[P1] & 1 and not (v2 and i >> op[P2] & 1):
            sets[min(i, i ^ v1, i ^ v2, i ^ v1 ^ v2)] += 1
    assert len(sets) == 2**bits >> (2 if v2 else 1)
    assert set(sets.values()) == {1}


@pytest.mark.parametrize("num_qubits", [1, 2, 4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_samples_route_has_every_block_but_the_cx(num_qubits: int, seed: int) -> None:
    plan = schedule(lower(random_circuit(num_qubits, 40, seed), "x"))
    found = on_samples(plan)
    rest = [b for b in plan.blocks if b.kind != CX]
    v = [1 << q for q in range(num_qubits)]
    masks = list(zip(v, v, strict=True))
    table = iter(found.table)
    for block in plan.blocks:
        if block.kind == CX:
            c, t = block.qubits
            old = tuple(masks)
            masks[c] = (old[c][0] ^ old[t][0], old[c][1])
            masks[t] = (old[t][0], old[t][1] ^ old[c][1])
            continue
        op = next(table)
        assert_masks_fit(masks)
        assert_bits_single_out(op, num_qubits)
        pairs = [(op[V1], op[W1]), (op[V2], op[W2])][: len(block.qubits)]
        assert pairs == [masks[q] for q in block.qubits]
        assert op[KIND] == block.kind
        assert bool(op[TRAINED]) == block.trained
        if block.kind in (ONE, TWO):
            assert (op[SOURCE], op[ROW], op[LANE]) == (block.source, block.row, block.lane)
    assert len(found.table) == len(rest)
    assert found.masks == tuple(masks)


def steps(found: Operations, num_qubits: int) -> list[Step]:
    """The blocks that a table of the amplitudes route runs, by following its exchanges.

    Each pass counts bits within its own; without passes, all bits are those of the one.
    """
    at = list(range(num_qubits))  # the qubit on each bit of the index; the lowest four are lanes
    rows = range(num_qubits - LANE_QUBITS)
    result: list[Step] = []
    begin = 0
    for chosen, end in found.passes or ((tuple(rows), len(found.table)),):
        assert set(chosen) <= set(rows)
        assert list(chosen) == sorted(set(chosen))
        for op in found.table[begin:end]:
            if op[KIND] == LANES_OUT:
                bits = op[V1 : W2 + 1].tolist()
                assert len(set(bits)) == LANE_QUBITS
                for lane, bit in enumerate(bits):
                    row = chosen[bit] + LANE_QUBITS
                    at[lane], at[row] = at[row], at[lane]
                continue
            assert_bits_single_out(op, len(chosen))
            pairs = [(op[V1], op[W1]), (op[V2], op[W2])][: 1 if op[KIND] == ONE else 2]
            assert all(v == w and int(v).bit_count() == 1 for v, w in pairs)
            qubits = tuple(at[chosen[int(v).bit_length() - 1] + LANE_QUBITS] for v, _ in pairs)
            matrix = (int(op[SOURCE]), int(op[ROW]), int(op[LANE]), int(op[TRAINED]))
            result.append((int(op[KIND]), qubits, matrix if op[KIND] in (ONE, TWO) else ()))
        begin = end
    assert begin == len(found.table)
    assert found.masks == tuple((1 << at.index(q), 1 << at.index(q)) for q in range(num_qubits))
    return result


def blocks(plan: Schedule) -> list[Step]:
    return [
        (
            b.kind,
            b.qubits,
            (b.source, b.row, b.lane, int(b.trained)) if b.kind in (ONE, TWO) else (),
        )
        for b in plan.blocks
    ]


def by_qubit(sequence: list[Step], num_qubits: int) -> list[list[Step]]:
    """What happens to each qubit, in order."""
    return [[s for s in sequence if q in s[1]] for q in range(num_qubits)]


def assert_same_circuit(plan: Schedule, chunk_bits: int = CHUNK_BITS) -> Operations:
    """Every block once, in order on each qubit, and on the rows alone (`steps` finds it there)."""
    found, n = on_amplitudes(plan, chunk_bits), plan.num_qubits
    assert (found.route, found.rows) == ("amplitudes", 2 ** (n - LANE_QUBITS))
    assert len(steps(found, n)) == len(plan.blocks)
    assert by_qubit(steps(found, n), n) == by_qubit(blocks(plan), n)
    return found


@pytest.mark.parametrize("num_qubits", range(FEWEST_QUBITS, 15))
def test_amplitudes_route_runs_every_block_once_and_in_order(num_qubits: int) -> None:
    for seed in range(8):
        for inputs in ("x", None):
            assert_same_circuit(schedule(lower(random_circuit(num_qubits, 60, seed), inputs)))


@pytest.mark.parametrize("chunk_bits", [5, 6, 7, 8])
@pytest.mark.parametrize("num_qubits", [13, 14, 15, 16])
def test_passes_run_every_block_once_and_in_order(num_qubits: int, chunk_bits: int) -> None:
    """Each on ``chunk_bits`` of the row bits; no pass is empty."""
    for seed in range(3):
        plan = schedule(lower(random_circuit(num_qubits, 60, seed), "x"))
        passes = assert_same_circuit(plan, chunk_bits).passes
        assert bool(passes) == (num_qubits - LANE_QUBITS > chunk_bits + 2)
        assert {len(bits) for bits, _ in passes} <= {chunk_bits}
        ends = [0, *(end for _, end in passes)]
        assert all(one < other for one, other in itertools.pairwise(ends))


@pytest.mark.parametrize("num_qubits", [18, 24])
def test_wide_circuits_need_few_passes(num_qubits: int) -> None:
    """Two for a layer, not one for each gate; and no passes where there is nothing to do."""
    for circuit in (hardware_efficient(num_qubits, 5), u3_cu3(num_qubits, 5)):
        found = on_amplitudes(schedule(lower(circuit)))
        assert 2 <= len(found.passes) <= 2 * 5
        assert {len(bits) for bits, _ in found.passes} == {CHUNK_BITS}
    assert on_amplitudes(schedule(lower(QuantumCircuit(num_qubits)))).passes == ()
    assert on_amplitudes(schedule(lower(hardware_efficient(17, 1)))).passes == ()


@pytest.mark.parametrize(("num_qubits", "chunk_bits"), [(9, 11), (10, 11), (14, 11), (14, 5)])
def test_amplitudes_route_of_circuits_that_move_numbers_alone(
    num_qubits: int, chunk_bits: int
) -> None:
    circuit = permutation(num_qubits, 40, seed=0)
    circuit.cz(0, num_qubits - 1)
    assert_same_circuit(schedule(lower(circuit)), chunk_bits)


def test_work_counts_rows_times_matrices() -> None:
    """A unit's work grows with its rows and with depth; an empty circuit has none."""
    one, three = (on_samples(schedule(lower(hardware_efficient(4, k)))) for k in (1, 3))
    assert one.work == 4 * 2**4  # one matrix on each qubit; CX are free
    assert three.work == 3 * one.work
    assert on_samples(schedule(lower(QuantumCircuit(4)))).work == 0


@pytest.mark.parametrize("num_qubits", [9, 12])
def test_layers_need_few_exchanges(num_qubits: int) -> None:
    """Two or three for a layer, not one for each gate."""
    for circuit, layers in ((hardware_efficient(num_qubits, 5), 5), (u3_cu3(num_qubits, 5), 5)):
        found = assert_same_circuit(schedule(lower(circuit)))
        assert int((found.table[:, KIND] == LANES_OUT).sum()) <= 3 * layers


def test_a_gate_between_two_lane_qubits_and_one_across() -> None:
    circuit, w = QuantumCircuit(9), ParameterVector("w", 3)
    circuit.crx(w[0], 0, 3)
    circuit.crx(w[1], 3, 8)
    circuit.crx(w[2], 8, 0)
    assert_same_circuit(schedule(lower(circuit)))


def test_nothing_moves_without_need() -> None:
    """Gates on the rows alone need no exchange, and neither does an empty circuit."""
    circuit = QuantumCircuit(10)
    for q in range(4, 9):
        circuit.h(q)
        circuit.cx(q, q + 1)
    circuit.cz(4, 9)
    found = assert_same_circuit(schedule(lower(circuit)))
    assert LANES_OUT not in found.table[:, KIND].tolist()
    assert found.table[-1, KIND] == CZ
    assert on_amplitudes(schedule(lower(QuantumCircuit(9)))).table.shape == (0, 12)


@pytest.mark.parametrize("num_qubits", range(1, 13))
def test_routes_that_fit(num_qubits: int) -> None:
    """Samples always; a unitary of 2 to 9 qubits; amplitudes of 9 and more."""
    expected = ["samples"]
    if 2 <= num_qubits <= 9:
        expected.append("unitary")
    if num_qubits >= 9:
        expected.append("amplitudes")
    assert list(routes(num_qubits)) == expected


@pytest.mark.parametrize("num_qubits", [2, 4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_the_unitary_is_what_needs_no_samples_matrix(num_qubits: int, seed: int) -> None:
    """The same operations as on samples, cut in two."""
    circuit = random_circuit(num_qubits, 30, seed)
    for q in range(1, num_qubits):
        circuit.h(q)
        circuit.rzx(0.3, q, 0)
    plan = schedule(lower(circuit, "x"))
    one, cut = operations(plan, "samples"), operations(plan, "unitary")
    assert np.array_equal(one.table, cut.table)
    assert (cut.rows, cut.masks) == (one.rows, one.masks)
    assert (one.route, one.split) == ("samples", len(one.table))
    assert cut.route == "unitary"
    head = [b for b in plan.blocks[: plan.split] if b.kind != CX]
    assert cut.split == len(head) < len(cut.table)
    assert len(cut.head) == cut.split
    assert np.array_equal(np.vstack([cut.head, cut.tail]), cut.table)
    assert (cut.tail[:, SOURCE] == SHARED).all()
    assert len(one.tail) == 0 and np.array_equal(one.head, one.table)


def test_where_nothing_is_shared_there_is_no_unitary() -> None:
    circuit, x = QuantumCircuit(2), ParameterVector("x", 2)
    circuit.rx(x[0], 0)
    circuit.crz(x[1], 0, 1)
    for program in (lower(circuit, "x"), lower(QuantumCircuit(2))):
        found = operations(schedule(program), "unitary")
        assert (found.route, found.split) == ("samples", len(found.table))


@pytest.mark.parametrize("route", ROUTES)
def test_product_states_take_fewer_rows(route: str) -> None:
    """Column COUNT: 1, 2, 4, ... at the beginning, and all sets of rows from then on.

    Not on the amplitudes route, where four qubits are on the lanes.
    """
    circuit, w = QuantumCircuit(9), ParameterVector("w", 9)
    for q in (0, 1, 2, 4):
        circuit.ry(w[q], q)
    circuit.cx(2, 3)
    for q in range(9):
        circuit.rx(w[q], q)
    circuit.cx(0, 1)
    circuit.crx(w[0], 1, 8)
    plan = schedule(lower(circuit))
    found = operations(plan, route)
    matrices = found.table[found.table[:, KIND] <= TWO]
    full = np.where(matrices[:, KIND] == ONE, found.rows // 2, found.rows // 4)
    if route != "amplitudes":
        assert plan.starts == 3
        full[:3] = 1, 2, 4
    assert np.array_equal(matrices[:, COUNT], full)


def test_sets_of_rows_in_passes() -> None:
    """They are counted within a chunk."""
    found = on_amplitudes(schedule(lower(hardware_efficient(13, 2))), chunk_bits=6)
    assert found.passes
    assert set(found.table[found.table[:, KIND] == ONE, COUNT]) == {2**5}


def test_the_first_operation_that_is_trained() -> None:
    """Of the shared ones, and of all; behind the last one where there is none."""
    x, w = ParameterVector("x", 2), ParameterVector("w", 1)
    circuits = QuantumCircuit(2), QuantumCircuit(2)
    for circuit in circuits:
        circuit.h(0)
        circuit.rx(x[0], 1)
        circuit.cz(0, 1)
        circuit.rx(x[1], 0)
        for q in (0, 1):
            circuit.cz(0, 1)
            circuit.h(q)
            if circuit is circuits[0]:
                circuit.ry(w[0], q)
            circuit.rz(x[0], q)
    mixed, of_inputs = (operations(schedule(lower(c, "x")), "samples") for c in circuits)
    matrices = mixed.table[mixed.table[:, KIND] == ONE]
    sources = [(int(op[SOURCE]), int(op[TRAINED])) for op in matrices]
    assert sources == [(0, 0), (1, 1), (1, 1), (0, 1), (1, 1), (0, 1), (1, 1)]
    assert trained(mixed) == (5, 1) and mixed.head_shared
    assert trained(of_inputs) == (len(of_inputs.table), 1) and not of_inputs.head_shared
    nothing = operations(schedule(lower(QuantumCircuit(2))), "samples")
    assert trained(nothing) == (0, 0) and not nothing.head_shared


def test_what_is_trained_in_the_unitary_does_not_count() -> None:
    """Encoder and ansatz: the samples need nothing un-applied for the weights' gradient."""
    plan = schedule(lower(angle(4).compose(u3_cu3(4, 2)), "x"))
    cut, one = operations(plan, "unitary"), operations(plan, "samples")
    assert trained(cut) == (4, 0) and len(cut.head) == 4 and not cut.head_shared
    assert trained(one) == (4, 0) and one.head_shared


def trained(found: Operations) -> tuple[int, int]:
    """First operation that is trained: of the shared ones, and of all."""
    return found.first_trained
