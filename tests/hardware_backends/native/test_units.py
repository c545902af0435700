"""What is done with a whole unit, against NumPy and Qiskit: a tile of 16 samples, or one sample."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from nisqkit.circuits import Observables, lower
from nisqkit.hardware_backends.conformance import random_observables
from nisqkit.hardware_backends.native.plan import Plan, plan
from nisqkit.hardware_backends.native.units import initial, outer, output_costate, outputs

Array = NDArray[Any]
Complex = NDArray[np.complex128]

NUM_QUBITS = 9
BATCH = 21
"""One full tile of samples and one of five."""

BY_SAMPLES = pytest.mark.parametrize("by_samples", [True, False])
UNITS = pytest.mark.parametrize(
    ("by_samples", "unit", "samples"),
    [(True, 0, range(16)), (True, 1, range(16, 21)), (False, 0, [0]), (False, 20, [20])],
)


def random_complex(*shape: int, seed: int = 0) -> Complex:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def split(array: Complex, dtype: Any = np.float64) -> tuple[Array, Array]:
    """Real and imaginary part as arrays of their own."""
    return array.real.astype(dtype), array.imag.astype(dtype)


def made(observables: Observables, by_samples: bool) -> Plan:
    """Without gates, so that qubit ``q`` is bit ``q`` of the amplitude's index."""
    route = "samples" if by_samples else "amplitudes"
    return plan(lower(QuantumCircuit(NUM_QUBITS)), observables, route)


def tables(of: Plan) -> tuple[Array, ...]:
    return of.strings, of.lane_signs, of.coefficients, of.places


def unit_of(by_samples: bool) -> Complex:
    return random_complex(2**NUM_QUBITS if by_samples else 2**5, 16)


def by_sample(state: Complex, by_samples: bool) -> Complex:
    """The states of the unit's samples, one per column."""
    return state if by_samples else state.reshape(-1, 1)


def matrices(observables: Observables) -> list[Any]:
    assert observables.sums is not None
    return [SparsePauliOp.from_list(list(s)).to_matrix(sparse=True) for s in observables.sums]


@UNITS
@pytest.mark.parametrize("probs", [False, True])
def test_outputs_of_a_unit(probs: bool, by_samples: bool, unit: int, samples: list[int]) -> None:
    """Sums of Pauli strings, or probabilities; those of other samples are left alone."""
    wanted = Observables.parse("probs", NUM_QUBITS) if probs else random_observables(NUM_QUBITS, 1)
    of, state = made(wanted, by_samples), unit_of(by_samples)
    y = np.full((BATCH, wanted.num_outputs), np.nan)
    out, scratch = np.full((len(of.strings), 16), np.nan), np.full((64, 16), np.nan)
    arguments: list[Any] = [unit, *split(state), by_samples, *tables(of), out, y, scratch]
    outputs(*arguments)
    states = by_sample(state, by_samples)
    for sample, psi in zip(samples, states.T, strict=False):
        if probs:
            assert_allclose(y[sample], abs(psi) ** 2)
        else:
            expected = [np.vdot(psi, m @ psi).real for m in matrices(wanted)]
            assert_allclose(y[sample], expected, atol=1e-10)
    assert np.isnan(np.delete(y, list(samples), axis=0)).all()


@UNITS
@pytest.mark.parametrize("probs", [False, True])
def test_costate_of_a_unit(probs: bool, by_samples: bool, unit: int, samples: list[int]) -> None:
    """``sum_k g_k O_k psi``; zero on lanes without a sample."""
    wanted = Observables.parse("probs", NUM_QUBITS) if probs else random_observables(NUM_QUBITS, 1)
    of, state = made(wanted, by_samples), unit_of(by_samples)
    g = np.random.default_rng(2).normal(size=(BATCH, wanted.num_outputs))
    h, scratch = np.full((len(of.strings), 16), np.nan), np.full((64, 16), np.nan)
    c_re, c_im = np.full((2, *state.shape), np.nan)
    arguments: list[Any] = [unit, *split(state), by_samples, *tables(of), g, h, c_re, c_im, scratch]
    output_costate(*arguments)
    found = by_sample(c_re + 1j * c_im, by_samples)
    for lane, psi in enumerate(by_sample(state, by_samples).T):
        if lane >= len(samples):
            assert not found[:, lane].any()
        elif probs:
            assert_allclose(found[:, lane], g[samples[lane]] * psi)
        else:
            of_sums = zip(g[samples[lane]], matrices(wanted), strict=True)
            assert_allclose(found[:, lane], sum(f * (m @ psi) for f, m in of_sums), atol=1e-11)


@BY_SAMPLES
@pytest.mark.parametrize("amplitudes", [0, 3])
def test_initial_states(amplitudes: int, by_samples: bool) -> None:
    """Amplitudes at their basis states, or one at the first."""
    start = np.random.default_rng(1).normal(size=(BATCH, amplitudes))
    rows = np.array([5, 300, 0])[:amplitudes]
    unit = 1 if by_samples else 20
    re, im = np.full((2, *unit_of(by_samples).shape), np.nan)
    initial(unit, re, im, start, rows, by_samples)
    found = by_sample(re, by_samples)
    expected = np.zeros_like(found)
    if not amplitudes:
        expected[0] = 1
    elif by_samples:
        expected[rows, :5] = start[16:].T
    else:
        expected[rows, 0] = start[20]
    assert np.array_equal(found, expected) and not im.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [4, 8, 16, 32, 64])
def test_outer_products_of_columns(rows: int, dtype: Any) -> None:
    """``C X^dagger``, 16 columns at a time; where there are fewer, the other lanes are zero."""
    c, x = random_complex(rows, 16, seed=1), random_complex(rows, 16, seed=2)
    units = max(1, rows // 16)
    m = np.full((2, units, rows, 16), np.nan, dtype)
    scratch = np.full((32, 16), np.nan, dtype)
    outer(*split(c, dtype), *split(x, dtype), m, scratch)
    found = np.concatenate(list(m[0] + 1j * m[1]), axis=1)
    tolerance = 1e-13 if dtype == np.float64 else 1e-4
    assert_allclose(found[:, :rows], c @ x.conj().T, atol=tolerance)
    assert not found[:, rows:].any()
