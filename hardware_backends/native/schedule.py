"""Schedules: a program's gates grouped into the blocks that the kernels run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nisqkit.circuits.gates import ComplexArray
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.native.kernels import CX, CZ, ONE, TWO

_SWAP = np.array([0, 2, 1, 3])


@dataclass
class _Factor:
    matrices: tuple[ComplexArray, ComplexArray, ComplexArray]
    frequency: float
    slot: int  # of the program; -1 for a fixed factor


@dataclass
class _Block:
    kind: int
    qubits: tuple[int, ...]
    per_lane: bool
    factors: list[_Factor]


@dataclass(frozen=True, eq=False)
class Factors:
    """Factors of a list of matrices as arrays, in the order that `kernels.build` reads."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    dims: NDArray[np.int64]
    slot: NDArray[np.int64]
    frequency: NDArray[np.float64]
    table: NDArray[np.complex128]

    @property
    def index(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """All but the table."""
        return self.first, self.last, self.dims, self.slot, self.frequency


@dataclass(frozen=True, eq=False)
class Schedule:
    """What the kernels run for one program.

    Attributes:
        blocks: ``(K, 5)``: kind, qubit a, qubit b, 1 if the matrix is per lane, index among the
            shared or the per-lane matrices.
        shared: Matrices that all samples share.
        lanes: Matrices that depend on an input.
        shared_slots: Program slots that the shared matrices read, in the order of their angle
            vector.
        lane_slots: Program slots that the per-lane matrices read.
    """

    blocks: NDArray[np.int64]
    shared: Factors
    lanes: Factors
    shared_slots: tuple[int, ...]
    lane_slots: tuple[int, ...]


@lru_cache(maxsize=256)
def schedule(program: Program) -> Schedule:
    """Fuse a program's gates into blocks.

    Runs of gates on one qubit become one 2x2 matrix; a two-qubit gate takes the runs before it on
    its qubits into its 4x4 matrix, and gates on the same pair join it. CX and CZ stay alone, since
    they need no arithmetic. Gates that depend on an input are never fused with gates that do not:
    the matrices of the latter are built once a batch.
    """
    batched = set(program.angle_map.batched_slots)
    blocks: list[_Block] = []
    open_runs: dict[int, _Block] = {}
    newest: dict[int, _Block] = {}  # the last emitted block on each qubit

    def emit(block: _Block) -> None:
        blocks.append(block)
        newest.update(dict.fromkeys(block.qubits, block))

    def close(qubits: Iterable[int]) -> None:
        for q in qubits:
            if q in open_runs:
                emit(open_runs.pop(q))

    for use in program.gates:
        per_lane = any(s in batched for s in use.slots)
        if use.name in ("cx", "cz"):
            close(use.qubits)
            emit(_Block(CX if use.name == "cx" else CZ, use.qubits, False, []))
        elif len(use.qubits) == 1:
            q = use.qubits[0]
            if q in open_runs and open_runs[q].per_lane != per_lane:
                close([q])
            run = open_runs.setdefault(q, _Block(ONE, use.qubits, per_lane, []))
            run.factors += _embed(use, use.qubits)
        else:
            _add_two_qubit_gate(use, per_lane, open_runs, newest, close, emit)
    close(list(open_runs))
    return _arrays(blocks)


def _add_two_qubit_gate(
    use: GateUse, per_lane: bool, open_runs: Any, newest: Any, close: Any, emit: Any
) -> None:
    a, b = use.qubits
    close([q for q in (a, b) if q in open_runs and open_runs[q].per_lane != per_lane])
    block = newest.get(a)
    if not (block and block is newest.get(b) and block.kind == TWO and block.per_lane == per_lane):
        block = _Block(TWO, (a, b), per_lane, [])
        emit(block)
    for q in (a, b):
        if q in open_runs:
            block.factors += [_widen(f, block.qubits.index(q)) for f in open_runs.pop(q).factors]
    block.factors += _embed(use, block.qubits)


def _embed(use: GateUse, qubits: tuple[int, ...]) -> list[_Factor]:
    """The factors of a gate, on the qubits of its block."""
    factors = []
    for factor in use.gate.factors:
        c0, c1, c2 = factor.expansion
        if use.qubits != qubits:
            c0, c1, c2 = (m[np.ix_(_SWAP, _SWAP)] for m in (c0, c1, c2))
        slot = -1 if factor.param is None else use.slots[factor.param]
        factors.append(_Factor((c0, c1, c2), factor.frequency, slot))
    return factors


def _widen(factor: _Factor, position: int) -> _Factor:
    """A factor on one qubit as one on the block's two."""
    eye = np.eye(2)
    wide: list[ComplexArray] = [
        np.asarray(np.kron(eye, m) if position == 0 else np.kron(m, eye), dtype=np.complex128)
        for m in factor.matrices
    ]
    return _Factor((wide[0], wide[1], wide[2]), factor.frequency, factor.slot)


def _arrays(blocks: list[_Block]) -> Schedule:
    rows: list[tuple[int, int, int, int, int]] = []
    shared: list[_Block] = []
    lanes: list[_Block] = []
    for block in blocks:
        a, b = (*block.qubits, block.qubits[0])[:2]
        group = lanes if block.per_lane else shared
        index = len(group) if block.kind in (ONE, TWO) else 0
        if block.kind in (ONE, TWO):
            group.append(block)
        rows.append((block.kind, a, b, int(block.per_lane), index))
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    shared_factors, shared_slots = _pack(shared)
    lane_factors, lane_slots = _pack(lanes)
    return Schedule(table, shared_factors, lane_factors, shared_slots, lane_slots)


def _pack(blocks: list[_Block]) -> tuple[Factors, tuple[int, ...]]:
    slots = tuple(dict.fromkeys(f.slot for block in blocks for f in block.factors if f.slot >= 0))
    position = {slot: k for k, slot in enumerate(slots)} | {-1: -1}
    first, last = [], []
    factors: list[_Factor] = []
    for block in blocks:
        first.append(len(factors))
        factors += _merge_fixed(block.factors)
        last.append(len(factors))
    table = np.zeros((len(factors), 3, 16), dtype=complex)
    for k, factor in enumerate(factors):
        for c, matrix in enumerate(factor.matrices):
            table[k, c, : matrix.size] = matrix.ravel()
    dims = [2 if block.kind == ONE else 4 for block in blocks]
    packed = Factors(
        np.array(first, dtype=np.int64),
        np.array(last, dtype=np.int64),
        np.array(dims, dtype=np.int64),
        np.array([position[f.slot] for f in factors], dtype=np.int64),
        np.array([f.frequency for f in factors], dtype=np.float64),
        table,
    )
    return packed, slots


def _merge_fixed(factors: list[_Factor]) -> list[_Factor]:
    """Multiply neighbouring fixed factors together."""
    merged: list[_Factor] = []
    for factor in factors:
        if factor.slot < 0 and merged and merged[-1].slot < 0:
            product = factor.matrices[0] @ merged[-1].matrices[0]
            merged[-1] = _Factor((product, *factor.matrices[1:]), 0.0, -1)
        else:
            merged.append(factor)
    return merged
