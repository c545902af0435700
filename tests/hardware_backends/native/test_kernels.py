"""Each kernel against the matrix or the derivative that it stands for, by NumPy and Qiskit."""

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import CXGate, CZGate, UnitaryGate
from qiskit.quantum_info import Operator, Pauli, random_unitary

from nisqkit.circuits import lower
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.lower import gate_class
from nisqkit.hardware_backends.native import kernels
from nisqkit.hardware_backends.native.kernels import CX, CZ, LANES_OUT, ONE, OWN, SHARED, TWO
from nisqkit.hardware_backends.native.schedule import Block, Groups, schedule

Array = NDArray[Any]
Complex = NDArray[np.complex128]
Real = NDArray[np.float64]
Masks = list[tuple[int, int]]

NUM_QUBITS = 4
PAIRS = list(permutations(range(NUM_QUBITS), 2))
FRAMES = [None, 0, 1, 2]
"""Seeds of `frame`; None is the frame without CX gates."""


def random_complex(*shape: int, seed: int = 0) -> Complex:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def split(array: Complex, dtype: Any = np.float64) -> tuple[Array, Array]:
    """Real and imaginary part as arrays of their own."""
    return array.real.astype(dtype), array.imag.astype(dtype)


def embedded(matrix: Complex, qubits: Sequence[int], num_qubits: int = NUM_QUBITS) -> Complex:
    """The matrix on some qubits as one on all, by Qiskit."""
    identity = Operator(np.eye(2**num_qubits))
    return np.asarray(identity.compose(Operator(matrix), list(qubits)).data)


def parity(number: int) -> int:
    return number.bit_count() % 2


def frame(seed: int | None, num_qubits: int = NUM_QUBITS) -> tuple[Masks, list[int]]:
    """Masks ``(v, w)`` of each qubit after random CX gates, and the basis state that each row is.

    Qubit ``q`` is the parity of the row and ``w``; ``v`` is the row on which it alone is one.
    """
    w = [1 << q for q in range(num_qubits)]
    if seed is not None:
        rng = np.random.default_rng(seed)
        for _ in range(20):
            c, t = rng.choice(num_qubits, 2, replace=False)
            w[t] ^= w[c]
    states = [
        sum(parity(row & w[q]) << q for q in range(num_qubits)) for row in range(2**num_qubits)
    ]
    return [(states.index(1 << q), w[q]) for q in range(num_qubits)], states


def operation(
    kind: int, masks: Masks, source: int = SHARED, row: int = 0, lane: int = 0, seed: int = 0
) -> Array:
    """A row of the table of operations, with any bits that single out one row of each set."""
    (v1, w1), (v2, w2) = (*masks, (0, 0))[:2]
    bits = range(NUM_QUBITS)
    fit = [(p, 0) for p in bits if v1 >> p & 1]
    if len(masks) == 2:
        fit = [
            (p, q)
            for p, q in permutations(bits, 2)
            if ((v1 >> p) & (v2 >> q) & 1) != ((v1 >> q) & (v2 >> p) & 1)
        ]
    p1, p2 = fit[np.random.default_rng(seed).integers(len(fit))]
    return np.array([kind, v1, w1, v2, w2, p1, p2, source, row, lane, 1], dtype=np.int64)


