"""The native parameterisation: equal outputs, and a weight for each rotation of the device."""

import copy
import pickle

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor

from nisqkit.circuits import amplitude, angle, hardware_efficient, u3_cu3, zz_feature_map
from nisqkit.noise import Channel, Device, NoiseModel
from nisqkit.qml import InjectExact, InjectGates, QuantumLayer, native_layer

BELEM = Device.load("fake_belem")
RING = angle(4).compose(u3_cu3(4, blocks=1))


def layer_of(circuit: QuantumCircuit, **options: object) -> QuantumLayer:
    settings: dict[str, object] = {"inputs": "x", "noise": BELEM, "init": "uniform", "seed": 2}
    return QuantumLayer(circuit, **settings | options).double()  # type: ignore[arg-type]


def rows(layer: QuantumLayer, batch: int = 5) -> Tensor:
    random = torch.Generator().manual_seed(batch)
    size = batch, len(layer.program.inputs)
    return torch.rand(size, generator=random, dtype=torch.float64) + 0.1


@pytest.mark.parametrize(
    "observables", [None, ["XYZI", SparsePauliOp(["ZIII", "IIIY"], [0.3, -2])]]
)
@pytest.mark.parametrize(
    ("device", "layout"),
    [("fake_belem", [0, 1, 3, 4]), ("fake_santiago", None), ("fake_melbourne", [0, 3, 9, 12])],
)
def test_outputs_are_unchanged(device: str, layout: list[int] | None, observables: object) -> None:
    """A ring on these devices needs routing, in the last case over qubits of others."""
    logical = layer_of(RING, noise=Device.load(device), layout=layout, observables=observables)
    native = native_layer(logical)
    x = rows(logical)
    with torch.no_grad():
        wanted = logical.with_backend("reference")(x)
        torch.testing.assert_close(native.with_backend("native")(x), wanted, atol=1e-12, rtol=0)
    start = logical.transpiled.initial_layout
    assert native.execution.layout is not None
    assert native.execution.layout[:4] == native.transpiled.initial_layout[:4] == start


def test_on_the_device_it_is_the_same_circuit() -> None:
    """With an ideal encoder nothing merges across, and the device runs the same gates."""
    logical = layer_of(RING, layout=[0, 1, 3, 4], inject=InjectExact(ideal_encoder=True))
    native = native_layer(logical)
    assert native.injection == logical.injection
    x = rows(logical)
    torch.testing.assert_close(native(x), logical(x), atol=1e-12, rtol=0)
    torch.testing.assert_close(native.eval()(x), logical.eval()(x), atol=1e-12, rtol=0)


def test_each_rotation_of_the_trained_part_is_a_weight() -> None:
    """One block of U3 and a CU3 ring: its own circuit, transpiled for the device, is the oracle."""
    layer = layer_of(RING, layout=[0, 1, 3, 4])
    native = native_layer(layer)
    trained = QuantumLayer(u3_cu3(4, blocks=1), noise=BELEM, layout=[0, 1, 3, 4])
    assert len(native.weights) == trained.transpiled.circuit.count_ops()["rz"]
    assert native.program.weights[:2] == ("rz[0]", "rz[1]")
    assert native.program.inputs == layer.program.inputs
    assert native.program.gates[:4] == layer.program.gates[:4]  # the encoder
    native.with_backend("native")(rows(layer)).square().sum().backward()
    assert native.weights.grad is not None
    assert int((native.weights.grad != 0).sum()) > len(layer.weights)


def test_a_trained_part_begins_with_a_weight() -> None:
    """RY begins with SX on a device: an RZ of angle 0 says where the encoder ends."""
    layer = layer_of(angle(3).compose(hardware_efficient(3, 1)), layout=[0, 1, 2])
    native = native_layer(layer)
    assert float(native.weights.detach()[0]) == 0.0
    added = native.program.gates[3]
    assert (added.name, native.program.weights[0]) == ("rz", "rz[0]")
    x = rows(layer)
    wanted = layer.with_backend("native")(x)
    torch.testing.assert_close(native.with_backend("native")(x), wanted, atol=1e-12, rtol=0)
    ideal = InjectExact(ideal_encoder=True)
    one = layer.with_backend("native", noise=BELEM, layout=[0, 1, 2], inject=ideal)(x)
    two = native.with_backend("native", noise=BELEM, layout=[0, 1, 2], inject=ideal)(x)
    torch.testing.assert_close(one, two, atol=1e-12, rtol=0)


def test_old_devices_have_u1_in_place_of_rz() -> None:
    layer = layer_of(angle(2).compose(hardware_efficient(2, 1)), noise=Device.load("fake_essex"))
    native = native_layer(layer)
    trained = [use for use in native.program.gates if use.slots and use.name != "ry"]
    assert {use.name for use in trained} <= {"u1", "u2", "u3"}
    x = rows(layer)
    wanted = layer.with_backend("native")(x)
    torch.testing.assert_close(native.with_backend("native")(x), wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["formulas", "undefined at zero", "amplitudes", "no encoder"])
def test_encoders_stay_as_they_are(kind: str) -> None:
    if kind == "formulas":
        encoder = zz_feature_map(3)
    elif kind == "undefined at zero":
        encoder, x = QuantumCircuit(3), ParameterVector("x", 3)
        for q in range(3):
            encoder.rx(x[q].log(), q)
    else:
        encoder = amplitude(8) if kind == "amplitudes" else QuantumCircuit(3)
    ansatz = QuantumCircuit(3)
    w = Parameter("w")
    ansatz.ry(w.sin(), 0)  # the angle of a weight that is not affine either
    circuit = encoder.compose(ansatz).compose(u3_cu3(3, blocks=1))
    layer = layer_of(circuit, inputs=None if kind == "no encoder" else "x")
    native = native_layer(layer)
    x = rows(layer) if layer.program.inputs else None
    given = None if x is None else x.requires_grad_()
    one, other = layer.with_backend("native")(given), native.with_backend("native")(given)
    torch.testing.assert_close(other, one, atol=1e-12, rtol=0)
    if given is not None:
        slopes = [torch.autograd.grad(y.sin().sum(), given)[0] for y in (one, other)]
        torch.testing.assert_close(*slopes, atol=1e-10, rtol=0)


def test_probabilities_where_no_qubit_moves() -> None:
    circuit = angle(2).compose(u3_cu3(2, blocks=1))
    layer = layer_of(circuit, observables="probs", layout=[0, 1])
    x = rows(layer)
    wanted = layer.with_backend("native")(x)
    found = native_layer(layer).with_backend("native")(x)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match=r"the transpiler moves qubits.*choose a layout="):
        native_layer(layer_of(circuit, observables="probs", layout=[0, 4]))


def test_options_are_taken_over() -> None:
    layer = layer_of(RING, layout=[0, 1, 3, 4], inject=InjectGates(1.5), seed=9)
    native = native_layer(layer.eval())
    assert native.injection == InjectGates(1.5)
    assert (native.seed, native.training, native.weights.dtype) == (9, False, torch.float64)
    assert native_layer(layer.train().float()).weights.dtype == torch.float32
    shots = layer.with_backend("aer", noise=BELEM, layout=[0, 1, 3, 4], shots=100)
    sampled = native_layer(shots)
    assert (sampled.shots, sampled.backend.name) == (100, "aer")


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies(copier) -> None:  # type: ignore[no-untyped-def]
    layer = native_layer(layer_of(zz_feature_map(2).compose(u3_cu3(2, blocks=1)), layout=[0, 1]))
    x = rows(layer)
    assert copier(layer)(x).equal(layer(x))


def test_it_trains_on_the_device() -> None:
    layer = native_layer(layer_of(RING, layout=[0, 1, 3, 4], inject="gates"))
    x, target = rows(layer, 32), torch.tensor([0.3, -0.3, 0.3, -0.3], dtype=torch.float64)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = (layer(x).mean(dim=0) - target).square().sum()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.1 * losses[0]


def test_what_is_refused() -> None:
    flips = NoiseModel(
        "flips", {("u3", ()): Channel.pauli({"X": 0.1})}, ideal=["ry", "cu3", "measure"]
    )
    for noise in (None, flips):
        with pytest.raises(ValueError, match=r"needs the layer's device: make the layer with nois"):
            native_layer(layer_of(RING, noise=noise))
    again = angle(2).compose(u3_cu3(2, blocks=1)).compose(angle(2, name="y"))
    with pytest.raises(ValueError, match=r"where an ideal encoder ends: .*depends on an input"):
        native_layer(layer_of(again, inputs=["x", "y"]))
    with pytest.raises(ValueError, match="depends on a weight, and none does"):
        native_layer(layer_of(angle(2)))
