"""Clifford data regression: learn what noise does from circuits that can be computed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi

import numpy as np
import torch
from torch import Tensor

from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task

from ..model import NoiseModel
from .base import Cost, Estimate, Mitigator, Round, of_part

_STEPS: dict[str, float] = {
    **dict.fromkeys(("rx", "ry", "rz", "p", "u1", "r", "u", "u2", "u3"), pi / 2),
    **dict.fromkeys(("rxx", "ryy", "rzz", "rzx"), pi / 2),
    **dict.fromkeys(("crx", "cry", "crz", "cp", "cu1"), pi),
}
"""Gates that are Clifford gates where all their angles are multiples of this."""

_QUBITS = 24
"""The widest circuit whose training values are computed, as a state vector."""


@dataclass(frozen=True)
class CliffordDataRegression(Mitigator):
    """Clifford data regression.

    Training circuits are the circuit itself with most of its angles moved to the nearest ones that
    make Clifford gates. Each sample's are run with the noise and computed without; a line through
    their values, by least squares, tells what to make of the noisy value. All training circuits of
    all samples are rows of one batch, and a circuit is never written twice.

    The line undoes readout errors as well. Other mitigators come before it in a list.

    Which angles are nearest jumps as weights change, so that it is not differentiable.

    Source: Czarnik et al., Quantum 5, 592 (2021), arXiv:2005.10189.

    Args:
        num_training: Training circuits per sample.
        fraction_non_clifford: Share of the angles that stay as they are, chosen at random.
        seed: Of that choice.

    Raises:
        ValueError: Less than two training circuits, a share that is no share; when it runs: gates
            such as cu3 whose angles have no Clifford values, more than 24 qubits, or a gradient is
            wanted.

    Example:
        >>> CliffordDataRegression(20).cost()
        Cost(circuits=21, shots=21)
    """

    num_training: int = 20
    fraction_non_clifford: float = 0.3
    seed: int = 0
    differentiable = False
    rank = 4

    def __post_init__(self) -> None:
        if self.num_training < 2:
            raise ValueError(f"num_training={self.num_training} must be at least 2, for a line")
        if not 0 <= self.fraction_non_clifford < 1:
            raise ValueError(
                f"fraction_non_clifford={self.fraction_non_clifford} must be at least 0 and below 1"
            )

    def cost(self) -> Cost:
        """The training circuits and the circuit itself, each with all shots."""
        return Cost(self.num_training + 1, self.num_training + 1)

    def check(self, task: Task, model: NoiseModel | None) -> None:
        """See `Mitigator.check`."""
        clifford_steps(task.program)
        if task.program.num_qubits > _QUBITS:
            raise ValueError(
                f"CliffordDataRegression computes its training circuits as state vectors, of at "
                f"most {_QUBITS} qubits, and this circuit has {task.program.num_qubits}: use ZNE"
            )

    def run(self, task: Task, model: NoiseModel | None) -> Round:
        """See `Mitigator.run`."""
        angles = task.program.angles(task.inputs, task.weights).detach()
        rows = self.training_angles(task.program, angles)
        training = replace(
            task,
            program=task.program.by_slots,
            inputs=rows.flatten(0, 1),
            weights=task.weights.new_zeros(0),
            seed=of_part(task, 1),
        )
        ideal = replace(training, shots=None, ideal=True)
        raw, noisy, exact = yield [replace(task, seed=of_part(task, 0)), training, ideal]
        shape = (task.batch, self.num_training, -1)
        slope, offset = _line(noisy.values.reshape(shape), exact.values.reshape(shape))
        std = None if raw.std is None else slope.abs() * raw.std
        return Estimate(slope * raw.values + offset, std)

    def training_angles(self, program: Program, angles: Tensor) -> Tensor:
        """The angles of the training circuits.

        Args:
            program: The circuit.
            angles: Those of its slots, shape ``(batch, num_slots)``.

        Returns:
            Shape ``(batch, num_training, num_slots)``. All samples keep the same angles as they
            are.
        """
        steps = clifford_steps(program)
        slots = [slot for slot, step in enumerate(steps) if step]
        sizes = angles.new_tensor([steps[slot] for slot in slots])
        nearest = (angles[:, slots] / sizes).round() * sizes
        moving = ((nearest - angles[:, slots]).abs() > 1e-9).any(dim=0).nonzero()[:, 0]
        kept = round(self.fraction_non_clifford * len(moving))
        random = np.random.default_rng(self.seed)
        found = angles[:, None].repeat(1, self.num_training, 1)
        for k in range(self.num_training):
            keep = torch.as_tensor(random.permutation(len(moving))[:kept])
            row = nearest.clone()
            row[:, moving[keep]] = angles[:, slots][:, moving[keep]]
            found[:, k, slots] = row
        return found


def clifford_steps(program: Program) -> tuple[float, ...]:
    """For each slot, which multiples make a Clifford gate; 0 for slots of no gate.

    Raises:
        ValueError: A gate whose angles have no such values, or an amplitude input.

    Example:
        >>> from nisqkit.circuits import hardware_efficient, lower
        >>> [round(step, 3) for step in clifford_steps(lower(hardware_efficient(1, layers=1)))]
        [1.571, 1.571]
    """
    key = (clifford_steps,)
    if key not in program.cache:
        if program.prepare is not None:
            raise ValueError(
                "CliffordDataRegression needs gates with angles, and this circuit loads amplitudes:"
                " use it on a device, or with another encoder"
            )
        steps = [0.0] * program.angle_map.num_slots
        for use in program.gates:
            if use.slots and use.name not in _STEPS:
                raise ValueError(
                    f"CliffordDataRegression has no Clifford angles for {use.name} on {use.qubits}:"
                    " use it on a device, whose circuits have rotations of one qubit only"
                )
            for slot in use.slots:
                steps[slot] = _STEPS[use.name]
        program.cache[key] = tuple(steps)
    found: tuple[float, ...] = program.cache[key]
    return found


def _line(noisy: Tensor, exact: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares for ``exact = slope * noisy + offset``.

    Args:
        noisy: Shape ``(batch, training, outputs)``.
        exact: The same.

    Returns:
        Slope and offset, each ``(batch, outputs)``. Where the noisy values are all the same there
        is no slope to be seen, and it is 1.
    """
    x, y = noisy.mean(dim=1), exact.mean(dim=1)
    apart = noisy - x[:, None]
    spread = apart.square().sum(dim=1)
    flat = spread < 1e-12
    slope = (apart * (exact - y[:, None])).sum(dim=1) / spread.masked_fill(flat, 1.0)
    slope = slope.masked_fill(flat, 1.0)
    return slope, y - slope * x
