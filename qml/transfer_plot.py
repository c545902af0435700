"""A picture of a transfer matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nisqkit.qml.plots import ORANGE
from nisqkit.qml.statistics import mean_interval
from nisqkit.qml.transfer import TransferMatrix


def transfer_plot(matrix: TransferMatrix) -> Figure:
    """Draw a transfer matrix: means over seeds with 95 % intervals, each model's own device framed.

    Shades go from the lowest to the highest accuracy.
    """
    means = np.array([[np.mean(seeds) for seeds in row] for row in matrix.accuracies])
    width = max(1.25 * len(matrix.columns), 4.0) + 0.09 * max(map(len, matrix.rows)) + 1.0
    figure = Figure(figsize=(width, 0.62 * len(matrix.rows) + 2.2), layout="constrained")
    ax = figure.subplots()
    image = ax.imshow(means, cmap="Blues", aspect="auto")
    for y, row in enumerate(matrix.accuracies):
        for x, seeds in enumerate(row):
            text = cell_text(seeds).replace(" (", "\n").rstrip(")")
            red, green, blue, _ = map(float, image.to_rgba(means[y : y + 1, x])[0])
            ink = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"
            ax.text(x, y, text, ha="center", va="center", color=ink, fontsize=9)
            if matrix.columns[x] == matrix.trained_on[y]:
                place = (x - 0.46, y - 0.44)
                ax.add_patch(Rectangle(place, 0.92, 0.88, fill=False, edgecolor=ORANGE, lw=2.5))
    ax.set_xticks(range(len(matrix.columns)), matrix.columns, rotation=30, ha="right")
    ax.set_yticks(range(len(matrix.rows)), matrix.rows)
    ax.set_xlabel("tested on (framed: the same)")
    ax.set_ylabel("trained on")
    most = max(len(row[0]) for row in matrix.accuracies)
    what = f"means of {most} seeds with 95 % intervals" if most > 1 else "1 seed"
    ax.set_title(f"{matrix.task}: test accuracy (%), {what}", fontsize=10)
    return figure


def cell_text(seeds: Sequence[float]) -> str:
    """A mean accuracy in percent, with its interval if there are several seeds.

    Example:
        >>> cell_text([0.5]), cell_text([0.68, 0.71, 0.70])
        ('50.0', '69.7 (65.9 to 73.5)')
    """
    if len(seeds) == 1:
        return f"{100 * seeds[0]:.1f}"
    mean, low, high = mean_interval(seeds)
    return f"{100 * mean:.1f} ({100 * max(low, 0):.1f} to {100 * min(high, 1):.1f})"
