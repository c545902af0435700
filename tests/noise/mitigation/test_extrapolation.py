"""The formulas are Mitiq's, and their errors and gradients those of the formulas."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from nisqkit.noise.mitigation import ZNE
from nisqkit.noise.mitigation.extrapolation import check_scales, extrapolate, linear_weights

SCALES = (1.0, 2.0, 3.5, 5.0)
METHODS = ["richardson", "linear", "polynomial", "exponential"]


def test_mitiq_itself_does_the_poly_exponential_one() -> None:
    """Exact for what it assumes; the error is that of finite differences of another size."""
    scales = torch.tensor(SCALES, dtype=torch.float64)
    values = 0.1 + torch.exp(-0.2 - 0.1 * scales - 0.02 * scales**2)[:, None] * torch.ones(4, 2)
    std = torch.full((4, 2), 1e-3, dtype=torch.float64)
    found, said = extrapolate(SCALES, values, std, "poly-exponential", asymptote=0.1)
    expected = 0.1 + np.exp(-0.2)
    np.testing.assert_allclose(found.numpy(), [expected] * 2, atol=1e-9)
    assert said is not None
    steps = 1e-3 * torch.eye(4, dtype=torch.float64)
    moved = extrapolate(SCALES, values[:, :1] + steps, method="poly-exponential", asymptote=0.1)[0]
    np.testing.assert_allclose(said[0], np.linalg.norm(moved - expected), rtol=0.01)
    assert not ZNE((1, 2, 3), "poly-exponential").differentiable


def decays(seed: int) -> Tensor:
    """Values of shape (4, 3) that fall, rise and fall, with a little noise."""
    random = np.random.default_rng(seed)
    clean = np.array([0.9, -0.7, 0.5]) * np.exp(-np.outer(SCALES, [0.1, 0.2, 0.3]))
    return torch.from_numpy(clean + random.normal(0, 0.01, clean.shape))


def of_mitiq(method: str, values: Tensor) -> list[float]:
    with warnings.catch_warnings(action="ignore"):  # importing Mitiq warns about other packages
        from mitiq.zne.inference import ExpFactory, LinearFactory, PolyFactory, RichardsonFactory
    found = {
        "richardson": RichardsonFactory.extrapolate,
        "linear": LinearFactory.extrapolate,
        "polynomial": lambda x, y: PolyFactory.extrapolate(x, y, order=2),
        "exponential": lambda x, y: ExpFactory.extrapolate(x, y, asymptote=0.1),
    }[method]
    with warnings.catch_warnings(action="ignore"):
        return [float(found(SCALES, column.tolist())) for column in values.T]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_values_are_those_of_mitiq(method: str, seed: int) -> None:
    values = decays(seed)
    found, std = extrapolate(SCALES, values, method=method, asymptote=0.1)
    assert std is None
    np.testing.assert_allclose(found.numpy(), of_mitiq(method, values), atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_those_of_finite_differences(method: str) -> None:
    values = decays(5).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: extrapolate(SCALES, v, method=method)[0], values)


@pytest.mark.parametrize("method", METHODS)
def test_the_standard_error_is_the_spread_of_results(method: str) -> None:
    values, draws = decays(1), 40_000
    std = torch.tensor([1e-3, 2e-3, 3e-3, 1e-3], dtype=torch.float64)[:, None].expand(4, 3)
    errors = torch.from_numpy(np.random.default_rng(0).normal(size=(4, draws, 3)))
    many, _ = extrapolate(SCALES, values[:, None] + errors * std[:, None], method=method)
    _, said = extrapolate(SCALES, values, std, method)
    assert said is not None
    # the relative error of a spread is 1 / sqrt(2 draws); 5 sigma, and 1 % for the curvature
    np.testing.assert_allclose(many.std(dim=0) / said, 1, atol=5 / np.sqrt(2 * draws) + 0.01)


def test_an_exact_decay_is_found_exactly() -> None:
    values = torch.tensor([0.2 + 0.6 * np.exp(-0.3 * s) for s in SCALES], dtype=torch.float64)
    found, _ = extrapolate(SCALES, values, method="exponential", asymptote=0.2)
    assert found.item() == pytest.approx(0.8, abs=1e-12)


def test_values_at_the_asymptote_stay_there() -> None:
    found, std = extrapolate((1, 3), torch.zeros(2, 1), 0.1 * torch.ones(2, 1), "exponential")
    assert found.abs().item() < 1e-5
    assert std is not None
    assert std.isfinite().all()


@pytest.mark.parametrize("method", ["richardson", "linear", "polynomial"])
def test_weights_keep_constants(method: str) -> None:
    assert linear_weights(SCALES, method).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("scales", "method", "message"),
    [
        ((1, 3), "richardsn", "did you mean 'richardson'"),
        ((0.5, 1), "linear", "has 0.5: noise can only be amplified"),
        ((1, float("nan")), "linear", "has nan: noise can only be amplified"),
        ((1, 3, 3), "linear", "must increase"),
        ((3, 1), "linear", "must increase"),
        ((1,), "richardson", r"needs at least 2 scales, such as \(1, 3\)"),
        ((1, 3), "polynomial", r"needs at least 3 scales, such as \(1, 3, 5\)"),
    ],
)
def test_scales_that_cannot_work_are_refused(
    scales: tuple[float, ...], method: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_scales(scales, method)


def test_a_degree_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="degree=0 must be at least 1"):
        check_scales((1, 3), "polynomial", degree=0)
