"""Readout errors: how often each outcome is read as another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .pauli_basis import FloatArray


@dataclass(frozen=True)
class Confusion:
    """How often what is there is read as something else, on one qubit or on several together.

    Attributes:
        qubits: The qubits that are read; ``()`` stands for every qubit that has no other
            confusion in the same model, each by itself.
        matrix: ``matrix[read][prepared]`` is the probability to read one bitstring after preparing
            another; columns sum to 1, and the first qubit is the least significant bit.

    Raises:
        ValueError: Entries are not between 0 and 1, columns do not sum to 1, the shape does not fit
            the number of qubits, or a qubit is listed twice.

    Example:
        >>> Confusion.flips(0, read_1_after_0=0.01, read_0_after_1=0.03).matrix
        ((0.99, 0.03), (0.01, 0.97))
    """

    qubits: tuple[int, ...]
    matrix: tuple[tuple[float, ...], ...]

    if TYPE_CHECKING:  # what may be given is more than what is kept

        def __init__(
            self, qubits: Sequence[int], matrix: Sequence[Sequence[float]] | FloatArray
        ) -> None: ...

    def __post_init__(self) -> None:
        rows = tuple(tuple(float(x) for x in row) for row in self.matrix)
        object.__setattr__(self, "qubits", tuple(int(q) for q in self.qubits))
        object.__setattr__(self, "matrix", rows)
        if len(set(self.qubits)) != len(self.qubits) or any(q < 0 for q in self.qubits):
            raise ValueError(
                f"{self.what} lists a qubit twice or a negative one: give distinct qubits"
            )
        size = 2 ** max(1, len(self.qubits))
        if len(rows) != size or any(len(row) != size for row in rows):
            raise ValueError(
                f"{self.what} has {len(rows)} rows of {[len(row) for row in rows]} entries: give "
                f"{size} rows of {size} entries, matrix[read][prepared]"
            )
        for read, row in enumerate(rows):
            for prepared, p in enumerate(row):
                if not 0 <= p <= 1:
                    raise ValueError(
                        f"{self.what} has probability {p:g} to read {read} after preparing "
                        f"{prepared}: give numbers between 0 and 1"
                    )
        for prepared in range(size):
            total = math.fsum(row[prepared] for row in rows)
            if abs(total - 1) > 1e-8:
                raise ValueError(
                    f"{self.what}: the probabilities of all outcomes after preparing {prepared} "
                    f"sum to {total:.9g}, not 1 (columns of matrix[read][prepared] sum to 1)"
                )

    @classmethod
    def flips(cls, qubit: int | None, *, read_1_after_0: float, read_0_after_1: float) -> Confusion:
        """The readout of one qubit, or of every qubit (None)."""
        p10, p01 = float(read_1_after_0), float(read_0_after_1)
        qubits = () if qubit is None else (qubit,)
        return cls(qubits, ((1 - p10, p01), (p10, 1 - p01)))

    @property
    def what(self) -> str:
        """Its name in messages: ``"readout of 0-1"``."""
        return f"readout of {'-'.join(map(str, self.qubits)) or 'any qubit'}"

    @property
    def array(self) -> FloatArray:
        """The matrix as an array, ``[read, prepared]``."""
        return np.array(self.matrix)

    @property
    def mean_error(self) -> float:
        """The probability to read something else, averaged over what is prepared."""
        return 1.0 - sum(self.matrix[k][k] for k in range(len(self.matrix))) / len(self.matrix)

    def moved(self, qubits: Sequence[int]) -> Confusion:
        """The same readout on other qubits."""
        return Confusion(tuple(qubits), self.matrix)

    def scaled(self, strength: float) -> Confusion:
        """All probabilities to read something else, times the strength.

        Raises:
            ValueError: The probability to read what is there would be negative, or the strength is.

        Example:
            >>> Confusion.flips(0, read_1_after_0=0.01, read_0_after_1=0.03).scaled(2).matrix
            ((0.98, 0.06), (0.02, 0.94))
        """
        t = float(strength)
        if not 0 <= t < math.inf:
            raise ValueError(f"strength is {strength}: give a finite number, 0 or more")
        if t == 1:
            return self
        matrix = t * self.array
        np.fill_diagonal(matrix, 0.0)
        kept = 1.0 - matrix.sum(axis=0)
        if (kept < -1e-10).any():
            prepared = int(kept.argmin())
            raise ValueError(
                f"{self.what} at strength {t:g}: it would be wrong with probability "
                f"{1 - kept[prepared]:.6g} after preparing {prepared}; use a smaller strength"
            )
        np.fill_diagonal(matrix, np.maximum(kept, 0.0))
        return Confusion(self.qubits, tuple(map(tuple, matrix.tolist())))
