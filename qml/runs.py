"""Use a finished run again: load its model, evaluate it on devices, predict classes of new data."""

from __future__ import annotations

import csv
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nisqkit.noise.device import Device
from nisqkit.qml.checkpoint import load_checkpoint
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.evaluation import calibrated, evaluate_everywhere, logits, noise_free
from nisqkit.qml.metrics import Evaluation
from nisqkit.qml.post_measurement_norm import frozen_norms
from nisqkit.qml.run_folder import runs_below
from nisqkit.qml.same_run import check_same_data, check_same_model
from nisqkit.qml.training import build_model, load_data, torch_settings


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model as a checkpoint holds it.

    Attributes:
        path: the checkpoint.
        config: what was run.
        model: with the weights that its config keeps.
        class_names: one name per class.
        num_features: features per sample.
        checkpoint: all that the checkpoint holds.
    """

    path: Path
    config: TrainConfig
    model: nn.Module
    class_names: tuple[str, ...]
    num_features: int
    checkpoint: dict[str, Any]


def load_run(path: str | os.PathLike[str]) -> Run:
    """Load a trained model.

    Args:
        path: a run's folder, or a checkpoint.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, of another format version, of another circuit than its config
            builds now, or has no finished epoch.
    """
    file = Path(path)
    if file.is_dir():
        inner = runs_below(file)
        file = file / "checkpoint.pt"
        if inner and not file.exists():
            raise FileNotFoundError(
                f"there is no checkpoint in {path} itself, but there are runs in its subfolders "
                f"{', '.join(inner)}: give one of them, such as {Path(path) / inner[0]}"
            )
    checkpoint = load_checkpoint(file)
    config = TrainConfig.from_dict(checkpoint["config"])
    class_names = tuple(checkpoint["class_names"])
    with torch_settings(config):
        model = build_model(config, checkpoint["num_features"], len(class_names))
    check_same_model(checkpoint, model, str(file))
    if not checkpoint["best_weights"]:
        raise ValueError(
            f"{file} has no finished epoch yet: train on with "
            f"nisqkit train --resume --out {file.parent}"
        )
    model.load_state_dict(checkpoint["best_weights" if config.keep == "best" else "model"])
    return Run(file, config, model, class_names, checkpoint["num_features"], checkpoint)


def evaluate_run(
    run: Run,
    devices: Sequence[str] = (),
    *,
    shots: int | None = None,
    limit: int | None = None,
    backend: str | None = None,
) -> Iterator[Evaluation]:
    """Evaluate a run on its test split: noise-free first, then on each device.

    Args:
        run: from `load_run`.
        devices: names of devices, see `nisqkit.noise.available_devices`.
        shots: measurements per circuit on devices; None: exact noisy expectation values.
        limit: use this many test samples only, evenly spaced over the split.
        backend: on devices, such as ``"aer"``; None: the native engine where the circuit fits.

    Raises:
        ValueError: an unknown device, data that changed since, or options that cannot work.
    """
    if shots is not None and not devices:
        raise ValueError(
            f"shots={shots} would change nothing without a device, since noise-free values are "
            "exact: name a device (--device NAME), or leave out shots"
        )
    if backend is not None and not devices:
        raise ValueError(
            f"backend={backend!r} would change nothing without a device: name one (--device NAME), "
            "or leave backend out"
        )
    loaded = [Device.load(name) for name in devices]
    dataset = load_data(run.config)
    check_same_data(run.checkpoint, dataset, str(run.path))
    with torch_settings(run.config):
        yield from evaluate_everywhere(
            run.model,
            dataset,
            loaded,
            shots=shots,
            limit=limit,
            backend=backend,
            layouts=run.config.layouts,
        )


def predict(run: Run, features: NDArray[np.float32]) -> tuple[list[str], NDArray[np.float64]]:
    """Predict classes, noise-free.

    Args:
        run: from `load_run`.
        features: shape ``(N, F)``, prepared as the training data were.

    Returns:
        The class name of every sample, and the probability of every class, shape ``(N, C)``: the
        softmax of the model's outputs, which is no calibrated probability of being right.
        Post-measurement normalisation takes its statistics from the run's validation split.

    Raises:
        ValueError: with such a normalisation, data of the run that changed since.
    """
    model = noise_free(run.model)
    if frozen_norms(model):  # those of the checkpoint are of the training noise
        dataset = load_data(run.config)
        check_same_data(run.checkpoint, dataset, str(run.path))
        model = calibrated(model, dataset.valid)
    scores = torch.softmax(logits(model, features).double(), dim=1).numpy()
    return [run.class_names[k] for k in scores.argmax(axis=1)], scores


def read_features(path: str | os.PathLike[str], num_features: int) -> NDArray[np.float32]:
    """Read samples to classify.

    Args:
        path: an ``.npz`` file with the array ``features`` (or one array of another name), or a
            ``.csv`` file with one sample per row and perhaps a line of column names.
        num_features: how many features a sample must have.

    Returns:
        Shape ``(N, num_features)``, float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another kind of file, something that is no number, or a wrong shape.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    readers = {".npz": _read_npz, ".csv": _read_csv}
    if file.suffix.lower() not in readers:
        raise ValueError(f"{file}: give a file that ends in .npz or .csv")
    features = readers[file.suffix.lower()](file)
    if features.ndim < 2 or len(features) == 0:
        raise ValueError(
            f"{file} has features of shape {features.shape}, expected (samples, {num_features})"
        )
    flat = features.reshape(len(features), -1).astype(np.float32)
    if flat.shape[1] != num_features:
        raise ValueError(
            f"{file} has {flat.shape[1]} features per sample, but the model was trained on "
            f"{num_features}"
        )
    if not np.isfinite(flat).all():
        row, column = np.argwhere(~np.isfinite(flat))[0]
        raise ValueError(
            f"{file} has {flat[row, column]} in sample {row}, feature {column}; fill or remove it"
        )
    return flat


def _read_npz(file: Path) -> NDArray[Any]:
    try:
        # Opened here, since numpy leaves a broken file open.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            names = archive.files
            if "features" in names or len(names) == 1:
                array: NDArray[Any] = archive["features" if "features" in names else names[0]]
            else:
                raise ValueError(f"it holds {', '.join(names) or 'nothing'}, but no 'features'")
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{file}: no array of features can be read: {error}") from error
    if array.dtype.kind not in "buif":
        raise ValueError(f"{file}: the features have dtype {array.dtype}, expected real numbers")
    return array


def _read_csv(file: Path) -> NDArray[Any]:
    with file.open(newline="", encoding="utf-8-sig") as text:
        lines = [(n, row) for n, row in enumerate(csv.reader(text), start=1) if any(row)]
    if lines and not any(_is_number(cell) for cell in lines[0][1]):
        lines = lines[1:]  # column names
    for number, row in lines:
        for cell in row:
            if not _is_number(cell):
                raise ValueError(f"{file}, line {number}: {cell!r} is not a number")
        if len(row) != len(lines[0][1]):
            raise ValueError(
                f"{file}, line {number} has {len(row)} numbers, but line {lines[0][0]} has "
                f"{len(lines[0][1])}"
            )
    return np.array([row for _, row in lines], dtype=np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
