"""Gates of the gate table as PennyLane operators, and back.

Wire ``k`` is qubit ``k``. PennyLane reads the first wire of a gate as the most significant bit of
its matrix, Qiskit as the least significant one: matrices are reordered here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CLASSES = {
    "id": "Identity",
    "x": "PauliX",
    "y": "PauliY",
    "z": "PauliZ",
    "h": "Hadamard",
    "s": "S",
    "t": "T",
    "sx": "SX",
    "rx": "RX",
    "ry": "RY",
    "rz": "RZ",
    "u1": "U1",
    "p": "PhaseShift",
    "u2": "U2",
    "u": "U3",
    "u3": "U3",
    "cx": "CNOT",
    "cy": "CY",
    "cz": "CZ",
    "ch": "CH",
    "swap": "SWAP",
    "iswap": "ISWAP",
    "ecr": "ECR",
    "crx": "CRX",
    "cry": "CRY",
    "crz": "CRZ",
    "cu1": "ControlledPhaseShift",
    "cp": "ControlledPhaseShift",
    "rxx": "IsingXX",
    "ryy": "IsingYY",
    "rzz": "IsingZZ",
}
_NAMES = {cls: name for name, cls in _CLASSES.items()}
_WRAPPED = {
    "Adjoint(S)": "sdg",
    "Adjoint(T)": "tdg",
    "Adjoint(SX)": "sxdg",
    "C(Hadamard)": "ch",
    "C(S)": "cs",
    "C(Adjoint(S))": "csdg",
    "C(SX)": "csx",
    "C(U1)": "cu1",
    "C(U3)": "cu3",
}
_PAULI_ROTATIONS = {
    "X": "rx",
    "Y": "ry",
    "Z": "rz",
    "XX": "rxx",
    "YY": "ryy",
    "ZZ": "rzz",
    "ZX": "rzx",
    "XZ": "rzx",
}
_MID_CIRCUIT = ("MidMeasure", "MidMeasureMP", "PauliMeasure", "Conditional")


def import_pennylane() -> Any:
    """PennyLane, which is an extra.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import pennylane as qp
    except ModuleNotFoundError as error:
        raise ImportError(
            'PennyLane is not installed; run: pip install "nisqkit[pennylane]"'
        ) from error
    return qp


def operators(
    name: str,
    wires: Sequence[Any],
    angles: Sequence[Any] = (),
    matrix: NDArray[np.complex128] | None = None,
) -> list[Any]:
    """A gate of the table as PennyLane operators, in order, equal up to a global phase.

    Args:
        name: Its name in the gate table, or ``"unitary"``.
        wires: One wire per qubit of the gate, control first.
        angles: Radians: numbers, or tensors of shape ``()`` or ``(batch,)``.
        matrix: Of a ``"unitary"``, in Qiskit's bit order.

    Example:
        >>> operators("rxx", [0, 1], [0.5])
        [IsingXX(0.5, wires=[0, 1])]
        >>> operators("r", [0], [0.5, 0.1])
        [RZ(-0.1, wires=[0]), RX(0.5, wires=[0]), RZ(0.1, wires=[0])]
    """
    qp, w = import_pennylane(), list(wires)
    if name in _CLASSES:
        return [getattr(qp, _CLASSES[name])(*angles, wires=w)]
    match name:
        case "sdg" | "tdg" | "sxdg":
            return [qp.adjoint(getattr(qp, name[:-2].upper())(w[0]))]
        case "cs" | "csx":
            return [qp.ctrl(getattr(qp, name[1:].upper())(w[1]), w[0])]
        case "csdg":
            return [qp.ctrl(qp.adjoint(qp.S(w[1])), w[0])]
        case "cu3":
            return [qp.ctrl(qp.U3(*angles, wires=w[1]), w[0])]
        case "cu":
            return [qp.PhaseShift(angles[3], w[0]), qp.ctrl(qp.U3(*angles[:3], wires=w[1]), w[0])]
        case "dcx":
            return [qp.CNOT(w), qp.CNOT(w[::-1])]
        case "r":
            theta, phi = angles
            return [qp.RZ(-phi, w), qp.RX(theta, w), qp.RZ(phi, w)]
        case "rzx":
            return [qp.PauliRot(angles[0], "ZX", w)]
        case "xx_plus_yy":
            theta, beta = angles
            first = qp.RZ(beta, w[0])  # operators are queued when they are made: in this order
            middle = [qp.IsingXX(theta / 2, w), qp.IsingYY(theta / 2, w)]
            return [first, *middle, qp.RZ(-beta, w[0])]
        case "xx_minus_yy":
            theta, beta = angles
            first = qp.RZ(-beta, w[1])
            middle = [qp.IsingXX(theta / 2, w), qp.IsingYY(-theta / 2, w)]
            return [first, *middle, qp.RZ(beta, w[1])]
    assert name == "unitary" and matrix is not None, name
    return [qp.QubitUnitary(reverse_bits(matrix), wires=w)]


