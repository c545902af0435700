"""Own data is loaded as it is, or refused with what is wrong with it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nisqkit.qml.npz import load_npz

X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.arange(40) % 2


def save(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "own.npz"
    np.savez(path, **arrays)
    return path


def pre_split(**changes: Any) -> dict[str, Any]:
    arrays = {"x_train": X[:20], "y_train": Y[:20], "x_valid": X[20:26], "y_valid": Y[20:26]}
    return {**arrays, "x_test": X[26:], "y_test": Y[26:], **changes}


def test_unsplit_data_is_split_70_15_15_with_features_unchanged(tmp_path: Path) -> None:
    data = load_npz(save(tmp_path, features=X, labels=Y), seed=4)
    assert data.info["sizes"] == {"train": 28, "valid": 6, "test": 6}
    assert data.info["class_counts"] == {"train": [14, 14], "valid": [3, 3], "test": [3, 3]}
    assert data.info["split"] == "stratified, train/valid/test 70/15/15 %"
    assert (data.name, data.shape, data.class_names) == ("own", (3,), ("0", "1"))
    together = np.concatenate([part.features for part in (data.train, data.valid, data.test)])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(X.astype(np.float32), axis=0))
    json.dumps(dict(data.info))


def test_labels_stay_with_their_features(tmp_path: Path) -> None:
    features = np.stack([Y * 10.0, np.arange(40)], axis=1)
    data = load_npz(save(tmp_path, features=features, labels=Y))
    for part in (data.train, data.valid, data.test):
        np.testing.assert_array_equal(part.features[:, 0], part.labels * 10)


def test_split_is_a_function_of_the_seed(tmp_path: Path) -> None:
    path = save(tmp_path, features=X, labels=Y)
    first, again, other = (load_npz(path, seed=seed).test.features for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(np.sort(first, axis=0), np.sort(other, axis=0))


def test_given_splits_are_kept_in_order(tmp_path: Path) -> None:
    data = load_npz(save(tmp_path, **pre_split()))
    np.testing.assert_array_equal(data.valid.features, X[20:26].astype(np.float32))
    np.testing.assert_array_equal(data.test.labels, Y[26:])
    assert data.info["split"] == "all three splits given"


def test_validation_is_split_off_a_given_train(tmp_path: Path) -> None:
    arrays = {key: value for key, value in pre_split().items() if "valid" not in key}
    data = load_npz(save(tmp_path, **arrays), validation=0.2)
    assert data.info["sizes"] == {"train": 16, "valid": 4, "test": 14}
    np.testing.assert_array_equal(data.test.features, X[26:].astype(np.float32))


def test_text_labels_become_sorted_class_names(tmp_path: Path) -> None:
    data = load_npz(save(tmp_path, features=X, labels=np.array(["dog", "ant"])[Y]))
    assert data.class_names == ("ant", "dog")


def test_negative_and_sparse_integer_labels_are_numbered(tmp_path: Path) -> None:
    data = load_npz(save(tmp_path, features=X, labels=np.array([-1, 7])[Y]))
    assert data.class_names == ("-1", "7")
    assert set(data.train.labels.tolist()) == {0, 1}


def test_images_are_flattened_and_their_shape_kept(tmp_path: Path) -> None:
    data = load_npz(save(tmp_path, features=X.reshape(20, 2, 3), labels=Y[:20]))
    assert (data.shape, data.num_features) == ((2, 3), 6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": X}, "has the keys features; allowed are features and labels; or x_train"),
        ({"X": X, "y": Y}, "has the keys X, y; allowed are features and labels"),
        ({}, r"has the keys \(none\); allowed"),
        ({"features": X, "labels": Y, "ids": Y}, "has the keys features, ids, labels;"),
        ({"features": X, "labels": Y, "x_train": X}, "labels, x_train; .* and nothing else"),
        ({"features": Y, "labels": Y}, r"features has shape \(40,\), expected \(N, F\)"),
        ({"features": X[:0], "labels": Y[:0]}, r"shape \(0, 3\), which holds no numbers"),
        ({"features": X * 1j, "labels": Y}, "dtype complex128, expected real numbers"),
        ({"features": X.astype(str), "labels": Y}, "features has dtype <U.*expected real"),
        ({"features": X, "labels": Y * 1.0}, "labels has dtype float64, expected integers or text"),
        ({"features": X, "labels": Y[:-1]}, r"shape \(39,\), expected \(40,\) for the 40 samples"),
        ({"features": X, "labels": Y[:, None]}, r"shape \(40, 1\), expected \(40,\)"),
        ({"features": X, "labels": Y * 0}, "all training labels are 0; .* at least two classes"),
        ({"features": X, "labels": np.full(40, "a")}, "all training labels are 'a'"),
        (
            {"features": X, "labels": np.r_[Y[:38], 2, 2]},
            "class '2' has 2 samples, too few for a split into 3 parts",
        ),
        ({"features": X, "labels": Y.astype(object)}, "'labels' cannot be read .* no Python obj"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_npz(save(tmp_path, **arrays))


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (-np.inf, "-inf"), (1e300, "inf")])
def test_features_that_are_not_finite_are_named(tmp_path: Path, value: float, shown: str) -> None:
    features = X.copy()
    features[[7, 9], [2, 0]] = value
    message = f"has 2 values that are NaN or infinite .*first {shown} in row 7, column 2"
    with pytest.raises(ValueError, match=message):
        load_npz(save(tmp_path, features=features, labels=Y))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": Y[26:] + 1}, "y_test has classes that y_train lacks: 2; y_train has 0, 1"),
        ({"y_valid": Y[20:26].astype(str)}, "y_valid has dtype <U.*, but y_train has int64"),
        ({"x_valid": X[20:26, :2]}, r"samples of x_valid have shape \(2,\), those of x_train \(3,"),
        ({"y_train": Y[:19]}, r"y_train has shape \(19,\), expected \(20,\)"),
        ({"x_test": X[26:] * np.nan}, "x_test has 42 values that are NaN"),
    ],
)
def test_bad_given_splits_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_npz(save(tmp_path, **pre_split(**changes)))


def test_labels_of_a_missing_validation_split_are_refused(tmp_path: Path) -> None:
    arrays = pre_split()
    del arrays["y_valid"]
    with pytest.raises(ValueError, match="has the keys x_test, x_train, x_valid, y_test, y_train;"):
        load_npz(save(tmp_path, **arrays))


def test_share_of_validation_beside_given_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"validation=0\.2 was given, but .* own x_valid"):
        load_npz(save(tmp_path, **pre_split()), validation=0.2)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*own\.npz"):
        load_npz(tmp_path / "own.npz")


def test_other_and_truncated_files_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, features=X, labels=Y)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"is not an \.npz file \(or a truncated one\)"):
        load_npz(path)
    np.save(tmp_path / "own.npy", X)
    with pytest.raises(ValueError, match=r"own\.npy is not an \.npz file"):
        load_npz(tmp_path / "own.npy")


def test_damaged_array_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, features=X, labels=Y)
    data = bytearray(path.read_bytes())
    data[data.find(X.tobytes()) + 5] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"'features' cannot be read \(Bad CRC-32"):
        load_npz(path)


def test_other_zip_members_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, features=X)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels", "a,b,c")
    with pytest.raises(ValueError, match=r"'labels' is not an array; write it with numpy\.savez"):
        load_npz(path)
