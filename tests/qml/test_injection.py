"""Injection of noise into gates: what training and evaluation see, against Aer and averages."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nisqkit.circuits import angle, u3_cu3
from nisqkit.circuits.gates import GATES
from nisqkit.noise import Channel, Confusion, Device, NoiseModel
from nisqkit.qml import (
    InjectAngles,
    InjectExact,
    InjectGates,
    InjectOutcomes,
    QuantumLayer,
    set_noise_factor,
)
from nisqkit.qml.injection import INJECTIONS, Injection

BELEM = Device.load("fake_belem")
SANTIAGO = Device.load("fake_santiago")
CIRCUIT = angle(2).compose(u3_cu3(2, blocks=1))
STRONG: list[Injection] = [
    InjectGates(8.0),
    InjectExact(8.0),
    InjectOutcomes(std=0.1),
    InjectAngles(std=0.2),
]


def layer_of(inject: Injection | str | None = None, **options: object) -> QuantumLayer:
    settings: dict[str, object] = {"noise": BELEM, "layout": [0, 1], "init": "uniform", "seed": 3}
    return QuantumLayer(CIRCUIT, "x", inject=inject, **settings | options).double()  # type: ignore[arg-type]


def rows(batch: int = 4) -> Tensor:
    random = torch.Generator().manual_seed(batch)
    return torch.rand(batch, 2, generator=random, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("inject", STRONG, ids=str)
def test_training_injects_and_evaluation_is_the_device(inject: Injection) -> None:
    layer, device, x = layer_of(inject), layer_of(), rows(50)
    one, two = layer(x), layer(x)
    random = not isinstance(inject, InjectExact)
    assert one.equal(two) is not random
    assert int(layer.calls) == 2 * random
    layer.eval()
    assert layer(x).equal(device(x))
    assert layer(x).equal(layer(x))
    assert not one.equal(device(x))
    assert int(layer.calls) == 2 * random  # evaluation leaves the sequence of training alone
    assert not layer.with_backend("native", noise=BELEM).train()(x).equal(two)


@pytest.mark.parametrize("name", INJECTIONS)
def test_names_stand_for_the_defaults(name: str) -> None:
    layer, x = layer_of(name), rows()
    assert layer.injection == INJECTIONS[name]()
    assert layer(x).equal(layer_of(INJECTIONS[name]())(x))
    assert f"inject={type(layer.injection).__name__}(factor=1.0" in repr(layer)


def test_exact_training_at_factor_1_is_the_device_to_the_bit() -> None:
    x = rows().requires_grad_()
    injected, plain = layer_of("exact"), layer_of()
    assert injected(x).equal(plain(x))
    injected(x).sum().backward()
    plain(x).sum().backward()
    assert injected.weights.grad is not None and plain.weights.grad is not None
    assert injected.weights.grad.equal(plain.weights.grad)


@pytest.mark.parametrize("kind", ["full", "pauli"])
def test_exact_training_is_aers_noise_at_that_strength(kind: str) -> None:
    layer, x = layer_of(InjectExact(2.0, kind=kind)), rows()
    model = NoiseModel.from_device(BELEM, kind).scale(2.0)
    with torch.no_grad():
        aer = layer.with_backend("aer", noise=model, layout=[0, 1])
        torch.testing.assert_close(layer(x), aer(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("inject", [InjectGates, InjectExact])
def test_factor_0_without_readout_is_noise_free(inject: type[InjectGates | InjectExact]) -> None:
    layer, x = layer_of(inject(0.0, readout=False)), rows()
    torch.testing.assert_close(layer(x), layer.with_backend("native")(x), atol=1e-6, rtol=0)
    read = layer_of(inject(0.0))(x)
    assert bool((read - layer(x)).abs().max() > 1e-3)


@pytest.mark.parametrize("ideal_encoder", [False, True])
@pytest.mark.parametrize("kind", ["full", "pauli"])
def test_exact_values_are_the_mean_over_patterns(kind: str, ideal_encoder: bool) -> None:
    """Values and gradients to the inputs, 4 sigma over 20,000 patterns."""
    options = {"factor": 5.0, "kind": kind, "ideal_encoder": ideal_encoder}
    gates = layer_of(InjectGates(**options))  # type: ignore[arg-type]
    exact = layer_of(InjectExact(**options))  # type: ignore[arg-type]
    one = rows(1).requires_grad_()
    many = one.detach().repeat(20_000, 1).requires_grad_()
    drawn, wanted = gates(many), exact(one)
    mix = torch.tensor([1.0, -0.5], dtype=torch.float64)
    (slopes,) = torch.autograd.grad((drawn @ mix).sum(), many)
    (slope,) = torch.autograd.grad((wanted @ mix).sum(), one)
    for found, mean in ((drawn.detach(), wanted.detach()), (slopes, slope)):
        error = found.std(dim=0) / len(found) ** 0.5
        assert bool((error > 0).all())
        assert bool(((found.mean(dim=0) - mean[0]).abs() < 4 * error).all())


def test_an_ideal_encoder_has_less_noise() -> None:
    x = rows()
    clean = layer_of().with_backend("native")(x)
    gaps = [
        (layer_of(InjectExact(5.0, ideal_encoder=ideal, readout=False))(x) - clean).abs().mean()
        for ideal in (True, False)
    ]
    assert bool(0 < gaps[0] < gaps[1])


def test_a_shared_pattern_is_one_for_the_batch() -> None:
    x = rows(1).repeat(400, 1)
    spread = layer_of(InjectGates(8.0))(x).std(dim=0)
    assert bool((spread > 1e-3).all())
    layer = layer_of(InjectGates(8.0, shared=True))
    steps = torch.stack([layer(x) for _ in range(10)])
    assert steps.std(dim=1).max() < 1e-12
    assert steps[:, 0].std(dim=0).max() > 1e-3


@pytest.mark.parametrize("inject", STRONG, ids=str)
def test_gradients_are_those_of_what_was_drawn(inject: Injection) -> None:
    """Finite differences with the same draw at each call."""
    layer, x = layer_of(inject), rows(3).requires_grad_()

    def function(x: Tensor, weights: Tensor) -> Tensor:
        layer.calls.zero_()
        parameters = {"weights": weights, "calls": layer.calls}
        return torch.func.functional_call(layer, parameters, (x,))

    weights = layer.weights.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(function, (x, weights))


@pytest.mark.parametrize("inject", [*STRONG, InjectOutcomes()], ids=str)
def test_a_resumed_run_draws_the_same_bits(inject: Injection) -> None:
    layer, x = layer_of(inject), rows(50)
    steps = [layer(x) for _ in range(2)]
    resumed = layer_of(inject)
    resumed.load_state_dict(copy.deepcopy(layer.state_dict()))
    torch.manual_seed(0)  # the global generator plays no part
    third = resumed(x)
    torch.manual_seed(1)
    assert third.equal(layer(x))
    assert isinstance(inject, InjectExact) or not any(third.equal(step) for step in steps)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("name", INJECTIONS)
def test_copies_go_on_alike(copier: Callable[[QuantumLayer], QuantumLayer], name: str) -> None:
    layer, x = layer_of(name), rows()
    layer(x)
    twin = copier(layer)
    assert twin.injection == layer.injection
    assert twin(x).equal(layer(x))


@pytest.mark.parametrize("name", INJECTIONS)
def test_dtype_follows_the_layer(name: str) -> None:
    layer, x = layer_of(name), rows()
    wide = layer(x)
    narrow = layer_of(name).float()(x)
    assert (wide.dtype, narrow.dtype) == (torch.float64, torch.float32)
    torch.testing.assert_close(narrow.double(), wide, atol=1e-5, rtol=0)


def test_a_full_model_is_twirled_for_pauli_errors() -> None:
    """Channel by channel, which is the twirl of all of them as `from_device` computes it."""
    model, x = NoiseModel.from_device(BELEM), rows()
    given, made = (layer_of(InjectExact(kind="pauli"), noise=n)(x) for n in (model, BELEM))
    torch.testing.assert_close(given, made, atol=1e-9, rtol=0)
    twirled = NoiseModel.from_device(BELEM, "pauli")
    assert layer_of(InjectExact(kind="pauli"), noise=twirled)(x).equal(made)
    assert (made - layer_of()(x)).abs().max() > 1e-5
    idle = NoiseModel.from_device(BELEM, idle=True)
    with_idle = layer_of(InjectExact(kind="pauli"), noise=idle)(x)
    wanted = layer_of(noise=NoiseModel.from_device(BELEM, "pauli", idle=True))(x)
    torch.testing.assert_close(with_idle, wanted, atol=1e-9, rtol=0)


def test_wide_circuits_are_sampled() -> None:
    model = NoiseModel(
        "by hand",
        {(name, ()): Channel.depolarizing(0.05, gate.num_qubits) for name, gate in GATES.items()},
        readout=[Confusion.flips(None, read_1_after_0=0.02, read_0_after_1=0.07)],
    )
    circuit = angle(8).compose(u3_cu3(8, blocks=1))
    layer = QuantumLayer(circuit, "x", noise=model, inject="exact", seed=0)
    x = torch.zeros(2, 8)
    assert not layer(x).equal(layer(x))
    assert int(layer.calls) == 2


def test_nodes_have_their_own_device_layout_and_injection() -> None:
    one = layer_of(InjectGates(3.0), layout=[1, 3])
    two = layer_of(InjectAngles(std=0.3), noise=SANTIAGO, layout=[4, 3], seed=8)
    model, x = nn.Sequential(one, nn.Tanh(), two), rows()
    model(x).sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).all()) for p in model.parameters())
    assert one.transpiled.initial_layout == (1, 3)
    assert two.transpiled.initial_layout == (4, 3)
    model.eval()
    with torch.no_grad():
        parts = [
            layer.with_backend("aer", noise=device, layout=layout)
            for layer, device, layout in ((one, BELEM, [1, 3]), (two, SANTIAGO, [4, 3]))
        ]
        wanted = parts[1](torch.tanh(parts[0](x)))
        torch.testing.assert_close(model(x), wanted, atol=1e-6, rtol=0)


def test_a_factor_beyond_certainty_is_clipped() -> None:
    """Every gate then has an error, of the same kinds in the same proportion."""
    model = NoiseModel(
        "flips",
        {("ry", ()): Channel.pauli({"X": 0.3, "Z": 0.1})},
        ideal=["measure"],
    )
    circuit = angle(1)
    layer = QuantumLayer(circuit, "x", noise=model, inject=InjectExact(100.0), seed=0).double()
    x = torch.tensor([[0.4]], dtype=torch.float64)
    # X with probability 3/4 and Z with 1/4: <Z> = (1/4 - 3/4) cos x
    assert float(layer(x).detach()) == pytest.approx(-0.5 * float(torch.cos(x)), abs=1e-12)


def test_other_factors_take_effect_at_once() -> None:
    layer, x = layer_of(InjectExact(readout=False)), rows()
    clean = layer.with_backend("native")(x)
    gaps = []
    for factor in (0.0, 1.0, 2.0):
        set_noise_factor(layer, factor)
        gaps.append(float((layer(x) - clean).abs().mean().detach()))
    assert gaps[0] < 1e-12 < gaps[1] < gaps[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inject": "gate"}, "unknown inject 'gate'; did you mean 'gates'"),
        (
            {
                "inject": InjectExact(ideal_encoder=True),
                "noise": NoiseModel.from_device(BELEM, idle=True),
            },
            "idle noise",
        ),
    ],
)
def test_what_a_layer_refuses(options: dict[str, object], message: str) -> None:
    layout = None if options.get("noise", BELEM) is None else [0, 1]
    with pytest.raises(ValueError, match=message):
        layer_of(**{"layout": layout} | options)  # type: ignore[arg-type]
    if "layout" not in options and "idle" not in message:
        with pytest.raises(ValueError, match=message):
            layer_of().with_backend("native", **{"noise": BELEM} | options)  # type: ignore[arg-type]


def test_what_injections_refuse() -> None:
    with pytest.raises(ValueError, match="kind is 'kraus': give 'full' or 'pauli'"):
        InjectExact(kind="kraus")
    with pytest.raises(TypeError, match=r"such as InjectGates\(\), the name of one or None"):
        layer_of(InjectGates)  # type: ignore[arg-type]
