"""Splits are disjoint, complete, stratified, and a function of the seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nisqkit.qml.splits import (
    Split,
    make_dataset,
    stratified_split,
    take,
    three_fractions,
    validation_share,
)

LABELS = np.random.default_rng(0).choice(3, size=400, p=[0.6, 0.3, 0.1])
NAMES = ("a", "b", "c")


def draw(fractions: tuple[float, ...], seed: int = 0) -> list[NDArray[Any]]:
    return stratified_split(LABELS, fractions, seed=seed, class_names=NAMES)


@pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.95, 0.05), (0.1, 0.1, 0.8)])
def test_parts_hold_every_sample_once_with_the_given_share_of_each_class(
    fractions: tuple[float, ...],
) -> None:
    parts = draw(fractions)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(LABELS)))
    for part, share in zip(parts, fractions, strict=True):
        for label in range(3):
            wanted = share * np.count_nonzero(label == LABELS)
            assert abs(np.count_nonzero(LABELS[part] == label) - wanted) <= len(fractions) / 2


def test_same_seed_same_split_and_other_seed_other_split() -> None:
    first, again, other = draw((0.7, 0.3)), draw((0.7, 0.3)), draw((0.7, 0.3), seed=1)
    np.testing.assert_array_equal(first[1], again[1])
    assert set(first[1]) != set(other[1])


def test_rows_are_shuffled_not_grouped_by_class() -> None:
    part = draw((0.7, 0.3))[0]
    assert (np.diff(LABELS[part]) < 0).any()


def test_test_part_does_not_depend_on_the_share_of_validation() -> None:
    small, large = draw(three_fractions(0.2, 0.1)), draw(three_fractions(0.2, 0.5))
    np.testing.assert_array_equal(small[2], large[2])


def test_smallest_class_reaches_every_part() -> None:
    labels = np.array([0] * 100 + [1] * 3)
    parts = stratified_split(labels, (0.9, 0.05, 0.05), seed=0, class_names=("a", "b"))
    assert [(labels[part] == 1).sum() for part in parts] == [1, 1, 1]


def test_class_with_too_few_samples_is_refused() -> None:
    labels = np.array([0] * 100 + [1] * 2)
    with pytest.raises(ValueError, match=r"class 'rare' has 2 samples.*0\.7, 0\.15, 0\.15: each"):
        stratified_split(labels, (0.7, 0.15, 0.15), seed=0, class_names=("a", "rare"))


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed=-1 is negative; a seed is 0 or"):
        draw((0.5, 0.5), seed=-1)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_share_of_validation_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=f"validation={share} must lie strictly between 0 and 1"):
        validation_share(share, 0.1)


def test_three_fractions_sum_to_one_and_keep_their_ratio() -> None:
    train, valid, test = three_fractions(test=0.3, validation=1 / 7)
    assert (train, valid, test) == pytest.approx((0.6, 0.1, 0.3))


def test_tensors_are_copies_with_torch_dtypes() -> None:
    split = Split(np.ones((2, 3), np.float32), np.array([0, 1]))
    features, labels = split.tensors()
    features[0, 0] = 7
    assert split.features[0, 0] == 1
    assert (features.dtype, labels.dtype) == (torch.float32, torch.int64)


def test_dataset_records_sizes_and_class_counts() -> None:
    features = np.zeros((400, 4), np.float32)
    splits = take(features, LABELS, draw((0.7, 0.15, 0.15)))
    data = make_dataset("toy", NAMES, (2, 2), splits, {"source": "here"})
    assert (data.num_classes, data.num_features, data.shape) == (3, 4, (2, 2))
    assert data.info["source"] == "here"
    sizes, counts = data.info["sizes"], data.info["class_counts"]
    assert isinstance(sizes, dict)
    assert isinstance(counts, dict)
    assert sizes == {part: sum(counts[part]) for part in ("train", "valid", "test")}
    assert np.sum(list(counts.values()), axis=0).tolist() == np.bincount(LABELS).tolist()
