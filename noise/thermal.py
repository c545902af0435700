"""Relaxation and dephasing of a qubit over some time."""

from __future__ import annotations

import math

from .channels import Channel


def thermal_channels(time: float, t1: float, t2: float) -> tuple[Channel | None, Channel | None]:
    """T1 and pure dephasing over a time, each None where it does nothing.

    T2 is cut at 2 T1, as longer ones are unphysical. Together they multiply coherences by
    ``exp(-t / T2)`` and take the excited state to the ground state with probability
    ``1 - exp(-t / T1)``.

    Args:
        time: Seconds.
        t1: Relaxation time in seconds; infinity is allowed.
        t2: Dephasing time in seconds; infinity is allowed.

    Example:
        >>> thermal_channels(1e-6, t1=50e-6, t2=100e-6)
        (Channel.relaxation(0.0198013), None)
    """
    gamma = -math.expm1(-time / t1)
    lam = -math.expm1(-time * (1 / min(t2, 2 * t1) - 1 / (2 * t1)))
    return (
        Channel.relaxation(gamma) if gamma > 0 else None,
        Channel.dephasing(lam) if lam > 0 else None,
    )
