from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.image import imread

from nisqkit.qml.metrics import Evaluation, Row
from nisqkit.qml.plots import accuracy_chart, confusion_matrix, learning_curve, save_figure

HISTORY = [
    {
        "epoch": e,
        "train_loss": 1 / e,
        "valid_loss": 1.1 / e,
        "train_accuracy": 0.5 + e / 20,
        "valid_accuracy": 0.4 + e / 20,
    }
    for e in range(1, 6)
]
RESULT = Evaluation("noise-free", 5, 9, 0.5, ((4, 0), (4, 1)), ("cat", "dog"))


def test_the_learning_curve_shows_the_history() -> None:
    figure = learning_curve(HISTORY, "a title", best_epoch=5)
    loss, accuracy = figure.axes
    train, valid, best = loss.get_lines()
    assert list(np.asarray(train.get_ydata())) == [record["train_loss"] for record in HISTORY]
    assert list(np.asarray(accuracy.get_lines()[1].get_ydata())) == [
        r["valid_accuracy"] for r in HISTORY
    ]
    assert np.asarray(best.get_xdata())[0] == 5
    assert loss.get_ylabel() == "cross entropy (nats)"
    assert accuracy.get_ylabel() == "accuracy (%)"
    # Told apart without colour too.
    assert train.get_linestyle() != valid.get_linestyle()


def test_a_single_epoch_is_visible() -> None:
    (train, *_) = learning_curve(HISTORY[:1], "a title").axes[0].get_lines()
    assert train.get_marker() == "o"


def test_no_epochs() -> None:
    with pytest.raises(ValueError, match="the history is empty: train at least one epoch"):
        learning_curve([], "a title")


def test_the_confusion_matrix_shows_counts_and_shares() -> None:
    figure = confusion_matrix(RESULT, "a title")
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.texts] == ["4", "0", "4", "1"]
    assert np.asarray(ax.images[0].get_array()).tolist() == [[1.0, 0.0], [0.8, 0.2]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")


def test_numbers_stand_out_from_their_cells() -> None:
    ax = confusion_matrix(RESULT, "a title").axes[0]
    for text, share in zip(ax.texts, [1.0, 0.0, 0.8, 0.2], strict=True):
        brightness = sum(colormaps["Blues"](share)[:3]) / 3
        assert abs(brightness - (1 if text.get_color() == "white" else 0)) > 0.4


def test_a_class_without_samples_is_drawn() -> None:
    empty = Evaluation("noise-free", 1, 1, 0.5, ((1, 0), (0, 0)), ("a", "b"))
    assert np.asarray(
        confusion_matrix(empty, "a title").axes[0].images[0].get_array()
    ).tolist() == [
        [1.0, 0.0],
        [0.0, 0.0],
    ]


def test_a_picture_is_written(tmp_path: Path) -> None:
    save_figure(confusion_matrix(RESULT, "a title"), tmp_path / "a.png")
    height, width, _ = imread(tmp_path / "a.png").shape
    assert min(height, width) > 400


def test_the_accuracy_chart_has_a_line_per_row() -> None:
    rows = [
        Row("mine", "noise-free", 3, (0.8,), 0.8, 0.7, 0.9),
        Row("mine", "fake_manila", 3, (0.6,), 0.6, 0.5, 0.7),
        Row("majority", "classical", 0, (0.25,), 0.25, 0.25, 0.25),
    ]
    (ax,) = accuracy_chart(rows, "a title").axes
    assert [label.get_text() for label in ax.get_yticklabels()][::-1] == [
        "mine, noise-free",
        "mine, fake_manila",
        "majority, classical",
    ]
    intervals, means = ax.get_lines()[::2], ax.get_lines()[1::2]
    assert [list(np.asarray(line.get_xdata())) for line in intervals][::-1] == [
        [r.low, r.high] for r in rows
    ]
    assert [np.asarray(line.get_xdata())[0] for line in means][::-1] == [0.8, 0.6, 0.25]
    # Told apart by their marks too.
    assert len({str(line.get_marker()) for line in means}) == 3
    with pytest.raises(ValueError, match="there are no rows"):
        accuracy_chart([], "a title")
