"""The reference engine for noise: a density matrix in plain PyTorch, one operation at a time.

Slow and obvious: channels are sums over their Kraus operators. The oracle of the noisy engines, and
what second derivatives use.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.reference import apply, final_state
from nisqkit.noise.noisy_program import NoisyProgram
from nisqkit.noise.pauli_basis import paulis

_PAULIS = paulis(1)


def reference_density_values(
    noisy: NoisyProgram, inputs: Tensor, weights: Tensor, observables: Observables
) -> Tensor:
    """Exact values of a noisy program, differentiable any number of times; no readout errors.

    Args:
        noisy: The noisy program.
        inputs: Shape ``(batch, num_inputs)``.
        weights: Shape ``(num_weights,)``.
        observables: On all qubits of the program.

    Returns:
        Shape ``(batch, num_outputs)``.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from nisqkit.circuits import lower
        >>> from nisqkit.noise import Channel, NoiseModel
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.x(0)
        >>> model = NoiseModel("decay", {("x", (0,)): Channel.relaxation(0.25)}, ideal={"measure"})
        >>> none = torch.zeros(1, 0), torch.zeros(0)
        >>> probs = Observables.parse("probs", num_qubits=1)
        >>> reference_density_values(model.bind(lower(circuit)), *none, probs)
        tensor([[0.2500, 0.7500]])
    """
    angles = noisy.program.angles(inputs, weights)
    return measure_density(final_density(noisy, angles), observables)


def start_density(program: Program, angles: Tensor) -> Tensor:
    """The density matrix before the first gate, shape ``(batch, 2**n, 2**n)``, complex."""
    psi = final_state(Program(program.num_qubits, (), program.angle_map, program.prepare), angles)
    flat = psi.flatten(1)
    return flat[:, :, None] * flat[:, None, :].conj()


def final_density(noisy: NoisyProgram, angles: Tensor, start: Tensor | None = None) -> Tensor:
    """The density matrix at the end of a noisy program, shape ``(batch, 2**n, 2**n)``, complex.

    Args:
        noisy: The noisy program.
        angles: Shape ``(batch, num_slots)`` from `Program.angles`.
        start: The initial Pauli vectors, shape ``(batch, 4**n)``, in place of the program's own.
    """
    n = noisy.num_qubits
    first = start_density(noisy.program, angles) if start is None else from_pauli_vector(start)
    # qubits n ... 2 n - 1 are the rows, 0 ... n - 1 the columns
    rho = first.reshape(len(angles), *[2] * (2 * n))
    for use in noisy.operations:
        rows = [n + q for q in use.qubits]
        if isinstance(use, GateUse):
            if use.name != "barrier":
                matrix = use.gate.matrix(angles[:, list(use.slots)])
                rho = apply(apply(rho, matrix, rows), matrix.conj(), use.qubits)
        else:
            operators = [
                torch.as_tensor(k).to(angles.device, rho.dtype) for k in use.channel.kraus_operators
            ]
            parts = [apply(apply(rho, k, rows), k.conj(), use.qubits) for k in operators]
            rho = torch.stack(parts).sum(dim=0)
    return rho.reshape(len(angles), 2**n, 2**n)


def measure_density(rho: Tensor, observables: Observables) -> Tensor:
    """Exact outputs of a batch of density matrices: ``(batch, num_outputs)``, real."""
    if observables.sums is None:
        return rho.diagonal(dim1=1, dim2=2).real
    n = rho.shape[1].bit_length() - 1
    columns = []
    for string in observables.strings:
        other = rho.reshape(len(rho), *[2] * (2 * n))
        for q, letter in enumerate(reversed(string)):
            if letter != "I":
                matrix = torch.as_tensor(_PAULIS["IXYZ".index(letter)])
                other = apply(other, matrix.to(rho.device, rho.dtype), [n + q])
        columns.append(other.reshape(rho.shape).diagonal(dim1=1, dim2=2).sum(dim=1).real)
    values = torch.stack(columns, dim=1)
    return values @ torch.as_tensor(observables.coefficients).to(values.device, values.dtype).T


def to_pauli_vector(rho: Tensor) -> Tensor:
    """``tr(P rho)`` of all Pauli strings, real, ``(batch, 4**n)``; qubit 0 is the lowest digit."""
    n = rho.shape[1].bit_length() - 1
    found = rho.reshape(len(rho), *[2] * (2 * n))
    by_qubit = [axis for q in range(n) for axis in (1 + q, 1 + n + q)]
    found = found.permute(0, *by_qubit).reshape(len(rho), *[4] * n)
    matrix = torch.as_tensor(_PAULIS.transpose(0, 2, 1).reshape(4, 4).copy())
    for axis in range(1, n + 1):
        found = (found.movedim(axis, -1) @ matrix.to(rho.device, rho.dtype).T).movedim(-1, axis)
    return found.reshape(len(rho), -1).real


def from_pauli_vector(vector: Tensor) -> Tensor:
    """The density matrix with this Pauli vector, shape ``(batch, 2**n, 2**n)``."""
    n = (vector.shape[1].bit_length() - 1) // 2
    dtype = torch.complex128 if vector.dtype == torch.float64 else torch.complex64
    found = vector.to(dtype).reshape(len(vector), *[4] * n)
    matrix = torch.as_tensor(_PAULIS.reshape(4, 4) / 2)
    for axis in range(1, n + 1):
        found = (found.movedim(axis, -1) @ matrix.to(vector.device, dtype)).movedim(-1, axis)
    found = found.reshape(len(vector), *[2] * (2 * n))
    rows = [1 + 2 * k for k in range(n)]
    return found.permute(0, *rows, *(r + 1 for r in rows)).reshape(len(vector), 2**n, 2**n)
