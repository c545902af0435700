"""Backends by name: what comes out, and what is refused."""

import pytest
from qiskit.primitives import StatevectorSampler

from nisqkit.hardware_backends.base import Backend
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.hardware_backends.reference import ReferenceBackend
from nisqkit.hardware_backends.registry import available_backends, get_backend
from nisqkit.noise import Confusion, Device, NoiseModel

SANTIAGO = Device.load("fake_santiago")


def test_names() -> None:
    assert isinstance(get_backend("native"), NativeBackend)
    assert isinstance(get_backend("reference"), ReferenceBackend)
    assert len(set(available_backends())) == len(available_backends())


@pytest.mark.parametrize("name", available_backends())
def test_backends_are_called_what_they_are_asked_for_by(name: str) -> None:
    assert get_backend(name).name == name


def test_backends_pass_through() -> None:
    backend = NativeBackend(threads=1)
    assert get_backend(backend) is backend


def test_qiskit_primitives_become_backends() -> None:
    assert not get_backend(StatevectorSampler()).exact


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("natve", "unknown backend 'natve'; did you mean 'native'"),
        ("Aer", "unknown backend 'Aer'; did you mean 'aer'"),
        ("pennylane", "unknown backend 'pennylane'"),
        ("pennylane:", "unknown backend 'pennylane:'"),
        ("cirq:simulator", "unknown backend 'cirq:simulator'"),
    ],
)
def test_unknown_names(given: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_backend(given)


@pytest.mark.parametrize(
    "given", [None, 3, object(), NativeBackend], ids=["None", "int", "object", "class"]
)
def test_what_is_no_backend(given: object) -> None:
    with pytest.raises(TypeError, match=r"Qiskit V2 estimator or sampler .*, not \w+"):
        get_backend(given)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("torch", "torch"),
        ("pennylane:default.qubit", "pennylane:default.qubit"),
        ("pennylane:lightning.qubit", "pennylane:lightning.qubit"),
        ("natve", "natve"),
        (7, "int"),
    ],
)
def test_noise_is_never_dropped(given: object, name: str) -> None:
    message = (
        f"backend '{name}' does not simulate device noise: use backend='native', 'aer' or "
        "'pennylane:default.mixed' with noise=fake_santiago"
    )
    with pytest.raises(ValueError, match=message):
        get_backend(given, noise=SANTIAGO)
    with pytest.raises(ValueError, match="does not simulate device noise"):
        get_backend(given, noise=NoiseModel.from_device(SANTIAGO, kind="pauli"))


@pytest.mark.parametrize("given", [ReferenceBackend(), NativeBackend(), NoisyBackend(SANTIAGO)])
def test_objects_have_their_noise_already(given: Backend) -> None:
    message = f"backend is a {type(given).__name__}, and noise=fake_santiago goes with .* name"
    with pytest.raises(ValueError, match=message):
        get_backend(given, noise=SANTIAGO)


NOISY = ("native", "aer", "pennylane:default.mixed")


@pytest.mark.parametrize("name", NOISY)
def test_backends_that_take_noise(name: str) -> None:
    for noise in (SANTIAGO, NoiseModel.from_device(SANTIAGO), NoiseModel("none", {}, ["x"])):
        assert get_backend(name, noise=noise).name == name


@pytest.mark.parametrize("name", NOISY)
def test_backends_that_take_a_layout(name: str) -> None:
    for noise in (SANTIAGO, NoiseModel.from_device(SANTIAGO)):
        backend = get_backend(name, noise=noise, layout=[3, 2])
        assert backend.binder.layout == (3, 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", available_backends())
def test_a_layout_is_never_dropped(name: str) -> None:
    with pytest.raises(ValueError, match=r"layout.* needs a device: give noise=Device\.load"):
        get_backend(name, layout=[3, 2])


@pytest.mark.parametrize("name", NOISY)
def test_a_layout_needs_a_model_of_a_device(name: str) -> None:
    with pytest.raises(ValueError, match="layout needs a device, and the noise model 'none' has"):
        get_backend(name, noise=NoiseModel("none", {}, ["x"]), layout=[0])


def test_objects_have_their_layout_already() -> None:
    message = r"backend is a NoisyBackend, and layout=\[0\] goes with a backend's name: give it to"
    with pytest.raises(ValueError, match=message):
        get_backend(NoisyBackend(SANTIAGO), layout=[0])


@pytest.mark.parametrize("name", NOISY)
def test_what_is_no_noise(name: str) -> None:
    with pytest.raises(TypeError, match=r"noise is a Device .*, a NoiseModel or None, not str"):
        get_backend(name, noise="fake_santiago")  # type: ignore[arg-type]
    aer = NoiseModel(
        "flips", {}, ["x"], [Confusion.flips(None, read_1_after_0=0.1, read_0_after_1=0)]
    )
    with pytest.raises(TypeError, match=r"a NoiseModel or None, not NoiseModel"):
        get_backend(name, noise=aer.to_aer())
