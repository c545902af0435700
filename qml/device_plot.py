"""A picture of a device: its errors on its coupling graph."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from nisqkit.noise.device import Device
from nisqkit.noise.device_layout import qubit_positions

# Pale is good, dark is bad; blue and orange can be told apart by everyone.
_QUBITS = LinearSegmentedColormap.from_list("qubits", ["#d9e8f5", "#4f9bcb", "#08306b"])
_EDGES = LinearSegmentedColormap.from_list("edges", ["#fbd08f", "#ef7d2b", "#6b2104"])
_DEAD, _UNKNOWN, _INK = "#c1121f", "#bdbdbd", "#1f1f1f"
_RADIUS = 0.33  # of a qubit, in edges
_MARGIN = 0.5  # around the outermost qubits, in edges
_ABOVE, _BELOW, _NARROWEST = 0.5, 1.25, 5.6  # in inches
_DASHES = (0, (2, 1.2))


def error_map(device: Device, used: Collection[int] = ()) -> Figure:
    """Draw the coupling graph, with readout errors on the qubits and gate errors on the edges.

    A qubit's colour is the mean of its two readout errors, an edge's that of `edge_errors`. Dead
    edges are dashed and red, and what is not calibrated is grey. A scale is logarithmic if its
    errors differ by more than a factor of 10.

    Args:
        device: The device.
        used: Qubits to mark with a ring, such as those that a circuit uses.

    Raises:
        ValueError: A used qubit is not on the device.

    Example:
        >>> figure = error_map(Device.load("fake_belem"))
        >>> [axes.get_xlabel() for axes in figure.axes[1:]]
        ['readout error (%)', 'cx error (%)']
    """
    if outside := sorted(set(used) - set(range(device.num_qubits))):
        raise ValueError(
            f"qubit {outside[0]} is not on {device.name}: give qubits between 0 and "
            f"{device.num_qubits - 1}"
        )
    places = qubit_positions(device)
    edges = edge_errors(device)
    reads = [None if pair is None else sum(pair) / 2 for pair in device.readout]
    known = [error for error in reads if error is not None]
    alive = [error for error in edges.values() if error is not None and error < 1]
    gates = "/".join(sorted({g.gate for g in device.gates if len(g.qubits) == 2}))
    on_qubits = ScalarMappable(_norm(known), _QUBITS)
    on_edges = ScalarMappable(_norm(alive), _EDGES)

    size = np.ptp(places, axis=0) + 2 * _MARGIN
    inch = float(np.clip(12 / size[0], 0.6, 1.2))  # of an edge
    width, height = max(size[0] * inch, _NARROWEST), size[1] * inch + _BELOW + _ABOVE
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, _BELOW / height, 1, size[1] * inch / height))
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-_MARGIN, size[0] - _MARGIN)
    axes.set_ylim(-_MARGIN, size[1] - _MARGIN)
    date = f"{device.date:%Y-%m-%d}" if device.date else "undated"
    title = f"{device.name}, {device.num_qubits} qubit{'s' * (device.num_qubits > 1)}, {date}"
    figure.text(0.5, 1 - 0.25 / height, title, ha="center", va="center", fontsize=12)
    _draw_edges(axes, places, edges, on_edges, inch)
    _draw_qubits(axes, places, reads, on_qubits, used, inch)
    _legend(figure, reads, edges, used)
    bars = [(on_qubits, "readout error (%)")] * bool(known)
    bars += [(on_edges, f"{gates} error (%)")] * bool(alive)
    long = min(0.42 * width, 4.5)
    for k, (colours, label) in enumerate(bars):
        middle = width / 2 + (k - (len(bars) - 1) / 2) * (long + 0.4)
        place = ((middle - long / 2) / width, 0.58 / height, long / width, 0.16 / height)
        _colour_bar(figure, figure.add_axes(place), colours, label)
    return figure


def edge_errors(device: Device) -> dict[tuple[int, int], float | None]:
    """The error of the best two-qubit gate of each pair of qubits; None if it is not calibrated.

    A pair has several gates if it has both directions, or gates of different names. 1 is dead.

    Example:
        >>> edges = edge_errors(Device.load("fake_belem"))
        >>> list(edges), round(edges[0, 1], 4)
        ([(0, 1), (1, 2), (1, 3), (3, 4)], 0.0166)
    """
    found: dict[tuple[int, int], float | None] = {}
    for gate in device.gates:
        if len(gate.qubits) == 2:
            pair = min(gate.qubits), max(gate.qubits)
            known = [e for e in (found.get(pair), gate.error) if e is not None]
            found[pair] = min(known, default=None)
    return dict(sorted(found.items()))


def _norm(errors: Sequence[float]) -> Normalize:
    low, high = min(errors, default=0.0), max(errors, default=1.0)
    if low == high:
        return Normalize(0.5 * low, 1.5 * high or 1.0)
    return LogNorm(low, high) if 0 < 10 * low < high else Normalize(low, high)


def _colour(colours: ScalarMappable, error: float) -> tuple[float, float, float]:
    red, green, blue, _ = map(float, colours.to_rgba(np.array([error]))[0])
    return red, green, blue


def _draw_edges(
    axes: Axes,
    places: NDArray[np.float64],
    edges: dict[tuple[int, int], float | None],
    colours: ScalarMappable,
    inch: float,
) -> None:
    thick = 9 * inch  # in points
    for pair, error in edges.items():
        x, y = places[list(pair)].T
        if error is None:
            axes.plot(x, y, color=_UNKNOWN, linewidth=thick / 2, zorder=1)
        elif error >= 1:
            axes.plot(x, y, color=_DEAD, linewidth=thick / 3, linestyle=_DASHES, zorder=1)
        else:
            axes.plot(x, y, color=_colour(colours, error), linewidth=thick, zorder=1)


def _draw_qubits(
    axes: Axes,
    places: NDArray[np.float64],
    reads: Sequence[float | None],
    colours: ScalarMappable,
    used: Collection[int],
    inch: float,
) -> None:
    digits = max(2, len(str(len(places) - 1)))
    size = 2 * _RADIUS * inch * 72 * (0.42 if digits == 2 else 0.36)
    for q, (place, error) in enumerate(zip(places, reads, strict=True)):
        fill = to_rgb(_UNKNOWN) if error is None else _colour(colours, error)
        # a white rim parts the disk from its edges
        axes.add_patch(Circle(place, _RADIUS, facecolor=fill, edgecolor="white", lw=2 * inch))
        if q in used:
            ring = Circle(place, _RADIUS + 0.04, fill=False, edgecolor=_INK, lw=2.2 * inch)
            axes.add_patch(ring)
        bright = np.dot(fill, (0.299, 0.587, 0.114)) > 0.55
        colour = _INK if bright else "white"
        x, y = map(float, place)
        axes.text(x, y, str(q), ha="center", va="center_baseline", color=colour, fontsize=size)


def _colour_bar(figure: Figure, axes: Axes, colours: ScalarMappable, label: str) -> None:
    bar = figure.colorbar(colours, cax=axes, orientation="horizontal")
    bar.set_label(label, fontsize=10)
    norm = colours.norm
    if isinstance(norm, LogNorm):
        assert norm.vmin is not None and norm.vmax is not None
        steps = [m * 10.0**e for e in range(-9, 1) for m in (1, 2, 5)]
        bar.set_ticks([s for s in steps if norm.vmin <= s <= norm.vmax])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 * error:.3g}"))
    axes.tick_params(labelsize=9)


def _legend(
    figure: Figure,
    reads: Sequence[float | None],
    edges: dict[tuple[int, int], float | None],
    used: Collection[int],
) -> None:
    """Say what has no colour bar, if there is any of it."""

    def line(label: str, colour: str, width: float, style: Any = "-") -> Line2D:
        return Line2D([], [], color=colour, linewidth=width, linestyle=style, label=label)

    def dot(label: str, fill: str, rim: str) -> Line2D:
        return Line2D(
            [], [], linestyle="", marker="o", markersize=9, mfc=fill, mec=rim, mew=2, label=label
        )

    entries = []
    if any(error is not None and error >= 1 for error in edges.values()):
        entries.append(line("dead", _DEAD, 2, _DASHES))
    if None in edges.values():
        entries.append(line("not calibrated", _UNKNOWN, 4))
    if None in reads:
        entries.append(dot("readout not calibrated", _UNKNOWN, _UNKNOWN))
    if used:
        entries.append(dot("used", "none", _INK))
    if entries:
        where = (0.5, 1.0 / figure.get_figheight())
        figure.legend(
            handles=entries,
            loc="center",
            bbox_to_anchor=where,
            ncols=len(entries),
            frameon=False,
            fontsize=10,
        )
