"""The ledger: an SQLite file that knows every job before it is sent, and keeps what it gave."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

APPLICATION = 0x6E71_6B69  # "nqki": says whose file it is
VERSION = 1
_SEARCHED = 64 * 2**20  # bytes of a ledger that is looked through for damage when it is opened

_TABLES = """
CREATE TABLE runs (name TEXT PRIMARY KEY, created REAL NOT NULL, command TEXT);
CREATE TABLE calibrations (digest TEXT PRIMARY KEY, device TEXT NOT NULL);
CREATE TABLE calls (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs, digest TEXT NOT NULL,
    created REAL NOT NULL, UNIQUE (run, digest)
);
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, call INTEGER NOT NULL REFERENCES calls, part INTEGER NOT NULL,
    attempt INTEGER NOT NULL, tag TEXT NOT NULL UNIQUE, state TEXT NOT NULL, job_id TEXT,
    backend TEXT NOT NULL, payload BLOB NOT NULL, place TEXT NOT NULL, options TEXT NOT NULL,
    seeds TEXT NOT NULL, versions TEXT NOT NULL, calibration TEXT REFERENCES calibrations,
    pubs INTEGER NOT NULL, executions INTEGER NOT NULL, estimated_seconds REAL NOT NULL,
    used_seconds REAL, created REAL NOT NULL, sent REAL, finished REAL, result BLOB, message TEXT,
    UNIQUE (call, part, attempt)
);
"""

STATES = ("prepared", "sending", "submitted", "done", "failed", "cancelled", "expired")
"""``sending`` is written before a job is sent, ``submitted`` with its id after that."""

LOST = ("failed", "cancelled", "expired")
"""States without a result, in which nothing more will come."""


@dataclass(frozen=True)
class Entry:
    """One job of the ledger, without its payload and result.

    Attributes:
        id: Its number in the ledger.
        call: The call that it is part of.
        part: Which part of it.
        attempt: 0, or more if earlier attempts were lost.
        tag: What it is tagged with at the service.
        state: One of `STATES`.
        job_id: The service's id, once it is known.
        backend: Where it is sent.
        run: The run that it belongs to.
        place: Which rows of which PUB of the call it has.
        pubs, executions: How many it has.
        estimated_seconds, used_seconds: Of the QPU.
        created, sent, finished: Seconds since 1970.
        message: Why it was lost.
    """

    id: int
    call: int
    part: int
    attempt: int
    tag: str
    state: str
    job_id: str | None
    backend: str
    run: str
    place: tuple[tuple[int, int, int], ...]
    pubs: int
    executions: int
    estimated_seconds: float
    used_seconds: float | None
    created: float
    sent: float | None
    finished: float | None
    message: str | None


_COLUMNS = ", ".join(
    f"calls.{name}" if name == "run" else f"jobs.{name}" for name in Entry.__dataclass_fields__
)
_FROM = f"SELECT {_COLUMNS} FROM jobs JOIN calls ON calls.id = jobs.call"


@dataclass(frozen=True)
class NewJob:
    """A job to be written.

    Attributes:
        payload: See `Job.to_bytes`.
        place: ``(PUB of the call, first row, last row + 1)`` for each of its PUBs.
        options, seeds, versions: Plain JSON.
        calibration: The device as JSON.
        pubs, executions, estimated_seconds: What it takes.
    """

    payload: bytes
    place: tuple[tuple[int, int, int], ...]
    options: Mapping[str, Any]
    seeds: Sequence[Any]
    versions: Mapping[str, str]
    calibration: str
    pubs: int
    executions: int
    estimated_seconds: float


def default_ledger() -> Path:
    """``$NISQKIT_LEDGER``, or ``nisqkit/ibm.sqlite`` below the user's data folder."""
    if given := os.environ.get("NISQKIT_LEDGER"):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "nisqkit" / "ibm.sqlite"


