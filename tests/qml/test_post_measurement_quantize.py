import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nisqkit.circuits.ansatze import u3_cu3
from nisqkit.circuits.encoders import angle
from nisqkit.qml.layer import QuantumLayer
from nisqkit.qml.post_measurement_norm import PostMeasurementNorm
from nisqkit.qml.post_measurement_quantize import PostMeasurementQuantize, centroid_losses


def outcomes(*shape: int) -> Tensor:
    """Normalised outcomes, some beyond the limit."""
    return 1.5 * torch.randn(*shape, generator=torch.Generator().manual_seed(5)).double()


def test_five_levels_are_the_integers_from_minus_2_to_2() -> None:
    assert PostMeasurementQuantize(levels=5).centroids.tolist() == [-2, -1, 0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("levels", "limit"), [(2, 2.0), (3, 1.0), (4, 2.0), (5, 2.0), (10, 0.7)])
def test_values_are_the_nearest_levels(levels: int, limit: float, dtype: torch.dtype) -> None:
    quantize = PostMeasurementQuantize(levels, limit)
    y = outcomes(200, 4).to(dtype)
    grid = np.linspace(-limit, limit, levels)
    nearest = grid[np.abs(y.numpy()[..., None] - grid).argmin(-1)]
    found = quantize(y)
    assert found.dtype == dtype
    assert np.allclose(found.numpy(), nearest, atol=1e-6)
    assert np.allclose(quantize.centroids.numpy(), grid, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, 3, 4, 5, 6, 7, 10])
def test_quantising_twice_changes_no_bit(levels: int, dtype: torch.dtype) -> None:
    quantize = PostMeasurementQuantize(levels)
    once = quantize(outcomes(500).to(dtype).requires_grad_())
    assert torch.equal(quantize(once), once)
    assert len(once.unique()) == levels


def test_errors_below_half_a_step_vanish() -> None:
    quantize = PostMeasurementQuantize(levels=6)
    error = 0.39 * torch.linspace(-1, 1, 6)  # the step is 0.8
    assert torch.equal(quantize(quantize.centroids + error), quantize.centroids)


def test_gradient_is_1_everywhere_also_where_clipped() -> None:
    y = torch.tensor([-50.0, -2.1, -0.7, 0.0, 0.5, 1.9, 3.0], requires_grad=True)
    upstream = torch.arange(7.0) - 3
    (PostMeasurementQuantize()(y) * upstream).sum().backward()
    assert y.grad is not None
    assert torch.equal(y.grad, upstream)


def test_evaluation_does_the_same_as_training() -> None:
    quantize, y = PostMeasurementQuantize(4), outcomes(20, 3)
    assert torch.equal(quantize.train()(y), quantize.eval()(y))
    assert not quantize.state_dict()


def test_centroid_loss_is_the_mean_square_distance() -> None:
    y = outcomes(50, 4)
    distance = y - PostMeasurementQuantize()(y)
    assert PostMeasurementQuantize().centroid_loss(y).item() == pytest.approx(
        (distance.numpy() ** 2).mean()
    )
    assert PostMeasurementQuantize().centroid_loss(torch.tensor([-2.0, 0.0, 1.0])) == 0


def test_centroid_loss_has_a_gradient() -> None:
    quantize = PostMeasurementQuantize()
    y = outcomes(50, 4).requires_grad_()
    weight = 10.0
    (weight * quantize.centroid_loss(y)).backward()
    expected = 2 * weight * (y.detach() - quantize(y.detach())) / 200
    assert y.grad is not None
    assert torch.allclose(y.grad, expected, atol=1e-14)
    assert y.grad.abs().max() > 1e-3


def test_released_centroid_loss_has_none() -> None:
    # There the straight-through gradient of Q(y) cancels that of y: the term never acted.
    quantize = PostMeasurementQuantize()
    y = outcomes(50, 4).requires_grad_()
    released = (y - quantize(y)).square().mean()
    released.backward()
    assert released.item() == quantize.centroid_loss(y).item() > 0
    assert y.grad is not None
    assert torch.equal(y.grad, torch.zeros_like(y))


