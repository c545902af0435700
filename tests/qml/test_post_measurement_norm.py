import copy
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nisqkit.circuits.ansatze import u3_cu3
from nisqkit.circuits.encoders import angle
from nisqkit.noise.confusion import Confusion
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.layer import QuantumLayer
from nisqkit.qml.models import GroupSum
from nisqkit.qml.post_measurement_norm import PostMeasurementNorm, freeze_statistics


def outcomes(samples: int, columns: int, std: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """Values whose columns have different means and exactly this standard deviation."""
    raw = torch.randn(samples, columns, generator=torch.Generator().manual_seed(7)).double()
    unit = (raw - raw.mean(0)) / raw.std(0, correction=0)
    return (torch.linspace(-0.4, 0.4, columns) + std * unit).to(dtype)


def test_definition() -> None:
    y = outcomes(32, 3, std=0.3)
    array = y.numpy()
    expected = (array - array.mean(0)) / np.sqrt(array.var(0) + 1e-5)
    assert np.allclose(PostMeasurementNorm(3, eps=1e-5)(y).numpy(), expected, atol=1e-12)


def test_training_is_batch_norm_without_parameters() -> None:
    y = outcomes(16, 3, std=0.2).requires_grad_()
    theirs = nn.BatchNorm1d(3, eps=1e-5, affine=False).double()
    ours = PostMeasurementNorm(3, eps=1e-5).double()
    upstream = torch.randn(16, 3, generator=torch.Generator().manual_seed(0)).double()
    found, expected = ours(y), theirs(y)
    assert torch.allclose(found, expected, atol=1e-12)
    (gradient,) = torch.autograd.grad((found * upstream).sum(), y)
    (reference,) = torch.autograd.grad((expected * upstream).sum(), y)
    assert torch.allclose(gradient, reference, atol=1e-10)
    assert not list(ours.parameters())


def test_gradient_through_the_statistics() -> None:
    y = outcomes(5, 2, std=0.3).requires_grad_()
    assert torch.autograd.gradcheck(PostMeasurementNorm(2).double(), (y,))


def test_statistics_go_over_all_leading_dimensions() -> None:
    y = outcomes(30, 4, std=0.3)
    norm = PostMeasurementNorm(4)
    assert torch.equal(norm(y.reshape(5, 6, 4)), norm(y).reshape(5, 6, 4))


# Why 1e-4 holds: norm(a y + b) = (y - mean) / sqrt(var + eps / a^2), so that
# |norm(a y + b) - norm(y)| <= |z| eps (1 / a^2 - 1) / (2 var), where z is the normalised y. For
# a >= 0.1 and std >= 0.1 that is at most 5e-7 |z| with the default eps = 1e-10, and |z| <= sqrt(B)
# for any batch of B samples. Rounding in float32 adds about 6e-8 |a y + b| / (a std) <= 1e-5.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gain", [0.1, 0.35, 1.0, 3.0])
@pytest.mark.parametrize("statistics", ["batch", "frozen", "running"])
def test_affine_noise_is_cancelled(statistics: str, gain: float, dtype: torch.dtype) -> None:
    clean = outcomes(256, 4, std=0.1, dtype=dtype)
    gains = gain * torch.tensor([1.0, 1.5, 2.0, 1.1], dtype=dtype)
    noisy = gains * clean + torch.tensor([0.3, -0.2, 0.0, 0.8], dtype=dtype)

    def evaluated(y: Tensor) -> Tensor:
        norm = PostMeasurementNorm(4, statistics).to(dtype)
        if statistics == "running":
            norm(y)
        freeze_statistics(norm, y)
        result: Tensor = norm.eval()(y)
        return result

    assert (evaluated(noisy) - evaluated(clean)).abs().max() <= 1e-4
    training = PostMeasurementNorm(4).to(dtype)
    assert (training(noisy) - training(clean)).abs().max() <= 1e-4


def test_statistics_of_another_output_cancel_nothing() -> None:
    clean = outcomes(256, 4, std=0.1)
    gains, offsets = torch.tensor([0.4, 0.6, 0.8, 1.0]), torch.tensor([0.1, -0.1, 0.0, 0.2])

    def normalised(y: Tensor, order: list[int]) -> Tensor:
        norm = PostMeasurementNorm(4).double().eval()
        freeze_statistics(norm, y)
        norm.mean.copy_(norm.mean[order])
        norm.var.copy_(norm.var[order])
        result: Tensor = norm(y)
        return result

    noisy = gains * clean + offsets
    kept, shuffled = [0, 1, 2, 3], [1, 2, 3, 0]
    assert (normalised(noisy, kept) - normalised(clean, kept)).abs().max() <= 1e-4
    assert (normalised(noisy, shuffled) - normalised(clean, shuffled)).abs().max() > 0.1


def test_published_eps_would_leave_a_part_of_the_noise() -> None:
    y, gain = outcomes(256, 1, std=0.1), 0.1
    norm = PostMeasurementNorm(1, eps=1e-5)
    factor = np.sqrt((0.01 + 1e-5) / (0.01 + 1e-5 / gain**2))
    assert factor < 0.96
    assert torch.allclose(norm(gain * y), factor * norm(y), atol=1e-9)


def test_constant_output_stays_finite() -> None:
    y = torch.full((8, 1), 0.3, requires_grad=True)
    found = PostMeasurementNorm(1)(y)
    found.sum().backward()
    assert found.abs().max() < 0.1
    assert y.grad is not None
    assert y.grad.isfinite().all()


def two_nodes() -> tuple[QuantumLayer, nn.Sequential]:
    """The parts in float64: a first node whose outputs spread widely, and what follows the norm."""
    first = angle(4, 8, gates="ry rz").compose(u3_cu3(4, 1))
    second = QuantumLayer(angle(4).compose(u3_cu3(4, 1)), inputs="x", init="uniform", seed=2)
    layer = QuantumLayer(first, inputs="x", init="uniform", seed=1).double()
    return layer, nn.Sequential(second, GroupSum(4, 2)).double()


def features(samples: int) -> Tensor:
    return 3 * torch.rand(samples, 8, generator=torch.Generator().manual_seed(3)).double()


class Affine(nn.Module):
    def forward(self, y: Tensor) -> Tensor:
        gains, offsets = torch.tensor([0.2, 0.5, 0.8, 1.0]), torch.tensor([0.2, -0.3, 0.0, 0.1])
        return gains * y + offsets


@pytest.mark.parametrize("statistics", ["batch", "frozen"])
def test_affine_noise_between_nodes_leaves_the_logits(statistics: str) -> None:
    (first, rest), x = two_nodes(), features(64)
    clean = nn.Sequential(first, PostMeasurementNorm(4, statistics).double(), rest)
    noisy = nn.Sequential(first, Affine(), PostMeasurementNorm(4, statistics).double(), rest)
    assert first(x).std(0).min() >= 0.1
    assert torch.allclose(noisy(x), clean(x), atol=1e-4)
    for model in (clean, noisy):
        freeze_statistics(model, x)
        model.eval()
    assert torch.allclose(noisy(x), clean(x), atol=1e-4)
    # Without normalisation the second node sees other angles.
    assert (rest(Affine()(first(x))) - rest(first(x))).abs().max() > 0.05


def test_statistics_of_the_device_undo_its_readout_and_others_do_not() -> None:
    # A readout error is exactly affine: Z becomes P(0|1) - P(1|0) + (1 - P(1|0) - P(0|1)) Z.
    (first, rest), x = two_nodes(), features(64)
    errors = [(0.02, 0.2), (0.3, 0.1), (0.05, 0.05), (0.0, 0.15)]
    flips = [
        Confusion.flips(k, read_1_after_0=up, read_0_after_1=down)
        for k, (up, down) in enumerate(errors)
    ]
    gates = {use.name for use in first.program.gates}
    readout = NoiseModel("readout", {}, ideal=gates, readout=flips)
    norm = PostMeasurementNorm(4).double()
    clean = nn.Sequential(first, norm, rest)
    noisy = nn.Sequential(first.with_backend("native", noise=readout), norm, rest)
    freeze_statistics(clean, x)
    expected = clean.eval()(x)
    assert (noisy.eval()(x) - expected).abs().max() > 0.05
    freeze_statistics(noisy, x)
    assert torch.allclose(noisy(x), expected, atol=1e-4)


def test_normalisation_removes_most_of_a_devices_noise() -> None:
    layer, x = two_nodes()[0], features(64)
    device = layer.with_backend("native", noise=Device.load("fake_belem"))
    clean, noisy = layer(x), device(x)
    norm = PostMeasurementNorm(4)
    before = (noisy - clean).square().mean() / clean.var(0).mean()
    after = (norm(noisy) - norm(clean)).square().mean()
    assert after < 0.1 * before


def test_frozen_statistics_take_one_sample() -> None:
    y = outcomes(64, 3, std=0.2)
    norm = PostMeasurementNorm(3).double().eval()
    freeze_statistics(norm, y)
    together = norm(y)
    batched = PostMeasurementNorm(3, "batch").double().eval()(y)
    assert torch.allclose(together, batched, atol=1e-12)
    for one in (0, 17, 63):
        assert torch.equal(norm(y[one : one + 1]), together[one : one + 1])
        assert torch.equal(norm(y[one]), together[one])


def test_frozen_statistics_are_constants_for_gradients() -> None:
    y = outcomes(8, 2, std=0.5)
    norm = PostMeasurementNorm(2).double().eval()
    freeze_statistics(norm, y)
    probe = y[:1].clone().requires_grad_()
    norm(probe).sum().backward()
    assert probe.grad is not None
    assert torch.allclose(probe.grad, torch.full((1, 2), 2.0).double(), atol=1e-6)


def test_training_leaves_frozen_statistics() -> None:
    norm = PostMeasurementNorm(2).double()
    freeze_statistics(norm, outcomes(8, 2, std=0.5))
    before = copy.deepcopy(norm.state_dict())
    norm(outcomes(8, 2, std=0.1))
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


def test_running_statistics_average_the_training_batches() -> None:
    norm = PostMeasurementNorm(2, "running", momentum=0.25).double()
    mean = var = np.zeros(2)
    for step, std in enumerate([0.1, 0.4, 0.2]):
        y = outcomes(16, 2, std) + step
        norm(y)
        weight = 1.0 if step == 0 else 0.25
        mean = (1 - weight) * mean + weight * y.numpy().mean(0)
        var = (1 - weight) * var + weight * y.numpy().var(0)
    one = outcomes(16, 2, std=0.3)[:1]
    expected = (one.numpy() - mean) / np.sqrt(var + norm.eps)
    assert np.allclose(norm.eval()(one).numpy(), expected, atol=1e-12)


def test_evaluation_leaves_running_statistics() -> None:
    norm = PostMeasurementNorm(2, "running").double()
    norm(outcomes(8, 2, std=0.5))
    before = norm.mean.clone()
    norm.eval()(outcomes(8, 2, std=0.5) + 1)
    assert torch.equal(norm.mean, before)


def test_copies_and_files_keep_the_statistics() -> None:
    y = outcomes(16, 2, std=0.3)
    norm = PostMeasurementNorm(2).double().eval()
    freeze_statistics(norm, y)
    fresh = PostMeasurementNorm(2).double().eval()
    fresh.load_state_dict(norm.state_dict())
    for other in (fresh, copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))):
        assert torch.equal(other(y), norm(y))
    assert norm(y).dtype == torch.float64
    assert norm.float()(y.float()).dtype == torch.float32


