"""The commands, on a fake machine and on the stand-in service, in processes of their own."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nisqkit.cli.main import app
from nisqkit.hardware_backends.ibm import IBMBackend, Ledger
from nisqkit.hardware_backends.ibm.runner import JobLost, Patience
from nisqkit.noise import Device
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.training import train

sys.path.insert(0, str(Path(__file__).parents[1] / "hardware_backends" / "ibm"))

from stand_in import (  # pyright: ignore[reportMissingImports] - on the path since above
    StandIn,
    paid,
    stand_in_service,
)

runner = CliRunner()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    train(TrainConfig(task="digits2", depth=1, epochs=1, seed=0), out=out, pictures=False)
    return out


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NISQKIT_LEDGER", str(tmp_path / "ibm.sqlite"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "ibm.sqlite"


@pytest.fixture
def service(tmp_path: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The real machine of these tests."""
    with stand_in_service(tmp_path) as found:
        init = IBMBackend.__init__

        def stand_in(self: IBMBackend, name: str, **options: Any) -> None:
            patience = Patience(0.4, 0.5, 0.005, 0.02)
            where = (found, Device.load("fake_manila"))
            init(self, name, **{**options, "service": where, "patience": patience})

        monkeypatch.setattr(IBMBackend, "__init__", stand_in)
        yield found


def run(*words: str) -> str:
    done = runner.invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def test_a_dry_run_sends_and_writes_nothing(trained: Path, ledger: Path) -> None:
    before = sorted(trained.iterdir())
    text = run("submit", str(trained), "--backend", "ibm:fake_fez", "--dry-run", "--limit", "3")
    assert "plan for ibm:fake_fez" in text and "dry run: nothing was sent" in text
    assert sorted(trained.iterdir()) == before


def test_the_report(trained: Path, ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    text = run(
        *("submit", str(trained), "--backend", "ibm:fake_manila", "--shots", "500"),
        *("--limit", "6", "--out", str(out), "--option", "twirling.enable_gates=true"),
    )
    assert "ibm:fake_manila, raw" in text and "ibm:fake_manila, readout" in text
    report = json.loads(out.read_text())
    assert set(report["on_hardware"]) == {"raw", "readout"}
    raw = report["on_hardware"]["raw"]
    assert raw["total"] == 6 and len(raw["accuracy_interval_95_shots"]) == 2
    assert report["command"]["options"] == {"twirling": {"enable_gates": True}}
    assert Device.from_json(json.dumps(report["calibration"])) == Device.load("fake_manila")
    assert report["plan"]["jobs"] == 2


def test_over_the_limit(trained: Path, ledger: Path, service: StandIn, tmp_path: Path) -> None:
    words = ["submit", str(trained), "--backend", "ibm:ibm_x", "--max-qpu-seconds", "3"]
    done = runner.invoke(app, words)
    assert done.exit_code == 2 and "over --max-qpu-seconds 3: nothing was sent" in done.output
    assert paid(tmp_path) == [] and Ledger(ledger).entries() == []


def test_a_lost_job_and_its_resumption(
    trained: Path, ledger: Path, service: StandIn, tmp_path: Path
) -> None:
    service.ask("plan", failed=1)
    words = ("--shots", "40", "--limit", "3", "--name", "mine", "--out", str(tmp_path / "r.json"))
    done = runner.invoke(app, ["submit", str(trained), "--backend", "ibm:ibm_x", *words])
    assert done.exit_code == 2 and "nisqkit resume mine --again" in done.output
    assert paid(tmp_path) == []
    listed = run("jobs", "mine")
    assert "failed: the machine warmed up" in listed and "1 jobs: 0 with results" in listed
    text = run("resume", "mine", "--again")
    assert "ibm:ibm_x, readout" in text and len(paid(tmp_path)) == 2
    report = json.loads((tmp_path / "r.json").read_text())
    assert [job["state"] for job in report["jobs"]] == ["failed", "done", "done"]
    # once more: everything is in the ledger, nothing is sent, and the numbers are the same
    run("resume", "mine")
    assert len(paid(tmp_path)) == 2
    assert json.loads((tmp_path / "r.json").read_text())["on_hardware"] == report["on_hardware"]
    found = json.loads(run("jobs", "--json"))
    assert [job["state"] for job in found] == ["failed", "done", "done"]


def test_a_training_run_on_hardware_is_resumed(
    ledger: Path, service: StandIn, tmp_path: Path
) -> None:
    out = tmp_path / "trained"
    config = TrainConfig(
        task="digits2",
        circuit="u3",
        depth=1,
        epochs=1,
        batch_size=128,
        shots=8,
        backend="ibm:ibm_x",
    )
    service.ask("plan", cancelled=1)
    with pytest.raises(JobLost, match="was cancelled"):
        train(config, out=out, pictures=False)
    assert Ledger(ledger).command(str(out.resolve())) == {
        "kind": "train",
        "out": str(out.resolve()),
    }
    text = run("resume", str(out), "--again")
    assert "is finished" in text and (out / "report.json").exists()
    bills = paid(tmp_path)
    assert len(bills) == len(set(bills)) == 3  # two steps and a validation pass


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resume", "nothing"], "unknown run"),
        (["jobs", "nothing"], "unknown run"),
        (["submit", "RUN", "--backend", "ibm:fake_fezz"], "did you mean 'ibm:fake_fez'"),
        (["submit", "RUN", "--backend", "ibm:fake_fez", "--option", "twirling"], "NAME=VALUE"),
        (
            ["submit", "RUN", "--backend", "ibm:fake_fez", "--mitigation", "zn"],
            "unknown mitigation 'zn'; did you mean 'zne'",
        ),
        (
            [
                "submit",
                "RUN",
                "--backend",
                "ibm:fake_fez",
                "--mitigation",
                "zne",
                "--no-mitigation",
            ],
            "leave one of them out",
        ),
    ],
)
def test_bad_input(trained: Path, ledger: Path, words: list[str], message: str) -> None:
    done = runner.invoke(app, [str(trained) if word == "RUN" else word for word in words])
    assert done.exit_code == 2 and message in " ".join(done.output.split())


def test_a_job_is_named_by_hand(ledger: Path) -> None:
    Ledger(ledger).start_run("mine", None)
    done = runner.invoke(app, ["resume", "mine", "--job-id", "tag"])
    assert done.exit_code == 2 and "give TAG=ID" in done.output
    done = runner.invoke(app, ["resume", "mine", "--job-id", "tag=5"])
    assert done.exit_code == 2 and "has the tag 'tag'" in done.output
