"""Ready classification tasks by name: ``load_dataset("digits4")``; your own data: ``load_npz``."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .images import SOURCES, Images, Preprocessing, load_images, pool_images
from .npz import load_npz as load_npz
from .splits import Dataset as Dataset
from .splits import (
    Features,
    Labels,
    in_percent,
    make_dataset,
    stratified_split,
    take,
    three_fractions,
    validation_share,
)
from .splits import Split as Split
from .vowel import CLASSES as VOWEL_CLASSES
from .vowel import read_vowel, rotate_and_scale


@dataclass(frozen=True)
class _Task:
    """Which labels of which source, and how many averages (`side` x `side`) per image."""

    family: Literal["digits", "mnist", "fashion", "vowel"]
    classes: tuple[int, ...]
    side: int = 4


_TASKS: Mapping[str, _Task] = {
    "digits2": _Task("digits", (3, 6)),
    "digits4": _Task("digits", (0, 1, 2, 3)),
    "digits10": _Task("digits", tuple(range(10))),
    "mnist2": _Task("mnist", (3, 6)),
    "mnist4": _Task("mnist", (0, 1, 2, 3)),
    "mnist10": _Task("mnist", tuple(range(10)), side=6),
    "fashion2": _Task("fashion", (3, 6)),
    "fashion4": _Task("fashion", (0, 1, 2, 3)),
    "fashion10": _Task("fashion", tuple(range(10)), side=6),
    "vowel4": _Task("vowel", VOWEL_CLASSES),
}


def available_datasets() -> tuple[str, ...]:
    """Name the tasks that `load_dataset` knows.

    Example:
        >>> "digits4" in available_datasets()
        True
    """
    return tuple(_TASKS)


def load_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
    validation: float | None = None,
    preprocessing: Preprocessing = "paper",
) -> Dataset:
    """Load one of the ready classification tasks.

    ========== ======================== ======== ============================ ====================
    name       classes                  features files in `data_dir`          train / valid / test
    ========== ======================== ======== ============================ ====================
    digits2    digits 3, 6              4 x 4    none (scikit-learn's digits) 70 / 15 / 15 %
    digits4    digits 0, 1, 2, 3        4 x 4    none                         70 / 15 / 15 %
    digits10   digits 0..9              4 x 4    none                         70 / 15 / 15 %
    mnist2     digits 3, 6              4 x 4    MNIST, IDX                   95 / 5 %, official
    mnist4     digits 0, 1, 2, 3        4 x 4    MNIST, IDX                   95 / 5 %, official
    mnist10    digits 0..9              6 x 6    MNIST, IDX                   95 / 5 %, official
    fashion2   dress, shirt             4 x 4    Fashion-MNIST, IDX           95 / 5 %, official
    fashion4   labels 0, 1, 2, 3        4 x 4    Fashion-MNIST, IDX           95 / 5 %, official
    fashion10  labels 0..9              6 x 6    Fashion-MNIST, IDX           95 / 5 %, official
    vowel4     vowels 0, 5, 1, 6        10       vowel-context.data           60 / 10 / 30 %
    ========== ======================== ======== ============================ ====================

    The MNIST, Fashion-MNIST and vowel tasks are those of QuantumNAS (arXiv 2107.10845) and
    QuantumNAT (arXiv 2110.11331). All features are angles in radians: digits are 8 x 8 images
    averaged in blocks of 2 x 2 and mapped from 0..16 to [0, pi]; MNIST and Fashion-MNIST are
    normalised, cropped and averaged to about [-0.42, 2.82] without another scale
    (`nisqkit.qml.images.pool_images`); vowels are rotated to principal axes and scaled to [0, 1],
    both fitted on train alone (`nisqkit.qml.vowel.rotate_and_scale`).

    Splits drawn here are stratified, and their rows shuffled; an official test set keeps the order
    of its file. Where `data_dir` has the 10,000 official test images only, these are split
    80 / 5 / 15 %. Without `data_dir` the MNIST and Fashion-MNIST tasks are fetched from OpenML
    through scikit-learn, which needs a network the first time.

    Args:
        name: one of `available_datasets()`.
        data_dir: folder with the files; they may also stand in its subfolder ``mnist``,
            ``fashion`` or ``vowel``, which is looked in first. The digits tasks need none.
        seed: of the split.
        validation: share of the samples outside the test split that validate; None: as in the
            table. The test split does not depend on it.
        preprocessing: ``"paper"``, or ``"released"`` for the steps of the released code in the
            MNIST and Fashion-MNIST tasks.

    Returns:
        A `Dataset`; `info` records the source, files, preprocessing, split and sizes.

    Raises:
        FileNotFoundError: files are missing; says which, and where to put them.
        ValueError: an unknown name, option or share, or a damaged file.

    Example:
        >>> data = load_dataset("digits4", seed=0)
        >>> data.train.features.shape, data.class_names, data.shape
        ((504, 16), ('0', '1', '2', '3'), (4, 4))
        >>> data.info["sizes"]
        {'train': 504, 'valid': 108, 'test': 108}
    """
    task = _find_task(name)
    _check_preprocessing(name, task, preprocessing)
    folder = None if data_dir is None else Path(data_dir)
    if task.family == "digits":
        if folder is not None and not folder.is_dir():
            raise FileNotFoundError(
                f"data_dir={str(data_dir)!r} is not a folder; {name} needs no files: leave it out"
            )
        return _load_digits(name, task, seed, validation)
    if task.family == "vowel":
        return _load_vowel(name, task, folder, seed, validation)
    return _load_pooled(name, task, folder, seed, validation, preprocessing)


def _find_task(name: str) -> _Task:
    if name in _TASKS:
        return _TASKS[name]
    nearest = difflib.get_close_matches(str(name), _TASKS, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ValueError(
        f"unknown dataset {name!r}; {hint}available are {', '.join(_TASKS)}; "
        "your own data: load_npz(path), or --data FILE.npz"
    )


def _check_preprocessing(name: str, task: _Task, preprocessing: str) -> None:
    if preprocessing not in ("paper", "released"):
        raise ValueError(
            f"preprocessing={preprocessing!r} is unknown; allowed: 'paper', 'released'"
        )
    if preprocessing == "released" and task.family not in SOURCES:
        raise ValueError(
            f"preprocessing='released' exists for the MNIST and Fashion-MNIST tasks, not for "
            f"{name!r}; leave it at 'paper'"
        )


def _select(labels: Labels, classes: Sequence[int]) -> tuple[NDArray[np.intp], Labels]:
    """Find the rows of the given classes, and number these 0, 1, ... in the given order."""
    rows = np.flatnonzero(np.isin(labels, classes))
    indices = np.full(max(classes) + 1, -1, np.int64)
    indices[list(classes)] = np.arange(len(classes))
    return rows, indices[labels[rows]]


def _load_digits(name: str, task: _Task, seed: int, validation: float | None) -> Dataset:
    # Imported here since scikit-learn takes about a second.
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)  # (1797, 64), row by row
    rows, labels = _select(np.asarray(digits, np.int64), task.classes)
    pooled = pixels[rows].reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))
    features: Features = (pooled.reshape(-1, 16) * (np.pi / 16)).astype(np.float32)
    class_names = [str(digit) for digit in task.classes]
    fractions = three_fractions(0.15, validation_share(validation, 0.15 / 0.85))
    parts = stratified_split(labels, fractions, seed=seed, class_names=class_names)
    info = {
        "source": "scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits)",
        "files": {},
        "preprocessing": "8 x 8 averaged to 4 x 4, then 0..16 mapped to [0, pi] radians",
        "split": f"stratified, train/valid/test {in_percent(fractions)}",
        "seed": seed,
    }
    return make_dataset(name, class_names, (4, 4), take(features, labels, parts), info)


def _load_vowel(
    name: str, task: _Task, folder: Path | None, seed: int, validation: float | None
) -> Dataset:
    raw, raw_labels, files = read_vowel(folder)
    rows, labels = _select(raw_labels, task.classes)
    class_names = [f"vowel {label}" for label in task.classes]
    fractions = three_fractions(0.3, validation_share(validation, 1 / 7))
    parts = stratified_split(labels, fractions, seed=seed, class_names=class_names)
    features = rotate_and_scale(raw[rows], train=parts[0])
    info = {
        "source": "UCI Connectionist Bench (Vowel Recognition - Deterding Data)",
        "files": files,
        "preprocessing": "principal axes, then [0, 1] (radians), both fitted on train alone",
        "split": f"stratified, train/valid/test {in_percent(fractions)}",
        "seed": seed,
    }
    return make_dataset(name, class_names, (10,), take(features, labels, parts), info)


def _load_pooled(
    name: str,
    task: _Task,
    folder: Path | None,
    seed: int,
    validation: float | None,
    preprocessing: Preprocessing,
) -> Dataset:
    source = SOURCES[task.family]
    official_train_share = validation_share(validation, 0.05)
    test_only_share = validation_share(validation, 0.05 / 0.85)
    raw = load_images(source, folder)
    class_names = [source.class_names[label] for label in task.classes]

    def pooled(images: Images, all_labels: Labels) -> tuple[Features, Labels]:
        rows, labels = _select(all_labels, task.classes)
        return pool_images(images[rows], task.side, preprocessing), labels

    if raw.train is None:
        features, labels = pooled(*raw.test)
        fractions: tuple[float, ...] = three_fractions(0.15, test_only_share)
        parts = stratified_split(labels, fractions, seed=seed, class_names=class_names)
        splits = take(features, labels, parts)
        rule = f"official test images only, stratified, train/valid/test {in_percent(fractions)}"
    else:
        features, labels = pooled(*raw.train)
        fractions = (1 - official_train_share, official_train_share)
        parts = stratified_split(labels, fractions, seed=seed, class_names=class_names)
        splits = [*take(features, labels, parts), Split(*pooled(*raw.test))]
        rule = f"official test set; official training set stratified, {in_percent(fractions)}"
    resized = "enlarged to 28 x 28, " if preprocessing == "released" else ""
    info = {
        "source": raw.source,
        "files": dict(raw.files),
        "preprocessing": f"{preprocessing}: (x - 0.1307) / 0.3081, central 24 x 24, "
        f"{resized}averaged to {task.side} x {task.side}; values are radians",
        "split": rule,
        "seed": seed,
    }
    return make_dataset(name, class_names, (task.side, task.side), splits, info)
