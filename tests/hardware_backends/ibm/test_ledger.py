import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nisqkit.hardware_backends.ibm.ledger import VERSION, Ledger, NewJob, default_ledger


def new_job(payload: bytes = b"circuits", seconds: float = 5.0) -> NewJob:
    return NewJob(
        payload, ((0, 0, 4),), {"a": 1}, [[0, 1, 2]], {"qiskit": "2"}, "{}", 1, 400, seconds
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ibm.sqlite")


def test_a_job_from_the_plan_to_its_result(ledger: Ledger) -> None:
    (entry,) = ledger.add_call("run", "digest", "ibm:x", [new_job()])
    assert entry.state == "prepared" and entry.job_id is None and entry.place == ((0, 0, 4),)
    assert entry.tag.startswith("nisqkit-") and ledger.payload(entry) == b"circuits"
    ledger.sending(entry)
    ledger.submitted(entry, "id1")
    ledger.done(entry, b"bits")
    ledger.used(entry, 2.5)
    again = Ledger(ledger.path)  # as another process sees it
    (found,) = again.call("run", "digest")
    assert (found.state, found.job_id, found.used_seconds) == ("done", "id1", 2.5)
    assert again.result(found) == b"bits" and again.tagged(entry.tag) == found
    assert again.details(found) == {
        "options": {"a": 1},
        "seeds": [[0, 1, 2]],
        "versions": {"qiskit": "2"},
        "calibration": {},
    }


def test_a_call_is_written_once(ledger: Ledger) -> None:
    first = ledger.add_call("run", "digest", "ibm:x", [new_job(), new_job()])
    assert ledger.add_call("run", "digest", "ibm:x", [new_job()]) == first
    assert ledger.call("run", "other") == [] and ledger.call("other", "digest") == []
    assert len({entry.tag for entry in first}) == 2


def test_what_is_spent(ledger: Ledger) -> None:
    entries = ledger.add_call("run", "digest", "ibm:x", [new_job()] * 4)
    assert ledger.spent_seconds("run") == 0  # nothing is sent
    ledger.sending(entries[0])  # it may have arrived: 5 s as estimated
    ledger.submitted(entries[1], "id1")
    ledger.used(entries[1], 2.0)
    ledger.lost(entries[2], "failed", "no reason")  # not billed
    assert ledger.spent_seconds("run") == 7 and ledger.spent_seconds("other") == 0


def test_another_attempt_has_another_tag(ledger: Ledger) -> None:
    (entry,) = ledger.add_call("run", "digest", "ibm:x", [new_job()])
    ledger.lost(entry, "cancelled", "by hand")
    (lost,) = ledger.call("run", "digest")
    second = ledger.again(lost)
    assert second.attempt == 1 and second.state == "prepared" and second.tag != entry.tag
    assert ledger.call("run", "digest") == [second]  # the last attempt counts
    assert [e.message for e in ledger.entries("run")] == ["by hand", None]  # the first is kept


def test_a_newer_version_is_left_alone(ledger: Ledger) -> None:
    with sqlite3.connect(ledger.path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    before = ledger.path.read_bytes()
    with pytest.raises(
        ValueError, match=f"has version {VERSION + 1}, and this nisqkit reads up to"
    ):
        Ledger(ledger.path)
    assert ledger.path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database at all, but text\n" * 40, b"SQLite format 3"])
def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ibm.sqlite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged or no ledger .* left as it is: put a backup"):
        Ledger(path)
    assert path.read_bytes() == content


def test_a_damaged_ledger_is_left_alone(ledger: Ledger) -> None:
    ledger.add_call("run", "digest", "ibm:x", [new_job(b"x" * 50_000)])
    content = bytearray(ledger.path.read_bytes())
    content[8192:12288] = bytes(255 for _ in range(4096))
    ledger.path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged or no ledger"):
        Ledger(ledger.path)
    assert ledger.path.read_bytes() == content


def test_another_sqlite_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(ValueError, match="an SQLite file, but no ledger of nisqkit"):
        Ledger(path)


def test_a_ledger_that_is_deleted_is_not_begun_anew(ledger: Ledger) -> None:
    ledger.path.unlink()
    with pytest.raises(ValueError, match="is gone, though it was there before: put it back"):
        ledger.add_call("run", "digest", "ibm:x", [new_job()])
    assert not ledger.path.exists()


def test_unknown_names(ledger: Ledger) -> None:
    ledger.start_run("digits", {"kind": "submit"})
    assert ledger.command("digits") == {"kind": "submit"}
    with pytest.raises(ValueError, match=r"unknown run .*'digit'; did you mean 'digits'"):
        ledger.command("digit")
    with pytest.raises(ValueError, match=r"no job in .* has the tag 'x'"):
        ledger.tagged("x")


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NISQKIT_LEDGER", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_ledger() == tmp_path / "nisqkit" / "ibm.sqlite"
    monkeypatch.setenv("NISQKIT_LEDGER", "here.sqlite")
    assert default_ledger() == Path("here.sqlite")


WRITER = """
import sys
from nisqkit.hardware_backends.ibm.ledger import Ledger, NewJob
job = NewJob(b"x" * 5000, ((0, 0, 4),), {}, [], {}, "{}", 1, 400, 1.0)
ledger = Ledger(sys.argv[1])
print("open", flush=True)
for k in range(12):
    (entry,) = ledger.add_call(sys.argv[2], str(k), "ibm:x", [job])
    ledger.sending(entry)
    ledger.submitted(entry, f"id{k}")
"""


def test_two_processes_on_one_ledger(tmp_path: Path) -> None:
    file = tmp_path / "ibm.sqlite"
    commands = [[sys.executable, "-c", WRITER, str(file), run] for run in ("one", "two")]
    both = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True) for c in commands]
    assert [process.communicate(timeout=60) and process.returncode for process in both] == [0, 0]
    found = Ledger(file)  # looks for damage
    for run in ("one", "two"):
        ids = [entry.job_id for entry in found.entries(run)]
        assert ids == [f"id{k}" for k in range(12)]
        assert found.spent_seconds(run) == 12
