"""One process, and a service in another: what is sent, when, and what nisqkit says."""

import resource
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stand_in import StandIn, log_of, paid

from nisqkit.circuits import Observables, Task, angle, hardware_efficient, lower
from nisqkit.hardware_backends.ibm import IBMBackend, Ledger
from nisqkit.hardware_backends.ibm.job import Job
from nisqkit.hardware_backends.ibm.runner import JobLost, OverBudget, Patience, Unsettled
from nisqkit.hardware_backends.ibm.service import Refused
from nisqkit.noise import Device

PATIENCE = Patience(settle=0.4, give_up=0.5, first=0.005, longest=0.02)
PROGRAM = lower(angle(2).compose(hardware_efficient(2, layers=1)), inputs="x")
TOKEN = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-AbCdEf"  # the form of a key of the IBM Cloud


def task(seed: int = 0, shots: int = 50) -> Task:
    x = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    weights = torch.linspace(0, 1, len(PROGRAM.weights))
    return Task(PROGRAM, x, weights, Observables.parse(None, 2), shots, (seed, 0, 0))


def backend(service: Any, folder: Path, **options: Any) -> IBMBackend:
    options = {"run": "test", "patience": PATIENCE, "ledger": str(folder / "ibm.sqlite"), **options}
    return IBMBackend("ibm_stand_in", service=(service, Device.load("fake_manila")), **options)


def test_a_call_is_answered_from_the_ledger(service: StandIn, tmp_path: Path) -> None:
    (first,) = backend(service, tmp_path).run([task()])
    (again,) = backend(service, tmp_path).run([task()])  # as a new process would
    assert torch.equal(first.values, again.values) and len(log_of(tmp_path)) == 2
    backend(service, tmp_path).run([task(seed=1)])  # other shots
    backend(service, tmp_path, run="other").run([task()])  # another run
    assert len(paid(tmp_path)) == 3


def test_what_is_written_before_it_is_sent(service: StandIn, tmp_path: Path) -> None:
    class Looks(StandIn):
        def submit(self, job: Job, tag: str) -> str:
            (entry,) = Ledger(tmp_path / "ibm.sqlite").entries()
            assert entry.state == "sending" and entry.tag == tag and entry.job_id is None
            return super().submit(job, tag)

    used = backend(Looks(service.path), tmp_path)
    used.run([task()])
    (entry,) = used.ledger.entries()
    job = Job.from_bytes(used.ledger.payload(entry))
    assert job.shots == 50 and job.pubs[0].rows == 2 and job.pubs[0].circuit.num_qubits == 2
    details = used.ledger.details(entry)
    assert details["calibration"]["name"] == "fake_manila"
    assert {"qiskit", "qiskit-ibm-runtime", "nisqkit"} <= details["versions"].keys()
    assert details["seeds"] == [[0, 0, 0], 0]


def test_a_lost_answer_is_looked_up(service: StandIn, tmp_path: Path) -> None:
    service.ask("plan", **{"submit-unanswered": 1})
    backend(service, tmp_path).run([task()])
    assert [line["what"] for line in log_of(tmp_path)] == ["arrived", "paid"]


def test_nothing_is_sent_again_before_the_service_could_list_it(
    service: StandIn, tmp_path: Path
) -> None:
    service.ask("plan", **{"submit-unheard": 1})
    begin = time.time()
    backend(service, tmp_path).run([task()])
    assert time.time() - begin > PATIENCE.settle
    assert len(paid(tmp_path)) == 1


def test_no_connection(tmp_path: Path) -> None:
    used = backend(StandIn(tmp_path / "nobody"), tmp_path)
    with pytest.raises(ConnectionError, match=r"could not be reached .* go on with nisqkit resume"):
        used.run([task()])
    (entry,) = used.ledger.entries()
    assert entry.state == "prepared"  # it is known that nothing arrived


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("failed", "failed: the machine warmed up"),
        ("cancelled", "was cancelled: the machine warmed up"),
        ("expired", "is done, but its result is no longer at the service"),
    ],
)
def test_a_job_that_is_lost(service: StandIn, tmp_path: Path, end: str, message: str) -> None:
    service.ask("plan", **{end: 1})
    with pytest.raises(JobLost, match=f"{message}.*nisqkit resume test --again"):
        backend(service, tmp_path).run([task()])
    arrived = len(log_of(tmp_path))
    with pytest.raises(JobLost, match=message):  # and not sent again by itself
        backend(service, tmp_path).run([task()])
    assert len(log_of(tmp_path)) == arrived
    backend(service, tmp_path, again=True).run([task()])
    assert len(log_of(tmp_path)) == arrived + 2


