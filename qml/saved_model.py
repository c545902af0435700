"""Write a model that was changed after its training as a run, as if it had been trained so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from nisqkit.noise.device import Device
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.datasets import Dataset
from nisqkit.qml.evaluation import evaluate
from nisqkit.qml.fit import State, checkpoint_of, make_optimizer
from nisqkit.qml.run_folder import RunFolder
from nisqkit.qml.training import described_run, evaluated_report, torch_settings


def save_model(
    model: nn.Module, config: TrainConfig, dataset: Dataset, out: str | Path
) -> dict[str, Any]:
    """Write a run's folder with this model, evaluated on the test split.

    Args:
        model: What ``config`` builds, with other weights.
        config: Describes it; its epochs count as done.
        dataset: What it was trained on.
        out: A new folder, or one that this function has written.

    Returns:
        What is in ``report.json``.
    """
    folder = RunFolder(out)
    devices = [Device.load(name) for name in config.devices]
    with torch_settings(config):
        state = State(
            epoch=config.epochs,
            best_epoch=config.epochs,
            best_loss=evaluate(model, dataset.valid, dataset.class_names).loss,
            best_weights=model.state_dict(),
        )
        folder.start(config, described_run(config, dataset, model, devices))
        optimizer = make_optimizer(model, config)
        folder.save(checkpoint_of(config, dataset, model, optimizer, state, None))
        report = evaluated_report(model, dataset, config, state, devices)
    folder.write_json(folder.report_file, report)
    return report
