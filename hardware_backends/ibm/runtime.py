"""The adapter to qiskit-ibm-runtime: client-side primitives (0.50 and later) and the older ones.

Nothing else in nisqkit knows which of the two it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qiskit.primitives.containers import BitArray

from nisqkit.circuits.names import unknown
from nisqkit.hardware_backends.ibm.counts import Counts
from nisqkit.hardware_backends.ibm.job import Found, Job, Values
from nisqkit.hardware_backends.ibm.redact import redact

GENERATIONS = ("auto", "client", "server")
PRIMITIVES = ("sampler", "estimator")
_OURS = {
    "default_shots": "shots= says how many",
    "default_precision": "shots= says how precisely",
    "seed_estimator": "the layer's seed is used",
}


def has_client_side() -> bool:
    """Whether the installed runtime has the client-side primitives."""
    try:
        import qiskit_ibm_runtime.executor_sampler  # noqa: F401
    except ImportError:
        return False
    return True


def primitive(kind: str, mode: Any, options: Mapping[str, Any], generation: str = "auto") -> Any:
    """A sampler or an estimator of the runtime.

    Args:
        kind: ``"sampler"`` or ``"estimator"``.
        mode: A backend, batch or session.
        options: By the runtime's own names, nested.
        generation: ``"client"``, ``"server"`` or ``"auto"``, the first where it is installed.

    Raises:
        ValueError: The runtime has no such option, or not this generation.
    """
    assert kind in PRIMITIVES
    if generation not in GENERATIONS:
        raise ValueError(unknown("generation", generation, GENERATIONS))
    client = has_client_side() if generation == "auto" else generation == "client"
    if client and not has_client_side():
        raise ValueError(
            "the installed qiskit-ibm-runtime has no client-side primitives: upgrade it to 0.50 or "
            "later, or use generation='server'"
        )
    try:
        if client:
            from qiskit_ibm_runtime import executor_estimator, executor_sampler

            module = executor_sampler if kind == "sampler" else executor_estimator
            name = "Sampler" if kind == "sampler" else "Estimator"
            return getattr(module, name)(mode=mode, options=dict(options))
        import qiskit_ibm_runtime

        name = "SamplerV2" if kind == "sampler" else "EstimatorV2"
        with warnings.catch_warnings():  # 0.50 and later say that there is a newer generation
            warnings.simplefilter("ignore", DeprecationWarning)
            return getattr(qiskit_ibm_runtime, name)(mode=mode, options=dict(options))
    except (ValueError, TypeError, AttributeError) as error:  # pydantic's errors are ValueErrors
        raise ValueError(
            f"the {kind} of qiskit-ibm-runtime does not take these options: "
            f"{redact(str(error))}. Options are those of its documentation, nested, such as "
            "{'dynamical_decoupling': {'enable': True}}"
        ) from error


def check_options(options: Mapping[str, Any]) -> str:
    """Which primitive options are for; ``resilience`` is the estimator's.

    Raises:
        ValueError: An option that nisqkit sets, or one under which a job is lost with its process.
    """
    for name, reason in _OURS.items():
        if name in options:
            raise ValueError(f"options has {name!r}: leave it out, {reason}")
    if options.get("environment", {}).get("private"):
        raise ValueError(
            "options has environment.private, with which a result can be read only once, and is "
            "lost if that is interrupted: leave it out"
        )
    if options.get("execution", {}).get("meas_type", "classified") != "classified":
        raise ValueError("options has execution.meas_type: nisqkit reads bits, so leave it out")
    return "estimator" if {"resilience", "resilience_level"} & set(options) else "sampler"


def run_options(options: Mapping[str, Any], tag: str | None, seed: int | None) -> dict[str, Any]:
    """Options with a tag for the job, or with a simulator's seed."""
    found = dict(options)
    if tag is not None:
        environment = dict(found.get("environment", {}))
        environment["job_tags"] = [*environment.get("job_tags", ()), tag, "nisqkit"]
        found["environment"] = environment
    if seed is not None:
        found["simulator"] = {**found.get("simulator", {}), "seed_simulator": seed}
    return found


def run_pubs(runner: Any, job: Job, width: int | None) -> Any:
    """Call a primitive with a job's PUBs, on a device so wide, or on the qubits in use alone."""
    rows = [(pub.values,) if pub.values.shape[1] else () for pub in job.pubs]
    if job.kind == "sampler":
        pubs = [(pub.ready(width), *r) for pub, r in zip(job.pubs, rows, strict=True)]
        return runner.run(pubs, shots=job.shots)
    # a hair above 1 / sqrt(shots), so that none rounds up to one shot more
    precision = (1 + 1e-12) * job.shots**-0.5
    asked = [[[operator] for operator in pub.operators(width)] for pub in job.pubs]
    found = [(pub.ready(width), a, *r) for pub, a, r in zip(job.pubs, asked, rows, strict=True)]
    return runner.run(found, precision=precision)


def read_pubs(result: Sequence[Any], job: Job) -> list[Found]:
    """What a primitive returned, as plain data."""
    found: list[Found] = []
    for pub, one in zip(job.pubs, result, strict=True):
        if job.kind == "sampler":
            bits: BitArray = one.data.meas
            array = np.asarray(bits.array).reshape(pub.rows, -1, bits.array.shape[-1])
            found.append(Counts.from_bits(array))
        else:
            means = np.asarray(one.data.evs, dtype=float).reshape(-1, pub.rows).T
            errors = np.asarray(one.data.stds, dtype=float).reshape(-1, pub.rows).T
            found.append(Values(np.ascontiguousarray(means), np.ascontiguousarray(errors)))
    return found
