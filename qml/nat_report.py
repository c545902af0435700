"""Tables of the QuantumNAT benchmark, as data, JSON and Markdown."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from nisqkit.noise.device import Device
from nisqkit.qml.nat_study import (
    DEPTHS,
    FACTORS,
    OTHER_DEPTH,
    OTHER_FACTOR,
    Cell,
    NatRecords,
    find_technique,
)
from nisqkit.qml.run_folder import PACKAGES
from nisqkit.qml.statistics import MeanInterval, mean_interval


@dataclass(frozen=True)
class Entry:
    """One entry of the table, over its seeds.

    Attributes:
        task, device, technique: Which one.
        parameters: How many numbers were trained.
        seeds: The seeds that are there.
        device_accuracy: On the device.
        noise_free_accuracy: Of the same weights, noise-free.
        retained: The ratio of the two.
        gain: Accuracy on the device minus that of the row before, paired by seed; None for the
            first row.
    """

    task: str
    device: str
    technique: str
    parameters: int
    seeds: tuple[int, ...]
    device_accuracy: MeanInterval
    noise_free_accuracy: MeanInterval
    retained: MeanInterval
    gain: MeanInterval | None


def entries(records: NatRecords) -> list[Entry]:
    """All entries of which two seeds or more are there."""
    found = []
    for task in records.study.tasks:
        for device in records.study.devices:
            for technique in records.study.techniques:
                entry = _entry(records, task, device, technique)
                if entry is not None:
                    found.append(entry)
    return found


def _values(
    records: NatRecords, task: str, device: str, technique: str
) -> dict[int, dict[str, Any]]:
    cells = {seed: Cell(task, device, technique, seed) for seed in range(records.study.seeds)}
    return {seed: records.cells[c] for seed, c in cells.items() if c in records.cells}


def _entry(records: NatRecords, task: str, device: str, technique: str) -> Entry | None:
    runs = _values(records, task, device, technique)
    if len(runs) < 2:
        return None
    accuracies = {seed: run["device_accuracy"] for seed, run in runs.items()}
    after = find_technique(technique).after
    before = _values(records, task, device, after) if after is not None else {}
    pairs = [accuracies[seed] - before[seed]["device_accuracy"] for seed in runs if seed in before]
    return Entry(
        task,
        device,
        technique,
        next(iter(runs.values()))["parameters"],
        tuple(runs),
        mean_interval(list(accuracies.values())),
        mean_interval([run["noise_free_accuracy"] for run in runs.values()]),
        mean_interval(
            [
                run["device_accuracy"] / max(run["noise_free_accuracy"], 1e-9)
                for run in runs.values()
            ]
        ),
        mean_interval(pairs) if len(pairs) > 1 else None,
    )


def classical_rows(records: NatRecords, task: str) -> list[tuple[str, int, MeanInterval]]:
    """Name, parameters and test accuracy of each classical model on a task."""
    runs = [records.classical[task, seed] for seed in range(records.study.seeds)]
    rows = []
    for fits in zip(*runs, strict=True):
        accuracy = mean_interval([fit["test_accuracy"] for fit in fits])
        rows.append((fits[0]["name"], fits[0]["num_parameters"], accuracy))
    return rows


def settings(device: str) -> str:
    """What is particular to a device, in one line.

    Example:
        >>> settings("fake_belem")
        '2 nodes of 3 blocks, T = 0.5 for gates, 5 levels'
    """
    nodes, blocks = DEPTHS.get(device, OTHER_DEPTH)
    factor, levels = FACTORS.get(device, OTHER_FACTOR)
    chosen = "" if device in FACTORS else " (not of the paper)"
    blocks_text = f"{blocks} block{'s' if blocks > 1 else ''}"
    return f"{nodes} nodes of {blocks_text}, T = {factor:g} for gates, {levels} levels{chosen}"


def to_json(records: NatRecords) -> dict[str, Any]:
    """Everything: settings, versions, dates, the numbers of every seed, and the table."""
    study = records.study
    devices = [Device.load(name) for name in study.devices]
    return {
        "study": {k: v for k, v in asdict(study).items() if k != "data_dir"},  # a private path
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "devices": [
            {
                "name": device.name,
                "date": device.date and device.date.isoformat(),
                "settings": settings(device.name),
            }
            for device in devices
        ],
        "runs": [asdict(cell) | run for cell, run in records.cells.items()],
        "classical": [
            {"task": task, "seed": seed} | fit
            for (task, seed), fits in records.classical.items()
            for fit in fits
        ],
        "failures": records.failures,
        "table": [
            {k: v._asdict() if isinstance(v, MeanInterval) else v for k, v in vars(entry).items()}
            for entry in entries(records)
        ],
    }


def to_markdown(records: NatRecords) -> str:
    """The table of every task and device, with the classical models below."""
    study, table = records.study, entries(records)
    lines = [
        "# QuantumNAT on simulated devices",
        "",
        f"{study.seeds} seeds, {study.epochs} epochs, {datetime.now(UTC):%d %B %Y}. Accuracy on "
        "the test split in percent: mean and Student's 95 % interval over seeds, each of which has "
        "a split, initial weights and batches of its own. Exact values under the full noise of the "
        "device's calibration; no shots. Retained: accuracy on the device divided by that of the "
        "same weights noise-free. Gain: points of accuracy on the device over the row that it adds "
        "to, paired by seed.",
    ]
    for task in study.tasks:
        lines += ["", f"## {task}"]
        for device in study.devices:
            rows = [e for e in table if (e.task, e.device) == (task, device)]
            lines += ["", f"{device}: {settings(device)}", "", *_table(rows)]
        lines += ["", "Classical models on the same features:", ""]
        lines += ["| model | parameters | accuracy |", "| --- | --- | --- |"]
        lines += [
            f"| {name} | {parameters} | {percent(accuracy)} |"
            for name, parameters, accuracy in classical_rows(records, task)
        ]
    if records.failures:
        lines += ["", "## Failed", "", *(f"- {k}: {v}" for k, v in records.failures.items())]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Entry]) -> list[str]:
    lines = [
        "| technique | parameters | on the device | noise-free | retained | gain | over |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        technique = find_technique(row.technique)
        over = technique.after if row.gain is not None else None
        before = find_technique(over).title if over else ""
        cells = (
            technique.title,
            str(row.parameters),
            percent(row.device_accuracy),
            percent(row.noise_free_accuracy),
            percent(row.retained),
            "" if row.gain is None else points(row.gain),
            before,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def percent(value: MeanInterval) -> str:
    """A share with its interval.

    Example:
        >>> percent(MeanInterval(0.5, 0.45, 0.55))
        '50.0 (45.0 to 55.0)'
    """
    return f"{100 * value.mean:.1f} ({100 * value.low:.1f} to {100 * value.high:.1f})"


def points(value: MeanInterval) -> str:
    """A difference of shares with its interval; a star where zero is outside.

    Example:
        >>> points(MeanInterval(0.02, 0.01, 0.03)), points(MeanInterval(0.02, -0.01, 0.05))
        ('+2.0 (+1.0 to +3.0) *', '+2.0 (-1.0 to +5.0)')
    """
    star = " *" if value.low > 0 or value.high < 0 else ""
    return f"{100 * value.mean:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f}){star}"


def short(value: MeanInterval, sign: str = "") -> str:
    """A share, or a difference of shares with its sign, for narrow tables.

    Example:
        >>> short(MeanInterval(0.5, 0.45, 0.55)), short(MeanInterval(0.02, 0.01, 0.03), "+")
        ('50.0 ± 5.0', '+2.0 ± 1.0')
    """
    return f"{100 * value.mean:{sign}.1f} ± {100 * (value.high - value.mean):.1f}"
