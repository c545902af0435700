"""Amplitude input: features as the amplitudes of the initial state.

Qiskit's own ``initialize`` refuses symbols, so `AmplitudeInput` is an instruction that carries
them. The engines load the amplitudes directly; for devices, `synthesise` writes them as RY and CX
gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, log2

import numpy as np
import torch
from qiskit.circuit import Gate as QiskitGate
from qiskit.circuit import ParameterExpression
from torch import Tensor

from nisqkit.circuits.angles import AngleMap
from nisqkit.circuits.program import GateUse, Program


class AmplitudeInput(QiskitGate):  # type: ignore[misc] # Qiskit is untyped
    """Prepare ``sum_i x_i |i> / |x|`` from ``|0...0>``.

    It must be the first instruction on its qubits.

    Args:
        amplitudes: One real number, parameter or expression per basis state, at most
            ``2**num_qubits``; the rest are zero. They are normalised when the circuit runs.

    Raises:
        ValueError: No amplitude at all.
    """

    def __init__(self, amplitudes: Sequence[ParameterExpression | float]) -> None:
        if len(amplitudes) == 0:
            raise ValueError("AmplitudeInput needs at least one amplitude, got none")
        super().__init__("amplitude", max(1, ceil(log2(len(amplitudes)))), list(amplitudes))

    def inverse(self, annotated: bool = False) -> QiskitGate:
        """Not defined: the preparation starts from |0...0>."""
        raise ValueError("AmplitudeInput prepares a state from |0...0> and has no inverse")


def rotation_angles(amplitudes: Tensor) -> Tensor:
    """RY angles of the binary tree that prepares real amplitudes.

    Node ``k`` of level ``l`` splits the weight of one branch between the next qubit being 0 and 1;
    levels run from the most significant qubit down (Mottonen et al., Quantum Inf. Comput. 5, 467,
    2005).

    Args:
        amplitudes: Shape ``(batch, 2**n)``, normalised.

    Returns:
        Shape ``(batch, 2**n - 1)``: level by level, radians.
    """
    batch = amplitudes.shape[0]
    levels: list[Tensor] = []
    current = amplitudes
    while current.shape[1] > 1:
        pairs = current.reshape(batch, -1, 2)
        levels.insert(0, 2 * torch.atan2(pairs[..., 1], pairs[..., 0]))
        current = pairs.norm(dim=2)
    return torch.cat(levels, dim=1) if levels else amplitudes.new_zeros(batch, 0)


def _multiplexer_matrix(num_controls: int) -> Tensor:
    """From RY angles per control pattern to those between the CX of the Gray-code ladder."""
    size = 2**num_controls
    k = np.arange(size)
    gray = k ^ (k >> 1)
    parity = np.array([[bin(int(i) & int(g)).count("1") % 2 for i in k] for g in gray])
    return torch.from_numpy((1.0 - 2.0 * parity) / size)


def synthesise(program: Program) -> tuple[Program, Tensor | None]:
    """The by-slots program with its amplitude input written as RY and CX gates.

    Returns:
        A program over its own slots, and ``None``; or, where there was an amplitude input, the
        matrix that `convert_angles` needs.
    """
    if program.prepare is None:
        return program.by_slots, None
    qubits = program.prepare.qubits
    n = len(qubits)
    first = program.angle_map.num_slots
    gates: list[GateUse] = []
    blocks: list[Tensor] = []
    slot = first
    for level in range(n):
        target, controls = qubits[n - 1 - level], [qubits[n - level + c] for c in range(level)]
        blocks.append(_multiplexer_matrix(level))
        for step in range(2**level):
            gates.append(GateUse("ry", (target,), (slot,), tags=("amplitude",)))
            slot += 1
            if level:
                changed = (
                    step ^ (step >> 1) ^ (((step + 1) % 2**level) ^ ((step + 1) % 2**level >> 1))
                )
                gates.append(
                    GateUse("cx", (controls[changed.bit_length() - 1], target), tags=("amplitude",))
                )
    matrix: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    angle_map = AngleMap.identity(slot)
    gates += program.gates
    return replace(program, gates=tuple(gates), angle_map=angle_map, prepare=None), matrix


def convert_angles(program: Program, matrix: Tensor | None, angles: Tensor) -> Tensor:
    """Angles of ``program.by_slots`` as angles of the synthesised program.

    ``(batch, S) -> (batch, S + 2**n - 1)``.
    """
    if matrix is None or program.prepare is None:
        return angles
    amplitudes = angles.new_zeros(len(angles), 2 ** len(program.prepare.qubits))
    amplitudes[:, : len(program.prepare.slots)] = angles[:, list(program.prepare.slots)]
    tree = rotation_angles(amplitudes) @ matrix.to(angles.dtype).T
    return torch.cat([angles, tree], dim=1)