def test_two_jobs_with_one_tag(service: StandIn, tmp_path: Path) -> None:
    class Twice(StandIn):
        def submit(self, job: Job, tag: str) -> str:
            super().submit(job, tag)
            super().submit(job, tag)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend(Twice(service.path), tmp_path).run([task()])
    with pytest.raises(Unsettled, match=r"has 2 jobs with the tag .* --job-id nisqkit-\w+=ID"):
        backend(service, tmp_path).run([task()])
    used = backend(service, tmp_path)
    (entry,) = used.ledger.entries()
    used.ledger.submitted(entry, "job1")  # what --job-id does
    used.run([task()])
    assert len(log_of(tmp_path)) == 4


def test_what_the_service_refuses_is_not_tried_again(tmp_path: Path) -> None:
    class Refuses(StandIn):
        def submit(self, job: Job, tag: str) -> str:
            raise Refused(f"422: too deep; Authorization: Bearer {TOKEN}")

    used = backend(Refuses(tmp_path / "nobody"), tmp_path)
    with pytest.raises(Refused, match="too deep"):
        used.run([task()])
    with pytest.raises(JobLost, match="refused: 422: too deep"):
        used.run([task()])
    assert TOKEN.encode() not in used.ledger.path.read_bytes()  # what looks like a token is cut out


def test_the_limit_is_a_hard_stop(service: StandIn, tmp_path: Path) -> None:
    # 2 s per job and a little for 100 executions; 2 s are billed for it
    used = backend(service, tmp_path, max_qpu_seconds=5)
    used.run([task()])
    used.run([task(seed=1)])
    with pytest.raises(OverBudget, match=r"taken 4 QPU seconds.*max_qpu_seconds=5.*not sent"):
        used.run([task(seed=2)])
    assert len(paid(tmp_path)) == 2 and len(used.ledger.entries()) == 2
    used.run([task()])  # what is paid for is still there


def test_a_call_over_the_limit_sends_none_of_its_jobs(service: StandIn, tmp_path: Path) -> None:
    used = backend(service, tmp_path, max_qpu_seconds=3)
    with pytest.raises(OverBudget, match="over max_qpu_seconds=3"):
        used.run([task(), task(shots=60)])  # two jobs, of which the first would go
    assert log_of(tmp_path) == []


def test_the_limit_of_the_environment(
    service: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NISQKIT_MAX_QPU_SECONDS", "1")
    with pytest.raises(OverBudget, match="over max_qpu_seconds=1"):
        backend(service, tmp_path).run([task()])


HOLDER = """
import sys, time
from pathlib import Path
from nisqkit.hardware_backends.ibm.run_lock import run_lock
with run_lock(Path(sys.argv[1]), "test"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_on_one_run(service: StandIn, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "ibm.sqlite")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        _while_held(service, tmp_path)
        other.kill()
    backend(service, tmp_path).run([task()])  # a killed process holds nothing
    assert len(paid(tmp_path)) == 2


def _while_held(service: StandIn, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run 'test' is driven by another process at this moment"):
        backend(service, tmp_path).run([task()])
    backend(service, tmp_path, run="mine").run([task()])  # other runs of the ledger are free


def test_a_full_disk_before_it_is_sent(service: StandIn, tmp_path: Path) -> None:
    used = backend(service, tmp_path)
    large = replace(task(), inputs=torch.rand(1500, 2))
    size = used.ledger.path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written .* is the disk full"):
            used.run([large])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    # nothing was sent that was not written, and the ledger is as it was
    assert not any(line["what"] == "arrived" for line in log_of(tmp_path))
    used.run([large])
    assert len(paid(tmp_path)) == 1


def test_a_clock_that_was_set_back(service: StandIn, tmp_path: Path) -> None:
    used = backend(service, tmp_path)
    (entry,) = used.ledger.add_call("test", "digest", "x", used._new_jobs([task()]))
    used.ledger.sending(entry)
    with sqlite3.connect(used.ledger.path) as db:
        db.execute("UPDATE jobs SET sent = sent + 10000")
    db.close()
    from nisqkit.hardware_backends.ibm.runner import Runner

    begin = time.time()
    Runner(service, used.ledger, "test", patience=PATIENCE).pending()
    assert PATIENCE.settle < time.time() - begin < 10
    assert len(paid(tmp_path)) == 1
