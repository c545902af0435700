"""Layers of a circuit: gates that can run at the same time."""

from __future__ import annotations

from itertools import pairwise

from nisqkit.circuits.program import GateUse, Program


def layers_of(program: Program) -> tuple[tuple[GateUse, ...], ...]:
    """The gates of each layer, every gate as early as it can be.

    Written one layer after another they are the same circuit. A barrier ends the layer of the gates
    before it.

    Example:
        >>> from nisqkit.circuits import hardware_efficient, lower
        >>> program = lower(hardware_efficient(3, layers=1))
        >>> [[use.name for use in layer] for layer in layers_of(program)]
        [['ry', 'ry', 'ry'], ['rz', 'rz', 'rz'], ['cx'], ['cx'], ['cx']]
    """
    free = [0] * program.num_qubits  # the first layer that each qubit is free in
    found: list[list[GateUse]] = []
    for use in program.gates:
        at = max((free[q] for q in use.qubits), default=0)
        if use.name == "barrier":
            at = max(0, at - 1)
        if at == len(found):
            found.append([])
        found[at].append(use)
        for q in use.qubits:
            free[q] = at + 1
    return tuple(tuple(layer) for layer in found)


def chunks(program: Program, number: int) -> tuple[tuple[GateUse, ...], ...]:
    """The layers in groups of neighbours, of nearly equal size; the larger ones come first.

    Raises:
        ValueError: Less than one group, or more groups than layers.

    Example:
        >>> from nisqkit.circuits import hardware_efficient, lower
        >>> program = lower(hardware_efficient(3, layers=1))  # 5 layers
        >>> [[use.name for use in chunk] for chunk in chunks(program, 2)]
        [['ry', 'ry', 'ry', 'rz', 'rz', 'rz', 'cx'], ['cx', 'cx']]
    """
    every = layers_of(program)
    if not 1 <= number <= len(every):
        raise ValueError(
            f"the circuit has {len(every)} layers, which cannot be {number} chunks: give "
            f"num_chunks from 1 to {len(every)}"
        )
    size, more = divmod(len(every), number)
    ends = [k * size + min(k, more) for k in range(number + 1)]
    return tuple(tuple(use for layer in every[a:b] for use in layer) for a, b in pairwise(ends))
