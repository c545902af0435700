"""Quantisation rounds to its levels; its loss has a gradient, and the released one has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nisqkit.qml import PostMeasurementQuantize, centroid_losses

Y = torch.from_numpy(np.random.default_rng(1).normal(scale=1.5, size=(40, 4)))


@pytest.mark.parametrize(("levels", "limit"), [(2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0), (6, 0.7)])
def test_values_go_to_the_nearest_level(levels: int, limit: float) -> None:
    quantize = PostMeasurementQuantize(levels, limit)
    centroids = np.linspace(-limit, limit, levels)
    nearest = np.abs(Y.numpy()[..., None] - centroids).argmin(axis=-1)
    found = quantize(Y)
    np.testing.assert_allclose(found.numpy(), centroids[nearest], atol=1e-12)
    np.testing.assert_allclose(quantize.centroids(), centroids, atol=1e-6)
    assert torch.allclose(quantize(found), found, atol=1e-12)  # rounded once is rounded


def test_five_levels_are_the_published_ones() -> None:
    assert PostMeasurementQuantize(5).centroids().tolist() == [-2, -1, 0, 1, 2]


def test_the_gradient_passes_straight_through_even_where_values_are_clipped() -> None:
    y = Y.clone().requires_grad_()
    assert (Y.abs() > 2).any()
    factors = torch.arange(Y.numel(), dtype=torch.float64).reshape(Y.shape)
    (PostMeasurementQuantize()(y) * factors).sum().backward()
    assert torch.equal(y.grad, factors)


def test_the_centroid_loss_has_the_gradient_of_its_finite_differences() -> None:
    quantize, y = PostMeasurementQuantize(levels=4), Y.clone().requires_grad_()
    (grad,) = torch.autograd.grad(quantize.centroid_loss(y), y)
    assert torch.allclose(grad, 2 * (Y - quantize(Y)) / Y.numel(), atol=1e-12)
    step = 1e-6  # no value is that near to the border between two levels
    for index in [(0, 0), (3, 1), (17, 2), (39, 3)]:
        moved = [Y.clone(), Y.clone()]
        moved[0][index] += step
        moved[1][index] -= step
        up, down = (quantize.centroid_loss(m).item() for m in moved)
        assert grad[index].item() == pytest.approx((up - down) / (2 * step), abs=1e-8)


def test_the_released_centroid_loss_has_no_gradient() -> None:
    """Why the level is detached: otherwise both sides move together."""
    y = Y.clone().requires_grad_()
    (grad,) = torch.autograd.grad((y - PostMeasurementQuantize()(y)).square().mean(), y)
    assert grad.abs().max() == 0


def test_the_loss_draws_values_to_the_levels() -> None:
    quantize, y = PostMeasurementQuantize(), Y.clone().requires_grad_()
    optimizer = torch.optim.SGD([y], lr=0.25 * Y.numel())
    for _ in range(30):
        optimizer.zero_grad()
        quantize.centroid_loss(y).backward()
        optimizer.step()
    assert torch.allclose(y, quantize(y), atol=1e-4)


def test_losses_of_all_quantisers_are_collected() -> None:
    first, second = PostMeasurementQuantize(3), PostMeasurementQuantize(5)
    model = nn.Sequential(first, nn.Linear(4, 4), second).double()
    with centroid_losses(model) as losses:
        model(Y)
    middle = model[1](first(Y))
    expected = [first.centroid_loss(Y), second.centroid_loss(middle)]
    assert torch.allclose(torch.stack(losses), torch.stack(expected))
    model(Y)
    assert len(losses) == 2  # nothing is collected afterwards


def test_collecting_ends_after_an_error() -> None:
    model = nn.Sequential(PostMeasurementQuantize())
    with pytest.raises(RuntimeError, match="of the model"), centroid_losses(model) as losses:
        raise RuntimeError("of the model")
    model(Y)
    assert losses == []


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="levels=1 must be at least 2"):
        PostMeasurementQuantize(levels=1)
    with pytest.raises(ValueError, match="limit=0 must be a positive number"):
        PostMeasurementQuantize(limit=0)
