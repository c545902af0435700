"""Tasks: what to evaluate.

How to evaluate it is an `Execution` (``hardware_backends/execute.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program


@dataclass(frozen=True)
class Placement:
    """Where a program sits that is a device's own circuit already, and is not transpiled again.

    Attributes:
        physical: For each qubit of the program, the device's qubit.
        measured: For each logical qubit, on which the observables are, the qubit of the program
            that it is read on.
    """

    physical: tuple[int, ...]
    measured: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Task:
    """One program, evaluated on a batch of inputs.

    Attributes:
        program: What to run.
        inputs: Shape ``(batch, num_inputs)``, the program's inputs.
        weights: Shape ``(num_weights,)``, same dtype as the inputs.
        observables: What to measure.
        shots: Number of measurements per sample and measurement basis; ``None`` for exact values.
        seed: Key of all randomness of the task: (seed, step, task) as three integers.
        placement: Set if the program is the device's own circuit. Its observables are on logical
            qubits, in the letters I and Z: rotations into other bases are part of the circuit.
        noise_scale: The strength of the noise, as in `NoiseModel.scale`; simulators alone can
            change it.
        ideal: Whether to compute it without noise, exactly, whatever the backend: what mitigators
            that learn compare with. Only they ask for it.
    """

    program: Program
    inputs: Tensor
    weights: Tensor
    observables: Observables
    shots: int | None = None
    seed: tuple[int, int, int] = (0, 0, 0)
    placement: Placement | None = None
    noise_scale: float = 1.0
    ideal: bool = False

    @property
    def batch(self) -> int:
        """Number of samples."""
        return self.inputs.shape[0]
