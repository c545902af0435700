"""The cost model: what a training step takes, from which the route is chosen.

Multiply-adds per amplitude and step of a matrix, for the state forwards, the state and the co-state
backwards, and the overlaps:

- 2x2: 8 for each of these four, 32 in all;
- 4x4: 16 for each, 64 in all; a CZ, a CX that moves rows, and an exchange of lanes and rows move
  data in the time of 5, 10 and 30;
- a unitary that all samples share: 4 per row, for the state, the co-state and its own co-state;
- a pass over a state that does not fit in the cache moves 48 bytes per amplitude, in the time of
  200.

Beside that every operation of every unit takes a while, and so does every factor of a matrix that
is built and differentiated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nisqkit.hardware_backends.native.operations import LANES, Operations
from nisqkit.hardware_backends.native.rows import COUNT, KIND
from nisqkit.hardware_backends.native.schedule import Schedule

ARITHMETIC = np.array([32.0, 64.0, 0.0, 0.0, 0.0])
"""Multiply-adds per amplitude and step, by kind of operation."""

MOVES = np.array([0.0, 0.0, 10.0, 5.0, 30.0])
"""Time of moving data, in multiply-adds per amplitude."""

DENSE = 12.0
"""Multiply-adds per amplitude and row of a unitary."""

PASS = 200.0
"""Time of moving state and co-state through a pass, in multiply-adds per amplitude."""

SETS = np.array([2, 4, 4, 4, 16])
"""Rows that belong together, by kind of operation; `rows.COUNT` counts such sets."""

CACHE = 2**20
"""Bytes of the L2 cache."""


@dataclass(frozen=True)
class Machine:
    """How fast one core is.

    Attributes:
        rate, far_rate: Float32 multiply-adds per second for units in the L2 cache, and larger ones.
        step: Seconds of a step that do not depend on the circuit: Python and torch.
        operation: Seconds of each operation of each unit, beside its arithmetic.
        factor: Seconds of each factor of 16 matrices: building and differentiating.
    """

    rate: float
    far_rate: float
    step: float
    operation: float
    factor: float

    def scaled(self, times: float, step: float) -> Machine:
        """A machine on which all but ``step`` takes so many times as long."""
        return Machine(
            self.rate / times, self.far_rate / times, step, self.operation * times,
            self.factor * times,
        )  # fmt: skip


TYPICAL = Machine(rate=50e9, far_rate=25e9, step=300e-6, operation=0.15e-6, factor=0.4e-6)
"""From which routes are chosen: a fixed one, so that a run gives the same bits everywhere.

Measured on one core of an Intel Xeon at 3.1 GHz (Cascade Lake, AVX-512; November 2026).
"""


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


def cost(
    schedule: Schedule,
    operations: Operations,
    batch: int,
    itemsize: int = 4,
    machine: Machine = TYPICAL,
    threads: int = 1,
) -> Cost:
    """The cost of a step.

    Args:
        schedule: Of the program.
        operations: Of the route in question.
        batch: Number of samples.
        itemsize: 4 for float32, 8 for float64.
        machine: On which it runs.
        threads: That divide the units, or the chunks of a wide unit.
    """
    tiles = -(-batch // LANES)
    units = batch if operations.route == "amplitudes" else tiles
    columns = operations.columns if operations.route == "unitary" else 0
    amplitudes = units * operations.rows * LANES
    dense = amplitudes * DENSE * operations.rows * (columns > 0)
    parts = units * operations.chunks
    needed = _work(operations.head, ARITHMETIC, parts) + _work(operations.tail, ARITHMETIC, columns)
    fits = 4 * operations.rows * LANES * itemsize <= CACHE
    passes = 0 if fits else 1 + len(operations.passes)  # one for initial state and outputs
    moved = _work(operations.table, MOVES, parts) + amplitudes * PASS * passes
    near = fits or bool(operations.passes)
    rate = (machine.rate if near else machine.far_rate) * 4 / itemsize
    calls = parts * len(operations.head) + columns * len(operations.tail)
    own = tiles * len(schedule.own.table) * machine.factor
    divided = (needed + dense + moved) / rate + calls * machine.operation + own
    workers = threads if operations.passes else max(1, min(threads, units))
    return Cost(
        multiply_adds=needed + dense,
        state_bytes=2 * amplitudes * itemsize * (2 if columns else 1),
        seconds=machine.step + len(schedule.shared.table) * machine.factor + divided / workers,
    )


def _work(table: NDArray[np.int64], per_amplitude: NDArray[np.float64], units: int) -> float:
    """Of so many units or chunks: the amplitudes that operations meet, times what each takes."""
    kinds = table[:, KIND]
    rows = float(((table[:, COUNT] * SETS[kinds]) * per_amplitude[kinds]).sum())
    return rows * units * LANES
