import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from nisqkit.search import Int, Objective, Problem, Study, compare
from nisqkit.search.compare import paired


def study(name: str, sampler: str, seed: int, direction: Any = "minimize") -> Study:
    def evaluate(values: list[int]) -> list[dict[str, float]]:
        return [{"score": abs(x - 4321.0)} for x in values]

    problem = Problem(Int(0, 9999), [Objective("score", direction)], evaluate=evaluate)
    made = Study.open(problem, name=name, sampler=sampler, seed=seed)
    made.run(100)
    return made


def test_student_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 12), rng.normal(0, 1, 12)
    found = paired("loss", a.tolist(), b.tolist())
    expected = ttest_rel(a, b).confidence_interval(0.95)
    assert found.student == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert found.difference == pytest.approx((a - b).mean())


def test_intervals_cover() -> None:
    rng = np.random.default_rng(1)
    covered = np.zeros(2)
    for _ in range(300):
        a, b = rng.normal(1, 1, 30).tolist(), rng.normal(0, 1, 30).tolist()
        found = paired("loss", a, b)
        for i, (low, high) in enumerate((found.student, found.bootstrap)):
            covered[i] += low <= 1 <= high
    # 95 %, and 1 % less for the percentile bootstrap of 30 pairs; 5 sigma of 300 are 6.3 %.
    assert (abs(covered / 300 - [0.95, 0.94]) < 0.063).all()


def test_evolution_against_random_search() -> None:
    seeds = range(6)
    a = [study("a", "evolution", seed) for seed in seeds]
    b = [study("b", "random", seed) for seed in seeds]
    found = compare(a, b, "score")
    assert found.a == tuple(s.best.metrics["score"] for s in a)
    assert found.b == tuple(s.best.metrics["score"] for s in b)
    assert found.difference == pytest.approx(np.mean(found.a) - np.mean(found.b))
    assert "over 6 pairs" in str(found)
    assert compare(a, a, "score").difference == 0
    # With one objective the hypervolume is the distance from the worst to the best.
    worst = max(c.metrics["score"] for s in a + b for c in s.evaluated)
    volumes = compare(a, b, "hypervolume")
    assert volumes.a == pytest.approx([worst - best for best in found.a])


def test_maximised_metrics_keep_their_sign() -> None:
    one = study("a", "random", 0, "maximize")
    found = compare([one], [one], "score")
    assert found.a == (one.best.metrics["score"],)
    assert found.student == (-math.inf, math.inf)  # one pair says nothing


def test_bad_input() -> None:
    one, other = study("a", "random", 0), study("b", "random", 0, "maximize")
    with pytest.raises(ValueError, match="got 1 and 2 studies; they are compared pair by pair"):
        compare([one], [one, one], "score")
    with pytest.raises(ValueError, match="no objective 'scor'; did you mean 'score'"):
        compare([one], [one], "scor")
    with pytest.raises(ValueError, match="different objectives"):
        compare([one], [other], "score")
    empty = Study.open(one.problem, name="empty")
    with pytest.raises(ValueError, match="'empty' has no results"):
        compare([one], [empty], "score")
