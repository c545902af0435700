"""Backends by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from nisqkit.circuits.names import unknown
from nisqkit.hardware_backends.base import Backend
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.reference import ReferenceBackend
from nisqkit.hardware_backends.torch_engine import TorchBackend
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel

NAMES = (
    "native",
    "torch",
    "reference",
    "aer",
    "pennylane:default.qubit",
    "pennylane:lightning.qubit",
)


def available_backends() -> tuple[str, ...]:
    """Names that `get_backend` takes; ``pennylane:`` may be followed by any PennyLane device.

    ``"ibm:..."`` is taken, too: a machine of IBM Quantum, or a fake of one (``nisqkit devices``).

    Example:
        >>> "native" in available_backends()
        True
    """
    return NAMES


def get_backend(
    backend: str | Backend | Any,
    noise: Device | NoiseModel | None = None,
    layout: Sequence[int] | None = None,
) -> Backend:
    """A backend from its name, or from a Qiskit V2 primitive; backends pass through.

    Args:
        backend: A name, a `Backend`, or a V2 estimator or sampler object.
        noise: The device whose noise is simulated, or a noise model: ``"native"``, ``"aer"`` and
            ``"pennylane:default.mixed"`` do that.
        layout: The physical qubit of each logical one; ``None`` lets Qiskit choose. Only with noise
            that has a device.

    Raises:
        ValueError: An unknown name, noise for a backend that does not simulate it, or a layout
            without a device.
        TypeError: Something that is no backend.
    """
    if backend == "aer":
        from nisqkit.hardware_backends.aer import AerBackend

        return AerBackend(noise=noise, layout=layout)
    if backend == "native" and noise is not None:
        from nisqkit.hardware_backends.native.noisy import NoisyBackend

        return NoisyBackend(noise, layout=layout)
    if backend == "pennylane:default.mixed" and noise is not None:
        from nisqkit.hardware_backends.pennylane_noisy import PennyLaneNoisyBackend

        return PennyLaneNoisyBackend(noise, layout=layout)
    if noise is not None:
        _refuse(backend, noise)
    if isinstance(backend, str) and backend.startswith("ibm:"):
        from nisqkit.hardware_backends.ibm import IBMBackend

        return IBMBackend(backend, layout=layout)
    if layout is not None:
        _refuse_layout(backend, layout)
    if isinstance(backend, Backend):
        return backend
    if backend == "native":
        return NativeBackend()
    if backend == "torch":
        return TorchBackend()
    if backend == "reference":
        return ReferenceBackend()
    if isinstance(backend, str):
        kind, _, device = backend.partition(":")
        if kind == "pennylane" and device:
            from nisqkit.hardware_backends.pennylane import PennyLaneBackend

            return PennyLaneBackend(device)
        raise ValueError(unknown("backend", backend, (*NAMES, "ibm:ibm_fez", "ibm:fake_fez")))
    from nisqkit.hardware_backends.qiskit_primitives import primitive_backend

    return primitive_backend(backend)


def _refuse(backend: Any, noise: Any) -> NoReturn:
    wanted = f"noise={getattr(noise, 'name', repr(noise))}"
    if isinstance(backend, Backend):
        raise ValueError(
            f"backend is a {type(backend).__name__}, and {wanted} goes with a backend's name: use "
            "backend='native', or an object that has the noise, such as NoisyBackend(noise)"
        )
    name = backend if isinstance(backend, str) else getattr(backend, "name", type(backend).__name__)
    raise ValueError(
        f"backend {name!r} does not simulate device noise: use backend='native', 'aer' or "
        f"'pennylane:default.mixed' with {wanted}"
    )


def _refuse_layout(backend: Any, layout: Sequence[int]) -> NoReturn:
    wanted = f"layout={list(layout)}"
    if isinstance(backend, Backend):
        raise ValueError(
            f"backend is a {type(backend).__name__}, and {wanted} goes with a backend's name: give "
            f"it to the backend, for example NoisyBackend(device, {wanted})"
        )
    raise ValueError(
        f"{wanted} needs a device: give noise=Device.load(...) as well, or leave layout out"
    )
