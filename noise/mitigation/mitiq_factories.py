"""Extrapolations that Mitiq does, value by value; they have no gradient."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def poly_exponential(
    scales: Sequence[float],
    values: Tensor,
    std: Tensor | None,
    degree: int,
    asymptote: float,
) -> tuple[Tensor, Tensor | None]:
    """``asymptote +- exp(polynomial of the scale)`` at scale 0: Mitiq's ``PolyExpFactory``.

    Args:
        scales: The noise scales.
        values: Shape ``(len(scales), ...)``.
        std: Standard errors of the values, same shape, or ``None``.
        degree: Of the polynomial.
        asymptote: What is left at infinite noise.

    Returns:
        Shape ``(...)``, and the same or ``None``: to first order in the errors.

    Raises:
        ImportError: Mitiq is not installed.
    """
    factory = factories().PolyExpFactory

    def at_zero(column: np.ndarray[Any, Any]) -> float:
        with warnings.catch_warnings(action="ignore"):  # of values near the asymptote
            return float(factory.extrapolate(scales, column.tolist(), degree, asymptote))

    columns = values.detach().double().reshape(len(scales), -1).numpy().T
    found = torch.tensor([at_zero(column) for column in columns]).to(values)
    if std is None:
        return found.reshape(values.shape[1:]), None
    errors = std.detach().double().reshape(len(scales), -1).numpy().T
    shift = 1e-5
    spread = []
    for column, error in zip(columns, errors, strict=True):
        unit = shift * np.eye(len(scales))
        slopes = [(at_zero(column + e) - at_zero(column - e)) / (2 * shift) for e in unit]
        spread.append(float(np.linalg.norm(slopes * error)))
    return found.reshape(values.shape[1:]), torch.tensor(spread).to(std).reshape(std.shape[1:])


def factories() -> Any:
    """The module of Mitiq that has them.

    Raises:
        ImportError: Mitiq is not installed.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            from mitiq.zne import inference
    except ImportError as error:
        raise ImportError(
            "extrapolation='poly-exponential' is Mitiq's, which is not installed; run: "
            'pip install "nisqkit[mitigation]", or use another extrapolation'
        ) from error
    return inference
