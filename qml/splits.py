"""A dataset is three splits of one table of features, with a record of where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

SPLIT_NAMES = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their classes.

    Args:
        features: float32 array of shape ``(N, F)``, one row per sample.
        labels: int64 array of shape ``(N,)``, class indices ``0 .. num_classes - 1``.

    Example:
        >>> split = Split(np.zeros((2, 3), np.float32), np.array([0, 1]))
        >>> len(split)
        2
    """

    features: Features
    labels: Labels

    def __post_init__(self) -> None:
        assert self.features.ndim == 2 and self.features.dtype == np.float32
        assert self.labels.shape == (len(self.features),) and self.labels.dtype == np.int64

    def __len__(self) -> int:
        return len(self.labels)

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Copy to torch: features float32 ``(N, F)`` and labels int64 ``(N,)``.

        Example:
            >>> split = Split(np.zeros((2, 3), np.float32), np.array([0, 1]))
            >>> [tuple(tensor.shape) for tensor in split.tensors()]
            [(2, 3), (2,)]
        """
        return torch.tensor(self.features), torch.tensor(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification task, split into train, valid and test.

    Args:
        name: the task's name, for tables and file names.
        class_names: one name per class index.
        shape: shape of one sample before it was flattened to ``F`` features, such as ``(4, 4)``.
        train: what models are fitted to.
        valid: what choices (of a circuit, a noise factor, an epoch) are made with.
        test: what is reported, once.
        info: provenance as plain JSON: source, files with their SHA-256, preprocessing, seed,
            rule of the split, sizes and samples per class.
    """

    name: str
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    train: Split
    valid: Split
    test: Split
    info: Mapping[str, object]

    @property
    def num_classes(self) -> int:
        """The number of classes, counted in the task and not in a split."""
        return len(self.class_names)

    @property
    def num_features(self) -> int:
        """The number of features ``F`` of one sample."""
        return int(self.train.features.shape[1])


def make_dataset(
    name: str,
    class_names: Sequence[str],
    shape: Sequence[int],
    splits: Sequence[Split],
    info: Mapping[str, object],
) -> Dataset:
    """Join (train, valid, test) into a `Dataset`, and add their sizes and class counts to `info`.

    Args:
        name: the task's name.
        class_names: one name per class index.
        shape: shape of one sample before flattening.
        splits: train, valid and test.
        info: plain JSON; ``sizes`` and ``class_counts`` are added to a copy.

    Raises:
        ValueError: a split without samples.

    Example:
        >>> split = Split(np.zeros((2, 3), np.float32), np.array([0, 1]))
        >>> data = make_dataset("toy", ("a", "b"), (3,), [split] * 3, {"source": "made up"})
        >>> data.info["sizes"]
        {'train': 2, 'valid': 2, 'test': 2}
    """
    train, valid, test = splits
    sizes = {part: len(split) for part, split in zip(SPLIT_NAMES, splits, strict=True)}
    if not all(sizes.values()):
        raise ValueError(
            f"dataset {name!r} has an empty split: {sizes}; its files hold no samples of the "
            f"classes {', '.join(class_names)} there"
        )
    class_counts = {
        part: np.bincount(split.labels, minlength=len(class_names)).tolist()
        for part, split in zip(SPLIT_NAMES, splits, strict=True)
    }
    return Dataset(
        name,
        tuple(class_names),
        tuple(shape),
        train,
        valid,
        test,
        {**info, "sizes": sizes, "class_counts": class_counts},
    )


def stratified_split(
    labels: Labels, fractions: Sequence[float], *, seed: int, class_names: Sequence[str]
) -> list[NDArray[np.intp]]:
    """Draw disjoint index sets that together hold every sample, each with all the classes.

    Each class is divided on its own: part ``k > 0`` gets ``fractions[k]`` of it, rounded to the
    nearest whole number but at least one sample, and part 0 gets the rest. The last part is drawn
    first, so a test split in the last place does not move when the share of validation changes.

    Args:
        labels: int64 class indices of shape ``(N,)``.
        fractions: one positive share per part, sum 1.
        seed: non-negative; the same seed, labels and fractions give the same indices.
        class_names: one name per class index, for the error message.

    Returns:
        One shuffled array of indices per part.

    Raises:
        ValueError: a negative seed, or a class with too few samples to reach every part.

    Example:
        >>> labels = np.repeat([0, 1], 10)
        >>> parts = stratified_split(labels, (0.5, 0.2, 0.3), seed=0, class_names=("a", "b"))
        >>> [np.bincount(labels[part]).tolist() for part in parts]
        [[5, 5], [2, 2], [3, 3]]
    """
    assert min(fractions) > 0 and np.isclose(sum(fractions), 1)
    if seed < 0:
        raise ValueError(f"seed={seed} is negative; a seed is 0 or a positive integer")
    generator = np.random.Generator(np.random.Philox(seed))
    parts: list[list[NDArray[np.intp]]] = [[] for _ in fractions]
    for label, class_name in enumerate(class_names):
        members = generator.permutation(np.flatnonzero(labels == label))
        # Adding 1/2 and cutting rounds halves up; Python's round would send them to even numbers.
        counts = [max(1, int(len(members) * share + 0.5)) for share in fractions[1:]]
        first = len(members) - sum(counts)
        if first < 1:
            raise ValueError(
                f"class {class_name!r} has {len(members)} samples, too few for a split into "
                f"{len(fractions)} parts of {', '.join(f'{share:.3g}' for share in fractions)}: "
                "each part needs at least one; add samples or leave the class out"
            )
        start = 0
        for part, count in reversed(list(zip(parts, [first, *counts], strict=True))):
            part.append(members[start : start + count])
            start += count
    shuffled = [generator.permutation(np.concatenate(part)) for part in reversed(parts)]
    return shuffled[::-1]


def validation_share(validation: float | None, default: float) -> float:
    """Check the user's share of validation among what is not test; None means `default`.

    Raises:
        ValueError: not strictly between 0 and 1.

    Example:
        >>> validation_share(None, 0.05)
        0.05
    """
    if validation is None:
        return default
    if not 0 < validation < 1:
        raise ValueError(
            f"validation={validation} must lie strictly between 0 and 1: it is the share of the "
            "samples outside the test split that validate (None: the dataset's own share)"
        )
    return float(validation)


def three_fractions(test: float, validation: float) -> tuple[float, float, float]:
    """Give the shares of train, valid and test, from those of test and of validation in the rest.

    Example:
        >>> [round(share, 2) for share in three_fractions(test=0.2, validation=0.25)]
        [0.6, 0.2, 0.2]
    """
    return (1 - test) * (1 - validation), (1 - test) * validation, test


def in_percent(fractions: Sequence[float]) -> str:
    """Write shares for people.

    Example:
        >>> in_percent((0.7, 0.15, 0.15))
        '70/15/15 %'
    """
    return "/".join(f"{100 * share:.3g}" for share in fractions) + " %"


def take(features: Features, labels: Labels, parts: Sequence[NDArray[np.intp]]) -> list[Split]:
    """Cut one table into splits.

    Args:
        features: shape ``(N, F)``.
        labels: shape ``(N,)``.
        parts: index arrays, as from `stratified_split`.

    Example:
        >>> splits = take(np.zeros((3, 1), np.float32), np.arange(3), [np.array([2, 0])])
        >>> splits[0].labels
        array([2, 0])
    """
    return [Split(features[part], labels[part]) for part in parts]
