"""Schedules: a program's gates fused into matrices, and the matrices gathered into groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nisqkit.circuits.gates import ComplexArray, gate
from nisqkit.circuits.program import GateUse, Program

ONE, TWO, CX, CZ = range(4)
"""Kinds of blocks."""

SHARED, OWN = 0, 1
"""Whose matrix it is: all samples', or each sample's own."""

_SWAP = np.array([0, 2, 1, 3])

PAIRS = {"a": ((0, 1), (2, 3)), "b": ((0, 2), (1, 3)), "ca": ((1, 3),), "cb": ((2, 3),)}
"""Rows of a 4x4 matrix that a 2x2 matrix mixes: on the first or second qubit, or controlled."""


@dataclass(frozen=True, eq=False)
class BlockFactor:
    """A factor of a block: a 2x2 matrix on some pairs of rows, or a full 4x4 matrix.

    Attributes:
        pairs: The pairs of rows; empty for a full 4x4 matrix.
        matrices: ``C0, C1, C2``, each ``(2, 2)`` or ``(4, 4)``.
        generator: ``G`` of ``exp(i angle G)``, in the same form; zeros for a fixed factor.
        frequency: The factor is ``C0 + cos(frequency angle) C1 + sin(frequency angle) C2``.
        slot: Slot of the program that holds the angle; -1 for a fixed factor.
    """

    pairs: tuple[tuple[int, int], ...]
    matrices: tuple[ComplexArray, ComplexArray, ComplexArray]
    generator: ComplexArray
    frequency: float
    slot: int

    @property
    def signature(self) -> tuple[Any, ...]:
        """Two factors with equal signatures differ in their slots only."""
        data = b"".join(m.tobytes() for m in (*self.matrices, self.generator))
        return self.pairs, data, self.frequency, self.slot < 0


@dataclass(eq=False)
class Block:
    """An operation on qubits: a matrix (``ONE``, ``TWO``), ``CX`` or ``CZ``.

    Attributes:
        kind: ``ONE``, ``TWO``, ``CX`` or ``CZ``.
        qubits: First qubit least significant; control first.
        own: Whether the matrix depends on an input, and so belongs to one sample.
        factors: In the order of application.
        row, lane: Where its matrix stands among the groups: first row, and lane (if shared).
    """

    kind: int
    qubits: tuple[int, ...]
    own: bool = False
    factors: list[BlockFactor] = field(default_factory=list)
    row: int = 0
    lane: int = 0

    @property
    def trained(self) -> bool:
        """Whether it has an angle."""
        return any(f.slot >= 0 for f in self.factors)

    @property
    def source(self) -> int:
        """`OWN` or `SHARED`."""
        return OWN if self.own else SHARED


@dataclass(frozen=True, eq=False)
class Groups:
    """Matrices of the same kinds of factors, 16 side by side.

        These are the arrays that `matrices.build` and `matrices.chain` read.

    Attributes:
        groups, pairs, table, generator, trained: See `matrices.build` and `matrices.chain`.
        slots: (F, 16): for each factor and lane, the program's slot that it reads, or -1.
        frequency: (F,), of each factor.
    """

    groups: NDArray[np.int64]
    pairs: NDArray[np.int64]
    table: ComplexArray
    generator: ComplexArray
    trained: NDArray[np.bool_]
    slots: NDArray[np.int64]
    frequency: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Schedule:
    """A program as blocks; ``shared`` and ``own`` hold their matrices.

    Attributes:
        starts: How many blocks at the beginning are matrices on the qubits 0, 1, 2, ... while these
            are still in |0>: they make a product state.
        split: How many blocks come before those that need no sample's own matrix any more.
    """

    num_qubits: int
    blocks: tuple[Block, ...]
    shared: Groups
    own: Groups
    starts: int
    split: int


@lru_cache(maxsize=256)
def schedule(program: Program) -> Schedule:
    """Fuse a program's gates into blocks.

    Runs of gates on one qubit become one 2x2 matrix; a two-qubit gate takes the runs before it on
    its qubits into its 4x4 matrix, and gates on the same pair join it. CX, CZ and SWAP stay alone,
    since they need no arithmetic. Gates that depend on an input are never fused with gates that do
    not: the matrices of the latter are built once for all samples.
    """
    batched = set(program.angle_map.batched_slots)
    blocks: list[Block] = []
    runs: dict[int, Block] = {}  # gates on one qubit that wait for what comes next
    newest: dict[int, Block] = {}  # the last block on each qubit

    def emit(block: Block) -> None:
        blocks.append(block)
        newest.update(dict.fromkeys(block.qubits, block))

    def close(qubits: Iterable[int]) -> None:
        for q in qubits:
            if q in runs:
                emit(runs.pop(q))

    for use in program.gates:
        own = any(s in batched for s in use.slots)
        if use.name in ("id", "barrier"):
            continue
        if use.name in ("cx", "cz", "swap"):
            close(use.qubits)
            a, b = use.qubits
            for pair in {"cx": [(a, b)], "swap": [(a, b), (b, a), (a, b)]}.get(use.name, []):
                emit(Block(CX, pair))
            if use.name == "cz":
                emit(Block(CZ, use.qubits))
        elif len(use.qubits) == 1:
            q = use.qubits[0]
            if q in runs and runs[q].own != own:
                close([q])
            runs.setdefault(q, Block(ONE, use.qubits, own)).factors += _factors(use, use.qubits)
        else:
            a, b = use.qubits
            close([q for q in (a, b) if q in runs and runs[q].own != own])
            block = newest.get(a)
            if not (block and block is newest.get(b) and block.kind == TWO and block.own == own):
                block = Block(TWO, (a, b), own)
                emit(block)
            for q in (a, b):
                if q in runs:
                    block.factors += [_widen(f, block.qubits.index(q)) for f in runs.pop(q).factors]
            block.factors += _factors(use, block.qubits)
    close(list(runs))
    for block in blocks:
        block.factors = _merge_fixed(block.factors)
    starts = _starts(blocks) if program.prepare is None else []
    later = [b for b in blocks if b not in starts]
    tail = _tail(later)
    head = [*starts, *(b for b in later if b not in tail)]
    blocks = [*head, *tail]
    shared = _gather([b for b in blocks if b.kind in (ONE, TWO) and not b.own], per_lane=True)
    own_groups = _gather([b for b in blocks if b.own], per_lane=False)
    return Schedule(program.num_qubits, tuple(blocks), shared, own_groups, len(starts), len(head))


def _starts(blocks: list[Block]) -> list[Block]:
    """The first blocks on the qubits 0, 1, 2, ... as long as they are on one qubit."""
    first: dict[int, Block] = {}
    for block in blocks:
        for q in block.qubits:
            first.setdefault(q, block)
    found: list[Block] = []
    while len(found) in first and first[len(found)].kind == ONE:
        found.append(first[len(found)])
    return found


def _tail(blocks: list[Block]) -> list[Block]:
    """The blocks that come after every sample's own matrices, or can be moved there."""
    tail: list[Block] = []
    held: set[int] = set()
    for block in reversed(blocks):
        if block.own or not held.isdisjoint(block.qubits):
            held.update(block.qubits)
        else:
            tail.insert(0, block)
    return tail


