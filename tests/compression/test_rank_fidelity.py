import numpy as np
import pytest
from scipy.stats import bootstrap, spearmanr

from nisqkit.compression.rank_fidelity import rank_fidelity

RANDOM = np.random.default_rng(3)
SCRATCH = RANDOM.normal(size=25)
INHERITED = SCRATCH + RANDOM.normal(size=25)


def test_the_correlation_is_that_of_scipy_with_ties_too() -> None:
    found = rank_fidelity(INHERITED.tolist(), SCRATCH.tolist())
    assert found.spearman == pytest.approx(spearmanr(INHERITED, SCRATCH).statistic, abs=1e-12)
    assert found.count == 25
    coarse = np.round(INHERITED)
    expected = spearmanr(coarse, SCRATCH).statistic
    assert rank_fidelity(coarse.tolist(), SCRATCH.tolist()).spearman == pytest.approx(expected)


def test_the_interval_is_the_percentile_bootstrap_of_scipy() -> None:
    found = rank_fidelity(INHERITED.tolist(), SCRATCH.tolist(), resamples=9000)
    expected = bootstrap(
        (INHERITED, SCRATCH),
        lambda a, b: spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=3000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    # percentiles of 3000 draws have a standard error of about 0.01
    assert found.low == pytest.approx(expected.low, abs=0.04)
    assert found.high == pytest.approx(expected.high, abs=0.04)


def test_the_interval_narrows_with_architectures_and_covers() -> None:
    """Of 60 intervals at 90 %, at least 45: 5 sigma below what must be covered."""
    random = np.random.default_rng(0)
    truth, covered = 6 / np.pi * np.arcsin(0.6 / 2), 0  # Spearman's of a normal pair, Kruskal 1958
    widths: dict[int, list[float]] = {}
    for count in (15, 60):
        for _ in range(60 if count == 60 else 5):
            x = random.normal(size=count)
            y = 0.6 * x + 0.8 * random.normal(size=count)
            found = rank_fidelity(x.tolist(), y.tolist(), confidence=0.9, resamples=500)
            widths.setdefault(count, []).append(found.high - found.low)
            covered += count == 60 and found.low <= truth <= found.high
    assert covered >= 45
    assert np.mean(widths[60]) < 0.7 * np.mean(widths[15])


def test_same_seed_same_interval() -> None:
    first, second = (rank_fidelity(INHERITED.tolist(), SCRATCH.tolist(), seed=4) for _ in range(2))
    assert first == second
    assert first != rank_fidelity(INHERITED.tolist(), SCRATCH.tolist(), seed=5)


def test_resamples_without_order_are_left_out() -> None:
    """Of 3 architectures, 1 of 9 resamples is one architecture three times."""
    found = rank_fidelity([1, 2, 3], [1, 3, 2])
    assert found.spearman == pytest.approx(0.5)
    assert -1 <= found.low <= found.high <= 1


def test_reversed_is_minus_one() -> None:
    assert rank_fidelity([1, 2, 3, 4], [4, 3, 2, 1]).spearman == pytest.approx(-1)


def test_bad_scores() -> None:
    with pytest.raises(ValueError, match="3 inherited scores and 4 from scratch: give one of each"):
        rank_fidelity([1, 2, 3], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="2 architectures have no meaningful ranks: give 3"):
        rank_fidelity([1, 2], [1, 2])
    with pytest.raises(ValueError, match=r"all scratch scores are 0\.5, so there is no order"):
        rank_fidelity([1, 2, 3], [0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="inherited must be a flat list of finite scores"):
        rank_fidelity([1, 2, float("nan")], [1, 2, 3])


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="confidence=95 must lie strictly between 0 and 1"):
        rank_fidelity([1, 2, 3], [1, 3, 2], confidence=95)
    with pytest.raises(ValueError, match="resamples=10 is too few for percentiles"):
        rank_fidelity([1, 2, 3], [1, 3, 2], resamples=10)
