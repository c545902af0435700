"""The inverse of a gate, written with gates of the same kind.

Qiskit's inverse of ``sx`` is ``sxdg``, which no device has. Here every inverse consists of the gate
itself and of rotations that devices do in software, so that folding a device's circuit gives a
circuit of the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np

from nisqkit.circuits.names import unknown
from nisqkit.circuits.program import GateUse

_SELF = frozenset({"id", "x", "y", "z", "h", "cx", "cy", "cz", "ch", "swap", "ecr"})
_PAIRS = {"s": "sdg", "t": "tdg", "cs": "csdg"}
_PARTNER = _PAIRS | {b: a for a, b in _PAIRS.items()}
_ROTATIONS = frozenset(
    {"rx", "ry", "rz", "p", "u1", "crx", "cry", "crz", "cp", "cu1", "rxx", "ryy", "rzz", "rzx"}
)
# which angle each angle of the inverse is taken from, and what is added to minus that angle
_EULER = {
    "u": ((0, 0.0), (2, 0.0), (1, 0.0)),
    "u3": ((0, 0.0), (2, 0.0), (1, 0.0)),
    "cu3": ((0, 0.0), (2, 0.0), (1, 0.0)),
    "cu": ((0, 0.0), (2, 0.0), (1, 0.0), (3, 0.0)),
    "u2": ((1, -pi), (0, pi)),
}
_FIRST_ANGLE = frozenset({"r", "xx_plus_yy", "xx_minus_yy"})


@dataclass(frozen=True)
class InverseGate:
    """One gate of an inverse.

    Attributes:
        name: Its name.
        qubits: Its qubits.
        angles: For each of its angles ``(k, factor, constant)``: ``factor`` times angle ``k`` of
            the gate that is inverted, plus the constant.
        matrix: The entries of a ``"unitary"``.
    """

    name: str
    qubits: tuple[int, ...]
    angles: tuple[tuple[int, float, float], ...] = ()
    matrix: tuple[complex, ...] | None = None


def inverse(use: GateUse) -> tuple[InverseGate, ...]:
    """The gates that undo a gate, in the order in which they run; global phases are left out.

    Raises:
        ValueError: The gate has no inverse here (a new gate of the table).

    Example:
        >>> [(g.name, g.angles) for g in inverse(GateUse("sx", (0,)))]
        [('rz', ((0, 0.0, 3.141592653589793),)), ('sx', ()), ('rz', ((0, 0.0, 3.141592653589793),))]
        >>> inverse(GateUse("rz", (1,), slots=(7,)))[0].angles  # minus the angle
        ((0, -1.0, 0.0),)
    """
    name, qubits = use.name, use.qubits
    half_turn = (0, 0.0, pi)
    if name in _SELF:
        return (InverseGate(name, qubits),)
    if name in _PARTNER:
        return (InverseGate(_PARTNER[name], qubits),)
    if name in _ROTATIONS:
        return (InverseGate(name, qubits, ((0, -1.0, 0.0),)),)
    if name in _EULER:
        return (InverseGate(name, qubits, tuple((k, -1.0, c) for k, c in _EULER[name])),)
    if name in _FIRST_ANGLE:
        return (InverseGate(name, qubits, ((0, -1.0, 0.0), (1, 1.0, 0.0))),)
    if name == "dcx":
        return (InverseGate(name, qubits[::-1]),)
    if name == "unitary":
        assert use.matrix is not None
        size = 2 ** len(qubits)
        entries = np.array(use.matrix).reshape(size, size).conj().T.ravel()
        return (InverseGate(name, qubits, matrix=tuple(entries.tolist())),)
    if name in ("sx", "sxdg", "iswap", "csx"):  # Z on one qubit turns the rotation around
        flip = InverseGate("rz", qubits[-1:], (half_turn,))
        found = (flip, InverseGate(name, qubits), flip)
        # a controlled phase remains
        return (*found, InverseGate("sdg", qubits[:1])) if name == "csx" else found
    known = (*_SELF, *_PARTNER, *_ROTATIONS, *_EULER, *_FIRST_ANGLE)
    raise ValueError(unknown("gate with an inverse", name, known))
