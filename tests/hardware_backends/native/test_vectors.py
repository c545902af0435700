"""Each vector operation against NumPy, on rows that are far apart and in both precisions."""

from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from nisqkit.hardware_backends.native import vectors

Array = NDArray[Any]
Complex = NDArray[np.complex128]

ROWS = 40
BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@njit
def pair(re: Any, im: Any, rows: Any, u: Any) -> None:
    vectors.pair(re, im, rows[0], rows[1], u)


@njit
def pair_lanes(re: Any, im: Any, rows: Any, u_re: Any, u_im: Any, first: int) -> None:
    vectors.pair_lanes(re, im, rows[0], rows[1], u_re, u_im, first)


@njit
def quad(re: Any, im: Any, rows: Any, u: Any) -> None:
    vectors.quad(re, im, rows[0], rows[1], rows[2], rows[3], u, 2)


@njit
def quad_lanes(re: Any, im: Any, rows: Any, u_re: Any, u_im: Any, first: int) -> None:
    vectors.quad_lanes(re, im, rows[0], rows[1], rows[2], rows[3], u_re, u_im, first)


@njit
def pair_overlaps(x: Any, y: Any, count: int, bits: Any, masks: Any, m: Any, first: int) -> None:
    v, w = masks
    vectors.pair_overlaps(x[0], x[1], y[0], y[1], count, bits[0], v, w, m[0], m[1], first)


@njit
def pair_overlap_sums(x: Any, y: Any, count: int, bits: Any, masks: Any, out: Any) -> None:
    v, w = masks
    vectors.pair_overlap_sums(x[0], x[1], y[0], y[1], count, bits[0], v, w, out)


@njit
def quad_overlaps(x: Any, y: Any, count: int, bits: Any, masks: Any, m: Any, first: int) -> None:
    v1, w1, v2, w2 = masks
    p, q = bits
    vectors.quad_overlaps(x[0], x[1], y[0], y[1], count, p, q, v1, w1, v2, w2, m[0], m[1], first)


@njit
def quad_overlap_sums(x: Any, y: Any, count: int, bits: Any, masks: Any, out: Any) -> None:
    v1, w1, v2, w2 = masks
    p, q = bits
    vectors.quad_overlap_sums(x[0], x[1], y[0], y[1], count, p, q, v1, w1, v2, w2, out)


@njit
def mix(re: Any, im: Any, i: int, j: int, f: Any) -> None:
    vectors.mix(re, im, i, j, f[0], f[1])


@njit
def mix_transposed(re: Any, im: Any, i: int, j: int, f: Any) -> None:
    vectors.mix_transposed(re, im, i, j, f[0], f[1])


@njit
def mix_adjoint(re: Any, im: Any, i: int, j: int, f: Any) -> None:
    vectors.mix_adjoint(re, im, i, j, f[0], f[1])


@njit
def wave(z: Any, k: int, c: Any, cos: Any, sin: Any, f: int) -> None:
    vectors.wave(z, k, c[0], c[1], c[2], cos, sin, f)


@njit
def multiply_add(z: Any, k: int, x: Any, i: int, y: Any, j: int) -> None:
    vectors.multiply_add(z[0], z[1], k, x[0], x[1], i, y[0], y[1], j)


@njit
def multiply_add_conjugate(z: Any, k: int, x: Any, i: int, y: Any, j: int) -> None:
    vectors.multiply_add_conjugate(z[0], z[1], k, x[0], x[1], i, y[0], y[1], j)


@njit
def scaled_add(z: Any, k: int, number: float, x: Any, i: int) -> None:
    vectors.scaled_add(z, k, number, x, i)


@njit
def product_add(z: Any, k: int, number: float, x: Any, i: int, y: Any, j: int) -> None:
    vectors.product_add(z, k, number, x, i, y, j)


@njit
def dense_quad(z: Any, i: int, x: Any, count: int, a: Any) -> None:
    vectors.dense_quad(z[0], z[1], i, x[0], x[1], count, a[0], a[1])


@njit
def sincos(cos: Any, sin: Any, k: int, angles: Any, j: int) -> None:
    vectors.sincos(cos, sin, k, angles, j)


@njit
def swap(z: Any, i: int, j: int) -> None:
    vectors.swap(z, i, j)


@njit
def negate(z: Any, i: int) -> None:
    vectors.negate(z, i)


@njit
def odd(i: int) -> int:
    return vectors.odd(i)


def random(dtype: Any, seed: int = 0, rows: int = ROWS) -> tuple[Array, Array]:
    """Real and imaginary parts of rows of 16 lanes."""
    re, im = np.random.default_rng(seed).normal(size=(2, rows, 16)).astype(dtype)
    return re, im


def joined(parts: tuple[Array, Array]) -> Complex:
    """The same as one array of complex128."""
    return parts[0].astype(np.float64) + 1j * parts[1].astype(np.float64)


def assert_close(found: Array, expected: Array, dtype: Any, digits: int = 0) -> None:
    """Within some roundings, or with a loss of ``digits``."""
    assert_allclose(found, expected, rtol=0, atol=40 * 10**digits * float(np.finfo(dtype).eps))


