"""Derivatives by the strengths of causes, against finite differences of the reference engine."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from nisqkit.circuits import angle, hardware_efficient, u3_cu3
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.hardware_backends.reference_density import reference_density_values
from nisqkit.noise import Channel, Confusion, Device, NoiseModel
from nisqkit.noise.readout import confuse, through_readout
from nisqkit.qml import QuantumLayer
from nisqkit.qml.strengths import NoisyModel

GENERATOR = torch.Generator().manual_seed(5)


def layer_of(num_qubits: int, observables: object = None, seed: int = 0) -> QuantumLayer:
    circuit = angle(num_qubits).compose(u3_cu3(num_qubits, blocks=1))
    return QuantumLayer(circuit, inputs="x", observables=observables, init="uniform", seed=seed)


def samples(num_inputs: int, num_classes: int, batch: int = 5) -> tuple[Tensor, Tensor]:
    x = 2 * torch.rand(batch, num_inputs, generator=GENERATOR) - 1
    return x, torch.randint(num_classes, (batch,), generator=GENERATOR)


def by_reference(layer: QuantumLayer, binder: Binder, x: Tensor, at: dict[str, float]) -> Tensor:
    """Values at some strengths, in dense matrices."""
    total = torch.zeros(())
    weights = layer.weights.detach().double()
    for noisy, observables in binder.measurements(layer.program, layer.observables):
        scaled = noisy.at_strength({c: t for c, t in at.items() if c in noisy.causes})
        there = through_readout(observables, scaled)
        values = reference_density_values(scaled, x.double(), weights, there)
        total = total + (values if observables.sums is not None else confuse(values, scaled))
    return total


def differences(
    loss: Callable[[dict[str, float]], Tensor], causes: tuple[str, ...], strength: float
) -> list[float]:
    found, step, at = [], 1e-4, dict.fromkeys(causes, strength)
    for cause in causes:
        up, down = (float(loss(at | {cause: strength + s})) for s in (step, -step))
        found.append((up - down) / (2 * step))
    return found


BY_HAND = NoiseModel(
    "by hand",
    {
        ("cu3", ()): [Channel.pauli({"XZ": 0.02, "IY": 0.01}), Channel.depolarizing(0.03, 2)],
        ("u3", ()): [Channel.relaxation(0.03), Channel.dephasing(0.02)],
        ("ry", ()): Channel.from_ptm(0.95 * Channel.relaxation(0.1).ptm + 0.05 * np.eye(4)),
    },
    ideal={"measure"},
    readout=[
        Confusion((0, 1), 0.9 * np.eye(4) + 0.1 * np.full((4, 4), 0.25)),
        Confusion.flips(2, read_1_after_0=0.02, read_0_after_1=0.09),
    ],
)
FULL = Device.load("fake_belem")
CASES = {
    "full": (FULL, None, 3),
    "pauli": (NoiseModel.from_device(FULL, kind="pauli"), None, 2),
    "idle, bases": (NoiseModel.from_device(FULL, idle=True), ["XX", "ZI", "YZ"], 2),
    "probabilities": (FULL, "probs", 2),
    "by hand": (BY_HAND, ["IIZ", "ZXI", "ZZZ"], 3),
    "by hand, probabilities": (BY_HAND, "probs", 3),
}


@pytest.mark.parametrize("strength", [0.3, 1.0])
@pytest.mark.parametrize("case", CASES)
def test_slopes_are_finite_differences_of_the_reference(case: str, strength: float) -> None:
    noise, observables, n = CASES[case]
    layer = layer_of(n, observables)
    x, y = samples(n, layer.num_outputs)
    noisy = NoisyModel(layer, x, y, noise=noise)

    def loss(at: dict[str, float]) -> Tensor:
        return cross_entropy(by_reference(layer, noisy.binders[""], x, at), y)

    found = noisy.slopes(strength)
    expected = differences(loss, noisy.causes, strength)
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert max(map(abs, found)) > 1e-4
    at = dict.fromkeys(noisy.causes, strength)
    assert noisy.score(at).loss == pytest.approx(float(loss(at)), abs=1e-12)


class _Hybrid(nn.Module):
    """Classical, quantum, classical, quantum."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(3, 2)
        self.first, self.second = layer_of(2, seed=1), layer_of(2, ["ZI", "XX"], seed=2)
        self.middle = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.second(self.middle(self.first(self.front(x))))
        return found