class Ledger:
    """The ledger of all submissions, safe against a kill at any moment.

    Every change is one transaction that is on the disk when the method returns. Several processes
    may use one ledger; that a run is driven by one of them at a time is `run_lock`'s business.

    Args:
        path: The file; made if it is not there. Default: `default_ledger`.

    Raises:
        ValueError: The file is no ledger, is damaged, or was written by a newer nisqkit. It is left
            as it is.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     ledger = Ledger(Path(folder) / "ibm.sqlite")
        ...     ledger.start_run("first")
        ...     ledger.runs()
        ['first']
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = default_ledger() if path is None else Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._changing(check=False) as db:
            self._open(db)

    def start_run(self, name: str, command: Mapping[str, Any] | None = None) -> None:
        """Write down a run, if it is not there, and how it is resumed, if that is said."""
        text = None if command is None else json.dumps(command)
        with self._changing() as db:
            db.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, ?)", (name, time.time(), None))
            if text is not None:
                db.execute("UPDATE runs SET command = ? WHERE name = ?", (text, name))

    def command(self, run: str) -> dict[str, Any] | None:
        """How a run is resumed, if that was said.

        Raises:
            ValueError: There is no such run.
        """
        from nisqkit.circuits.names import unknown

        with self._reading() as db:
            row = db.execute("SELECT command FROM runs WHERE name = ?", (run,)).fetchone()
        if row is None:
            raise ValueError(unknown(f"run (in {self.path})", run, self.runs()))
        return None if row[0] is None else dict(json.loads(row[0]))

    def runs(self) -> list[str]:
        """Names of all runs, the oldest first."""
        with self._reading() as db:
            return [name for (name,) in db.execute("SELECT name FROM runs ORDER BY created")]

    def call(self, run: str, digest: str) -> list[Entry]:
        """The jobs of a call, the last attempt of each part; empty if it was never written."""
        with self._reading() as db:
            found = db.execute(
                f"{_FROM} WHERE calls.run = ? AND calls.digest = ? ORDER BY part, attempt",
                (run, digest),
            ).fetchall()
        return _latest(map(_entry, found))

    def add_call(self, run: str, digest: str, backend: str, jobs: Sequence[NewJob]) -> list[Entry]:
        """Write all jobs of a call, of which none is sent yet; returns them as `call` does."""
        now = time.time()
        with self._changing() as db:
            db.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, ?)", (run, now, None))
            known = db.execute(
                "SELECT id FROM calls WHERE run = ? AND digest = ?", (run, digest)
            ).fetchone()
            if known is None:
                cursor = db.execute(
                    "INSERT INTO calls (run, digest, created) VALUES (?, ?, ?)", (run, digest, now)
                )
                for part, job in enumerate(jobs):
                    self._insert(db, cursor.lastrowid, part, backend, job)
        return self.call(run, digest)

    def again(self, lost: Entry) -> Entry:
        """A new attempt at a job that was lost."""
        assert lost.state in LOST
        with self._changing() as db:
            db.execute(
                "INSERT INTO jobs (call, part, attempt, tag, state, backend, payload, place, "
                "options, seeds, versions, calibration, pubs, executions, estimated_seconds, "
                "created) SELECT call, part, attempt + 1, ?, 'prepared', backend, payload, place, "
                "options, seeds, versions, calibration, pubs, executions, estimated_seconds, ? "
                "FROM jobs WHERE id = ?",
                (_new_tag(), time.time(), lost.id),
            )
            row = db.execute(f"{_FROM} WHERE jobs.id = last_insert_rowid()").fetchone()
        return _entry(row)

    def sending(self, entry: Entry) -> None:
        """It is about to be sent."""
        self._set(entry, state="sending", sent=time.time())

    def not_sent(self, entry: Entry) -> None:
        """It is known that it never arrived."""
        self._set(entry, state="prepared", sent=None)

    def submitted(self, entry: Entry, job_id: str) -> None:
        """The service has it, under this id."""
        self._set(entry, state="submitted", job_id=job_id)

    def done(self, entry: Entry, result: bytes) -> None:
        """It is done, with this result (`pack_found`)."""
        self._set(entry, state="done", result=result, finished=time.time())

    def used(self, entry: Entry, seconds: float) -> None:
        """What the service billed."""
        self._set(entry, used_seconds=seconds)

    def lost(self, entry: Entry, state: str, message: str) -> None:
        """It has no result, and will have none."""
        assert state in LOST
        self._set(entry, state=state, message=message, finished=time.time())

    def payload(self, entry: Entry) -> bytes:
        """What was or is to be sent."""
        return self._blob(entry, "payload")

    def result(self, entry: Entry) -> bytes:
        """What came back."""
        return self._blob(entry, "result")

    def entries(self, run: str | None = None) -> list[Entry]:
        """All jobs, or those of a run, in the order in which they were written."""
        where, values = ("", ()) if run is None else (" WHERE calls.run = ?", (run,))
        with self._reading() as db:
            found = db.execute(f"{_FROM}{where} ORDER BY jobs.id", values).fetchall()
        return [_entry(row) for row in found]

    def entry(self, number: int) -> Entry:
        """The job of this number in the ledger, as it is now."""
        with self._reading() as db:
            return _entry(db.execute(f"{_FROM} WHERE jobs.id = ?", (number,)).fetchone())

    def tagged(self, tag: str) -> Entry:
        """The job with this tag.

        Raises:
            ValueError: There is none.
        """
        with self._reading() as db:
            row = db.execute(f"{_FROM} WHERE jobs.tag = ?", (tag,)).fetchone()
        if row is None:
            raise ValueError(f"no job in {self.path} has the tag {tag!r}: nisqkit jobs lists all")
        return _entry(row)

    def details(self, entry: Entry) -> dict[str, Any]:
        """Options, seeds, versions and the calibration of a job, as plain JSON."""
        with self._reading() as db:
            row = db.execute(
                "SELECT options, seeds, versions, device FROM jobs LEFT JOIN calibrations ON "
                "calibrations.digest = jobs.calibration WHERE jobs.id = ?",
                (entry.id,),
            ).fetchone()
        names = ("options", "seeds", "versions", "calibration")
        return {n: text and json.loads(text) for n, text in zip(names, row, strict=True)}

    def spent_seconds(self, run: str) -> float:
        """QPU seconds of all jobs of a run that were sent: billed ones, else as estimated."""
        with self._reading() as db:
            (total,) = db.execute(
                "SELECT total(CASE WHEN state IN ('sending', 'submitted', 'done') "
                "THEN coalesce(used_seconds, estimated_seconds) ELSE used_seconds END) "
                "FROM jobs JOIN calls ON calls.id = jobs.call WHERE run = ?",
                (run,),
            ).fetchone()
        return float(total)

    def _insert(
        self, db: sqlite3.Connection, call: int | None, part: int, backend: str, job: NewJob
    ) -> None:
        from hashlib import sha256

        calibration = sha256(job.calibration.encode()).hexdigest()
        db.execute(
            "INSERT OR IGNORE INTO calibrations VALUES (?, ?)", (calibration, job.calibration)
        )
        texts = (
            json.dumps(v) for v in (job.place, dict(job.options), job.seeds, dict(job.versions))
        )
        db.execute(
            "INSERT INTO jobs (call, part, attempt, tag, state, backend, payload, place, options, "
            "seeds, versions, calibration, pubs, executions, estimated_seconds, created) "
            "VALUES (?, ?, 0, ?, 'prepared', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(call, part, _new_tag(), backend, job.payload),
                *texts,
                *(calibration, job.pubs, job.executions, job.estimated_seconds, time.time()),
            ),
        )

    def _set(self, entry: Entry, **values: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        with self._changing() as db:
            db.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*values.values(), entry.id))

    def _blob(self, entry: Entry, name: str) -> bytes:
        with self._reading() as db:
            return bytes(
                db.execute(f"SELECT {name} FROM jobs WHERE id = ?", (entry.id,)).fetchone()[0]
            )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._explained():
            # a connection of its own for each use: none is shared by threads or survives a fork
            db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            try:
                db.execute("PRAGMA synchronous = EXTRA")  # the journal's deletion is synced, too
                yield db
            finally:
                db.close()

    @contextmanager
    def _changing(self, check: bool = True) -> Iterator[sqlite3.Connection]:
        if check and not self.path.exists():
            raise ValueError(
                f"the ledger {self.path} is gone, though it was there before: put it back from a "
                "backup, since it knows which jobs are paid for"
            )
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            if "full" in text or "disk I/O" in text:
                raise OSError(
                    f"the ledger {self.path} cannot be written ({text}): is the disk full? Nothing "
                    "is sent that is not written first. Make room, then go on with nisqkit resume"
                ) from error
            if "locked" in text:
                raise OSError(
                    f"the ledger {self.path} is in use by another process for more than 30 s: wait "
                    "for it, then go on with nisqkit resume"
                ) from error
            raise OSError(f"the ledger {self.path} cannot be used: {text}") from error
        except sqlite3.DatabaseError as error:
            raise ValueError(_damaged(self.path, str(error))) from error

    def _open(self, db: sqlite3.Connection) -> None:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables == 0 and application == 0:
            for statement in _TABLES.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
            return
        if application != APPLICATION:
            raise ValueError(
                f"{self.path} is an SQLite file, but no ledger of nisqkit: give another file "
                "(NISQKIT_LEDGER or --ledger); this one was left as it is"
            )
        if version > VERSION:
            raise ValueError(
                f"the ledger {self.path} has version {version}, and this nisqkit reads up to "
                f"version {VERSION}: use the nisqkit that wrote it, or another file "
                "(NISQKIT_LEDGER or --ledger); it was left as it is"
            )
        if self.path.stat().st_size <= _SEARCHED:
            (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise ValueError(_damaged(self.path, found))


def _damaged(path: Path, reason: str) -> str:
    reason = " ".join(reason.split())
    return (
        f"the ledger {path} is damaged or no ledger ({reason}). It was left as it is: put a backup "
        "in its place, or rescue it with `sqlite3 FILE .recover`. A new one (move this away, or "
        "give another file with NISQKIT_LEDGER or --ledger) does not know which jobs are paid for"
    )


def _new_tag() -> str:
    return f"nisqkit-{uuid.uuid4().hex}"


def _entry(row: Sequence[Any]) -> Entry:
    values = dict(zip(Entry.__dataclass_fields__, row, strict=True))
    values["place"] = tuple(tuple(one) for one in json.loads(values["place"]))
    return Entry(**values)


def _latest(entries: Iterator[Entry]) -> list[Entry]:
    return list({entry.part: entry for entry in entries}.values())
