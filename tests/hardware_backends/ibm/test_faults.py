"""Training under random faults: kills, lost connections, failed jobs, a full disk."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("fault_run.py")


def train(*trials: str) -> Any:
    """One process for several trials, since importing takes longer than most of them."""
    # in memory where there is such a place: the ledger waits for the disk at every write
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        command = [sys.executable, str(SCRIPT), name, *trials]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found() -> Any:
    return train("0", "20", "20:forgetful", "20:impatient")


def check(undisturbed: Any, disturbed: Any, faults: int) -> None:
    (run,) = undisturbed["runs"]
    # 4 epochs of 3 steps and a validation pass
    assert len(run["bills"]) == 16 and set(run["bills"].values()) == {1}
    assert sum(disturbed["faults"].values()) >= faults
    for other in disturbed["runs"]:
        # the same jobs, each of them paid once, and the same weights to the last bit
        assert other == run


def test_20_faults(found: Any) -> None:
    check(found["0"], found["20"], 20)


@pytest.mark.parametrize("broken", ["20:forgetful", "20:impatient"])
def test_wrong_bookkeeping_is_found_out(found: Any, broken: str) -> None:
    assert any(max(run["bills"].values()) > 1 for run in found[broken]["runs"])


@pytest.mark.skipif("NISQKIT_ALL_FAULTS" not in os.environ, reason="a minute: NISQKIT_ALL_FAULTS=1")
def test_200_faults() -> None:
    found = train("0", "200")
    check(found["0"], found["200"], 200)
    kinds = {"before submit", "after submit", "state", "result", "any time", "full disk", "failed"}
    assert kinds <= found["200"]["faults"].keys()
