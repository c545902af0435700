"""Intervals that say how far a measured accuracy or mean can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class MeanInterval(NamedTuple):
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    r"""Wilson's confidence interval of an accuracy measured on `total` samples.

    With :math:`\hat p` = correct / total and z the two-sided normal quantile, the ends are

    .. math:: \frac{\hat p + z^2/2n \pm z\sqrt{\hat p(1-\hat p)/n + z^2/4n^2}}{1 + z^2/n}.

    Unlike :math:`\hat p \pm z\sigma` it stays inside [0, 1] and holds near 0 and 1 (E. B. Wilson,
    J. Am. Stat. Assoc. 22, 209, 1927).

    Args:
        correct: number of right answers, 0..total.
        total: number of samples, at least 1.
        confidence: probability of coverage, between 0 and 1.

    Returns:
        Lower and upper end, as probabilities.

    Raises:
        ValueError: impossible counts, or a confidence outside (0, 1).

    Example:
        >>> low, high = wilson_interval(correct=150, total=300)
        >>> print(f"{low:.3f} to {high:.3f}")
        0.444 to 0.556
    """
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(
            f"correct={correct}, total={total}: total must be at least 1, and correct in 0..total"
        )
    from scipy.special import ndtri  # importing it takes 0.1 s

    z = float(ndtri(0.5 + _check(confidence) / 2))
    share = correct / total
    middle = share + z**2 / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    # With none or all correct one end is exactly 0 or 1, which rounding would miss by an ulp.
    low = 0.0 if correct == 0 else (middle - half) / scale
    high = 1.0 if correct == total else (middle + half) / scale
    return low, high


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> MeanInterval:
    r"""Mean of independent runs (seeds) with Student's confidence interval.

    The ends are :math:`\bar x \pm t_{n-1}\, s / \sqrt n` with the sample standard deviation s
    (divisor n - 1) and the two-sided quantile of Student's t distribution.

    Args:
        values: one result per run, at least two.
        confidence: probability of coverage, between 0 and 1.

    Returns:
        ``(mean, low, high)``, in the unit of `values`.

    Raises:
        ValueError: fewer than two values, a value that is not finite, or a confidence outside
            (0, 1).

    Example:
        >>> mean, low, high = mean_interval([0.68, 0.71, 0.70])
        >>> print(f"{mean:.3f} ({low:.3f} to {high:.3f})")
        0.697 (0.659 to 0.735)
    """
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or len(sample) < 2:
        raise ValueError(
            f"{sample.size} value(s) given; an interval of the mean needs a flat list of at least "
            "two, so run more seeds"
        )
    if not np.isfinite(sample).all():
        raise ValueError(f"values must be finite, given {sample.tolist()}")
    from scipy.special import stdtrit  # importing it takes 0.1 s

    quantile = float(stdtrit(len(sample) - 1, 0.5 + _check(confidence) / 2))
    mean = float(sample.mean())
    half = quantile * float(sample.std(ddof=1)) / math.sqrt(len(sample))
    return MeanInterval(mean, mean - half, mean + half)


def _check(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must lie strictly between 0 and 1, such as 0.95")
    return confidence
