"""`nisqkit profile` as a user meets it."""

import re
from pathlib import Path

import pytest
from qiskit import QuantumCircuit, qpy
from typer.testing import CliRunner, Result

from nisqkit.circuits import hardware_efficient, to_qasm3
from nisqkit.cli.main import app
from nisqkit.qml import TrainConfig, train
from nisqkit.search.profile import Profile


def nisqkit(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["profile", *arguments], env={"COLUMNS": "200"})


def rows(text: str) -> dict[str, list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    return {row[0]: row[1:] for row in cells}


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run")
    train(TrainConfig(task="digits4", epochs=1, depth=1, batch_size=16), out=folder)
    return str(folder)


def test_a_run_is_one_table(run: str) -> None:
    done = nisqkit(run, "--device", "fake_belem", "--shots", "100", "--json", "out.json")
    assert done.exit_code == 0, done.output
    found = rows(done.output)
    assert found["parameters"] == ["24", "", "24", "exact"]
    assert found["executions_per_forward"][0] == "16"
    assert re.match(r"calibrated \d{4}-\d\d-\d\d", found["success_probability"][-1])
    assert found["latency_seconds"][-1] == "measured"
    assert re.search(r"latency: median of 20 runs with \d+ thread", done.output)
    saved = Profile.from_json(Path("out.json").read_text())
    steps = saved.total("qpu_seconds_per_epoch.spsa").value
    assert steps / saved.total("qpu_seconds_per_step.spsa").value == pytest.approx(
        round(steps / saved.total("qpu_seconds_per_step.spsa").value)
    )
    one = nisqkit(run, "--batch", "2", "--diff", "out.json")
    assert rows(one.output)["executions_per_forward"] == ["16", "2", "-87.5%"]
    assert "gone" in rows(one.output)["success_probability"]


def test_circuit_files() -> None:
    circuit = hardware_efficient(3, 1)
    Path("a.qasm").write_text(to_qasm3(circuit))
    with Path("a.qpy").open("wb") as file:
        qpy.dump(circuit, file)
    texts = [nisqkit(name, "--device", "fake_lima").output for name in ("a.qasm", "a.qpy")]
    assert rows(texts[0]) == rows(texts[1])
    assert rows(texts[0])["logical.gates.cx"][0] == str(circuit.count_ops()["cx"])
    done = nisqkit("a.qpy", "--diff", "a.qasm")
    assert rows(done.output) == {}
    assert nisqkit("a.qasm", "--plan", "flex").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "there is no missing: give a run's folder, a checkpoint, or a .qasm"),
        (["text.txt"], "text.txt: give a run's folder, a checkpoint, or a .qasm or .qpy file"),
        (["bad.qpy"], "bad.qpy is no QPY file"),
        (["two.qpy"], "two.qpy holds 2 circuits: give a file with one"),
        (["bad.json"], "this is no profile in JSON"),
        (["two.qpy", "--json", "no/where.json"], "there is no folder no"),
        (["two.qpy", "--device", "fake_limo"], "did you mean 'fake_lima'"),
        (["one.qpy", "--plan", "flx"], "unknown plan 'flx'; did you mean 'flex'"),
        (["empty"], "checkpoint"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str) -> None:
    for name in ("text.txt", "bad.qpy", "bad.json"):
        Path(name).write_text("nonsense, and some more of it")
    Path("empty").mkdir()
    for name, count in (("one.qpy", 1), ("two.qpy", 2)):
        with Path(name).open("wb") as file:
            qpy.dump([QuantumCircuit(1)] * count, file)
    done = nisqkit(*arguments)
    assert done.exit_code == 2
    assert message in done.output
