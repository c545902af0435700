"""What nisqkit asks of a service that runs jobs, and the ways in which it can fail."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeAlias

from nisqkit.hardware_backends.ibm.job import Found, Job

State: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]


class Passing(Exception):
    """A failure that passes: no connection, a service that is overloaded. Try again."""


class NotSent(Passing):
    """A submission failed before anything could have arrived."""


class MaybeSent(Passing):
    """A submission failed, and the job may have arrived."""


class Gone(Exception):
    """The service does not know the job, or no longer has its result."""


class Refused(ValueError):
    """The service will never take this; the message says why and what to do."""


class Service(Protocol):
    """A service that runs jobs.

    Every method may raise `Passing`, and all but `submit` may then be called again.
    """

    def group(self, count: int) -> AbstractContextManager[None]:
        """What is around the submission of so many jobs, such as a batch."""
        ...

    def submit(self, job: Job, tag: str) -> str:
        """Send a job under a tag and return its id.

        Raises:
            NotSent: Nothing has arrived.
            MaybeSent: It may have arrived.
            Refused: It will not be taken.
        """
        ...

    def find(self, tag: str) -> Sequence[str]:
        """The ids of all jobs under a tag."""
        ...

    def state(self, job_id: str) -> tuple[State, str]:
        """The state of a job, and why if it failed.

        Raises:
            Gone: There is no such job.
        """
        ...

    def result(self, job_id: str, job: Job) -> list[Found]:
        """The results of a job that is done, one per PUB.

        Raises:
            Gone: The result is no longer there.
        """
        ...

    def used_seconds(self, job_id: str) -> float | None:
        """What was billed; None if it is not known yet."""
        ...
