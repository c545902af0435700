"""What a meter counts, and that it changes nothing."""

import copy

import torch

from nisqkit.circuits import angle, hardware_efficient
from nisqkit.hardware_backends import get_backend
from nisqkit.hardware_backends.metered import Meter, Metered
from nisqkit.noise import Device
from nisqkit.noise.mitigation import ZNE
from nisqkit.qml import QuantumLayer

CIRCUIT = angle(2).compose(hardware_efficient(2, 1))  # 4 weights


def test_counts_circuits_bases_and_shots() -> None:
    meter = Meter()
    backend = Metered(get_backend("native"), meter)
    layer = QuantumLayer(CIRCUIT, "x", ["XX", "ZI", "IZ"], backend, shots=100, seed=0)
    layer(torch.zeros(5, 2)).sum().backward()
    # 5 samples, the circuit and 2 copies for each weight, in the bases XX and ZZ
    assert meter == Meter(calls=1, executions=5 * 9 * 2, shots=5 * 9 * 2 * 100)


def test_exact_values_take_no_shots() -> None:
    meter = Meter()
    layer = QuantumLayer(CIRCUIT, "x", backend=Metered(get_backend("native"), meter), seed=0)
    with torch.no_grad():
        layer(torch.zeros(5, 2))
    assert meter == Meter(calls=1, executions=5, shots=0)


def test_a_device_behind_it_is_the_same_device() -> None:
    """Its transpiled circuit, its noise, its shots; and mitigation is counted by circuit."""
    device, x = Device.load("fake_belem"), torch.rand(3, 2)
    plain = QuantumLayer(CIRCUIT, "x", noise=device, shots=50, seed=0)
    meter = Meter()
    metered = plain.with_backend(Metered(plain.backend, meter), shots=50)
    metered = copy.deepcopy(metered)  # and a copy of it
    assert torch.equal(plain(x), metered(x))
    assert metered.transpiled.layout == plain.transpiled.layout

    mitigated = plain.with_backend(
        Metered(plain.backend, meter), shots=50, mitigation=ZNE((1, 3, 5))
    )
    with torch.no_grad():
        mitigated(x)
    assert meter.executions == 3 * 3  # the copy above has its own meter
