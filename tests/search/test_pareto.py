import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from nisqkit.search.pareto import (
    best_by_rank_and_crowding,
    crowding_distances,
    hypervolume,
    knee_index,
    non_dominated_fronts,
)


def points(seed: int, number: int, objectives: int) -> np.ndarray:
    """Random points on a coarse grid, so that many are equal or equal in one objective."""
    return np.random.default_rng(seed).integers(0, 7, size=(number, objectives)).astype(float)


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(10))
def test_fronts_are_those_of_brute_force(seed: int, objectives: int) -> None:
    losses = points(seed, 40, objectives)
    left = set(range(len(losses)))
    expected = []
    while left:  # the definition, peeled off layer by layer
        front = [i for i in left if not any(dominates(losses[j], losses[i]) for j in left)]
        expected.append(sorted(front))
        left -= set(front)
    assert non_dominated_fronts(losses) == expected


def test_crowding_of_a_front_by_hand() -> None:
    # Ranges 4 and 10; for the second point (2 - 0)/4 + (10 - 3)/10, for the third (4 - 1)/4 + 6/10.
    found = crowding_distances([[2, 3], [0, 10], [4, 0], [1, 6]])
    assert found.tolist() == pytest.approx([3 / 4 + 6 / 10, np.inf, np.inf, 2 / 4 + 7 / 10])


def test_crowding_of_degenerate_fronts() -> None:
    assert crowding_distances([[1, 1]]).tolist() == [np.inf]
    assert crowding_distances([[1, 1], [1, 1], [1, 1]]).tolist() == [np.inf, 0, np.inf]


def test_survivors_are_whole_fronts_then_the_least_crowded() -> None:
    losses = [[0, 4], [1, 2.9], [1.2, 2.8], [4, 0], [2, 2], [5, 5], [9, 9]]
    # The front is 0, 1, 2, 4, 3; its ends come first, then 4 with the widest gap.
    assert set(best_by_rank_and_crowding(losses, 3)) == {0, 3, 4}
    assert set(best_by_rank_and_crowding(losses, 6)) == {0, 1, 2, 3, 4, 5}
    assert len(best_by_rank_and_crowding(losses, 99)) == 7


@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5])
def test_hypervolume_is_optunas(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    for number in (1, 2, 15):
        losses = rng.random((number, objectives))
        reference = np.ones(objectives)
        expected = compute_hypervolume(losses, reference)
        assert hypervolume(losses, reference) == pytest.approx(expected, rel=1e-12)


def test_hypervolume_is_that_of_monte_carlo() -> None:
    losses = points(0, 12, 3)
    drawn = np.random.default_rng(1).uniform(0, 7, size=(200_000, 3))
    share = (losses[:, None] <= drawn[None]).all(-1).any(0).mean()
    sigma = 7**3 * np.sqrt(share * (1 - share) / len(drawn))
    assert abs(hypervolume(losses, [7, 7, 7]) - 7**3 * share) < 5 * sigma


def test_points_beyond_the_reference_count_for_nothing() -> None:
    assert hypervolume([[0, 1], [3, -5]], [2, 2]) == hypervolume([[0, 1]], [2, 2]) == 2
    assert hypervolume([[2, 0]], [2, 2]) == 0


def test_the_knee_does_not_depend_on_units() -> None:
    front = np.array([[0, 10], [1, 4], [2, 1.5], [5, 1], [10, 0]])
    assert knee_index(front) == 2
    assert knee_index(front * [1e3, 1e-6] + [5, -7]) == 2
    assert knee_index([[1.0, 1.0]]) == 0
