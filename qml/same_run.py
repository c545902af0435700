"""Whether a checkpoint belongs to the model and the data at hand."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from torch import Tensor, nn

from nisqkit.qml.datasets import Dataset
from nisqkit.qml.models import describe, fingerprint, structure


def check_same_model(checkpoint: dict[str, Any], model: nn.Module, where: str) -> None:
    """Refuse a checkpoint of another model, and say which of its parts differ.

    Args:
        checkpoint: as `load_checkpoint` returned it.
        model: what its weights are meant for.
        where: the checkpoint's path, for the message.

    Raises:
        ValueError: the fingerprints differ.
    """
    if checkpoint["fingerprint"] != fingerprint(model):
        then, now = checkpoint.get("structure", {}), structure(model)
        names = [name for name in then | now if then.get(name) != now.get(name)]
        different = [f"{k} ({then.get(k, 'absent')}, now {now.get(k, 'absent')})" for k in names]
        more = f" and {len(different) - 5} more" if len(different) > 5 else ""
        raise ValueError(
            f"{where} holds {checkpoint['described']}, but the config describes {describe(model)}: "
            f"different are {', '.join(different[:5])}{more}, so its weights cannot be used. Was "
            "the model's code changed since?"
        )


def check_same_data(checkpoint: dict[str, Any], dataset: Dataset, where: str) -> None:
    """Refuse a checkpoint that was trained on other data.

    Args:
        checkpoint: as `load_checkpoint` returned it.
        dataset: the data as they are now.
        where: the checkpoint's path, for the message.

    Raises:
        ValueError: a sample, a label, or the split differs.
    """
    if checkpoint["data"] != data_fingerprint(dataset):
        raise ValueError(
            f"{where} was trained on other data than {dataset.name!r} holds now "
            f"({len(dataset.train)} training samples of {dataset.num_features} features): "
            "put the old data back, or train again"
        )


def data_fingerprint(dataset: Dataset) -> str:
    """Identify a dataset: the names of its classes, and every number in its three splits."""
    digest = hashlib.sha256("\n".join(dataset.class_names).encode())
    for split in (dataset.train, dataset.valid, dataset.test):
        digest.update(str(split.features.shape).encode())
        digest.update(np.ascontiguousarray(split.features).tobytes())
        digest.update(np.ascontiguousarray(split.labels).tobytes())
    return digest.hexdigest()[:16]


def check_same_teacher(checkpoint: dict[str, Any], teacher: Tensor | None, where: str) -> None:
    """Refuse to go on with the outputs of another teacher.

    Args:
        checkpoint: as `load_checkpoint` returned it.
        teacher: logits for the training split, as they are now.
        where: the checkpoint's path, for the message.

    Raises:
        ValueError: a number differs.
    """
    then = checkpoint.get("teacher")  # not in older checkpoints, which had none
    if teacher is not None and then != teacher_fingerprint(teacher):
        raise ValueError(
            f"{where} was trained with other outputs of the teacher than it gives now: put the old "
            "teacher back, or train again"
        )


def teacher_fingerprint(teacher: Tensor) -> str:
    """Identify the logits of a teacher."""
    return hashlib.sha256(teacher.numpy().tobytes()).hexdigest()[:16]
