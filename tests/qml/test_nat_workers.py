"""Jobs in processes: the same weights as in this one, and a killed process costs one run."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from nisqkit.qml import TrainConfig, load_run
from nisqkit.qml.nat_workers import Job, run_jobs

CONFIG = TrainConfig(task="digits2", depth=1, epochs=2, batch_size=64)


def test_jobs_run_and_fail_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    jobs = [Job("taken", CONFIG, tmp_path / "taken"), Job("good", CONFIG, tmp_path / "good")]
    told: list[object] = []
    run_jobs(jobs, 1, told.append, lambda name, error: told.append((name, error and error[:10])))
    assert told == [("taken", "ValueError"), "good", "good", ("good", None)]


def test_processes_that_cannot_start_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nisqkit.qml.nat_workers._work", os._exit)  # takes what it gets, and ends
    jobs = [Job(f"job{k}", CONFIG, tmp_path / f"job{k}") for k in range(2)]
    with pytest.raises(ChildProcessError, match="cannot train in several processes: its process"):
        run_jobs(jobs, 2, print, print)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals of POSIX")
def test_a_killed_process_costs_its_run_and_no_other(tmp_path: Path) -> None:
    jobs = [Job(f"job{k}", CONFIG, tmp_path / f"job{k}") for k in range(4)]
    ends: dict[str, str | None] = {}
    killed: list[str] = []

    def epoch(name: str) -> None:
        if not killed:
            killed.append(name)
            pid = multiprocessing.active_children()[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)

    run_jobs(jobs, 2, epoch, lambda name, error: ends.__setitem__(name, error))
    assert set(ends) == {job.name for job in jobs}
    failed = [name for name, error in ends.items() if error is not None]
    # a process that was killed before it had a job costs none
    assert [ends[name] for name in failed] in ([], ["its process ended with code -9"])
    again: dict[str, str | None] = {}
    run_jobs(
        [job for job in jobs if job.name in failed],
        1,
        lambda name: None,
        lambda name, error: again.__setitem__(name, error),
    )
    assert set(again.values()) <= {None}
    weights = [load_run(job.folder).model.state_dict() for job in jobs]
    for other in weights[1:]:
        assert all(torch.equal(other[k], weights[0][k]) for k in other)
