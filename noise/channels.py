"""Channels: noise on a few qubits, with a strength that can be turned up and down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .channel_checks import (
    ROUNDING,
    TOLERANCE,
    check_ptm,
    clean_probabilities,
    letters,
    width_of,
)
from .pauli_basis import (
    ComplexArray,
    FloatArray,
    embedded,
    infidelity,
    kraus_of_ptm,
    paulis,
    ptm_of_superop,
    signs,
    superop_of_kraus,
)

KINDS = ("pauli", "depolarizing", "relaxation", "dephasing", "general")


@dataclass(frozen=True)
class Channel:
    """A noise process on some qubits: completely positive and trace preserving, with a strength.

    Make one with a classmethod: `pauli`, `depolarizing`, `relaxation`, `dephasing`, `kraus`,
    `superop` or `from_ptm`. The first qubit is the least significant bit of a matrix index.

    The channel itself has strength 1. At strength T, `scaled` gives

    - a Pauli channel with its probabilities times T;
    - depolarising, relaxation and dephasing with their rate (or time) times T, so that
      ``1 - p``, ``1 - gamma`` and ``1 - lam`` are raised to the power T;
    - any other one as ``1 + T (E - 1)``.

    At T = 0 all are exactly the identity.

    Attributes:
        num_qubits: Number of qubits, ``k``.
        kind: ``"pauli"``, ``"depolarizing"``, ``"relaxation"``, ``"dephasing"`` or ``"general"``.
        parameters: Of ``"pauli"``, the probabilities of all ``4**k`` Pauli operators (digits I, X,
            Y, Z = 0, 1, 2, 3, the first qubit least significant); of ``"depolarizing"``,
            ``"relaxation"`` and ``"dephasing"`` the one parameter p, gamma or lam; of
            ``"general"`` the Pauli transfer matrix, row by row.

    Raises:
        ValueError: It is not completely positive or not trace preserving (the message says by how
            much), a probability is not between 0 and 1, or a value is no number.

    Example:
        >>> channel = Channel.relaxation(0.1)
        >>> channel
        Channel.relaxation(0.1)
        >>> channel.ptm.round(3).tolist()[3]  # <Z> goes to 0.1 + 0.9 <Z>
        [0.1, 0.0, 0.0, 0.9]
        >>> channel.scaled(2)  # twice the time
        Channel.relaxation(0.19)
        >>> channel.scaled(0).ptm.tolist() == np.eye(4).tolist()
        True
    """

    num_qubits: int
    kind: str
    parameters: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a channel's kind is one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.num_qubits < 1:
            raise ValueError(f"a channel acts on 1 qubit or more, not {self.num_qubits}")
        values = tuple(float(x) for x in self.parameters)
        sizes = {"pauli": 4**self.num_qubits, "general": 16**self.num_qubits}
        if len(values) != sizes.get(self.kind, 1):
            raise ValueError(
                f"a {self.kind} channel on {self.num_qubits} qubits has "
                f"{sizes.get(self.kind, 1)} parameters, not {len(values)}"
            )
        if self.kind in ("relaxation", "dephasing") and self.num_qubits != 1:
            raise ValueError(f"a {self.kind} channel acts on 1 qubit, not {self.num_qubits}")
        if not all(map(math.isfinite, values)):
            raise ValueError(
                f"a {self.kind} channel has the parameter "
                f"{next(x for x in values if not math.isfinite(x))}: give finite numbers"
            )
        object.__setattr__(self, "parameters", values)
        if self.kind == "pauli":
            object.__setattr__(self, "parameters", clean_probabilities(values, self.num_qubits))
        elif self.kind == "general":
            check_ptm(np.reshape(values, (4**self.num_qubits,) * 2), self.num_qubits)
        else:
            name = {"depolarizing": "p", "relaxation": "gamma", "dephasing": "lam"}[self.kind]
            top = 1.0
            if self.kind == "depolarizing":
                top = 4**self.num_qubits / (4**self.num_qubits - 1)
            if not 0 <= values[0] <= top * (1 + 1e-15):
                raise ValueError(
                    f"{self.kind} channel with {name} = {values[0]:g}: give a number between 0 "
                    f"and {top:g}"
                )

    @classmethod
    def pauli(cls, probabilities: Mapping[str, float]) -> Channel:
        """Pauli operators with given probabilities; what is left over is the identity's.

        Args:
            probabilities: By Pauli string, read right to left: ``"IX"`` is X on the first qubit.

        Raises:
            ValueError: A string is no Pauli string or has another length than the others, or the
                probabilities are not between 0 and 1, with a sum of at most 1.

        Example:
            >>> Channel.pauli({"X": 0.01, "Z": 0.02}).ptm.diagonal().round(3).tolist()
            [1.0, 0.96, 0.94, 0.98]
        """
        lengths = {len(s) for s in probabilities}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError(
                f"a Pauli channel takes strings of one length such as {{'IX': 0.01}}, not "
                f"{list(probabilities)}"
            )
        (k,) = lengths
        values = [0.0] * 4**k
        for string, probability in probabilities.items():
            if set(string) - set("IXYZ"):
                raise ValueError(f"{string!r} is not a Pauli string: use the letters I, X, Y, Z")
            values[sum("IXYZ".index(s) * 4**q for q, s in enumerate(reversed(string)))] += float(
                probability
            )
        if "I" * k not in probabilities:
            values[0] = 1.0 - math.fsum(values)
        return cls(k, "pauli", tuple(values))

    @classmethod
    def depolarizing(cls, p: float, num_qubits: int = 1) -> Channel:
        """``rho -> (1 - p) rho + p I / d``, with ``0 <= p <= d**2 / (d**2 - 1)``, ``d = 2**k``.

        Example:
            >>> Channel.depolarizing(0.1).ptm.diagonal().tolist()
            [1.0, 0.9, 0.9, 0.9]
        """
        return cls(num_qubits, "depolarizing", (p,))

    @classmethod
    def relaxation(cls, gamma: float) -> Channel:
        """Amplitude damping to state 0: ``gamma = 1 - exp(-t / T1)`` is the chance to decay.

        Example:
            >>> [k.real.round(3).tolist() for k in Channel.relaxation(0.19).kraus_operators]
            [[[1.0, 0.0], [0.0, 0.9]], [[0.0, 0.436], [0.0, 0.0]]]
        """
        return cls(1, "relaxation", (gamma,))

    @classmethod
    def dephasing(cls, lam: float) -> Channel:
        """Pure dephasing: coherences times ``1 - lam``, ``lam = 1 - exp(-t / Tphi)``.

        ``1 / Tphi = 1 / T2 - 1 / (2 T1)``. The same as Z with probability ``lam / 2``.

        Example:
            >>> Channel.dephasing(0.25).ptm.diagonal().tolist()
            [1.0, 0.75, 0.75, 1.0]
        """
        return cls(1, "dephasing", (lam,))

    @classmethod
    def kraus(cls, matrices: Sequence[ArrayLike]) -> Channel:
        """The sum of ``K rho K^dagger``; matrices of shape ``(2**k, 2**k)``.

        Raises:
            ValueError: Matrices of the wrong shape, or the sum of ``K^dagger K`` is not 1.

        Example:
            >>> y = [[0, -1j], [1j, 0]]
            >>> Channel.kraus([np.sqrt(0.75) * np.eye(2), np.sqrt(0.25) * np.array(y)])
            Channel.pauli({'Y': 0.25})
        """
        operators = [np.asarray(m, dtype=complex) for m in matrices]
        if not operators:
            raise ValueError("a channel has at least one Kraus operator: give a list of matrices")
        k = width_of(operators[0], "a Kraus operator", 2)
        for operator in operators:
            if operator.shape != (2**k, 2**k):
                raise ValueError(
                    f"Kraus operators have the shapes {operators[0].shape} and {operator.shape}: "
                    f"give matrices of one shape"
                )
        total = sum(o.conj().T @ o for o in operators)
        if not (off := float(np.abs(total - np.eye(2**k)).max())) <= TOLERANCE:
            raise ValueError(
                f"the Kraus operators are not trace preserving: the sum of K^dagger K differs "
                f"from 1 by {off:.2g}; scale them, or add what is missing"
            )
        return cls.superop(superop_of_kraus(operators))

    @classmethod
    def superop(cls, matrix: ArrayLike) -> Channel:
        """From a superoperator on stacked columns, shape ``(4**k, 4**k)``: Qiskit's `SuperOp`.

        Example:
            >>> from qiskit.quantum_info import SuperOp
            >>> Channel.superop(SuperOp(np.eye(4)).data)
            Channel.pauli({'I': 1})
        """
        given = np.asarray(matrix, dtype=complex)
        k = width_of(given, "a superoperator", 4)
        ptm = ptm_of_superop(given, k)
        if not (off := float(np.abs(ptm.imag).max())) <= TOLERANCE:
            raise ValueError(
                f"the superoperator does not take Hermitian matrices to Hermitian ones: its Pauli "
                f"transfer matrix has an imaginary part of {off:.2g}"
            )
        return cls.from_ptm(ptm.real)

    @classmethod
    def from_ptm(cls, matrix: ArrayLike) -> Channel:
        """From a Pauli transfer matrix, shape ``(4**k, 4**k)``; a diagonal one is a Pauli channel.

        Entry ``[i, j]`` is ``tr(P_i E(P_j)) / 2**k``.

        Example:
            >>> Channel.from_ptm(np.diag([1, 0.8, 0.8, 1]))
            Channel.pauli({'Z': 0.1})
        """
        ptm = np.asarray(matrix, dtype=float)
        k = width_of(ptm, "a Pauli transfer matrix", 4)
        check_ptm(ptm, k)
        if np.abs(ptm - np.diag(ptm.diagonal())).max() < 1e-14:
            return pauli_of_diagonal(ptm.diagonal(), k)
        ptm = ptm.copy()
        ptm[0] = 0.0
        ptm[0, 0] = 1.0
        return cls(k, "general", tuple(ptm.ravel().tolist()))

    @property
    def is_identity(self) -> bool:
        """True if it does nothing at all."""
        return bool((self.ptm == np.eye(len(self.ptm))).all())

    @cached_property
    def ptm(self) -> FloatArray:
        """The Pauli transfer matrix, float64, shape ``(4**k, 4**k)``; not to be written to."""
        size = 4**self.num_qubits
        if self.kind == "general":
            found = np.reshape(self.parameters, (size, size))
        elif self.kind == "pauli":
            diagonal = signs(self.num_qubits) @ np.asarray(self.parameters)
            diagonal[0] = 1.0  # the probabilities sum to it up to rounding
            found = np.diag(diagonal)
        elif self.kind == "depolarizing":
            found = np.diag([1.0] + [1.0 - self.parameters[0]] * (size - 1))
        elif self.kind == "relaxation":
            kept = 1.0 - self.parameters[0]
            found = np.diag([1.0, math.sqrt(kept), math.sqrt(kept), kept])
            found[3, 0] = self.parameters[0]
        else:
            kept = 1.0 - self.parameters[0]
            found = np.diag([1.0, kept, kept, 1.0])
        found.setflags(write=False)
        return found

    @cached_property
    def pauli_probabilities(self) -> FloatArray | None:
        """The probability of each of the ``4**k`` Pauli operators; None if it is no mixture."""
        if self.kind == "pauli":
            return np.asarray(self.parameters)
        if self.kind == "dephasing":
            (lam,) = self.parameters
            return np.array([1 - lam / 2, 0.0, 0.0, lam / 2])
        if self.kind == "depolarizing":
            size = 4**self.num_qubits
            share = self.parameters[0] / size
            return np.array([1 - share * (size - 1)] + [share] * (size - 1))
        return None

    @cached_property
    def kraus_operators(self) -> tuple[ComplexArray, ...]:
        """Kraus operators, complex128, shape ``(2**k, 2**k)`` each; none of them is zero.

        Pauli mixtures have weighted Pauli matrices in the order of the Pauli basis, relaxation
        ``diag(1, sqrt(1 - gamma))`` and ``sqrt(gamma) |0><1|``; general channels the eigenvectors
        of the Choi matrix, the largest first.
        """
        if (mixture := self.pauli_probabilities) is not None:
            every = paulis(self.num_qubits)
            return tuple(math.sqrt(p) * every[j] for j, p in enumerate(mixture) if p > 0)
        if self.kind == "relaxation":
            (gamma,) = self.parameters
            kept: ComplexArray = np.diag([1.0, math.sqrt(1 - gamma)]).astype(complex)
            if gamma == 0:
                return (kept,)
            decayed: ComplexArray = np.array([[0, math.sqrt(gamma)], [0, 0]], dtype=complex)
            return kept, decayed
        return kraus_of_ptm(self.ptm, self.num_qubits)

    def scaled(self, strength: float, clip: bool = False) -> Channel:
        """The channel at another strength; see the class for what that means for each kind.

        Args:
            strength: 0 leaves no noise at all, 1 leaves it as it is.
            clip: Whether a Pauli channel whose errors would sum to more than 1 is taken at the
                largest strength at which they sum to 1 instead of being an error.

        Raises:
            ValueError: The strength is negative or not a number, probabilities would leave [0, 1],
                or the result would not be completely positive.

        Example:
            >>> Channel.pauli({"X": 0.4}).scaled(2)
            Channel.pauli({'X': 0.8})
            >>> Channel.pauli({"X": 0.4}).scaled(3)
            Traceback (most recent call last):
                ...
            ValueError: Pauli channel at strength 3: the probabilities of errors sum to 1.2, which \
