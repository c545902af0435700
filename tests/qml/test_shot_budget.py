"""Shots that grow, and what they sum up to."""

import pytest

from nisqkit.qml.shot_budget import GROWTHS, ShotBudget


@pytest.mark.parametrize("growth", GROWTHS)
@pytest.mark.parametrize(("first", "last", "steps"), [(1, 3, 7), (100, 100, 5), (128, 1024, 40)])
def test_grows_from_first_to_last(growth: str, first: int, last: int, steps: int) -> None:
    budget = ShotBudget(first, last, growth)
    shots = [budget.shots(step, steps) for step in range(steps)]
    assert shots[0] == first and shots[-1] == last
    assert shots == sorted(shots)
    assert budget.total(steps) == sum(shots)


def test_geometric_steps_have_equal_ratios_and_linear_ones_equal_differences() -> None:
    assert [ShotBudget(10, 10_000).shots(k, 4) for k in range(4)] == [10, 100, 1000, 10_000]
    assert [ShotBudget(10, 40, "linear").shots(k, 4) for k in range(4)] == [10, 20, 30, 40]


def test_a_single_step_takes_the_last() -> None:
    assert ShotBudget(5, 9).shots(0, 1) == 9


@pytest.mark.parametrize("growth", GROWTHS)
@pytest.mark.parametrize("total", [1000, 40_960, 40_961])
def test_of_total_is_the_largest_that_fits(growth: str, total: int) -> None:
    budget = ShotBudget.of_total(total, 40, times=4, growth=growth)
    assert budget.total(40) <= total
    assert ShotBudget(budget.first + 1, (budget.first + 1) * 4, growth).total(40) > total


def test_refuses_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="shots must not shrink, but first=9 and last=8"):
        ShotBudget(9, 8)
    with pytest.raises(ValueError, match="first=0 must be a whole number"):
        ShotBudget(0, 8)
    with pytest.raises(ValueError, match="did you mean 'geometric'"):
        ShotBudget(1, 8, "geometrc")
    with pytest.raises(ValueError, match="step 4 is none of 4 steps"):
        ShotBudget(1, 8).shots(4, 4)
    with pytest.raises(ValueError, match="total=9 is too small: 10 steps"):
        ShotBudget.of_total(9, 10)
    with pytest.raises(ValueError, match=r"times=0\.5 must be 1 or more"):
        ShotBudget.of_total(100, 10, times=0.5)