def _factors(use: GateUse, qubits: tuple[int, ...]) -> list[BlockFactor]:
    """The factors of a gate, in the qubit order of its block."""
    return [
        replace(factor, slot=use.slots[param]) if param is not None else factor
        for factor, param in _forms(use.name, use.matrix, use.qubits != qubits)
    ]


@lru_cache(maxsize=1024)
def _forms(
    name: str, matrix: tuple[complex, ...] | None, swapped: bool
) -> list[tuple[BlockFactor, int | None]]:
    """The factors of a gate, and which of its angles each takes; with its two qubits swapped."""
    result = []
    for factor in gate(name, matrix).factors:
        matrices, generator = factor.expansion, factor.matrix
        if swapped:
            order = np.ix_(_SWAP, _SWAP)
            matrices = (matrices[0][order], matrices[1][order], matrices[2][order])
            generator = generator[order]
        if factor.param is None:
            generator = np.zeros_like(generator)
        form = _compress(BlockFactor((), matrices, generator, factor.frequency, -1))
        result.append((form, factor.param))
    return result


def _compress(full: BlockFactor) -> BlockFactor:
    """Write a factor as a 2x2 matrix on pairs of rows, if it is one."""
    c0, c1, c2 = full.matrices
    if len(c0) == 2:
        return BlockFactor(((0, 1),), full.matrices, full.generator, full.frequency, full.slot)
    for pairs in PAIRS.values():
        p, q = pairs[0]
        small = [m[np.ix_([p, q], [p, q])] for m in (c0, c1, c2, full.generator)]
        rest = np.eye(4, dtype=complex)
        wide = [
            rest.copy(),
            np.zeros((4, 4), complex),
            np.zeros((4, 4), complex),
            np.zeros((4, 4), complex),
        ]
        for rows in pairs:
            for matrix, part in zip(wide, small, strict=True):
                matrix[np.ix_(rows, rows)] = part
        if all(
            np.allclose(a, b, atol=1e-15)
            for a, b in zip(wide, (c0, c1, c2, full.generator), strict=True)
        ):
            matrices = (small[0], small[1], small[2])
            return BlockFactor(pairs, matrices, small[3], full.frequency, full.slot)
    return full


