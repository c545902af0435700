"""One call from a config to a report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

from nisqkit.noise.device import Device
from nisqkit.qml.checkpoint import load_checkpoint
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.datasets import load_dataset
from nisqkit.qml.evaluation import evaluate, logits
from nisqkit.qml.models import classifier, quantum_layers
from nisqkit.qml.runs import load_run
from nisqkit.qml.training import TrainResult, load_data, teacher_logits, train

CONFIG = TrainConfig(depth=1, epochs=3, batch_size=64, lr=0.05)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    out = tmp_path_factory.mktemp("runs") / "run"
    config = replace(CONFIG, devices=("fake_santiago",))
    return train(config, out=out, baselines=True)


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """60 samples of ``digits2``: noise and shots are simulated sample by sample."""
    digits, arrays = load_dataset("digits2"), {}
    for name, count in (("train", 40), ("valid", 10), ("test", 10)):
        part = getattr(digits, name)
        arrays[f"x_{name}"], arrays[f"y_{name}"] = part.features[:count], part.labels[:count]
    path = tmp_path_factory.mktemp("data") / "few.npz"
    np.savez(path, **arrays)
    return str(path)


def test_it_learns() -> None:
    result = train(replace(CONFIG, depth=2, epochs=20))
    losses = [record["train_loss"] for record in result.history]
    assert losses[-1] < losses[0] - 0.2
    # Four classes of equal size: chance is 25 %.
    assert result.report["test"][0]["accuracy_interval_95"][0] > 0.5
    assert result.out is None


def test_the_folder_has_everything(run: TrainResult) -> None:
    assert run.out is not None
    assert sorted(file.name for file in run.out.iterdir()) == [
        "checkpoint.pt",
        "config.json",
        "confusion_matrix.png",
        "learning_curve.png",
        "metrics.jsonl",
        "progress.txt",
        "report.json",
    ]
    assert imread(run.out / "learning_curve.png").shape[0] > 400
    lines = (run.out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.history
    assert list(run.history[0]) == [
        "epoch",
        "lr",
        "train_loss",
        "train_accuracy",
        "valid_loss",
        "valid_accuracy",
        "seconds",
    ]


def test_config_json_says_what_was_run(run: TrainResult) -> None:
    assert run.out is not None
    record = json.loads((run.out / "config.json").read_text())
    assert record["devices"][0]["name"] == "fake_santiago"
    assert record["devices"][0]["date"].startswith("2021-")
    assert record["dataset"]["sizes"] == {"train": 504, "valid": 108, "test": 108}
    assert record["model"]["parameters"] == 24
    assert (record["seed"], record["threads"]) == (0, 1)
    assert record["versions"]["torch"] == torch.__version__


def test_the_report_agrees_with_itself_and_the_file(run: TrainResult) -> None:
    assert run.out is not None
    report = json.loads((run.out / "report.json").read_text())
    assert report["task"] == "digits4"
    assert [test["condition"] for test in report["test"]] == ["noise-free", "fake_santiago"]
    assert report["baselines"][0]["name"] == "majority"
    for test in report["test"]:
        rows = test["confusion"]
        assert sum(map(sum, rows)) == test["total"] == 108
        assert sum(rows[k][k] for k in range(4)) == test["correct"]
        low, high = test["accuracy_interval_95"]
        assert low < test["accuracy"] < high
    assert json.loads(json.dumps(run.report)) == report


def test_the_result_has_the_best_weights(run: TrainResult) -> None:
    assert run.out is not None
    checkpoint = load_checkpoint(run.out / "checkpoint.pt")
    assert torch.equal(
        run.model.get_parameter("0.weights"), checkpoint["best_weights"]["0.weights"]
    )
    losses = [record["valid_loss"] for record in run.history]
    assert run.report["best_valid_loss"] == min(losses)


def test_a_finished_run_can_be_resumed_and_stays_as_it_is(run: TrainResult) -> None:
    again = train(run.config, out=run.out, resume=True)
    assert torch.equal(again.model.get_parameter("0.weights"), run.model.get_parameter("0.weights"))
    assert again.report["test"] == json.loads(json.dumps(run.report["test"]))
    assert again.replayed_steps == 0


def test_threads_and_random_state_of_the_caller_are_kept() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train(replace(CONFIG, epochs=1, threads=2))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_shots_of_a_trained_device_resume_too(tmp_path: Path) -> None:
    """With shots every forward pass draws new bitstrings, which a resumed run must draw as well."""
    config = replace(CONFIG, circuit="u3", backend="reference", shots=20, epochs=2, task="digits2")
    expected = train(config)
    train(replace(config, epochs=2), out=tmp_path / "a")
    checkpoint = load_checkpoint(tmp_path / "a" / "checkpoint.pt")
    assert int(checkpoint["model"]["0.calls"]) > 0
    assert torch.equal(
        checkpoint["best_weights"]["0.weights"], expected.model.get_parameter("0.weights")
    )


def test_a_device_to_train_on_is_used(few_digits: str) -> None:
    config = replace(CONFIG, circuit="u3", data=few_digits, epochs=1, batch_size=40)
    noisy = train(replace(config, backend="aer", devices=("fake_yorktown",)))
    clean = train(config)
    assert noisy.history[0]["train_loss"] != clean.history[0]["train_loss"]
    assert noisy.history[0]["train_loss"] == pytest.approx(clean.history[0]["train_loss"], abs=0.1)
    assert [t["condition"] for t in noisy.report["test"]] == ["noise-free", "fake_yorktown"]
    exact = train(replace(config, noise="exact", devices=("fake_yorktown",)))
    # Aer and parameter shift know nothing of the native engine
    assert exact.history[0]["train_loss"] == pytest.approx(noisy.history[0]["train_loss"], abs=1e-4)
    assert exact.report["test"][1]["loss"] == pytest.approx(
        noisy.report["test"][1]["loss"], abs=1e-4
    )


# --- bad input is found before any work, and leaves no folder behind ---


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"task": "digit4"}, ValueError, r"unknown dataset 'digit4'; did you mean 'digits4'"),
        ({"data": "nowhere.npz"}, FileNotFoundError, r"there is no file .*nowhere\.npz"),
        ({"devices": ("fake_santigo",)}, ValueError, "did you mean 'fake_santiago'"),
        ({"backend": "natve"}, ValueError, "unknown backend 'natve'; did you mean 'native'"),
        ({"circuit": "u3cu3"}, ValueError, "unknown circuit 'u3cu3'; did you mean 'u3-cu3'"),
        ({"model": "nowhere.py:build"}, FileNotFoundError, r"there is no file .*nowhere\.py"),
        ({"model": "torch.nn:Linaer"}, ValueError, "did you mean 'Linear'"),
        (
            {"model": "torch.nn:Linear", "devices": ("fake_manila",)},
            ValueError,
            r"the model \(Linear\) has no QuantumLayer",
        ),
        (
            {"qubits": 8, "devices": ("fake_manila",)},
            ValueError,
            "8 qubits and fake_manila has 5",
        ),
        (
            {"model": "torch.nn:Linear", "backend": "reference"},
            ValueError,
            r"has no QuantumLayer, so backend='reference'",
        ),
        ({"qubits": 6}, ValueError, "6 outputs .* 4 classes"),
    ],
)
def test_bad_input(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(TrainConfig.from_dict(CONFIG.to_dict() | changes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- models of one's own ---


def own_model(num_features: int, num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(num_features, 8), nn.Dropout(0.1), nn.Linear(8, num_classes))


def own_circuit(num_features: int, num_classes: int) -> nn.Module:
    return classifier(num_features, num_classes, "u3", depth=1, seed=0)


def test_a_model_of_ones_own_trains_on_the_given_backend(few_digits: str) -> None:
    config = replace(CONFIG, model=f"{__file__}:own_circuit", data=few_digits, epochs=1)
    config = replace(config, batch_size=40)
    clean = train(config)
    noisy = train(replace(config, backend="aer", devices=("fake_yorktown",)))
    sampled = train(replace(config, backend="reference", shots=20))
    (layer,) = quantum_layers(noisy.model).values()
    assert layer.backend.name == "aer"
    assert layer.execution.noise == Device.load("fake_yorktown")
    (layer,) = quantum_layers(sampled.model).values()
    assert (layer.backend.name, layer.shots) == ("reference", 20)
    losses = [run.history[0]["train_loss"] for run in (clean, noisy, sampled)]
    assert len(set(losses)) == 3
    assert losses[1:] == pytest.approx([losses[0]] * 2, abs=0.1)


def test_something_else_than_a_config() -> None:
    with pytest.raises(TypeError, match=r"train takes a TrainConfig, not 'digits4'"):
        train("digits4")  # type: ignore[arg-type]


def test_a_model_of_ones_own_trains_and_repeats() -> None:
    config = replace(CONFIG, model=f"{__file__}:own_model")
    first, second = train(config), train(config)
    assert torch.equal(
        first.model.get_parameter("0.weight"), second.model.get_parameter("0.weight")
    )
    assert first.report["parameters"] == 16 * 8 + 8 + 8 * 4 + 4


def test_the_last_weights_are_kept_on_request(tmp_path: Path, few_digits: str) -> None:
    # so large a rate that the best epoch is not the last one
    config = TrainConfig(
        data=few_digits, depth=1, epochs=4, lr=2.0, keep="last", schedule="constant"
    )
    result = train(config, out=tmp_path / "run", pictures=False)
    assert result.report["best_epoch"] < 4
    last = result.history[-1]["valid_loss"]
    assert evaluate(result.model, result.dataset.valid, result.dataset.class_names).loss == (
        pytest.approx(last, rel=1e-6)
    )
    again = load_run(tmp_path / "run").model
    assert torch.equal(again[0].weights, result.model[0].weights)  # type: ignore[index]
    assert not list((tmp_path / "run").glob("*.png"))


def test_a_teacher_is_asked_noise_free_and_must_have_seen_the_same_split(tmp_path: Path) -> None:
    config = TrainConfig(task="digits2", depth=1, epochs=1, seed=1)
    train(config, out=tmp_path / "seed1", pictures=False)
    student = replace(config, teacher=str(tmp_path), devices=("fake_belem",), noise="exact")
    dataset = load_data(config)
    found = teacher_logits(student, dataset)
    expected = logits(load_run(tmp_path / "seed1").model, dataset.train.features)
    assert torch.allclose(found, expected)
    train(student, pictures=False)
    other = replace(student, seed=2, teacher=str(tmp_path / "seed1"))
    with pytest.raises(ValueError, match=r"the teacher .* was trained on other data"):
        train(other)


@pytest.mark.parametrize("noise", ["gates", "outcomes", "angles", "exact"])
def test_every_kind_of_noise_trains_and_is_judged_on_the_device(
    noise: str, few_digits: str
) -> None:
    options = {"nodes": 2, "norm": True, "noise": noise, "noise_factor": 1.5}
    config = TrainConfig(data=few_digits, depth=1, epochs=1, devices=("fake_belem",), **options)  # type: ignore[arg-type]
    result = train(config)
    kinds = {"gates": "InjectGates", "outcomes": "InjectOutcomes", "angles": "InjectAngles"}
    first = result.model[0]  # type: ignore[index]
    assert type(first.injection).__name__ == kinds.get(noise, "InjectExact")
    assert first.injection.factor == 1.5
    assert [test["condition"] for test in result.report["test"]] == ["noise-free", "fake_belem"]


def test_a_teacher_must_stay_the_same_until_the_run_is_finished(tmp_path: Path) -> None:
    config = TrainConfig(task="digits2", depth=1, epochs=1)
    for name, lr in (("one", 0.02), ("other", 0.1)):
        train(replace(config, lr=lr), out=tmp_path / name, pictures=False)
    (tmp_path / "one").rename(tmp_path / "teacher")
    student = replace(config, teacher=str(tmp_path / "teacher"))
    first = train(student, out=tmp_path / "run", pictures=False)
    report = tmp_path / "run" / "report.json"
    report.rename(tmp_path / "report.json")  # as if it had been stopped before the evaluation
    (tmp_path / "teacher").rename(tmp_path / "one")
    (tmp_path / "other").rename(tmp_path / "teacher")
    with pytest.raises(ValueError, match=r"was trained with other outputs of the teacher"):
        train(student, out=tmp_path / "run", resume=True)
    (tmp_path / "report.json").rename(report)
    (tmp_path / "teacher").rename(tmp_path / "gone")
    again = train(student, out=tmp_path / "run", resume=True)
    assert again.report["test"] == json.loads(json.dumps(first.report["test"]))
