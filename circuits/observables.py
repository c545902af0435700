"""What is measured at a circuit's end: expectation values of Pauli sums, or all probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.quantum_info import Pauli, SparsePauliOp

ObservableLike: TypeAlias = str | Pauli | SparsePauliOp
"""A Pauli string, a Qiskit `Pauli` or a `SparsePauliOp`.

A string such as ``"IZ"`` is read right to left: Z on qubit 0.
"""


@dataclass(frozen=True)
class Observables:
    """A measurement of a circuit: one output per Pauli sum, or one per basis state.

    Attributes:
        num_qubits: Width of the circuit.
        sums: One tuple of ``(Pauli string, coefficient)`` per output, or ``None`` for all
            ``2**num_qubits`` probabilities (column ``i`` is basis state ``i``, qubit 0 the least
            significant bit).

    Example:
        >>> Observables.parse(["ZI", SparsePauliOp(["XX", "IZ"], [0.5, 2.0])], num_qubits=2).sums
        ((('ZI', 1.0),), (('XX', 0.5), ('IZ', 2.0)))
        >>> Observables.parse(None, num_qubits=2).sums
        ((('IZ', 1.0),), (('ZI', 1.0),))
    """

    num_qubits: int
    sums: tuple[tuple[tuple[str, float], ...], ...] | None

    @classmethod
    def parse(
        cls, given: Sequence[ObservableLike] | ObservableLike | None, num_qubits: int
    ) -> Observables:
        """Read the user's ``observables=``.

        Args:
            given: ``None`` (Z on each qubit), ``"probs"``, one observable or a list.
            num_qubits: Width of the circuit.

        Raises:
            ValueError: Wrong width, an empty list, a bad Pauli string, or an observable that is not
                Hermitian.
            TypeError: Something that is not an observable.
        """
        if given is None:
            strings = ["I" * (num_qubits - 1 - q) + "Z" + "I" * q for q in range(num_qubits)]
            return cls(num_qubits, tuple(((s, 1.0),) for s in strings))
        if isinstance(given, str) and given == "probs":
            return cls(num_qubits, None)
        if isinstance(given, (str, Pauli, SparsePauliOp)) or not isinstance(given, Iterable):
            given = [given]
        items = list(given)
        if not items:
            raise ValueError("observables is empty: give at least one, or None for Z on each qubit")
        return cls(num_qubits, tuple(_parse_sum(item, num_qubits) for item in items))

    @property
    def num_outputs(self) -> int:
        """Number of output columns."""
        return 2**self.num_qubits if self.sums is None else len(self.sums)

    @cached_property
    def strings(self) -> tuple[str, ...]:
        """The distinct Pauli strings over all sums, in order of appearance."""
        return tuple(dict.fromkeys(s for terms in self.sums or () for s, _ in terms))

    @cached_property
    def coefficients(self) -> NDArray[np.float64]:
        """What each string adds to each output, shape ``(num_outputs, len(strings))``.

        The outputs are ``coefficients @ expectations of strings``.
        """
        matrix = np.zeros((self.num_outputs, len(self.strings)))
        for k, terms in enumerate(self.sums or ()):
            for string, coefficient in terms:
                matrix[k, self.strings.index(string)] += coefficient
        return matrix

    @cached_property
    def groups(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Strings that one measurement serves: ``(basis per qubit, indices into strings)``.

        Grouped greedily and qubit-wise. All strings of a group read the same bitstrings, as on a
        device.
        """
        groups: list[tuple[str, list[int]]] = []
        for index, string in enumerate(self.strings):
            for k, (basis, members) in enumerate(groups):
                if all(a == b or "I" in (a, b) for a, b in zip(basis, string, strict=True)):
                    merged = "".join(
                        b if a == "I" else a for a, b in zip(basis, string, strict=True)
                    )
                    groups[k] = (merged, [*members, index])
                    break
            else:
                groups.append((string, [index]))
        return tuple((basis, tuple(members)) for basis, members in groups)


def _parse_sum(item: ObservableLike, num_qubits: int) -> tuple[tuple[str, float], ...]:
    if isinstance(item, str):
        if not item or set(item) - set("IXYZ"):
            raise ValueError(
                f"observable {item!r} is not a Pauli string: use the letters I, X, Y, Z, or 'probs'"
            )
        terms = [(item, 1.0 + 0j)]
    elif isinstance(item, (Pauli, SparsePauliOp)):
        terms = [(s, complex(c)) for s, c in SparsePauliOp(item).simplify(atol=0, rtol=0).to_list()]
    else:
        raise TypeError(
            "an observable is a Pauli string, a Pauli or a SparsePauliOp, "
            f"not {type(item).__name__}"
        )
    for string, coefficient in terms:
        if len(string) != num_qubits:
            raise ValueError(
                f"observable {string!r} acts on {len(string)} qubits, "
                f"but the circuit has {num_qubits}"
            )
        if abs(coefficient.imag) > 1e-12 * max(1.0, abs(coefficient)):
            raise ValueError(
                f"observable is not Hermitian: {string!r} has the coefficient {coefficient}; "
                "coefficients must be real"
            )
    return tuple((s, c.real) for s, c in terms)
