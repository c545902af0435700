"""IBM's machines and their local stand-ins as a backend: few jobs, and none of them paid twice."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any, TypeAlias

from nisqkit.circuits.names import unknown
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.hardware_context import current_hardware
from nisqkit.hardware_backends.ibm.account import IBMService, fake_names
from nisqkit.hardware_backends.ibm.cost import Cost, job_cost, rows_to_circuits
from nisqkit.hardware_backends.ibm.job import Found, Job
from nisqkit.hardware_backends.ibm.ledger import Ledger, NewJob
from nisqkit.hardware_backends.ibm.limits import Limits, divide
from nisqkit.hardware_backends.ibm.local import check_local, check_width, run_local
from nisqkit.hardware_backends.ibm.pubs import call_digest, call_rows, group_tasks, task_results
from nisqkit.hardware_backends.ibm.runner import Patience, Runner
from nisqkit.hardware_backends.ibm.runtime import check_options, primitive
from nisqkit.hardware_backends.ibm.service import Service
from nisqkit.hardware_backends.transpile import Transpiled
from nisqkit.noise.device import Device

MODES = ("auto", "job", "batch", "session")
LIMIT = "NISQKIT_MAX_QPU_SECONDS"
Place: TypeAlias = tuple[tuple[int, int, int], ...]
"""``(PUB of the call, first row, last row + 1)`` for each PUB of a job."""

_PACKAGES = ("nisqkit", "qiskit", "qiskit-ibm-runtime", "qiskit-aer", "numpy", "torch")


class IBMBackend(Backend):
    """A machine of IBM Quantum, or a fake one in local mode.

    All samples, shifted copies, mitigation circuits and observables of a call are broadcast PUBs,
    one per different circuit, in one job where IBM's limits allow that. Circuits are transpiled for
    the machine and placed on its best qubits.

    On a machine every job is written to a ledger before it is sent, and its result is kept there: a
    call that the run had before (same circuits, angles, shots and seed) is answered from the
    ledger, and one that was interrupted goes on where it was.

    In local mode (``"fake_..."``) jobs run in this process, on the qubits in use alone and with the
    calibration of that day, readout errors of 0 and 1 apart. Our own mitigation really acts there.

    Args:
        name: Such as ``"ibm_fez"`` or ``"fake_manila"``, with or without ``"ibm:"`` before it.
        layout: Physical qubits of the logical ones; ``None`` lets Qiskit choose.
        optimization_level: Of Qiskit's transpiler, 0 to 3.
        seed: Of Qiskit's transpiler.
        options: For the runtime's sampler, by its own names and nested: ``dynamical_decoupling``,
            ``twirling``, ``execution``, ``max_execution_time``, ``environment``. With
            ``resilience_level`` or ``resilience``, which are IBM's own mitigation, the runtime's
            estimator is used, and everything else is for that.
        mode: ``"auto"`` (a batch where a call has several jobs), ``"job"``, ``"batch"`` or
            ``"session"``, which the Open Plan does not have, and which is billed by the clock.
        run: The name of the run in the ledger; ``None``: that of the training run that this is part
            of, or a new one for this object.
        ledger: Its file, or `Ledger`; default `default_ledger`.
        max_qpu_seconds: What the run may take in all; looked at before each job. Default: the
            environment variable ``NISQKIT_MAX_QPU_SECONDS``, or no limit.
        again: Whether jobs that failed, were cancelled or whose result is gone are sent once more.
        instance: Of IBM Quantum, its name or CRN; default that of the saved account.
        account: Name of the saved account; default IBM's own default.
        generation: Of the runtime's primitives: ``"client"`` (0.50 and later), ``"server"``, or
            ``"auto"``.
        patience: How long to wait for what.
        limits: Of a job.
        tell: Is told what happens, a line each time.
        service: Something else that runs jobs, with its device; for tests and other providers.

    Raises:
        ValueError: An unknown name, mode or option; what `Binder.make` refuses.

    Example:
        >>> import torch
        >>> from nisqkit.circuits import Observables, angle, lower
        >>> backend = IBMBackend("fake_manila", layout=[0])
        >>> x = torch.zeros(1, 1)
        >>> observables = Observables.parse("Z", 1)
        >>> task = Task(lower(angle(1), inputs="x"), x, torch.zeros(0), observables, shots=4000)
        >>> bool(0.9 < backend.run([task])[0].values < 1)
        True
    """

    gradient = None
    exact = False
    seeded = False
    places = True

    def __init__(
        self,
        name: str,
        *,
        layout: Sequence[int] | None = None,
        optimization_level: int = 2,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        mode: str = "auto",
        run: str | None = None,
        ledger: Ledger | str | None = None,
        max_qpu_seconds: float | None = None,
        again: bool = False,
        instance: str | None = None,
        account: str | None = None,
        generation: str = "auto",
        patience: Patience = Patience(),  # noqa: B008 - frozen
        limits: Limits = Limits(),  # noqa: B008 - frozen
        tell: Callable[[str], None] | None = None,
        service: tuple[Service, Device] | None = None,
    ) -> None:
        self.machine = name.removeprefix("ibm:")
        self.name = f"ibm:{self.machine}"
        if mode not in MODES:
            raise ValueError(unknown("mode", mode, MODES))
        self.options = dict(options or {})
        self.kind = check_options(self.options)
        self.local = service is None and self.machine.startswith("fake_")
        if self.local:
            check_local(self.options)
            if self.machine not in fake_names():
                raise ValueError(unknown("backend", self.name, [f"ibm:{n}" for n in fake_names()]))
        self.layout = None if layout is None else tuple(layout)
        self.optimization_level, self.seed = optimization_level, seed
        self.mode, self.generation = mode, generation
        self.instance, self.account = instance, account
        around = current_hardware()
        self.run_name = run or around.run or f"{self.machine}-{uuid.uuid4().hex[:8]}"
        self._command = None if run else around.command
        if max_qpu_seconds is None:
            max_qpu_seconds = around.max_qpu_seconds
        if max_qpu_seconds is None and LIMIT in os.environ:
            max_qpu_seconds = float(os.environ[LIMIT])
        if max_qpu_seconds is not None and not max_qpu_seconds > 0:
            raise ValueError(f"max_qpu_seconds is {max_qpu_seconds}: give more than 0, or None")
        self.max_qpu_seconds, self.again = max_qpu_seconds, again or around.again
        self.patience, self.limits, self.tell = patience, limits, tell
        self._ledger, self._service = ledger or around.ledger, service
        if self.local and options:
            primitive(self.kind, self._fake(), self.options, generation)  # finds bad options now

    def __repr__(self) -> str:
        return f"IBMBackend({self.machine!r}, run={self.run_name!r})"

    def __deepcopy__(self, memo: Any) -> IBMBackend:
        return self  # copies of a layer share its run

    def __getstate__(self) -> dict[str, Any]:
        # connections are made anew
        lazy = ("device", "binder", "service", "ledger")
        return {key: value for key, value in self.__dict__.items() if key not in lazy}

    def _fake(self) -> Any:
        from nisqkit.hardware_backends.ibm.account import fake_backend

        return fake_backend(self.machine)

    @cached_property
    def service(self) -> Service:
        """What runs the jobs of a machine."""
        assert not self.local
        if self._service is not None:
            return self._service[0]
        return IBMService(self.machine, self.instance, self.account, self.mode, self.generation)

    @cached_property
    def ledger(self) -> Ledger:
        """Where jobs are written."""
        ledger = self._ledger if isinstance(self._ledger, Ledger) else Ledger(self._ledger)
        ledger.start_run(self.run_name, self._command)
        return ledger

    @cached_property
    def device(self) -> Device:
        """The machine with its calibration of this moment."""
        if self._service is not None:
            return self._service[1]
        if self.local:
            return Device.load(self.machine)
        service = self.service
        assert isinstance(service, IBMService)
        return Device.from_backend(service.backend)

    @cached_property
    def binder(self) -> Binder:
        """Transpiles for the machine, and has its noise model, for mitigation and plans."""
        return Binder.make(self.device, self.layout, self.optimization_level, self.seed)

    def transpile(self, program: Program) -> Transpiled:
        """Return the program as the machine gets it, without measurements."""
        found = self.binder.transpile(program)
        assert found is not None
        return found

    def check(self, task: Task) -> None:
        """Raise if the task cannot be run; nothing is sent.

        Raises:
            ValueError: No shots, noise at another strength, probabilities of an estimator, shots
                over the limit of a job, or what `transpile_to` refuses.
        """
        if task.shots is None:
            raise ValueError(
                f"backend {self.name!r} only samples: give shots=, for example shots=4096"
            )
        if task.shots < 1:
            raise ValueError(f"shots is {task.shots}: give a positive number")
        if task.shots > self.limits.executions:
            raise ValueError(
                f"shots is {task.shots}, and a job takes {self.limits.executions} executions: use "
                "fewer"
            )
        if task.noise_scale != 1.0:
            raise ValueError(
                f"backend {self.name!r} cannot run at {task.noise_scale:g} times its noise: fold "
                "gates instead, as ZNE does by default"
            )
        if self.kind == "estimator" and task.observables.sums is None:
            raise ValueError(
                "options has a resilience setting, which is the estimator's, and that has no "
                "probabilities: give Pauli observables, or leave resilience and resilience_level "
                "out"
            )
        if task.placement is None:
            transpiled = self.transpile(task.program)
            width = len(transpiled.active)
        else:
            width = len(task.placement.physical)
        if self.local:
            check_width(width)

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """See `Backend.run`: as few jobs as the limits allow."""
        if not tasks:
            return []
        for task in tasks:
            self.check(task)
        if self.local:
            jobs, places = self.jobs(tasks)
            found = [run_local(job, self.device, self.generation) for job in jobs]
        else:
            runner = Runner(
                self.service,
                self.ledger,
                self.run_name,
                max_qpu_seconds=self.max_qpu_seconds,
                again=self.again,
                patience=self.patience,
                tell=self.tell,
            )
            digest = call_digest(tasks, self.name, self.options)
            done = runner.run(digest, self.name, lambda: self._new_jobs(tasks))
            places = [entry.place for entry, _ in done]
            found = [results for _, results in done]
        rows = call_rows(tasks, self.kind == "estimator")
        return task_results(tasks, rows, put_together(places, found))

    def jobs(self, tasks: Sequence[Task]) -> tuple[list[Job], list[Place]]:
        """The jobs of a call, and for each of them which rows of which PUB of the call it has."""
        grouped = group_tasks(tasks, self.binder, self.kind == "estimator")
        bases = [rows_to_circuits(pub, self.options) for pub in grouped.pubs]
        seed = int(call_digest(tasks, self.name, self.options)[:7], 16)
        jobs, places = [], []
        for number, (shots, parts) in enumerate(
            divide(grouped.pubs, grouped.shots, self.limits, bases)
        ):
            pubs = tuple(grouped.pubs[p.pub].part(p.first, p.stop) for p in parts)
            jobs.append(Job(pubs, shots, self.options, seed + number))
            places.append(tuple((p.pub, p.first, p.stop) for p in parts))
        return jobs, places

    def cost(self, job: Job) -> Cost:
        """What a job takes."""
        return job_cost(job)

    def _new_jobs(self, tasks: Sequence[Task]) -> list[NewJob]:
        jobs, places = self.jobs(tasks)
        calibration = self.device.to_json()
        versions = {name: version(name) for name in _PACKAGES}
        found = []
        for job, place in zip(jobs, places, strict=True):
            cost = self.cost(job)
            seeds = [*(list(task.seed) for task in tasks), self.seed]
            found.append(
                NewJob(
                    payload=job.to_bytes(),
                    place=place,
                    options=self.options,
                    seeds=seeds,
                    versions=versions,
                    calibration=calibration,
                    pubs=cost.pubs,
                    executions=cost.executions,
                    estimated_seconds=cost.seconds,
                )
            )
        return found


def put_together(
    places: Sequence[Sequence[tuple[int, int, int]]], found: Sequence[Sequence[Found]]
) -> list[Found]:
    """The results of all PUBs of a call, from those of its jobs.

    Args:
        places: For each job, PUB of the call, first row and last row + 1 of each of its PUBs.
        found: For each job, the results of its PUBs.
    """
    parts: dict[int, list[tuple[int, Found]]] = {}
    for place, results in zip(places, found, strict=True):
        for (pub, first, _), result in zip(place, results, strict=True):
            parts.setdefault(pub, []).append((first, result))
    together: list[Found] = []
    for pub in sorted(parts):
        rows = [result for _, result in sorted(parts[pub], key=lambda one: one[0])]
        together.append(type(rows[0]).join(rows))  # type: ignore[arg-type]
    return together
