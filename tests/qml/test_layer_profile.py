"""A layer in a model: one table for both halves."""

import pytest
import torch
from torch import nn

from nisqkit.circuits import angle, hardware_efficient
from nisqkit.hardware_backends.circuit_profile import profile_circuit
from nisqkit.hardware_backends.gradients import SPSA
from nisqkit.noise import Device, NoiseModel
from nisqkit.noise.mitigation import ZNE
from nisqkit.qml import QuantumLayer
from nisqkit.search.profile import profile

BELEM = Device.load("fake_belem")
CIRCUIT = angle(4).compose(hardware_efficient(4, layers=1))
SHIFT = "executions_per_step.parameter_shift"


def layer(**options: object) -> QuantumLayer:
    return QuantumLayer(CIRCUIT, inputs="x", seed=0, **options)  # type: ignore[arg-type]


def test_a_hybrid_model_is_one_tree() -> None:
    net = nn.Sequential(nn.Linear(16, 4), layer(), nn.Linear(4, 2))
    found = profile(net, torch.zeros(8, 16), device=BELEM, shots=100)
    assert found.kind == "model"
    assert found.children[1].kind == "quantum"
    assert found.total("parameters").value == 68 + 8 + 10
    assert found.total("macs").value == 8 * (64 + 8)  # of the classical half
    # 8 weights and 4 inputs, as the Linear before it is trained
    assert found.total(SHIFT).value == 8 * (1 + 2 * 8 + 2 * 4)
    expected = profile_circuit(CIRCUIT, BELEM, inputs="x").total("success_probability").value
    assert found.total("success_probability").value == pytest.approx(expected)
    assert found.total("price_usd_per_forward").value > 0
    net[0].requires_grad_(False)
    assert profile(net, torch.zeros(8, 16)).total(SHIFT).value == 8 * (1 + 2 * 8)
    net[1].requires_grad_(False)
    assert profile(net, torch.zeros(8, 16)).total(SHIFT).value == 8


def test_two_circuits_in_a_row() -> None:
    net = nn.Sequential(layer(), layer())
    found = profile(net, torch.zeros(1, 4), device=BELEM)
    one = found.children[0].total("success_probability").value
    assert found.total("success_probability").value == pytest.approx(one**2)
    assert found.total("qubits").value == 4
    # the second stands behind a trained one
    assert found.flat()[f"1.{SHIFT}"] == found.flat()[f"0.{SHIFT}"] + 8


def test_a_layer_is_profiled_as_it_runs() -> None:
    noisy = layer(noise=NoiseModel.from_device(BELEM), layout=[0, 1, 3, 4], shots=50)
    found = profile(noisy, torch.zeros(2, 4))
    alone = profile_circuit(
        CIRCUIT, BELEM, [0, 1, 3, 4], inputs="x", batch=2, shots=50, name="QuantumLayer"
    )
    assert {name: found.total(name) for name in alone.metrics} == alone.metrics
    assert "qubits 0, 1, 3, 4" in found.notes[0]
    elsewhere = profile(noisy, torch.zeros(2, 4), device=Device.load("fake_lima"))
    assert "transpiled for fake_lima" in elsewhere.notes[0]
    spsa = profile(layer(diff_method=SPSA(samples=4)), torch.zeros(1, 4))
    assert spsa.total("executions_per_step.spsa").value == 9
    zne = profile(layer(noise=BELEM, mitigation=ZNE(scale_factors=(1, 3, 5))), torch.zeros(1, 4))
    assert zne.total("executions_per_forward").value == 3


def test_nothing_is_drawn_and_one_sample_is_the_default() -> None:
    sampled = layer(shots=10)
    assert profile(sampled).total("executions_per_forward").value == 1
    profile(sampled, torch.zeros(3, 4))
    assert int(sampled.calls) == 0
    assert sampled.__profile__().total("parameters").value == 8
    three = profile(sampled, torch.zeros(2, 3, 4))  # leading dimensions are samples
    assert three.total("executions_per_forward").value == 6


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="devise"):
        profile(layer(), torch.zeros(1, 4), devise=BELEM)
