"""The reference engine: a state vector in plain PyTorch, gate by gate.

Slow and obvious; the oracle of every test.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.memory import check_memory
from nisqkit.hardware_backends.sampling import draw, estimate, in_basis, measurement_bases

_PAULI = {
    "X": torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128),
    "Y": torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128),
    "Z": torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128),
}


def apply(state: Tensor, matrix: Tensor, qubits: Sequence[int]) -> Tensor:
    """Apply a matrix to some qubits of a batch of states.

    Args:
        state: Shape ``(batch, 2, ..., 2)``; the last axis is qubit 0.
        matrix: Shape ``(2**k, 2**k)`` or ``(batch, 2**k, 2**k)``, the first qubit least
            significant.
        qubits: The ``k`` qubits.
    """
    axes = [state.dim() - 1 - q for q in reversed(qubits)]
    front = state.movedim(axes, list(range(1, 1 + len(axes))))
    flat = front.reshape(len(state), 2 ** len(axes), 2 ** (state.dim() - 1 - len(axes)))
    return (matrix @ flat).reshape(front.shape).movedim(list(range(1, 1 + len(axes))), axes)


def final_state(program: Program, angles: Tensor) -> Tensor:
    """The state at the end of a program, shape ``(batch, 2, ..., 2)``, complex.

    Args:
        program: Any program.
        angles: Shape ``(batch, num_slots)`` from `Program.angles`.
    """
    n, batch = program.num_qubits, len(angles)
    dtype = torch.complex128 if angles.dtype == torch.float64 else torch.complex64
    start = torch.zeros(batch, 2**n, dtype=dtype, device=angles.device)
    if program.prepare is None:
        start[:, 0] = 1
    else:
        where = [
            sum(((i >> k) & 1) << q for k, q in enumerate(program.prepare.qubits))
            for i in range(len(program.prepare.slots))
        ]
        amplitudes = angles[:, list(program.prepare.slots)].to(dtype)
        start = start.index_copy(1, torch.tensor(where, device=angles.device), amplitudes)
    state = start.reshape(batch, *[2] * n)
    for use in program.gates:
        if use.name == "barrier":
            continue
        state = apply(state, use.gate.matrix(angles[:, list(use.slots)]), use.qubits)
    return state


def measure(state: Tensor, observables: Observables) -> Tensor:
    """Exact outputs of a batch of states: ``(batch, num_outputs)``, real."""
    flat = state.flatten(1)
    if observables.sums is None:
        return flat.abs() ** 2
    columns = []
    for string in observables.strings:
        other = state
        for q, letter in enumerate(reversed(string)):
            if letter != "I":
                other = apply(other, _PAULI[letter].to(state.device, state.dtype), [q])
        columns.append((flat.conj() * other.flatten(1)).sum(dim=1).real)
    values = torch.stack(columns, dim=1)
    return values @ torch.as_tensor(observables.coefficients).to(values.device, values.dtype).T


class ReferenceBackend(Backend):
    """State vectors in plain PyTorch, on any torch device, differentiable any number of times.

    Raises:
        ValueError: The state of one batch does not fit in memory.
    """

    name = "reference"
    gradient = "backprop"

    def check(self, task: Task) -> None:
        """Refuse circuits that do not fit in memory."""
        size = 16 if task.inputs.dtype == torch.float64 else 8
        check_memory(task.program.num_qubits, 2 * size * 2**task.program.num_qubits * task.batch)

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """See `Backend.run`."""
        return [self._run(task) for task in tasks]

    def _run(self, task: Task) -> Result:
        self.check(task)
        angles = task.program.angles(task.inputs, task.weights)
        if task.shots is None:
            return Result(measure(final_state(task.program, angles), task.observables))
        with torch.no_grad():
            probabilities = [
                (final_state(in_basis(task.program, basis), angles).flatten(1).abs() ** 2)
                .double()
                .cpu()
                .numpy()
                for basis in measurement_bases(task.observables)
            ]
        return estimate(
            draw(probabilities, task.shots, task.seed), task.observables, task.inputs.dtype
        )
