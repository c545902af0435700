"""The real service: an account of IBM Quantum, which nisqkit uses and never stores."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from typing import Any

from nisqkit.circuits.names import unknown
from nisqkit.hardware_backends.ibm.job import Found, Job
from nisqkit.hardware_backends.ibm.redact import redact
from nisqkit.hardware_backends.ibm.runtime import primitive, read_pubs, run_options, run_pubs
from nisqkit.hardware_backends.ibm.service import (
    Gone,
    MaybeSent,
    NotSent,
    Passing,
    Refused,
    State,
)

_STATES: dict[str, State] = {
    "INITIALIZING": "queued",
    "QUEUED": "queued",
    "RUNNING": "running",
    "DONE": "done",
    "ERROR": "failed",
    "CANCELLED": "cancelled",
}
_REFUSING = (400, 401, 403, 404, 405, 409, 411, 413, 415, 422)
_WHAT_TO_DO = (
    "make an API key at https://quantum.cloud.ibm.com, then, once and in a Python shell of your "
    "own: QiskitRuntimeService.save_account(token=..., instance=...), or set the environment "
    "variables QISKIT_IBM_TOKEN and QISKIT_IBM_INSTANCE. nisqkit itself takes and writes no token"
)


@cache
def fake_names() -> tuple[str, ...]:
    """Names of the machines in local mode."""
    from nisqkit.noise.device_sources import available_devices

    return available_devices()


def fake_backend(name: str) -> Any:
    """The fake backend of a name."""
    from nisqkit.noise.device_sources import _snapshots

    return _snapshots()[name]()


class IBMService:
    """A machine of IBM Quantum, through qiskit-ibm-runtime; see `Service`.

    Nothing is asked before the first use.

    Args:
        machine: Its name.
        instance: Name or CRN; default that of the account.
        account: Name of the saved account; default IBM's own default.
        mode: As in `IBMBackend`.
        generation: As in `primitive`.
    """

    def __init__(
        self,
        machine: str,
        instance: str | None = None,
        account: str | None = None,
        mode: str = "auto",
        generation: str = "auto",
    ) -> None:
        self.machine, self.instance, self.account = machine, instance, account
        self.mode, self.generation = mode, generation
        self._opened: Any = None
        self._batched = False

    @cached_property
    def runtime(self) -> Any:
        """The runtime's service.

        Raises:
            ValueError: No account, an expired token, or an unknown instance; it says what to do.
        """
        from qiskit_ibm_runtime import QiskitRuntimeService
        from qiskit_ibm_runtime.accounts.exceptions import AccountNotFoundError, AccountsError
        from qiskit_ibm_runtime.exceptions import IBMError, IBMInputValueError

        known = {"instance": self.instance, "name": self.account}
        given = {key: value for key, value in known.items() if value is not None}
        try:
            return QiskitRuntimeService(**given)
        except AccountNotFoundError as error:
            which = f" named {self.account!r}" if self.account else ""
            raise ValueError(
                f"there is no account of IBM Quantum{which} on this computer: {_WHAT_TO_DO}. "
                "Fakes of past machines, such as ibm:fake_fez, need no account"
            ) from error
        except IBMInputValueError as error:
            raise ValueError(self._unknown_instance(redact(str(error)))) from error
        except (AccountsError, IBMError) as error:
            raise ValueError(self._not_let_in(error)) from error

    @cached_property
    def backend(self) -> Any:
        """The runtime's backend.

        Raises:
            ValueError: There is none of this name; it says which name is nearest.
        """
        from qiskit.providers.exceptions import QiskitBackendNotFoundError

        try:
            return self.runtime.backend(self.machine)
        except QiskitBackendNotFoundError as error:
            names = [f"ibm:{backend.name}" for backend in self.runtime.backends()]
            raise ValueError(unknown("backend", f"ibm:{self.machine}", names)) from error

    @contextmanager
    def group(self, count: int) -> Iterator[None]:
        """See `Service.group`: several jobs are a batch, which is opened when the first is sent."""
        self._batched = self.mode == "batch" or (self.mode == "auto" and count > 1)
        try:
            yield
        finally:
            if self._batched:
                self._batched = False
                self.close()

    def submit(self, job: Job, tag: str) -> str:
        """See `Service.submit`."""
        with _errors(NotSent):
            mode = self._mode()
        options = run_options(job.options, tag, None)
        try:
            runner = primitive(job.kind, mode, options, self.generation)
        except ValueError as error:
            raise Refused(str(error)) from error
        with _sending():
            return str(run_pubs(runner, job, self.backend.num_qubits).job_id())

    def find(self, tag: str) -> Sequence[str]:
        """See `Service.find`."""
        with _errors(Passing):
            return [job.job_id() for job in self.runtime.jobs(job_tags=[tag], limit=None)]

    def state(self, job_id: str) -> tuple[State, str]:
        """See `Service.state`."""
        with _errors(Passing):
            job = self.runtime.job(job_id)
            state = _STATES.get(str(job.status()), "running")
            return state, (job.error_message() or "") if state == "failed" else ""

    def result(self, job_id: str, job: Job) -> list[Found]:
        """See `Service.result`."""
        with _errors(Passing):
            found = self.runtime.job(job_id).result()
        if found is None:
            raise Gone(f"job {job_id} has no result any more")
        return read_pubs(found, job)

    def used_seconds(self, job_id: str) -> float | None:
        """See `Service.used_seconds`."""
        with _errors(Passing):
            usage = self.runtime.job(job_id).metrics().get("usage", {})
        if usage.get("status", "pending") == "pending":
            return None
        seconds = usage.get("qpu_charge_time_seconds")
        return None if seconds is None else float(seconds)

    def close(self) -> None:
        """Close a session or batch to new jobs; those that it has are run."""
        opened, self._opened = self._opened, None
        if opened is not None:
            with suppress(Passing, Gone, Refused), _errors(Passing):
                opened.close()  # it closes by itself after a while if this fails

    def _mode(self) -> Any:
        if not (self._batched or self.mode == "session"):
            return self.backend
        if self._opened is None:
            from qiskit_ibm_runtime import Batch, Session

            self._opened = (Batch if self._batched else Session)(backend=self.backend)
            if not self._batched:
                atexit.register(self.close)  # a session is billed until it is closed
        return self._opened

    def _unknown_instance(self, reason: str) -> str:
        return (
            f"the instance {self.instance!r} is not one of this account ({reason}): leave it out, "
            "or give a name or CRN of https://quantum.cloud.ibm.com/instances"
        )

    def _not_let_in(self, error: Exception) -> str:
        return (
            f"IBM Quantum does not let this account in ({redact(str(error))}). If its token has "
            f"expired or was revoked, {_WHAT_TO_DO}"
        )


def _status(error: BaseException) -> int:
    """The HTTP status behind an error of the runtime; -1 if there is none."""
    seen: BaseException | None = error
    while seen is not None:
        status = getattr(seen, "status_code", None)
        if isinstance(status, int):
            return status
        seen = seen.__cause__ or seen.__context__
    return -1


@contextmanager
def _errors(passing: type[Passing]) -> Iterator[None]:
    """Sort what the runtime raises into what passes and what does not."""
    from qiskit_ibm_runtime.exceptions import (
        IBMError,
        IBMNotAuthorizedError,
        RuntimeInvalidStateError,
        RuntimeJobFailureError,
        RuntimeJobNotFound,
    )
    from requests.exceptions import RequestException

    try:
        yield
    except RuntimeJobNotFound as error:
        raise Gone(redact(str(error))) from error
    except IBMNotAuthorizedError as error:
        raise Refused(
            f"IBM Quantum does not let this account in ({redact(str(error))}): {_WHAT_TO_DO}"
        ) from error
    except (RuntimeJobFailureError, RuntimeInvalidStateError):
        raise
    except (IBMError, RequestException, OSError) as error:
        status = _status(error)
        if status in (404, 410):
            raise Gone(redact(str(error))) from error
        if status in _REFUSING:
            raise Refused(redact(str(error))) from error
        raise passing(redact(str(error))) from error


@contextmanager
def _sending() -> Iterator[None]:
    """Sort what a submission raises; what is not known to have failed may have arrived."""
    from qiskit_ibm_runtime.exceptions import IBMError, IBMInputValueError, IBMNotAuthorizedError
    from requests.exceptions import ConnectTimeout, RequestException

    try:
        yield
    except (IBMInputValueError, IBMNotAuthorizedError) as error:
        raise Refused(redact(str(error))) from error
    except ConnectTimeout as error:
        raise NotSent(redact(str(error))) from error
    except (IBMError, RequestException, OSError) as error:
        status = _status(error)
        if status == 429:  # too many jobs a minute
            raise NotSent(redact(str(error))) from error
        if status in _REFUSING:
            raise Refused(redact(str(error))) from error
        raise MaybeSent(redact(str(error))) from error
    except (ValueError, TypeError) as error:  # of the runtime's checks, before anything is sent
        raise Refused(redact(str(error))) from error
