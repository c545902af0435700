"""Programs as Qiskit circuits with one parameter per angle slot.

Every Qiskit backend runs a batch as one such circuit with an array of bindings, one row per sample.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import pi
from typing import TypeAlias, cast

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, ParameterExpression, ParameterVector
from qiskit.circuit.library import CXGate, UnitaryGate
from qiskit.synthesis import OneQubitEulerDecomposer, TwoQubitBasisDecomposer
from torch import Tensor

from nisqkit.circuits.amplitude import convert_angles, synthesise
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.lower import gate_class
from nisqkit.circuits.program import GateUse, Program

Angle: TypeAlias = ParameterExpression | float


def slot_circuit(
    program: Program, *, native: bool = False, keep: Collection[str] | None = None
) -> tuple[QuantumCircuit, ParameterVector]:
    r"""Return a program as a circuit with one free parameter per slot.

    An amplitude input is written as RY and CX gates whose angles have slots of their own (see
    `nisqkit.circuits.amplitude.synthesise`); `slot_angles` gives the values for all slots.

    With ``native=True`` every gate becomes ``rz``, ``sx``, ``x`` and ``cx`` with angles affine in
    the slots and without global phases, for example

    .. math:: U(\theta, \phi, \lambda) \simeq RZ(\phi + \pi)\, SX\, RZ(\theta + \pi)\, SX\,
              RZ(\lambda),

    because Qiskit's transpiler needs time exponential in the length of a chain of parameterised
    ``u`` and ``cu`` gates. A fixed ``unitary`` is decomposed by Qiskit's synthesis; ``id`` is left
    out. Barriers stay, for the transpiler.

    Args:
        program: Any program; its angle map is not used.
        native: Write everything in ``rz``, ``sx``, ``x`` and ``cx``.
        keep: Names of gates to leave as they are while all others are written natively; the default
            is every gate, or none with ``native=True``.

    Returns:
        The circuit, and the parameters: element ``s`` is the angle of slot ``s``. Slots that no
        gate uses (the amplitudes themselves) do not occur in the circuit.

    Example:
        >>> from nisqkit.circuits import lower, u3_cu3
        >>> circuit, slots = slot_circuit(lower(u3_cu3(2, blocks=1)), native=True)
        >>> len(slots), sorted(circuit.count_ops())
        (9, ['cx', 'rz', 'sx'])
    """
    if keep is None:
        keep = () if native else (*GATES, "unitary")
    flat, _ = synthesise(program)
    slots = ParameterVector("slot", flat.angle_map.num_slots)
    circuit = QuantumCircuit(flat.num_qubits)
    for use in flat.gates:
        if use.name == "barrier":
            circuit.barrier(use.qubits)
            continue
        angles = [slots[s] for s in use.slots]
        if use.name in keep:
            circuit.append(_as_gate(use, angles), use.qubits)
        elif use.name == "unitary":
            _append_unitary(circuit, use)
        else:
            _Native(circuit).append(use.name, angles, use.qubits)
    return circuit, slots


def slot_angles(program: Program, inputs: Tensor, weights: Tensor) -> Tensor:
    """Return the value of every slot of `slot_circuit`, shape ``(batch, num_slots)``, radians.

    Args:
        program: The program that the circuit was made from.
        inputs: Shape ``(batch, num_inputs)``.
        weights: Shape ``(num_weights,)``.

    Raises:
        ValueError: All amplitudes of a sample are zero.

    Example:
        >>> import torch
        >>> from nisqkit.circuits import amplitude, lower
        >>> program = lower(amplitude(2), inputs="x")
        >>> slot_angles(program, torch.tensor([[1.0, 1.0]]), torch.zeros(0))
        tensor([[0.7071, 0.7071, 1.5708]])
    """
    _, matrix = synthesise(program)
    return convert_angles(program, matrix, program.angles(inputs, weights))


def _as_gate(use: GateUse, angles: Sequence[Angle]) -> Gate:
    if use.name == "unitary":
        dim = 2 ** len(use.qubits)
        return UnitaryGate(np.array(use.matrix).reshape(dim, dim))
    return cast(Gate, gate_class(use.name)(*angles))


def _append_unitary(circuit: QuantumCircuit, use: GateUse) -> None:
    """Decompose a fixed one- or two-qubit unitary into rz, sx, x and cx."""
    dim = 2 ** len(use.qubits)
    matrix = np.array(use.matrix).reshape(dim, dim)
    if dim == 2:
        decomposed = OneQubitEulerDecomposer("ZSXX")(matrix)
    else:
        decomposed = TwoQubitBasisDecomposer(CXGate(), euler_basis="ZSXX")(matrix)
    for instruction in decomposed.data:
        qubits = [use.qubits[decomposed.find_bit(q).index] for q in instruction.qubits]
        circuit.append(instruction.operation, qubits)


class _Native:
    """Appends gates of the table as rz, sx, x and cx; global phases are dropped throughout."""

    def __init__(self, circuit: QuantumCircuit) -> None:
        self.circuit = circuit
        self.rz, self.sx, self.x = circuit.rz, circuit.sx, circuit.x
        self.cx = circuit.cx

    def append(self, name: str, angles: Sequence[Angle], qubits: tuple[int, ...]) -> None:
        _RULES[name](self, *angles, *qubits)

    def u(self, theta: Angle, phi: Angle, lam: Angle, q: int) -> None:
        self.rz(lam, q)
        self.sx(q)
        self.rz(theta + pi, q)
        self.sx(q)
        self.rz(phi + pi, q)

    def rx(self, theta: Angle, q: int) -> None:
        self.u(theta, -pi / 2, pi / 2, q)

    def ry(self, theta: Angle, q: int) -> None:
        self.u(theta, 0.0, 0.0, q)

    def h(self, q: int) -> None:
        self.rz(pi / 2, q)
        self.sx(q)
        self.rz(pi / 2, q)

    def y(self, q: int) -> None:
        self.rz(pi, q)
        self.x(q)

    def sxdg(self, q: int) -> None:
        self.rz(pi, q)
        self.sx(q)
        self.rz(pi, q)

    def u2(self, phi: Angle, lam: Angle, q: int) -> None:
        self.rz(lam - pi / 2, q)
        self.sx(q)
        self.rz(phi + pi / 2, q)

    def r(self, theta: Angle, phi: Angle, q: int) -> None:
        self.u(theta, phi - pi / 2, pi / 2 - phi, q)

    # In the two-qubit gates below a is the first qubit (the control) and b the second.

    def cz(self, a: int, b: int) -> None:
        self.h(b)
        self.cx(a, b)
        self.h(b)

    def cy(self, a: int, b: int) -> None:
        self.rz(-pi / 2, b)
        self.cx(a, b)
        self.rz(pi / 2, b)

    def ch(self, a: int, b: int) -> None:
        """H = A X A^-1 with A = RY(-pi/4)."""
        self.ry(pi / 4, b)
        self.cx(a, b)
        self.ry(-pi / 4, b)

    def csx(self, a: int, b: int) -> None:
        self.h(b)
        self.cp(pi / 2, a, b)
        self.h(b)

    def swap(self, a: int, b: int) -> None:
        self.cx(a, b)
        self.cx(b, a)
        self.cx(a, b)

    def dcx(self, a: int, b: int) -> None:
        self.cx(a, b)
        self.cx(b, a)

    def iswap(self, a: int, b: int) -> None:
        self.rz(pi / 2, a)
        self.rz(pi / 2, b)
        self.h(a)
        self.cx(a, b)
        self.cx(b, a)
        self.h(b)

    def ecr(self, a: int, b: int) -> None:
        self.rz(pi / 2, a)
        self.sx(b)
        self.cx(a, b)
        self.x(a)

    def crx(self, theta: Angle, a: int, b: int) -> None:
        self.h(b)
        self.crz(theta, a, b)
        self.h(b)

    def cry(self, theta: Angle, a: int, b: int) -> None:
        self.ry(theta / 2, b)
        self.cx(a, b)
        self.ry(-theta / 2, b)
        self.cx(a, b)

    def crz(self, theta: Angle, a: int, b: int) -> None:
        self.rz(theta / 2, b)
        self.cx(a, b)
        self.rz(-theta / 2, b)
        self.cx(a, b)

    def cp(self, theta: Angle, a: int, b: int) -> None:
        self.rz(theta / 2, a)
        self.crz(theta, a, b)

    def cu3(self, theta: Angle, phi: Angle, lam: Angle, a: int, b: int) -> None:
        self.cu(theta, phi, lam, 0.0, a, b)

    def cu(self, theta: Angle, phi: Angle, lam: Angle, gamma: Angle, a: int, b: int) -> None:
        self.rz((phi + lam) / 2 + gamma, a)
        self.rz((lam - phi) / 2, b)
        self.cx(a, b)
        self.u(-theta / 2, 0.0, -(phi + lam) / 2, b)
        self.cx(a, b)
        self.u(theta / 2, phi, 0.0, b)

    def rzz(self, theta: Angle, a: int, b: int) -> None:
        self.cx(a, b)
        self.rz(theta, b)
        self.cx(a, b)

    def rxx(self, theta: Angle, a: int, b: int) -> None:
        self.h(a)
        self.h(b)
        self.rzz(theta, a, b)
        self.h(a)
        self.h(b)

    def ryy(self, theta: Angle, a: int, b: int) -> None:
        for q in (a, b):
            self.sx(q)
        self.rzz(theta, a, b)
        for q in (a, b):
            self.sxdg(q)

    def rzx(self, theta: Angle, a: int, b: int) -> None:
        self.h(b)
        self.rzz(theta, a, b)
        self.h(b)

    def xx_plus_yy(self, theta: Angle, beta: Angle, a: int, b: int, sign: int = 1) -> None:
        """exp(-i theta (XX + sign YY) / 4), turned by RZ(beta) on b.

        SX turns YY into ZZ, and CX turns XX and ZZ into X on a and Z on b.
        """
        self.rz(-beta, b)
        for q in (a, b):
            self.sx(q)
        self.cx(a, b)
        self.rx(theta / 2, a)
        self.rz(sign * theta / 2, b)
        self.cx(a, b)
        for q in (a, b):
            self.sxdg(q)
        self.rz(beta, b)

    def xx_minus_yy(self, theta: Angle, beta: Angle, a: int, b: int) -> None:
        self.xx_plus_yy(theta, beta, a, b, sign=-1)


def _rz(angle: float) -> Callable[[_Native, int], None]:
    return lambda native, q: native.rz(angle, q)


_RULES: dict[str, Callable[..., None]] = {
    "id": lambda native, q: None,
    "x": lambda native, q: native.x(q),
    "sx": lambda native, q: native.sx(q),
    "cx": lambda native, a, b: native.cx(a, b),
    **{name: lambda native, theta, q: native.rz(theta, q) for name in ("rz", "p", "u1")},
    **{"z": _rz(pi), "s": _rz(pi / 2), "sdg": _rz(-pi / 2), "t": _rz(pi / 4), "tdg": _rz(-pi / 4)},
    "u3": _Native.u,
    "cs": lambda native, a, b: native.cp(pi / 2, a, b),
    "csdg": lambda native, a, b: native.cp(-pi / 2, a, b),
    "cu1": _Native.cp,
    **{name: rule for name, rule in vars(_Native).items() if name in GATES},
}
"""How to append each gate of the table: called with its angles and qubits."""
