"""Each named task has the classes, features, splits and record that its table promises."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from nisqkit.qml.datasets import Dataset, available_datasets, load_dataset
from nisqkit.qml.images import pool_images

DIGITS = load_digits()


def write_images(folder: Path, part: str, labels: NDArray[Any]) -> NDArray[Any]:
    """Write images whose top left crop corner tells their position in the file; return them."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(len(labels)).integers(0, 256, (len(labels), 28, 28), np.uint8)
    header = struct.pack(">4I", 0x803, *images.shape)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    header = struct.pack(">2I", 0x801, len(labels))
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.astype(np.uint8).tobytes())
    return images


def write_vowel(folder: Path) -> None:
    generator = np.random.default_rng(0)
    lines = [
        "0,0,0," + ",".join(f"{row % 11 + value:.4f}" for value in generator.normal(size=10))
        + f",{row % 11}"
        for row in range(990)
    ]  # fmt: skip
    (folder / "vowel-context.data").write_text("\n".join(lines))


def rows(data: Dataset) -> set[bytes]:
    parts = (data.train, data.valid, data.test)
    return {row.tobytes() for part in parts for row in part.features}


@pytest.mark.parametrize(
    ("name", "digits"),
    [("digits2", [3, 6]), ("digits4", [0, 1, 2, 3]), ("digits10", list(range(10)))],
)
def test_digits_are_block_means_as_angles(name: str, digits: list[int]) -> None:
    data = load_dataset(name)
    assert data.class_names == tuple(map(str, digits))
    assert data.shape == (4, 4)
    wanted = set()
    for image in DIGITS.images[np.isin(DIGITS.target, digits)]:
        blocks = [
            image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean() * np.pi / 16
            for row in range(4)
            for column in range(4)
        ]
        wanted.add(np.array(blocks, np.float32).tobytes())
    assert rows(data) == wanted


def test_digits_labels_follow_the_order_of_the_classes() -> None:
    data = load_dataset("digits2")
    image = DIGITS.images[DIGITS.target == 6]
    sixes = image.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16) * np.pi / 16
    found = data.train.features[data.train.labels == 1]
    assert {row.tobytes() for row in found} <= {row.tobytes() for row in sixes.astype(np.float32)}


def test_digits_angles_lie_in_0_pi_and_need_no_files() -> None:
    data = load_dataset("digits10")
    assert data.train.features.min() == 0
    assert 3 < data.train.features.max() <= np.float32(np.pi)
    assert data.info["files"] == {}