def test_freezing_passes_on_what_each_norm_normalises() -> None:
    x = features(40)
    first, second = PostMeasurementNorm(3).double(), PostMeasurementNorm(2).double()
    into, between = nn.Linear(8, 3).double(), nn.Linear(3, 2).double()
    model = nn.Sequential(into, first, nn.Tanh(), between, second)
    freeze_statistics(model, x)
    with torch.no_grad():
        y = into(x)
        z = between(((y - y.mean(0)) / (y.var(0, correction=0) + 1e-10).sqrt()).tanh())
    for norm, outputs in ((first, y), (second, z)):
        assert torch.allclose(norm.mean, outputs.mean(0), atol=1e-12)
        assert torch.allclose(norm.var, outputs.var(0, correction=0), atol=1e-12)
    # On the samples that were measured, frozen statistics are the batch's.
    frozen = model.eval()(x)
    assert torch.allclose(frozen, model.train()(x), atol=1e-12)


def test_freezing_leaves_modes_and_gradients() -> None:
    linear = nn.Linear(8, 3).double()
    model = nn.Sequential(linear, PostMeasurementNorm(3).double(), nn.Dropout(0.5))
    linear.eval()
    freeze_statistics(model, features(8))
    assert [m.training for m in model.modules()] == [True, False, True, True]
    assert linear.weight.grad is None
    model(features(8)).sum().backward()
    assert linear.weight.grad is not None


