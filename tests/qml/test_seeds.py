import json
import signal
from pathlib import Path

import pytest
from scipy import stats

from nisqkit.qml.config import TrainConfig
from nisqkit.qml.fit import TrainingInterrupted, Watcher
from nisqkit.qml.seeds import model_name, rows_of, train_seeds
from nisqkit.qml.training import train

CONFIG = TrainConfig(task="digits2", depth=1, epochs=1, batch_size=64)


def report(accuracy: float, majority: float) -> dict[str, object]:
    test = {"accuracy": accuracy, "accuracy_interval_95": [0.1, 0.9], "condition": "noise-free"}
    fit = {
        "name": "majority",
        "num_parameters": 0,
        "test_accuracy": majority,
        "test_interval": (0.2, 0.3),
    }
    return {"parameters": 24, "test": [test], "baselines": [fit]}


def test_the_interval_over_seeds_is_students() -> None:
    ours, classical = rows_of("mine", [report(a, 0.25) for a in (0.7, 0.8, 0.75)])
    low, high = stats.t.interval(0.95, 2, loc=0.75, scale=stats.sem([0.7, 0.8, 0.75]))
    assert (ours.mean, ours.low, ours.high) == pytest.approx((0.75, low, high))
    assert (classical.model, classical.condition) == ("majority", "classical")
    assert (classical.mean, classical.low, classical.high) == (0.25, 0.25, 0.25)


def test_an_interval_ends_at_one() -> None:
    (ours, _) = rows_of("mine", [report(a, 0.25) for a in (1.0, 0.9)])
    assert ours.high == 1.0
    assert 0 <= ours.low < 0.9


def test_one_seed_has_the_interval_of_the_test_size() -> None:
    ours, classical = rows_of("mine", [report(0.7, 0.25)])
    assert (ours.low, ours.high) == (0.1, 0.9)
    assert (classical.low, classical.high) == (0.2, 0.3)


def test_seeds_are_runs_in_folders_of_their_own(tmp_path: Path) -> None:
    result = train_seeds(CONFIG, 2, out=tmp_path, baselines=True)
    alone = train(TrainConfig.from_dict(CONFIG.to_dict() | {"seed": 1}))
    assert [r.out for r in result.results] == [tmp_path / "seed0", tmp_path / "seed1"]
    assert result.results[1].report["test"] == alone.report["test"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["config"]["seed"] == [0, 1]
    assert [row["model"] for row in summary["rows"]] == [
        "u3-cu3, depth 1",
        "majority",
        "logistic regression",
        "MLP-16",
    ]
    assert summary["rows"][0]["mean"] == result.rows[0].mean


class Killed(BaseException):
    pass


class KillSecondEpochOf(Watcher):
    def __init__(self, seed: int, victim: int) -> None:
        self.victim = seed == victim

    def epoch(self, record: dict[str, object]) -> None:
        if self.victim and record["epoch"] == 2:
            raise Killed


def test_seeds_resume_where_they_stopped(tmp_path: Path) -> None:
    config = TrainConfig.from_dict(CONFIG.to_dict() | {"epochs": 3, "seed": 5})
    with pytest.raises(Killed):
        train_seeds(config, 3, out=tmp_path, watcher=lambda seed: KillSecondEpochOf(seed, 6))
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["seed5", "seed6"]
    resumed = train_seeds(config, 3, out=tmp_path, resume=True)
    whole = train_seeds(config, 3, out=tmp_path / "whole")
    assert [r.report["test"] for r in resumed.results] == [r.report["test"] for r in whole.results]
    assert resumed.rows == whole.rows


class PressCtrlC(Watcher):
    def __init__(self, seed: int, victim: int) -> None:
        self.victim = seed == victim

    def step(self, loss: float) -> None:
        if self.victim:
            signal.raise_signal(signal.SIGINT)
            self.victim = False


def test_ctrl_c_says_how_to_go_on_with_all_seeds(tmp_path: Path) -> None:
    config = TrainConfig.from_dict(CONFIG.to_dict() | {"seed": 5})
    with pytest.raises(
        TrainingInterrupted, match=r"in epoch 1.*nisqkit train --resume --seeds 2 --seed 5 --out"
    ):
        train_seeds(config, 2, out=tmp_path, watcher=lambda seed: PressCtrlC(seed, 6))


def test_bad_calls(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_seeds=0 must be at least 1"):
        train_seeds(CONFIG, 0, out=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there are no runs in .* to resume"):
        train_seeds(CONFIG, 2, out=tmp_path, resume=True)
    train_seeds(CONFIG, 1, out=tmp_path)
    with pytest.raises(ValueError, match=r"seed0 already holds a run: continue it with --resume"):
        train_seeds(CONFIG, 1, out=tmp_path)


def test_names_of_models() -> None:
    assert model_name(CONFIG) == "u3-cu3, depth 1"
    assert model_name(TrainConfig(model="mine.py:build")) == "mine.py:build"
