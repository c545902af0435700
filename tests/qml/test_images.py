"""Image files are found, checked and pooled as published."""

from __future__ import annotations

import gzip
import hashlib
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nisqkit.qml.images import SOURCES, from_openml, load_images, pool_images

MNIST, FASHION = SOURCES["mnist"], SOURCES["fashion"]


def write_pair(
    folder: Path, part: str, labels: NDArray[Any], side: int = 28, seed: int = 0
) -> None:
    """Write random images and the given labels, the images as gzip."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(labels)
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side), np.uint8)
    data = struct.pack(">4I", 0x803, count, side, side) + images.tobytes()
    (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(data, compresslevel=1))
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(
        struct.pack(">2I", 0x801, count) + labels.astype(np.uint8).tobytes()
    )


LABELS = np.tile(np.arange(10), 3)


def test_test_files_alone_are_read_with_their_hashes(tmp_path: Path) -> None:
    write_pair(tmp_path, "t10k", LABELS)
    raw = load_images(MNIST, tmp_path)
    assert raw.train is None
    assert raw.test[0].shape == (30, 28, 28)
    np.testing.assert_array_equal(raw.test[1], LABELS)
    labels_file = tmp_path / "t10k-labels-idx1-ubyte"
    assert raw.files[labels_file.name] == hashlib.sha256(labels_file.read_bytes()).hexdigest()
    assert len(raw.files) == 2


def test_training_files_are_read_too(tmp_path: Path) -> None:
    write_pair(tmp_path / "mnist", "t10k", LABELS)
    write_pair(tmp_path / "mnist", "train", LABELS[:20], seed=1)
    raw = load_images(MNIST, tmp_path)
    assert raw.train is not None
    assert (len(raw.train[1]), len(raw.test[1]), len(raw.files)) == (20, 30, 4)


def test_own_subfolder_wins(tmp_path: Path) -> None:
    write_pair(tmp_path, "t10k", LABELS)
    write_pair(tmp_path / "fashion", "t10k", LABELS[:10])
    assert len(load_images(FASHION, tmp_path).test[1]) == 10
    assert len(load_images(MNIST, tmp_path).test[1]) == 30


def test_missing_files_say_what_to_put_where(tmp_path: Path) -> None:
    message = r"Fashion-MNIST images are missing \(looked in .*fashion and .*\)\. Put t10k-images.*"
    with pytest.raises(FileNotFoundError, match=message + r"into DIR/fashion and pass data_dir"):
        load_images(FASHION, tmp_path)


@pytest.mark.parametrize(
    ("part", "absent"),
    [("t10k", "t10k-labels-idx1-ubyte"), ("train", "train-labels-idx1-ubyte")],
)
def test_half_a_pair_is_refused(tmp_path: Path, part: str, absent: str) -> None:
    write_pair(tmp_path, "t10k", LABELS)
    write_pair(tmp_path, part, LABELS)
    (tmp_path / absent).unlink()
    with pytest.raises(FileNotFoundError, match=rf"but not {absent}\.gz\)"):
        load_images(MNIST, tmp_path)


def test_training_files_without_test_files_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", LABELS)
    with pytest.raises(FileNotFoundError, match=r"but not t10k-images.*, t10k-labels"):
        load_images(MNIST, tmp_path)


def test_labels_of_other_images_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "other", "t10k", LABELS[:20])
    write_pair(tmp_path, "t10k", LABELS)
    (tmp_path / "other" / "t10k-labels-idx1-ubyte").replace(tmp_path / "t10k-labels-idx1-ubyte")
    with pytest.raises(ValueError, match=r"has 20 labels, but .* has 30 images"):
        load_images(MNIST, tmp_path)


def test_wrong_image_size_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "t10k", LABELS, side=32)
    with pytest.raises(ValueError, match="images of 32 x 32 pixels, expected 28 x 28"):
        load_images(MNIST, tmp_path)


def test_label_above_9_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "t10k", np.array([3, 1, 12]))
    with pytest.raises(ValueError, match=r"the label 12 at position 2, allowed are 0\.\.9"):
        load_images(MNIST, tmp_path)


def test_empty_files_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "t10k", np.array([], int))
    with pytest.raises(ValueError, match="has no images; download it again"):
        load_images(MNIST, tmp_path)


def test_the_other_set_under_the_same_file_names_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "balanced", "t10k", np.repeat(np.arange(10), 1000))
    write_pair(tmp_path / "mnist_counts", "t10k", np.repeat(np.arange(10), MNIST.test_counts))
    load_images(FASHION, tmp_path / "balanced")
    load_images(MNIST, tmp_path / "mnist_counts")
    with pytest.raises(ValueError, match="MNIST was asked for, but the files are Fashion-MNIST"):
        load_images(MNIST, tmp_path / "balanced")
    with pytest.raises(ValueError, match="Fashion-MNIST was asked for, but the files are MNIST"):
        load_images(FASHION, tmp_path / "mnist_counts")


def test_failing_download_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that refuses every connection stands in for a machine without a network."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    start = time.monotonic()
    with pytest.raises(
        FileNotFoundError, match=r"fetching them from OpenML failed: .*Put t10k-images"
    ):
        load_images(MNIST, None)
    assert time.monotonic() - start < 30


def openml_table(test_counts: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    labels = np.concatenate([np.zeros(60_000, int), np.repeat(np.arange(10), test_counts)])
    pixels = np.broadcast_to((labels % 256)[:, None], (70_000, 784))
    return pixels, labels.astype(str).astype(object)


def test_openml_table_is_cut_into_the_official_sets() -> None:
    raw = from_openml(MNIST, *openml_table(MNIST.test_counts))
    assert raw.train is not None
    assert (len(raw.train[1]), len(raw.test[1])) == (60_000, 10_000)
    images, labels = raw.test
    np.testing.assert_array_equal(images[:, 27, 27], labels)


def test_openml_table_of_another_shape_or_order_is_refused() -> None:
    with pytest.raises(ValueError, match=r"with shape \(3, 784\), expected \(70000, 784\)"):
        from_openml(MNIST, np.zeros((3, 784)), np.zeros(3))
    with pytest.raises(ValueError, match="last 10000 rows of OpenML's mnist_784 are not the offic"):
        from_openml(MNIST, *openml_table(FASHION.test_counts))


IMAGES = np.random.default_rng(5).integers(0, 256, (3, 28, 28), np.uint8)


@pytest.mark.parametrize("side", [4, 6])
def test_paper_features_are_block_means_of_the_normalised_crop(side: int) -> None:
    features = pool_images(IMAGES, side, "paper")
    assert features.shape == (3, side * side)
    assert features.dtype == np.float32
    block = 24 // side
    for row in range(side):
        for column in range(side):
            top, left = 2 + row * block, 2 + column * block
            mean = IMAGES[:, top : top + block, left : left + block].mean(axis=(1, 2))
            wanted = (mean / 255 - 0.1307) / 0.3081
            np.testing.assert_allclose(features[:, row * side + column], wanted, atol=2e-6)


def bilinear_matrix(small: int, large: int) -> NDArray[Any]:
    """Weights of linear interpolation between pixel centres, edges repeated."""
    weights = np.zeros((large, small))
    for row in range(large):
        position = np.clip((row + 0.5) * small / large - 0.5, 0, small - 1)
        low = int(position)
        high = min(low + 1, small - 1)
        weights[row, low] += 1 - (position - low)
        weights[row, high] += position - low
    return weights


@pytest.mark.parametrize(("side", "block", "pooled_side"), [(4, 6, 4), (6, 4, 7)])
def test_released_features_are_block_means_of_the_enlarged_crop(
    side: int, block: int, pooled_side: int
) -> None:
    features = pool_images(IMAGES, side, "released")
    enlarge = bilinear_matrix(24, 28)
    crop = (IMAGES[:, 2:26, 2:26] / 255 - 0.1307) / 0.3081
    enlarged = enlarge @ crop @ enlarge.T
    used = enlarged[:, : block * pooled_side, : block * pooled_side]
    pooled = used.reshape(3, pooled_side, block, pooled_side, block).mean(axis=(2, 4))
    np.testing.assert_allclose(features, pooled.reshape(3, -1)[:, : side * side], atol=2e-5)


def test_features_do_not_depend_on_the_batch_or_change_the_images() -> None:
    before = IMAGES.copy()
    together = pool_images(IMAGES, 4, "paper")
    alone = np.concatenate([pool_images(IMAGES[k : k + 1], 4, "paper") for k in range(3)])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(IMAGES, before)
    assert torch.from_numpy(together).is_contiguous()
