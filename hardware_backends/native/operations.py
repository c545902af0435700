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
CHUNK_BITS = 11
"""Row bits worked on together in a wide circuit: state and co-state then fit in the L2 cache."""
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
    passes: tuple[tuple[tuple[int, ...], int], ...] = ()

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


def on_amplitudes(plan: Schedule, chunk_bits: int = CHUNK_BITS) -> Operations:
    """Lanes are the amplitudes of four qubits, at first of qubits 0 to 3.

    With more than ``chunk_bits + 2`` row bits, the circuit is cut into passes of ``chunk_bits``.
    """
    n = plan.num_qubits
    assert n >= FEWEST_QUBITS
    layout = _Layout(n)
    waiting = list(plan.blocks)
    passes: list[tuple[tuple[int, ...], int]] = []
    rows = n - LANE_QUBITS
    wide = rows > chunk_bits + 2
    while waiting:
        if wide:
            layout.choose_bits(waiting, chunk_bits)
        progress = True
        while progress:
            before = len(waiting)
            waiting = layout.run_what_is_on_rows(waiting)
            progress = layout.exchange(waiting)
            assert progress or len(waiting) < before or not waiting or wide
        passes.append((tuple(layout.bits), len(layout.table)))
    masks = tuple((1 << p, 1 << p) for p in layout.place)
    table = _array(layout.table)
    return Operations("amplitudes", 2**rows, table, masks, tuple(passes) if wide else ())


class _Layout:
    """Which qubit is where, and the operations so far.

    Attributes:
        place: For each qubit, its bit of the amplitude's index; the lowest four are the lanes.
        bits: The row bits that are worked on, ascending; operations count bits within these.
        table: The operations.
    """

    def __init__(self, num_qubits: int) -> None:
        self.place = list(range(num_qubits))
        self.bits = list(range(num_qubits - LANE_QUBITS))
        self.table: list[list[int]] = []

    def choose_bits(self, waiting: list[Block], count: int) -> None:
        """Work on the row bits of the qubits that are needed first."""
        first_use = self._first_use(waiting)
        on_rows = [q for q in range(len(self.place)) if self.place[q] >= LANE_QUBITS]
        chosen = sorted(on_rows, key=lambda q: first_use[q])[:count]
        self.bits = sorted(self.place[q] - LANE_QUBITS for q in chosen)

    def _first_use(self, waiting: list[Block]) -> dict[int, int]:
        first_use = {q: len(waiting) for q in range(len(self.place))}
        for k, block in reversed(list(enumerate(waiting))):
            first_use.update(dict.fromkeys(block.qubits, k))
        return first_use

    def _is_near(self, block: Block) -> bool:
        """Whether its qubits are on the lanes or on the bits that are worked on."""
        places = [self.place[q] for q in block.qubits]
        return all(p < LANE_QUBITS or p - LANE_QUBITS in self.bits for p in places)

    def run_what_is_on_rows(self, waiting: list[Block]) -> list[Block]:
        """Emit the near blocks whose qubits are on the rows and that no earlier block holds up.

        Returns the others.
        """
        held: set[int] = set()
        rest = []
        for block in waiting:
            on_rows = all(self.place[q] >= LANE_QUBITS for q in block.qubits)
            if on_rows and held.isdisjoint(block.qubits) and self._is_near(block):
                local = [self.bits.index(self.place[q] - LANE_QUBITS) for q in block.qubits]
                self.table.append(_row(block, [(1 << bit, 1 << bit) for bit in local]))
            else:
                held.update(block.qubits)
                rest.append(block)
        return rest

    def exchange(self, waiting: list[Block]) -> bool:
        """Exchange the lane qubits with the four row qubits that are needed last.

        Returns whether that was of use: whether a near block waits for it.
        """
        held: set[int] = set()
        for block in waiting:
            if held.isdisjoint(block.qubits) and self._is_near(block):
                break
            held.update(block.qubits)
        else:
            return False
        first_use = self._first_use(waiting)
        qubits = {p: q for q, p in enumerate(self.place)}
        on_rows = [qubits[bit + LANE_QUBITS] for bit in self.bits]
        leaving = [q for q in on_rows if q not in block.qubits]
        leaving = sorted(leaving, key=lambda q: -first_use[q])[:LANE_QUBITS]
        bits = sorted(self.bits.index(self.place[q] - LANE_QUBITS) for q in leaving)
        self.table.append([LANES_OUT, *bits, 0, 0, 0, 0, 0, 0])
        for lane, bit in enumerate(bits):
            row = self.bits[bit] + LANE_QUBITS
            coming, going = qubits[lane], qubits[row]
            self.place[coming], self.place[going] = row, lane
        return True


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
