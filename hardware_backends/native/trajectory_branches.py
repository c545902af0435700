"""Branches of a channel: what a trajectory draws instead of the channel.

A channel ``rho -> sum_k K_k rho K_k^dagger`` on dimension d is drawn as branch k with probability
``q_k = tr(K_k^dagger K_k) / d``, which does not depend on the state, and ``K_k / sqrt(q_k)`` is
applied without normalising the state. So the mean over draws of any expectation value, and of its
derivative, is that of the channel. (With probabilities that depend on the state, as in Dalibard,
Castin and Molmer, Phys. Rev. Lett. 68, 580, 1992, the mean of the derivatives would lack those of
the probabilities.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nisqkit.circuits.gates import ComplexArray
from nisqkit.noise.channels import Channel
from nisqkit.noise.pauli_basis import paulis

_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class Branches:
    """The branches of a channel, the most probable one first.

    Attributes:
        probabilities: (B,), of each branch; their sum is 1.
        operators: ``K_k / sqrt(q_k)``. Where each is a product of matrices on single qubits: one
            array (B, 2, 2) per qubit. Else one array (B, 4, 4) for both.
    """

    probabilities: NDArray[np.float64]
    operators: tuple[ComplexArray, ...]

    @property
    def error(self) -> float:
        """Probability of all branches but the first."""
        return float(self.probabilities[1:].sum())


def conditions(operators: ComplexArray) -> NDArray[np.float64]:
    """By how much un-applying each matrix can amplify rounding errors: 1 if it is unitary.

    Args:
        operators: Shape ``(B, D, D)``.

    Example:
        >>> conditions(np.array([np.eye(2), np.diag([1, 0.8]), np.diag([1, 0])])).tolist()
        [1.0, 1.25, inf]
    """
    values = np.linalg.svd(operators, compute_uv=False)
    smallest = np.where(values[:, -1] > _ROUNDING * values[:, 0], values[:, -1], 0.0)
    with np.errstate(divide="ignore"):
        found: NDArray[np.float64] = values[:, 0] / smallest
    return np.where(found < 1 + 100 * _ROUNDING, 1.0, found)


@lru_cache(maxsize=4096)
def branches(channel: Channel) -> Branches:
    """The branches of a channel.

    Mixtures of Pauli operators have these as their branches, other channels their Kraus operators;
    those that are proportional to the identity are merged.

    Raises:
        ValueError: The channel acts on more than two qubits.
    """
    k = channel.num_qubits
    if k > 2:
        raise ValueError(
            f"a channel acts on {k} qubits, but trajectories take channels on one or two; "
            "write it as several smaller ones"
        )
    mixture = channel.pauli_probabilities
    if mixture is not None:
        kept = mixture > 0
        digits = [np.arange(4**k) // 4**q % 4 for q in range(k)]
        found = Branches(mixture[kept], tuple(paulis(1)[d[kept]] for d in digits))
    else:
        found = _of_kraus(channel.kraus_operators, k)
    order = np.argsort(-found.probabilities, kind="stable")
    probabilities = found.probabilities[order]
    return Branches(probabilities / probabilities.sum(), tuple(o[order] for o in found.operators))


def _of_kraus(kraus: tuple[ComplexArray, ...], num_qubits: int) -> Branches:
    one = np.eye(2**num_qubits)
    identity = 0.0
    probabilities, operators = [], []
    for operator in kraus:
        weight = float((abs(operator) ** 2).sum()) / len(one)
        if abs(operator - operator[0, 0] * one).max() <= _ROUNDING:
            identity += weight
        elif weight > 0:
            probabilities.append(weight)
            operators.append(operator / np.sqrt(weight))
    if identity:
        probabilities.append(identity)
        operators.append(one.astype(complex))
    stacked = np.array(operators)
    parts = _as_products(stacked) if num_qubits == 2 else (stacked,)
    return Branches(np.array(probabilities), parts)


def _as_products(operators: ComplexArray) -> tuple[ComplexArray, ...]:
    """Matrices (B, 4, 4) as matrices on the two qubits, if all of them are products."""
    # rows and columns of the second qubit against those of the first
    grid = operators.reshape(-1, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 4, 4)
    left, values, right = np.linalg.svd(grid)
    if (values[:, 1] > _ROUNDING * values[:, 0]).any():
        return (operators,)
    # K / sqrt(q) has the square norm 4: 2 for each part
    second = (left[:, :, 0] * np.sqrt(values[:, :1])).reshape(-1, 2, 2)
    first = (right[:, 0] * np.sqrt(values[:, :1])).reshape(-1, 2, 2)
    return first, second
