"""One process at a time drives a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def run_lock(ledger: Path, run: str) -> Iterator[None]:
    """Hold a run of a ledger; the system frees it when the process ends, even by ``kill -9``.

    One process may hold it several times at once.

    Raises:
        ValueError: Another process holds it.
    """
    # a name of its own, since a run may be named like a path
    name = f"{ledger.name}.{sha256(run.encode()).hexdigest()[:12]}.lock"
    lock = FileLock(ledger.with_name(name), timeout=0, is_singleton=True, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"run {run!r} is driven by another process at this moment: wait for it, or give this "
            "one another run name"
        ) from None
    try:
        yield
    finally:
        lock.release()
