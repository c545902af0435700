"""The command line as a user meets it: results, one-line errors, exit codes."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from nisqkit.cli.main import app
from nisqkit.qml.config import TrainConfig

SHORT = ["--task", "digits2", "--depth", "1", "--epochs", "2", "--batch-size", "64"]


def nisqkit(*arguments: str) -> Result:
    # Wide, so that no word of a table or a help page is cut or broken.
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained(*more: str) -> Path:
    done = nisqkit("train", *SHORT, "--out", "run", *more)
    assert done.exit_code == 0, done.output
    return Path("run")


def test_version() -> None:
    assert nisqkit("--version").output == f"nisqkit {version('nisqkit')}\n"


def test_listings() -> None:
    assert "fake_santiago" in nisqkit("devices").output.split()
    assert "mnist4" in nisqkit("tasks").output.split()
    assert nisqkit("circuits").output.split()[-2:] == ["u3-cu3", "u3"]


def test_devices_have_qubits_and_a_date() -> None:
    (line,) = (x for x in nisqkit("devices").output.splitlines() if x.startswith("fake_santiago "))
    assert line.split() == ["fake_santiago", "5", "qubits,", "2021-03-15"]


def test_help_shows_the_defaults_of_the_config() -> None:
    text = " ".join(nisqkit("train", "--help").output.replace("│", " ").split())
    for name, value in TrainConfig().to_dict().items():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            option = name.replace("_", "-")
            found = re.search(rf"--{option} <.*?\[default: \(?(.*?)\)?\]", text)
            assert found is not None, name
            assert found[1] == str(value), name


def test_train_prints_a_table_and_writes_a_folder() -> None:
    done = nisqkit("train", *SHORT, "--baselines", "--device", "fake_manila")
    assert done.exit_code == 0, done.output
    out = Path("runs/digits2-seed0")
    report = json.loads((out / "report.json").read_text())
    for test in report["test"]:
        assert f"{100 * test['accuracy']:.1f} %" in done.output
        assert test["condition"] in done.output
    assert "MLP-16" in done.output
    assert f"results in {out}" in done.output


def test_every_option_reaches_the_config() -> None:
    done = nisqkit(
        *("train", "--task", "digits2", "--circuit", "strongly-entangling", "--depth", "1"),
        *("--qubits", "2", "--epochs", "1", "--batch-size", "100", "--optimizer", "sgd"),
        *("--lr", "0.3", "--schedule", "constant", "--weight-decay", "0.1", "--patience", "5"),
        *("--seed", "4", "--threads", "2", "--checkpoint-every-steps", "2", "--shots", "50"),
        *("--backend", "reference", "--device", "fake_manila", "--device", "fake_lima"),
    )
    assert done.exit_code == 0, done.output
    record = json.loads(Path("runs/digits2-seed4/config.json").read_text())
    assert TrainConfig.from_dict(record["config"]) == TrainConfig(
        task="digits2",
        circuit="strongly-entangling",
        depth=1,
        qubits=2,
        epochs=1,
        batch_size=100,
        optimizer="sgd",
        lr=0.3,
        schedule="constant",
        weight_decay=0.1,
        patience=5,
        seed=4,
        threads=2,
        checkpoint_every_steps=2,
        shots=50,
        backend="reference",
        devices=("fake_manila", "fake_lima"),
    )


def test_noise_aware_options_reach_the_config() -> None:
    done = nisqkit(
        *("train", *SHORT, "--noise-aware", "--noise", "gates", "--noise-factor", "0.5"),
        *("--noise-schedule", "linear", "--ideal-encoder", "--layout", "1,0,3,4", "--quantize"),
        *("4", "--centroid-weight", "0.2", "--keep", "last", "--warmup-epochs", "1"),
        *("--device", "fake_belem", "--out", "run"),
    )
    assert done.exit_code == 0, done.output
    config = TrainConfig.from_dict(json.loads(Path("run/config.json").read_text())["config"])
    assert (config.nodes, config.norm) == (2, True)  # of --noise-aware
    assert (config.noise, config.noise_factor, config.noise_schedule) == ("gates", 0.5, "linear")
    assert (config.ideal_encoder, config.layout) == (True, (1, 0, 3, 4))
    assert (config.quantize, config.centroid_weight) == (4, 0.2)
    assert (config.keep, config.warmup_epochs) == ("last", 1)

    # and such a run is used like any other
    student = nisqkit(
        *("train", *SHORT, "--native", "--noise", "exact", "--device", "fake_belem"),
        *("--teacher", "run", "--distill-weight", "0.3", "--out", "student"),
    )
    assert student.exit_code == 0, student.output
    both = nisqkit("evaluate", "run", "--device", "fake_lima", "--backend", "aer", "--limit", "4")
    assert both.exit_code == 0, both.output
    np.savez("new.npz", features=np.zeros((2, 16), np.float32))
    assert nisqkit("predict", "run", "--data", "new.npz").output.count("\n") == 3
    worth = nisqkit("mitigate", "run", "--device", "fake_belem", "--limit", "2")
    assert worth.exit_code == 0, worth.output
    assert "twirling" in worth.output
    assert json.loads(Path("run/mitigate-fake_belem.json").read_text())["rows"][0]["name"] == "raw"
    there = nisqkit("transfer", "run", "--device", "fake_belem", "--json", "transfer.json")
    assert there.exit_code == 0, there.output
    assert json.loads(Path("transfer.json").read_text())["rows"] == ["fake_belem"]
    why = nisqkit("why", "run", "--device", "fake_belem", "--samples", "4")
    assert why.exit_code == 0, why.output
    assert "between its nodes the model rounds" in " ".join(why.output.split())


def test_the_benchmark_writes_a_table_and_a_picture() -> None:
    options = ["--task", "digits2", "--device", "fake_yorktown", "--seeds", "2", "--epochs", "1"]
    rows = ["--technique", "norm", "--workers", "1", "--out", "nat"]
    done = nisqkit("bench", "nat", *options, *rows)
    assert done.exit_code == 0, done.output
    assert "2 nodes of 1 block, T = 1.5 for gates, 5 levels" in done.output
    assert "digits2, MLP-16" in done.output
    assert {f.name for f in Path("nat").iterdir()} >= {"nat.json", "nat.md", "nat.png"}
    wrong = nisqkit("bench", "nat", *options, "--technique", "nrom", "--out", "nat2")
    assert wrong.exit_code == 2
    assert "did you mean 'norm'" in wrong.output


def test_your_own_data_and_model() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 60)
    np.savez("own.npz", features=random.normal(labels[:, None], 0.3, (60, 3)), labels=labels)
    Path("own.py").write_text(
        "from torch import nn\n"
        "def build(num_features, num_classes):\n"
        "    return nn.Linear(num_features, num_classes)\n"
    )
    done = nisqkit("train", "--data", "own.npz", "--model", "own.py:build", "--epochs", "2")
    assert done.exit_code == 0, done.output
    assert "own.py:build" in done.output
    assert Path("runs/own-seed0/report.json").is_file()


def test_runs_of_several_seeds_are_named() -> None:
    done = nisqkit("train", *SHORT, "--seeds", "2", "--out", "sd")
    assert done.exit_code == 0, done.output
    done = nisqkit("train", "--out", "sd", "--resume")
    assert done.exit_code == 2
    assert "in its subfolders seed0, seed1: resume all seeds with --seeds N" in done.stderr
    done = nisqkit("train", "--out", "sd", "--resume", "--seeds", "2", "--seed", "7")
    assert "none of the seeds 7 to 8 has a run in sd, which holds seed0, seed1" in done.stderr
    done = nisqkit("train", "--out", "sd/seed0", "--resume", "--seeds", "2")
    assert "sd/seed0 holds one run, not several seeds: leave out --seeds" in done.stderr
    Path("demo").mkdir()
    Path("sd").rename("demo/u3")
    for folder, first in (("demo", "u3/seed0"), ("demo/u3", "seed0")):
        done = nisqkit("evaluate", folder)
        assert done.exit_code == 2
        assert f"give one of them, such as {folder}/{first}" in done.stderr


def test_files_that_are_something_else() -> None:
    out = trained()
    done = nisqkit("predict", str(out / "report.json"), "--data", "new.csv")
    assert done.exit_code == 2
    assert "no checkpoint of nisqkit: give a run's folder" in done.stderr
    done = nisqkit("train", *SHORT, "--out", str(out / "report.json" / "x"))
    assert done.exit_code == 2
    assert "report.json is a file: choose a folder" in done.stderr
    np.savez("new.npz", features=np.ones((50, 16)))
    whole = Path("new.npz").read_bytes()
    Path("new.npz").write_bytes(whole[: len(whole) // 2])
    done = nisqkit("predict", str(out), "--data", "new.npz")
    assert done.exit_code == 2
    assert "new.npz: no array of features can be read" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_checkpoint_that_was_deleted() -> None:
    out = trained()
    (out / "checkpoint.pt").unlink()
    done = nisqkit("train", "--resume", "--out", str(out))
    assert done.exit_code == 2
    assert "checkpoint.pt is gone, though this run had one" in done.stderr


def test_a_run_with_relative_paths_is_used_from_another_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    np.savez("own.npz", features=np.eye(20), labels=np.arange(20) % 2)
    Path("own.py").write_text(
        "from torch import nn\ndef build(inputs, classes): return nn.Linear(inputs, classes)"
    )
    data = ["--data", "own.npz", "--epochs", "1", "--out", "run"]
    done = nisqkit("train", *data, "--model", "own.py:build")
    assert done.exit_code == 0, done.output
    Path("other").mkdir()
    monkeypatch.chdir("other")
    for command in (["evaluate", "../run"], ["predict", "../run", "--data", "../own.npz"]):
        done = nisqkit(*command)
        assert done.exit_code == 0, done.output
    monkeypatch.chdir("..")
    for model in ("own.py:build", str(Path("own.py:build").absolute())):
        done = nisqkit("train", "--resume", *data, "--model", model)
        assert done.exit_code == 0, done.output


def test_evaluate_with_shots_but_no_device() -> None:
    done = nisqkit("evaluate", str(trained()), "--shots", "10")
    assert done.exit_code == 2
    assert "shots=10 would change nothing without a device" in done.stderr


def test_seeds_print_means() -> None:
    done = nisqkit("train", *SHORT, "--seeds", "2")
    assert done.exit_code == 0, done.output
    summary = json.loads(Path("runs/digits2-seeds2/summary.json").read_text())
    assert f"{100 * summary['rows'][0]['mean']:.1f} %" in done.output
    assert "mean of 2 seeds" in done.output
    again = nisqkit("train", "--resume", "--seeds", "2", "--out", "runs/digits2-seeds2")
    assert again.exit_code == 0, again.output


def test_resume_knows_its_options() -> None:
    out = trained()
    before = (out / "report.json").read_text()
    done = nisqkit("train", "--resume", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "resumed after epoch 2, step 0" in done.output
    assert (out / "report.json").read_text() == before


def test_evaluate_writes_what_it_prints() -> None:
    out = trained()
    done = nisqkit("evaluate", str(out), "--device", "fake_lima", "--limit", "10", "--shots", "64")
    assert done.exit_code == 0, done.output
    record = json.loads((out / "evaluation.json").read_text())
    assert [test["condition"] for test in record["test"]] == ["noise-free", "fake_lima"]
    assert [test["total"] for test in record["test"]] == [10, 10]
    assert [test["shots"] for test in record["test"]] == [None, 64]
    assert "fake_lima, 64 shots" in done.output
    for test in record["test"]:
        low, high = test["accuracy_interval_95"]
        assert (
            f"{100 * test['accuracy']:.1f} % ({100 * low:.1f} to {100 * high:.1f})" in done.output
        )
    other = nisqkit("evaluate", str(out / "checkpoint.pt"), "--out", "other.json")
    assert other.exit_code == 0, other.output
    assert Path("other.json").is_file()


def test_predict_to_a_file_and_to_the_screen() -> None:
    out = trained()
    np.savetxt("new.csv", np.random.default_rng(0).random((5, 16)), delimiter=",")
    screen = nisqkit("predict", str(out), "--data", "new.csv")
    assert screen.exit_code == 0, screen.output
    done = nisqkit("predict", str(out), "--data", "new.csv", "--out", "labels.csv")
    assert "5 predictions written to labels.csv" in done.output
    assert Path("labels.csv").read_text() == screen.output
    rows = list(csv.DictReader(screen.output.splitlines()))
    assert list(rows[0]) == ["label", "p(3)", "p(6)"]
    for row in rows:
        assert float(row["p(3)"]) + float(row["p(6)"]) == pytest.approx(1, abs=2e-6)
        assert row["label"] == ("3" if float(row["p(3)"]) > 0.5 else "6")


# --- errors ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--task", "digit4"], "unknown dataset 'digit4'; did you mean 'digits4'?"),
        (["train", "--device", "fake_santigo"], "did you mean 'fake_santiago'?"),
        (["train", "--device", "fake_santigo"], "`nisqkit devices` lists all"),
        (
            ["train", "--device", "fake_lima,fake_belem"],
            "repeat the option for each device: --device fake_lima --device fake_belem",
        ),
        (["predict", "r", "--data", "x.csv", "--out", "no/x.csv"], "there is no folder no; give"),
        (["evaluate", "r", "--out", "."], "--out .: . is a folder; give a file"),
        (["train", "--task", "digit4"], "or --data FILE.npz"),
        (["train", "--backend", "natve"], "did you mean 'native'?"),
        (["train", "--optimizer", "adm"], "did you mean 'adam'?"),
        (["train", "--circuit", "u3cu3"], "did you mean 'u3-cu3'?"),
        (["train", "--schedule", "cosin"], "did you mean 'cosine'?"),
        (["train", "--epochs", "0"], "epochs=0 must be a whole number of at least 1"),
        (["train", "--data", "nowhere.npz"], "nowhere.npz; give the path of an .npz file"),
        (["train", "--data", "x.npz", "--task", "digits2"], "--task would change nothing beside"),
        (
            ["train", "--model", "m.py:f", "--depth", "3", "--qubits", "4"],
            "--depth and --qubits would change nothing beside --model",
        ),
        (["train", "--shots", "100"], "shots=100 would change nothing: backend='native' trains"),
        (["train", "--model", "nowhere"], "must be 'module:function'"),
        (["train", "--noise-aware"], "name a device (--device NAME)"),
        (
            ["train", "--noise-aware", "--device", "fake_lima", "--model", "m.py:f"],
            "nodes=2 would change nothing beside model",
        ),
        (
            [
                *("train", "--noise-aware", "--device", "fake_lima", "--quantize", "0"),
                *("--centroid-weight", "0.3"),
            ],
            "centroid_weight=0.3 would change nothing without quantize",
        ),
        (["train", "--layout", "1;2"], "--layout 1;2: give qubits of the device with commas"),
        (
            ["train", "--task", "mnist4", "--data-dir", "nowhere"],
            "is not a folder). Put t10k-images-idx3-ubyte.gz",
        ),
        (
            ["train", "--task", "vowel4", "--data-dir", "nowhere"],
            "is not a folder). Put vowel-context.data",
        ),
        (["train", "--data-dir", "nowhere"], "digits4 needs no files: leave it out"),
        (["train", "--resume", "--out", "nowhere"], "there is no run in nowhere to resume"),
        (["train", "--resume", "--seeds", "2"], "there are no runs in runs/digits4-seeds2"),
        (["evaluate", "nowhere"], "there is no checkpoint nowhere"),
        (["predict", "nowhere", "--data", "x.csv"], "there is no checkpoint nowhere"),
    ],
)
def test_an_error_is_one_line_and_nothing_is_left_behind(
    arguments: list[str], message: str
) -> None:
    done = nisqkit(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert list(Path().iterdir()) == []


def test_an_existing_run_is_not_touched() -> None:
    out = trained()
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    done = nisqkit("train", *SHORT, "--out", str(out))
    assert done.exit_code == 2
    assert "already holds a run: continue it with --resume" in done.stderr
    done = nisqkit("train", "--resume", "--out", str(out), "--lr", "0.5")
    assert done.exit_code == 2
    assert "different are: lr (0.5, not 0.02)" in done.stderr
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_a_traceback_on_demand() -> None:
    with pytest.raises(ValueError, match="unknown optimizer"):
        CliRunner().invoke(
            app, ["--traceback", "train", "--optimizer", "adm"], catch_exceptions=False
        )
    with pytest.raises(ValueError, match="unknown optimizer"):
        CliRunner().invoke(
            app,
            ["train", "--optimizer", "adm"],
            catch_exceptions=False,
            env={"NISQKIT_TRACEBACK": "1"},
        )


def test_ctrl_c_says_how_to_go_on_and_exits_with_130() -> None:
    command = [sys.executable, "-c", "from nisqkit.cli.main import app; app()", "train"]
    options = [*SHORT, "--epochs", "100000", "--out", "run"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    while not Path("run/checkpoint.pt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "saved in run/checkpoint.pt. To go on: nisqkit train --resume --out run" in stderr
    assert "Traceback" not in stderr
