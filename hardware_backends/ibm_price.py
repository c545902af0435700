"""What a job takes on IBM's machines, in QPU seconds and in money, by the formula IBM documents."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nisqkit.circuits.names import unknown

_FILE = Path(__file__).parent / "data" / "ibm_prices.json"
_FORMAT = {"format": "nisqkit.ibm_prices", "version": 1}


@dataclass(frozen=True)
class IBMPrices:
    """A dated price list, and the constants of the formula.

    Attributes:
        date: Of the prices, as ``YYYY-MM-DD``.
        overhead_seconds_per_job: What each (sub-)job takes before its first execution.
        rep_delay_seconds: The wait between two executions, where the user sets none.
        quick_seconds_per_execution: Wait and circuit together, where the circuit is not known.
        usd_per_minute: By plan.
        open_plan: What the Open Plan gives: ``minutes`` in ``window_days``.
    """

    date: str
    overhead_seconds_per_job: float
    rep_delay_seconds: float
    quick_seconds_per_execution: float
    usd_per_minute: Mapping[str, float]
    open_plan: Mapping[str, float]


@lru_cache(maxsize=4)
def ibm_prices(file: Path = _FILE) -> IBMPrices:
    """The price list that comes with nisqkit, or another one of the same form.

    Raises:
        ValueError: The file has another form.

    Example:
        >>> ibm_prices().usd_per_minute["pay-as-you-go"] / 60  # USD per second
        1.6
    """
    found = json.loads(file.read_text(encoding="utf-8"))
    if {key: found.get(key) for key in _FORMAT} != _FORMAT:
        raise ValueError(f"{file} is no price list: its head must be {_FORMAT}")
    return IBMPrices(**{name: found[name] for name in IBMPrices.__dataclass_fields__})


def qpu_seconds(
    executions: float,
    circuit_seconds: float | None = None,
    *,
    rep_delay: float | None = None,
    jobs: int = 1,
) -> float:
    """Estimate the QPU seconds that IBM bills for jobs.

    ``jobs * 2 + (rep_delay + circuit_seconds) * executions``; without the length of the circuit
    IBM's quick form ``jobs * 2 + 0.00035 * executions``. It is a baseline: a large job is divided
    into sub-jobs that IBM alone knows, error mitigation of the service adds executions, and a
    session is billed by the clock on the wall. Source: "Workload usage", IBM Quantum documentation.

    Args:
        executions: Circuits times shots, after broadcasting.
        circuit_seconds: Length of one circuit with reset and measurement.
        rep_delay: Seconds between executions; default 250 microseconds, as on most machines.
        jobs: Jobs or sub-jobs.

    Raises:
        ValueError: Something is negative or not finite, less than one job, or a ``rep_delay``
            without the length of the circuit.

    Example:
        >>> qpu_seconds(10_000)  # 10 circuits of 1000 shots
        5.5
        >>> round(qpu_seconds(10_000, 100e-6), 9)
        5.5
    """
    for name, value in (
        ("executions", executions),
        ("circuit_seconds", circuit_seconds or 0.0),
        ("rep_delay", rep_delay or 0.0),
    ):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}: give a number, 0 or more")
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}: give 1 or more")
    prices = ibm_prices()
    if circuit_seconds is None:
        if rep_delay is not None:
            raise ValueError(
                "rep_delay needs the length of the circuit: give circuit_seconds, or a device "
                "with durations to a profile"
            )
        each = prices.quick_seconds_per_execution
    else:
        each = circuit_seconds + (prices.rep_delay_seconds if rep_delay is None else rep_delay)
    return jobs * prices.overhead_seconds_per_job + each * executions


def open_plan_seconds() -> float:
    """QPU seconds that the Open Plan gives in 28 days.

    Example:
        >>> open_plan_seconds()
        600.0
    """
    return 60.0 * ibm_prices().open_plan["minutes"]


def price_usd(seconds: float, plan: str = "pay-as-you-go") -> float:
    """What QPU seconds cost, in US dollars, by the price list of `ibm_prices`.

    Raises:
        ValueError: An unknown plan.

    Example:
        >>> price_usd(60), price_usd(60, "flex")
        (96.0, 72.0)
    """
    prices = ibm_prices().usd_per_minute
    if plan not in prices:
        raise ValueError(unknown("plan", plan, prices))
    return seconds * prices[plan] / 60
