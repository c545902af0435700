"""What a call would send and cost, worked out by the code that would send it, without a service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Result
from nisqkit.hardware_backends.device_report import device_report
from nisqkit.hardware_backends.ibm.backend import IBMBackend, put_together
from nisqkit.hardware_backends.ibm.cost import job_cost
from nisqkit.hardware_backends.ibm.counts import Counts
from nisqkit.hardware_backends.ibm.job import Found, Job, Pub, Values
from nisqkit.hardware_backends.ibm.pubs import call_rows, task_results
from nisqkit.hardware_backends.ibm_price import ibm_prices, open_plan_seconds, price_usd


@dataclass(frozen=True)
class Placed:
    """A circuit on the machine.

    Attributes:
        layout: The physical qubit of each logical one, at the start.
        depth, two_qubit_gates: Of the transpiled circuit.
        success: The product of ``1 - error`` over gates and readouts; optimistic, since waiting is
            not in it. ``None`` where the calibration lacks an error.
        noisy_gates, virtual_gates, uncovered_gates: How many gates the noise model reaches, are
            exact on the machine too, and are not known to it.
        checked: Whether the final states of the logical and the transpiled circuit were compared at
            random angles (up to 12 qubits in use); a difference is an error.
    """

    layout: tuple[int, ...]
    depth: int
    two_qubit_gates: int
    success: float | None
    noisy_gates: int
    virtual_gates: int
    uncovered_gates: int
    checked: bool


@dataclass(frozen=True)
class Plan:
    """What a run sends, and what that takes.

    Attributes:
        backend: Where.
        calibrated: When the machine was calibrated, as far as that is known.
        jobs, pubs, circuits, executions: In all. Executions are circuits times shots.
        qpu_seconds: By IBM's formula; an estimate.
        first_step: Jobs, PUBs, executions and seconds of the first step, with calibration circuits.
        steps: Steps (calls of the layer) that are planned.
        price_usd: By plan of IBM's price list of `price_date`.
        price_date: As ``YYYY-MM-DD``.
        open_plan_seconds: What the Open Plan gives in 28 days.
        circuit: The circuit on the machine.
        notes: What to know besides.
    """

    backend: str
    calibrated: str | None
    jobs: int
    pubs: int
    circuits: int
    executions: int
    qpu_seconds: float
    first_step: tuple[int, int, int, float]
    steps: int
    price_usd: dict[str, float]
    price_date: str
    open_plan_seconds: float
    circuit: Placed
    notes: tuple[str, ...] = ()

    @property
    def fits_open_plan(self) -> bool:
        """Whether it is within the Open Plan's time, if nothing else of that is used."""
        return self.qpu_seconds <= self.open_plan_seconds

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return asdict(self) | {"fits_open_plan": self.fits_open_plan}

    def __str__(self) -> str:
        date = f", calibrated {self.calibrated[:16]}" if self.calibrated else ""
        placed = self.circuit
        success = "not known" if placed.success is None else f"{placed.success:.1%}"
        uncovered = f", {placed.uncovered_gates} NOT KNOWN" if placed.uncovered_gates else ""
        checked = "equal" if placed.checked else "not compared, more than 12 qubits are in use"
        fits = "fits" if self.fits_open_plan else "does NOT fit"
        prices = ", ".join(f"{name} {usd:.2f}" for name, usd in self.price_usd.items() if usd)
        lines = [
            f"plan for {self.backend}{date}",
            f"jobs             {self.jobs}, with {self.pubs} PUBs",
            f"executions       {self.executions} ({self.circuits} circuits times shots)",
            f"QPU seconds      {self.qpu_seconds:.1f} (estimate, IBM's formula)",
            f"Open Plan        {fits} into its {self.open_plan_seconds:.0f} s in 28 days",
            f"price in USD     {prices} (prices of {self.price_date})",
            f"layout           {list(placed.layout)}, depth {placed.depth}, "
            f"{placed.two_qubit_gates} two-qubit gates, expected success {success}",
            f"noise model      {placed.noisy_gates} gates noisy, {placed.virtual_gates} "
            f"virtual{uncovered}",
            f"transpiled       {checked} to the logical circuit at random angles",
        ]
        return "\n".join([*lines, *(f"note             {note}" for note in self.notes)])


