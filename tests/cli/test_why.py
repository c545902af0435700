import re
from pathlib import Path

import pytest
from matplotlib.image import imread
from typer.testing import CliRunner, Result

from nisqkit.cli.main import app


def nisqkit(*arguments: str) -> Result:
    # Wide, so that no word of a table or a help page is cut or broken.
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("runs") / "run")
    done = nisqkit("train", "--task", "digits2", "--depth", "1", "--epochs", "2", "--out", folder)
    assert done.exit_code == 0, done.output
    return folder


def test_it_says_what_noise_costs_and_what_helps(run: str) -> None:
    done = nisqkit("why", run, "--device", "fake_belem", "--samples", "40", "--all")
    assert done.exit_code == 0, done.output
    text = done.output
    assert "digits2 on fake_belem of 2021-03-15, 40 test samples" in text
    found = re.search(r"loss (\S+) noise-free, (\S+) noisy: noise costs (\S+) nats", text)
    assert found is not None
    free, noisy, cost = map(float, found.groups())
    assert noisy - free == pytest.approx(cost, abs=2e-4)
    rows = re.findall(r"(?:│|\|) (\w+ .*?) +(?:│|\|) +([+-]\d\.\d{4}) (?:│|\|) +(\S+) %", text)
    parts = [float(loss) for cause, loss, _ in rows if not cause.startswith("all ")]
    kinds = [float(loss) for cause, loss, _ in rows if cause.startswith("all ")]
    assert len(parts) > 12
    assert sum(parts) == pytest.approx(cost, abs=1e-4 * len(parts))
    assert sum(kinds) == pytest.approx(cost, abs=1e-4 * len(kinds))
    assert re.search(r"residual of the integration: [+-]\d\.\de-\d+ nats", text)
    assert re.search(r"layout \d-\d-\d-\d +. +[+-]\d+\.\d points", text)
    assert re.search(r"perfect readout .* points", text)
    picture = Path(run) / "why-fake_belem.png"
    assert f"picture written to {picture}" in text
    assert imread(picture).shape[2] == 4


def test_the_evaluation_says_the_same(run: str) -> None:
    """On all test samples: accuracies of `nisqkit evaluate` are those of the budget."""
    out = Path(run).parent / "map.png"
    why = nisqkit("why", run, "--device", "fake_lima", "--samples", "100000", "--out", str(out))
    evaluation = nisqkit("evaluate", run, "--device", "fake_lima")
    assert why.exit_code == evaluation.exit_code == 0, why.output + evaluation.output
    found = re.search(r"accuracy (\S+) % noise-free, (\S+) % noisy", why.output)
    assert found is not None
    assert list(found.groups()) == re.findall(r"(\S+) % \(", evaluation.output)
    assert out.is_file()


def test_idle_time(run: str, tmp_path: Path) -> None:
    out = str(tmp_path / "map.png")
    done = nisqkit("why", run, "--device", "fake_lima", "--samples", "5", "--idle", "--out", out)
    assert done.exit_code == 0, done.output
    assert re.search(r"on fake_lima of \S+, with idle time, 5 test samples", done.output)
    assert "all idle" in done.output
    assert re.search(r"\d+ others \(--all\)", done.output)


def test_bad_input(run: str, tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        done = nisqkit("why", *arguments)
        assert done.exit_code == 2
        return done.stderr

    assert "there is no checkpoint" in refused(str(tmp_path), "--device", "fake_lima")
    assert "did you mean 'fake_lima'?" in refused(run, "--device", "fake_lma")
    assert "Missing option '--device'" in refused(run)
    on = (run, "--device", "fake_lima", "--out")
    assert "there is no folder" in refused(*on, str(tmp_path / "no" / "map.png"))
    assert "give a file that ends in .png" in refused(*on, str(tmp_path / "map.txt"))
    assert "greater than or equal to 1" in refused(run, "--device", "fake_lima", "--samples", "0")


def test_circuits_that_are_too_wide(tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    options = ("--qubits", "10", "--circuit", "u3", "--depth", "1", "--epochs", "1")
    done = nisqkit("train", "--task", "digits2", *options, "--out", folder)
    assert done.exit_code == 0, done.output
    done = nisqkit("why", folder, "--device", "fake_guadalupe")
    assert done.exit_code == 2
    assert "the error budget needs exact density matrices, which it has up to 8" in done.stderr


def test_models_without_a_circuit(tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    options = ("--model", "torch.nn:Linear", "--epochs", "1", "--out", folder)
    assert nisqkit("train", "--task", "digits2", *options).exit_code == 0
    done = nisqkit("why", folder, "--device", "fake_lima")
    assert done.exit_code == 2
    assert "Linear) has no QuantumLayer, so noise changes nothing" in done.stderr
