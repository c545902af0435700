import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from nisqkit.qml.demo import CIRCUITS, CONFIG, DemoResult, run_demo
from nisqkit.qml.fit import TrainingInterrupted, Watcher

SHORT = replace(CONFIG, depth=1, epochs=1, batch_size=64, devices=())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoResult]:
    out = tmp_path_factory.mktemp("runs") / "demo"
    return out, run_demo(out, config=SHORT, num_seeds=2)


def test_all_rivals_are_in_one_table(demo: tuple[Path, DemoResult]) -> None:
    out, result = demo
    classical = ["majority", "logistic regression", "MLP-16"]
    assert [row.model for row in result.rows] == [*CIRCUITS.values(), *classical]
    assert all(len(row.accuracies) == 2 for row in result.rows)
    assert all(path.is_file() for path in result.pictures)
    record = json.loads((out / "demo.json").read_text())
    assert [row["mean"] for row in record["rows"]] == [row.mean for row in result.rows]
    assert not result.replaced


def test_another_demonstration_replaces_it(demo: tuple[Path, DemoResult]) -> None:
    out, first = demo
    second = run_demo(out, config=SHORT, num_seeds=2)
    assert second.replaced
    assert second.rows == first.rows


def test_nothing_else_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match="holds something else than a demonstration"):
        run_demo(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "all of it"
    with pytest.raises(ValueError, match=r"thesis\.tex is a file"):
        run_demo(tmp_path / "thesis.tex")


class PressCtrlC(Watcher):
    def step(self, loss: float) -> None:
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_in_a_demonstration(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted, match="the next demonstration starts anew"):
        run_demo(tmp_path, config=SHORT, num_seeds=1, watcher=lambda *_: PressCtrlC())
    assert run_demo(tmp_path, config=SHORT, num_seeds=1).replaced
