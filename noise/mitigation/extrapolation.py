"""Extrapolation to zero noise: from values at several noise scales to the value at scale 0.

All formulas are those of Mitiq's factories, in torch: batched, differentiable, and with the
standard error of the result. ``"poly-exponential"`` is done by Mitiq itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nisqkit.circuits.names import unknown

from .mitiq_factories import poly_exponential

METHODS = ("richardson", "linear", "polynomial", "exponential", "poly-exponential")
_SMALLEST = 1e-6
"""Distance from the asymptote below which an exponential fit takes values for this far from it."""


def extrapolate(
    scales: Sequence[float],
    values: Tensor,
    std: Tensor | None = None,
    method: str = "richardson",
    *,
    degree: int = 2,
    asymptote: float = 0.0,
) -> tuple[Tensor, Tensor | None]:
    """The value at scale 0, and its standard error.

    - ``"richardson"``: the polynomial through all points.
    - ``"linear"``, ``"polynomial"``: least squares of degree 1, or ``degree``.
    - ``"exponential"``: ``asymptote + s exp(a + b scale)``, fitted as a line through
      ``log |value - asymptote|`` with the weights ``sqrt|value - asymptote|``. The sign s is that
      of a decay towards the asymptote: minus the sign of the slope of a line through the values.
    - ``"poly-exponential"``: the same with a polynomial of degree ``degree`` in the exponent, by
      Mitiq and without a gradient.

    Source: Temme et al., Phys. Rev. Lett. 119, 180509 (2017); Giurgica-Tiron et al.,
    arXiv:2005.10921.

    Args:
        scales: The noise scales.
        values: Shape ``(len(scales), ...)``.
        std: Standard errors of the values, independent of each other; same shape.
        method: See above.
        degree: Of a polynomial.
        asymptote: Of an exponential: what is left at infinite noise, 0 for the expectation value
            of a Pauli operator.

    Returns:
        Shape ``(...)``, and the same or ``None``: to first order in the errors.

    Raises:
        ValueError: As `check_scales`.
        ImportError: ``"poly-exponential"`` without Mitiq.

    Example:
        >>> values = torch.tensor([[0.8], [0.4]])
        >>> extrapolate((1, 3), values, 0.1 * torch.ones(2, 1))
        (tensor([1.]), tensor([0.1581]))
        >>> extrapolate((1, 2), values, method="exponential")[0]
        tensor([1.6000])
    """
    check_scales(scales, method, degree)
    if method == "poly-exponential":
        return poly_exponential(scales, values, std, degree, asymptote)
    if method == "exponential":
        return _exponential(scales, values, std, asymptote)
    weights = torch.as_tensor(linear_weights(scales, method, degree)).to(values)
    found = torch.tensordot(weights, values, dims=1)
    if std is None:
        return found, None
    return found, torch.tensordot(weights**2, std**2, dims=1).sqrt()


def linear_weights(scales: Sequence[float], method: str, degree: int = 2) -> NDArray[np.float64]:
    """By how much each value counts in a polynomial extrapolation; they sum to 1.

    Example:
        >>> linear_weights((1, 3), "richardson").round(3).tolist()
        [1.5, -0.5]
    """
    order = {"richardson": len(scales) - 1, "linear": 1, "polynomial": degree}[method]
    powers = np.vander(np.asarray(scales, dtype=float), order + 1, increasing=True)
    return np.asarray(np.linalg.pinv(powers)[0])


def check_scales(scales: Sequence[float], method: str, degree: int = 2) -> None:
    """Refuse scales that nothing can be extrapolated from.

    Raises:
        ValueError: An unknown method, a scale below 1, scales that do not increase, or fewer than
            the method needs: two, and for a polynomial one more than its degree.
    """
    if method not in METHODS:
        raise ValueError(unknown("extrapolation", method, METHODS))
    if wrong := [s for s in scales if not 1 <= s < np.inf]:
        raise ValueError(
            f"scale_factors={tuple(scales)} has {wrong[0]}: noise can only be amplified, so give "
            "numbers of at least 1"
        )
    if any(b <= a for a, b in zip(scales, list(scales)[1:], strict=False)):
        raise ValueError(f"scale_factors={tuple(scales)} must increase, such as (1, 3, 5)")
    if "poly" in method and degree < 1:
        raise ValueError(f"degree={degree} must be at least 1")
    needed = degree + 1 if "poly" in method else 2
    if len(scales) < needed:
        raise ValueError(
            f"scale_factors={tuple(scales)}: {method!r} extrapolation needs at least {needed} "
            f"scales, such as {tuple(range(1, 2 * needed, 2))}"
        )


def _exponential(
    scales: Sequence[float], values: Tensor, std: Tensor | None, asymptote: float
) -> tuple[Tensor, Tensor | None]:
    found = _decay(scales, values, asymptote)
    if std is None:
        return found, None
    with torch.enable_grad():
        at = values.detach().requires_grad_()
        # each result depends on the values of its own column alone
        (slopes,) = torch.autograd.grad(_decay(scales, at, asymptote).sum(), at)
    return found, (slopes * std).pow(2).sum(dim=0).sqrt()


def _decay(scales: Sequence[float], values: Tensor, asymptote: float) -> Tensor:
    x = torch.as_tensor(scales).to(values).reshape(-1, *[1] * (values.dim() - 1))
    slope = ((x - x.mean()) * values.detach()).sum(dim=0)
    sign = torch.where(slope > 0, -1.0, 1.0).to(values)
    apart = (sign * (values - asymptote)).clamp_min(_SMALLEST)
    # the weighted line through (x, log apart), at x = 0
    total = apart.sum(dim=0)
    mean_x, mean_y = (apart * x).sum(dim=0) / total, (apart * apart.log()).sum(dim=0) / total
    shares = apart * (x - mean_x)
    rate = (shares * apart.log()).sum(dim=0) / (shares * (x - mean_x)).sum(dim=0)
    return asymptote + sign * (mean_y - rate * mean_x).exp()
