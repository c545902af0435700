"""What all kinds of injection ask of a layer."""

import pytest

from nisqkit.circuits import hardware_efficient
from nisqkit.hardware_backends.gradients import SPSA
from nisqkit.noise import Device
from nisqkit.qml import QuantumLayer
from nisqkit.qml.injection import INJECTIONS

CIRCUIT, BELEM = hardware_efficient(2, 1), Device.load("fake_belem")


@pytest.mark.parametrize("name", INJECTIONS)
@pytest.mark.parametrize("factor", [-1.0, float("inf"), float("nan")])
def test_factors_are_finite_and_not_negative(name: str, factor: float) -> None:
    with pytest.raises(ValueError, match=r"factor is .*: give a finite number, 0 or more"):
        INJECTIONS[name](factor)


@pytest.mark.parametrize("name", INJECTIONS)
def test_shots_and_other_gradients_are_refused(name: str) -> None:
    kind = INJECTIONS[name].__name__
    with pytest.raises(ValueError, match=f"inject={kind} trains on exact values, and shots=100"):
        QuantumLayer(CIRCUIT, noise=BELEM, inject=name, shots=100)
    for method in ("spsa", "parameter-shift", SPSA()):
        message = f"inject={kind} is differentiated by the adjoint method, not by .*: leave"
        with pytest.raises(ValueError, match=message):
            QuantumLayer(CIRCUIT, noise=BELEM, inject=name, diff_method=method)
    assert QuantumLayer(CIRCUIT, noise=BELEM, inject=name, diff_method="adjoint").training


@pytest.mark.parametrize("name", ["gates", "exact", "outcomes"])
def test_noise_is_needed_where_the_device_is(name: str) -> None:
    message = f"inject={INJECTIONS[name].__name__} needs noise: give noise=, a Device or a Noise"
    with pytest.raises(ValueError, match=message):
        QuantumLayer(CIRCUIT, inject=name)
    with pytest.raises(ValueError, match=message):
        QuantumLayer(CIRCUIT).with_backend("native", inject=name)
    assert QuantumLayer(CIRCUIT, inject="angles").execution.noise is None
