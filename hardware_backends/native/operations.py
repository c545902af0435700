"""Where qubits stand in memory: blocks as the table of operations that the kernels read.

Two routes:

- ``"samples"``: the lanes are 16 samples and the rows all amplitudes. CX gates only change the
  masks of the qubits.
- ``"amplitudes"``: the lanes are the amplitudes of four qubits of one sample, for few samples of
  many qubits. A qubit that is needed while it is on the lanes is brought to the rows by an exchange
  of four qubits with four others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nisqkit.hardware_backends.native.kernels import CX, CZ, KIND, LANES_OUT, ONE, TWO
from nisqkit.hardware_backends.native.schedule import Block, Schedule

ROUTES = ("samples", "amplitudes")
LANE_QUBITS = 4
FEWEST_QUBITS = 9
"""For the amplitudes route: four qubits leave the rows while one is needed there."""


@dataclass(frozen=True, eq=False)
class Operations:
    """What the kernels run.

    Attributes:
        route: One of `ROUTES`.
        rows: Rows of a unit.
        table: (K, 11) integers, one row per operation. ``KIND``; ``V1, W1`` and ``V2, W2``, the
            masks of the first and the second qubit on the rows; ``P1, P2``, two bits such that the
            rows where both are zero meet each set of rows that belong together once; ``SOURCE, ROW,
            LANE``, the matrix; ``TRAINED``. For an exchange, columns ``V1`` to ``W2`` are the four
            row bits.
        masks: For each qubit ``(v, w)`` at the end: flipping the qubit flips the bits ``v`` of an
            amplitude's index ``16 row + lane`` (or ``row``), and the qubit is the parity of the
            index and ``w``.
    """

    route: str
    rows: int
    table: NDArray[np.int64]
    masks: tuple[tuple[int, int], ...]

    @cached_property
    def work(self) -> float:
        """Of one unit's forward pass, in rows times one-qubit matrices."""
        weights = np.array([1.0, 2.5, 0.3, 0.2, 1.0])
        return self.rows * float(weights[self.table[:, KIND]].sum())


def on_samples(plan: Schedule) -> Operations:
    """Lanes are samples; CX gates become changes of masks."""
    v = [1 << q for q in range(plan.num_qubits)]
    w = list(v)
    table: list[list[int]] = []
    for block in plan.blocks:
        if block.kind == CX:
            c, t = block.qubits
            v[c] ^= v[t]
            w[t] ^= w[c]
        else:
            table.append(_row(block, [(v[q], w[q]) for q in block.qubits]))
    masks = tuple(zip(v, w, strict=True))
    return Operations("samples", 2**plan.num_qubits, _array(table), masks)


def on_amplitudes(plan: Schedule) -> Operations:
    """Lanes are the amplitudes of four qubits, at first of qubits 0 to 3."""
    n = plan.num_qubits
    assert n >= FEWEST_QUBITS
    place = list(range(n))  # each qubit's bit of the amplitude's index; the lowest four are lanes
    waiting = list(plan.blocks)
    table: list[list[int]] = []
    while waiting:
        waiting = _run_what_is_on_rows(waiting, place, table)
        if waiting:
            _exchange(waiting, place, table)
    masks = tuple((1 << p, 1 << p) for p in place)
    return Operations("amplitudes", 2 ** (n - LANE_QUBITS), _array(table), masks)


def _run_what_is_on_rows(
    waiting: list[Block], place: list[int], table: list[list[int]]
) -> list[Block]:
    """Emit the blocks whose qubits are on the rows and that no earlier block holds up.

    Returns the others.
    """
    held: set[int] = set()
    rest = []
    for block in waiting:
        if held.isdisjoint(block.qubits) and all(place[q] >= LANE_QUBITS for q in block.qubits):
            bits = [1 << (place[q] - LANE_QUBITS) for q in block.qubits]
            table.append(_row(block, [(bit, bit) for bit in bits]))
        else:
            held.update(block.qubits)
            rest.append(block)
    return rest


def _exchange(waiting: list[Block], place: list[int], table: list[list[int]]) -> None:
    """Exchange the lane qubits with the four row qubits that are needed last."""
    first_use = {q: len(waiting) for q in range(len(place))}
    for k, block in reversed(list(enumerate(waiting))):
        first_use.update(dict.fromkeys(block.qubits, k))
    needed = set(waiting[0].qubits)
    on_rows = [q for q in range(len(place)) if place[q] >= LANE_QUBITS and q not in needed]
    leaving = sorted(on_rows, key=lambda q: -first_use[q])[:LANE_QUBITS]
    bits = sorted(place[q] - LANE_QUBITS for q in leaving)
    table.append([LANES_OUT, *bits, 0, 0, 0, 0, 0, 0])
    lanes = {p: q for q, p in enumerate(place) if p < LANE_QUBITS}
    rows = {p: q for q, p in enumerate(place)}
    for k, bit in enumerate(bits):
        coming, going = lanes[k], rows[bit + LANE_QUBITS]
        place[coming], place[going] = place[going], place[coming]


def _row(block: Block, masks: list[tuple[int, int]]) -> list[int]:
    (v1, w1), (v2, w2) = (*masks, (0, 0))[:2]
    p1 = (v1 & -v1).bit_length() - 1
    reduced = v2 ^ v1 if (v2 >> p1) & 1 else v2
    p2 = (reduced & -reduced).bit_length() - 1 if v2 else 0
    matrix = block.kind in (ONE, TWO)
    assert matrix or block.kind in (CX, CZ)
    return [
        block.kind, v1, w1, v2, w2, p1, p2,
        block.source, block.row, block.lane, int(matrix and block.trained),
    ]  # fmt: skip


def _array(table: list[list[int]]) -> NDArray[np.int64]:
    return np.array(table, dtype=np.int64).reshape(-1, 11)
