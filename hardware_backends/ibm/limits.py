"""What one job may hold, and how a call is divided into jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nisqkit.hardware_backends.ibm.job import Pub


@dataclass(frozen=True)
class Limits:
    """Limits of a job.

    Attributes:
        executions: Circuits times shots. IBM takes 10 million in a sampler's job ("Job limits", IBM
            Quantum documentation).
        angles: Parameter values in all, so that a job stays a few tens of megabytes.
    """

    executions: int = 10_000_000
    angles: int = 4_000_000


@dataclass(frozen=True)
class Part:
    """Rows of one PUB of a call."""

    pub: int
    first: int
    stop: int


def divide(
    pubs: Sequence[Pub], shots: Sequence[int], limits: Limits, bases: Sequence[int]
) -> list[tuple[int, list[Part]]]:
    """Divide the PUBs of a call into as few jobs as go; each has one number of shots.

    Jobs are filled one after another, and a PUB is cut where a job is full.

    Args:
        pubs: All of them.
        shots: Of each PUB.
        limits: Of one job.
        bases: Circuits that each row of a PUB becomes.

    Returns:
        Shots and parts of each job.

    Raises:
        ValueError: A single row is over a limit.
    """
    jobs: list[tuple[int, list[Part]]] = []
    for number in dict.fromkeys(shots):  # all PUBs with these shots, in order
        parts: list[Part] = []
        executions, angles = limits.executions, limits.angles
        for k, pub in enumerate(pubs):
            if shots[k] != number:
                continue
            cost, width = number * bases[k], max(1, pub.values.shape[1])
            if cost > limits.executions:
                raise ValueError(
                    f"one circuit with {number} shots is {cost} executions, and a job takes "
                    f"{limits.executions}: use fewer shots"
                )
            if width > limits.angles:
                raise ValueError(
                    f"one circuit has {width} angles, and a job takes {limits.angles}: use a "
                    "smaller circuit"
                )
            first = 0
            while first < pub.rows:
                room = min(executions // cost, angles // width)
                if room == 0:
                    jobs.append((number, parts))
                    parts, executions, angles = [], limits.executions, limits.angles
                    continue
                stop = min(pub.rows, first + room)
                parts.append(Part(k, first, stop))
                executions -= (stop - first) * cost
                angles -= (stop - first) * width
                first = stop
        if parts:
            jobs.append((number, parts))
    return jobs