is more than 1; use a strength up to 2.5
            >>> Channel.pauli({"X": 0.3, "Z": 0.1}).scaled(3, clip=True)
            Channel.pauli({'X': 0.75, 'Z': 0.25})
        """
        t = float(strength)
        if not 0 <= t < math.inf:
            raise ValueError(f"strength is {strength}: give a finite number, 0 or more")
        if t == 1:
            return self
        if self.kind == "pauli":
            errors = [t * p for p in self.parameters[1:]]
            total = math.fsum(errors)
            if clip and total > 1:
                errors, total = [p / total for p in errors], 1.0
            if total > 1 + ROUNDING:
                raise ValueError(
                    f"Pauli channel at strength {t:g}: the probabilities of errors sum to "
                    f"{total:.6g}, which is more than 1; use a strength up to {t / total:.6g}"
                )
            return Channel(self.num_qubits, "pauli", (max(0.0, 1 - total), *errors))
        if self.kind == "general":
            one = np.eye(len(self.ptm))
            try:
                return Channel.from_ptm(one + t * (self.ptm - one))
            except ValueError as error:
                raise ValueError(f"channel at strength {t:g}: {error}") from error
        (p,) = self.parameters
        if p < 1:
            return Channel(self.num_qubits, self.kind, (-math.expm1(t * math.log1p(-p)),))
        if t == 0:
            return Channel(self.num_qubits, self.kind, (0.0,))
        if p > 1:
            raise ValueError(
                f"depolarizing channel with p = {p:.6g}, above 1, has no strength {t:g}: only 0 "
                f"and 1"
            )
        return self

    def ptm_at(self, strength: float) -> FloatArray:
        """The Pauli transfer matrix of ``scaled(strength)``."""
        return self.scaled(strength).ptm

    def ptm_slope_at(self, strength: float) -> FloatArray:
        """The derivative of ``ptm_at(T)`` with respect to T, at a strength.

        Raises:
            ValueError: A rate is infinite (p, gamma or lam is 1 or more), so that the derivative
                at 0 does not exist, or as in `scaled`.

        Example:
            >>> slope = Channel.dephasing(0.1).ptm_slope_at(0)
            >>> round(float(slope[1, 1]), 4)  # the logarithm of 0.9
            -0.1054
        """
        size = 4**self.num_qubits
        if self.kind in ("pauli", "general"):
            self.scaled(strength)  # checks
            return self.ptm - np.eye(size)
        (p,) = self.parameters
        if p >= 1:
            raise ValueError(
                f"{self} has an infinite rate, so its derivative by the strength does not exist: "
                f"give a parameter below 1"
            )
        now, rate = self.scaled(strength).ptm, math.log1p(-p)
        slope = np.zeros((size, size))
        if self.kind == "depolarizing":
            np.fill_diagonal(slope, [0.0, *(rate * now.diagonal()[1:])])
        elif self.kind == "dephasing":
            slope[1, 1] = slope[2, 2] = rate * now[1, 1]
        else:
            slope[1, 1] = slope[2, 2] = rate / 2 * now[1, 1]
            slope[3, 3] = rate * now[3, 3]
            slope[3, 0] = -slope[3, 3]
        return slope

    def ptm_slope(self) -> FloatArray:
        """``ptm_slope_at(1)``.

        For rates, the slope at strength T is that of ``scaled(T)`` at 1, divided by T; for Pauli
        and general channels it does not depend on the strength.
        """
        return self.ptm_slope_at(1.0)

    def twirled(self) -> Channel:
        """The Pauli twirl: the mean over ``P E(P rho P) P``, a Pauli channel.

        Its Pauli transfer matrix is the diagonal of this one's.

        Example:
            >>> Channel.relaxation(0.19).twirled()
            Channel.pauli({'X': 0.0475, 'Y': 0.0475, 'Z': 0.0025})
        """
        if self.kind == "pauli":
            return self
        return pauli_of_diagonal(self.ptm.diagonal(), self.num_qubits)

    def compose(self, other: Channel) -> Channel:
        """This channel, then another on the same qubits.

        Raises:
            ValueError: They act on different numbers of qubits.

        Example:
            >>> Channel.pauli({"X": 0.5}).compose(Channel.pauli({"X": 0.5}))
            Channel.pauli({'X': 0.5})
        """
        if other.num_qubits != self.num_qubits:
            raise ValueError(
                f"channels on {self.num_qubits} and {other.num_qubits} qubits cannot follow each "
                f"other: extend the smaller with `tensor`"
            )
        return Channel.from_ptm(other.ptm @ self.ptm)

    def tensor(self, other: Channel) -> Channel:
        """This channel on the first qubits, and another on the next.

        Example:
            >>> Channel.pauli({"X": 0.1}).tensor(Channel.pauli({"Z": 0.0}))
            Channel.pauli({'IX': 0.1})
        """
        return Channel.from_ptm(np.kron(other.ptm, self.ptm))

    @property
    def infidelity(self) -> float:
        """1 - average gate fidelity with the identity (Nielsen, Phys. Lett. A 303, 249, 2002)."""
        return infidelity(self.ptm)

    def __repr__(self) -> str:
        if self.kind == "pauli":
            terms = {
                letters(j, self.num_qubits): p
                for j, p in enumerate(self.parameters)
                if p and (j or p == 1)
            }
            inside = ", ".join(f"{s!r}: {p:.6g}" for s, p in terms.items())
            return f"Channel.pauli({{{inside}}})"
        if self.kind == "general":
            return (
                f"Channel.from_ptm(<{self.num_qubits} qubit{'s' * (self.num_qubits > 1)}, "
                f"infidelity {self.infidelity:.3g}>)"
            )
        width = f", {self.num_qubits}" if self.num_qubits > 1 else ""
        return f"Channel.{self.kind}({self.parameters[0]:.6g}{width})"

    def __getstate__(self) -> dict[str, Any]:
        # without what is cached
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def pauli_of_diagonal(diagonal: FloatArray, num_qubits: int) -> Channel:
    """The Pauli channel with this diagonal of its Pauli transfer matrix."""
    # summed over what is missing to 1, so that small errors keep their digits
    errors = -(signs(num_qubits) @ (1.0 - diagonal))[1:] / 4**num_qubits
    first = 1.0 - math.fsum(errors)
    return Channel(num_qubits, "pauli", (first, *errors.tolist()))


def total_ptm(parts: Sequence[tuple[Channel, Sequence[int]]], num_qubits: int) -> FloatArray:
    """The Pauli transfer matrix of channels one after the other, each on some of the qubits.

    Args:
        parts: Channels with the qubits that they act on, the first one first.
        num_qubits: How many qubits there are.
    """
    total = np.eye(4**num_qubits)
    for channel, on in parts:
        total = embedded(channel.ptm, on, num_qubits) @ total
    return total