def in_frame(state: Complex, states: list[int]) -> Complex:
    """Rows in the order of the basis states, from rows in the order of memory."""
    logical = np.empty_like(state)
    logical[states] = state
    return logical


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", FRAMES)
@pytest.mark.parametrize("size", [1, 2])
def test_matrices_on_rows(size: int, seed: int | None, dtype: Any) -> None:
    """Shared, each lane its own, and one sample's own, on every qubit or pair of them."""
    masks, states = frame(seed)
    kind, row = ONE if size == 1 else TWO, 16
    unitaries = np.array([random_unitary(2**size, seed=k).data for k in range(16)])
    u = np.zeros((48, 16), complex)
    u[row : row + 4**size] = unitaries.reshape(16, -1).T
    right, wrong = split(u, dtype), split(np.full_like(u, np.nan), dtype)
    start = random_complex(2**NUM_QUBITS, 16)
    tolerance = 1e-13 if dtype == np.float64 else 1e-5
    for qubits in permutations(range(NUM_QUBITS), size):
        wide = [embedded(matrix, qubits) for matrix in unitaries]
        for source, lane, sample in ((SHARED, 0, -1), (SHARED, 11, 3), (OWN, 0, -1), (OWN, 0, 7)):
            op = operation(kind, [masks[q] for q in qubits], source, row, lane)
            shared, own = (right, wrong) if source == SHARED else (wrong, right)
            re, im = split(start, dtype)
            quads = kernels.quads(np.array([op, op]), *shared)
            kernels.apply(re, im, 1, op, *shared, quads, *own, sample, np.empty((1, 32), dtype))
            found, before = in_frame(re + 1j * im, states), in_frame(start, states)
            for k in range(16):
                which = lane if source == SHARED else k if sample < 0 else sample
                assert_allclose(found[:, k], wide[which] @ before[:, k], atol=tolerance)


@pytest.mark.parametrize("seed", FRAMES)
@pytest.mark.parametrize("pair", PAIRS)
def test_cx_and_cz_only_move_numbers(pair: tuple[int, int], seed: int | None) -> None:
    masks, states = frame(seed)
    start = random_complex(2**NUM_QUBITS, 16)
    for kind, gate in ((CX, CXGate()), (CZ, CZGate())):
        re, im = split(start)
        kernels.apply_simple(re, im, operation(kind, [masks[q] for q in pair]))
        expected = embedded(Operator(gate).data, pair) @ in_frame(start, states)
        assert np.array_equal(in_frame(re + 1j * im, states), expected)


@pytest.mark.parametrize("bits", [(0, 1, 2, 3), (3, 1, 5, 0), (2, 3, 4, 5), (5, 4, 1, 2)])
def test_exchange_of_lanes_and_rows(bits: tuple[int, int, int, int]) -> None:
    """Lane bit k becomes row bit ``bits[k]`` and the other way round; twice is nothing."""
    start = random_complex(2**6, 16)
    re, im = split(start)
    op = np.array([LANES_OUT, *bits, 0, 0, 0, 0, 0, 0], dtype=np.int64)
    kernels.apply_simple(re, im, op)
    order = list(range(10))  # bits of the index 16 row + lane, the lowest first
    for k, bit in enumerate(bits):
        order[k], order[bit + 4] = order[bit + 4], order[k]
    axes = [9 - b for b in reversed(order)]
    expected = start.reshape((2,) * 10).transpose(axes).reshape(64, 16)
    assert np.array_equal(re + 1j * im, expected)
    kernels.apply_simple(re, im, op)
    assert np.array_equal(re + 1j * im, start)


@pytest.mark.parametrize("p", range(5))
def test_rows_with_a_zero_bit(p: int) -> None:
    expected = [i for i in range(32) if not i >> p & 1]
    assert [kernels.one_base(g, p) for g in range(16)] == expected


