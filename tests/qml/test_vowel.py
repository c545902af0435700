"""The vowel file is parsed line by line, and scaled without looking at the test samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler

from nisqkit.qml.vowel import FILE_NAME, read_vowel, rotate_and_scale


def vowel_lines() -> list[str]:
    generator = np.random.default_rng(3)
    return [
        f"{row % 2}, {row // 66}, 1, "
        + ", ".join(f"{value:.3f}" for value in generator.normal(size=10))
        + f", {row % 11}"
        for row in range(990)
    ]


def write(folder: Path, lines: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / FILE_NAME).write_text("\n".join(lines) + "\n")
    return folder


def test_features_and_classes_are_read_in_order(tmp_path: Path) -> None:
    lines = vowel_lines()
    features, labels, files = read_vowel(write(tmp_path, lines))
    assert features.shape == (990, 10)
    np.testing.assert_array_equal(labels, np.arange(990) % 11)
    cells = lines[700].split(",")
    np.testing.assert_array_equal(features[700], [float(cell) for cell in cells[3:13]])
    assert list(files) == [FILE_NAME]


def test_own_subfolder_wins(tmp_path: Path) -> None:
    lines = vowel_lines()
    write(tmp_path, lines)
    write(tmp_path / "vowel", [*lines[11:], *lines[:11]])
    first = float(lines[11].split(",")[3])
    assert read_vowel(tmp_path)[0][0, 0] == first


def test_missing_file_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"looked in .*Put vowel-context\.data of the UCI"):
        read_vowel(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no data_dir was given\)\. Put vowel-context"):
        read_vowel(None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line + ", 4", "line 12: 15 comma-separated columns, expected 14"),
        (lambda line: line[:20], r"line 12: \d comma-separated columns, expected 14"),
        (lambda line: "", "line 12: 1 comma-separated columns, expected 14"),
        (lambda line: line.replace(".", "?", 1), r"line 12: not a number \(could not convert"),
        (lambda line: line[:-1] + "x", r"line 12: not a number \(invalid literal"),
        (lambda line: line[:-1] + "11", r"line 12: class 11, allowed are 0\.\.10"),
        (
            lambda line: ",".join([*line.split(",")[:-2], "nan", "0"]),
            "line 12: a feature is not finite",
        ),
    ],
)
def test_malformed_line_is_named(
    tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    lines = vowel_lines()
    lines[11] = change(lines[11])
    with pytest.raises(ValueError, match=message):
        read_vowel(write(tmp_path, lines))


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 989 samples, expected 990: 90 of each class"):
        read_vowel(write(tmp_path, vowel_lines()[:-1]))


def test_relabelled_sample_is_refused(tmp_path: Path) -> None:
    lines = vowel_lines()
    lines[0] = lines[0][:-1] + "1"
    with pytest.raises(ValueError, match="found 89, 91, 90"):
        read_vowel(write(tmp_path, lines))


def test_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not a text file"):
        read_vowel(tmp_path)


RAW = np.random.default_rng(1).normal(size=(60, 10)) @ np.random.default_rng(2).normal(
    size=(10, 10)
)
TRAIN = np.arange(40)


def test_scaling_equals_pca_robust_scaler_and_min_max_fitted_on_train() -> None:
    pipeline = make_pipeline(
        PCA(10, svd_solver="full"), RobustScaler(quantile_range=(10, 90)), MinMaxScaler()
    ).fit(RAW[TRAIN])
    scaled = rotate_and_scale(RAW, TRAIN)
    np.testing.assert_allclose(scaled, pipeline.transform(RAW), atol=1e-6)
    np.testing.assert_allclose(scaled[TRAIN].min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled[TRAIN].max(axis=0), 1, atol=1e-6)


def test_test_samples_cannot_change_the_training_features() -> None:
    changed = RAW.copy()
    changed[40:] *= 100
    np.testing.assert_array_equal(
        rotate_and_scale(RAW, TRAIN)[TRAIN], rotate_and_scale(changed, TRAIN)[TRAIN]
    )
