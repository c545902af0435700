"""Training under random faults: kills, lost connections, failed jobs, a full disk."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("fault_run.py")


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: the ledger waits for the disk at every write."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


def train(folder: Path, faults: int, *broken: str) -> Any:
    command = [sys.executable, str(SCRIPT), str(folder), str(faults), "1", *broken]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def undisturbed() -> Any:
    with tempfile.TemporaryDirectory() as name:
        (run,) = train(Path(name), 0)["runs"]
    # 4 epochs of 3 steps and a validation pass
    assert len(run["bills"]) == 16 and set(run["bills"].values()) == {1}
    return run


def check(found: Any, undisturbed: Any, faults: int) -> None:
    assert sum(found["faults"].values()) >= faults
    for run in found["runs"]:
        # the same jobs, each of them paid once, and the same weights to the last bit
        assert run == undisturbed


def test_20_faults(folder: Path, undisturbed: Any) -> None:
    check(train(folder, 20), undisturbed, 20)


@pytest.mark.parametrize("broken", ["forgetful", "impatient"])
def test_wrong_bookkeeping_is_found_out(folder: Path, undisturbed: Any, broken: str) -> None:
    found = train(folder, 20, broken)
    assert any(max(run["bills"].values()) > 1 for run in found["runs"])


@pytest.mark.skipif("NISQKIT_ALL_FAULTS" not in os.environ, reason="a minute: NISQKIT_ALL_FAULTS=1")
def test_200_faults(folder: Path, undisturbed: Any) -> None:
    found = train(folder, 200)
    check(found, undisturbed, 200)
    kinds = {"before submit", "after submit", "state", "result", "any time", "full disk", "failed"}
    assert kinds <= found["faults"].keys()