@pytest.mark.parametrize("seed", FRAMES)
@pytest.mark.parametrize("pair", PAIRS)
def test_rows_on_which_two_qubits_are_zero(pair: tuple[int, int], seed: int | None) -> None:
    """Each once, whichever bits are chosen to single them out."""
    masks, states = frame(seed)
    zero = {i for i, s in enumerate(states) if not any(s >> q & 1 for q in pair)}
    for choice in range(6):
        op = operation(TWO, [masks[q] for q in pair], seed=choice)
        found = [int(kernels.two_base(g, op)) for g in range(2**NUM_QUBITS // 4)]
        assert len(set(found)) == len(found) and set(found) == zero


def test_sorting_four_numbers() -> None:
    for bits in permutations((1, 4, 6, 9)):
        assert kernels.sorted4(bits) == (1, 4, 6, 9)


@pytest.mark.parametrize("seed", FRAMES)
@pytest.mark.parametrize("size", [1, 2])
def test_overlaps_give_the_inner_product_with_any_matrix(size: int, seed: int | None) -> None:
    """``<x| U y> = sum_rc M_rc U_rc``, which is what the gradients are made of."""
    masks, states = frame(seed)
    x, y = random_complex(2**NUM_QUBITS, 16, seed=1), random_complex(2**NUM_QUBITS, 16, seed=2)
    matrix, first = random_complex(2**size, 2**size, seed=3), 7
    for qubits in permutations(range(NUM_QUBITS), size):
        op = operation(ONE if size == 1 else TWO, [masks[q] for q in qubits])
        before = random_complex(30, 16, seed=4)
        m_re, m_im = split(before)
        kernels.overlap(*split(x), *split(y), op, m_re, m_im, first)
        added = m_re + 1j * m_im - before
        left, right = in_frame(x, states), embedded(matrix, qubits) @ in_frame(y, states)
        expected = [np.vdot(left[:, lane], right[:, lane]) for lane in range(16)]
        assert_allclose(matrix.ravel() @ added[first : first + 4**size], expected, atol=1e-11)
        added[first : first + 4**size] = 0
        assert not added.any()
        sums = np.full(32, np.nan)
        kernels.overlap_sums(*split(x), *split(y), op, sums)
        parts = sums[: 4**size] + 1j * sums[4**size : 2 * 4**size]
        assert_allclose(matrix.ravel() @ parts, sum(expected), atol=1e-10)


# Pauli strings


def flips_first(strings: list[str]) -> list[str]:
    """In the order that the kernels ask for: strings without flips before the others."""
    return sorted(strings, key=lambda s: any(c in "XY" for c in s))


def string_masks(strings: list[str], masks: Masks, lane_bits: int) -> tuple[Array, Real]:
    """What the kernels read of the strings, and the signs of the lanes' own bits."""
    rows, signs = [], []
    for string in strings:
        x = z = 0
        for (v, w), letter in zip(masks, reversed(string), strict=True):
            x ^= v if letter in "XY" else 0
            z ^= w if letter in "YZ" else 0
        low = 2**lane_bits - 1
        rows.append((x >> lane_bits, z >> lane_bits, x & low, string.count("Y") % 4))
        signs.append([1 - 2 * parity(z & low & lane) for lane in range(16)])
    return np.array(rows, dtype=np.int64), np.array(signs, dtype=float)


STRINGS = flips_first(
    ["IIII", "ZIIZ", "IXIZ", "IIYI", "XYZX", "YYII", "IYYY", "YYYY", "ZYXY", "XXYZ", "YXXY", "ZZZZ"]
)


@pytest.mark.parametrize("seed", FRAMES)
@pytest.mark.parametrize("strings", [STRINGS, STRINGS[:1], STRINGS[-1:]])
def test_strings_on_rows(strings: list[str], seed: int | None) -> None:
    """Lanes are samples: expectation values and co-states of each."""
    masks, states = frame(seed)
    start = random_complex(2**NUM_QUBITS, 16)
    table, _ = string_masks(strings, masks, lane_bits=0)
    logical, matrices = in_frame(start, states), [Pauli(s).to_matrix() for s in strings]
    out = np.full((len(strings), 16), np.nan)
    kernels.expectations(*split(start), table, out)
    assert_allclose(out, [np.sum(logical.conj() * (m @ logical), axis=0) for m in matrices])
    h = np.random.default_rng(1).normal(size=out.shape)
    c_re, c_im = np.full((2, 16, 16), np.nan)
    kernels.costate(*split(start), table, h, c_re, c_im)
    expected = sum(f * (m @ logical) for f, m in zip(h, matrices, strict=True))
    assert_allclose(in_frame(c_re + 1j * c_im, states), expected, atol=1e-12)


LONG = flips_first(
    [
        "IIIIIII",
        "ZIIIIII",  # on the rows alone
        "IIIZIIZ",  # on the lanes alone
        "ZZIIZZI",
        "XIIIIII",
        "IYIXIII",
        "IIIYIII",
        "IIIXXII",
        "YZIIXZY",
        "YYIIYII",
        "XYZYZYX",
        "YIYYIYZ",
        "ZIIYZXI",
    ]
)


@pytest.mark.parametrize("places", [(0, 1, 2, 3, 4, 5, 6), (5, 0, 3, 6, 1, 2, 4)])
def test_strings_on_rows_and_lanes(places: tuple[int, ...]) -> None:
    """Lanes are the amplitudes of four qubits, whichever four: qubit q is bit ``places[q]``."""
    start = random_complex(8, 16)
    table, signs = string_masks(LONG, [(1 << p, 1 << p) for p in places], lane_bits=4)
    states = [sum((i >> p & 1) << q for q, p in enumerate(places)) for i in range(128)]
    logical, matrices = in_frame(start.ravel(), states), [Pauli(s).to_matrix() for s in LONG]
    out = np.full((len(LONG), 16), np.nan)
    kernels.expectations(*split(start), table, out)
    expected = [np.vdot(logical, m @ logical).real for m in matrices]
    assert_allclose((signs * out).sum(axis=1), expected, atol=1e-11)
    factors = np.random.default_rng(1).normal(size=(len(LONG), 1))
    c_re, c_im = np.full((2, 8, 16), np.nan)
    kernels.costate(*split(start), table, factors * signs, c_re, c_im)
    costate = sum(f * (m @ logical) for f, m in zip(factors, matrices, strict=True))
    assert_allclose(in_frame((c_re + 1j * c_im).ravel(), states), costate, atol=1e-11)


# Matrices and their derivatives

Write = Callable[[QuantumCircuit, Sequence[Any], int, int], None]
"""Writes a block on two qubits, with up to eight angles."""


def gate_block(name: str) -> Write:
    """A block of one gate; ``v`` is as long as its angles."""

    def write(circuit: QuantumCircuit, v: Sequence[Any], a: int, b: int) -> None:
        gate = GATES[name]
        circuit.append(gate_class(name)(*v[: gate.num_params]), [a, b][: gate.num_qubits])

    return write


def mixed_inputs(circuit: QuantumCircuit, v: Sequence[Any], a: int, b: int) -> None:
    """Every form of factor: on the first, on the second, controlled by either, full, fixed."""
    circuit.u(v[0], v[1], v[2], b)
    circuit.crx(v[3], b, a)
    circuit.rzx(v[4], a, b)
    circuit.append(gate_class("u2")(v[5], v[1]), [a])
    circuit.append(gate_class("cu3")(v[6], v[7], v[0]), [a, b])
    circuit.append(gate_class("xx_plus_yy")(v[1], v[2]), [a, b])
    circuit.rzx(v[3], b, a)


def mixed(circuit: QuantumCircuit, v: Sequence[Any], a: int, b: int) -> None:
    """The same with fixed gates on either side."""
    circuit.h(a)
    circuit.append(UnitaryGate(random_unitary(4, seed=1)), [a, b])
    mixed_inputs(circuit, v, a, b)
    circuit.iswap(a, b)
    circuit.s(b)
    circuit.ch(b, a)
    mixed_inputs(circuit, v[::-1], a, b)
    circuit.append(UnitaryGate(random_unitary(4, seed=2)), [b, a])


def run_of_inputs(circuit: QuantumCircuit, v: Sequence[Any], a: int, b: int) -> None:
    circuit.rx(v[0], a)
    circuit.append(gate_class("u2")(v[4], v[0]), [a])
    circuit.u(v[1], v[2], v[3], a)
    circuit.rx(v[0], a)


def run(circuit: QuantumCircuit, v: Sequence[Any], a: int, b: int) -> None:
    circuit.append(UnitaryGate(random_unitary(2, seed=2)), [a])
    run_of_inputs(circuit, v, a, b)
    circuit.h(a)
    circuit.t(a)
    run_of_inputs(circuit, v[::-1], a, b)


WEIGHTED = {
    **{n: gate_block(n) for n in GATES if n not in ("id", "cx", "cz", "swap")},
    "run": run,
    "mixed": mixed,
}
OF_INPUTS = {
    **{n: gate_block(n) for n, gate in GATES.items() if gate.num_params},
    "run": run_of_inputs,
    "mixed": mixed_inputs,
}
MOST_ANGLES = 8


def matrix(write: Write, angles: Real, block: Block) -> Complex:
    """The block's matrix in the order of its qubits, by Qiskit."""
    circuit = QuantumCircuit(2)
    write(circuit, angles.tolist(), 0, 1)
    full = Operator(circuit)
    if len(block.qubits) == 1:
        return np.asarray(full.data[:2, :2])
    return np.asarray((full if block.qubits[0] % 2 == 0 else full.reverse_qargs()).data)


def planned(write: Write, count: int, own: bool) -> tuple[list[Block], Groups, Array]:
    """The same block on ``count`` pairs of qubits, each with parameters of its own.

    The last result gives, for each factor and lane, the number ``MOST_ANGLES * block + angle`` of
    the parameter that it reads, or -1.
    """
    circuit = QuantumCircuit(2 * count)
    v = ParameterVector("v", count * MOST_ANGLES)
    for k in range(count):
        mine = [v[i] for i in range(k * MOST_ANGLES, (k + 1) * MOST_ANGLES)]
        write(circuit, mine, 2 * k, 2 * k + 1)
    program = lower(circuit, "v" if own else None)
    plan = schedule(program)
    names = [*program.inputs, *program.weights]
    reads = np.full(program.angle_map.num_slots + 1, -1)  # the last one is for slot -1
    for slot, parameter, coefficient in program.angle_map.terms:
        assert coefficient == 1
        reads[slot] = int(names[parameter].removeprefix("v[").removesuffix("]"))
    if not own:
        return list(plan.blocks), plan.shared, reads[plan.shared.slots]
    # the lanes are samples, and all of them read the slots of the first
    return list(plan.blocks), plan.own, np.tile(reads[plan.own.slots[:, :1]], 16)


def waves(groups: Groups, reads: Array, angles: Real) -> tuple[Real, Real]:
    """Cosine and sine of frequency times angle, for each factor and lane; ``angles`` by lane."""
    phases = np.where(reads >= 0, angles[reads, np.arange(16)], 0) * groups.frequency[:, None]
    return np.cos(phases), np.sin(phases)


def overlap_of(left: Complex, right: Complex) -> Complex:
    """``y_ac = sum conj(left_a) right_c``, flat."""
    return np.asarray(np.einsum("am,cm->ac", left.conj(), right).ravel())


def slopes(write: Write, angles: Real, block: Block, left: Complex, start: Complex) -> Real:
    """Derivatives of ``2 Re <left| U start>`` by central differences, with U by Qiskit."""
    step, result = 1e-5, np.zeros(MOST_ANGLES)
    for p in range(MOST_ANGLES):
        move = step * np.eye(MOST_ANGLES)[p]
        difference = matrix(write, angles + move, block) - matrix(write, angles - move, block)
        result[p] = 2 * np.vdot(left, difference @ start).real / (2 * step)
    return result


@pytest.mark.parametrize("name", WEIGHTED)
def test_shared_matrices_and_their_derivatives(name: str) -> None:
    """Three blocks side by side."""
    check(WEIGHTED[name], 3, own=False)


@pytest.mark.parametrize("name", OF_INPUTS)
def test_matrices_of_samples_and_their_derivatives(name: str) -> None:
    """Two blocks of 16 samples."""
    check(OF_INPUTS[name], 2, own=True)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 40])
