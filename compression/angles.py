"""The periods of a circuit's weights."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor, nn

from nisqkit.circuits.program import Program


def angle_periods(program: Program) -> Tensor:
    """After how many radians each weight gives the same expectation values, ``(num_weights,)``.

    For a weight that gates take with a factor ``c`` and whose lowest frequency is ``f`` (1 for a
    Pauli rotation, 1/2 for a controlled one) this is ``2 pi / (c f)``. Weights that no gate takes
    have ``2 pi``.

    Raises:
        ValueError: a weight whose angles have no common period, or that stands in a formula.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from qiskit.circuit import Parameter
        >>> from nisqkit.circuits.lower import lower
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.ry(Parameter("a"), 0), circuit.cry(Parameter("b"), 0, 1)
        >>> angle_periods(lower(circuit)) / torch.pi
        tensor([2., 4.], dtype=torch.float64)
    """
    first = len(program.inputs)
    of_slot: dict[int, list[float]] = {}
    for use in program.gates:
        if use.name != "barrier":
            for k, slot in enumerate(use.slots):
                of_slot.setdefault(slot, []).append(use.gate.frequencies[k][0])
    found: list[set[float]] = [set() for _ in program.weights]
    for slot, parameter, factor in program.angle_map.terms:
        if parameter >= first:
            found[parameter - first].update(abs(factor) * f for f in of_slot.get(slot, ()))
    nonlinear = program.angle_map.nonlinear
    if nonlinear is not None:
        for parameters in nonlinear.parameters:
            if weights := [p for p in parameters if p >= first]:
                name = program.weights[weights[0] - first]
                raise ValueError(
                    f"weight {name!r} stands in a formula, so it has no grid: leave angle_bits at "
                    "32, or give the gate a weight of its own"
                )
    periods = []
    for name, frequencies in zip(program.weights, found, strict=True):
        lowest = min(frequencies, default=1.0)
        if any(abs(f / lowest - round(f / lowest)) > 1e-9 for f in frequencies):
            raise ValueError(
                f"the angles of weight {name!r} have no common period: leave angle_bits at 32"
            )
        periods.append(2 * pi / lowest)
    return torch.tensor(periods, dtype=torch.float64)


def periods_of(circuit: nn.Module, name: str) -> Tensor:
    """The periods of a circuit module's weights.

    Raises:
        ValueError: it has no program or no weights, or as `angle_periods`.
    """
    program = getattr(circuit, "program", None)
    if not isinstance(program, Program) or not isinstance(
        getattr(circuit, "weights", None), nn.Parameter
    ):
        raise ValueError(
            f"angle_bits: {name!r} is a {type(circuit).__name__} without `program` and `weights`, "
            "so its angles are not known: leave angle_bits at 32"
        )
    return angle_periods(program)
