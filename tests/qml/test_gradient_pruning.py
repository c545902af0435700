"""Which weights are drawn, against exact probabilities."""

from itertools import permutations

import numpy as np
import pytest
import torch

from nisqkit.qml.gradient_pruning import GradientPruning

DRAWS = 20_000
M = torch.tensor([0.0, 0.05, 0.1, 0.3, 1.0])


def frequencies(pruning: GradientPruning, accumulated: torch.Tensor) -> np.ndarray:
    """How often each weight is kept in a step of the pruning window."""
    kept = [pruning.keep(1, accumulated, seed).numpy() for seed in range(DRAWS)]
    return np.mean(kept, axis=0)


def inclusion(rates: np.ndarray, count: int) -> np.ndarray:
    """Exactly: the sum over all ways to draw so many, one after another, without replacement."""
    found = np.zeros(len(rates))
    for order in permutations(range(len(rates)), count):
        probability, left = 1.0, rates.sum()
        for k in order:
            probability *= rates[k] / left
            left -= rates[k]
        found[list(order)] += probability
    return found


def test_keeps_each_weight_as_often_as_it_should_and_larger_gradients_more_often() -> None:
    pruning = GradientPruning(ratio=0.6)
    exact = inclusion(M.numpy() + pruning.floor, count=2)
    found = frequencies(pruning, M)
    sigma = np.sqrt(exact * (1 - exact) / DRAWS)
    assert (abs(found - exact) < 4.5 * sigma).all(), (found, exact)
    assert (np.diff(found) > 0).all()
    assert found[0] > 0  # by the floor


def test_random_does_not_look_at_gradients() -> None:
    found = frequencies(GradientPruning("random", ratio=0.6), M)
    assert (abs(found - 0.4) < 4.5 * np.sqrt(0.24 / DRAWS)).all()


def test_top_k_takes_the_largest_and_of_equal_ones_the_first() -> None:
    pruning = GradientPruning("top-k", ratio=0.5)
    accumulated = torch.tensor([0.1, 0.3, 0.1, 0.2, 0.1, 0.0])
    assert pruning.keep(1, accumulated, seed=0).nonzero()[:, 0].tolist() == [0, 1, 3]


def test_windows() -> None:
    pruning = GradientPruning(accumulation_steps=2, pruning_steps=3)
    kept = [int(pruning.keep(step, torch.ones(8), seed=0).sum()) for step in range(10)]
    assert kept == [8, 8, 4, 4, 4] * 2
    assert pruning.saved == pytest.approx(1 - sum(kept) / (10 * 8))


def test_accumulates_magnitudes_over_one_window_and_starts_again() -> None:
    pruning = GradientPruning(accumulation_steps=2, pruning_steps=1)
    gradients = torch.tensor([[1.0, -2.0], [-0.5, 0.25], [9.0, 9.0], [0.1, -0.2]])
    accumulated, found = torch.zeros(2), []
    for step, gradient in enumerate(gradients):
        accumulated = pruning.accumulate(step, accumulated, gradient)
        found.append(accumulated.tolist())
    expected = [[1, 2], [1.5, 2.25], [1.5, 2.25], [0.1, 0.2]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_draws_depend_on_seed_and_step_alone() -> None:
    pruning, accumulated = GradientPruning(), torch.rand(30)
    again = pruning.keep(1, accumulated, 3)
    assert torch.equal(pruning.keep(1, accumulated, 3), again)
    assert not torch.equal(pruning.keep(2, accumulated, 3), again)
    assert not torch.equal(pruning.keep(1, accumulated, 4), again)


def test_keeps_at_least_one_weight_and_prunes_none_at_ratio_0() -> None:
    assert [GradientPruning(ratio=0.9).num_kept(n) for n in (1, 4, 36)] == [1, 1, 4]
    assert GradientPruning(ratio=0).num_kept(36) == 36


def test_refuses_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="did you mean 'probabilistic'"):
        GradientPruning("probabilstic")
    for ratio in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="must be from 0 to below 1"):
            GradientPruning(ratio=ratio)
    with pytest.raises(ValueError, match="pruning_steps=0 must be a whole number"):
        GradientPruning(pruning_steps=0)
    with pytest.raises(ValueError, match="floor=0 must be a positive number"):
        GradientPruning(floor=0)
    with pytest.raises(ValueError, match="gradient of weight 1 is not finite"):
        GradientPruning().accumulate(0, torch.zeros(2), torch.tensor([0.0, float("nan")]))
