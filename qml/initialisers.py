"""Where the weights of a circuit start."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

import torch
from torch import Tensor

from nisqkit.circuits.names import unknown
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program

MIRROR = "_mirror"


def uniform(program: Program, observables: Observables, random: torch.Generator) -> Tensor:
    """Uniform over a full turn, ``[-pi, pi)``.

    The usual choice, and the one that meets barren plateaus.
    """
    return pi * (2 * torch.rand(len(program.weights), generator=random, dtype=torch.float64) - 1)


def small_angle(program: Program, observables: Observables, random: torch.Generator) -> Tensor:
    """Uniform in ``[-0.1, 0.1)``: the circuit starts near its value at zero angles."""
    return 0.1 * (2 * torch.rand(len(program.weights), generator=random, dtype=torch.float64) - 1)


def gaussian(program: Program, observables: Observables, random: torch.Generator) -> Tensor:
    """Gaussian with variance ``1 / (4 S (L + 2))``.

    ``L`` is the depth; observables act on up to ``S`` qubits.
    Source: Zhang et al., NeurIPS 2022 (arXiv:2203.09376).
    """
    level = [0] * program.num_qubits
    for use in program.gates:
        if use.slots:
            deepest = 1 + max(level[q] for q in use.qubits)
            for q in use.qubits:
                level[q] = deepest
    widest = max((len(s) - s.count("I") for s in observables.strings), default=program.num_qubits)
    variance = 1 / (4 * max(widest, 1) * (max(level) + 2))
    return sqrt(variance) * torch.randn(len(program.weights), generator=random, dtype=torch.float64)


def identity_block(program: Program, observables: Observables, random: torch.Generator) -> Tensor:
    """Uniform over a full turn, both halves of a `nisqkit.circuits.mirrored` ansatz equal.

    The circuit starts as the identity.
    Source: Grant et al., Quantum 3, 214 (2019).

    Raises:
        ValueError: A weight without its mirror.
    """
    values = uniform(program, observables, random)
    position = {name: k for k, name in enumerate(program.weights)}
    pairs = 0
    for name, k in position.items():
        head, bracket, tail = name.partition("[")
        if head.endswith(MIRROR):
            continue
        twin = position.get(head + MIRROR + bracket + tail)
        if twin is None:
            raise ValueError(
                "init='identity-block' needs an ansatz made by nisqkit.circuits.mirrored, "
                f"but weight {name!r} has no mirror"
            )
        values[twin] = values[k]
        pairs += 1
    assert 2 * pairs == len(position)
    return values


INITIALISERS: dict[str, Callable[[Program, Observables, torch.Generator], Tensor]] = {
    "uniform": uniform,
    "small-angle": small_angle,
    "gaussian": gaussian,
    "identity-block": identity_block,
}


def initial_weights(
    init: str | Tensor, program: Program, observables: Observables, seed: int
) -> Tensor:
    """Initial weights, float64, shape ``(num_weights,)``.

    Args:
        init: A name, ``"auto"`` (small-angle) or the values themselves.
        program: The program.
        observables: What is measured.
        seed: Seed of the draw.

    Raises:
        ValueError: An unknown name, or values of the wrong shape or not finite.
    """
    if not isinstance(init, str):
        values = torch.as_tensor(init, dtype=torch.float64).detach().clone()
        if values.shape != (len(program.weights),):
            raise ValueError(
                f"init has shape {tuple(values.shape)}, "
                f"but the circuit has {len(program.weights)} weights"
            )
        if not values.isfinite().all():
            raise ValueError("init holds NaN or infinite values")
        return values
    name = "small-angle" if init == "auto" else init
    if name not in INITIALISERS:
        raise ValueError(unknown("init", name, ("auto", *INITIALISERS)))
    return INITIALISERS[name](program, observables, torch.Generator().manual_seed(seed))
