"""Your own data: an ``.npz`` file with features and labels."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .splits import (
    SPLIT_NAMES,
    Dataset,
    Features,
    Labels,
    Split,
    in_percent,
    make_dataset,
    stratified_split,
    take,
    three_fractions,
    validation_share,
)

_TEST = 0.15
_VALIDATION = 0.15 / 0.85  # of what is not test: 15 % of all

_UNSPLIT = ("features", "labels")
_SPLIT_WITHOUT_VALID = ("x_train", "y_train", "x_test", "y_test")
_SPLIT = (*_SPLIT_WITHOUT_VALID, "x_valid", "y_valid")
_KEYS = (
    "allowed are features and labels; or x_train, y_train, x_test, y_test, and optionally x_valid, "
    "y_valid"
)


def load_npz(
    path: str | os.PathLike[str], *, seed: int = 0, validation: float | None = None
) -> Dataset:
    """Load your own classification data from an ``.npz`` file.

    The file holds either ``features`` and ``labels``, which are split 70/15/15 into train, valid
    and test, stratified; or ``x_train, y_train, x_test, y_test``, from which 15/85 of train is
    split off for validation; or these and ``x_valid, y_valid``, which are taken as they are.

    Features are real numbers of shape ``(N, ...)``, flattened to ``(N, F)`` float32 and otherwise
    unchanged: a circuit uses them as angles in radians, so scale them before. Labels are
    integers or text of shape ``(N,)``; the sorted distinct labels of train become the classes.

    Args:
        path: the file.
        seed: of the split.
        validation: share of the samples outside the test split that validate; None: 15/85.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an ``.npz``; keys missing or unknown; wrong shapes or types; NaN or
            infinite features; a single class; a class too small to split, or absent from train.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / "own.npz"
        ...     features = np.linspace(0, np.pi, 40).reshape(20, 2)
        ...     np.savez(file, features=features, labels=np.repeat(["cat", "dog"], 10))
        ...     data = load_npz(file)
        >>> data.class_names, data.info["sizes"]
        (('cat', 'dog'), {'train': 12, 'valid': 4, 'test': 4})
    """
    path = Path(path)
    arrays, digest = _read(path)
    keys = set(arrays)
    if keys == set(_UNSPLIT):
        table = _check_pair(path, arrays, *_UNSPLIT)
        classes = _classes(path, table[1])
        labels = _to_indices(path, "labels", table[1], classes)
        fractions = three_fractions(_TEST, validation_share(validation, _VALIDATION))
        parts = stratified_split(labels, fractions, seed=seed, class_names=_names(classes))
        splits = take(table[0], labels, parts)
        rule = f"stratified, train/valid/test {in_percent(fractions)}"
        shape = arrays["features"].shape[1:]
    elif keys in (set(_SPLIT_WITHOUT_VALID), set(_SPLIT)):
        classes, given = _given_splits(path, arrays)
        splits, rule = _with_valid(path, given, _names(classes), seed, validation)
        shape = arrays["x_train"].shape[1:]
    else:
        raise ValueError(
            f"{path} has the keys {', '.join(sorted(keys)) or '(none)'}; {_KEYS}, and nothing else"
        )
    info = {
        "source": f"own data, {path.name}",
        "files": {path.name: digest},
        "preprocessing": "none: features are used as they are, as angles in radians",
        "split": rule,
        "seed": seed,
    }
    return make_dataset(path.stem, _names(classes), shape, splits, info)


def _read(path: Path) -> tuple[dict[str, NDArray[np.generic]], str]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; give the path of an .npz file")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not an .npz file (or a truncated one); write one with "
            "numpy.savez(path, features=..., labels=...)"
        )
    arrays: dict[str, NDArray[np.generic]] = {}
    with np.load(path, allow_pickle=False) as archive:
        for key in archive.files:
            try:
                array = archive[key]
            except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise ValueError(
                    f"{path}: the array {key!r} cannot be read ({error}); store plain arrays of "
                    "numbers or text, no Python objects"
                ) from error
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{path}: {key!r} is not an array; write it with numpy.savez")
            arrays[key] = array
    return arrays, hashlib.sha256(path.read_bytes()).hexdigest()


def _check_pair(
    path: Path, arrays: Mapping[str, NDArray[np.generic]], x_key: str, y_key: str
) -> tuple[Features, NDArray[np.generic]]:
    raw, labels = arrays[x_key], arrays[y_key]
    if raw.ndim < 2:
        raise ValueError(
            f"{path}: {x_key} has shape {raw.shape}, expected (N, F) or (N, ...); one feature per "
            "sample is (N, 1)"
        )
    if raw.dtype.kind not in "buif":
        raise ValueError(f"{path}: {x_key} has dtype {raw.dtype}, expected real numbers")
    if labels.dtype.kind not in "biuU":
        raise ValueError(
            f"{path}: {y_key} has dtype {labels.dtype}, expected integers or text; convert with "
            ".astype(int) or .astype(str)"
        )
    if labels.shape != (len(raw),):
        raise ValueError(
            f"{path}: {y_key} has shape {labels.shape}, expected ({len(raw)},) for the "
            f"{len(raw)} samples of {x_key}"
        )
    if raw.size == 0:
        raise ValueError(f"{path}: {x_key} has shape {raw.shape}, which holds no numbers")
    with np.errstate(over="ignore"):  # what overflows float32 becomes infinite, and is refused
        features: Features = raw.reshape(len(raw), -1).astype(np.float32)
    bad = np.argwhere(~np.isfinite(features))
    if len(bad):
        row, column = (int(index) for index in bad[0])
        raise ValueError(
            f"{path}: {x_key} has {len(bad)} values that are NaN or infinite (in float32), the "
            f"first {features[row, column]} in row {row}, column {column}; remove or fill them"
        )
    return features, labels


def _classes(path: Path, labels: NDArray[np.generic]) -> NDArray[np.generic]:
    classes: NDArray[np.generic] = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(
            f"{path}: all training labels are {classes[0].item()!r}; "
            "a classification task needs at least two classes"
        )
    return classes


def _to_indices(
    path: Path, y_key: str, labels: NDArray[np.generic], classes: NDArray[np.generic]
) -> Labels:
    kinds = {labels.dtype.kind == "U", classes.dtype.kind == "U"}
    if len(kinds) == 2:
        raise ValueError(
            f"{path}: {y_key} has dtype {labels.dtype}, but y_train has {classes.dtype}; "
            "use integers or text in all splits"
        )
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        raise ValueError(
            f"{path}: {y_key} has classes that y_train lacks: "
            f"{', '.join(map(str, unknown.tolist()))}; y_train has "
            f"{', '.join(map(str, classes.tolist()))}"
        )
    return np.searchsorted(classes, labels).astype(np.int64)


def _names(classes: NDArray[np.generic]) -> Sequence[str]:
    return [str(value) for value in classes.tolist()]


def _given_splits(
    path: Path, arrays: Mapping[str, NDArray[np.generic]]
) -> tuple[NDArray[np.generic], dict[str, Split]]:
    tables = {
        part: _check_pair(path, arrays, f"x_{part}", f"y_{part}")
        for part in SPLIT_NAMES
        if f"x_{part}" in arrays
    }
    shape = arrays["x_train"].shape[1:]
    for part in tables:
        if arrays[f"x_{part}"].shape[1:] != shape:
            raise ValueError(
                f"{path}: samples of x_{part} have shape {arrays[f'x_{part}'].shape[1:]}, those of "
                f"x_train {shape}; they must agree"
            )
    classes = _classes(path, tables["train"][1])
    given = {
        part: Split(features, _to_indices(path, f"y_{part}", labels, classes))
        for part, (features, labels) in tables.items()
    }
    return classes, given


def _with_valid(
    path: Path,
    given: Mapping[str, Split],
    class_names: Sequence[str],
    seed: int,
    validation: float | None,
) -> tuple[list[Split], str]:
    """Take the given validation split, or split one off train."""
    if "valid" in given:
        if validation is not None:
            raise ValueError(
                f"validation={validation} was given, but {path} has its own x_valid and y_valid; "
                "drop one of the two"
            )
        return [given[part] for part in SPLIT_NAMES], "all three splits given"
    share = validation_share(validation, _VALIDATION)
    fractions = (1 - share, share)
    train = given["train"]
    parts = stratified_split(train.labels, fractions, seed=seed, class_names=class_names)
    rule = f"given test split; the rest stratified, train/valid {in_percent(fractions)}"
    return [*take(train.features, train.labels, parts), given["test"]], rule
