"""Schedules of noisy programs: gates and channels fused into Pauli transfer matrices.

All that stands on one qubit between two-qubit operations becomes one 4x4 matrix, channels included.
A two-qubit gate, its two-qubit channels and what follows on the same pair become one 16x16 matrix;
where that has one entry per row, as CX with depolarising has, it is a *move*: rows change places
and are scaled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nisqkit.circuits.gates import ComplexArray, gate
from nisqkit.circuits.program import GateUse
from nisqkit.noise.channels import Channel
from nisqkit.noise.noisy_program import NoisyProgram
from nisqkit.noise.pauli_basis import paulis

FloatArray = NDArray[np.float64]

ONE, TWO, MOVE = range(3)
"""Kinds of blocks."""

_ROUNDING = 1e-14


@dataclass(frozen=True, eq=False)
class DensityFactor:
    """A factor of a matrix: ``C0 + C1 cos a + C2 sin a + C3 cos 2a + C4 sin 2a``.

    Attributes:
        coefficients: Shape ``(1, D, D)`` (fixed), ``(3, D, D)`` or ``(5, D, D)``; D is 4 or 16.
        slot: Where its angle is among the program's slots, followed by the strengths of the causes;
            -1 for a fixed factor.
        frequency: ``a`` is the frequency times the angle.
    """

    coefficients: FloatArray
    slot: int = -1
    frequency: float = 0.0

    @property
    def pattern(self) -> NDArray[np.bool_]:
        """Which entries are not always zero, without the first row."""
        used: NDArray[np.bool_] = (self.coefficients != 0).any(axis=0)[1:]
        if self.slot < 0 and len(used) == 3:  # all alike, so that more of them go side by side
            used = np.ones_like(used)
        return used


@dataclass(eq=False)
class DensityBlock:
    """An operation: a 4x4 matrix (``ONE``), a 16x16 matrix (``TWO``) or a ``MOVE``.

    Attributes:
        qubits: The first one least significant.
        factors: In the order of application.
        kind: ``ONE``, ``TWO`` or ``MOVE``.
    """

    qubits: tuple[int, ...]
    factors: list[DensityFactor]
    kind: int = ONE

    @property
    def slots(self) -> set[int]:
        """The slots of its angles and strengths."""
        return {f.slot for f in self.factors if f.slot >= 0}


@dataclass(frozen=True, eq=False)
class DensitySchedule:
    """A noisy program as blocks; ``batched`` are the slots that differ from sample to sample."""

    num_qubits: int
    blocks: tuple[DensityBlock, ...]
    batched: frozenset[int]

    def own(self, block: DensityBlock) -> bool:
        """Whether each sample has its own matrix."""
        return bool(block.slots & self.batched)


def density_schedule(
    noisy: NoisyProgram, strengths: Mapping[str, float] | None = None
) -> DensitySchedule:
    """Fuse gates and channels into blocks.

    Args:
        noisy: The noisy program.
        strengths: If given, channels have these strengths by cause (1 where there is none), and
            every strength is a slot: that of cause ``k`` of `NoisyProgram.causes` is slot
            ``num_slots + k``, for the difference to the strength given here.

    Raises:
        ValueError: A channel acts on more than two qubits, or as `Channel.ptm_at`.
    """
    first = noisy.program.angle_map.num_slots
    slots = {cause: first + k for k, cause in enumerate(noisy.causes)}
    batched = frozenset(noisy.program.angle_map.batched_slots)
    blocks: list[DensityBlock] = []
    runs: dict[int, DensityBlock] = {}  # what stands on one qubit and waits for what comes next
    newest: dict[int, DensityBlock] = {}  # the last block on each qubit

    def emit(block: DensityBlock) -> None:
        blocks.append(block)
        newest.update(dict.fromkeys(block.qubits, block))

    def close(qubits: Iterable[int]) -> None:
        for q in qubits:
            if q in runs:
                emit(runs.pop(q))

    def owns(factors: list[DensityFactor]) -> bool | None:
        """Whether a sample has its own; None if the factors are fixed."""
        used = {f.slot for f in factors if f.slot >= 0}
        return bool(used & batched) if used else None

    for use in noisy.operations:
        if isinstance(use, GateUse):
            if use.name in ("id", "barrier"):
                continue
            factors = [
                DensityFactor(c, use.slots[param] if param >= 0 else -1, frequency)
                for c, param, frequency in _gate_factors(use.name, use.matrix)
            ]
        elif strengths is None:
            factors = [DensityFactor(use.channel.ptm[None])]
        else:
            strength = float(strengths.get(use.cause, 1.0))
            factors = [DensityFactor(_around(use.channel, strength), slots[use.cause], 1.0)]
        if len(use.qubits) == 1:
            q = use.qubits[0]
            runs.setdefault(q, DensityBlock(use.qubits, [])).factors += factors
        elif len(use.qubits) == 2:
            a, b = use.qubits
            close((a, b))
            block = newest.get(a)
            joins = block is not None and block is newest.get(b) and block.kind == TWO
            if not joins or {owns(block.factors), owns(factors)} == {True, False}:  # type: ignore[union-attr]
                block = DensityBlock((a, b), [], TWO)
                emit(block)
            assert block is not None
            if block.qubits != (a, b):
                factors = [_exchanged(f) for f in factors]
            block.factors += factors
        else:
            what = use.name if isinstance(use, GateUse) else f"channel for {use.cause!r}"
            raise ValueError(
                f"{what} acts on {len(use.qubits)} qubits: exact noisy simulation takes gates and "
                "channels on one or two; split it, or use the reference engine"
            )
    close(list(runs))
    for block in blocks:
        block.factors = _merge_fixed(block.factors)
        if block.kind == TWO and _is_move(block):
            block.kind = MOVE
    return DensitySchedule(noisy.program.num_qubits, tuple(blocks), batched)


def move_of(block: DensityBlock) -> tuple[NDArray[np.int64], FloatArray]:
    """Source of each of the 16 rows of a move, and its scale."""
    total = _total([f.coefficients[:2].sum(axis=0) for f in block.factors])
    sources = np.abs(_reach(block)).argmax(axis=1)
    return sources, total[np.arange(16), sources]


def move_slopes(block: DensityBlock) -> list[tuple[int, FloatArray]]:
    """``(slot, derivatives of the 16 scales)`` for every strength in a move."""
    sources = move_of(block)[0]
    found = []
    for k, factor in enumerate(block.factors):
        if factor.slot >= 0:
            parts = [f.coefficients[:2].sum(axis=0) for f in block.factors]
            parts[k] = factor.coefficients[2]
            found.append((factor.slot, _total(parts)[np.arange(16), sources]))
    return found


def _total(matrices: list[FloatArray]) -> FloatArray:
    total = np.eye(16)
    for matrix in matrices:
        total = matrix @ total
    return total


def _reach(block: DensityBlock) -> FloatArray:
    """Which entries of the block's matrix, or of a derivative of it, are not zero."""
    return _total([(f.coefficients != 0).any(axis=0).astype(float) for f in block.factors])


