import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from nisqkit.qml.checkpoint import load_checkpoint, save_checkpoint
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.datasets import load_dataset
from nisqkit.qml.evaluation import logits
from nisqkit.qml.runs import evaluate_run, load_run, predict, read_features
from nisqkit.qml.training import TrainResult, train

OWN_MODEL = "from torch import nn\ndef build(features, classes): return nn.Linear(features, {n})"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    config = TrainConfig(task="digits2", depth=1, epochs=2, seed=3)
    return train(config, out=tmp_path_factory.mktemp("runs") / "run")


def test_a_run_is_loaded_from_its_folder_or_checkpoint(trained: TrainResult) -> None:
    assert trained.out is not None
    features = trained.dataset.test.features
    for path in (trained.out, trained.out / "checkpoint.pt"):
        run = load_run(path)
        assert run.config == trained.config
        assert (run.class_names, run.num_features) == (("3", "6"), 16)
        assert torch.equal(logits(run.model, features), logits(trained.model, features))


def test_evaluation_of_a_run_agrees_with_its_report(trained: TrainResult) -> None:
    assert trained.out is not None
    (result,) = evaluate_run(load_run(trained.out))
    assert result.to_dict() == trained.report["test"][0]


def test_evaluation_on_a_device(trained: TrainResult) -> None:
    assert trained.out is not None
    clean, noisy = evaluate_run(load_run(trained.out), ["fake_manila"], limit=6, shots=50)
    assert (clean.shots, noisy.shots) == (None, 50)
    clean, noisy = evaluate_run(load_run(trained.out), ["fake_manila"], limit=6)
    assert noisy.shots is None
    assert (clean.total, noisy.total) == (6, 6)
    assert noisy.condition == "fake_manila"
    assert noisy.loss != clean.loss


def test_an_unknown_device_is_found_first(trained: TrainResult) -> None:
    assert trained.out is not None
    with pytest.raises(ValueError, match="did you mean 'fake_manila'"):
        next(evaluate_run(load_run(trained.out), ["fake_manilla"]))


def test_data_that_changed_since(tmp_path: Path) -> None:
    file = tmp_path / "own.npz"
    features = np.random.default_rng(0).random((40, 3))
    np.savez(file, features=features, labels=np.arange(40) % 2)
    train(TrainConfig(data=str(file), depth=1, epochs=1), out=tmp_path / "run")
    features[3, 1] += 0.01
    np.savez(file, features=features, labels=np.arange(40) % 2)
    run = load_run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"was trained on other data than 'own' holds now \(28"):
        next(evaluate_run(run))


def test_predictions_are_class_names_with_probabilities(trained: TrainResult) -> None:
    assert trained.out is not None
    split = trained.dataset.test
    labels, probabilities = predict(load_run(trained.out), split.features)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert [("3", "6")[k] for k in probabilities.argmax(axis=1)] == labels
    right = sum(("3", "6")[k] == label for k, label in zip(split.labels, labels, strict=True))
    assert right == trained.report["test"][0]["correct"]


def test_a_run_without_a_finished_epoch(trained: TrainResult, tmp_path: Path) -> None:
    assert trained.out is not None
    checkpoint = load_checkpoint(trained.out / "checkpoint.pt")
    save_checkpoint(tmp_path / "checkpoint.pt", checkpoint | {"best_weights": {}})
    with pytest.raises(ValueError, match=r"no finished epoch yet: train on with .* --resume"):
        load_run(tmp_path)


def test_a_model_whose_code_changed(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN_MODEL.format(n="classes"))
    config = TrainConfig(task="digits2", model=f"{file}:build", epochs=1)
    train(config, out=tmp_path / "run")
    assert load_run(tmp_path / "run").num_features == 16
    file.write_text(
        "from torch import nn\n"
        "def build(features, classes):\n"
        "    return nn.Sequential(nn.Linear(features, 3), nn.Linear(3, classes))"
    )
    with pytest.raises(
        ValueError,
        match=r"holds Linear with 34 .* describes Sequential with 59 .*: different are model "
        r"\(Linear\(.*\), now Sequential\(\)\)",
    ):
        load_run(tmp_path / "run")


