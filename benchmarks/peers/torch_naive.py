"""Plain PyTorch, gate by gate, with autograd: what one writes without a library."""

from __future__ import annotations

import torch
from torch import Tensor

from peers.torch_step import TorchStep


def _matrix(*entries: Tensor) -> Tensor:
    return torch.stack(entries, -1).reshape(*entries[0].shape, 2, 2)


def matrices(name: str, angles: Tensor) -> Tensor:
    """Matrices ``(..., k, 2, 2)`` of gates of one name; ``angles`` is ``(..., k, angles)``."""
    t = angles[..., 0]
    c, s = torch.cos(t / 2).to(torch.complex64), torch.sin(t / 2).to(torch.complex64)
    if name == "rx":
        return _matrix(c, -1j * s, -1j * s, c)
    if name == "ry":
        return _matrix(c, -s, s, c)
    if name == "rz":
        e = torch.exp(-0.5j * t)
        zero = torch.zeros_like(e)
        return _matrix(e, zero, zero, e.conj())
    f, g = torch.exp(1j * angles[..., 1]), torch.exp(1j * angles[..., 2])
    return _matrix(c, -g * s, f * s, f * g * c)


class Step(TorchStep):
    """All matrices of a layer's kind at once, and then one ``einsum`` per gate."""

    def build(self) -> None:
        """See `TorchStep`."""
        n = self.workload.qubits
        kinds: dict[tuple[str, str], list[tuple[int, ...]]] = {}
        self.plan: list[tuple[tuple[str, str], int, tuple[int, ...]]] = []
        for gate in self.workload.gates:
            members = kinds.setdefault((gate.name, gate.source), [])
            self.plan.append(((gate.name, gate.source), len(members), gate.qubits))
            members.append(gate.columns)
        self.columns = {kind: torch.tensor(c) for kind, c in kinds.items() if kind[0] != "cx"}
        self.permutations = {}
        states = torch.arange(2**n)
        for kind, _, qubits in self.plan:
            if kind[0] == "cx" and qubits not in self.permutations:
                c, t = (n - 1 - q for q in qubits)
                moved = torch.where((states >> c) & 1 == 1, states ^ (1 << t), states)
                self.permutations[qubits] = moved

    def model(self, inputs: Tensor) -> Tensor:
        """See `TorchStep`."""
        n, batch = self.workload.qubits, len(inputs)
        tables = {}
        for (name, source), columns in self.columns.items():
            angles = inputs[:, columns] if source == "x" else self.weights[columns]
            tables[name, source] = matrices(name, angles)
        state = torch.zeros(batch, 2**n, dtype=torch.complex64)
        state[:, 0] = 1
        for kind, k, qubits in self.plan:
            if kind[0] == "cx":
                state = state.reshape(batch, -1).index_select(1, self.permutations[qubits])
            elif len(qubits) == 1:
                state = _one(state, tables[kind][..., k, :, :], qubits[0])
            else:
                state = _controlled(state, tables[kind][..., k, :, :], *qubits)
        weights = state.reshape(batch, -1).abs().square()
        columns = []
        for q in range(n):
            zero, one = weights.reshape(batch, 2**q, 2, -1).sum((1, 3)).unbind(1)
            columns.append(zero - one)
        return torch.stack(columns, 1)


def _one(state: Tensor, matrix: Tensor, qubit: int) -> Tensor:
    state = state.reshape(len(state), 2**qubit, 2, -1)
    return torch.einsum("ij,bljr->blir" if matrix.dim() == 2 else "bij,bljr->blir", matrix, state)


def _controlled(state: Tensor, matrix: Tensor, control: int, target: int) -> Tensor:
    low, high = min(control, target), max(control, target)
    state = state.reshape(len(state), 2**low, 2, 2 ** (high - low - 1), 2, -1)
    axis, rule = (2, "ij,blmjr->blmir") if control < target else (4, "ij,bljmr->blimr")
    zero, one = state.unbind(axis)
    return torch.stack([zero, torch.einsum(rule, matrix, one)], axis)
