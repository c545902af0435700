"""The picture of the QuantumNAT benchmark: accuracy by technique, one panel per task and device."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from nisqkit.qml.nat_report import classical_rows, entries
from nisqkit.qml.nat_study import NatRecords, find_technique
from nisqkit.qml.plots import BLUE, GREY, ORANGE


def nat_plot(records: NatRecords) -> Figure:
    """Draw accuracy with its 95 % interval: on the device, and of the same weights noise-free.

    Vertical lines are the classical models.

    Raises:
        ValueError: No entry has two seeds yet.
    """
    table = entries(records)
    if not table:
        raise ValueError("no entry has two seeds yet: run the study first")
    tasks, devices = records.study.tasks, records.study.devices
    height = 1.6 + 0.34 * len(records.study.techniques)
    figure = Figure(figsize=(3.0 + 3.6 * len(devices), height * len(tasks)), layout="constrained")
    grid = figure.subplots(len(tasks), len(devices), squeeze=False, sharey=True, sharex="row")
    order = list(records.study.techniques)
    for row, task in zip(grid, tasks, strict=True):
        classical = [c for c in classical_rows(records, task) if c[0] != "majority"]
        for ax, device in zip(row, devices, strict=True):
            for style, (name, _, accuracy) in zip(("--", ":"), classical, strict=False):
                ax.axvline(accuracy.mean, color=GREY, linestyle=style, linewidth=1.2, label=name)
            for entry in table:
                if (entry.task, entry.device) != (task, device):
                    continue
                y = order.index(entry.technique)
                for shift, value, colour, marker, label in (
                    (-0.13, entry.device_accuracy, ORANGE, "o", "on the device"),
                    (0.13, entry.noise_free_accuracy, BLUE, "D", "same weights, noise-free"),
                ):
                    spread = [[value.mean - value.low], [value.high - value.mean]]
                    ax.errorbar(
                        [value.mean],
                        [y + shift],
                        xerr=spread,
                        fmt=marker,
                        color=colour,
                        markersize=4.5,
                        capsize=2,
                        linewidth=1.4,
                        label=label if y == 0 else None,
                    )
            ax.set_title(f"{task}, {device}", fontsize=10)
            ax.set_yticks(range(len(order)), [find_technique(key).title for key in order])
            ax.set_ylim(len(order) - 0.5, -0.5)
            ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
            ax.grid(axis="x", alpha=0.25)
            ax.spines[["top", "right"]].set_visible(False)
    for ax in grid[-1]:
        ax.set_xlabel("test accuracy (%)")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure
