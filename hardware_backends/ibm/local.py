"""IBM's local mode: the runtime's own primitives on a simulator of the qubits in use."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from qiskit_aer import AerSimulator

from nisqkit.hardware_backends.aer_noise import aer_noise_model
from nisqkit.hardware_backends.ibm.job import Found, Job
from nisqkit.hardware_backends.ibm.runtime import primitive, read_pubs, run_options, run_pubs
from nisqkit.noise.device import Device

_WIDEST = 24
"""Qubits in use: a state vector of more takes gigabytes."""


def check_local(options: Mapping[str, Any]) -> None:
    """Refuse options that would change nothing.

    Raises:
        ValueError: Dynamical decoupling, or a resilience level or method other than readout's.
    """
    if options.get("dynamical_decoupling", {}).get("enable"):
        raise ValueError(
            "local mode does not simulate what happens to qubits that wait, so dynamical "
            "decoupling would show nothing: leave it out, or use a real backend"
        )


def check_width(width: int) -> None:
    """Raise a ValueError if so many qubits in use cannot be simulated."""
    if width > _WIDEST:
        raise ValueError(
            f"local mode simulates the {width} qubits that the circuit uses, and can do {_WIDEST}: "
            "use fewer qubits or a real backend"
        )


def run_local(job: Job, device: Device, generation: str = "auto") -> list[Found]:
    """Run a job in this process.

    Only the qubits in use are simulated, with the device's noise and its readout errors of 0 and of
    1 (the runtime's own local mode would simulate the whole machine, and take their mean).

    Args:
        job: The job.
        device: The device that it is for.
        generation: As in `primitive`.
    """
    found: list[Found | None] = [None] * len(job.pubs)
    apart: dict[tuple[int, ...], list[int]] = {}
    for k, pub in enumerate(job.pubs):
        apart.setdefault(pub.physical, []).append(k)
    for number, (physical, members) in enumerate(apart.items()):
        part = Job(tuple(job.pubs[k] for k in members), job.shots, job.options, job.seed)
        options = run_options(job.options, None, (job.seed + number) % 2**31)
        with warnings.catch_warnings():
            # of the older generation: seeds and resilience levels have no effect in its local mode
            warnings.filterwarnings("ignore", message=".*no effect in local testing mode")
            runner = primitive(job.kind, _simulator(device, physical), options, generation)
            result = run_pubs(runner, part, None).result()
        for k, one in zip(members, read_pubs(result, part), strict=True):
            found[k] = one
    return [one for one in found if one is not None]


@lru_cache(maxsize=16)
def _simulator(device: Device, physical: tuple[int, ...]) -> AerSimulator:
    small = device.reduced(physical)
    return AerSimulator(noise_model=aer_noise_model(small))
