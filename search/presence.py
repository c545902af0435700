"""Which workers of a study are alive.

Optuna's heartbeats are for databases only and run inside `optimize` only. This works with every
storage: each worker keeps changing an attribute of the study, and the others watch whether it
changes, each by its own clock, so that clocks need not agree. A mistake costs time but falsifies
nothing: the same candidate is evaluated twice.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from types import TracebackType

import optuna

PREFIX = "worker:"
LEFT = -1


class Presence:
    """The sign of life of this worker, as a context, and those of all others.

    Args:
        study: the study they share.
        patience: seconds without a sign after which a worker counts as dead. One whose process is
            gone on this machine is noticed at once.
    """

    def __init__(self, study: optuna.Study, patience: float) -> None:
        if not patience > 0:
            raise ValueError(f"patience must be positive, got {patience}")
        self.study = study
        self.patience = patience
        self.name = f"{_machine()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._seen: dict[str, tuple[int, float]] = {}  # the last sign, and when it was new to us
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Presence:
        self.study.set_user_attr(PREFIX + self.name, 0)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(Exception):  # a storage that is lost has been reported already
            self.study.set_user_attr(PREFIX + self.name, LEFT)

    def _beat(self) -> None:
        count = 0
        while not self._stop.wait(self.patience / 6):
            count += 1
            with suppress(Exception):  # the worker itself will meet a storage that is lost
                self.study.set_user_attr(PREFIX + self.name, count)

    def alive(self) -> list[str]:
        """The names of all workers that are alive, this one among them, sorted."""
        now = time.monotonic()
        names = []
        for attribute, sign in self.study.user_attrs.items():
            if not attribute.startswith(PREFIX) or sign == LEFT:
                continue
            name = attribute.removeprefix(PREFIX)
            if self._seen.get(name, (None, 0.0))[0] != sign:
                self._seen[name] = (sign, now)
            fresh = now - self._seen[name][1] < self.patience
            if name == self.name or (fresh and not _gone_from_here(name)):
                names.append(name)
        return sorted(names)


def _machine() -> str:
    """This machine; two containers on it that do not see each other's processes are two."""
    try:
        return f"{socket.gethostname()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _gone_from_here(name: str) -> bool:
    """Whether it was a process of this machine, and is no more."""
    machine, process, _ = name.rsplit(":", 2)
    if machine != _machine() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
