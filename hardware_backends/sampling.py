"""Shots drawn from exact probabilities, with a counter-based generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.base import Result


def in_basis(program: Program, basis: str) -> Program:
    """The program followed by the rotations that turn a Pauli basis into the computational one.

    Args:
        program: Any program.
        basis: A Pauli string, read right to left; ``I`` counts as Z.
    """
    gates = list(program.gates)
    for q, letter in enumerate(reversed(basis)):
        if letter == "Y":
            gates.append(GateUse("sdg", (q,), tags=("basis",)))
        if letter in "XY":
            gates.append(GateUse("h", (q,), tags=("basis",)))
    return replace(program, gates=tuple(gates))


def measurement_bases(observables: Observables) -> list[str]:
    """One Pauli basis per measurement group; probabilities need a single one, Z everywhere."""
    if observables.sums is None:
        return ["Z" * observables.num_qubits]
    return [basis for basis, _ in observables.groups]


def signs(strings: Sequence[str]) -> NDArray[np.float64]:
    """The eigenvalue of each string, in its own basis, for every bitstring.

    Shape ``(len(strings), 2**n)``.
    """
    index = np.arange(2 ** len(strings[0]))
    rows = []
    for string in strings:
        row = np.ones(len(index))
        for q, letter in enumerate(reversed(string)):
            if letter != "I":
                row *= 1 - 2 * ((index >> q) & 1)
        rows.append(row)
    return np.array(rows)


def scores(observables: Observables) -> list[NDArray[np.float64]]:
    """Per measurement group, what a bitstring adds to each output: ``(num_outputs, 2**n)``."""
    if observables.sums is None:
        return [np.eye(observables.num_outputs)]
    return [
        observables.coefficients[:, list(members)]
        @ signs([observables.strings[m] for m in members])
        for _, members in observables.groups
    ]


def generator(seed: tuple[int, int, int], sample: int, group: int) -> np.random.Generator:
    """The random stream of one sample and measurement group.

    A function of its key alone (Philox).
    """
    run, step, task = seed
    return np.random.Generator(np.random.Philox(key=[run, step], counter=[0, group, sample, task]))


def draw(
    probabilities: Sequence[NDArray[np.float64]], shots: int, seed: tuple[int, int, int]
) -> list[NDArray[np.int64]]:
    """Counts of every bitstring: for each measurement group ``(batch, 2**n)``."""
    result = []
    for group, rows in enumerate(probabilities):
        clean = np.clip(np.asarray(rows, dtype=np.float64), 0, None)
        clean /= clean.sum(axis=1, keepdims=True)
        counts = np.zeros(clean.shape, dtype=np.int64)
        for b, row in enumerate(clean):
            counts[b] = generator(seed, b, group).multinomial(shots, row)
        result.append(counts)
    return result


def estimate(
    counts: Sequence[NDArray[np.int64]], observables: Observables, dtype: torch.dtype
) -> Result:
    """Mean and standard error of every output from counts.

    Observables of a group share their bitstrings.
    """
    value, variance = 0.0, 0.0
    # a bitstring's score for the probabilities is a row of the identity: too large to build
    groups = scores(observables) if observables.sums is not None else [None]
    for table, score in zip(counts, groups, strict=True):
        shots = table.sum(axis=1, keepdims=True)
        mean = _total(table, score) / shots
        square = mean if score is None else _total(table, score**2) / shots
        value, variance = (
            value + mean,
            variance + np.clip(square - mean**2, 0, None) / np.maximum(shots - 1, 1),
        )
    return Result(torch.as_tensor(value).to(dtype), torch.as_tensor(np.sqrt(variance)).to(dtype))


def _total(table: NDArray[np.int64], score: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Counts times scores, ``(batch, num_outputs)``.

    Row by row: the rounding of one large matrix product would depend on the size of the batch.
    """
    if score is None:
        return table.astype(np.float64)
    totals = np.empty((len(table), len(score)))
    for b, row in enumerate(table):
        totals[b] = score @ row
    return totals
