"""Runs calls: sends each job once, waits, and keeps the results, whatever happens in between.

The rule: a job is written before it is sent, and its state says ``sending`` while that is going on.
Whoever finds a job in that state (a new process, or this one after an error) does not know whether
it has arrived. It looks for the job's tag until the service has had `settle_seconds` to list it.
Only a job that is then not listed is sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from nisqkit.hardware_backends.ibm.job import Found, Job, pack_found, unpack_found
from nisqkit.hardware_backends.ibm.ledger import LOST, Entry, Ledger, NewJob
from nisqkit.hardware_backends.ibm.redact import redact
from nisqkit.hardware_backends.ibm.run_lock import run_lock
from nisqkit.hardware_backends.ibm.service import (
    Gone,
    MaybeSent,
    NotSent,
    Passing,
    Refused,
    Service,
)

_T = TypeVar("_T")


class Unsettled(ValueError):
    """It cannot be found out whether a job was sent; the message says what to look up and do."""


class JobLost(ValueError):
    """A job failed, was cancelled, or its result is no longer there."""


class OverBudget(ValueError):
    """A job would take more QPU seconds than are allowed; it was not sent."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds.

    Attributes:
        settle: How long after it was sent a job may appear in the service's list. Where a
            submission was interrupted, nothing is sent again before.
        give_up: How long a connection may fail before nisqkit stops (and may be resumed).
        first, longest: Between two looks at a job's state, growing from one to the other.
    """

    settle: float = 600.0
    give_up: float = 1800.0
    first: float = 1.0
    longest: float = 30.0


class Runner:
    """Runs calls of one run on one service.

    Args:
        service: Where jobs run.
        ledger: Where they are written.
        run: The name of the run.
        max_qpu_seconds: What the run may take in all.
        again: Whether jobs that were lost are sent again.
        patience: How long to wait for what.
        tell: Is told what happens, a line each time.
    """

    def __init__(
        self,
        service: Service,
        ledger: Ledger,
        run: str,
        *,
        max_qpu_seconds: float | None = None,
        again: bool = False,
        patience: Patience = Patience(),
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.service, self.ledger, self.run_name = service, ledger, run
        self.max_qpu_seconds, self.again, self.patience = max_qpu_seconds, again, patience
        self.tell = tell or (lambda text: None)

    def run(
        self, digest: str, backend: str, make_jobs: Callable[[], Sequence[NewJob]]
    ) -> list[tuple[Entry, list[Found]]]:
        """Run a call, or what is left of it; returns its jobs with their results.

        Args:
            digest: What the call is; a call that the run had before is not sent again.
            backend: Where it goes, for the record.
            make_jobs: Makes its jobs, if it is a new one.

        Raises:
            OverBudget: Before anything of this call is sent.
            Refused: The service will not take a job.
            JobLost: A job has no result.
            Unsettled: It is not known whether a job was sent.
            ConnectionError: The service could not be reached for too long.
        """
        with run_lock(self.ledger.path, self.run_name):
            entries = self.ledger.call(self.run_name, digest)
            if not entries:
                jobs = make_jobs()
                self._check_budget(sum(job.estimated_seconds for job in jobs))
                entries = self.ledger.add_call(self.run_name, digest, backend, jobs)
            entries = self._send_all(entries)
            return [(entry, self._collect(entry)) for entry in entries]

    def pending(self, send: bool = True) -> list[Entry]:
        """Bring all jobs of the run to an end, without knowing what they are for.

        Args:
            send: Whether to send those that were written and not sent.

        Returns:
            Those that have their result.
        """
        with run_lock(self.ledger.path, self.run_name):
            latest = {(e.call, e.part): e for e in self.ledger.entries(self.run_name)}
            entries = [e for e in latest.values() if send or e.state != "prepared"]
            entries = self._send_all(entries)
            for entry in entries:
                self._collect(entry)
            return entries

    def _check_budget(self, seconds: float) -> None:
        if self.max_qpu_seconds is None:
            return
        spent = self.ledger.spent_seconds(self.run_name)
        if spent + seconds > self.max_qpu_seconds:
            raise OverBudget(
                f"run {self.run_name!r} has taken {spent:.3g} QPU seconds, and what comes next "
                f"would take {seconds:.3g} more: that is over max_qpu_seconds="
                f"{self.max_qpu_seconds:g}, so it was not sent. Use fewer samples, shots or steps, "
                "or allow more"
            )

    def _send_all(self, entries: Sequence[Entry]) -> list[Entry]:
        """All are sent before the first is waited for."""
        with self.service.group(sum(entry.state == "prepared" for entry in entries)):
            return [self._send(entry) for entry in entries]

    def _send(self, entry: Entry) -> Entry:
        """Make sure that the service has a job; returns it as the ledger has it now."""
        if entry.state in LOST:
            if not self.again:
                raise JobLost(self._about_lost(entry))
            entry = self.ledger.again(entry)
        if entry.state == "sending":
            entry = self._settle(entry)
        if entry.state != "prepared":
            return entry
        self._check_budget(entry.estimated_seconds)
        job = Job.from_bytes(self.ledger.payload(entry))

        def send() -> str | None:
            self.ledger.sending(entry)
            try:
                return self.service.submit(job, entry.tag)
            except NotSent:
                self.ledger.not_sent(entry)
                raise
            except MaybeSent as error:
                self.tell(f"connection lost while sending {entry.tag}: {redact(str(error))}")
                return None

        try:
            job_id = self._retry(send, "send")
        except Refused as error:
            self.ledger.lost(entry, "failed", redact(f"refused: {error}"))
            raise
        if job_id is None:
            return self._send(self._again_from_ledger(entry))
        self.ledger.submitted(entry, job_id)
        self.tell(f"sent {entry.tag} as job {job_id}")
        return self._again_from_ledger(entry)

    def _settle(self, entry: Entry) -> Entry:
        """Find out whether a job that was being sent has arrived."""
        assert entry.sent is not None
        sent = entry.sent
        if sent > time.time():  # the clock was set back: wait the whole time from now on
            self.ledger.sending(entry)
            sent = time.time()
        self.tell(f"looking for {entry.tag}, which may have been sent")
        pause = self.patience.first
        while True:
            over = time.time() >= sent + self.patience.settle  # before the look, not after it
            found = list(dict.fromkeys(self._retry(lambda: self.service.find(entry.tag), "look")))
            if len(found) > 1:
                raise Unsettled(
                    f"the service has {len(found)} jobs with the tag {entry.tag}: "
                    f"{', '.join(found)}. nisqkit sends a tag once, so look at both at "
                    "https://quantum.cloud.ibm.com/workloads, cancel one, and say which one counts:"
                    f" nisqkit resume {self.run_name} --job-id {entry.tag}=ID"
                )
            if found:
                self.ledger.submitted(entry, found[0])
                return self._again_from_ledger(entry)
            if over:
                self.tell(f"{entry.tag} never arrived")
                self.ledger.not_sent(entry)
                return self._again_from_ledger(entry)
            time.sleep(min(pause, max(0.0, sent + self.patience.settle - time.time()) + 0.001))
            pause = min(2 * pause, self.patience.longest)

    def _collect(self, entry: Entry) -> list[Found]:
        """Wait for a job and return its result, which is then in the ledger."""
        if entry.state == "done":
            return unpack_found(self.ledger.result(entry))
        assert entry.state == "submitted" and entry.job_id is not None
        job_id, pause = entry.job_id, self.patience.first
        try:
            while True:
                state, why = self._retry(lambda: self.service.state(job_id), "ask")
                if state in ("failed", "cancelled"):
                    message = redact(why or f"the service says: {state}")
                    self._note_usage(entry)
                    self._lose(entry, state, message)
                if state == "done":
                    break
                time.sleep(pause)
                pause = min(1.5 * pause, self.patience.longest)
            job = Job.from_bytes(self.ledger.payload(entry))
            found = self._retry(lambda: self.service.result(job_id, job), "fetch")
        except Gone as error:
            self._lose(entry, "expired", redact(str(error)))
        self.ledger.done(entry, pack_found(found))
        self._note_usage(entry)
        self.tell(f"job {job_id} is done")
        return found

    def _note_usage(self, entry: Entry) -> None:
        """What was billed, if the service says so now; the estimate stands otherwise."""
        assert entry.job_id is not None
        try:
            used = self.service.used_seconds(entry.job_id)
        except (Passing, Gone):
            return
        if used is not None:
            self.ledger.used(entry, used)

    def _lose(self, entry: Entry, state: str, message: str) -> NoReturn:
        self.ledger.lost(entry, state, message)
        raise JobLost(self._about_lost(self._again_from_ledger(entry)))

    def _about_lost(self, entry: Entry) -> str:
        what = {
            "failed": "failed",
            "cancelled": "was cancelled",
            "expired": "is done, but its result is no longer at the service",
        }[entry.state]
        return (
            f"job {entry.job_id or entry.tag} of run {self.run_name!r} {what}: {entry.message}. "
            "All other jobs are kept. To send it once more, which is paid once more: "
            f"nisqkit resume {self.run_name} --again, or again=True"
        )

    def _again_from_ledger(self, entry: Entry) -> Entry:
        return self.ledger.entry(entry.id)

    def _retry(self, function: Callable[[], _T], what: str) -> _T:
        """Call it until it does not fail in passing."""

        def told(state: RetryCallState) -> None:
            error = None if state.outcome is None else state.outcome.exception()
            self.tell(f"trying again to {what}: {redact(str(error))}")

        try:
            return Retrying(
                retry=retry_if_exception_type(Passing),
                wait=wait_random_exponential(
                    multiplier=self.patience.first, max=self.patience.longest
                ),
                stop=stop_after_delay(self.patience.give_up),
                before_sleep=told,
                reraise=True,
            )(function)
        except Passing as error:
            raise ConnectionError(
                f"the service could not be reached for {self.patience.give_up:g} s "
                f"({redact(str(error))}). Nothing is lost: go on with nisqkit resume "
                f"{self.run_name} when the connection is back"
            ) from None
