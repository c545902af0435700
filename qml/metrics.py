"""How good a classifier is: accuracy with its interval, confusion matrix, per-class scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nisqkit.qml.statistics import wilson_interval


def confusion_matrix(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], num_classes: int
) -> NDArray[np.int64]:
    """Count the samples of class ``i`` that were taken for class ``j``, at ``[i, j]``.

    Args:
        labels: true class indices, shape ``(N,)``.
        predictions: predicted class indices, shape ``(N,)``.
        num_classes: number of classes.

    Example:
        >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
        array([[1, 1],
               [0, 1]])
    """
    flat = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class; a score without a single sample to judge by is 0.

    Attributes:
        name: the class.
        precision: share of the samples taken for this class that belong to it.
        recall: share of its samples that were found.
        f1: harmonic mean of precision and recall.
        support: number of its samples.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Evaluation:
    """What a classifier did on one split, under one condition.

    Attributes:
        condition: ``"noise-free"``, or the name of a device.
        correct: number of right answers.
        total: number of samples.
        loss: mean cross entropy in nats.
        confusion: row ``i`` counts the samples of class ``i`` by the class they were taken for.
        class_names: one name per class.
        shots: measurements per circuit; None: exact expectation values.

    Example:
        >>> result = Evaluation("noise-free", 3, 4, 0.5, ((2, 0), (1, 1)), ("a", "b"))
        >>> result.accuracy, result.class_scores()[0].recall
        (0.75, 1.0)
    """

    condition: str
    correct: int
    total: int
    loss: float
    confusion: tuple[tuple[int, ...], ...]
    class_names: tuple[str, ...]
    shots: int | None = None

    @classmethod
    def from_predictions(
        cls,
        condition: str,
        labels: NDArray[np.int64],
        predictions: NDArray[np.int64],
        loss: float,
        class_names: Sequence[str],
    ) -> Evaluation:
        """Compare predictions with the true labels."""
        counts = confusion_matrix(labels, predictions, len(class_names))
        confusion = tuple(tuple(int(n) for n in row) for row in counts)
        return cls(condition, int(counts.trace()), len(labels), loss, confusion, tuple(class_names))

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy, for the number of samples."""
        return wilson_interval(self.correct, self.total)

    def class_scores(self) -> list[ClassScores]:
        """Precision, recall and F1 of every class."""
        counts = np.array(self.confusion)
        found, predicted, support = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
        return [
            ClassScores(
                name,
                _share(found[k], predicted[k]),
                _share(found[k], support[k]),
                _share(2 * found[k], predicted[k] + support[k]),
                int(support[k]),
            )
            for k, name in enumerate(self.class_names)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "condition": self.condition,
            "shots": self.shots,
            "accuracy": self.accuracy,
            "accuracy_interval_95": list(self.interval),
            "correct": self.correct,
            "total": self.total,
            "loss": self.loss,
            "per_class": [vars(scores) for scores in self.class_scores()],
            "confusion": [list(row) for row in self.confusion],
        }


def with_shots(condition: str, shots: int | None) -> str:
    """Say a condition in a table.

    Example:
        >>> with_shots("fake_lima", 200), with_shots("noise-free", None)
        ('fake_lima, 200 shots', 'noise-free')
    """
    return condition if shots is None else f"{condition}, {shots} shots"


@dataclass(frozen=True)
class Row:
    """The test accuracy of one model under one condition.

    Attributes:
        model: what was evaluated.
        condition: ``"noise-free"``, a device with the shots if any, or ``"classical"``.
        parameters: how many numbers were trained.
        accuracies: one per seed.
        mean: their mean.
        low: lower end of the 95 % interval: Student's t over the seeds, or with one seed Wilson's
            for the number of test samples; cut at 0.
        high: upper end, cut at 1.
    """

    model: str
    condition: str
    parameters: int
    accuracies: tuple[float, ...]
    mean: float
    low: float
    high: float


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0
