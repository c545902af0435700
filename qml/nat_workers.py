"""Train the cells of the benchmark one after another, or side by side in processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

from nisqkit.qml.config import TrainConfig
from nisqkit.qml.fit import Watcher
from nisqkit.qml.run_folder import RunFolder
from nisqkit.qml.training import train


class Job(NamedTuple):
    """One training run.

    Attributes:
        name: What it is told by.
        config: How to train.
        folder: Where to.
    """

    name: str
    config: TrainConfig
    folder: Path


def run_jobs(
    jobs: Sequence[Job],
    workers: int,
    epoch: Callable[[str], None],
    ended: Callable[[str, str | None], None],
) -> None:
    """Train; runs that were begun before go on where they stopped.

    With several workers each has a process and, where the system can, a core of its own, so that
    the threads of one do not wait for those of another. The weights do not depend on it. A process
    that is killed costs the run that it was at, which is then told as failed; if this process is
    killed, the others end.

    Args:
        jobs: What to train.
        workers: How many runs go on at once; 1: in this process, with all its cores.
        epoch: Is told each epoch.
        ended: Is told each end, with what went wrong if anything did.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; at most one epoch of each run is done again.
        ChildProcessError: Processes cannot be started.

    Example:
        >>> run_jobs([], workers=1, epoch=print, ended=print)
    """
    if workers > 1 and len(jobs) > 1:
        with _Pool(min(workers, len(jobs))) as pool:
            pool.run(list(jobs), epoch, ended)
        return
    for job in jobs:
        ended(job.name, _train(job, partial(epoch, job.name)))


class _Epochs(Watcher):
    """Passes on epochs alone."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self.tell = tell

    def epoch(self, record: dict[str, Any]) -> None:
        self.tell()


def _train(job: Job, tell: Callable[[], None]) -> str | None:
    """Train; returns why that failed, if it did."""
    try:
        train(
            job.config,
            out=job.folder,
            resume=RunFolder(job.folder).holds_run,
            pictures=False,
            watcher=_Epochs(tell),
        )
    except Exception as error:  # whatever it is, it must not lose the other runs
        return f"{type(error).__name__}: {error}"
    return None


def _work(pipe: Connection, core: int | None) -> None:
    """What a process does: train what it receives; it tells epochs (None) and ends (tuples)."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    # The other end closes when the benchmark is over, or has been killed.
    with suppress(EOFError, ConnectionError, KeyboardInterrupt):
        pipe.send((None,))
        while True:
            pipe.send((_train(pipe.recv(), partial(pipe.send, None)),))


class _Pool:
    """Processes with a pipe to each.

    A pool of `concurrent.futures` loses all runs when one process is killed, and its processes
    outlive this one. Pipes have no lock that a killed process could hold, and say at both ends that
    the other is gone.
    """

    def __init__(self, size: int) -> None:
        self.context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self.processes: dict[Connection, tuple[SpawnProcess, int | None]] = {}
        self.size, self.failed_starts = size, 0

    def __enter__(self) -> _Pool:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else [None]
        for k in range(self.size):
            self.start(cores[k % len(cores)])
        return self

    def __exit__(self, *error: object) -> None:
        for pipe, (process, _) in self.processes.items():
            pipe.close()
            if error[0] is not None:
                process.terminate()  # a run survives being killed
        for process, _ in self.processes.values():
            process.join()

    def start(self, core: int | None) -> None:
        """Start a process that says when it is ready."""
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_work, args=(theirs, core), daemon=True)
        with _without_ctrl_c():  # inherited; Ctrl-C reaches this process, which ends the others
            process.start()
        theirs.close()  # so that the pipe ends with the process
        self.processes[ours] = (process, core)

    def run(
        self,
        waiting: list[Job],
        epoch: Callable[[str], None],
        ended: Callable[[str, str | None], None],
    ) -> None:
        """Hand out the jobs, first to last, and listen until all are done."""
        waiting = waiting[::-1]
        at_work: dict[Connection, Job] = {}
        ready: set[Connection] = set()
        while waiting or at_work:
            speaking = wait(list(self.processes))
            for pipe in [p for p in self.processes if p in speaking]:
                try:
                    said: tuple[str | None] | None = pipe.recv()
                except (EOFError, ConnectionError):
                    said = (self.replace(pipe, bool(waiting), ready=pipe in ready),)
                ready.add(pipe)
                if said is None:
                    epoch(at_work[pipe].name)
                    continue
                if (job := at_work.pop(pipe, None)) is not None:
                    ended(job.name, said[0])
                if waiting and pipe in self.processes:
                    at_work[pipe] = waiting.pop()
                    with suppress(ConnectionError):  # it has just been killed: noticed above
                        pipe.send(at_work[pipe])

    def replace(self, pipe: Connection, needed: bool, ready: bool) -> str:
        """Put a new process in the place of one that has ended; returns what happened to that."""
        process, core = self.processes.pop(pipe)
        pipe.close()
        process.join()
        what = f"its process ended with code {process.exitcode}"
        self.failed_starts += not ready
        if needed and self.failed_starts > self.size:  # the next one would fare no better
            raise ChildProcessError(
                f"cannot train in several processes: {what} while it started. Use one worker; or, "
                "in a script, call this below `if __name__ == '__main__':`"
            )
        if needed:
            self.start(core)
        return what


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
