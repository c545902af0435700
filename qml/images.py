"""The MNIST and Fashion-MNIST images: where they come from, and how they become a few angles."""

from __future__ import annotations

import hashlib
import importlib.util
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d, interpolate

from .idx import read_idx
from .splits import Features, Labels

Preprocessing = Literal["paper", "released"]
Images = NDArray[np.uint8]

_SIDE = 28
_CROP = 24
_MEAN, _STD = 0.1307, 0.3081
_NETWORK_TIMEOUT = 20.0  # seconds without an answer, for one connection
_OPENML_TRAIN = 60_000
_OFFICIAL_TEST = 10_000
_KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")
_FILES = tuple(f"{part}-{kind}" for part in ("train", "t10k") for kind in _KINDS)


@dataclass(frozen=True)
class ImageSource:
    """A published image set with ten classes.

    Args:
        title: its name in messages and provenance.
        folder: the subfolder of ``data_dir`` that is looked in first.
        openml: its name on OpenML (version 1).
        class_names: names of the labels 0..9.
        test_counts: images per class in the official test set, by which it is recognised.
    """

    title: str
    folder: str
    openml: str
    class_names: tuple[str, ...]
    test_counts: tuple[int, ...]


SOURCES = {
    "mnist": ImageSource(
        title="MNIST",
        folder="mnist",
        openml="mnist_784",
        class_names=tuple("0123456789"),
        test_counts=(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
    "fashion": ImageSource(
        title="Fashion-MNIST",
        folder="fashion",
        openml="Fashion-MNIST",
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        test_counts=(1000,) * 10,
    ),
}


@dataclass(frozen=True, eq=False)
class RawImages:
    """Images as published.

    Args:
        train: images uint8 ``(N, 28, 28)`` and labels 0..9 of the official training set, or None
            where only the test files are at hand.
        test: the same for the official test set.
        source: one sentence of provenance.
        files: SHA-256 of each file that was read.
    """

    train: tuple[Images, Labels] | None
    test: tuple[Images, Labels]
    source: str
    files: Mapping[str, str]


def load_images(source: ImageSource, data_dir: Path | None) -> RawImages:
    """Read the official IDX files below `data_dir`, or fetch the set from OpenML without one.

    Args:
        source: which set.
        data_dir: folder with the official files (``.gz`` or unpacked), itself or in its subfolder
            ``source.folder``, which wins. The two test files alone will do.

    Raises:
        FileNotFoundError: files are missing, or nothing could be fetched; says what to put where.
        ValueError: a file is damaged, labels do not match images, or it is the other set.
    """
    raw = _fetch(source) if data_dir is None else _read_folder(source, data_dir)
    if len(raw.test[1]) == _OFFICIAL_TEST:
        _check_identity(source, raw)
    return raw


def pool_images(images: Images, side: int, preprocessing: Preprocessing) -> Features:
    """Shrink images to ``side x side`` averages, which serve as rotation angles in radians.

    Both variants normalise pixels in [0, 1] by (x - 0.1307) / 0.3081 and keep the central 24 x 24
    pixels; the result is used as it is, so angles lie in about [-0.42, 2.82].

    ``"paper"`` averages blocks of the crop: 6 x 6 for 4 x 4 features, 4 x 4 for 6 x 6 (QuantumNAS,
    arXiv 2107.10845, and QuantumNAT, arXiv 2110.11331). ``"released"`` repeats what the code
    released with them does: it enlarges the crop to 28 x 28 (bilinear) and averages blocks of the
    same size, so the last four rows and columns are lost for 4 x 4; for 6 x 6 it gets 7 x 7
    averages and uses the first 36 of the 49 (row by row).

    Args:
        images: uint8 of shape ``(N, 28, 28)``.
        side: 4 or 6.
        preprocessing: ``"paper"`` or ``"released"``.

    Returns:
        float32 of shape ``(N, side * side)``.

    Example:
        >>> pool_images(np.full((1, 28, 28), 255, np.uint8), 4, "paper").round(3)[0, :2]
        array([2.821, 2.821], dtype=float32)
    """
    assert side in (4, 6) and images.shape[1:] == (_SIDE, _SIDE)
    margin = (_SIDE - _CROP) // 2
    crop = torch.from_numpy(images[:, margin:-margin, margin:-margin].astype(np.float32))
    pixels = ((crop / 255 - _MEAN) / _STD).unsqueeze(1)
    if preprocessing == "released":
        pixels = interpolate(pixels, size=(_SIDE, _SIDE), mode="bilinear", align_corners=False)
    pooled = avg_pool2d(pixels, kernel_size=_CROP // side)
    features: Features = pooled.flatten(start_dim=1)[:, : side * side].contiguous().numpy()
    return features


def _read_folder(source: ImageSource, data_dir: Path) -> RawImages:
    if not data_dir.is_dir():
        raise FileNotFoundError(_what_to_put(source, f"data_dir={str(data_dir)!r} is not a folder"))
    folders = [data_dir / source.folder, data_dir]
    found = [{name: _find(folder, name) for name in _FILES} for folder in folders]
    chosen = next((index for index, files in enumerate(found) if any(files.values())), None)
    if chosen is None:
        raise FileNotFoundError(_what_to_put(source, f"looked in {folders[0]} and {folders[1]}"))
    folder, files = folders[chosen], found[chosen]
    _check_complete(source, folder, files)
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files.values()
        if path is not None
    }
    train = _read_pair(files, "train")
    test = _read_pair(files, "t10k")
    assert test is not None
    return RawImages(train, test, f"{source.title}, official IDX files", hashes)


def _find(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _check_complete(source: ImageSource, folder: Path, files: Mapping[str, Path | None]) -> None:
    """The test pair must be there; the training pair must be there or wholly absent."""
    train = [f"train-{kind}" for kind in _KINDS]
    needed = [f"t10k-{kind}" for kind in _KINDS]
    if any(files[name] for name in train):
        needed += train
    missing = [f"{name}.gz" for name in needed if files[name] is None]
    if missing:
        found = [path.name for path in files.values() if path is not None]
        raise FileNotFoundError(
            _what_to_put(source, f"{folder} has {', '.join(found)} but not {', '.join(missing)}")
        )


def _what_to_put(source: ImageSource, reason: str) -> str:
    return (
        f"the {source.title} images are missing ({reason}). Put t10k-images-idx3-ubyte.gz and "
        "t10k-labels-idx1-ubyte.gz, and for the official training set train-images-idx3-ubyte.gz "
        f"and train-labels-idx1-ubyte.gz, into DIR/{source.folder} and pass data_dir=DIR "
        "(--data-dir DIR)"
    )


def _read_pair(files: Mapping[str, Path | None], part: str) -> tuple[Images, Labels] | None:
    images_path, labels_path = (files[f"{part}-{kind}"] for kind in _KINDS)
    if images_path is None or labels_path is None:
        return None
    images = read_idx(images_path, dimensions=3)
    labels = read_idx(labels_path, dimensions=1).astype(np.int64)
    if images.shape[1:] != (_SIDE, _SIDE):
        raise ValueError(
            f"{images_path} has images of {images.shape[1]} x {images.shape[2]} pixels, "
            f"expected {_SIDE} x {_SIDE}"
        )
    if len(images) != len(labels):
        raise ValueError(
            f"{labels_path} has {len(labels)} labels, but {images_path} has {len(images)} images; "
            "take both files from one source"
        )
    if len(labels) == 0:
        raise ValueError(f"{images_path} has no images; download it again")
    if labels.max() > 9:
        raise ValueError(
            f"{labels_path} has the label {labels.max()} at position {int(labels.argmax())}, "
            "allowed are 0..9"
        )
    return images, labels


def _check_identity(source: ImageSource, raw: RawImages) -> None:
    """MNIST and Fashion-MNIST share their file names; tell a full test set by its class counts."""
    counts = tuple(np.bincount(raw.test[1], minlength=10).tolist())
    for other in SOURCES.values():
        if other is not source and counts == other.test_counts:
            raise ValueError(
                f"{source.title} was asked for, but the files are {other.title} (their test labels "
                f"number {', '.join(map(str, counts))}); put each set into its own folder, "
                f"DIR/{source.folder} and DIR/{other.folder}"
            )


def _fetch(source: ImageSource) -> RawImages:
    """Fetch from OpenML with scikit-learn, which checks the download and keeps it in its cache."""
    # Imported here since scikit-learn takes about a second, and most uses need no download.
    from sklearn.datasets import fetch_openml

    parser = "pandas" if importlib.util.find_spec("pandas") else "liac-arff"
    try:
        with _socket_timeout(_NETWORK_TIMEOUT), warnings.catch_warnings():
            # The final failure is an error below; the message about the retry adds nothing.
            warnings.filterwarnings("ignore", message="A network error occurred")
            pixels, labels = fetch_openml(
                name=source.openml,
                version=1,
                return_X_y=True,
                as_frame=False,
                parser=parser,
                n_retries=1,
                delay=1.0,
            )
    except (OSError, HTTPException) as error:
        reason = f"no data_dir was given, and fetching them from OpenML failed: {error}"
        raise FileNotFoundError(_what_to_put(source, reason)) from error
    return from_openml(source, pixels, labels)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Bound each wait for the network; urllib waits for ever by default, and takes no argument."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def from_openml(
    source: ImageSource, data: NDArray[np.generic], target: NDArray[np.generic]
) -> RawImages:
    """Turn OpenML's table (training rows first, then the 10,000 test rows) into images.

    Args:
        source: which set.
        data: pixels 0..255 of shape ``(70000, 784)``.
        target: labels as text or numbers, shape ``(70000,)``.

    Raises:
        ValueError: another shape, or the last rows are not the official test set, as their
            classes number otherwise.
    """
    expected = (_OPENML_TRAIN + _OFFICIAL_TEST, _SIDE * _SIDE)
    if data.shape != expected:
        raise ValueError(
            f"OpenML returned {source.openml} with shape {data.shape}, expected {expected}; "
            "use the official files with data_dir instead"
        )
    images = data.astype(np.uint8).reshape(-1, _SIDE, _SIDE)
    labels = target.astype(np.int64)
    counts = tuple(np.bincount(labels[_OPENML_TRAIN:], minlength=10).tolist())
    if counts != source.test_counts:
        raise ValueError(
            f"the last {_OFFICIAL_TEST} rows of OpenML's {source.openml} are not the official test "
            f"set: their classes number {', '.join(map(str, counts))}, expected "
            f"{', '.join(map(str, source.test_counts))}; use the official files with data_dir"
        )
    return RawImages(
        (images[:_OPENML_TRAIN], labels[:_OPENML_TRAIN]),
        (images[_OPENML_TRAIN:], labels[_OPENML_TRAIN:]),
        f"{source.title}, OpenML {source.openml} version 1",
        {},
    )