def test_several_layers_in_a_hybrid_model() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _Hybrid()
    x, y = samples(3, 2)
    target = torch.nn.functional.one_hot(y).float()
    noisy = NoisyModel(model, x, target, noise=FULL)
    assert set(noisy.layers) == {"first", "second"}
    assert {c.partition(": ")[0] for c in noisy.causes} == {"first", "second"}
    twin = _Hybrid()
    twin.load_state_dict(model.state_dict())
    twin = twin.double().eval().requires_grad_(False)

    def loss(at: dict[str, float]) -> Tensor:
        values = twin.front(x.double())
        for name, layer in (("first", twin.first), ("second", twin.second)):
            own = {c.partition(": ")[2]: t for c, t in at.items() if c.startswith(name)}
            values = by_reference(layer, noisy.binders[name], values, own)
            values = twin.middle(values) if name == "first" else values
        return mse_loss(values, target.double())

    expected = differences(loss, noisy.causes, 0.7)
    assert_allclose(noisy.slopes(0.7), expected, rtol=1e-6, atol=1e-10)
    assert model.training and model.first.weights.requires_grad  # left as it is


def test_without_noise_it_is_the_layer_itself() -> None:
    layer = layer_of(3)
    x, y = samples(3, 3)
    noisy = NoisyModel(layer, x, y, noise=FULL)
    found = noisy.score(dict.fromkeys(noisy.causes, 0.0))
    outputs = layer.double()(x).detach()
    assert found.loss == pytest.approx(float(cross_entropy(outputs, y)), abs=1e-12)
    assert found.accuracy == float((outputs.argmax(1) == y).double().mean())


def test_the_noise_of_the_layer_itself() -> None:
    backend = NoisyBackend(FULL, layout=[3, 4])
    given = layer_of(2).with_backend(backend)
    x, y = samples(2, 2)
    assert NoisyModel(given, x, y).layouts == {"": (3, 4)}
    assert NoisyModel(given, x, y, layout=[1, 2]).layouts == {"": (1, 2)}
    assert NoisyModel(given, x, y, noise=FULL, layout=[0, 1]).layouts == {"": (0, 1)}
    on_aer = given.with_backend("aer", noise=FULL)
    assert NoisyModel(on_aer, x, y).noise.device is FULL
    waiting = NoisyModel(given, x, y, idle=True)
    assert waiting.noise.idle is not None
    assert waiting.layouts == {"": (3, 4)}


def test_a_layer_without_inputs_and_a_loss_of_its_own() -> None:
    layer = QuantumLayer(hardware_efficient(2, 1), init="uniform", seed=0)
    noisy = NoisyModel(layer, None, torch.ones(2), noise=FULL, loss=lambda v, y: (v @ y) ** 2)

    def loss(at: dict[str, float]) -> Tensor:
        values = by_reference(layer, noisy.binders[""], torch.zeros(1, 0), at)
        return torch.as_tensor(values.sum() ** 2)

    expected = differences(loss, noisy.causes, 0.5)
    assert_allclose(noisy.slopes(0.5), expected, rtol=1e-6, atol=1e-9)
    assert noisy.score().accuracy is None


def test_no_noise_has_no_slopes() -> None:
    exact = NoiseModel("exact", {}, ideal={"ry", "u3", "cu3", "measure"})
    x, y = samples(2, 2)
    noisy = NoisyModel(layer_of(2), x, y, noise=exact)
    assert (noisy.causes, noisy.slopes(0.5)) == ((), ())


def test_what_is_refused() -> None:
    layer = layer_of(2)
    x, y = samples(2, 2)

    def refused(match: str, model: nn.Module = layer, target: Tensor = y, **how: object) -> None:
        with pytest.raises(ValueError, match=match):
            NoisyModel(model, x, target, **({"noise": FULL} | how))  # type: ignore[arg-type]

    refused("Linear.* has no QuantumLayer", nn.Linear(2, 2))
    refused("has no noise, so there is nothing to account for: give noise=", noise=None)
    refused("integer y are class labels, one for each row", target=y[:3])
    refused("y has labels from 0 to 4, and there are 2 outputs", target=torch.arange(5))
    refused("give y in the shape of the outputs, or loss=", target=torch.zeros(5))
    refused(r"loss\(outputs, y\) gave shape \(5, 2\)", target=x, loss=lambda v, y: (v - y) ** 2)
    refused("idle=True needs the durations of a device", layer_of(3), noise=BY_HAND, idle=True)
    scaled = NoiseModel.from_device(FULL).scale(0.5)
    refused("would put the noise of fake_belem as it is", noise=scaled, idle=True)
    wide = QuantumLayer(hardware_efficient(9, 1), observables="Z" * 9)
    with pytest.raises(ValueError, match=r"\d+ qubits in use .* exact density matrices.* up to 8"):
        NoisyModel(wide, None, torch.zeros(1), noise=Device.load("fake_guadalupe"))
    lost = replace(BY_HAND, gates={**BY_HAND.gates, ("cu3", ()): Channel.depolarizing(1.0, 2)})
    refused("cu3 0-1 on by hand leaves nothing of the state", layer_of(3), noise=lost)
    dark = replace(FULL, readout=(None,) * 5)
    refused("has no readout error for this qubit", noise=dark)
