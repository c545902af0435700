"""What makes numbers a channel: the checks behind `Channel`, and the names of Pauli operators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .pauli_basis import FloatArray, choi_of_ptm

ROUNDING = 1e-10  # how far probabilities may leave [0, 1]
TOLERANCE = 1e-8  # how far from trace preserving or completely positive is still rounding


def letters(index: int, num_qubits: int) -> str:
    """The Pauli string of an index of the Pauli basis, read right to left.

    Example:
        >>> letters(1 + 4 * 3, 2)
        'ZX'
    """
    return "".join("IXYZ"[index >> 2 * q & 3] for q in reversed(range(num_qubits)))


def width_of(matrix: np.ndarray[Any, Any], what: str, base: int) -> int:
    """Number of qubits of a square matrix with side ``base**k``."""
    size = matrix.shape[0] if matrix.ndim == 2 else 0
    k = max(1, round(math.log(max(size, 1), base)))
    if matrix.shape != (base**k, base**k):
        raise ValueError(
            f"{what} of shape {matrix.shape}: give a square matrix with side {base}**k for k qubits"
        )
    if not np.isfinite(matrix).all():
        raise ValueError(f"{what} has entries that are no finite numbers: give finite numbers")
    return k


def clean_probabilities(values: tuple[float, ...], num_qubits: int) -> tuple[float, ...]:
    """Check probabilities; tiny negative ones, from rounding, become 0."""
    for j in (*range(1, len(values)), 0):  # the identity has what the others leave
        p = values[j]
        if not -ROUNDING <= p <= 1 + ROUNDING:
            raise ValueError(
                f"a Pauli channel would have {letters(j, num_qubits)} with probability {p:.6g}: "
                f"give probabilities between 0 and 1, with a sum of at most 1"
            )
    if abs((total := math.fsum(values)) - 1) > ROUNDING:
        raise ValueError(f"the probabilities of a Pauli channel sum to {total:.9g}, which is not 1")
    return tuple(max(0.0, p) for p in values)


def check_ptm(ptm: FloatArray, num_qubits: int) -> None:
    """Refuse what is not trace preserving or not completely positive."""
    off = float(np.abs(ptm[0] - np.eye(1, len(ptm))[0]).max())
    if not off <= TOLERANCE:
        raise ValueError(
            f"the channel is not trace preserving: the first row of its Pauli transfer matrix "
            f"differs from (1, 0, ..., 0) by {off:.2g}"
        )
    smallest = float(np.linalg.eigvalsh(choi_of_ptm(ptm, num_qubits))[0])
    if not smallest >= -TOLERANCE:
        raise ValueError(
            f"the channel is not completely positive: the smallest eigenvalue of its Choi matrix "
            f"is {smallest:.2g}, which must be 0 or more"
        )
