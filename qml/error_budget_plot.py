"""A picture of an error budget: what each qubit and each edge of the device costs."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from nisqkit.noise.device_layout import qubit_positions
from nisqkit.qml.error_budget import ErrorBudget

_UNUSED, _INK = "#d0d0d0", "#1f1f1f"
_RADIUS = 0.33  # of a qubit, in edges
_MARGIN = 0.5  # around the outermost qubits, in edges
_ABOVE, _BELOW, _NARROWEST = 0.6, 1.0, 5.6  # in inches


def budget_map(budget: ErrorBudget) -> Figure:
    """Draw the coupling graph with each qubit and each edge coloured by its part of the loss.

    An edge has what its two-qubit gates cost, in both directions, and a qubit all that is its own:
    gates on one qubit, T1 and T2, readout and idle time. Both have the same scale. It begins at
    zero, or has it in its middle (white) where some noise lowers the loss. What the circuit does
    not use is grey.

    Raises:
        ValueError: The noise model has no device, and so no coupling graph.
    """
    device = budget.noise.device
    if device is None:
        raise ValueError(
            f"the noise model {budget.noise.name!r} has no device, so there is no coupling graph "
            "to draw on: use str(budget), or a model from NoiseModel.from_device"
        )
    losses = budget.by_place()
    places = qubit_positions(device)
    pairs = {(min(pair), max(pair)) for pair in device.coupling}.union(
        (k[0], k[1]) for k in losses if len(k) == 2
    )
    colours = _scale(list(losses.values()))

    size = np.ptp(places, axis=0) + 2 * _MARGIN
    inch = float(np.clip(12 / size[0], 0.6, 1.2))  # of an edge
    width, height = max(size[0] * inch, _NARROWEST), size[1] * inch + _BELOW + _ABOVE
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, _BELOW / height, 1, size[1] * inch / height))
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-_MARGIN, size[0] - _MARGIN)
    axes.set_ylim(-_MARGIN, size[1] - _MARGIN)
    title = f"{budget.title}\nnoise costs {budget.noisy_loss - budget.noise_free_loss:+.4f}"
    title += f"{budget.unit and ' ' + budget.unit} of loss"
    figure.text(0.5, 1 - 0.08 / height, title, ha="center", va="top", fontsize=11)
    for pair in sorted(pairs):
        _draw_edge(axes, places[list(pair)], losses.get(pair), colours, inch)
    for q, place in enumerate(places):
        _draw_qubit(axes, q, place, losses.get((q,)), colours, inch)

    long = min(0.8 * width, 5.0)
    where = ((width - long) / 2 / width, 0.62 / height, long / width, 0.16 / height)
    bar = figure.colorbar(colours, cax=figure.add_axes(where), orientation="horizontal")
    bar.set_label(f"part of the loss{budget.unit and f' ({budget.unit})'}; grey: not used")
    bar.ax.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def _scale(losses: list[float]) -> ScalarMappable:
    largest = max(map(abs, losses), default=0.0) or 1.0
    if min(losses, default=0.0) < -0.01 * largest:
        return ScalarMappable(Normalize(-largest, largest), "PuOr_r")
    return ScalarMappable(Normalize(0.0, largest), "YlOrBr")


def _colour(colours: ScalarMappable, loss: float) -> tuple[float, float, float]:
    red, green, blue, _ = map(float, colours.to_rgba(np.array([loss]))[0])
    return red, green, blue


def _draw_edge(
    axes: Axes,
    ends: NDArray[np.float64],
    loss: float | None,
    colours: ScalarMappable,
    inch: float,
) -> None:
    x, y = ends.T
    if loss is None:
        axes.plot(x, y, color=_UNUSED, linewidth=4 * inch, zorder=1)
        return
    axes.plot(x, y, color=_INK, linewidth=11 * inch, zorder=1)  # a rim, as pale is a value too
    axes.plot(x, y, color=_colour(colours, loss), linewidth=9 * inch, zorder=2)


def _draw_qubit(
    axes: Axes,
    qubit: int,
    place: NDArray[np.float64],
    loss: float | None,
    colours: ScalarMappable,
    inch: float,
) -> None:
    x, y = map(float, place)
    if loss is None:
        axes.add_patch(Circle((x, y), _RADIUS, facecolor=_UNUSED, edgecolor="white", zorder=3))
        ink = _INK
    else:
        fill = _colour(colours, loss)
        axes.add_patch(
            Circle((x, y), _RADIUS, facecolor=fill, edgecolor=_INK, lw=1.2 * inch, zorder=3)
        )
        ink = _INK if np.dot(fill, (0.299, 0.587, 0.114)) > 0.55 else "white"
    size = 2 * _RADIUS * inch * 72 * 0.36
    axes.text(
        x, y, str(qubit), ha="center", va="center_baseline", color=ink, fontsize=size, zorder=4
    )
