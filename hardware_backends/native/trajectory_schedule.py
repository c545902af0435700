"""Schedules of noisy programs for trajectories: branches of channels as factors of the blocks.

Gates fuse as without noise (see ``schedule.py``). The branch of a channel is one more fixed factor
of a block: for all runs the most probable branch, until a run draws another one. A Pauli error on
two qubits is two errors on one qubit each. So noise between gates costs nothing where no error
happens, and CX gates still move no data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from nisqkit.circuits.gates import ComplexArray
from nisqkit.circuits.program import GateUse
from nisqkit.hardware_backends.native.schedule import (
    _SWAP,
    CX,
    CZ,
    ONE,
    PAIRS,
    TWO,
    Block,
    BlockFactor,
    Schedule,
    _factors,
    _gather,
    _merge_fixed,
    _starts,
)
from nisqkit.hardware_backends.native.trajectory_branches import Branches, branches
from nisqkit.noise.noisy_program import NoiseUse, NoisyProgram


@dataclass(frozen=True, eq=False)
class BranchFactor(BlockFactor):
    """The most probable branch of a channel, as a factor of a block.

    Attributes:
        place: Which channel of the program it is.
        operators: What each branch does here instead: (B, 2, 2) or (B, 4, 4).
    """

    place: int
    operators: ComplexArray

    @classmethod
    def make(cls, found: Branches, part: int, place: int, swapped: bool = False) -> BranchFactor:
        """A part of a channel's branches, on one qubit or with its two qubits swapped."""
        operators = found.operators[part]
        if swapped:
            operators = operators[:, _SWAP][:, :, _SWAP]
        return cls.of(operators, place)

    @classmethod
    def of(cls, operators: ComplexArray, place: int) -> BranchFactor:
        """Operators on one qubit, or on two."""
        zero = np.zeros_like(operators[0])
        pairs = ((0, 1),) if len(zero) == 2 else ()
        matrices = operators[0], zero, zero
        return cls(pairs, matrices, zero, 0.0, -1, place, operators)

    @property
    def plain(self) -> bool:
        """Whether it is the identity unless another branch is drawn."""
        return bool((self.operators[0] == np.eye(len(self.operators[0]))).all())

    def split_diagonal(self) -> tuple[BranchFactor, BranchFactor]:
        """What is not diagonal, on one qubit, and then what is."""
        one = np.eye(2, dtype=complex)
        diagonal = (self.operators[:, [0, 1], [1, 0]] == 0).all(axis=1)[:, None, None]
        return (
            self.of(np.where(diagonal, one, self.operators), self.place),
            self.of(np.where(diagonal, self.operators, one), self.place),
        )


@dataclass(frozen=True, eq=False)
class NoisySchedule:
    """A noisy program as blocks; all of their matrices are in ``schedule.own``.

    Attributes:
        schedule: The blocks.
        factors: All factors, in the order of ``schedule.own``.
        places: Branches of each channel.
    """

    schedule: Schedule
    factors: tuple[BlockFactor, ...]
    places: tuple[Branches, ...]


def noisy_schedule(noisy: NoisyProgram) -> NoisySchedule:
    """Fuse gates and channels into blocks.

    Raises:
        ValueError: A channel acts on more than two qubits.
    """
    program = noisy.program
    fusion = _Fusion(frozenset(program.angle_map.batched_slots))
    places: list[Branches] = []
    for use in noisy.operations:
        if isinstance(use, NoiseUse):
            places.append(branches(use.channel))
            fusion.add_channel(places[-1], use.qubits, len(places) - 1)
        else:
            fusion.add_gate(use)
    fusion.close(list(fusion.runs))
    blocks = fusion.blocks
    for block in blocks:
        block.own = bool(fusion.own(block.factors))
        block.factors = _merge(block.factors)
    first = _starts(blocks) if program.prepare is None else []
    blocks = [*first, *(b for b in blocks if b not in first)]
    matrices = [b for b in blocks if b.kind in (ONE, TWO)]
    groups = _gather(matrices, per_lane=False)
    nothing = _gather([], per_lane=False)
    made = Schedule(program.num_qubits, tuple(blocks), nothing, groups, len(first), len(blocks))
    return NoisySchedule(made, tuple(f for b in matrices for f in b.factors), tuple(places))


class _Fusion:
    """Blocks so far.

    Factors with an input's angle are never in one block with those of a weight's angle; fixed
    factors go with either.

    Attributes:
        batched: Slots that differ from sample to sample.
        blocks: In the order of application.
        runs: What stands on one qubit and waits for what comes next.
        newest: The last block on each qubit.
    """

    def __init__(self, batched: frozenset[int]) -> None:
        self.batched = batched
        self.blocks: list[Block] = []
        self.runs: dict[int, Block] = {}
        self.newest: dict[int, Block] = {}

    def own(self, factors: Iterable[BlockFactor]) -> bool | None:
        """Whether a sample has its own matrix of these factors; None if they are fixed."""
        slots = {f.slot for f in factors if f.slot >= 0}
        return not slots.isdisjoint(self.batched) if slots else None

    def emit(self, block: Block) -> None:
        """Append a block."""
        self.blocks.append(block)
        self.newest.update(dict.fromkeys(block.qubits, block))

    def may_join(self, block: Block, own: bool | None) -> bool:
        """Whether factors with this `own` may go to a block."""
        return own is None or self.own(block.factors) in (None, own)

    def close(self, qubits: Iterable[int]) -> None:
        """End the runs on some qubits."""
        for q in qubits:
            if q in self.runs:
                self.emit(self.runs.pop(q))

    def on_one(self, qubit: int, factors: Sequence[BlockFactor]) -> None:
        """Append factors on one qubit to what waits there."""
        if qubit in self.runs and not self.may_join(self.runs[qubit], self.own(factors)):
            self.close([qubit])
        self.runs.setdefault(qubit, Block(ONE, (qubit,))).factors += factors

    def on_two(
        self, qubits: tuple[int, ...], make: Callable[[tuple[int, ...]], list[BlockFactor]]
    ) -> None:
        """Append factors on two qubits, from their order, with what waits on these."""
        a, b = qubits
        block = self._pair(a, b)
        candidates = [make(qubits), block.factors if block else []]
        candidates += [self.runs[q].factors for q in qubits if q in self.runs]
        own = next((k for k in map(self.own, candidates) if k is not None), None)
        self.close([q for q in qubits if q in self.runs and not self.may_join(self.runs[q], own)])
        block = self._pair(a, b)
        if block is None or not self.may_join(block, own):
            block = Block(TWO, (a, b))
            self.emit(block)
        for q in qubits:
            if q in self.runs:
                block.factors += _widen(self.runs.pop(q).factors, block.qubits.index(q))
        block.factors += make(block.qubits)

    def _pair(self, a: int, b: int) -> Block | None:
        """The matrix that is the last block on both qubits."""
        block = self.newest.get(a)
        return block if block is self.newest.get(b) and block and block.kind == TWO else None

    def add_gate(self, use: GateUse) -> None:
        """Append a gate."""
        if use.name in ("id", "barrier"):
            return
        if use.name in ("cx", "cz", "swap"):
            a, b = use.qubits
            diagonal = {"cx": [a], "cz": [a, b]}.get(use.name, [])
            passing = {q: self.take_diagonal(q) for q in diagonal}
            self.close(use.qubits)
            for pair in {"cx": [(a, b)], "swap": [(a, b), (b, a), (a, b)]}.get(use.name, []):
                self.emit(Block(CX, pair))
            if use.name == "cz":
                self.emit(Block(CZ, use.qubits))
            for q, factors in passing.items():
                if factors:
                    self.on_one(q, factors)
        elif len(use.qubits) == 1:
            self.on_one(use.qubits[0], _factors(use, use.qubits))
        else:
            self.on_two(use.qubits, lambda qubits: _factors(use, qubits))

    def take_diagonal(self, qubit: int) -> list[BlockFactor]:
        """Take what commutes with a CX's control from the end of what waits, if all is noise.

        What is left then often does nothing without an error, and so costs nothing.
        """
        waiting = self.runs[qubit].factors if qubit in self.runs else []
        taken: list[BlockFactor] = []
        if not all(isinstance(f, BranchFactor) for f in waiting):
            return taken
        while waiting and isinstance(last := waiting[-1], BranchFactor):
            left, diagonal = last.split_diagonal()
            whole = bool((left.operators == np.eye(2)).all())
            if not whole and diagonal.plain:
                break
            taken.insert(0, diagonal)
            waiting.pop()
            if not whole:  # what comes before need not commute with it
                waiting.append(left)
                break
        if not waiting:
            self.runs.pop(qubit, None)
        return taken

    def add_channel(self, found: Branches, qubits: tuple[int, ...], place: int) -> None:
        """Append a channel's branches."""
        for part, operators in enumerate(found.operators):
            if len(operators[0]) == 4:
                self.on_two(
                    qubits,
                    lambda order: [BranchFactor.make(found, 0, place, order != qubits)],
                )
            elif (operators != np.eye(2)).any():
                q = qubits[part]
                factor = BranchFactor.make(found, part, place)
                block = self.newest.get(q)
                if q not in self.runs and block and block.kind == TWO:
                    block.factors += _widen([factor], block.qubits.index(q))
                else:
                    self.on_one(q, [factor])


def _widen(factors: Iterable[BlockFactor], position: int) -> list[BlockFactor]:
    """Factors on one qubit as factors on the block's two."""
    return [replace(f, pairs=PAIRS["a" if position == 0 else "b"]) for f in factors]


def _merge(factors: Sequence[BlockFactor]) -> list[BlockFactor]:
    """Multiply neighbouring fixed factors together, but no branches: they may be exchanged."""
    merged: list[BlockFactor] = []
    for is_branch, group in groupby(factors, lambda f: isinstance(f, BranchFactor)):
        found = list(group)
        merged += found if is_branch else _merge_fixed(found)
    return merged
