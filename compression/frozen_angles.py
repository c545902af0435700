"""Circuits in which some weights are constants: no shifted copies run for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nisqkit.circuits.angles import NonlinearMap
from nisqkit.circuits.program import Program


def freeze_angles(program: Program, values: Tensor, trained: Sequence[int]) -> Program:
    """The same circuit with fewer weights: those not trained are constants of its angles.

    The structure is kept. Angles that depend on frozen weights alone depend on nothing any more, so
    that parameter shift runs no copies for them: a rotation saves two executions per sample.

    Args:
        program: The circuit.
        values: (weights,), what the frozen ones are; the entries of trained ones play no part.
        trained: Positions of the weights that are left, in the order of the new ones.

    Raises:
        ValueError: Positions that are out of range or not all different, or values of another
            number.

    Example:
        >>> from nisqkit.circuits import hardware_efficient, lower
        >>> program = lower(hardware_efficient(2, layers=1))
        >>> small = freeze_angles(program, torch.tensor([0.1, 0.2, 0.3, 0.4]), [2])
        >>> small.weights == program.weights[2:3]
        True
        >>> small.angles(torch.zeros(1, 0), torch.tensor([0.5]))
        tensor([[0.1000, 0.2000, 0.5000, 0.4000]])
    """
    old = program.angle_map
    check_positions(trained, len(old.weights))
    if values.shape != (len(old.weights),):
        raise ValueError(
            f"values have the shape {tuple(values.shape)}, but the circuit has {len(old.weights)} "
            "weights"
        )
    numbers = values.detach().tolist()
    n = len(old.inputs)
    place = {n + position: n + k for k, position in enumerate(trained)}
    place |= {k: k for k in range(n)}
    constants, terms = list(old.constants), []
    for slot, parameter, coefficient in old.terms:
        if parameter in place:
            terms.append((slot, place[parameter], coefficient))
        else:
            constants[slot] += coefficient * numbers[parameter - n]
    nonlinear = old.nonlinear
    if nonlinear is not None:
        kept = {k: number for k, number in enumerate(numbers) if n + k not in place}
        nonlinear = NonlinearMap(
            nonlinear.slots,
            tuple(tuple(place[p] for p in used if p in place) for used in nonlinear.parameters),
            f"{nonlinear.key} with weights {kept}, {list(trained)}",
            _WithConstants(nonlinear, tuple(numbers), tuple(trained)),
        )
    names = tuple(old.weights[position] for position in trained)
    return replace(
        program,
        angle_map=replace(
            old, weights=names, constants=tuple(constants), terms=tuple(terms), nonlinear=nonlinear
        ),
    )


def check_positions(trained: Sequence[int], count: int) -> None:
    """Raise a ValueError unless these are different positions of so many weights."""
    whole = all(type(k) is int and 0 <= k < count for k in trained)
    if not whole or len(set(trained)) < len(trained):
        raise ValueError(
            f"angles {list(trained)} are chosen, but must be different positions from 0 to "
            f"{count - 1}, as the circuit has {count} weights"
        )


@dataclass(frozen=True)
class _WithConstants:
    """A formula of all weights, of which some are constants."""

    formula: NonlinearMap
    numbers: tuple[float, ...]
    trained: tuple[int, ...]

    def __call__(self, inputs: Tensor, weights: Tensor) -> Tensor:
        full = weights.new_tensor(self.numbers).expand(*weights.shape[:-1], len(self.numbers))
        where = torch.tensor(self.trained, dtype=torch.int64, device=weights.device)
        return self.formula.function(inputs, full.index_copy(-1, where, weights))
