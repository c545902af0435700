"""TorQ: dense matrices of the whole register."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torq import Controls, Layout, Measure, Ops, Rotations
from torq.simple import Circuit, CircuitConfig

from peers.torch_step import TorchStep


class Step(TorchStep):
    """``basic_entangling`` is one of our families; U3 and CU3 take the inner functions."""

    def build(self) -> None:
        """See `TorchStep`."""
        n, layers = self.workload.qubits, self.workload.layers
        self.circuit = None
        if self.workload.family == "hardware_efficient":
            weights = torch.zeros(layers, n, 3)  # a third angle per qubit, left at zero
            weights[..., 1:] = self.weights.detach().reshape(layers, n, 2)
            config = CircuitConfig(basis_angle_embedding="ry")
            self.circuit = Circuit(n, layers, "basic_entangling", config, weights=weights)

    def parameters(self) -> Sequence[Tensor]:
        """See `TorchStep`."""
        return [self.weights if self.circuit is None else self.circuit.params]

    def gradient(self) -> Tensor:
        """See `TorchStep`."""
        found = self.parameters()[0].grad
        assert found is not None
        return found if self.circuit is None else found[:, 0, :, 1:].reshape(-1)

    def model(self, inputs: Tensor) -> Tensor:
        """See `TorchStep`."""
        if self.circuit is not None:
            return self.circuit(inputs)
        n = self.workload.qubits
        state = torch.zeros(len(inputs), 2**n, dtype=torch.complex64)
        state[:, 0] = 1
        gates = {"rx": Rotations.get_rx, "ry": Rotations.get_ry, "rz": Rotations.get_rz}
        encoder = [g for g in self.workload.gates if g.source == "x"]
        for k in range(0, len(encoder), n):
            make = gates[encoder[k].name]
            wall = torch.stack([make(inputs[:, k + q]) for q in range(n)], 1)
            state = Ops.apply_single_qubit_wall_batched(state.clone(), wall.to(torch.complex64), n)
        for layer in self.weights.reshape(self.workload.layers, 2, n, 3):
            wall = Layout.get_single_qubit_pauli_rot_ops(n, layer[0], sigma_func=_rotations)
            state = Ops.apply_matrix(state, wall)
            for q in range(n):
                matrix = Controls.get_single_two_qubit_gate(
                    n, q, (q + 1) % n, phi=layer[1, q], sigma=_u3, dtype=torch.complex64,
                    device="cpu"
                )  # fmt: skip
                state = Ops.apply_matrix(state, matrix)
        return Measure.measure_local_Z(state)


def _rotations(angles: Tensor) -> Tensor:
    return Rotations.get_rot_gate(angles[..., [2, 0, 1]])


def _u3(angles: Tensor) -> Tensor:
    return torch.exp(0.5j * (angles[1] + angles[2])) * Rotations.get_rot_gate(angles[[2, 0, 1]])