def test_centroid_gradient_is_that_of_finite_differences() -> None:
    # 0.1 or more from where Q jumps, so that both sides of a difference have the same level.
    y = torch.tensor([-2.6, -1.1, -0.4, 0.2, 0.9, 1.4, 2.5]).double().requires_grad_()
    assert torch.autograd.gradcheck(PostMeasurementQuantize().centroid_loss, (y,))


def test_centroid_gradient_reaches_the_weights_of_a_circuit() -> None:
    circuit = angle(2, 4, gates="ry rz").compose(u3_cu3(2, 1))
    layer = QuantumLayer(circuit, inputs="x", init="uniform", seed=0).double()
    model = nn.Sequential(layer, PostMeasurementNorm(2), PostMeasurementQuantize())
    x = 3 * torch.rand(6, 4, generator=torch.Generator().manual_seed(1)).double()

    def loss() -> Tensor:
        with centroid_losses(model) as losses:
            model(x)
        return losses[0]

    (gradient,) = torch.autograd.grad(loss(), layer.weights)
    assert gradient.abs().max() > 1e-2
    step = 1e-5
    for k in range(len(gradient)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                layer.weights[k] += sign * step
                values.append(loss().item())
                layer.weights[k] -= sign * step
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient[k]), abs=1e-7)


def test_losses_come_in_the_order_of_the_quantisers() -> None:
    first, second = PostMeasurementQuantize(3), PostMeasurementQuantize(6)
    model, x = nn.Sequential(first, nn.Tanh(), second), outcomes(20, 2)
    with centroid_losses(model) as losses:
        model(x)
    assert [loss.item() for loss in losses] == [
        first.centroid_loss(x).item(),
        second.centroid_loss(first(x).tanh()).item(),
    ]
    with centroid_losses(model) as losses:
        model(x)
        model(x)
    assert len(losses) == 4


def test_collecting_changes_no_output() -> None:
    model, x = nn.Sequential(nn.Tanh(), PostMeasurementQuantize()), outcomes(20, 2)
    with centroid_losses(model):
        inside = model(x)
    assert torch.equal(inside, model(x))


def test_a_model_without_quantisers_adds_nothing() -> None:
    with centroid_losses(nn.Tanh()) as losses:
        nn.Tanh()(torch.zeros(2))
    assert sum(losses) == 0


def test_nothing_is_collected_after_the_block() -> None:
    model = nn.Sequential(PostMeasurementQuantize())
    with centroid_losses(model) as losses:
        pass
    model(torch.zeros(2))
    assert not losses
    with pytest.raises(RuntimeError, match="stop"), centroid_losses(model) as losses:
        raise RuntimeError("stop")
    model(torch.zeros(2))
    copy.deepcopy(model)(torch.zeros(2))
    assert not losses


def test_descent_on_the_centroid_loss_reaches_the_levels() -> None:
    quantize, y = PostMeasurementQuantize(), outcomes(30)
    for _ in range(100):
        y.requires_grad_()
        (gradient,) = torch.autograd.grad(30 * quantize.centroid_loss(y), y)
        y = y.detach() - 0.1 * gradient
    assert torch.allclose(y, quantize(y), atol=1e-6)


@pytest.mark.parametrize("levels", [1, 0, 2.5, True])
def test_bad_levels(levels: int) -> None:
    with pytest.raises(ValueError, match="levels must be an integer of at least 2, got"):
        PostMeasurementQuantize(levels)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_limit(limit: float) -> None:
    with pytest.raises(ValueError, match="limit must be positive and finite, got"):
        PostMeasurementQuantize(limit=limit)


def test_what_print_shows() -> None:
    assert repr(PostMeasurementQuantize(4)) == "PostMeasurementQuantize(levels=4, limit=2)"
