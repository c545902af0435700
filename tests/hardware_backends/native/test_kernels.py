"""Each kernel against the matrix that it stands for, built by NumPy and Qiskit."""

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit.circuit.library import CXGate, CZGate
from qiskit.quantum_info import Operator, Pauli, random_unitary

from nisqkit.hardware_backends.native import kernels
from nisqkit.hardware_backends.native.kernels import CX, CZ, ONE, TWO

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]
Integers = NDArray[np.int64]
Index = tuple[Integers, Integers, Integers, Integers, Real]

PAIRS = list(permutations(range(3), 2))


def random_complex(*shape: int, seed: int = 0) -> Complex:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def split(array: Complex) -> tuple[Real, Real]:
    """Real and imaginary part as arrays of their own."""
    return array.real.copy(), array.imag.copy()


def embedded(matrix: Complex, qubits: list[int], num_qubits: int = 3) -> Complex:
    """The matrix on some qubits as one on all, by Qiskit."""
    identity = Operator(np.eye(2**num_qubits))
    return np.asarray(identity.compose(Operator(matrix), qubits).data)


def applied(
    state: Complex, kind: int, a: int, b: int, shared: Complex, lanes: Complex | None
) -> Complex:
    """`kernels.apply` on a copy of a tile; the matrices are given as flat rows."""
    re, im = split(state)
    count = state.shape[1]
    scratch = np.empty((4, count)), np.empty((4, count))
    per_lane = np.zeros((16, count), dtype=complex) if lanes is None else lanes
    kernels.apply(
        re, im, kind, a, b, int(lanes is not None), *split(shared), *split(per_lane), *scratch
    )
    return re + 1j * im


def flat(matrix: Complex) -> Complex:
    """Sixteen entries, row by row."""
    entries = np.zeros(16, dtype=complex)
    entries[: matrix.size] = matrix.ravel()
    return entries


@pytest.mark.parametrize("lanes", [1, 16])
@pytest.mark.parametrize("qubit", range(3))
def test_one_qubit_matrices(qubit: int, lanes: int) -> None:
    state = random_complex(8, lanes)
    matrices = [random_unitary(2, seed=k).data for k in range(lanes)]
    found = applied(state, ONE, qubit, qubit, flat(matrices[0]), None)
    assert_allclose(found, embedded(matrices[0], [qubit]) @ state, atol=1e-13)
    rows = np.stack([flat(m) for m in matrices], axis=1)
    found = applied(state, ONE, qubit, qubit, np.zeros(16, complex), rows)
    expected = [embedded(m, [qubit]) @ column for m, column in zip(matrices, state.T, strict=True)]
    assert_allclose(found.T, expected, atol=1e-13)


@pytest.mark.parametrize("lanes", [1, 16])
@pytest.mark.parametrize("pair", PAIRS)
def test_two_qubit_matrices(pair: tuple[int, int], lanes: int) -> None:
    state = random_complex(8, lanes)
    matrices = [random_unitary(4, seed=k).data for k in range(lanes)]
    found = applied(state, TWO, *pair, flat(matrices[0]), None)
    assert_allclose(found, embedded(matrices[0], list(pair)) @ state, atol=1e-13)
    rows = np.stack([flat(m) for m in matrices], axis=1)
    found = applied(state, TWO, *pair, np.zeros(16, complex), rows)
    expected = [
        embedded(m, list(pair)) @ column for m, column in zip(matrices, state.T, strict=True)
    ]
    assert_allclose(found.T, expected, atol=1e-13)


@pytest.mark.parametrize("pair", PAIRS)
def test_cx_and_cz_only_move_numbers(pair: tuple[int, int]) -> None:
    state, nothing = random_complex(8, 5), np.zeros(16, complex)
    for kind, gate in ((CX, CXGate()), (CZ, CZGate())):
        expected = embedded(Operator(gate).data, list(pair)) @ state
        assert np.array_equal(applied(state, kind, *pair, nothing, None), expected)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 0), (0, 3), (3, 1), (4, 2)])
def test_indices_with_two_zero_bits(a: int, b: int) -> None:
    expected = [i for i in range(32) if not i >> a & 1 and not i >> b & 1]
    assert [kernels.insert_zeros(g, a, b) for g in range(8)] == expected


def test_parity() -> None:
    numbers = [*range(300), *np.random.default_rng(0).integers(2**62, size=50).tolist()]
    assert [kernels.parity(i) for i in numbers] == [1 - 2 * (i.bit_count() % 2) for i in numbers]


def overlaps(x: Complex, y: Complex, qubits: tuple[int, int], dim: int) -> Complex:
    """``(lanes, dim, dim)`` from the kernel."""
    m_re, m_im = np.zeros((16, x.shape[1])), np.zeros((16, x.shape[1]))
    kernels.overlap(*split(x), *split(y), *qubits, dim, m_re, m_im)
    return (m_re + 1j * m_im)[: dim * dim].T.reshape(-1, dim, dim)