def test_freezing_measures_frozen_norms_only() -> None:
    running, frozen = PostMeasurementNorm(2, "running").double(), PostMeasurementNorm(2).double()
    model = nn.Sequential(running, frozen)
    model(outcomes(8, 2, std=0.4))
    before = running.mean.clone()
    freeze_statistics(model, outcomes(8, 2, std=0.2) + 1)
    assert torch.equal(running.mean, before)
    assert frozen.known


class Refuses(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("this model was run")


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_freezing_does_not_run_a_model_without_frozen_norms(statistics: str) -> None:
    freeze_statistics(nn.Sequential(PostMeasurementNorm(2, statistics), Refuses()), torch.zeros(4))


def test_a_failed_pass_leaves_no_hook_and_no_mode_behind() -> None:
    norm = PostMeasurementNorm(2).double()
    with pytest.raises(RuntimeError, match="this model was run"):
        freeze_statistics(nn.Sequential(norm, Refuses()), outcomes(8, 2, std=0.4))
    assert norm.training
    mean = norm.mean.clone()
    norm.eval()(outcomes(8, 2, std=0.1) + 1)
    assert torch.equal(norm.mean, mean)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_outputs": 0}, "num_outputs must be at least 1, got 0"),
        ({"num_outputs": 2, "statistics": "runing"}, "'runing'; did you mean 'running'"),
        ({"num_outputs": 2, "eps": 0.0}, "eps must be positive, got 0"),
        ({"num_outputs": 2, "momentum": 0.0}, r"momentum must be in \(0, 1\], got 0"),
        ({"num_outputs": 2, "momentum": 1.5}, r"momentum must be in \(0, 1\], got 1.5"),
    ],
)
def test_bad_options(options: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        PostMeasurementNorm(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(3,), (4, 3), ()])
def test_wrong_width(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"y has shape .* must be the 2 outputs"):
        PostMeasurementNorm(2)(torch.zeros(shape))


