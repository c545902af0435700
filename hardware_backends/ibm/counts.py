"""Outcomes of a sampler: how often each row of bindings gave each bitstring, and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nisqkit.circuits.observables import Observables
from nisqkit.hardware_backends.base import Result


@dataclass(frozen=True, eq=False)
class Counts:
    """Outcomes of all rows of a PUB, each distinct one once per row.

    Attributes:
        outcomes: Shape ``(K, num_bytes)``: bitstrings packed as in Qiskit's `BitArray`, the bit of
            qubit 0 last.
        counts: Shape ``(K,)``: how often.
        starts: Shape ``(rows + 1,)``: row ``r`` has the entries ``starts[r]`` to ``starts[r + 1]``.
    """

    outcomes: NDArray[np.uint8]
    counts: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def from_bits(cls, bits: NDArray[np.uint8]) -> Counts:
        """Count packed bitstrings.

        Args:
            bits: Shape ``(rows, shots, num_bytes)``.

        Example:
            >>> found = Counts.from_bits(np.array([[[1], [3], [1]]], dtype=np.uint8))
            >>> found.outcomes[:, 0].tolist(), found.counts.tolist()
            ([1, 3], [2, 1])
        """
        outcomes: list[NDArray[Any]] = []
        counts: list[NDArray[Any]] = []
        starts = [0]
        short = bits.shape[-1] <= 2  # where counting is much faster than sorting
        places = 256 ** np.arange(bits.shape[-1])[::-1]
        for row in bits:
            if short:
                table = np.bincount(row @ places)
                seen = np.flatnonzero(table)
                distinct, number = (seen[:, None] // places % 256).astype(np.uint8), table[seen]
            else:
                distinct, number = np.unique(row, axis=0, return_counts=True)
            outcomes.append(distinct)
            counts.append(number)
            starts.append(starts[-1] + len(number))
        empty = np.zeros((0, bits.shape[-1]), dtype=np.uint8)
        return cls(
            np.concatenate([empty, *outcomes]),
            np.concatenate([np.zeros(0, dtype=np.int64), *counts]),
            np.array(starts),
        )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    def part(self, first: int, stop: int) -> Counts:
        """The rows from ``first`` to before ``stop``."""
        begin, end = self.starts[first], self.starts[stop]
        starts = self.starts[first : stop + 1] - begin
        return Counts(self.outcomes[begin:end], self.counts[begin:end], starts)

    @classmethod
    def join(cls, parts: Sequence[Counts]) -> Counts:
        """The rows of several, one after another."""
        if len(parts) == 1:
            return parts[0]
        starts: list[NDArray[Any]] = [np.zeros(1, dtype=np.int64)]
        last = 0
        for part in parts:
            starts.append(part.starts[1:] + last)
            last += int(part.starts[-1])
        return cls(
            np.concatenate([part.outcomes for part in parts]),
            np.concatenate([part.counts for part in parts]),
            np.concatenate(starts),
        )

    def row_sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Per row, the sum of ``counts * values``; ``(K, m) -> (rows, m)``."""
        found = np.zeros((self.rows, values.shape[1]))
        for r in range(self.rows):  # row by row: rounding must not depend on the batch
            part = slice(self.starts[r], self.starts[r + 1])
            found[r] = self.counts[part] @ values[part]
        return found


def estimate(groups: Sequence[Counts], observables: Observables, dtype: torch.dtype) -> Result:
    """Values and their standard errors.

    Args:
        groups: One for each measurement basis of the observables, as `measurement_bases` lists
            them; bit k of an outcome is logical qubit k.
        observables: What was measured. Those of a group share bitstrings, and so covariances count.
        dtype: Of the result.
    """
    rows = groups[0].rows
    if observables.sums is None:
        (group,) = groups
        table = np.zeros((rows, observables.num_outputs))
        weights = 256 ** np.arange(group.outcomes.shape[1])[::-1]
        entry = np.repeat(np.arange(rows), np.diff(group.starts))
        table[entry, group.outcomes @ weights] = group.counts
        shots = table.sum(axis=1, keepdims=True)
        mean = table / shots
        variance = mean * (1 - mean) / np.maximum(shots - 1, 1)
        return _result(mean, variance, dtype)
    mean = np.zeros((rows, observables.num_outputs))
    variance = np.zeros_like(mean)
    for (_, members), group in zip(observables.groups, groups, strict=True):
        masks = [_mask(observables.strings[m], group.outcomes.shape[1]) for m in members]
        odd = np.array(
            [np.bitwise_count(mask & group.outcomes).sum(axis=1) & 1 for mask in masks]
        ).reshape(len(masks), len(group.outcomes))
        scores = (1.0 - 2.0 * odd).T @ observables.coefficients[:, list(members)].T
        shots = group.row_sums(np.ones((len(group.counts), 1)))
        first = group.row_sums(scores) / shots
        second = group.row_sums(scores**2) / shots
        mean += first
        variance += np.clip(second - first**2, 0, None) / np.maximum(shots - 1, 1)
    return _result(mean, variance, dtype)


def _result(mean: NDArray[np.float64], variance: NDArray[np.float64], dtype: torch.dtype) -> Result:
    values, std = torch.as_tensor(mean).to(dtype), torch.as_tensor(np.sqrt(variance)).to(dtype)
    return Result(values, std)


def _mask(string: str, num_bytes: int) -> NDArray[np.uint8]:
    """The bits of the qubits that a Pauli string reads."""
    number = sum(1 << q for q, letter in enumerate(reversed(string)) if letter != "I")
    return np.frombuffer(number.to_bytes(num_bytes, "big"), dtype=np.uint8)
