import numpy as np
import pytest
from sklearn import metrics as oracle

from nisqkit.qml.metrics import Evaluation, confusion_matrix

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 4, 200)
# Class 3 is never predicted: its precision has no sample to judge by.
PREDICTIONS = np.where(RANDOM.random(200) < 0.6, LABELS % 3, RANDOM.integers(0, 3, 200))


def test_confusion_matrix_agrees_with_scikit_learn() -> None:
    ours = confusion_matrix(LABELS, PREDICTIONS, 4)
    assert (ours == oracle.confusion_matrix(LABELS, PREDICTIONS)).all()


def test_confusion_matrix_keeps_classes_without_samples() -> None:
    assert confusion_matrix(np.array([0, 1]), np.array([1, 1]), 3).shape == (3, 3)


def test_scores_agree_with_scikit_learn() -> None:
    result = Evaluation.from_predictions("noise-free", LABELS, PREDICTIONS, 0.7, "abcd")
    assert result.accuracy == pytest.approx(oracle.accuracy_score(LABELS, PREDICTIONS))
    precision, recall, f1, support = oracle.precision_recall_fscore_support(
        LABELS, PREDICTIONS, zero_division=0
    )
    scores = result.class_scores()
    assert [s.precision for s in scores] == pytest.approx(list(precision))
    assert [s.recall for s in scores] == pytest.approx(list(recall))
    assert [s.f1 for s in scores] == pytest.approx(list(f1))
    assert [s.support for s in scores] == list(support)


def test_the_interval_contains_the_accuracy_and_shrinks_with_the_square_root() -> None:
    small = Evaluation("noise-free", 80, 100, 0.5, ((1,),), ("a",))
    large = Evaluation("noise-free", 8000, 10000, 0.5, ((1,),), ("a",))
    assert small.interval[0] < 0.8 < small.interval[1]
    widths = [high - low for low, high in (small.interval, large.interval)]
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.05)
