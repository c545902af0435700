"""A picture of zero-noise extrapolation: values against the noise scale, and the curves to zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nisqkit.qml.mitigation_report import Extrapolation
from nisqkit.qml.plots import BLUE, GREY, ORANGE


def extrapolation_plot(found: Sequence[Extrapolation], title: str) -> Figure:
    """Draw one panel per output.

    Points are values with readout errors undone; the lines go through them to scale 0, where the
    noise-free value is marked.

    Raises:
        ValueError: There is nothing to draw.
    """
    if not found:
        raise ValueError("no extrapolations given: take at least one sample")
    figure = Figure(figsize=(3.1 * len(found) + 0.6, 3.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(1, len(found), squeeze=False)[0]
    for k, (ax, one) in enumerate(zip(grid, found, strict=True)):
        x = np.linspace(0, max(one.scales), 100)
        for method, degree, colour, style in (
            ("linear", 1, BLUE, "--"),
            ("richardson", len(one.scales) - 1, ORANGE, "-"),
        ):
            curve = np.polynomial.Polynomial.fit(one.scales, one.values, degree)
            ax.plot(x, curve(x), style, color=colour, linewidth=1.6, label=method)
            ax.plot([0], [one.zero[method]], "o", color=colour, markersize=5)
        ax.plot(one.scales, one.values, "s", color="black", markersize=5, label="on the device")
        ax.axhline(one.noise_free, color=GREY, linestyle=":", linewidth=1.4, label="noise-free")
        ax.set_xlabel("noise scale")
        if k == 0:
            ax.set_ylabel("expectation value")
        ax.set_title(f"sample {k}, output {k}", fontsize=9)
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure
