"""The transpiled circuit with a weight per angle is the same function, on the same qubits."""

from __future__ import annotations

import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp

from nisqkit.circuits import encoder, u3_cu3, zz_feature_map
from nisqkit.noise import Device, NoiseModel
from nisqkit.qml import InjectGates, QuantumLayer, native_layer

BELEM = Device.load("fake_belem")
CIRCUIT = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))
X = torch.rand(5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Z = SparsePauliOp(["ZIII", "IIXZ"], [0.5, -2.0])


def test_values_stay_the_same_noise_free_and_on_the_device() -> None:
    layer = QuantumLayer(CIRCUIT, "x", [Z, "IZII"], noise=BELEM, seed=0).double()
    native = native_layer(layer)
    assert torch.allclose(
        native.with_backend("native")(X), layer.with_backend("native")(X), atol=1e-10
    )
    # rotations of the encoder that merged with the first rz before may now be gates of their own
    assert torch.allclose(native(X), layer(X), atol=5e-3)
    assert set(native.transpiled.active) == set(layer.transpiled.active)
    two = [
        sum(i.operation.num_qubits == 2 for i in part.transpiled.circuit.data)
        for part in (native, layer)
    ]
    assert two[0] == two[1]


def test_with_an_ideal_encoder_the_noise_is_the_same_too() -> None:
    layer = QuantumLayer(CIRCUIT, "x", noise=BELEM, seed=0).double()
    noisy = NoiseModel.from_device(BELEM)
    from nisqkit.hardware_backends.native.noisy import NoisyBackend

    native = native_layer(layer)
    of_native = NoisyBackend(noisy, layout=native.execution.layout, ideal_encoder=True)
    values = native.with_backend(of_native)(X)
    expected = layer.with_backend(NoisyBackend(noisy, ideal_encoder=True))(X)
    assert torch.allclose(values, expected, atol=1e-9)


def test_all_angles_are_trained_and_options_are_kept() -> None:
    inject = InjectGates(factor=0.5)
    layer = QuantumLayer(CIRCUIT, "x", noise=BELEM, inject=inject, seed=7)
    native = native_layer(layer)
    assert len(native.weights) > len(layer.weights)
    assert (native.injection, native.seed, native.execution.noise) == (inject, 7, BELEM)
    native(X.float()).sum().backward()
    assert (native.weights.grad != 0).float().mean() > 0.5


def test_circuits_that_cannot_be_freed_are_refused() -> None:
    with pytest.raises(ValueError, match="transpiles for the layer's device, and it has none"):
        native_layer(QuantumLayer(CIRCUIT, "x"))
    with pytest.raises(ValueError, match="the outputs of this layer are probabilities"):
        native_layer(QuantumLayer(CIRCUIT, "x", "probs", noise=BELEM))
    formulas = zz_feature_map(2).compose(u3_cu3(2, blocks=1))
    with pytest.raises(ValueError, match="this one has formulas"):
        native_layer(QuantumLayer(formulas, "x", noise=BELEM))
    late = QuantumCircuit(1)
    late.ry(Parameter("w"), 0)
    late.ry(Parameter("x"), 0)
    with pytest.raises(ValueError, match="depends on an input and comes after one"):
        native_layer(QuantumLayer(late, ["x"], noise=BELEM))
