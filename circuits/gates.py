"""The gate table: every gate that the engines know is one record of data.

A gate is a product of *factors*, applied in the order listed. A factor is either a fixed unitary or
``exp(i * angle * G)`` with a Hermitian generator ``G`` whose eigenvalues lie in ``{0, +s, -s}``, so
that

    exp(i a G) = (I - G^2/s^2) + cos(s a) G^2/s^2 + i sin(s a) G/s

Matrix, derivative and parameter-shift rule all follow from the factors; nothing is written twice.

Conventions: angles in radians; matrices in Qiskit's bit order (for a gate on qubits ``(a, b)`` the
row index is ``2 * bit_b + bit_a``). The definitions are those of Qiskit's circuit library, OpenQASM
3's ``stdgates.inc``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nisqkit.circuits.names import unknown

ComplexArray = NDArray[np.complex128]

_I: ComplexArray = np.eye(2, dtype=complex)
_X: ComplexArray = np.array([[0, 1], [1, 0]], dtype=complex)
_Y: ComplexArray = np.array([[0, -1j], [1j, 0]], dtype=complex)
_Z: ComplexArray = np.diag([1.0, -1.0]).astype(complex)
_H: ComplexArray = (_X + _Z) / np.sqrt(2)
_S: ComplexArray = np.diag([1, 1j])
_T: ComplexArray = np.diag([1, np.exp(0.25j * np.pi)])
_SX: ComplexArray = np.array([[0.5 + 0.5j, 0.5 - 0.5j], [0.5 - 0.5j, 0.5 + 0.5j]])
_ONE: ComplexArray = np.diag([0.0, 1.0]).astype(complex)
_ZERO: ComplexArray = np.diag([1.0, 0.0]).astype(complex)


@dataclass(frozen=True, eq=False)
class Factor:
    """One factor of a gate.

    A fixed unitary (``param is None``) or ``exp(i * angles[param] * matrix)``.

    Attributes:
        matrix: The fixed unitary, or the Hermitian generator ``G``; shape ``(2**k, 2**k)``.
        param: Which of the gate's angles drives the factor.
    """

    matrix: ComplexArray
    param: int | None = None

    @cached_property
    def frequency(self) -> float:
        """``s``: the largest eigenvalue of the generator (0 for a fixed factor)."""
        if self.param is None:
            return 0.0
        return float(np.abs(np.linalg.eigvalsh(self.matrix)).max())

    @cached_property
    def expansion(self) -> tuple[ComplexArray, ComplexArray, ComplexArray]:
        """``(C0, C1, C2)`` with ``exp(i a G) = C0 + cos(s a) C1 + sin(s a) C2``."""
        if self.param is None:
            zero = np.zeros_like(self.matrix)
            return self.matrix, zero, zero
        g = self.matrix / self.frequency
        square = g @ g
        assert np.allclose(square @ g, g), "a generator must have eigenvalues in {0, +s, -s}"
        return np.eye(len(g)) - square, square, 1j * g


@dataclass(frozen=True, eq=False)
class Gate:
    """A gate of the table.

    Example:
        >>> gate("cx").matrix(torch.zeros(0)).real.int()
        tensor([[1, 0, 0, 0],
                [0, 0, 0, 1],
                [0, 0, 1, 0],
                [0, 1, 0, 0]], dtype=torch.int32)
        >>> shifts, coefficients = gate("ry").shift_rule(0)
        >>> (shifts / torch.pi).tolist(), coefficients
        ([0.5, 1.5], tensor([ 0.5000, -0.5000], dtype=torch.float64))
    """

    name: str
    num_qubits: int
    num_params: int
    factors: tuple[Factor, ...]

    def matrix(self, angles: Tensor) -> Tensor:
        """The unitary, differentiable in the angles.

        Args:
            angles: Shape ``(..., num_params)``, radians.

        Returns:
            Complex tensor of shape ``(..., 2**num_qubits, 2**num_qubits)``.
        """
        dtype = torch.complex128 if angles.dtype == torch.float64 else torch.complex64
        dim = 2**self.num_qubits
        result = torch.eye(dim, dtype=dtype, device=angles.device).expand(
            *angles.shape[:-1], dim, dim
        )
        for factor in self.factors:
            c0, c1, c2 = (torch.as_tensor(c).to(angles.device, dtype) for c in factor.expansion)
            if factor.param is None:
                step = c0
            else:
                phase = (factor.frequency * angles[..., factor.param])[..., None, None]
                step = c0 + torch.cos(phase) * c1 + torch.sin(phase) * c2
            result = step @ result
        return result

    @cached_property
    def frequencies(self) -> tuple[tuple[float, int], ...]:
        """``(base, R)`` of each angle.

        Expectation values are trigonometric polynomials in ``base * angle`` of degree ``R``.
        """
        rules = []
        for param in range(self.num_params):
            sums = {0.0}
            for factor in self.factors:
                if factor.param == param:
                    eigenvalues = set(np.round(np.linalg.eigvalsh(factor.matrix), 9).tolist())
                    sums = {round(a + b, 9) for a in sums for b in eigenvalues}
            gaps = sorted({round(a - b, 9) for a in sums for b in sums if a > b})
            base = gaps[0]
            assert all(abs(gap / base - round(gap / base)) < 1e-9 for gap in gaps)
            rules.append((base, round(gaps[-1] / base)))
        return tuple(rules)

    def shift_rule(self, param: int) -> tuple[Tensor, Tensor]:
        """The parameter-shift rule of one angle.

        ``df/da = sum_m coefficient[m] * f(a + shift[m])``, exact for expectation values: two terms
        for Pauli rotations, four for controlled ones, ``2 R`` for ``R`` equidistant frequencies
        (Wierichs et al., Quantum 6, 677, 2022, equation 24).

        Returns:
            ``(shifts, coefficients)``, each of shape ``(2 R,)``, float64.
        """
        return shift_rule(*self.frequencies[param])


def shift_rule(base: float, degree: int) -> tuple[Tensor, Tensor]:
    """The derivative of a trigonometric polynomial of this degree in ``base * angle``.

    See `Gate.shift_rule`.
    """
    m = torch.arange(1, 2 * degree + 1, dtype=torch.float64)
    shifts = (2 * m - 1) * torch.pi / (2 * degree)
    coefficients = (-1.0) ** (m - 1) / (4 * degree * torch.sin(shifts / 2) ** 2)
    return shifts / base, base * coefficients


def _kron(high: ComplexArray, low: ComplexArray) -> ComplexArray:
    """The Kronecker product, whose type NumPy does not know to be that of its factors."""
    return np.asarray(np.kron(high, low), dtype=np.complex128)


def _controlled(matrix: ComplexArray) -> ComplexArray:
    """A unitary on qubit 1, controlled by qubit 0."""
    return _kron(_I, _ZERO) + _kron(matrix, _ONE)


def _controlled_generator(matrix: ComplexArray) -> ComplexArray:
    return _kron(matrix, _ONE)


def _fixed(name: str, matrix: ComplexArray) -> Gate:
    matrix = np.asarray(matrix, dtype=complex)
    return Gate(name, int(np.log2(len(matrix))), 0, (Factor(matrix),))


def _rotation(name: str, generator: ComplexArray) -> Gate:
    return Gate(name, int(np.log2(len(generator))), 1, (Factor(generator, 0),))


def _build() -> dict[str, Gate]:
    rx, ry, rz = -_X / 2, -_Y / 2, -_Z / 2
    quarter_turn = Factor(np.array([[1, -1], [1, 1]], dtype=complex) / np.sqrt(2))  # RY(pi/2)
    swap = np.eye(4, dtype=complex)[[0, 2, 1, 3]]
    cx = _controlled(_X)
    iswap = np.diag([1, 0, 0, 1]).astype(complex) + 1j * np.diag([0, 1, 1, 0]) @ swap
    ecr = (_kron(_I, _X) - _kron(_X, _Y)) / np.sqrt(2)
    flip = np.zeros((4, 4), dtype=complex)
    flip[1, 2] = flip[2, 1] = -0.5
    pair = np.zeros((4, 4), dtype=complex)
    pair[0, 3] = pair[3, 0] = -0.5
    turn_flip = np.diag([0, -0.5, 0.5, 0]).astype(complex)
    turn_pair = np.diag([-0.5, 0, 0, 0.5]).astype(complex)
    c_ry, c_p = _controlled_generator(ry), _controlled_generator(_ONE)
    gates = [
        *(
            _fixed(n, m)
            for n, m in (
                ("id", _I),
                ("x", _X),
                ("y", _Y),
                ("z", _Z),
                ("h", _H),
                ("s", _S),
                ("t", _T),
            )
        ),
        _fixed("sdg", _S.conj().T),
        _fixed("tdg", _T.conj().T),
        _fixed("sx", _SX),
        _fixed("sxdg", _SX.conj().T),
        _rotation("rx", rx),
        _rotation("ry", ry),
        _rotation("rz", rz),
        _rotation("p", _ONE),
        _rotation("u1", _ONE),
        Gate("r", 1, 2, (Factor(-rz, 1), Factor(rx, 0), Factor(rz, 1))),
        Gate("u2", 1, 2, (Factor(_ONE, 1), quarter_turn, Factor(_ONE, 0))),
        Gate("u", 1, 3, (Factor(_ONE, 2), Factor(ry, 0), Factor(_ONE, 1))),
        Gate("u3", 1, 3, (Factor(_ONE, 2), Factor(ry, 0), Factor(_ONE, 1))),
        _fixed("cx", cx),
        _fixed("cy", _controlled(_Y)),
        _fixed("cz", _controlled(_Z)),
        _fixed("ch", _controlled(_H)),
        _fixed("cs", _controlled(_S)),
        _fixed("csdg", _controlled(_S.conj().T)),
        _fixed("csx", _controlled(_SX)),
        _fixed("swap", swap),
        _fixed("iswap", iswap),
        _fixed("dcx", swap @ cx @ swap @ cx),
        _fixed("ecr", ecr),
        _rotation("crx", _controlled_generator(rx)),
        _rotation("cry", c_ry),
        _rotation("crz", _controlled_generator(rz)),
        _rotation("cp", c_p),
        _rotation("cu1", c_p),
        Gate("cu3", 2, 3, (Factor(c_p, 2), Factor(c_ry, 0), Factor(c_p, 1))),
        Gate(
            "cu",
            2,
            4,
            (Factor(c_p, 2), Factor(c_ry, 0), Factor(c_p, 1), Factor(_kron(_I, _ONE), 3)),
        ),
        _rotation("rxx", -_kron(_X, _X) / 2),
        _rotation("ryy", -_kron(_Y, _Y) / 2),
        _rotation("rzz", -_kron(_Z, _Z) / 2),
        _rotation("rzx", -_kron(_X, _Z) / 2),
        Gate("xx_plus_yy", 2, 2, (Factor(-turn_flip, 1), Factor(flip, 0), Factor(turn_flip, 1))),
        Gate("xx_minus_yy", 2, 2, (Factor(-turn_pair, 1), Factor(pair, 0), Factor(turn_pair, 1))),
    ]
    return {g.name: g for g in gates}


GATES: dict[str, Gate] = _build()
"""Every parameterised or fixed gate by its Qiskit name.

``"unitary"`` (a fixed matrix) is made by `gate`.
"""


@lru_cache(maxsize=4096)
def _unitary(entries: tuple[complex, ...]) -> Gate:
    dim = round(np.sqrt(len(entries)))
    return _fixed("unitary", np.array(entries).reshape(dim, dim))


def gate(name: str, matrix: tuple[complex, ...] | None = None) -> Gate:
    """The record of a gate by name.

    Args:
        name: Qiskit's name of the gate, such as ``"ry"``, or ``"unitary"``.
        matrix: For ``"unitary"``: the entries of the matrix, row by row.

    Raises:
        ValueError: The name is not in the table.
    """
    if name == "unitary":
        assert matrix is not None
        return _unitary(matrix)
    if name not in GATES:
        raise ValueError(unknown("gate", name, GATES))
    return GATES[name]
