"""Pictures of a run: the learning curve and the confusion matrix.

Drawn on `Figure` objects directly, so that no window, backend or global state is involved. Colours
are Okabe and Ito's, which colour-blind readers can tell apart, and lines differ in style as well.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nisqkit.qml.checkpoint import write_atomic
from nisqkit.qml.metrics import Evaluation, Row

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#595959"


def learning_curve(
    history: Sequence[Mapping[str, Any]], title: str, best_epoch: int | None = None
) -> Figure:
    """Draw loss and accuracy on train and valid over epochs.

    Args:
        history: one record per epoch, as in ``metrics.jsonl``.
        title: what was trained.
        best_epoch: marked with a vertical line.

    Raises:
        ValueError: no epochs to draw.
    """
    if not history:
        raise ValueError("the history is empty: train at least one epoch to draw a learning curve")
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    figure.suptitle(title, fontsize=11)
    epochs = [record["epoch"] for record in history]
    axes = figure.subplots(1, 2)
    for ax, quantity, label in zip(
        axes, ("loss", "accuracy"), ("cross entropy (nats)", "accuracy (%)"), strict=True
    ):
        for part, colour, style in (("train", BLUE, "-"), ("valid", ORANGE, "--")):
            values = [record[f"{part}_{quantity}"] for record in history]
            marker = "o" if len(epochs) == 1 else None
            ax.plot(epochs, values, style, color=colour, label=part, linewidth=1.8, marker=marker)
        if best_epoch is not None:
            label_best = f"lowest validation loss (epoch {best_epoch})"
            ax.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1.2, label=label_best)
        ax.set_xlabel("epoch")
        ax.set_ylabel(label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    axes[1].yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes[0].legend(frameon=False, fontsize=9)
    return figure


def confusion_matrix(result: Evaluation, title: str) -> Figure:
    """Draw a confusion matrix: counts in the cells, shades by the share of the true class."""
    counts = np.array(result.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = len(counts)
    side = max(3.6, 0.55 * size + 2.2)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    ax = figure.subplots()
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(size):
        for column in range(size):
            shade = "white" if shares[row, column] > 0.5 else "black"
            text = str(counts[row, column])
            ax.text(column, row, text, ha="center", va="center", color=shade, fontsize=9)
    ax.set_xticks(range(size), result.class_names, rotation=45 if _long(result) else 0)
    ax.set_yticks(range(size), result.class_names)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    ax.set_title(title, fontsize=10)
    bar = figure.colorbar(image, ax=ax, shrink=0.8)
    bar.set_label("share of the true class (%)")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    return figure


def accuracy_chart(rows: Sequence[Row], title: str) -> Figure:
    """Draw test accuracies as points with their 95 % intervals, one line per row.

    Raises:
        ValueError: no rows to draw.
    """
    if not rows:
        raise ValueError("there are no rows: give at least one accuracy to draw")
    figure = Figure(figsize=(8, 1.2 + 0.34 * len(rows)), layout="constrained")
    ax = figure.subplots()
    for height, row in enumerate(reversed(rows)):
        colour, marker = (GREY, "s") if row.condition == "classical" else (BLUE, "o")
        if row.condition not in ("classical", "noise-free"):
            colour, marker = ORANGE, "D"
        ax.plot([row.low, row.high], [height, height], color=colour, linewidth=2)
        ax.plot([row.mean], [height], marker, color=colour, markersize=6)
    ax.set_yticks(range(len(rows)), [f"{r.model}, {r.condition}" for r in reversed(rows)])
    ax.set_xlim(0, 1)
    ax.set_xlabel("test accuracy (%), with 95 % interval")
    ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    ax.grid(axis="x", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(title, fontsize=10)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file with 150 dots per inch."""
    figure.set_dpi(150)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    write_atomic(path, buffer.getvalue())


def _long(result: Evaluation) -> bool:
    return max(map(len, result.class_names)) > 4
