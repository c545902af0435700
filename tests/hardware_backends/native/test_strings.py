"""Expectation values and co-states of Pauli strings, by Qiskit's matrices."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit.quantum_info import Pauli

from nisqkit.hardware_backends.native.strings import (
    costate,
    costate_of_rows,
    expectations,
    expectations_of_rows,
)

Array = NDArray[Any]
Complex = NDArray[np.complex128]
Real = NDArray[np.float64]
Masks = list[tuple[int, int]]

NUM_QUBITS = 4
FRAMES = [None, 0, 1, 2]
"""Seeds of `frame`; None is the frame without CX gates."""
SCRATCH: Real = np.full((1, 16), np.nan)


def random_complex(*shape: int, seed: int = 0) -> Complex:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def split(array: Complex, dtype: Any = np.float64) -> tuple[Array, Array]:
    """Real and imaginary part as arrays of their own."""
    return array.real.astype(dtype), array.imag.astype(dtype)


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


def in_frame(state: Complex, states: list[int]) -> Complex:
    """Rows in the order of the basis states, from rows in the order of memory."""
    logical = np.empty_like(state)
    logical[states] = state
    return logical


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
    expectations(*split(start), table, out, SCRATCH)
    assert_allclose(out, [np.sum(logical.conj() * (m @ logical), axis=0) for m in matrices])
    h = np.random.default_rng(1).normal(size=out.shape)
    c_re, c_im = np.full((2, 16, 16), np.nan)
    costate(*split(start), table, h, c_re, c_im, SCRATCH)
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
    expectations(*split(start), table, out, SCRATCH)
    expected = [np.vdot(logical, m @ logical).real for m in matrices]
    assert_allclose((signs * out).sum(axis=1), expected, atol=1e-11)
    factors = np.random.default_rng(1).normal(size=(len(LONG), 1))
    c_re, c_im = np.full((2, 8, 16), np.nan)
    costate(*split(start), table, factors * signs, c_re, c_im, SCRATCH)
    expected = sum(f * (m @ logical) for f, m in zip(factors, matrices, strict=True))
    assert_allclose(in_frame((c_re + 1j * c_im).ravel(), states), expected, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_in_parts(dtype: Any) -> None:
    """Expectation values of parts add up; a part of a co-state leaves the other rows alone."""
    table, _ = string_masks(LONG, [(1 << p, 1 << p) for p in range(7)], lane_bits=4)
    state, scratch = split(random_complex(8, 16), dtype), SCRATCH.astype(dtype)
    whole = np.empty((len(LONG), 16), dtype)
    expectations(*state, table, whole, scratch)
    parts = np.full((3, *whole.shape), np.nan, dtype)
    for part, (first, last) in zip(parts, [(0, 3), (3, 7), (7, 8)], strict=True):
        expectations_of_rows(first, last, *state, table, part, scratch)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    assert_allclose(parts.sum(axis=0), whole, atol=tolerance)
    assert not np.allclose(parts[0], whole)

    h = np.asarray(np.random.default_rng(1).normal(size=whole.shape), dtype)
    c_re, c_im = np.zeros((2, 8, 16), dtype)
    costate(*state, table, h, c_re, c_im, scratch)
    d_re, d_im = np.full((2, 8, 16), np.nan, dtype)
    costate_of_rows(3, 7, *state, table, h, d_re, d_im, scratch)
    assert np.array_equal(d_re[3:7], c_re[3:7]) and np.array_equal(d_im[3:7], c_im[3:7])
    assert np.isnan(np.delete(d_re, range(3, 7), axis=0)).all()
