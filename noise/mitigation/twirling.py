"""Pauli twirling: random Pauli gates around two-qubit gates, which leave the circuit as it is.

On average over them, whatever error follows the gate acts as a mixture of Pauli operators: coherent
errors no longer add up, and extrapolation sees noise of one kind. Source: Wallman and Emerson,
Phys. Rev. A 94, 052325 (2016).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import pi

import numpy as np
import torch

from nisqkit.circuits.program import GateUse, Program
from nisqkit.circuits.task import Task

from ..model import NoiseModel
from ..pauli_basis import paulis
from .base import Cost, Estimate, Mitigator, Round, of_part

_TWIRLED = ("cx", "cz", "ecr", "swap", "iswap", "cy", "dcx")
"""Two-qubit gates that take Pauli operators to Pauli operators."""


@dataclass(frozen=True)
class PauliTwirling(Mitigator):
    """The mean over copies of the circuit with random Paulis around its two-qubit gates.

    The Paulis are gates of the device (x and rz), and as noisy as all others. Angles stay symbolic:
    a copy is made once per structure, and serves all samples and steps.

    Args:
        num: Number of copies, among which the shots are divided.
        seed: Of the Paulis.

    Raises:
        ValueError: No copies, or fewer shots than copies.

    Example:
        >>> PauliTwirling(16).cost()
        Cost(circuits=16, shots=1)
    """

    num: int = 16
    seed: int = 0
    rank = 0

    def __post_init__(self) -> None:
        if self.num < 1:
            raise ValueError(f"num={self.num} must be at least 1")

    def cost(self) -> Cost:
        """More circuits; the shots are divided among them."""
        return Cost(self.num, 1)

    def check(self, task: Task, model: NoiseModel | None) -> None:
        """See `Mitigator.check`."""
        if task.shots is not None and task.shots < self.num:
            raise ValueError(
                f"shots={task.shots} cannot be divided among {self.num} twirled copies: take more "
                "shots, or a smaller num"
            )

    def run(self, task: Task, model: NoiseModel | None) -> Round:
        """See `Mitigator.run`."""
        old = model is not None and has_old_gates(model)
        shots = None if task.shots is None else task.shots // self.num
        results = yield [
            replace(
                task,
                program=twirled(task.program, self.seed, k, old),
                shots=shots,
                seed=of_part(task, k),
            )
            for k in range(self.num)
        ]
        values = torch.stack([result.values for result in results]).mean(dim=0)
        known = [result.std for result in results if result.std is not None]
        if len(known) < len(results):
            return Estimate(values)
        return Estimate(values, torch.stack(known).square().sum(dim=0).sqrt() / self.num)


def twirled(program: Program, seed: int, copy: int, old: bool = False) -> Program:
    """One random copy of a circuit, kept with it.

    Args:
        program: Any program; gates other than `_TWIRLED` stay as they are.
        seed: Of all copies.
        copy: Which one.
        old: Whether the device has u1 and u3 in place of rz and x.

    Example:
        >>> from nisqkit.circuits import hardware_efficient, lower
        >>> program = lower(hardware_efficient(2, layers=1))
        >>> sum(use.name == "cx" for use in twirled(program, seed=0, copy=1).gates)
        1
    """
    key = twirled, seed, copy, old
    if key not in program.cache:
        random = np.random.default_rng((seed, copy))
        gates: list[GateUse] = []
        constants: list[float] = []

        def put(pauli: int, q: int) -> None:
            for name, angles in PAULI_GATES[old][pauli]:
                first = program.angle_map.num_slots + len(constants)
                constants.extend(angles)
                slots = tuple(range(first, first + len(angles)))
                gates.append(GateUse(name, (q,), slots, tags=("twirl",)))

        for use in program.gates:
            if use.name not in _TWIRLED:
                gates.append(use)
                continue
            before = int(random.integers(16))
            after = _conjugated(use.name)[before]
            for pauli, at in ((before, 0), (after, 1)):
                if at:
                    gates.append(use)
                for position, q in enumerate(use.qubits):
                    put(pauli >> 2 * position & 3, q)
        angle_map = program.angle_map.extended([(0, 0.0, c) for c in constants])
        program.cache[key] = replace(program, gates=tuple(gates), angle_map=angle_map)
    found: Program = program.cache[key]
    return found


PAULI_GATES = {
    False: ((), (("x", ()),), (("rz", (pi,)), ("x", ())), (("rz", (pi,)),)),
    True: (
        (),
        (("u3", (pi, 0.0, pi)),),
        (("u1", (pi,)), ("u3", (pi, 0.0, pi))),
        (("u1", (pi,)),),
    ),
}
"""Pauli operators as gates, up to a phase, in the order I, X, Y, Z; on old devices by u1 and u3."""


def has_old_gates(model: NoiseModel) -> bool:
    """Whether its device has u1 and u3 in place of rz and x, as IBM's before 2021."""
    gates = () if model.device is None else model.device.native_gates
    return "x" not in gates and "u3" in gates


@lru_cache(maxsize=32)
def _conjugated(name: str) -> tuple[int, ...]:
    """For each pair of Paulis before a gate, the pair behind it that undoes them.

    Numbers have the first qubit's Pauli in their two lowest bits.
    """
    record = GateUse(name, (0, 1)).gate
    matrix = record.matrix(torch.zeros(0, dtype=torch.float64)).numpy()
    every = paulis(2)
    found = []
    for operator in every:
        moved = matrix @ operator @ matrix.conj().T
        overlaps = [abs(np.trace(p.conj().T @ moved)) / 4 for p in every]
        assert np.isclose(max(overlaps), 1), f"{name} takes Paulis to other operators"
        found.append(int(np.argmax(overlaps)))
    return tuple(found)