def _is_move(block: DensityBlock) -> bool:
    """Whether the matrix has at most one entry per row and column, and no angle."""
    fixed = all(f.slot < 0 or _is_strength(f) for f in block.factors)
    reach = _reach(block) != 0
    return fixed and bool((reach.sum(axis=0) == 1).all() and (reach.sum(axis=1) == 1).all())


def _is_strength(factor: DensityFactor) -> bool:
    return len(factor.coefficients) == 3 and not factor.coefficients[1].any()


def _around(channel: Channel, strength: float) -> FloatArray:
    """A channel as a factor whose angle is the difference to a strength, for a derivative at 0."""
    ptm = channel.ptm_at(strength)
    return np.stack([ptm, np.zeros_like(ptm), channel.ptm_slope_at(strength)])


def _merge_fixed(factors: list[DensityFactor]) -> list[DensityFactor]:
    """Multiply neighbouring fixed factors together."""
    merged: list[DensityFactor] = []
    for factor in factors:
        if merged and factor.slot < 0 and merged[-1].slot < 0:
            product = factor.coefficients[0] @ merged[-1].coefficients[0]
            merged[-1] = DensityFactor(product[None])
        else:
            merged.append(factor)
    return merged


def _exchanged(factor: DensityFactor) -> DensityFactor:
    """The same with the two qubits in the other order."""
    order = np.arange(16).reshape(4, 4).T.ravel()
    coefficients = factor.coefficients[:, order][:, :, order]
    return DensityFactor(coefficients, factor.slot, factor.frequency)


def transfer_matrix(unitary: ComplexArray) -> FloatArray:
    """``R_ij = tr(P_i U P_j U^dagger) / 2**k``."""
    every = paulis(int(np.log2(len(unitary))))
    turned = unitary @ every @ unitary.conj().T
    found: FloatArray = np.einsum("iab,jba->ij", every, turned).real / len(unitary)
    found[np.abs(found) < _ROUNDING] = 0
    return found


@lru_cache(maxsize=512)
def _gate_factors(
    name: str, matrix: tuple[complex, ...] | None
) -> tuple[tuple[FloatArray, int, float], ...]:
    """``(coefficients, which of the gate's angles or -1, frequency)`` of each factor."""
    found: list[tuple[FloatArray, int, float]] = []
    for factor in gate(name, matrix).factors:
        if factor.param is None:
            found.append((transfer_matrix(factor.matrix)[None], -1, 0.0))
            continue
        values = np.linalg.eigvalsh(factor.matrix)
        gaps = np.abs(values[:, None] - values).ravel()
        frequency = float(gaps[gaps > 1e-9].min())
        # frequencies 0, 1 and 2 are told apart by five points
        angles = 2 * np.pi * np.arange(5) / 5
        c0, c1, c2 = factor.expansion
        s = factor.frequency / frequency
        points = [transfer_matrix(c0 + np.cos(s * a) * c1 + np.sin(s * a) * c2) for a in angles]
        waves = [np.full(5, 0.5), np.cos(angles), np.sin(angles)]
        waves += [np.cos(2 * angles), np.sin(2 * angles)]
        terms = np.asarray(np.tensordot(0.4 * np.array(waves), points, 1), dtype=np.float64)
        terms[np.abs(terms) < _ROUNDING] = 0
        found.append((terms if terms[3:].any() else terms[:3], factor.param, frequency))
    return tuple(found)
