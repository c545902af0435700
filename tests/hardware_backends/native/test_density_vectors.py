"""Operations on Pauli vectors against NumPy."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from nisqkit.hardware_backends.native import density_vectors as dv
from nisqkit.noise.pauli_basis import embedded

Array = NDArray[Any]

NUM_QUBITS = 3
ROWS = 4**NUM_QUBITS
PAIRS = list(permutations(range(NUM_QUBITS), 2))


@njit
def turn(z, x, bit, m, back):  # type: ignore[no-untyped-def]
    if back:
        dv.turn_back(z, x, len(x) // 4, bit, m, 2)
    else:
        dv.turn(z, x, len(x) // 4, bit, m, 2)


@njit
def join(z, x, a, b, m, back):  # type: ignore[no-untyped-def]
    if back:
        dv.join_back(z, x, len(x) // 16, a, b, m, 2)
    else:
        dv.join(z, x, len(x) // 16, a, b, m, 2)


@njit
def move(z, x, a, b, sources, scales, back):  # type: ignore[no-untyped-def]
    if back:
        dv.move_back(z, x, len(x) // 16, a, b, sources, 1, scales, 2)
    else:
        dv.move(z, x, len(x) // 16, a, b, sources, 1, scales, 2)


@njit
def overlaps(y, c, x, low, high, groups, d):  # type: ignore[no-untyped-def]
    dv.overlaps(y, 1, 4, c, x, groups, low, high, d, 2 * d, 3 * d, 0, d, 2 * d, 3 * d)


@njit
def move_overlaps(y, c, x, a, b, sources):  # type: ignore[no-untyped-def]
    dv.move_overlaps(y, 2, c, x, len(x) // 16, a, b, sources, 1)


@njit
def small(z, x, total):  # type: ignore[no-untyped-def]
    dv.fill(z, 0, 3)
    dv.add_product(z, 0, x, 1, x, 2)
    dv.lane_sum(x, 3, total, 1)


def random_rows(count: int, seed: int, dtype: Any = np.float64) -> Array:
    return np.random.default_rng(seed).normal(size=(count, 16)).astype(dtype)


def with_first_row(entries: Array, dim: int) -> Array:
    """A matrix per lane (16, D, D), from its rows but the first."""
    first = np.eye(1, dim)[:, :, None].repeat(16, axis=2)
    rest = entries.reshape(dim - 1, dim, 16)
    return np.concatenate([first, rest]).transpose(2, 0, 1)


def applied(matrices: Array, on: tuple[int, ...], x: Array, back: bool) -> Array:
    """By matrices on all qubits."""
    columns = []
    for lane, matrix in enumerate(matrices):
        full = embedded(matrix, on, NUM_QUBITS)
        columns.append((full.T if back else full) @ x[:, lane])
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_turn_and_join(dtype: Any, back: bool) -> None:
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    x = random_rows(ROWS, 0, dtype)
    m = random_rows(2 + 12, 1, dtype)
    for q in range(NUM_QUBITS):
        z = np.zeros_like(x)
        turn(z, x, 2 * q, m, back)
        expected = applied(with_first_row(m[2:], 4), (q,), x, back)
        assert_allclose(z, expected, atol=tolerance)
        same = x.copy()
        turn(same, same, 2 * q, m, back)
        assert_array_equal(same, z)
    m = random_rows(2 + 240, 2, dtype)
    for a, b in PAIRS:
        z = np.zeros_like(x)
        join(z, x, 2 * a, 2 * b, m, back)
        assert_allclose(z, applied(with_first_row(m[2:], 16), (a, b), x, back), atol=10 * tolerance)
        same = x.copy()
        join(same, same, 2 * a, 2 * b, m, back)
        assert_array_equal(same, z)


@pytest.mark.parametrize("back", [False, True])
def test_move(back: bool) -> None:
    x, scales = random_rows(ROWS, 0), random_rows(2 + 15, 1)
    order = np.array([0, *(1 + np.random.default_rng(2).permutation(15))])
    matrices = np.zeros((16, 16, 16))
    matrices[:, range(16), order] = np.concatenate([np.ones((1, 16)), scales[2:]]).T
    for a, b in PAIRS:
        sources = np.zeros((2, 16), dtype=np.int64)
        sources[1] = (order % 4) * 4**a + (order // 4) * 4**b
        z = np.zeros_like(x)
        move(z, x, 2 * a, 2 * b, sources, scales, back)
        assert_allclose(z, applied(matrices, (a, b), x, back), atol=1e-13)
        same = x.copy()
        move(same, same, 2 * a, 2 * b, sources, scales, back)
        assert_array_equal(same, z)


def test_overlaps() -> None:
    c, x = random_rows(ROWS, 0), random_rows(ROWS, 1)
    digits = np.arange(ROWS)
    for q in range(NUM_QUBITS):
        y = np.zeros((13, 16))
        overlaps(y, c, x, 2 * q, dv.NO_DIGIT, ROWS // 4, 4**q)
        by_digit = [digits[(digits // 4**q) % 4 == d] for d in range(4)]
        for r in range(1, 4):
            for k in range(4):
                expected = (c[by_digit[r]] * x[by_digit[k]]).sum(axis=0)
                assert_allclose(y[1 + 4 * (r - 1) + k], expected, atol=1e-13)
    # with two digits, the other one is zero
    y = np.zeros((13, 16))
    overlaps(y, c, x, 0, 4, ROWS // 16, 1)
    rest = digits[digits % 64 // 16 == 0]
    rows = [rest[rest % 4 == d] for d in range(4)]
    assert_allclose(y[1 + 5], (c[rows[2]] * x[rows[1]]).sum(axis=0), atol=1e-13)


def test_move_overlaps() -> None:
    c, x = random_rows(ROWS, 0), random_rows(ROWS, 1)
    order = np.array([0, *(1 + np.random.default_rng(2).permutation(15))])
    for a, b in PAIRS:
        sources = np.zeros((2, 16), dtype=np.int64)
        sources[1] = (order % 4) * 4**a + (order // 4) * 4**b
        y = np.zeros((17, 16))
        move_overlaps(y, c, x, 2 * a, 2 * b, sources)
        rest = NUM_QUBITS * (NUM_QUBITS - 1) // 2 - a - b
        for j in range(1, 16):
            target = (j % 4) * 4**a + (j // 4) * 4**b
            others = np.arange(4) * 4**rest
            expected = (c[target + others] * x[sources[1, j] + others]).sum(axis=0)
            assert_allclose(y[1 + j], expected, atol=1e-13)


def test_rows_and_sums() -> None:
    z, x, total = np.zeros((1, 16)), random_rows(4, 0), np.zeros(2)
    small(z, x, total)
    assert_allclose(z[0], 3 + x[1] * x[2], atol=1e-14)
    assert_allclose(total, [0, x[3].sum()], atol=1e-14)
