"""Channels in the Pauli basis, and the other ways to write them.

Everywhere: the first qubit is the least significant bit of a matrix index and the least significant
digit of a Pauli index (digits I, X, Y, Z = 0, 1, 2, 3), and superoperators act on stacked columns
as in Qiskit. Definitions as in Wood, Biamonte and Cory, Quant. Inf. Comp. 15, 759 (2015).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

_ONE_QUBIT: ComplexArray = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=complex
)


@cache
def paulis(num_qubits: int) -> ComplexArray:
    """All Pauli matrices, shape ``(4**k, 2**k, 2**k)``."""
    found: ComplexArray = np.ones((1, 1, 1), dtype=complex)
    for _ in range(num_qubits):
        found = np.stack([np.kron(p, low) for p in _ONE_QUBIT for low in found])
    return found


@cache
def signs(num_qubits: int) -> FloatArray:
    """Entry ``[i, j]`` is 1 where Pauli i and Pauli j commute, and -1 where they anticommute."""
    # one qubit: two different letters other than I anticommute
    one = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=float)
    found: FloatArray = np.ones((1, 1))
    for _ in range(num_qubits):
        found = np.asarray(np.kron(one, found), dtype=np.float64)
    return found


@cache
def _columns(num_qubits: int) -> ComplexArray:
    """Column j is Pauli j with its columns stacked."""
    every = paulis(num_qubits)
    return np.ascontiguousarray(every.transpose(0, 2, 1).reshape(len(every), -1).T)


def ptm_of_superop(superop: ComplexArray, num_qubits: int) -> ComplexArray:
    """The Pauli transfer matrix; complex, since the map need not preserve hermiticity."""
    columns = _columns(num_qubits)
    found: ComplexArray = columns.conj().T @ superop @ columns / 2**num_qubits
    return found


def superop_of_ptm(ptm: FloatArray, num_qubits: int) -> ComplexArray:
    """The superoperator on stacked columns, shape ``(4**k, 4**k)``."""
    columns = _columns(num_qubits)
    found: ComplexArray = columns @ ptm @ columns.conj().T / 2**num_qubits
    return found


def superop_of_kraus(matrices: Sequence[ComplexArray]) -> ComplexArray:
    """The sum of ``conj(K) x K``."""
    found = sum((np.kron(k.conj(), k) for k in matrices), np.zeros((1, 1), dtype=complex))
    return np.asarray(found, dtype=complex)


def choi_of_ptm(ptm: FloatArray, num_qubits: int) -> ComplexArray:
    """The Choi matrix, the sum of ``|i><j| x E(|i><j|)``; its trace is ``2**k``."""
    dim = 2**num_qubits
    # superoperator [(c, r), (j, i)] and Choi matrix [(i, r), (j, c)], each with E(|i><j|)[r, c]
    tensor = superop_of_ptm(ptm, num_qubits).reshape(dim, dim, dim, dim)
    return np.ascontiguousarray(tensor.transpose(3, 1, 2, 0).reshape(dim**2, dim**2))


def kraus_of_ptm(ptm: FloatArray, num_qubits: int) -> tuple[ComplexArray, ...]:
    """Kraus operators from the eigenvectors of the Choi matrix, the largest first."""
    dim = 2**num_qubits
    values, vectors = np.linalg.eigh(choi_of_ptm(ptm, num_qubits))
    return tuple(
        np.sqrt(value) * vector.reshape(dim, dim, order="F")
        for value, vector in zip(values[::-1], vectors.T[::-1], strict=True)
        if value > 1e-15
    )


def infidelity(ptm: FloatArray) -> float:
    """1 - average gate fidelity with the identity (Nielsen, Phys. Lett. A 303, 249, 2002)."""
    dim = math.isqrt(len(ptm))
    missing = float(np.sum(1.0 - ptm.diagonal()))
    return missing / dim / (dim + 1)


def embedded(ptm: FloatArray, on: Sequence[int], num_qubits: int) -> FloatArray:
    """The Pauli transfer matrix of a channel on some of ``num_qubits`` qubits, and no other.

    Args:
        ptm: Shape ``(4**k, 4**k)``.
        on: The ``k`` qubits that it acts on, in its own order.
        num_qubits: How many qubits there are.
    """
    rest = [q for q in range(num_qubits) if q not in on]
    full = np.kron(np.eye(4 ** len(rest)), ptm).reshape((4,) * (2 * num_qubits))
    # axis of qubit q: the last axis is the least significant digit
    order = [*on, *rest]
    axes = [num_qubits - 1 - order.index(q) for q in reversed(range(num_qubits))]
    full = full.transpose(axes + [num_qubits + a for a in axes])
    return np.ascontiguousarray(full.reshape(4**num_qubits, 4**num_qubits), dtype=np.float64)
