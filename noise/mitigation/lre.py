"""Layerwise Richardson extrapolation: the noise of every part of the circuit has its own scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations_with_replacement
from math import comb

import numpy as np
import torch

from nisqkit.circuits.task import Task

from ..model import NoiseModel
from .base import Cost, Estimate, Mitigator, Round, of_part
from .folding import fold_chunks


@dataclass(frozen=True)
class LayerwiseRichardson(Mitigator):
    r"""Layerwise Richardson extrapolation.

    The layers of the circuit are grouped into chunks, whose noise is amplified apart from each
    other by folding. The polynomial of total degree ``degree`` in all scales
    :math:`\lambda_1 ... \lambda_c` that goes through all values gives the value at
    :math:`\lambda = 0`. With one chunk it is `ZNE` with Richardson's extrapolation. The standard
    error grows with the number of chunks.

    Circuits are folded as symbols, once per structure, and gradients flow through.

    Source: Russo and Mari, Phys. Rev. A 110, 062420 (2024), arXiv:2402.04000.

    Args:
        degree: Of the polynomial, at least 1.
        num_chunks: Number c of chunks of layers.
        fold_multiplier: A chunk is folded this many times, or a multiple of it: its scales are
            1, 1 + 2 m, 1 + 4 m, ...

    Raises:
        ValueError: A number below 1; when it runs: more chunks than layers.

    Example:
        >>> LayerwiseRichardson(degree=2, num_chunks=3).cost()  # all monomials in 3 scales
        Cost(circuits=10, shots=10)
    """

    degree: int = 1
    num_chunks: int = 4
    fold_multiplier: int = 1
    rank = 2

    def __post_init__(self) -> None:
        for name in ("degree", "num_chunks", "fold_multiplier"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    def cost(self) -> Cost:
        """One circuit per monomial: ``(num_chunks + degree) over degree``, each with all shots."""
        number = comb(self.num_chunks + self.degree, self.degree)
        return Cost(number, number)

    def check(self, task: Task, model: NoiseModel | None) -> None:
        """Refuse more chunks than the circuit has layers."""
        fold_chunks(task.program, [0] * self.num_chunks)

    def run(self, task: Task, model: NoiseModel | None) -> Round:
        """See `Mitigator.run`."""
        folds, weights = extrapolation_weights(self.degree, self.num_chunks, self.fold_multiplier)
        results = yield [
            replace(task, program=fold_chunks(task.program, each), seed=of_part(task, k))
            for k, each in enumerate(folds)
        ]
        values = torch.stack([result.values for result in results])
        factors = values.new_tensor(weights)
        found = torch.tensordot(factors, values, dims=1)
        known = [result.std for result in results if result.std is not None]
        if len(known) < len(results):
            return Estimate(found)
        return Estimate(found, torch.tensordot(factors**2, torch.stack(known) ** 2, dims=1).sqrt())


@lru_cache(maxsize=32)
def extrapolation_weights(
    degree: int, num_chunks: int, fold_multiplier: int = 1
) -> tuple[tuple[tuple[int, ...], ...], tuple[float, ...]]:
    """How often each chunk is folded in each circuit, and by how much each circuit counts.

    Example:
        >>> extrapolation_weights(degree=1, num_chunks=2)
        (((0, 0), (1, 0), (0, 1)), (2.0, -0.5, -0.5))
    """
    exponents = [
        tuple(chosen.count(chunk) for chunk in range(num_chunks))
        for total in range(degree + 1)
        for chosen in combinations_with_replacement(range(num_chunks), total)
    ]
    folds = tuple(tuple(fold_multiplier * e for e in each) for each in exponents)
    scales = 1 + 2 * np.array(folds, dtype=float)
    monomials = _monomials(scales, exponents)
    # row 0 of the inverse: the constant term of the polynomial through all values
    weights = np.linalg.solve(monomials.T, np.eye(len(folds))[0])
    return folds, tuple(float(w) for w in weights.round(12))


def _monomials(
    scales: np.ndarray[tuple[int, ...], np.dtype[np.float64]], exponents: Sequence[Sequence[int]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Each monomial (columns) at each vector of scales (rows)."""
    return np.stack([np.prod(scales ** np.array(e), axis=1) for e in exponents], axis=1)