@pytest.mark.parametrize(
    ("qubits", "dim"), [*((p, 4) for p in PAIRS), *(((q, q), 2) for q in range(3))]
)
def test_overlaps_give_the_inner_product_with_any_matrix(qubits: tuple[int, int], dim: int) -> None:
    """``<x| U y> = sum_rc M_rc U_rc``, which is what the gradients are made of."""
    x, y = random_complex(8, 3, seed=1), random_complex(8, 3, seed=2)
    matrix = random_complex(dim, dim, seed=3)
    wide = embedded(matrix, list(qubits)[: dim // 2])
    expected = [np.vdot(x[:, lane], wide @ y[:, lane]) for lane in range(3)]
    found = (overlaps(x, y, qubits, dim) * matrix).sum(axis=(1, 2))
    assert_allclose(found, expected, atol=1e-12)


STRINGS = ["III", "ZII", "IXI", "IIY", "XYZ", "YYI", "YYY", "ZYX", "XXY"]


def masks(strings: list[str]) -> NDArray[np.int64]:
    """X mask, Z mask and number of Y modulo 4."""
    rows = []
    for string in strings:
        letters = list(reversed(string))
        x = sum(1 << q for q, c in enumerate(letters) if c in "XY")
        z = sum(1 << q for q, c in enumerate(letters) if c in "YZ")
        rows.append((x, z, string.count("Y") % 4))
    return np.array(rows, dtype=np.int64)


def test_expectations_of_pauli_strings() -> None:
    state, strings = random_complex(8, 3), [*STRINGS, "IYY"]
    out = np.empty((len(strings), 3))
    kernels.expectations(*split(state), masks(strings), out)
    matrices = [Pauli(s).to_matrix() for s in strings]
    expected = [[np.vdot(v, m @ v).real for v in state.T] for m in matrices]
    assert_allclose(out, expected, atol=1e-12)


@pytest.mark.parametrize("string", STRINGS)
def test_costates_apply_the_observable(string: str) -> None:
    state, factor = random_complex(8, 3), np.array([[0.3, -1.2, 0.0]])
    c_re, c_im = np.full((8, 3), np.nan), np.full((8, 3), np.nan)
    kernels.costate(*split(state), masks([string]), factor, c_re, c_im)
    assert_allclose(c_re + 1j * c_im, factor * (Pauli(string).to_matrix() @ state), atol=1e-12)


def test_costates_add_up_with_four_ys() -> None:
    state, factors = random_complex(16, 2), np.array([[0.5, 1.0], [2.0, -1.0]])
    c_re, c_im = np.empty((16, 2)), np.empty((16, 2))
    kernels.costate(*split(state), masks(["YYYY", "XYIZ"]), factors, c_re, c_im)
    terms = zip(factors, ("YYYY", "XYIZ"), strict=True)
    expected = sum(f * (Pauli(s).to_matrix() @ state) for f, s in terms)
    assert_allclose(c_re + 1j * c_im, expected, atol=1e-12)


def factor_arrays() -> tuple[Index, Complex, Real]:
    """A 4x4 matrix of three factors and a 2x2 of two; two lanes, three angles, one used twice."""
    table = random_complex(5, 3, 16, seed=4)
    first, last, dims = np.array([0, 3]), np.array([3, 5]), np.array([4, 2])
    slot, frequency = np.array([0, -1, 1, 2, 0]), np.array([0.5, 0.0, 1.0, 0.5, 2.0])
    table[1, 1:] = 0  # a fixed factor
    angles = np.random.default_rng(5).uniform(-2, 2, (3, 2))
    return (first, last, dims, slot, frequency), table, angles


def matrix(block: int, angles: Real) -> Complex:
    """The block's matrix for one lane, by its definition."""
    (first, last, dims, slot, frequency), table, _ = factor_arrays()
    dim = int(dims[block])
    result = np.eye(dim, dtype=complex)
    for f in range(first[block], last[block]):
        c0, c1, c2 = table[f, :, : dim * dim].reshape(3, dim, dim)
        phase = frequency[f] * angles[slot[f]]
        result = (c0 if slot[f] < 0 else c0 + np.cos(phase) * c1 + np.sin(phase) * c2) @ result
    return result


def test_matrices_are_products_of_factors() -> None:
    index, table, angles = factor_arrays()
    re, im = np.zeros((2, 16, 2)), np.zeros((2, 16, 2))
    kernels.build(*index, table, angles, re, im)
    d_re, d_im = kernels.dagger(re, im, index[2])
    for block, dim in enumerate((4, 2)):
        for lane in range(2):
            expected = matrix(block, angles[:, lane])
            found = (re + 1j * im)[block, : dim * dim, lane].reshape(dim, dim)
            assert_allclose(found, expected, atol=1e-12)
            found = (d_re + 1j * d_im)[block, : dim * dim, lane].reshape(dim, dim)
            assert_allclose(found, expected.conj().T, atol=1e-12)


def test_chain_rule_is_the_finite_difference() -> None:
    index, table, angles = factor_arrays()
    overlap = random_complex(2, 16, 2, seed=6)
    found = np.zeros((3, 2))
    kernels.chain(*index, table, angles, *split(overlap), found)

    def value(own: Real, lane: int) -> float:
        total = 0.0
        for block, dim in enumerate((4, 2)):
            weights = overlap[block, : dim * dim, lane].reshape(dim, dim)
            total += 2 * (weights * matrix(block, own)).sum().real
        return total

    step = 1e-6
    for p in range(3):
        for lane in range(2):
            move = step * np.eye(3)[p]
            up, down = value(angles[:, lane] + move, lane), value(angles[:, lane] - move, lane)
            assert_allclose(found[p, lane], (up - down) / (2 * step), rtol=1e-6)
