"""Injected noise is that of the device times the factor, in training mode alone."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from nisqkit.circuits import angle, encoder, u3_cu3
from nisqkit.noise import Device, NoiseModel
from nisqkit.qml import (
    InjectAngles,
    InjectExact,
    InjectGates,
    InjectOutcomes,
    QuantumLayer,
    set_noise_factor,
)
from nisqkit.qml.injection import Injection

BELEM = Device.load("fake_belem")
CIRCUIT = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))
X = torch.rand(6, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
MANY = X[:1].expand(4000, 16).contiguous()


def layer(inject: str | Injection | None, **options: object) -> QuantumLayer:
    made = QuantumLayer(CIRCUIT, inputs="x", inject=inject, seed=3, **options)  # type: ignore[arg-type]
    return made.double()


def noise_free(x: Tensor) -> Tensor:
    return layer(None)(x)


@pytest.mark.parametrize("inject", ["gates", "exact", "outcomes", "angles"])
def test_evaluation_is_the_device_and_training_is_not(inject: str) -> None:
    noisy = layer(inject, noise=BELEM)
    device = layer(None, noise=BELEM)
    assert torch.equal(noisy.eval()(X), device(X))
    noisy.injection = type(noisy.injection)(factor=2.0)
    assert (noisy.train()(X) - device(X)).abs().max() > 1e-3
    assert torch.equal(noisy.with_backend("native")(X), noise_free(X))
    assert noisy.with_backend("native", noise=BELEM).injection is None


@pytest.mark.parametrize(
    "inject",
    [
        InjectGates(factor=0, readout=False),
        InjectGates(factor=0, readout=False, shared=True, ideal_encoder=True),
        InjectExact(factor=0, readout=False),
        InjectOutcomes(factor=0, std=0.1),
        InjectAngles(factor=0, readout=False),
    ],
)
def test_at_factor_0_nothing_is_injected(inject: Injection) -> None:
    found = layer(inject, noise=BELEM).train()(X)
    assert torch.allclose(found, noise_free(X), atol=1e-10)


def test_exact_injection_scales_the_noise_of_the_device() -> None:
    found = layer(InjectExact(factor=1.7), noise=BELEM).train()(X)
    model = NoiseModel.from_device(BELEM).scale(1.7)
    assert torch.allclose(found, layer(None, noise=model)(X), atol=1e-12)


@pytest.mark.parametrize("ideal_encoder", [False, True])
def test_the_mean_over_random_errors_is_the_exact_value(ideal_encoder: bool) -> None:
    """4,000 patterns, 4 sigma."""
    options = {"factor": 3.0, "kind": "pauli", "ideal_encoder": ideal_encoder}
    values = layer(InjectGates(**options), noise=BELEM).train()(MANY)  # type: ignore[arg-type]
    exact = layer(InjectExact(**options), noise=BELEM).train()(X[:1])  # type: ignore[arg-type]
    sigma = values.std(dim=0) / len(MANY) ** 0.5
    assert ((values.mean(dim=0) - exact[0]).abs() < 4 * sigma).all()
    assert (sigma > 0).all()


def test_gradients_of_exact_injection_are_those_of_finite_differences() -> None:
    noisy = layer(InjectExact(factor=2.0), noise=BELEM).train()
    (grad,) = torch.autograd.grad(noisy(X).sum(), noisy.weights)
    step = 1e-5
    for k in (0, 7, 20):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                noisy.weights[k] += sign * step
                values.append(noisy(X).sum().item())
                noisy.weights[k] -= sign * step
        assert grad[k].item() == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-7)


def test_errors_of_outcomes_are_normal_with_the_given_moments() -> None:
    found = layer(InjectOutcomes(factor=2.0, std=0.1, mean=0.03)).train()(MANY)
    apart = found - noise_free(X[:1])
    n = len(MANY)
    assert ((apart.mean(dim=0) - 0.03).abs() < 4 * 0.2 / n**0.5).all()
    assert ((apart.std(dim=0) / 0.2 - 1).abs() < 4 / (2 * n) ** 0.5).all()


def test_errors_of_outcomes_are_measured_on_the_device() -> None:
    noisy = layer("outcomes", noise=BELEM).train()
    assert noisy.injected.isnan().all()
    noisy(X)
    apart = layer(None, noise=BELEM)(X) - noise_free(X)
    assert torch.allclose(noisy.injected[0], apart.mean(dim=0))
    assert torch.allclose(noisy.injected[1], apart.std(dim=0, correction=0))
    other = layer("outcomes", noise=BELEM)
    other.load_state_dict(noisy.state_dict())
    assert torch.equal(other.injected, noisy.injected)


def test_angles_move_together_and_are_read_on_the_device() -> None:
    """At factor 0 only the readout is left: an affine map of Z by the device's two errors."""
    found = layer(InjectAngles(factor=0.0), noise=BELEM).train()(X)
    physical = layer(None, noise=BELEM).transpiled.layout
    for k, q in enumerate(physical):
        p10, p01 = BELEM.readout[q]
        expected = (1 - p10 - p01) * noise_free(X)[:, k] + p01 - p10
        assert torch.allclose(found[:, k], expected, atol=1e-10)
    moved = layer(InjectAngles(std=0.3)).train()
    assert torch.equal(moved(X[:1].expand(3, 16)).unique(dim=0), moved.eval()(X[:1])) is False
    assert len(moved.train()(X[:1].expand(5, 16)).unique(dim=0)) == 1  # one draw per step