def test_a_model_with_another_activation(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    code = (
        "from torch import nn\n"
        "def build(features, classes):\n"
        "    return nn.Sequential(nn.Linear(features, 3), nn.{}(), nn.Linear(3, classes))"
    )
    file.write_text(code.format("Tanh"))
    train(TrainConfig(task="digits2", model=f"{file}:build", epochs=1), out=tmp_path / "run")
    file.write_text(code.format("ReLU"))
    with pytest.raises(ValueError, match=r"different are 1 \(Tanh\(\), now ReLU\(\)\), so"):
        load_run(tmp_path / "run")


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*checkpoint\.pt"):
        load_run(tmp_path)


# --- networks with normalisation, trained on a device ---


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """On data of its own, in a file that tests change."""
    folder = tmp_path_factory.mktemp("runs")
    digits = load_dataset("digits2")
    parts = [digits.train, digits.valid]
    features = np.concatenate([part.features[:40] for part in parts])
    np.savez(
        folder / "own.npz",
        features=features,
        labels=np.concatenate([part.labels[:40] for part in parts]),
    )
    config = TrainConfig(
        data=str(folder / "own.npz"),
        depth=1,
        epochs=2,
        nodes=2,
        norm=True,
        quantize=5,
        noise="gates",
        devices=("fake_yorktown",),
    )
    return train(config, out=folder / "run", pictures=False)


def test_a_network_is_evaluated_and_predicts_as_its_report_says(network: TrainResult) -> None:
    assert network.out is not None
    run = load_run(network.out)
    results = [result.to_dict() for result in evaluate_run(run, ["fake_yorktown"])]
    assert results == network.report["test"]
    assert results[0]["loss"] != results[1]["loss"]
    _, aer = evaluate_run(run, ["fake_yorktown"], backend="aer")
    assert aer.loss == pytest.approx(results[1]["loss"], abs=1e-4)
    split, names = network.dataset.test, network.dataset.class_names
    labels, _ = predict(run, split.features)  # noise-free, and so with those statistics
    right = sum(names[k] == label for k, label in zip(split.labels, labels, strict=True))
    assert right == network.report["test"][0]["correct"]
    one, _ = predict(run, split.features[:1])
    assert one == labels[:1]
    with pytest.raises(ValueError, match=r"backend='aer' would change nothing without a device"):
        next(evaluate_run(run, backend="aer"))


def test_statistics_are_not_taken_from_data_that_changed_since(network: TrainResult) -> None:
    assert network.out is not None
    assert network.config.data is not None
    run = load_run(network.out)
    before = Path(network.config.data).read_bytes()
    arrays = dict(np.load(network.config.data))
    arrays["features"][3, 1] += 0.01
    try:
        np.savez(network.config.data, **arrays)
        with pytest.raises(ValueError, match="was trained on other data than 'own' holds now"):
            predict(run, network.dataset.test.features)
    finally:
        Path(network.config.data).write_bytes(before)


# --- files of features ---

TABLE = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])


@pytest.mark.parametrize("header", [[], ["left", "right"]])
def test_csv_with_and_without_column_names(tmp_path: Path, header: list[str]) -> None:
    file = tmp_path / "new.csv"
    with file.open("w", newline="") as text:
        csv.writer(text).writerows([header, *TABLE.tolist()])
    assert np.allclose(read_features(file, 2), TABLE)


@pytest.mark.parametrize(
    "arrays",
    [{"features": TABLE}, {"x": TABLE}, {"features": TABLE, "labels": np.zeros(3)}],
)
def test_npz(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "new.npz", **arrays)  # type: ignore[arg-type]
    assert np.allclose(read_features(tmp_path / "new.npz", 2), TABLE)


def test_images_are_flattened(tmp_path: Path) -> None:
    np.savez(tmp_path / "new.npz", features=np.zeros((5, 4, 4)))
    assert read_features(tmp_path / "new.npz", 16).shape == (5, 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"features of shape \(0,\), expected \(samples, 2\)"),
        ("a,b\n", r"features of shape \(0,\)"),
        ("1,2\n3,x\n", "line 2: 'x' is not a number"),
        ("1,2\n3\n", "line 2 has 1 numbers, but line 1 has 2"),
        ("1,2,3\n", "has 3 features per sample, but the model was trained on 2"),
        ("1,2\n3,nan\n", "has nan in sample 1, feature 1"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_features(tmp_path / "new.csv", 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": TABLE, "b": TABLE}, "it holds a, b, but no 'features'"),
        ({"features": np.array([["a", "b"]])}, "the features have dtype <U1"),
        ({"features": np.zeros(3)}, r"features of shape \(3,\)"),
        ({"features": np.array([[None, 1]])}, "no array of features can be read"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "new.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        read_features(tmp_path / "new.npz", 2)


def test_files_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_features(tmp_path / "new.csv", 2)
    (tmp_path / "new.xlsx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"give a file that ends in \.npz or \.csv"):
        read_features(tmp_path / "new.xlsx", 2)
    (tmp_path / "new.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no array of features can be read"):
        read_features(tmp_path / "new.npz", 2)
