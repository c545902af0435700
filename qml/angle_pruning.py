"""Pruning circuits: small angles become zero while training goes on, and idle gates are removed.

Source: Wang et al., QuantumNAS, HPCA 2022 (arXiv:2107.10845), and, for pruning that grows other
angles in exchange, Liu et al., QuantumSEA, QCE 2023 (arXiv:2401.05571).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import NamedTuple

import numpy as np
import torch
from qiskit import QuantumCircuit
from torch import Tensor, nn

from nisqkit.circuits.program import GateUse
from nisqkit.compression.schedule import PruningSchedule
from nisqkit.hardware_backends.slot_circuit import slot_angles
from nisqkit.qml.layer import QuantumLayer
from nisqkit.qml.models import quantum_layers

IDLE = 1e-3  # radians; below it an angle counts as zero


def wrapped(angles: Tensor) -> Tensor:
    """Angles in (-pi, pi].

    Example:
        >>> wrapped(torch.tensor([0.5, 3 * torch.pi / 2])).round(decimals=3)
        tensor([ 0.5000, -1.5710])
    """
    return pi - torch.remainder(pi - angles, 2 * pi)


@dataclass(frozen=True)
class AnglePruning:
    """Iterative magnitude pruning of trained angles, over all circuits of a model together.

    At the start of every epoch the smallest share of all angles is set to zero and kept there; the
    share rises from ``start`` to ``target`` by a cubic polynomial. Which angles these are is
    decided anew each time, with those that are zero at the value that they had before: a pruned one
    may come back, with that value.

    With ``grow`` the share is constant and each epoch exchanges angles: that part of the active
    ones which is smallest is pruned, and as many pruned ones with the largest mean gradient grow
    from zero (sparse training as in QuantumSEA, from a circuit that is small from the beginning).

    Args:
        target: Share of the angles that is zero at the end, below 1.
        start: Share in the first epoch.
        end: Part of training over which the share rises.
        grow: Part of the active angles that is exchanged in each epoch; None: none.

    Raises:
        ValueError: A share or part that is none, or as `PruningSchedule`.

    Example:
        >>> [round(AnglePruning(0.5).share(progress), 3) for progress in (0, 0.25, 0.5, 1)]
        [0.05, 0.444, 0.5, 0.5]
    """

    target: float
    start: float = 0.05
    end: float = 0.5
    grow: float | None = None

    def __post_init__(self) -> None:
        self._schedule()  # raises for numbers out of range
        if self.grow is not None and not 0 < self.grow < 1:
            raise ValueError(f"grow={self.grow} must be between 0 and 1")

    def share(self, progress: float) -> float:
        """Share of pruned angles at a point of training between 0 and 1."""
        return self.target if self.grow is not None else self._schedule().share(progress)

    def _schedule(self) -> PruningSchedule:
        """The schedule that weights of classical layers are pruned by, too."""
        return PruningSchedule(min(self.start, self.target), self.target, self.end)

    def attach(self, model: nn.Module) -> None:
        """Give every circuit of a model the buffers of its pruned angles; they are saved with it.

        Raises:
            ValueError: The model has no `QuantumLayer`.
        """
        layers = quantum_layers(model).values()
        if not layers:
            raise ValueError("pruning angles needs a model with a QuantumLayer")
        for layer in layers:
            if "pruned" not in layer._buffers:
                layer.register_buffer("pruned", torch.zeros_like(layer.weights, dtype=torch.bool))
                layer.register_buffer("pruned_angles", torch.zeros_like(layer.weights.detach()))
                layer.register_buffer("gradients", torch.zeros_like(layer.weights.detach()))

    def begin_epoch(self, model: nn.Module, progress: float) -> None:
        """Choose the angles that are zero from now on.

        Args:
            model: After `attach`.
            progress: Part of training that is done.
        """
        layers = list(quantum_layers(model).values())
        total = sum(layer.weights.numel() for layer in layers)
        number = round(self.share(progress) * total)
        with torch.no_grad():
            if self.grow is not None and progress > 0:
                pruned = self._exchanged(layers, number)
            else:
                for layer in layers:
                    now = _buffers(layer)
                    layer.weights[now.pruned] = now.angles[now.pruned]
                sizes = torch.cat([wrapped(layer.weights).abs() for layer in layers])
                pruned = torch.zeros(total, dtype=torch.bool)
                pruned[sizes.argsort(stable=True)[:number]] = True
            sizes_of = [layer.weights.numel() for layer in layers]
            for layer, mask in zip(layers, torch.split(pruned, sizes_of), strict=True):
                now = _buffers(layer)
                fresh = mask & ~now.pruned if self.grow is not None else mask
                now.angles[fresh] = layer.weights[fresh]
                now.pruned.copy_(mask)
                layer.weights[mask] = 0.0
                now.gradients.zero_()

    def _exchanged(self, layers: list[QuantumLayer], number: int) -> Tensor:
        """Which angles are pruned after dropping the smallest and growing the steepest."""
        assert self.grow is not None
        before = torch.cat([_buffers(layer).pruned for layer in layers])
        sizes = torch.cat([wrapped(layer.weights).abs() for layer in layers])
        steep = torch.cat([_buffers(layer).gradients for layer in layers])
        exchanged = min(int(self.grow * (~before).sum()), int(before.sum()))
        after = before.clone()
        after[sizes.masked_fill(before, torch.inf).argsort(stable=True)[:exchanged]] = True
        order = steep.masked_fill(~before, -torch.inf).argsort(stable=True, descending=True)
        after[order[: int(after.sum()) - number]] = False
        return after

    def before_step(self, model: nn.Module) -> None:
        """Take the gradient of pruned angles, and remember its size for those that may grow."""
        for layer in quantum_layers(model).values():
            if layer.weights.grad is not None:
                with torch.no_grad():
                    now = _buffers(layer)
                    now.gradients.mul_(0.9).add_(layer.weights.grad.abs(), alpha=0.1)
                    layer.weights.grad[now.pruned] = 0.0

    def after_step(self, model: nn.Module) -> None:
        """Undo what the optimizer's momentum did to pruned angles."""
        with torch.no_grad():
            for layer in quantum_layers(model).values():
                layer.weights[_buffers(layer).pruned] = 0.0


