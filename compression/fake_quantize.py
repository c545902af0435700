"""The arithmetic of quantization: grids, how their ranges are chosen, and rounding to them."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

RangeMethod: TypeAlias = Literal["minmax", "percentile", "mse"]
METHODS = get_args(RangeMethod)

_SHARES = tuple(k / 20 for k in range(6, 21))  # of the full range that "mse" tries


def straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    """The rounded values, with the gradient of ``x`` (Bengio et al. 2013, arXiv:1308.3432)."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return rounded
    # x - x.detach() is exactly 0, so that the values are exactly those of the grid
    return rounded.detach() + (x - x.detach())


def weight_levels(bits: int) -> int:
    """Levels on each side of zero of a symmetric grid: ``2**(bits - 1) - 1``."""
    return int(2 ** (bits - 1) - 1)


def weight_scales(
    weight: Tensor, bits: int, method: RangeMethod, per_channel: bool, percentile: float = 99.9
) -> Tensor:
    """Step of the grid of each output of a layer, or of all: ``(outputs, 1, ...)`` or ``(1, ...)``.

    With one bit it is the mean magnitude, which is what leaves the least squared error of
    ``scale * sign(weight)`` (XNOR-Net, arXiv:1603.05279).

    Example:
        >>> weight_scales(torch.tensor([[1.0, -127.0], [0.5, 2.54]]), 8, "minmax", True)
        tensor([[1.0000],
                [0.0200]])
    """
    flat = weight.detach().reshape(len(weight) if per_channel else 1, -1)
    if bits == 1:
        scales = flat.abs().mean(dim=1)
    else:
        levels = weight_levels(bits)
        high = flat.abs().amax(dim=1)
        if method == "percentile":
            high = torch.quantile(flat.abs(), percentile / 100, dim=1)
        elif method == "mse":
            errors = torch.stack([_weight_errors(flat, s * high / levels, bits) for s in _SHARES])
            high = high * high.new_tensor(_SHARES)[errors.argmin(dim=0)]
        scales = high / levels
    scales = scales.clamp(min=torch.finfo(weight.dtype).tiny)
    return scales.reshape(-1, *[1] * (weight.dim() - 1))


def _weight_errors(flat: Tensor, scales: Tensor, bits: int) -> Tensor:
    scales = scales.clamp(min=torch.finfo(flat.dtype).tiny)[:, None]
    return (weight_codes(flat, scales, bits) * scales - flat).square().sum(dim=1)


def weight_codes(weight: Tensor, scales: Tensor, bits: int) -> Tensor:
    """The whole number of each weight, as floats: -1 or 1 with one bit, else symmetric to 0."""
    if bits == 1:
        return (weight >= 0).to(weight.dtype) * 2 - 1
    levels = weight_levels(bits)
    return (weight / scales).round().clamp(-levels, levels)


def round_weight(weight: Tensor, scales: Tensor, bits: int) -> Tensor:
    """The nearest weights of the grid, with a straight-through gradient.

    Example:
        >>> round_weight(torch.tensor([0.9, -0.7, 0.1]), torch.tensor([0.5]), 2)
        tensor([ 0.5000, -0.5000,  0.0000])
    """
    return straight_through(weight, weight_codes(weight, scales, bits) * scales)


def value_range(
    values: Tensor, bits: int, method: RangeMethod, percentile: float = 99.9
) -> tuple[float, float]:
    """Ends of the range of activations that a grid covers; 0 is always within.

    Args:
        values: what has been seen, any shape.
        bits: of the grid.
        method: ``"minmax"``: all values; ``"percentile"``: all but the largest and the smallest;
            ``"mse"``: the part of the full range that gives the least squared error.
        percentile: for that method.

    Example:
        >>> value_range(torch.tensor([-1.0, 0.5, 3.0]), 8, "minmax")
        (-1.0, 3.0)
    """
    flat = values.detach().flatten().double()
    low, high = float(flat.min()), float(flat.max())
    if len(flat) > 100_000:  # evenly spaced ones are enough, and quantile() takes no more than 16 M
        flat = flat[:: len(flat) // 50_000]
    if method == "percentile":
        cut = flat.new_tensor([1 - percentile / 100, percentile / 100])
        low, high = torch.quantile(flat, cut).tolist()
    low, high = min(low, 0.0), max(high, 0.0)
    if method == "mse":
        ends = [(a * low, b * high) for a in _SHARES for b in _SHARES]
        if low == 0 or high == 0:
            ends = [(s * low, s * high) for s in _SHARES]
        low, high = min(ends, key=lambda e: _value_error(flat, e, bits))
    return low, high


def round_values(x: Tensor, low: Tensor, high: Tensor, bits: int) -> Tensor:
    """The nearest of ``2**bits`` evenly spaced values that include 0 (but with one bit).

    Values out of the range are clipped, and get no gradient.

    Example:
        >>> round_values(torch.tensor([-9.0, 0.4, 0.6, 9.0]), *torch.tensor([0.0, 3.0]), 2)
        tensor([0., 0., 1., 3.])
    """
    levels = 2**bits - 1
    step = ((high - low) / levels).clamp(min=torch.finfo(x.dtype).tiny)
    zero = (-low / step).round()
    inside = x.clamp(low, high) if bits == 1 else x.clamp(-zero * step, (levels - zero) * step)
    if bits == 1:
        return straight_through(inside, low + ((inside - low) / step).round() * step)
    return straight_through(inside, (inside / step).round() * step)


def _value_error(flat: Tensor, ends: tuple[float, float], bits: int) -> float:
    low, high = flat.new_tensor(ends)
    return float((round_values(flat, low, high, bits) - flat).square().sum())
