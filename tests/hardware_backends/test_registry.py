"""Backends by name: what comes out, and what is refused."""

import pytest
from qiskit.primitives import StatevectorSampler

from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.reference import ReferenceBackend
from nisqkit.hardware_backends.registry import available_backends, get_backend
from nisqkit.noise import Device


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
    [("native", "native"), (ReferenceBackend(), "reference"), ("natve", "natve"), (7, "int")],
)
def test_noise_is_never_dropped(given: object, name: str) -> None:
    message = f"'{name}' does not simulate device noise: use backend='aer' with noise=fake_santiago"
    with pytest.raises(ValueError, match=message):
        get_backend(given, noise=Device.load("fake_santiago"))


def test_aer_takes_noise() -> None:
    assert get_backend("aer", noise=Device.load("fake_santiago")).name == "aer"