@pytest.mark.parametrize("name", ["digits2", "digits4", "digits10"])
def test_splits_are_stratified_and_a_function_of_the_seed(name: str) -> None:
    first, again, other = (load_dataset(name, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.train.features, again.train.features)
    np.testing.assert_array_equal(first.test.labels, again.test.labels)
    assert not np.array_equal(first.test.features, other.test.features)
    total = len(first.train) + len(first.valid) + len(first.test)
    for part, share in ((first.train, 0.7), (first.valid, 0.15), (first.test, 0.15)):
        assert len(part) == pytest.approx(share * total, abs=first.num_classes)
        counts = np.bincount(part.labels)
        assert counts.max() - counts.min() <= 8  # the whole set has 174 to 183 per class


def test_validation_changes_its_own_share_only() -> None:
    default, large = load_dataset("digits4"), load_dataset("digits4", validation=0.5)
    np.testing.assert_array_equal(default.test.features, large.test.features)
    assert len(large.valid) == pytest.approx(len(large.train), abs=4)


LABELS = np.tile(np.arange(10), 40)


@pytest.mark.parametrize(
    ("name", "labels", "names"),
    [
        ("mnist2", [3, 6], ("3", "6")),
        ("mnist4", [0, 1, 2, 3], ("0", "1", "2", "3")),
        ("fashion2", [3, 6], ("Dress", "Shirt")),
        ("fashion4", [0, 1, 2, 3], ("T-shirt/top", "Trouser", "Pullover", "Dress")),
    ],
)
@pytest.mark.parametrize("preprocessing", ["paper", "released"])
def test_image_tasks_with_official_training_set(
    tmp_path: Path, name: str, labels: list[int], names: tuple[str, ...], preprocessing: str
) -> None:
    images = write_images(tmp_path, "t10k", LABELS[:100])
    write_images(tmp_path, "train", LABELS)
    data = load_dataset(name, data_dir=tmp_path, preprocessing=preprocessing)  # type: ignore[arg-type]
    assert data.class_names == names
    chosen = np.isin(LABELS[:100], labels)
    wanted = pool_images(images[chosen], 4, preprocessing)  # type: ignore[arg-type]
    np.testing.assert_array_equal(data.test.features, wanted)
    np.testing.assert_array_equal(
        data.test.labels, [labels.index(label) for label in LABELS[:100][chosen]]
    )
    assert len(data.train) == 38 * len(labels)
    assert len(data.valid) == 2 * len(labels)
    assert str(data.info["preprocessing"]).startswith(preprocessing)
    assert len(data.info["files"]) == 4  # type: ignore[arg-type]
    json.dumps(dict(data.info))


@pytest.mark.parametrize("name", ["mnist10", "fashion10"])
def test_ten_class_tasks_with_test_files_only_split_80_5_15(tmp_path: Path, name: str) -> None:
    images = write_images(tmp_path / name[:-2], "t10k", LABELS)
    data = load_dataset(name, data_dir=str(tmp_path))
    assert (data.shape, data.num_features, data.num_classes) == ((6, 6), 36, 10)
    assert data.info["sizes"] == {"train": 320, "valid": 20, "test": 60}
    assert data.info["class_counts"] == {"train": [32] * 10, "valid": [2] * 10, "test": [6] * 10}
    assert "official test images only" in str(data.info["split"])
    assert rows(data) == {row.tobytes() for row in pool_images(images, 6, "paper")}


def test_vowel4_keeps_the_given_order_of_classes_and_splits_6_1_3(tmp_path: Path) -> None:
    write_vowel(tmp_path)
    data = load_dataset("vowel4", data_dir=tmp_path)
    assert data.class_names == ("vowel 0", "vowel 5", "vowel 1", "vowel 6")
    assert data.info["class_counts"] == {"train": [54] * 4, "valid": [9] * 4, "test": [27] * 4}
    assert data.shape == (10,)
    # The raw features of class k are centred on k, so the first principal axis orders the classes.
    centres = [data.train.features[data.train.labels == label, 0].mean() for label in range(4)]
    assert np.argsort(centres).tolist() in ([0, 2, 1, 3], [3, 1, 2, 0])
    np.testing.assert_allclose(data.train.features.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.features.max(axis=0), 1, atol=1e-6)


def test_every_available_dataset_loads(tmp_path: Path) -> None:
    write_images(tmp_path, "t10k", LABELS)
    write_vowel(tmp_path)
    for name in available_datasets():
        data = load_dataset(name, data_dir=tmp_path)
        assert data.name == name
        assert name.endswith(str(data.num_classes))
        assert data.num_features == np.prod(data.shape)


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown dataset 'minst4'; did you mean 'mnist4'\? avai"):
        load_dataset("minst4")
    with pytest.raises(
        ValueError, match=r"unknown dataset 'x'; available are digits2, .* load_npz"
    ):
        load_dataset("x")


def test_unknown_preprocessing_is_refused() -> None:
    with pytest.raises(ValueError, match="preprocessing='raw' is unknown; allowed: 'paper', 'rel"):
        load_dataset("digits4", preprocessing="raw")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["digits4", "vowel4"])
def test_released_preprocessing_is_for_images_only(name: str) -> None:
    with pytest.raises(ValueError, match=f"'released' exists for the MNIST .* not for '{name}'"):
        load_dataset(name, preprocessing="released")


@pytest.mark.parametrize("name", ["digits4", "mnist4"])
def test_bad_share_of_validation_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"validation=1\.0 must lie strictly between 0 and 1"):
        load_dataset(name, validation=1.0)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data_dir='.*nowhere' is not a folder"):
        load_dataset("mnist4", data_dir=tmp_path / "nowhere")


def test_class_absent_from_the_files_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, "t10k", LABELS[LABELS != 2])
    with pytest.raises(ValueError, match="class '2' has 0 samples, too few"):
        load_dataset("mnist4", data_dir=tmp_path)


def test_test_file_without_the_classes_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, "t10k", LABELS[LABELS > 6])
    write_images(tmp_path, "train", LABELS)
    with pytest.raises(ValueError, match=r"'mnist2' has an empty split: .*'test': 0.*classes 3, 6"):
        load_dataset("mnist2", data_dir=tmp_path)
