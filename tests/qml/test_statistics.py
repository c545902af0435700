"""The intervals are those of SciPy, and cover the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nisqkit.qml.statistics import mean_interval, wilson_interval


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("correct", "total"), [(0, 1), (1, 1), (0, 300), (300, 300), (150, 300)])
def test_wilson_interval_equals_scipy(correct: int, total: int, confidence: float) -> None:
    oracle = stats.binomtest(correct, total).proportion_ci(confidence, method="wilson")
    result = wilson_interval(correct, total, confidence)
    assert result == pytest.approx((oracle.low, oracle.high), abs=1e-12)
    assert 0 <= result[0] <= correct / total <= result[1] <= 1


def test_wilson_interval_covers_an_accuracy_of_90_percent_as_often_as_it_says() -> None:
    total, accuracy = 300, 0.9
    covered = 0.0
    for correct in range(total + 1):
        low, high = wilson_interval(correct, total)
        covered += stats.binom.pmf(correct, total, accuracy) * (low <= accuracy <= high)
    assert covered == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"correct={correct}, total={total}: total must be at"):
        wilson_interval(correct, total)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_mean_interval_equals_scipy(count: int, confidence: float) -> None:
    values = np.random.default_rng(count).normal(0.7, 0.02, size=count)
    oracle = stats.t.interval(confidence, count - 1, loc=values.mean(), scale=stats.sem(values))
    mean, low, high = mean_interval(values.tolist(), confidence)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx(oracle)


def test_equal_values_have_an_interval_of_width_0() -> None:
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("values", [[], [0.5], [[0.5, 0.6]]])
def test_too_few_values_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"value\(s\) given; an interval of the mean needs"):
        mean_interval(values)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values must be finite, given \[0\.5, nan\]"):
        mean_interval([0.5, float("nan")])


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_confidence_outside_0_and_1_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match=f"confidence={confidence} must lie strictly between"):
        wilson_interval(1, 2, confidence)
    with pytest.raises(ValueError, match=f"confidence={confidence} must lie strictly between"):
        mean_interval([1.0, 2.0], confidence)
