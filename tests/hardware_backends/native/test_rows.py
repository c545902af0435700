"""Operations on the rows of a unit against NumPy and Qiskit."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit.circuit.library import CXGate, CZGate
from qiskit.quantum_info import Operator, random_unitary

from nisqkit.hardware_backends.native.rows import (
    COUNT,
    LANE,
    LANES_OUT,
    ROW,
    apply_simple,
    backward,
    dense,
    forward,
    one_base,
    operation,
    overlap,
    overlap_sums,
    sorted4,
    two_base,
)
from nisqkit.hardware_backends.native.schedule import CX, CZ, ONE, OWN, SHARED, TWO

Array = NDArray[Any]
Complex = NDArray[np.complex128]
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


def operation_row(
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
    count = 2**NUM_QUBITS >> len(masks)
    return np.array([kind, v1, w1, v2, w2, p1, p2, source, row, lane, 1, count], dtype=np.int64)


def in_frame(state: Complex, states: list[int]) -> Complex:
    """Rows in the order of the basis states, from rows in the order of memory."""
    logical = np.empty_like(state)
    logical[states] = state
    return logical


def quads(table: Array, u_re: Array, u_im: Array) -> Array:
    """The shared 4x4 matrix of each operation: 16 real and then 16 imaginary parts."""
    at = table[:, [ROW]] + np.arange(16), table[:, [LANE]]
    return np.hstack([u_re[at], u_im[at]])


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
        on = [masks[q] for q in qubits]
        for source, lane, sample in ((SHARED, 0, -1), (SHARED, 11, 3), (OWN, 0, -1), (OWN, 0, 7)):
            table = np.array([operation_row(kind, on, source, row, k) for k in (5, lane)])
            shared, own = (right, wrong) if source == SHARED else (wrong, right)
            re, im = split(start, dtype)
            scratch = np.full((2, 32), np.nan, dtype)
            forward(re, im, table, *shared, quads(table, *shared), *own, sample, scratch)
            found, before = in_frame(re + 1j * im, states), in_frame(start, states)
            for k in range(16):
                which = (5, lane) if source == SHARED else 2 * (k if sample < 0 else sample,)
                expected = wide[which[1]] @ wide[which[0]] @ before[:, k]
                assert_allclose(found[:, k], expected, atol=tolerance)


@pytest.mark.parametrize("seed", FRAMES)
@pytest.mark.parametrize("pair", PAIRS)
def test_cx_and_cz_only_move_numbers(pair: tuple[int, int], seed: int | None) -> None:
    masks, states = frame(seed)
    start = random_complex(2**NUM_QUBITS, 16)
    for kind, gate in ((CX, CXGate()), (CZ, CZGate())):
        re, im = split(start)
        op = operation_row(kind, [masks[q] for q in pair])
        apply_simple(re, im, operation(op[None], 0))
        expected = embedded(Operator(gate).data, pair) @ in_frame(start, states)
        assert np.array_equal(in_frame(re + 1j * im, states), expected)


@pytest.mark.parametrize("bits", [(0, 1, 2, 3), (3, 1, 5, 0), (2, 3, 4, 5), (5, 4, 1, 2)])
def test_exchange_of_lanes_and_rows(bits: tuple[int, int, int, int]) -> None:
    """Lane bit k becomes row bit ``bits[k]`` and the other way round; twice is nothing."""
    start = random_complex(2**6, 16)
    re, im = split(start)
    op = operation(np.array([[LANES_OUT, *bits, *[0] * 7]], dtype=np.int64), 0)
    apply_simple(re, im, op)
    order = list(range(10))  # bits of the index 16 row + lane, the lowest first
    for k, bit in enumerate(bits):
        order[k], order[bit + 4] = order[bit + 4], order[k]
    axes = [9 - b for b in reversed(order)]
    expected = start.reshape((2,) * 10).transpose(axes).reshape(64, 16)
    assert np.array_equal(re + 1j * im, expected)
    apply_simple(re, im, op)
    assert np.array_equal(re + 1j * im, start)


@pytest.mark.parametrize("p", range(5))
def test_rows_with_a_zero_bit(p: int) -> None:
    expected = [i for i in range(32) if not i >> p & 1]
    assert [one_base(g, p) for g in range(16)] == expected


@pytest.mark.parametrize("seed", FRAMES)
@pytest.mark.parametrize("pair", PAIRS)
def test_rows_on_which_two_qubits_are_zero(pair: tuple[int, int], seed: int | None) -> None:
    """Each once, whichever bits are chosen to single them out."""
    masks, states = frame(seed)
    zero = {i for i, s in enumerate(states) if not any(s >> q & 1 for q in pair)}
    for choice in range(6):
        op = operation(operation_row(TWO, [masks[q] for q in pair], seed=choice)[None], 0)
        found = [int(two_base(g, op)) for g in range(2**NUM_QUBITS // 4)]
        assert len(set(found)) == len(found) and set(found) == zero


def test_sorting_four_numbers() -> None:
    for bits in permutations((1, 4, 6, 9)):
        assert sorted4(bits) == (1, 4, 6, 9)


@pytest.mark.parametrize("seed", FRAMES)
@pytest.mark.parametrize("size", [1, 2])
def test_overlaps_give_the_inner_product_with_any_matrix(size: int, seed: int | None) -> None:
    """``<x| U y> = sum_rc M_rc U_rc``, which is what the gradients are made of."""
    masks, states = frame(seed)
    x, y = random_complex(2**NUM_QUBITS, 16, seed=1), random_complex(2**NUM_QUBITS, 16, seed=2)
    matrix, first = random_complex(2**size, 2**size, seed=3), 7
    for qubits in permutations(range(NUM_QUBITS), size):
        row = operation_row(ONE if size == 1 else TWO, [masks[q] for q in qubits])
        op = operation(row[None], 0)
        before = random_complex(30, 16, seed=4)
        m_re, m_im = split(before)
        overlap(*split(x), *split(y), op, m_re, m_im, first)
        added = m_re + 1j * m_im - before
        left, right = in_frame(x, states), embedded(matrix, qubits) @ in_frame(y, states)
        expected = [np.vdot(left[:, lane], right[:, lane]) for lane in range(16)]
        assert_allclose(matrix.ravel() @ added[first : first + 4**size], expected, atol=1e-11)
        added[first : first + 4**size] = 0
        assert not added.any()
        sums = np.full((2, 32), np.nan)
        overlap_sums(*split(x), *split(y), op, sums)
        parts = sums[0, : 4**size] + 1j * sums[0, 4**size : 2 * 4**size]
        assert_allclose(matrix.ravel() @ parts, sum(expected), atol=1e-10)


def random_table(seed: int, own: bool) -> tuple[Array, list[tuple[Complex, int, tuple[int, ...]]]]:
    """Operations of every kind without changes of masks, and matrices by Qiskit for each.

    Matrix ``k`` stands in rows ``16 k ...``; all lanes have the same, so that the place is told by
    the row alone, but the shared ones are read from lane ``k`` and the others hold NaN.
    """
    rng = np.random.default_rng(seed)
    table, steps = [], []
    for k, kind in enumerate([ONE, TWO, CX, ONE, TWO, CZ, TWO, ONE]):
        size = 1 if kind == ONE else 2
        qubits = tuple(rng.choice(NUM_QUBITS, size, replace=False).tolist())
        masks = [(1 << q, 1 << q) for q in qubits]
        source = OWN if own and k % 2 else SHARED
        table.append(operation_row(kind, masks, source, 16 * k, k))
        gate = {CX: Operator(CXGate()), CZ: Operator(CZGate())}.get(kind)
        matrix = random_unitary(2**size, seed=rng).data if gate is None else gate.data
        steps.append((np.asarray(matrix), kind, qubits))
    return np.array(table), steps


@pytest.mark.parametrize(("own", "sample"), [(False, -1), (True, -1), (True, 6)])
@pytest.mark.parametrize("stop", [0, 1, 3, 8])
def test_backward_undoes_forward_and_collects_overlaps(stop: int, own: bool, sample: int) -> None:
    """State and co-state before operation ``stop``; overlaps of all lanes or of each lane."""
    table, steps = random_table(1, own)
    size = 16 * len(steps)
    u = np.full((size, 16), np.nan, complex)
    for k, (matrix, _, _) in enumerate(steps):
        lanes = slice(None) if own and k % 2 else k
        u[16 * k : 16 * k + matrix.size, lanes] = matrix.reshape(-1, *[1] * (lanes != k))
    d = np.full_like(u, np.nan)
    for k, (matrix, _, _) in enumerate(steps):
        d[16 * k : 16 * k + matrix.size] = u[16 * k : 16 * k + matrix.size][
            np.arange(matrix.size).reshape(matrix.shape).T.ravel()
        ].conj()
    scratch = np.full((2, 32), np.nan)
    start, end = random_complex(16, 16, seed=1), random_complex(16, 16, seed=2)
    re, im = split(start)
    forward(re, im, table, *split(u), quads(table, *split(u)), *split(u), sample, scratch)
    states = [start]
    costates = [end]
    for matrix, _, qubits in steps:
        states.append(embedded(matrix, qubits) @ states[-1])
    for matrix, _, qubits in reversed(steps):
        costates.insert(0, embedded(matrix, qubits).conj().T @ costates[0])
    assert_allclose(re + 1j * im, states[-1], atol=1e-12)

    c_re, c_im = split(end)
    sy, own_y = np.zeros((2, size, 16)), np.zeros((2, size, 16))
    arguments: list[Any] = [
        re, im, c_re, c_im, table, stop, *split(d), quads(table, *split(d)), *split(d), sample,
        sy, *own_y, scratch,
    ]  # fmt: skip
    backward(*arguments)
    assert_allclose(re + 1j * im, states[stop], atol=1e-12)
    assert_allclose(c_re + 1j * c_im, costates[stop], atol=1e-12)
    for k, (matrix, kind, qubits) in enumerate(steps):
        rows = slice(16 * k, 16 * k + 16)
        mine, others = (own_y, sy) if own and k % 2 else (sy, own_y)
        assert not others[:, rows].any()
        if k < stop or kind in (CX, CZ):
            assert not mine[:, rows].any()
            continue
        probe = random_complex(*matrix.shape, seed=k)
        right = embedded(probe, qubits) @ states[k + 1]
        expected = np.sum(costates[k + 1].conj() * right, axis=0)
        found = probe.ravel() @ (mine[0] + 1j * mine[1])[rows][: matrix.size]
        if mine is own_y and sample < 0:
            assert_allclose(found, expected, atol=1e-11)
        else:
            lane = sample if mine is own_y else k
            assert found[lane] == pytest.approx(expected.sum(), abs=1e-11)
            assert not np.delete(found, lane).any()


@pytest.mark.parametrize("own", [False, True])
def test_a_product_state_takes_half_the_rows_so_far(own: bool) -> None:
    """Column COUNT: the rows beyond, here NaN, are neither read nor written."""
    matrices = [random_unitary(2, seed=k).data for k in range(NUM_QUBITS)]
    table = np.array(
        [operation_row(ONE, [(1 << q, 1 << q)], OWN if own else SHARED, 4 * q) for q in range(4)]
    )
    table[:, COUNT] = 2 ** np.arange(NUM_QUBITS)
    u = split(np.tile(np.concatenate([m.ravel() for m in matrices])[:, None], 16))
    d = split(np.tile(np.concatenate([m.conj().T.ravel() for m in matrices])[:, None], 16))
    unread, scratch = np.full((4, 32), np.nan), np.full((2, 32), np.nan)
    re, im = np.empty((2, 16, 16))
    for count in range(1, NUM_QUBITS + 1):
        re[:], im[:] = np.nan, np.nan
        re[: 2**count] = im[: 2**count] = 0
        re[0] = 1
        forward(re, im, table[:count], *u, unread, *u, -1, scratch)
        product = np.ones(1)
        for matrix in matrices[:count]:
            product = np.kron(matrix[:, 0], product)
        found = re + 1j * im
        assert_allclose(found[: 2**count], np.tile(product[:, None], 16), atol=1e-14)
        assert np.isnan(found[2**count :]).all()

    costate = random_complex(16, 16)
    c_re, c_im = split(costate)
    sy, own_y = np.zeros((2, 16, 16)), np.zeros((2, 16, 16))
    arguments: list[Any] = [re, im, c_re, c_im, table, 0, *d, unread, *d, -1, sy, *own_y, scratch]
    backward(*arguments)
    assert_allclose(re[0] + 1j * im[0], 1, atol=1e-14)
    # the first matrix: those of the other qubits are fixed
    rest = np.ones(1)
    for matrix in matrices[1:]:
        rest = np.kron(matrix[:, 0], rest)
    probe = random_complex(2, 2, seed=1)
    state = np.kron(rest, probe @ matrices[0][:, 0])
    expected = costate.conj().T @ state
    found = probe.ravel() @ ((own_y if own else sy)[0] + 1j * (own_y if own else sy)[1])[:4]
    assert_allclose(found if own else found[0], expected if own else expected.sum(), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4, 4), (4, 16), (8, 3), (32, 32), (12, 1)])
def test_dense_matrices(shape: tuple[int, int], dtype: Any) -> None:
    matrix, x = random_complex(*shape, seed=1), random_complex(shape[1], 16, seed=2)
    z_re, z_im = np.full((2, shape[0], 16), np.nan, dtype)
    dense(*split(matrix, dtype), *split(x, dtype), z_re, z_im)
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    assert_allclose(z_re + 1j * z_im, matrix @ x, atol=tolerance)