@BOTH
@pytest.mark.parametrize("rows", [(0, 1), (7, 3), (39, 0), (4, 11, 25, 38), (39, 2, 17, 0)])
def test_matrices_that_all_lanes_share(rows: tuple[int, ...], dtype: Any) -> None:
    size = len(rows)
    state = random(dtype)
    u = joined(random(dtype, seed=1))[:size, :size]
    expected = joined(state)
    expected[list(rows)] = u @ expected[list(rows)]
    numbers = np.hstack([u.real.ravel(), u.imag.ravel()]).astype(dtype)
    if size == 2:
        pair(*state, np.array(rows), tuple(numbers))
    else:
        table = np.full((4, 32), np.nan, dtype)
        table[2] = numbers
        quad(*state, np.array(rows), table)
    assert_close(joined(state), expected, dtype)


@BOTH
@pytest.mark.parametrize("rows", [(0, 1), (7, 3), (39, 0), (4, 11, 25, 38), (39, 2, 17, 0)])
def test_matrices_of_each_lane(rows: tuple[int, ...], dtype: Any) -> None:
    size, first = len(rows), 5
    state, u = random(dtype), random(dtype, seed=1)
    expected = joined(state)
    matrices = joined(u)[first : first + size**2].reshape(size, size, 16)
    expected[list(rows)] = np.einsum("rcl,cl->rl", matrices, expected[list(rows)])
    (pair_lanes if size == 2 else quad_lanes)(*state, np.array(rows), *u, first)
    assert_close(joined(state), expected, dtype)


@BOTH
@pytest.mark.parametrize("qubits", [(0,), (4,), (0, 1), (3, 1), (2, 4)])
def test_overlaps_of_all_rows(qubits: tuple[int, ...], dtype: Any) -> None:
    """Per lane they are added to what is there; summed over the lanes they replace it."""
    size, first = 2 ** len(qubits), 9
    x, y, m = (random(dtype, seed=s, rows=32) for s in range(3))
    zero = [i for i in range(32) if not any(i >> q & 1 for q in qubits)]
    sets = [
        [i + sum((r >> k & 1) << q for k, q in enumerate(qubits)) for i in zero]
        for r in range(size)
    ]
    left, right = joined(x)[sets], joined(y)[sets]
    products = np.einsum("ril,cil->rcl", left.conj(), right).reshape(size**2, 16)
    expected = joined(m)
    expected[first : first + size**2] += products
    out = np.full(32, np.nan, dtype)
    bits, masks = np.sort(qubits), tuple(1 << q for q in qubits for _ in "vw")
    overlaps, sums = (
        (pair_overlaps, pair_overlap_sums) if size == 2 else (quad_overlaps, quad_overlap_sums)
    )
    overlaps(x, y, len(zero), bits, masks, m, first)
    assert_close(joined(m), expected, dtype)
    sums(x, y, len(zero), bits, masks, out)
    totals = products.sum(axis=1)
    assert_close(out[: 2 * size**2], np.hstack([totals.real, totals.imag]), dtype, digits=1)


@BOTH
def test_factors_on_pairs_of_rows(dtype: Any) -> None:
    kernels = {mix: "rcl,cl->rl", mix_transposed: "crl,cl->rl", mix_adjoint: "crl,cl->rl"}
    for kernel, product in kernels.items():
        state, f = random(dtype), random(dtype, seed=1)
        matrices = joined(f)[:4].reshape(2, 2, 16)
        if kernel is mix_adjoint:
            matrices = matrices.conj()
        expected = joined(state)
        expected[[30, 2]] = np.einsum(product, matrices, expected[[30, 2]])
        kernel(*state, 30, 2, f)
        assert_close(joined(state), expected, dtype)


@BOTH
def test_waves(dtype: Any) -> None:
    (z, cos), (sin, _) = random(dtype), random(dtype, seed=1)
    expected = z.astype(np.float64)
    expected[3] = 0.2 - 1.3 * cos[8].astype(np.float64) + 0.7 * sin[8].astype(np.float64)
    wave(z, 3, (0.2, -1.3, 0.7), cos, sin, 8)
    assert_close(z, expected, dtype)


@BOTH
def test_complex_products(dtype: Any) -> None:
    for kernel, turn in ((multiply_add, np.asarray), (multiply_add_conjugate, np.conj)):
        z, x, y = (random(dtype, seed=s) for s in range(3))
        expected = joined(z)
        expected[3] += joined(x)[20] * turn(joined(y)[39])
        kernel(z, 3, x, 20, y, 39)
        assert_close(joined(z), expected, dtype)


@BOTH
def test_a_row_may_be_both_factor_and_target(dtype: Any) -> None:
    z = random(dtype)
    expected = joined(z)
    expected[5] += expected[5] * expected[6]
    multiply_add(z, 5, z, 5, z, 6)
    assert_close(joined(z), expected, dtype)