def reverse_bits(matrix: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """The same operator with its qubits reversed: Qiskit's bit order to PennyLane's, and back.

    Example:
        >>> reverse_bits(np.diag([0, 1, 2, 3])).diagonal()
        array([0, 2, 1, 3])
    """
    n = round(log2(len(matrix)))
    order = np.arange(2**n).reshape((2,) * n).transpose().ravel()
    reordered: NDArray[np.complex128] = matrix[np.ix_(order, order)]
    return reordered


@dataclass(frozen=True)
class Step:
    """A gate of the table on wires; the matrix is that of a ``"unitary"``, in Qiskit's order."""

    name: str
    wires: tuple[Any, ...]
    angles: tuple[Any, ...] = ()
    matrix: tuple[complex, ...] | None = None


def steps(operator: Any) -> Iterator[Step]:
    """A PennyLane operator as gates of the table, equal up to a global phase.

    It is decomposed as far as needed. Angles stay affine in the operator's own parameters wherever
    PennyLane's decomposition keeps them so; fixed operators on one or two wires without a
    decomposition become a ``"unitary"``.

    Raises:
        ValueError: A measurement, a channel, or an operator that is not unitary or has no
            decomposition.

    Example:
        >>> import pennylane as qp
        >>> [(s.name, s.wires) for s in steps(qp.Rot(0.1, 0.2, 0.3, wires=4))]
        [('rz', (4,)), ('ry', (4,)), ('rz', (4,))]
    """
    qp = import_pennylane()
    if operator.name in _MID_CIRCUIT:
        raise ValueError(
            f"{operator} cannot be differentiated: a quantum function for a layer measures only at "
            "its end"
        )
    if isinstance(operator, qp.operation.Channel):
        raise ValueError(
            f"{operator} is a noise channel, not a gate: take it out of the quantum function and "
            "bind the noise to the layer with noise="
        )
    if operator.batch_size is not None:
        raise ValueError(
            f"{operator.name} on wires {operator.wires.tolist()} got a vector of "
            f"{operator.batch_size} angles: the quantum function is called with one sample, so "
            "index the inputs, as in inputs[0]"
        )
    known = _known(operator)
    if known is not None:
        yield from known
        return
    try:
        with qp.QueuingManager.stop_recording():
            parts = _parts(qp, operator)
    except Exception as error:
        raise ValueError(
            f"PennyLane cannot decompose {operator.name} into gates: {error}"
        ) from error
    if parts is None:
        yield _unitary(operator)
        return
    for part in parts:
        yield from steps(part)


def _known(operator: Any) -> list[Step] | None:
    """The operator in one step, or in the few that need no decomposition."""
    name, wires, angles = operator.name, tuple(operator.wires), tuple(operator.data)
    if name == "Identity":
        return [Step("id", (w,)) for w in wires]
    if name in _NAMES:
        return [Step(_NAMES[name], wires, angles)]
    if name in _WRAPPED and (
        not name.startswith("C(") or (len(wires) == 2 and all(operator.control_values))
    ):
        return [Step(_WRAPPED[name], wires, angles)]
    if name == "CRot":
        return [Step(g, wires, (a,)) for g, a in zip(("crz", "cry", "crz"), angles, strict=True)]
    if name == "IsingXY":
        return [Step("xx_plus_yy", wires, (-angles[0], 0.0))]
    if name == "MultiRZ" and len(wires) <= 2:
        return [Step("rz" if len(wires) == 1 else "rzz", wires, angles)]
    if name == "PauliRot":
        word = operator.hyperparameters["pauli_word"]
        if word in _PAULI_ROTATIONS:
            return [Step(_PAULI_ROTATIONS[word], wires[::-1] if word == "XZ" else wires, angles)]
    if name == "QubitUnitary" and len(wires) <= 2:
        return [_unitary(operator)]
    return None


def _parts(qp: Any, operator: Any) -> list[Any] | None:
    """One step of decomposition, ``None`` where there is none.

    Parameterised gates under several controls are decomposed here: PennyLane does it through the
    gate's matrix, and the angles that it reads off the matrix are not affine in the gate's own and
    have singular gradients.
    """
    base: Any = getattr(operator, "base", None)
    if operator.name in ("C(RX)", "C(RY)", "C(RZ)") and all(operator.control_values):
        controls, target = operator.control_wires, base.wires
        flip = (qp.Z if operator.name == "C(RX)" else qp.X)(target)
        half = operator.data[0] / 2
        return [
            type(base)(half, target),
            qp.ctrl(flip, controls),
            type(base)(-half, target),
            qp.ctrl(flip, controls),
        ]
    if operator.name in ("C(Rot)", "C(U1)", "C(U2)", "C(U3)") and all(operator.control_values):
        return [qp.ctrl(part, operator.control_wires) for part in base.decomposition()]
    if operator.name == "Evolution" and base.pauli_rep is not None and len(base.pauli_rep) == 1:
        # exp(-i t c P), which PennyLane decomposes only where t is no tensor
        ((word, coefficient),) = base.pauli_rep.items()
        angle = 2 * float(np.real(coefficient)) * operator.data[0]
        return [qp.PauliRot(angle, "".join(word.values()), list(word))] if len(word) else []
    return list(operator.decomposition()) if operator.has_decomposition else None


def _unitary(operator: Any) -> Step:
    wires = tuple(operator.wires)
    if not operator.has_matrix or len(wires) > 2:
        raise ValueError(
            f"{operator.name} on wires {list(wires)} has no decomposition into gates that a layer "
            "knows; use gates, or templates that PennyLane can decompose"
        )
    matrix = np.asarray(operator.matrix(wire_order=wires[::-1]), dtype=complex)
    if not np.allclose(matrix @ matrix.conj().T, np.eye(len(matrix)), atol=1e-6):
        raise ValueError(f"{operator.name} on wires {list(wires)} is not unitary, so it is no gate")
    return Step("unitary", wires, (), tuple(matrix.ravel().tolist()))