def test_one_sample_has_no_variance() -> None:
    one = torch.zeros(1, 2)
    for statistics in ("batch", "frozen", "running"):
        with pytest.raises(ValueError, match=r"1 samples, too few .*drop_last=True"):
            PostMeasurementNorm(2, statistics)(one)
    with pytest.raises(ValueError, match=r"1 samples, .*statistics='frozen' or 'running'"):
        PostMeasurementNorm(2, "batch").eval()(one)
    with pytest.raises(ValueError, match=r"1 samples, .*such as all validation data"):
        freeze_statistics(PostMeasurementNorm(2), one)


def test_statistics_that_were_not_measured() -> None:
    with pytest.raises(ValueError, match=r"none were measured: call freeze_statistics\(model"):
        PostMeasurementNorm(2).eval()(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"no batch was seen: call the model in training mode"):
        PostMeasurementNorm(2, "running").eval()(torch.zeros(4, 2))


def test_one_norm_in_two_places() -> None:
    norm = PostMeasurementNorm(2).double()
    with pytest.raises(ValueError, match="in two places of the model"):
        freeze_statistics(nn.Sequential(norm, nn.Tanh(), norm), outcomes(8, 2, std=0.3))


def test_what_print_shows() -> None:
    assert repr(PostMeasurementNorm(4)) == (
        "PostMeasurementNorm(4, statistics='frozen', eps=1e-10)"
    )
    assert "momentum=0.1" in repr(PostMeasurementNorm(4, "running"))
