"""GPTQ: round the weights of a linear layer one input after the other, and let the rest make up."""

from __future__ import annotations

import torch
from torch import Tensor

from nisqkit.compression.fake_quantize import weight_codes


def gptq_round(
    weight: Tensor,
    inputs: Tensor,
    scales: Tensor,
    bits: int,
    *,
    mask: Tensor | None = None,
    damping: float = 0.01,
) -> Tensor:
    """Weights of the grid that change the outputs on given inputs little.

    Columns are rounded from left to right. What rounding a column does to the outputs is made up
    for, as well as it can, by the columns that are still to come: each is changed by the error
    times the column's row of the Cholesky factor of the inverse of ``H = X^T X``.

    Args:
        weight: (outputs, inputs).
        inputs: (samples, inputs), what the layer gets.
        scales: (outputs, 1) or (1, 1), steps of the grid.
        bits: of the grid.
        mask: (outputs, inputs), 0 for weights that must be 0.
        damping: share of the mean of H's diagonal that is added to it.

    Returns:
        (outputs, inputs), all of the grid.

    Source: Frantar et al., ICLR 2023 (arXiv:2210.17323).

    Example:
        >>> x = torch.tensor([[1.0, 1.0], [2.0, 2.0]])  # only the sum of the weights counts
        >>> weight, scale = torch.tensor([[0.4, 0.4]]), torch.tensor([[1.0]])
        >>> gptq_round(weight, x, scale, bits=8)
        tensor([[0., 1.]])
    """
    x = inputs.detach().double()
    hessian = x.T @ x
    left = weight.detach().double().clone()
    unused = hessian.diagonal() == 0  # their weights do not matter, and would be singular
    hessian.diagonal()[unused] = 1
    hessian.diagonal().add_(damping * hessian.diagonal().mean())
    inverse = torch.linalg.cholesky(
        torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True
    )
    steps = scales.double().expand(len(weight), 1)
    found = torch.empty_like(left)
    for k in range(left.shape[1]):
        column = left[:, k : k + 1]
        found[:, k : k + 1] = weight_codes(column, steps, bits) * steps
        if mask is not None:
            found[:, k : k + 1] *= mask[:, k : k + 1]
        error = (column - found[:, k : k + 1]) / inverse[k, k]
        left[:, k:] -= error * inverse[k : k + 1, k:]
    return found.to(weight.dtype)
