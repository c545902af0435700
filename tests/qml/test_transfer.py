"""The transfer matrix is that of single evaluations, with each model's own device marked."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest

from nisqkit.qml import TrainConfig, load_run, train
from nisqkit.qml.plots import save_figure
from nisqkit.qml.runs import evaluate_run
from nisqkit.qml.transfer import transfer_matrix
from nisqkit.qml.transfer_plot import cell_text, transfer_plot

DEVICES = ["fake_belem", "fake_yorktown"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    short = {"task": "digits2", "depth": 1, "epochs": 1}
    for seed in (0, 1):
        config = TrainConfig(**short, seed=seed, devices=("fake_belem",), noise="exact")  # type: ignore[arg-type]
        train(config, out=folder / "belem" / f"seed{seed}", pictures=False)
    train(TrainConfig(**short), out=folder / "plain", pictures=False)  # type: ignore[arg-type]
    return folder


def test_entries_are_those_of_single_evaluations(runs: Path) -> None:
    told: list[float] = []
    matrix = transfer_matrix([runs / "belem", runs / "plain"], DEVICES, progress=told.append)
    assert matrix.columns == ("noise-free", *DEVICES)
    assert matrix.rows == ("fake_belem", "noise-free")
    assert matrix.trained_on == ("fake_belem", "noise-free")
    assert [len(cell) for cell in matrix.accuracies[0]] == [2, 2, 2]
    for seed in (0, 1):
        expected = [e.accuracy for e in evaluate_run(load_run(runs / f"belem/seed{seed}"), DEVICES)]
        assert [cell[seed] for cell in matrix.accuracies[0]] == expected
    assert told[-1] == pytest.approx(1)
    dates = matrix.to_dict()["device_dates"]
    assert set(dates) == set(DEVICES)
    assert all(date.startswith("2021") for date in dates.values())


def test_the_picture(runs: Path, tmp_path: Path) -> None:
    matrix = transfer_matrix([runs / "belem", runs / "plain"], DEVICES)
    figure = transfer_plot(matrix)
    save_figure(figure, tmp_path / "t.png")
    assert matplotlib.image.imread(tmp_path / "t.png").std() > 0.05
    (ax, *_) = figure.axes
    assert len(ax.patches) == 2  # each model's own condition is framed
    shown = {text.get_text() for text in ax.texts}
    assert cell_text(matrix.accuracies[1][0]) in shown


def test_bad_input(runs: Path) -> None:
    with pytest.raises(ValueError, match="0 runs and 2 devices given"):
        transfer_matrix([], DEVICES)
    with pytest.raises(ValueError, match="devices lists fake_belem twice"):
        transfer_matrix([runs / "plain"], ["fake_belem", "fake_belem"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        transfer_matrix([runs / "nowhere"], DEVICES)


def test_runs_that_cannot_be_compared(runs: Path, tmp_path: Path) -> None:
    other = TrainConfig(task="digits4", depth=1, epochs=1)
    train(other, out=tmp_path / "other" / "seed0", pictures=False)
    with pytest.raises(ValueError, match=r"for different tasks \(digits2, digits4\)"):
        transfer_matrix([runs / "plain", tmp_path / "other"], DEVICES)
    train(TrainConfig(task="digits4", depth=2, epochs=1, seed=1), out=tmp_path / "other" / "seed1",
          pictures=False)  # fmt: skip
    with pytest.raises(ValueError, match="differ in more than their seeds"):
        transfer_matrix([tmp_path / "other"], DEVICES)