def _widen(factor: BlockFactor, position: int) -> BlockFactor:
    """A factor on one qubit as one on the block's two."""
    pairs = PAIRS["a" if position == 0 else "b"]
    return BlockFactor(pairs, factor.matrices, factor.generator, factor.frequency, factor.slot)


def _merge_fixed(factors: list[BlockFactor]) -> list[BlockFactor]:
    """Multiply neighbouring fixed factors of the same form together."""
    merged: list[BlockFactor] = []
    for factor in factors:
        last = merged[-1] if merged else None
        if last and factor.slot < 0 and last.slot < 0 and factor.pairs == last.pairs:
            product = factor.matrices[0] @ last.matrices[0]
            merged[-1] = BlockFactor(
                factor.pairs, (product, *factor.matrices[1:]), factor.generator, 0.0, -1
            )
        else:
            merged.append(factor)
    return merged


def _gather(blocks: list[Block], per_lane: bool) -> Groups:
    """Put blocks of equal signature side by side, or with ``per_lane=False`` one in all lanes.

    Sets their rows and lanes.
    """
    newest: dict[tuple[Any, ...], int] = {}  # the last group of each signature
    members: list[list[Block]] = []
    for block in blocks:
        key = (block.kind, *(f.signature for f in block.factors))
        index = newest.get(key)
        if index is None or not per_lane or len(members[index]) == 16:
            newest[key] = index = len(members)
            members.append([])
        block.row, block.lane = 16 * index, len(members[index])
        members[index].append(block)
    rows: list[list[int]] = []
    pairs: list[list[int]] = []
    tables: list[ComplexArray] = []
    generators: list[ComplexArray] = []
    slots: list[list[int]] = []
    frequencies: list[float] = []
    for group in members:
        first = len(tables)
        for k, factor in enumerate(group[0].factors):
            pairs.append([len(factor.pairs), *np.ravel(factor.pairs).astype(int), *[0] * 4][:5])
            table = np.zeros((3, 16), complex)
            for c, matrix in enumerate(factor.matrices):
                table[c, : matrix.size] = matrix.ravel()
            tables.append(table)
            generators.append(np.pad(factor.generator.ravel(), (0, 16 - factor.generator.size)))
            slots.append([*(b.factors[k].slot for b in group), *[-1] * 16][:16])
            frequencies.append(factor.frequency)
        rows.append([first, len(tables), 2 if group[0].kind == ONE else 4])
    return Groups(
        np.array(rows, dtype=np.int64).reshape(-1, 3),
        np.array(pairs, dtype=np.int64).reshape(-1, 5),
        np.array(tables, dtype=complex).reshape(-1, 3, 16),
        np.array(generators, dtype=complex).reshape(-1, 16),
        np.array([f > 0 for f in frequencies], dtype=bool),
        np.array(slots, dtype=np.int64).reshape(-1, 16),
        np.array(frequencies, dtype=np.float64),
    )
