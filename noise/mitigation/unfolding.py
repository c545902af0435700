"""Undoing readout errors: on observables, and on probabilities of any number of bits.

No matrix of size ``2**n`` is ever made: confusions act on one group of bits at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nisqkit.circuits.observables import Observables

from ..readout import read_through

Readout = tuple[tuple[int, ...], NDArray[np.float64]]
"""Bits, the first one least significant, and their confusion matrix ``[read, prepared]``."""

_WORST = 1e3
"""Condition number beyond which a confusion matrix is taken for singular."""


def check_invertible(readout: Sequence[Readout], names: Sequence[int]) -> None:
    """Refuse readouts that cannot be undone.

    Args:
        readout: The confusions.
        names: What the message calls each bit: its physical qubit.

    Raises:
        ValueError: What is read hardly depends on what is there.
    """
    for bits, matrix in readout:
        condition = float(np.linalg.cond(matrix))
        if not condition <= _WORST:
            qubits = [names[b] for b in bits]
            which = f"qubit {qubits[0]}" if len(qubits) == 1 else f"qubits {qubits}"
            raise ValueError(
                f"the readout of {which} cannot be undone: what is read hardly depends on what is "
                f"there (columns of the confusion matrix {matrix.T.round(4).tolist()}, condition "
                f"number {condition:.3g}); measure other qubits (layout=...), or leave "
                "ReadoutMitigation out"
            )


def inverted(readout: Sequence[Readout]) -> list[Readout]:
    """The inverse of each matrix."""
    return [(bits, np.asarray(np.linalg.inv(matrix), np.float64)) for bits, matrix in readout]


def inverse_observables(observables: Observables, readout: Sequence[Readout]) -> Observables:
    """The observables whose values, as they are read, are those of the given ones.

    A product of k operators Z becomes up to ``2**k`` strings, all of which the same bits give.

    Example:
        >>> readout = [((0,), np.array([[0.9, 0.2], [0.1, 0.8]]))]
        >>> found = inverse_observables(Observables.parse("Z", 1), readout)
        >>> [(string, round(c, 4)) for string, c in found.sums[0]]  # (Z - 0.1) / 0.7
        [('I', -0.1429), ('Z', 1.4286)]
    """
    assert observables.sums is not None
    inverses = inverted(readout)
    sums = []
    for terms in observables.sums:
        merged = dict.fromkeys(string for string, _ in terms)
        total: dict[str, float] = {}
        for string in merged:
            part = {string: sum(c for s, c in terms if s == string)}
            for bits, inverse in inverses:
                grown: dict[str, float] = {}
                for term, coefficient in part.items():
                    for seen, factor in read_through(term, bits, inverse).items():
                        grown[seen] = grown.get(seen, 0.0) + coefficient * factor
                part = grown
            for seen, coefficient in part.items():
                total[seen] = total.get(seen, 0.0) + coefficient
        sums.append(tuple(total.items()))
    return Observables(observables.num_qubits, tuple(sums))


def through(probabilities: Tensor, readout: Sequence[Readout]) -> Tensor:
    """Probabilities through matrices on groups of bits.

    Args:
        probabilities: Shape ``(batch, 2**n)``, bit k of a column's number is bit k.
        readout: The matrices.
    """
    batch, n = len(probabilities), probabilities.shape[1].bit_length() - 1
    table = probabilities
    for bits, matrix in readout:
        m = torch.as_tensor(matrix).to(table)
        if len(bits) == 1:  # the usual case, without moving axes
            (b,) = bits
            view = table.reshape(batch, 2 ** (n - 1 - b), 2, 2**b)
            low, high = view[:, :, 0], view[:, :, 1]
            table = torch.stack(
                [m[0, 0] * low + m[0, 1] * high, m[1, 0] * low + m[1, 1] * high], dim=2
            ).reshape(batch, 2**n)
            continue
        axes = [n - b for b in reversed(bits)]  # axis n - b is bit b
        rest = [axis for axis in range(n + 1) if axis not in axes]
        front = table.reshape(batch, *[2] * n).permute(*axes, *rest)
        mixed = (m @ front.reshape(len(m), -1)).reshape(front.shape)
        back = [(axes + rest).index(axis) for axis in range(n + 1)]
        table = mixed.permute(*back).reshape(batch, 2**n)
    return table


def undone(probabilities: Tensor, readout: Sequence[Readout]) -> Tensor:
    """The exact inverse: sums to 1, and may have negative entries."""
    return through(probabilities, inverted(readout))


def nearest_distribution(values: Tensor) -> Tensor:
    """The probabilities nearest to each row, in the Euclidean distance; rows must sum to 1.

    Source: Smolin, Gambetta, Smith, Phys. Rev. Lett. 108, 070502 (2012).

    Example:
        >>> nearest_distribution(torch.tensor([[0.7, 0.4, -0.1]]))
        tensor([[0.6500, 0.3500, 0.0000]])
    """
    ordered = values.detach().sort(dim=1, descending=True).values
    surplus = ordered.cumsum(dim=1) - 1
    count = torch.arange(1, values.shape[1] + 1).to(values)
    kept = (ordered * count > surplus).sum(dim=1, keepdim=True)
    inside = values >= ordered.gather(1, kept - 1)
    total = torch.where(inside, values, torch.zeros_like(values)).sum(dim=1, keepdim=True)
    shift = (total - 1) / inside.sum(dim=1, keepdim=True)
    return torch.where(inside, values - shift, torch.zeros_like(values))


def bayes(probabilities: Tensor, readout: Sequence[Readout], iterations: int) -> Tensor:
    """Iterative Bayesian unfolding, from the uniform distribution; never negative.

    Source: D'Agostini, Nucl. Instrum. Methods A 362, 487 (1995); for qubits Nachman et al., npj
    Quantum Inf. 6, 84 (2020).
    """
    transposed = [(bits, matrix.T) for bits, matrix in readout]
    found = torch.full_like(probabilities, 1 / probabilities.shape[1])
    for _ in range(iterations):
        expected = through(found, readout).clamp_min(1e-30)
        found = found * through(probabilities / expected, transposed)
    return found


def expectations(probabilities: Tensor, observables: Observables) -> Tensor:
    """Values of observables in the letters I and Z, shape ``(batch, num_outputs)``."""
    assert observables.sums is not None
    batch, n = len(probabilities), observables.num_qubits
    by_string: dict[str, Tensor] = {}
    for string in observables.strings:
        table = probabilities
        for letter in string:  # the highest bit first
            half = table.reshape(batch, 2, -1)
            table = half[:, 0] - half[:, 1] if letter == "Z" else half[:, 0] + half[:, 1]
        by_string[string] = table[:, 0]
    assert n == len(observables.strings[0])
    columns = []
    for terms in observables.sums:
        columns.append(sum((c * by_string[s] for s, c in terms), probabilities.new_zeros(batch)))
    return torch.stack(columns, dim=1)
