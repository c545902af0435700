"""Where qubits stand in memory: blocks as the table of operations that the kernels read.

Three routes:

- ``"samples"``: the lanes are 16 samples and the rows all amplitudes. CX gates only change the
  masks of the qubits.
- ``"unitary"``: the same up to the last matrix that is a sample's own. What comes after it is one
  unitary for all samples: its columns are the lanes, and it is then applied as a dense matrix.
  Worth it for many samples of few qubits.
- ``"amplitudes"``: the lanes are the amplitudes of four qubits of one sample, for few samples of
  many qubits. A qubit that is needed while it is on the lanes is brought to the rows by an exchange
  of four qubits with four others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nisqkit.hardware_backends.native.rows import COUNT, KIND, LANES_OUT, SOURCE, TRAINED
from nisqkit.hardware_backends.native.schedule import CX, CZ, ONE, SHARED, TWO, Block, Schedule

ROUTES = ("samples", "unitary", "amplitudes")
LANE_QUBITS = 4
LANES: int = 2**LANE_QUBITS
CHUNK_BITS = 11
"""Row bits worked on together in a wide circuit: state and co-state then fit in the L2 cache."""
FEWEST_QUBITS = 9
"""For the amplitudes route: four qubits leave the rows while one is needed there."""
FEWEST_UNITARY, MOST_UNITARY = 2, 9
"""For the unitary route: dense matrices have ``4**n`` entries, applied four rows at a time."""


def routes(num_qubits: int) -> tuple[str, ...]:
    """The routes that fit a circuit."""
    fits = {
        "samples": True,
        "unitary": FEWEST_UNITARY <= num_qubits <= MOST_UNITARY,
        "amplitudes": num_qubits >= FEWEST_QUBITS,
    }
    return tuple(route for route in ROUTES if fits[route])


@dataclass(frozen=True, eq=False)
class Operations:
    """What the kernels run.

    Attributes:
        route: One of `ROUTES`.
        rows: Rows of a unit.
        table: (K, 12) integers, one row per operation. ``KIND``; ``V1, W1`` and ``V2, W2``, the
            masks of the first and the second qubit on the rows; ``P1, P2``, two bits such that the
            rows where both are zero meet each set of rows that belong together once; ``SOURCE, ROW,
            LANE``, the matrix; ``TRAINED``; ``COUNT``, the number of these sets, or of those so
            far, while a product state is made. For an exchange, columns ``V1`` to ``W2`` are the
            four row bits.
        split: How many operations come before the unitary; all but on the route ``"unitary"``.
        masks: For each qubit ``(v, w)`` at the end: flipping the qubit flips the bits ``v`` of an
            amplitude's index ``16 row + lane`` (or ``row``), and the qubit is the parity of the
            index and ``w``.
    """

    route: str
    rows: int
    table: NDArray[np.int64]
    masks: tuple[tuple[int, int], ...]
    split: int
    passes: tuple[tuple[tuple[int, ...], int], ...] = ()

    @cached_property
    def head(self) -> NDArray[np.int64]:
        """The operations on samples, before the unitary."""
        return self.table[: self.split]

    @cached_property
    def tail(self) -> NDArray[np.int64]:
        """The operations of the unitary."""
        return self.table[self.split :]

    @property
    def chunks(self) -> int:
        """How many chunks of rows a unit has: one, but in passes."""
        return self.rows >> len(self.passes[0][0]) if self.passes else 1

    @cached_property
    def columns(self) -> int:
        """How many units the columns of the unitary are."""
        return int(max(1, self.rows // LANES))

    @cached_property
    def work(self) -> float:
        """Of one unit's forward pass, in rows times one-qubit matrices."""
        dense = self.rows / 2 if self.route == "unitary" else 0.0
        return self.rows * (_work(self.head) + dense)

    @cached_property
    def unitary_work(self) -> float:
        """The same of all columns of the unitary."""
        return self.columns * self.rows * _work(self.tail)

    @cached_property
    def head_shared(self) -> bool:
        """Whether an operation on samples is trained for all of them."""
        return bool(((self.head[:, SOURCE] == SHARED) & (self.head[:, TRAINED] == 1)).any())

    @cached_property
    def first_trained(self) -> tuple[int, int]:
        """The first operation on samples that is trained: of the shared ones, and of all."""
        trained = self.head[:, TRAINED] == 1
        shared = trained & (self.head[:, SOURCE] == SHARED)
        first, second = (int(t.argmax()) if t.any() else len(t) for t in (shared, trained))
        return first, second


def _work(table: NDArray[np.int64]) -> float:
    return float(np.array([1.0, 2.5, 0.3, 0.2, 1.0])[table[:, KIND]].sum())


def operations(plan: Schedule, route: str) -> Operations:
    """What the kernels run on a route; on samples where there is nothing to share."""
    if route == "amplitudes":
        return on_amplitudes(plan)
    return on_samples(plan, unitary=route == "unitary")


def on_samples(plan: Schedule, unitary: bool = False) -> Operations:
    """Lanes are samples; CX gates become changes of masks.

    With ``unitary``, the blocks after the last own matrix are split off.
    """
    v = [1 << q for q in range(plan.num_qubits)]
    w = list(v)
    table: list[list[int]] = []
    split = None
    for k, block in enumerate(plan.blocks):
        if k == plan.split and unitary:
            split = len(table)
        if block.kind == CX:
            c, t = block.qubits
            v[c] ^= v[t]
            w[t] ^= w[c]
        else:
            table.append(_row(block, [(v[q], w[q]) for q in block.qubits], plan.num_qubits))
        if k < plan.starts:
            table[-1][COUNT] = 2**k
    masks = tuple(zip(v, w, strict=True))
    route = "samples" if split is None else "unitary"
    split = len(table) if split is None else split
    return Operations(route, 2**plan.num_qubits, _array(table), masks, split)


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
    return Operations(
        "amplitudes", 2**rows, table, masks, len(table), tuple(passes) if wide else ()
    )


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
                masks = [(1 << bit, 1 << bit) for bit in local]
                self.table.append(_row(block, masks, len(self.bits)))
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
        sets = 2 ** len(self.bits) >> LANE_QUBITS
        self.table.append([LANES_OUT, *bits, 0, 0, 0, 0, 0, 0, sets])
        for lane, bit in enumerate(bits):
            row = self.bits[bit] + LANE_QUBITS
            coming, going = qubits[lane], qubits[row]
            self.place[coming], self.place[going] = row, lane
        return True


def _row(block: Block, masks: list[tuple[int, int]], bits: int) -> list[int]:
    (v1, w1), (v2, w2) = (*masks, (0, 0))[:2]
    p1 = (v1 & -v1).bit_length() - 1
    reduced = v2 ^ v1 if (v2 >> p1) & 1 else v2
    p2 = (reduced & -reduced).bit_length() - 1 if v2 else 0
    matrix = block.kind in (ONE, TWO)
    assert matrix or block.kind in (CX, CZ)
    return [
        block.kind, v1, w1, v2, w2, p1, p2,
        block.source, block.row, block.lane, int(matrix and block.trained), 2**bits >> len(masks),
    ]  # fmt: skip


def _array(table: list[list[int]]) -> NDArray[np.int64]:
    return np.array(table, dtype=np.int64).reshape(-1, 12)