class Recorder(IBMBackend):
    """An IBM backend that notes its jobs and sends none; the outcomes it returns are made up.

    Args:
        of: The backend whose jobs are noted.
    """

    def __init__(self, of: IBMBackend) -> None:
        of.device  # noqa: B018 - read once, for both
        vars(self).update(vars(of))
        self.recorded: list[Job] = []

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """Note the jobs of a call."""
        for task in tasks:
            self.check(task)
        jobs, places = self.jobs(tasks)
        self.recorded += jobs
        random = np.random.default_rng(len(self.recorded))
        found = [[_made_up(pub, job.shots, random) for pub in job.pubs] for job in jobs]
        rows = call_rows(tasks, self.kind == "estimator")
        return task_results(tasks, rows, put_together(places, found))


def make_plan(
    backend: IBMBackend, task: Task, first: Sequence[Job], later: Sequence[Job], steps: int
) -> Plan:
    """The plan of a run, from the jobs that it would send.

    Args:
        backend: Where.
        task: A task of the layer, for its circuit.
        first: Jobs of the first step.
        later: Jobs of each step after it.
        steps: How many there are in all.
    """
    costs = [job_cost(job) for job in first], [job_cost(job) for job in later]

    def total(name: str) -> Any:
        one, more = (sum(getattr(cost, name) for cost in part) for part in costs)
        return one + (steps - 1) * more

    seconds = total("seconds")
    prices = ibm_prices()
    device = backend.device
    report = device_report(
        task.program,
        device,
        layout=backend.layout,
        optimization_level=backend.optimization_level,
        seed=backend.seed,
    )
    covered = report.coverage
    two = sum(len(use.qubits) == 2 for use in report.transpiled.circuit.data)
    placed = Placed(
        report.transpiled.initial_layout,
        report.depth,
        two,
        None if covered.uncovered else report.success,
        covered.num_noisy,
        covered.num_virtual,
        sum(use.count for use in covered.uncovered),
        report.transpiled.is_checked,
    )
    notes = []
    if backend.local:
        notes.append("local mode: nothing is sent, and nothing is billed")
    if backend.mode == "session":
        notes.append("a session is billed by the clock, waiting included, not by QPU seconds")
        notes.append("the Open Plan has no sessions")
    if any(pub.seconds is None for job in first for pub in job.pubs):
        notes.append("durations are not known: 350 microseconds per execution are assumed")
    if device.date is not None and (age := (datetime.now(device.date.tzinfo) - device.date).days):
        notes.append(f"the calibration is {age} days old")
    one = costs[0]
    return Plan(
        backend.name,
        None if device.date is None else device.date.isoformat(),
        len(first) + (steps - 1) * len(later),
        total("pubs"),
        total("circuits"),
        total("executions"),
        seconds,
        (
            len(first),
            sum(c.pubs for c in one),
            sum(c.executions for c in one),
            sum(c.seconds for c in one),
        ),
        steps,
        {name: price_usd(seconds, name) for name in prices.usd_per_minute},
        prices.date,
        open_plan_seconds(),
        placed,
        tuple(notes),
    )


def _made_up(pub: Pub, shots: int, random: np.random.Generator) -> Found:
    """Outcomes of the right shapes: what X gates alone prepare, with 5 % of the bits flipped.

    So circuits that calibrate readout, of which mitigators make matrices, give sensible ones.
    """
    if pub.sums is not None:
        means: NDArray[np.float64] = random.uniform(-0.5, 0.5, (pub.rows, len(pub.sums)))
        return Values(means, np.full_like(means, shots**-0.5))
    uses = [use for use in pub.circuit.data if use.operation.name == "x"]
    flipped = [pub.circuit.find_bit(use.qubits[0]).index for use in uses]
    prepared = np.array([flipped.count(q) % 2 for q in pub.measured], dtype=bool)
    bits = prepared ^ (random.random((pub.rows, 100, len(pub.measured))) < 0.05)
    padding = -len(pub.measured) % 8
    first_is_last = np.pad(bits[..., ::-1], ((0, 0), (0, 0), (padding, 0)))
    return Counts.from_bits(np.packbits(first_is_last, axis=-1))
