"""What simple classical models reach on the same features: every accuracy table carries them.

Out-of-the-box classical models often beat quantum ones (Bowles, Ahmed, Schuld, arXiv 2403.07059),
so an accuracy says little without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .splits import Dataset
from .statistics import wilson_interval

HIDDEN_UNITS = 16


@dataclass(frozen=True)
class BaselineResult:
    """What one classical model reached.

    Args:
        name: the model.
        num_parameters: how many numbers were trained, not counting the standardisation.
        train_accuracy: share of right answers on train.
        test_accuracy: share of right answers on test.
        test_interval: Wilson's 95 % interval of `test_accuracy`, for the size of the test split.
    """

    name: str
    num_parameters: int
    train_accuracy: float
    test_accuracy: float
    test_interval: tuple[float, float]


def classical_baselines(dataset: Dataset, seed: int = 0) -> list[BaselineResult]:
    """Fit simple classical models to the features that the circuit gets.

    The models are: ``majority`` (always the commonest class of train), ``logistic regression``
    (L2 penalty, C = 1) and ``MLP-16`` (one hidden layer of 16 ReLU units, Adam until the training
    loss stands still, no early stopping). The latter two see features standardised by the mean and
    standard deviation of train. Nothing is tuned, so valid is not used.

    Args:
        dataset: any `Dataset`.
        seed: of the MLP's initial weights and batches.

    Returns:
        One result per model, in the order above.

    Example:
        >>> from nisqkit.qml.datasets import load_dataset
        >>> results = classical_baselines(load_dataset("digits2"))
        >>> [(result.name, result.num_parameters) for result in results]
        [('majority', 0), ('logistic regression', 17), ('MLP-16', 289)]
    """
    # Imported here since scikit-learn takes about a second.
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    commonest = int(np.bincount(dataset.train.labels).argmax())
    results = [_result("majority", 0, dataset, lambda features: np.full(len(features), commonest))]

    logistic = LogisticRegression(max_iter=10_000)
    # The loss stands still long before 2000 passes; the default of 200 is often too few.
    mlp = MLPClassifier((HIDDEN_UNITS,), learning_rate_init=0.01, max_iter=2000, random_state=seed)
    for name, model in (("logistic regression", logistic), (f"MLP-{HIDDEN_UNITS}", mlp)):
        pipeline = make_pipeline(StandardScaler(), model)
        # In float32 the line search of L-BFGS can stop short of its tolerance.
        pipeline.fit(dataset.train.features.astype(np.float64), dataset.train.labels)
        results.append(_result(name, _count_parameters(model), dataset, pipeline.predict))
    return results


def _count_parameters(model: Any) -> int:
    """Count the numbers in a fitted scikit-learn model: an MLP has lists of arrays, others one."""
    if hasattr(model, "coefs_"):
        return sum(array.size for array in (*model.coefs_, *model.intercepts_))
    return int(model.coef_.size + model.intercept_.size)


def _result(
    name: str,
    num_parameters: int,
    dataset: Dataset,
    predict: Callable[[NDArray[np.float64]], NDArray[np.int64]],
) -> BaselineResult:
    train_correct, test_correct = (
        int((predict(split.features.astype(np.float64)) == split.labels).sum())
        for split in (dataset.train, dataset.test)
    )
    return BaselineResult(
        name,
        num_parameters,
        train_correct / len(dataset.train),
        test_correct / len(dataset.test),
        wilson_interval(test_correct, len(dataset.test)),
    )
