"""The baselines learn what they can learn, and nothing from test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from nisqkit.qml.baselines import BaselineResult, classical_baselines
from nisqkit.qml.datasets import Dataset, load_dataset
from nisqkit.qml.splits import make_dataset, stratified_split, take


def toy(label: Callable[[NDArray[Any]], NDArray[Any]], num_classes: int = 2) -> Dataset:
    """400 points in the square [-1, 1]^2, scaled badly, with the given rule for their class."""
    points = np.random.default_rng(0).uniform(-1, 1, size=(400, 2))
    labels = label(points).astype(np.int64)
    features = (points * [1000, 0.01] + [5000, 0]).astype(np.float32)
    names = [str(value) for value in range(num_classes)]
    parts = stratified_split(labels, (0.5, 0.1, 0.4), seed=0, class_names=names)
    return make_dataset("toy", names, (2,), take(features, labels, parts), {})


def by_name(dataset: Dataset, seed: int = 0) -> dict[str, BaselineResult]:
    return {result.name: result for result in classical_baselines(dataset, seed)}


def test_a_line_is_learned_by_both_models() -> None:
    results = by_name(toy(lambda points: points[:, 0] > points[:, 1]))
    assert results["logistic regression"].test_accuracy > 0.95
    assert results["MLP-16"].test_accuracy > 0.95


def test_xor_is_learned_by_the_mlp_alone() -> None:
    results = by_name(toy(lambda points: points[:, 0] * points[:, 1] > 0))
    assert results["logistic regression"].test_accuracy < 0.7
    assert results["MLP-16"].test_accuracy > 0.93


def test_majority_is_the_share_of_the_commonest_training_class() -> None:
    data = toy(lambda points: points[:, 0] > 0.4)
    result = by_name(data)["majority"]
    assert result.num_parameters == 0
    assert result.train_accuracy == pytest.approx((data.train.labels == 0).mean())
    assert result.test_accuracy == pytest.approx((data.test.labels == 0).mean())


@pytest.mark.parametrize(("name", "classes"), [("digits2", 2), ("digits4", 4), ("digits10", 10)])
def test_digits_are_learned_with_the_counted_parameters(name: str, classes: int) -> None:
    results = by_name(load_dataset(name))
    outputs = 1 if classes == 2 else classes  # two classes share one output
    assert results["logistic regression"].num_parameters == 17 * outputs
    assert results["MLP-16"].num_parameters == 17 * 16 + 17 * outputs
    assert results["majority"].test_accuracy < 1.2 / classes
    for model in ("logistic regression", "MLP-16"):
        assert results[model].train_accuracy > 0.9
        assert results[model].test_accuracy > 0.85


def test_interval_is_wilsons_for_the_size_of_test() -> None:
    data = load_dataset("digits4")
    for result in classical_baselines(data):
        correct = round(result.test_accuracy * len(data.test))
        oracle = stats.binomtest(correct, len(data.test)).proportion_ci(method="wilson")
        assert result.test_interval == pytest.approx((oracle.low, oracle.high))


def test_same_seed_same_results_and_another_seed_another_mlp() -> None:
    data = toy(lambda points: points[:, 0] * points[:, 1] > 0)
    first, again = classical_baselines(data, seed=1), classical_baselines(data, seed=1)
    assert first == again
    accuracies = {classical_baselines(data, seed=seed)[2].test_accuracy for seed in range(4)}
    assert len(accuracies) > 1


def test_test_labels_are_not_used_in_training() -> None:
    data = toy(lambda points: points[:, 0] > points[:, 1])
    flipped = make_dataset(
        "flipped",
        data.class_names,
        data.shape,
        [data.train, data.valid, type(data.test)(data.test.features, 1 - data.test.labels)],
        {},
    )
    for honest, wrong in zip(classical_baselines(data), classical_baselines(flipped), strict=True):
        assert wrong.train_accuracy == honest.train_accuracy
        assert wrong.test_accuracy == pytest.approx(1 - honest.test_accuracy)