@BOTH
def test_real_sums(dtype: Any) -> None:
    z, x = random(dtype)
    expected = z.astype(np.float64)
    expected[1] += 0.3 * x[4]
    expected[2] += -1.7 * x[4].astype(np.float64) * x[9]
    scaled_add(z, 1, 0.3, x, 4)
    product_add(z, 2, -1.7, x, 4, x, 9)
    assert_close(z, expected, dtype)


@BOTH
def test_a_multiply_add_rounds_once(dtype: Any) -> None:
    """``(1 + e)^2 - (1 + 2 e)`` is ``e^2``; rounded in between, it is zero."""
    e = np.finfo(dtype).eps
    one, x = np.full((1, 16), -1 - 2 * e, dtype), np.full((1, 16), 1 + e, dtype)
    scaled_add(one, 0, float(1 + e), x, 0)
    assert np.array_equal(one, np.full((1, 16), e**2, dtype))
    re, im, nothing = np.full((1, 16), -1 - 2 * e, dtype), np.zeros_like(x), np.zeros_like(x)
    multiply_add((re, im), 0, (x, nothing), 0, (x, nothing), 0)
    assert np.array_equal(re, np.full((1, 16), e**2, dtype)) and not im.any()
    state = np.stack([np.full(16, -1 - 2 * e), np.full(16, 1 + e)]).astype(dtype)
    none = np.zeros_like(state)
    pair(state, none, np.array([0, 1]), tuple(np.array([1, 1 + e, 0, 1, 0, 0, 0, 0], dtype)))
    assert np.array_equal(state[0], np.full(16, e**2, dtype)) and not none.any()


@BOTH
@pytest.mark.parametrize("count", [1, 4, 16, 39])
def test_four_rows_of_a_dense_matrix(count: int, dtype: Any) -> None:
    """Rows 8 to 11 of a matrix with ``count`` columns; the other rows stay."""
    z, x = random(dtype, seed=1), random(dtype, seed=2)
    re, im = np.random.default_rng(3).normal(size=(2, 12, count)).astype(dtype)
    expected = joined(z)
    expected[8:12] = joined((re, im))[8:12] @ joined(x)[:count]
    dense_quad(z, 8, x, count, (re, im))
    assert_close(joined(z), expected, dtype, digits=1)


ANGLES = {
    "small": np.linspace(-4, 4, 1600),
    "tiny": np.array([1e-300, -1e-17, 1e-9, 1e-8] * 4),
    "large": np.random.default_rng(0).uniform(-1e6, 1e6, 16000),
    "turns": np.arange(-800, 800) * (np.pi / 2),
    "far turns": np.arange(600_000, 601_600) * (np.pi / 2),
    "between": (np.arange(-800, 800) + 0.5) * (np.pi / 2),
}


@BOTH
@pytest.mark.parametrize("name", ANGLES)
def test_sines_and_cosines(name: str, dtype: Any) -> None:
    """NumPy's are good to the last bit; these to two of them, or to float32."""
    angles = ANGLES[name].reshape(-1, 16)
    cos, sin = np.full((2, len(angles) + 1, 16), np.nan, dtype)
    for k in range(len(angles)):
        sincos(cos, sin, k + 1, angles, k)
    tolerance = 4e-16 if dtype == np.float64 else 3.1e-8
    assert_allclose(cos[1:].astype(float), np.cos(angles), rtol=0, atol=tolerance)
    assert_allclose(sin[1:].astype(float), np.sin(angles), rtol=0, atol=tolerance)
    assert np.isnan(cos[0]).all() and np.isnan(sin[0]).all()


@BOTH
def test_sine_and_cosine_of_zero_and_of_no_number(dtype: Any) -> None:
    angles = np.zeros((1, 16))
    angles[0, 5:8] = np.nan, np.inf, -np.inf
    cos, sin = np.zeros((2, 1, 16), dtype)
    sincos(cos, sin, 0, angles, 0)
    assert np.isnan(cos[0, 5:8]).all() and np.isnan(sin[0, 5:8]).all()
    assert (np.delete(cos[0], [5, 6, 7]) == 1).all() and (np.delete(sin[0], [5, 6, 7]) == 0).all()


def test_angles_may_stand_where_the_sine_goes() -> None:
    angles = ANGLES["large"][:16].reshape(1, 16)
    cos, sin = np.zeros((1, 16)), angles.copy()
    sincos(cos, sin, 0, sin, 0)
    assert_allclose([cos, sin], [np.cos(angles), np.sin(angles)], rtol=0, atol=4e-16)


@BOTH
def test_swaps_and_signs_are_exact(dtype: Any) -> None:
    z, _ = random(dtype)
    before = z.copy()
    swap(z, 31, 2)
    negate(z, 7)
    assert np.array_equal(z[[2, 31, 7]], [before[31], before[2], -before[7]])
    others = np.setdiff1d(np.arange(ROWS), [2, 31, 7])
    assert np.array_equal(z[others], before[others])
    swap(z, 4, 4)
    assert np.array_equal(z[4], before[4])


def test_odd() -> None:
    numbers = [*range(300), *np.random.default_rng(0).integers(2**62, size=50).tolist()]
    assert [odd(i) for i in numbers] == [i.bit_count() % 2 for i in numbers]
