from typing import Any

import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorSampler
from torch import nn

from nisqkit.circuits import (
    amplitude,
    angle,
    encoder,
    hardware_efficient,
    u3_cu3,
    zz_feature_map,
)
from nisqkit.compression.real_circuit import real_circuit
from nisqkit.noise import Device
from nisqkit.noise.mitigation import ZNE
from nisqkit.qml import QuantumLayer

from .models import circuit

REPEATED = angle(2)
CIRCUITS = {
    "rotations": encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=2)),
    "amplitudes": amplitude(8).compose(hardware_efficient(3, 2)),
    "formulas": zz_feature_map(3).compose(hardware_efficient(3, 1)),
    "re-uploading": REPEATED.compose(hardware_efficient(2, 1)).compose(REPEATED),
}


@pytest.mark.parametrize("name", CIRCUITS)
@pytest.mark.parametrize("observables", [None, "probs", "paulis"])
def test_the_layer_gives_the_same(name: str, observables: Any) -> None:
    qubits = CIRCUITS[name].num_qubits
    if observables == "paulis":
        observables = ["X" + "Y" * (qubits - 1), "Z" * qubits, "Y" + "I" * (qubits - 1)]
    layer = QuantumLayer(CIRCUITS[name], "x", observables, seed=0, init="uniform").double()
    x = torch.rand(2, 3, len(layer.program.inputs)).double() + 0.1
    assert torch.allclose(real_circuit(layer, "q")(x), layer(x), atol=1e-10)


def test_nothing_complex_is_left() -> None:
    real = real_circuit(circuit(), "q")
    assert not any(b.is_complex() for b in real.buffers())
    real = real_circuit(circuit().double(), "q")
    assert real(torch.rand(2, 4).double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (lambda: circuit(noise=Device.load("fake_belem")), "simulates noise"),
        (lambda: circuit(shots=100), "measures 100 shots"),
        (lambda: circuit(backend=StatevectorSampler(), shots=100), "measures 100 shots"),
        (lambda: circuit(backend="aer"), "runs on backend 'aer'"),
        (lambda: circuit(noise=Device.load("fake_belem"), mitigation=ZNE()), "simulates noise"),
    ],
)
def test_what_no_file_can_hold(layer: Any, why: str) -> None:
    with pytest.raises(ValueError, match=rf"'q' \(QuantumLayer\) {why}.*with_backend\('native'\)"):
        real_circuit(layer(), "q")


def test_a_queued_backend() -> None:
    queued = circuit(backend=StatevectorSampler(), shots=100)
    queued.shots = None
    with pytest.raises(ValueError, match="runs on backend 'qiskit:sampler', which runs jobs"):
        real_circuit(queued, "q")


def test_wide_circuits_and_other_modules() -> None:
    wide = QuantumCircuit(11)
    wide.rx(Parameter("w"), 10)
    with pytest.raises(ValueError, match="the circuit has 11 qubits; up to 10 can be written"):
        real_circuit(QuantumLayer(wide), "q")
    with pytest.raises(ValueError, match=r"'q' \(Linear\) cannot be exported"):
        real_circuit(nn.Linear(2, 2), "q")
