"""The cost model: what a training step takes, from which the route is chosen.

A step of one unit (see `kernels`) is a forward pass, an un-applied state and co-state, and
overlaps:

- a 2x2 matrix takes 8 multiply-adds per amplitude for each of these four: 32;
- a 4x4 matrix takes 16 for each: 64;
- a CX that moves rows, a CZ and an exchange of lanes and rows take the time of 10, 5 and 30.

The rate is that of rows in the L2 cache, and lower for units that do not fit. All constants were
measured with float32 on one core of a Zen 5 machine at some 4 GHz (November 2026); on other
machines they are a guide; nothing but the choice of a route depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.native.operations import (
    FEWEST_QUBITS,
    Operations,
    on_amplitudes,
    on_samples,
)
from nisqkit.hardware_backends.native.schedule import schedule
from nisqkit.hardware_backends.native.vectors import LANES

ARITHMETIC = np.array([32.0, 64.0, 0.0, 0.0, 0.0])
"""Multiply-adds per amplitude and step, by kind of operation."""

MOVES = np.array([0.0, 0.0, 10.0, 5.0, 30.0])
"""Time of moving data, in multiply-adds per amplitude."""

RATE, FAR_RATE = 95e9, 60e9
"""Float32 multiply-adds per second and core, for units in the L2 cache and for larger ones."""

CACHE = 2**20
"""Bytes of the L2 cache."""

PER_STEP, PER_OPERATION = 150e-6, 0.18e-6
"""Seconds for Python and torch, and for each operation of each unit."""


@dataclass(frozen=True)
class Cost:
    """Of one training step.

    Attributes:
        multiply_adds: Needed after fusion, forwards and backwards.
        state_bytes: Memory of the states kept for the backward pass; does not grow with depth.
        seconds: Predicted, on one core.
    """

    multiply_adds: float
    state_bytes: int
    seconds: float


def cost(operations: Operations, batch: int, itemsize: int = 4) -> Cost:
    """The cost of a step.

    Args:
        operations: Of the route in question.
        batch: Number of samples.
        itemsize: 4 for float32, 8 for float64.
    """
    units = -(-batch // LANES) if operations.route == "samples" else batch
    counts = np.bincount(operations.table[:, 0], minlength=5)
    amplitudes = units * operations.rows * LANES
    unit_bytes = 4 * operations.rows * LANES * itemsize  # state and co-state
    near = unit_bytes <= CACHE or bool(operations.passes)
    rate = (RATE if near else FAR_RATE) * 4 / itemsize
    work = amplitudes * float(counts @ (ARITHMETIC + MOVES))
    seconds = PER_STEP + units * len(operations.table) * PER_OPERATION + work / rate
    return Cost(
        multiply_adds=amplitudes * float(counts @ ARITHMETIC),
        state_bytes=2 * amplitudes * itemsize,
        seconds=seconds,
    )


def step_seconds(program: Program, batch: int, threads: int) -> float:
    """Predicted seconds of a float32 training step with Z on each qubit, on the cheaper route.

    Threads divide the arithmetic where there is enough of it, not the work of Python and torch.
    """
    blocks = schedule(program)
    options = [on_samples(blocks)]
    if blocks.num_qubits >= FEWEST_QUBITS:
        options.append(on_amplitudes(blocks))
    best = min(options, key=lambda o: cost(o, batch).seconds)
    units = -(-batch // LANES) if best.route == "samples" else batch
    parts = threads if best.passes else max(1, min(threads, units))
    return PER_STEP + (cost(best, batch).seconds - PER_STEP) / parts
