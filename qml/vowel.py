"""The UCI vowel recordings: 11 vowels by 15 speakers, ten acoustic features each."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .splits import Features, Labels

FILE_NAME = "vowel-context.data"
CLASSES = (0, 5, 1, 6)  # QuantumNAT's four of the eleven, in its order (arXiv 2110.11331)

_COLUMNS = 14  # train/test flag, speaker, sex, ten features, class
_FIRST_FEATURE = 3
_NUM_CLASSES = 11
_PER_CLASS = 90


def read_vowel(data_dir: Path | None) -> tuple[NDArray[np.float64], Labels, dict[str, str]]:
    """Read ``vowel-context.data`` in `data_dir` or in ``data_dir/vowel``, which wins.

    Source: UCI Machine Learning Repository, "Connectionist Bench (Vowel Recognition - Deterding
    Data)". Comma-separated: train/test flag, speaker, sex, ten features, class 0..10. The flag,
    speaker and sex are not used, so a random split has every speaker, and neighbouring moments of
    one utterance, on both sides: accuracies are those for known speakers.

    Args:
        data_dir: folder of the file.

    Returns:
        Features of shape ``(990, 10)``, classes 0..10 of shape ``(990,)``, and the file's SHA-256
        by its name.

    Raises:
        FileNotFoundError: no such file; says what to put where.
        ValueError: a malformed line (with its number), or not 90 samples of each class.
    """
    path = _find(data_dir)
    data = path.read_bytes()
    try:
        lines = data.decode("ascii").rstrip().split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file ({error}); download it again") from error
    rows = [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
    features = np.array([row[0] for row in rows])
    labels = np.array([row[1] for row in rows], np.int64)
    counts = np.bincount(labels, minlength=_NUM_CLASSES).tolist()
    if counts != [_PER_CLASS] * _NUM_CLASSES:
        raise ValueError(
            f"{path} has {len(labels)} samples, expected {_PER_CLASS * _NUM_CLASSES}: "
            f"{_PER_CLASS} of each class 0..10, found {', '.join(map(str, counts))}; "
            "it may be truncated, download it again"
        )
    return features, labels, {path.name: hashlib.sha256(data).hexdigest()}


def rotate_and_scale(features: NDArray[np.float64], train: NDArray[np.intp]) -> Features:
    """Rotate all samples to the training samples' ten principal axes, scale these to [0, 1].

    Everything is fitted on the training samples alone, so the others may leave [0, 1] a little;
    they are not clipped. The code released with QuantumNAT fits its scalers on train and test
    together, which lets the test samples leak into training. It also puts a robust scaler
    (10 to 90 %) between the two steps; that one is left out here, since scaling to [0, 1] undoes
    any shift and positive factor that came before it.

    Args:
        features: all samples, shape ``(N, 10)``.
        train: indices of the training samples.

    Returns:
        float32 of shape ``(N, 10)``, used as rotation angles in radians.

    Example:
        >>> features = np.random.default_rng(0).normal(size=(50, 10))
        >>> scaled = rotate_and_scale(features, train=np.arange(40))
        >>> [float(end) for end in (scaled[:40].min(), scaled[:40].max())]
        [0.0, 1.0]
    """
    # Imported here since scikit-learn takes about a second.
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import MinMaxScaler

    axes = PCA(n_components=features.shape[1], svd_solver="full").fit(features[train])
    rotated = axes.transform(features)
    scaled = MinMaxScaler().fit(rotated[train]).transform(rotated)
    result: Features = scaled.astype(np.float32)
    return result


def _find(data_dir: Path | None) -> Path:
    folders = [] if data_dir is None else [data_dir / "vowel", data_dir]
    for folder in folders:
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    reason = f"looked in {folders[0]} and {folders[1]}" if folders else "no data_dir was given"
    if data_dir is not None and not data_dir.is_dir():
        reason = f"data_dir={str(data_dir)!r} is not a folder"
    raise FileNotFoundError(
        f"the vowel recordings are missing ({reason}). Put {FILE_NAME} of the UCI Machine Learning "
        'Repository ("Connectionist Bench (Vowel Recognition - Deterding Data)") into DIR/vowel '
        "and pass data_dir=DIR (--data-dir DIR)"
    )


def _parse(line: str, where: str) -> tuple[list[float], int]:
    cells = line.split(",")
    if len(cells) != _COLUMNS:
        raise ValueError(f"{where}: {len(cells)} comma-separated columns, expected {_COLUMNS}")
    try:
        features = [float(cell) for cell in cells[_FIRST_FEATURE:-1]]
        label = int(cells[-1])
    except ValueError as error:
        raise ValueError(
            f"{where}: not a number ({error}); columns 4 to 13 are numbers, column 14 is the class"
        ) from error
    if not all(math.isfinite(value) for value in features):
        raise ValueError(f"{where}: a feature is not finite: {line.strip()!r}")
    if not 0 <= label < _NUM_CLASSES:
        raise ValueError(f"{where}: class {label}, allowed are 0..{_NUM_CLASSES - 1}")
    return features, label
