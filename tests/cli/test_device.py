"""`nisqkit device` as a user meets it."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner, Result

from nisqkit.circuits import lower, to_qasm3, u3_cu3
from nisqkit.cli.device import show_device, show_report
from nisqkit.cli.main import app
from nisqkit.hardware_backends.device_report import device_report
from nisqkit.noise import Device

LIMA = Device.load("fake_lima")


def nisqkit(*arguments: str) -> Result:
    # Wide, so that no word of a table is cut or broken.
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def rows(text: str) -> list[list[str]]:
    """The cells of all tables in a text."""
    lines = [line for line in text.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def show(*arguments: str) -> str:
    done = nisqkit("device", *arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_calibration_is_shown() -> None:
    text = show("fake_lima")
    assert re.match(r"fake_lima: 5 qubits, calibration of 2021-\d\d-\d\d, [\d.]+ years old", text)
    cells = rows(text)
    (cx,) = (row for row in cells if row[0] == "cx")
    errors = [g.error for g in LIMA.gates if g.gate == "cx" and g.error is not None]
    expected = [np.mean(errors), min(errors), max(errors)]
    assert [float(cell) for cell in cx[3:6]] == pytest.approx(expected, rel=0.05)
    (rz,) = (row for row in cells if row[0] == "rz")
    assert rz[3] == "exact"
    assert "Done in software, and so exact and in no time: rz." in text
    assert "Nothing is missing from the calibration." in text
    (qubit,) = (row for row in cells if row[0] == "3")
    t1, t2, readout, sx = LIMA.t1[3], LIMA.t2[3], LIMA.readout[3], LIMA.gate("sx", (3,))
    assert t1 and t2 and readout and sx and sx.error
    numbers = [1e6 * t1, 1e6 * t2, *readout, sx.error]
    assert [float(cell) for cell in qubit[1:]] == pytest.approx(numbers, rel=0.05)
    edges = {row[0] for row in cells if row[1:2] == ["cx"]}
    assert edges == {"0-1", "1-2", "1-3", "3-4"}


def test_dead_gates_and_old_gate_sets() -> None:
    text = show("fake_cusco")
    assert f"Dead (error 1), and never used: {len(Device.load('fake_cusco').dead_edges)} " in text
    assert sum(row[2:3] == ["dead"] for row in rows(text)) == 19
    assert "u2 error" in show("fake_almaden")
    assert "Two-qubit gates" not in show("fake_armonk")
    assert "Refused in circuits: reset on 146: T1 or T2 of qubit 146 is not" in show(
        "fake_kingston"
    )


def test_missing_calibrations_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = tuple(
        g._replace(error=None) if g.qubits == (1, 3) or g.gate == "x" else g for g in LIMA.gates
    )
    holes = replace(
        LIMA,
        gates=gates,
        readout=((0.1, 0.2), None, *LIMA.readout[2:]),
        t1=(*LIMA.t1[:4], None),
        symmetric_readout=(0, 2),
    )
    monkeypatch.setenv("COLUMNS", "200")
    show_device(holes)
    text = capsys.readouterr().out
    assert "Refused in circuits: x on 0, x on 1, x on 2, x on 3, x on 4: not calibrated" in text
    assert "Refused in circuits: cx on 1-3: not calibrated (error None" in text
    assert "T1 or T2 of qubit 4 is not known" in text
    assert "Refused in circuits: measure on 1: fake_lima has no readout error for" in text
    assert "Only the mean of the two readout errors is known: qubits 0, 2." in text
    assert "Nothing is missing" not in text
    (edge,) = (row for row in rows(text) if row[0] == "1-3")
    assert "?" in edge[2]
    (qubit,) = (row for row in rows(text) if row[0] == "4")
    assert qubit[1] == "?"


def test_a_built_in_circuit() -> None:
    text = show("fake_lima", "u3-cu3", "--qubits", "3", "--depth", "2")
    assert "u3-cu3 on 3 qubits, depth 2" in text
    cells = {row[0]: row[1:] for row in rows(text)}
    assert set(cells) == {"cx", "sx", "rz", "readout"}
    assert cells["rz"][1:] == ["exact", "1"]
    assert cells["readout"][0] == "3"
    parts = [float(row[2]) for row in cells.values()]
    found = re.search(r"estimated success probability: ([\d.]+)", text)
    assert found and float(found[1]) == pytest.approx(np.prod(parts), abs=2e-3)
    assert re.search(r"layout: 0 on \d.*, 1 on \d.*, 2 on \d", text)
    assert re.search(r"depth: \d+, of two-qubit gates \d+", text)
    assert re.search(r"duration: [\d.]+ µs of gates, then [\d.]+ µs of readout; the shortest", text)
    assert "on 4 qubits, depth 4" in show("fake_lima", "u3")


def test_an_openqasm_file_and_a_run() -> None:
    Path("own.qasm").write_text(to_qasm3(u3_cu3(2, blocks=1)))
    assert {row[0]: row[1] for row in rows(show("fake_lima", "own.qasm"))}["readout"] == "2"
    train = ["train", "--task", "digits2", "--depth", "1", "--epochs", "1", "--out", "run"]
    assert nisqkit(*train).exit_code == 0
    for run in ("run", "run/checkpoint.pt"):
        assert {row[0]: row[1] for row in rows(show("fake_lima", run))}["readout"] == "4"


def test_models_with_other_layers_or_several() -> None:
    Path("own.py").write_text(
        "from torch import nn\n"
        "from nisqkit.circuits import hardware_efficient\n"
        "from nisqkit.qml import QuantumLayer\n"
        "def classical(inputs, classes):\n"
        "    return nn.Linear(inputs, classes)\n"
        "class Two(nn.Module):\n"
        "    def __init__(self, inputs, classes):\n"
        "        super().__init__()\n"
        "        self.first = QuantumLayer(hardware_efficient(classes, 1))\n"
        "        self.second = QuantumLayer(hardware_efficient(classes, 1))\n"
        "        self.rest = nn.Linear(inputs, classes)\n"
        "    def forward(self, x):\n"
        "        return self.rest(x) + self.first() + self.second()\n"
    )
    for model in ("classical", "Two"):
        train = ["train", "--task", "digits2", "--epochs", "1", "--model", f"own.py:{model}"]
        assert nisqkit(*train, "--out", model).exit_code == 0
    done = nisqkit("device", "fake_lima", "classical")
    assert done.exit_code == 2
    assert "the model in classical has no QuantumLayer, so nothing runs on a device" in done.stderr
    text = show("fake_lima", "Two")
    assert "Two, layer first" in text and "Two, layer second" in text


def test_a_circuit_that_is_not_covered_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    silent = replace(LIMA, readout=(None,) * 5)
    report = device_report(lower(u3_cu3(2, blocks=1)), silent)
    with pytest.raises(ValueError, match="fake_lima has no readout error for this qubit: measure"):
        show_report("own", report)
    text = capsys.readouterr().out
    assert sum(row[2] == "not covered" for row in rows(text)) == 2
    assert "estimated success" not in text


def test_the_picture_is_written() -> None:
    assert "picture written to lima.png" in show("fake_lima", "--picture", "lima.png")
    show("fake_lima", "u3", "--qubits", "2", "--picture", "used.png")
    plain, used = imread("lima.png"), imread("used.png")
    # rings and their entry in the legend are dark
    assert (used[..., :3].max(axis=2) < 0.2).sum() > (plain[..., :3].max(axis=2) < 0.2).sum()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fake_lma"], "no device named 'fake_lma'; did you mean 'fake_lima'?"),
        (["fake_lima", "u3cu3"], "unknown circuit 'u3cu3'; did you mean 'u3-cu3'?"),
        (["fake_lima", "u3cu3"], "an OpenQASM 3 file or a run's folder will do"),
        (["fake_lima", "u3", "--qubits", "6"], "the circuit has 6 qubits and fake_lima has 5"),
        (["fake_lima", "--depth", "3"], "--qubits and --depth are of an ansatz: name one"),
        (["fake_lima", ".", "--depth", "3"], "--qubits and --depth would change nothing: . has"),
        (["fake_lima", "."], "there is no checkpoint"),
        (["fake_lima", "--picture", "lima.jpg"], "--picture lima.jpg: give a file that ends in"),
        (["fake_lima", "--picture", "no/lima.png"], "there is no folder no; give a file in a"),
    ],
)
def test_an_error_is_one_line(arguments: list[str], message: str) -> None:
    done = nisqkit("device", *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert list(Path().iterdir()) == []