def test_probabilities_go_through_the_readout_too() -> None:
    circuit = angle(2).compose(u3_cu3(2, blocks=1))
    inject = InjectAngles(factor=0.0)
    noisy = QuantumLayer(circuit, "x", "probs", noise=BELEM, inject=inject, seed=0).double()
    probabilities = noisy.train()(X[:, :2])
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(6).double())
    z = QuantumLayer(circuit, "x", None, noise=BELEM, inject=inject, seed=0).double()
    signs = torch.tensor([[1.0, -1, 1, -1], [1, 1, -1, -1]]).double()
    assert torch.allclose(probabilities @ signs.T, z.train()(X[:, :2]), atol=1e-10)


@pytest.mark.parametrize("inject", ["gates", "outcomes", "angles"])
def test_steps_differ_and_a_resumed_run_repeats_them(inject: str) -> None:
    first = layer(inject, noise=BELEM).train()
    first(X)
    saved = copy.deepcopy(first.state_dict())
    second, third = first(X), first(X)
    assert not torch.equal(second, third)
    resumed = layer(inject, noise=BELEM).train()
    resumed.load_state_dict(saved)
    assert torch.equal(resumed(X), second)
    for twin in (copy.deepcopy(resumed), pickle.loads(pickle.dumps(resumed))):
        assert torch.equal(twin(X), third)


def test_every_node_has_a_device_and_a_layout_of_its_own() -> None:
    lima = Device.load("fake_lima")
    second = angle(4).compose(u3_cu3(4, blocks=1))
    model = nn.Sequential(
        QuantumLayer(CIRCUIT, "x", noise=BELEM, layout=[0, 1, 3, 4], inject="gates", seed=0),
        QuantumLayer(second, "x", noise=lima, layout=[3, 1, 0, 2], inject="exact", seed=1),
    ).double()
    assert model[0].transpiled.initial_layout == (0, 1, 3, 4)
    assert model[1].transpiled.initial_layout == (3, 1, 0, 2)
    assert model[1].transpiled.device == lima
    set_noise_factor(model, 0.25)
    assert [part.injection.factor for part in model] == [0.25, 0.25]
    model(X).sum().backward()
    assert all(part.weights.grad.abs().max() > 0 for part in model)


def test_float32_and_the_text() -> None:
    noisy = QuantumLayer(CIRCUIT, "x", noise=BELEM, inject=InjectGates(factor=0.5), seed=0)
    assert noisy(X).dtype == torch.float32
    assert "inject=InjectGates(factor=0.5, kind='pauli'" in repr(noisy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inject": "gate"}, "did you mean 'gates'"),
        ({"inject": "gates"}, "InjectGates takes its noise from the layer, which has none"),
        ({"inject": "outcomes"}, "InjectOutcomes takes its noise from the layer"),
        ({"inject": "exact", "noise": BELEM, "shots": 10}, "the layer has shots=10: leave one"),
        ({"layout": [0, 1, 2, 3]}, r"layout=\[0, 1, 2, 3\] needs a device"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantumLayer(CIRCUIT, "x", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InjectGates(factor=-1), "factor=-1 must be 0"),
        (lambda: InjectExact(kind="paulis"), "kind='paulis': give 'full' or 'pauli'"),
        (lambda: InjectOutcomes(std=-1), "std=-1 must be 0 or a positive number, or None"),
        (lambda: InjectOutcomes(mean=1), "mean=1 goes with std="),
        (lambda: InjectAngles(std=-1), "std=-1 must be 0 or a positive number of radians"),
    ],
)
def test_numbers_that_cannot_work_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


def test_something_else_is_no_injection() -> None:
    with pytest.raises(TypeError, match="inject takes one of 'gates', 'exact'"):
        QuantumLayer(CIRCUIT, "x", noise=BELEM, inject=0.5)  # type: ignore[arg-type]