@pytest.mark.parametrize("name", ["rx", "mixed"])
def test_any_number_of_equal_blocks(name: str, count: int) -> None:
    """Sixteen to a group."""
    blocks, groups = check(WEIGHTED[name], count, own=False)
    assert len(groups.groups) == -(-count // 16)
    assert [(b.row, b.lane) for b in blocks] == [(k // 16 * 16, k % 16) for k in range(count)]


def check(write: Write, count: int, own: bool) -> tuple[list[Block], Groups]:
    """`build`, `dagger` and `chain` against Qiskit's matrices and their differences."""
    blocks, groups, reads = planned(write, count, own)
    assert len(blocks) == count
    rng = np.random.default_rng(3)
    angles = rng.uniform(-2, 2, (count * MOST_ANGLES, 16))
    if not own:
        angles[:] = angles[:, :1]  # a lane is a block, not a sample
    cos, sin = waves(groups, reads, angles)
    size = 16 * len(groups.groups)
    u_re, u_im = np.zeros((2, size, 16))
    arrays = groups.groups, groups.pairs, groups.table
    kernels.build(*arrays, cos, sin, u_re, u_im)
    d_re, d_im = kernels.dagger(groups.groups, u_re, u_im)

    y = np.zeros((size, 16), complex)
    expected = np.zeros((count * MOST_ANGLES, 16))
    for k, block in enumerate(blocks):
        for lane in range(16) if own else [block.lane]:
            mine = angles[k * MOST_ANGLES : (k + 1) * MOST_ANGLES, lane]
            u = matrix(write, mine, block)
            at = slice(block.row, block.row + u.size), lane
            assert_allclose((u_re + 1j * u_im)[at], u.ravel(), atol=1e-12)
            assert_allclose((d_re + 1j * d_im)[at], u.conj().T.ravel(), atol=1e-12)
            left, start = random_complex(2, len(u), 3, seed=100 * k + lane)
            y[at] = overlap_of(left, u @ start)
            rows = slice(k * MOST_ANGLES, (k + 1) * MOST_ANGLES)
            expected[rows, lane] = slopes(write, mine, block, left, start)

    grad = np.zeros((len(groups.frequency), 16))
    kernels.chain(*arrays, groups.generator, groups.trained, cos, sin, *split(y), grad)
    found = np.zeros_like(expected)
    for f, lane in np.argwhere(reads >= 0):
        found[reads[f, lane], lane] += grad[f, lane]
    assert_allclose(found, expected, atol=1e-7)
    return blocks, groups


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_affine_forms_and_their_gradients(dtype: Any) -> None:
    """``waves`` is a matrix product in float64, and ``pull_back`` its transpose."""
    rng = np.random.default_rng(0)
    lengths = [0, 3, 1, 0, 5, 2]
    first = np.cumsum([0, *lengths])
    column = np.concatenate([rng.choice(7, n, replace=False) for n in lengths]).astype(np.int64)
    coefficient, constant = rng.normal(size=len(column)), rng.normal(size=len(lengths))
    dense = np.zeros((len(lengths), 7))
    for r in range(len(lengths)):
        for k in range(first[r], first[r + 1]):
            dense[r, column[k]] = coefficient[k]
    inputs, weights = rng.normal(size=(5, 4)).astype(dtype), rng.normal(size=3).astype(dtype)
    parameters = np.hstack([inputs, np.tile(weights, (5, 1))]).astype(np.float64)
    out = np.empty((5, len(lengths)))
    kernels.waves(inputs, weights, first, column, coefficient, constant, out)
    assert_allclose(out, constant + parameters @ dense.T, atol=1e-14)

    used = np.array([True, True, False, True, True, True])
    values = rng.normal(size=out.shape).astype(dtype)
    g_inputs, g_weights = np.ones((5, 4), dtype), np.ones(3)
    kernels.pull_back(values, used, first, column, coefficient, g_inputs, g_weights)
    expected = 1 + (values * used) @ dense
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    assert_allclose(g_inputs, expected[:, :4], atol=tolerance)
    expected = 1 + ((values * used).astype(np.float64) @ dense).sum(axis=0)
    assert_allclose(g_weights, expected[4:], atol=tolerance)
