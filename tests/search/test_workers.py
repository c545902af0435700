"""Workers as processes: the same front for any number, none is missed when it is killed."""

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from nisqkit.search.storage import open_storage

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("worker_script.py")
EVALUATIONS = 48  # 4 generations


def start(storage: str, name: str, evaluations: int, *options: float) -> "subprocess.Popen[str]":
    command = [sys.executable, str(SCRIPT), storage, name, str(evaluations), *map(str, options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        url = os.environ.get("NISQKIT_POSTGRES_URL")
        if url is None:
            message = "NISQKIT_POSTGRES_URL is not set; see tools/with_postgres.sh"
            if os.environ.get("NISQKIT_NO_SKIP") == "1":
                pytest.fail(message)
            pytest.skip(message)
        return url
    return str(tmp_path / {"sqlite": "study.db", "journal": "study.journal"}[request.param])


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What one worker finds, in memory."""
    return result(start("memory", "alone", EVALUATIONS))


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4()}"


def trials(storage: str, name: str) -> list[optuna.trial.FrozenTrial]:
    opened = open_storage(storage)
    found = optuna.load_study(study_name=name, storage=opened).trials
    if isinstance(opened, RDBStorage):
        opened.engine.dispose()  # psycopg warns of connections that are still open
    return found


def test_two_workers_find_what_one_finds(storage: str, name: str, alone: dict[str, Any]) -> None:
    workers = [start(storage, name, EVALUATIONS, 0.1, 4) for _ in range(2)]
    first, second = [result(worker) for worker in workers]
    # JSON keeps every bit of a float.
    for found in (first, second):
        assert found["evaluated"] == alone["evaluated"]
        assert found["front"] == alone["front"]
    assert len(alone["evaluated"]) == EVALUATIONS
    assert len(alone["front"]) > 3
    # Both did some of the work, and no more was done than by one.
    assert first["mine"] and second["mine"]
    different = {json.dumps(row[2], sort_keys=True) for row in alone["evaluated"]}
    assert len(set(first["mine"] + second["mine"])) == len(different)


def test_a_killed_worker_loses_its_own_trial_only(
    storage: str, name: str, alone: dict[str, Any]
) -> None:
    """The study goes on with another worker, and ends like one that nobody disturbed."""
    killed = start(storage, name, EVALUATIONS, 0.2, 1)  # one candidate at a time
    assert killed.stderr is not None
    for _ in range(6):  # it is evaluating its sixth
        assert "evaluating" in killed.stderr.readline()
    killed.kill()
    killed.communicate()
    before = trials(storage, name)
    finished = [t for t in before if t.state == TrialState.COMPLETE]
    assert len(finished) == 5
    assert sum(t.state == TrialState.RUNNING for t in before) == 1

    began = time.monotonic()
    resumed = result(start(storage, name, EVALUATIONS))
    assert time.monotonic() - began < 25  # less than the patience of 30 s
    assert resumed["evaluated"] == alone["evaluated"]
    assert resumed["front"] == alone["front"]
    # What had been finished was not evaluated again.
    stored = {json.dumps(t.user_attrs["candidate"]["value"], sort_keys=True) for t in finished}
    again = {json.dumps(json.loads(key), sort_keys=True) for key in resumed["mine"]}
    assert not stored & again
    after = trials(storage, name)
    (lost,) = [t for t in after if t.state == TrialState.FAIL]
    assert lost.user_attrs["released"] == "its worker died"
    assert not [t for t in after if t.state == TrialState.RUNNING]
