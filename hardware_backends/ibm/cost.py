"""What jobs take: circuits, executions, QPU seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nisqkit.circuits.observables import Observables
from nisqkit.hardware_backends.ibm.job import Job, Pub
from nisqkit.hardware_backends.ibm_price import qpu_seconds

_ZNE_FACTORS = (1, 3, 5)
_TREX_CIRCUITS = 32
"""Randomizations that learn readout errors, by the runtime's default."""


@dataclass(frozen=True)
class Cost:
    """What a job takes.

    Attributes:
        pubs: PUBs.
        circuits: Circuits after broadcasting.
        executions: Circuits times shots.
        seconds: QPU seconds, by IBM's formula (`qpu_seconds`); an estimate.
    """

    pubs: int
    circuits: int
    executions: int
    seconds: float


def rows_to_circuits(pub: Pub, options: Mapping[str, Any]) -> int:
    """Circuits that each row of a PUB becomes: measurement bases, times IBM's noise factors."""
    if pub.sums is None:
        return 1
    bases = len(Observables(len(pub.measured), pub.sums).groups)
    return bases * _noise_factors(options)


def job_cost(job: Job) -> Cost:
    """What a job takes.

    IBM's own error mitigation is counted where it runs more circuits: noise factors multiply them,
    and learning readout errors adds circuits to a job.
    """
    rep_delay = job.options.get("execution", {}).get("rep_delay")
    circuits, executions, each = 0, 0, []
    for pub in job.pubs:
        number = pub.rows * rows_to_circuits(pub, job.options)
        circuits += number
        executions += number * job.shots
        each.append((number * job.shots, pub.seconds))
    if job.kind == "estimator" and _measures_readout(job.options):
        circuits += _TREX_CIRCUITS
        executions += job.shots
        each.append((job.shots, each[0][1]))
    if any(seconds is None for _, seconds in each):
        total = qpu_seconds(executions)
    else:
        total = qpu_seconds(0) + sum(
            qpu_seconds(n, seconds, rep_delay=rep_delay) - qpu_seconds(0) for n, seconds in each
        )
    return Cost(len(job.pubs), circuits, executions, total)


def _measures_readout(options: Mapping[str, Any]) -> bool:
    asked = options.get("resilience", {}).get("measure_mitigation")
    return bool(options.get("resilience_level", 1) > 0 if asked is None else asked)


def _noise_factors(options: Mapping[str, Any]) -> int:
    resilience = options.get("resilience", {})
    wanted = resilience.get("zne_mitigation")
    if wanted is None:
        wanted = options.get("resilience_level", 1) == 2
    if not wanted:
        return 1
    return len(resilience.get("zne", {}).get("noise_factors", _ZNE_FACTORS))
