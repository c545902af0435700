"""The client of the stand-in service: what the adapter to IBM's runtime is for IBM."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nisqkit.hardware_backends.ibm.counts import Counts
from nisqkit.hardware_backends.ibm.job import Found, Job
from nisqkit.hardware_backends.ibm.service import Gone, MaybeSent, NotSent, Passing, State


class StandIn:
    """A `Service` at a socket.

    Args:
        path: The socket.
        moment: Is told where the client is ("before submit", "after submit", "state", "result"),
            and may kill the process there.
    """

    def __init__(self, path: Path, moment: Callable[[str], None] = lambda where: None) -> None:
        self.path, self.moment = path, moment

    def ask(self, what: str, **values: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            try:
                connection.connect(str(self.path))
            except OSError as error:
                raise NotSent(f"no connection: {error}") from error
            try:
                with connection.makefile("rwb") as stream:
                    stream.write(json.dumps({"what": what, **values}).encode() + b"\n")
                    stream.flush()
                    answer = stream.readline()
            except OSError as error:
                raise MaybeSent(f"connection lost: {error}") from error
            if not answer:
                raise MaybeSent("connection closed")
            return dict(json.loads(answer))

    def group(self, count: int) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def submit(self, job: Job, tag: str) -> str:
        self.moment("before submit")
        answer = self.ask("submit", tag=tag, payload=base64.b64encode(job.to_bytes()).decode())
        self.moment("after submit")
        return str(answer["id"])

    def find(self, tag: str) -> Sequence[str]:
        return list(self.ask("find", tag=tag)["ids"])

    def state(self, job_id: str) -> tuple[State, str]:
        self.moment("state")
        answer = self.ask("state", id=job_id)
        return answer["state"], answer["why"]

    def result(self, job_id: str, job: Job) -> list[Found]:
        answer = self.ask("result", id=job_id)
        self.moment("result")
        if answer.get("gone"):
            raise Gone("the result is no longer kept")
        return [
            Counts(
                np.array(pub["outcomes"], dtype=np.uint8).reshape(-1, 1),
                np.array(pub["counts"], dtype=np.int64),
                np.array(pub["starts"], dtype=np.int64),
            )
            for pub in answer["pubs"]
        ]

    def used_seconds(self, job_id: str) -> float | None:
        return 2.0


@contextlib.contextmanager
def stand_in_service(folder: Path, list_delay: float = 0.05) -> Iterator[StandIn]:
    """Start the service in a process of its own, with its log in ``folder / "log"``."""
    server = Path(__file__).with_name("stand_in_server.py")
    path = folder / "socket"
    process = subprocess.Popen(
        [sys.executable, str(server), str(path), str(folder / "log"), str(list_delay)]
    )
    client = StandIn(path)
    try:
        for _ in range(400):
            with contextlib.suppress(Passing):
                client.ask("plan")
                break
            time.sleep(0.02)
        yield client
    finally:
        with contextlib.suppress(Passing):
            client.ask("stop")
        process.wait(10)


def log_of(folder: Path) -> list[dict[str, str]]:
    """The service's own record of what arrived and what was paid."""
    file = folder / "log"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def paid(folder: Path) -> list[str]:
    """The content of every job that was paid for."""
    return [line["content"] for line in log_of(folder) if line["what"] == "paid"]