class _Buffers(NamedTuple):
    """What is kept with a layer: which angles are pruned, their values, sizes of gradients."""

    pruned: Tensor
    angles: Tensor
    gradients: Tensor


def _buffers(layer: QuantumLayer) -> _Buffers:
    found = [layer._buffers[name] for name in ("pruned", "pruned_angles", "gradients")]
    pruned, angles, gradients = (buffer for buffer in found if buffer is not None)
    return _Buffers(pruned, angles, gradients)


def idle_gates(layer: QuantumLayer, tolerance: float = IDLE) -> tuple[bool, ...]:
    """For each instruction of a layer's circuit, whether it does nothing at the present weights.

    Gates that depend on an input, and gates without angles, always do something.

    Args:
        layer: The layer.
        tolerance: Largest angle, in radians and modulo full turns, that counts as nothing.

    Example:
        >>> from nisqkit.circuits import hardware_efficient
        >>> layer = QuantumLayer(hardware_efficient(2, layers=1), seed=0)
        >>> with torch.no_grad():
        ...     _ = layer.weights.copy_(torch.tensor([0.0, 1.0, 2.0, 0.0]))
        >>> idle_gates(layer)
        (True, False, False, True, False)
    """
    program = layer.program
    inputs = layer.weights.detach().new_zeros(1, len(program.inputs)).double()
    angles = slot_angles(program, inputs, layer.weights.detach().double())[0]
    batched = set(program.angle_map.batched_slots)
    parts: dict[int, list[bool]] = {}
    for use in program.gates:
        nothing = bool(use.slots) and not batched.intersection(use.slots)
        if nothing:
            at = angles[list(use.slots)]
            nothing = bool((wrapped(at).abs() <= tolerance).all()) and _is_identity(use, at)
        parts.setdefault(use.group, []).append(nothing)
    return tuple(all(parts.get(k, [False])) for k in range(program.num_groups))


def _is_identity(use: GateUse, angles: Tensor) -> bool:
    """Whether a gate with tiny angles is near the identity, up to a phase (u2 never is)."""
    matrix = use.gate.matrix(torch.zeros_like(angles)).numpy()
    return bool(np.allclose(matrix, np.eye(len(matrix)) * matrix[0, 0], atol=1e-9))


def without_idle_gates(layer: QuantumLayer, tolerance: float = IDLE) -> QuantumLayer:
    """The same layer without the gates that do nothing, on the same backend.

    Raises:
        ValueError: The layer was not made from a `QuantumCircuit`.

    Example:
        >>> from nisqkit.circuits import hardware_efficient
        >>> layer = QuantumLayer(hardware_efficient(2, layers=1), seed=0)
        >>> with torch.no_grad():
        ...     _ = layer.weights.copy_(torch.tensor([0.0, 1.0, 2.0, 0.0]))
        >>> small = without_idle_gates(layer)
        >>> small.program, torch.allclose(small(), layer())
        (Program(2 qubits, 3 gates, 0 inputs, 2 weights), True)
    """
    if layer.circuit is None:
        raise ValueError("only a layer that was made from a QuantumCircuit can lose gates")
    idle = idle_gates(layer, tolerance)
    circuit: QuantumCircuit = layer.circuit.copy_empty_like()
    for k, instruction in enumerate(layer.circuit.data):
        if k >= len(idle) or not idle[k]:
            circuit.append(instruction)
    used = {p.name for p in circuit.parameters}
    inputs = [name for name in layer.program.inputs if name in used]
    small = QuantumLayer(circuit, inputs=inputs or None, seed=layer.seed)
    small.observables = layer.observables
    small.to(layer.weights.dtype)
    place = {name: k for k, name in enumerate(layer.program.weights)}
    with torch.no_grad():
        for k, name in enumerate(small.program.weights):
            small.weights[k] = layer.weights[place[name]]
    execution = layer.execution
    moved = small.with_backend(
        execution.backend,
        noise=execution.noise,
        layout=execution.layout,
        shots=layer.shots,
        diff_method=execution.diff_method,
        mitigation=execution.mitigation,
    )
    return moved
