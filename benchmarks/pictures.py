"""Pictures of the results."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from peers import NISQKIT, PEERS
from series import BAND, SIZES, TITLES, lines, predictions
from workloads import MEMORY, WORKLOADS

Json = dict[str, Any]
STYLE: Any = {"font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True}


def draw(data: Json, folder: Path) -> list[str]:
    """Draw what there is; names of the files."""
    pictures = {"steps": _steps, "scaling": _scaling, "predicted": _predicted, "memory": _memory}
    done = []
    with mpl.rc_context(STYLE):
        for name, picture in pictures.items():
            section = data.get("scaling" if name == "predicted" else name)
            if section:
                figure = picture(section)
                path = folder / f"{name}.png"
                figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
                done.append(path.name)
    return done


def _figure(panels: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A grid of axes, row by row."""
    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, k + 1) for k in range(panels)]


def _colour(peer: str) -> Any:
    if peer == NISQKIT:
        return "black"
    return mpl.colormaps["tab20"]((2 * list(PEERS).index(peer) - 2) % 19)


def _plain(value: float, _: int | None = None) -> str:
    """A number without an exponent."""
    return f"{value:g}" if value < 1e6 else f"{value:.0e}"


def _sizes(axes: Axes, sizes: Iterable[int]) -> None:
    """Powers of two as they are written in tables."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(sizes))))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _steps(section: Json) -> Figure:
    """One bar per peer and workload: its step as a multiple of ours in the same rounds."""
    keys = [k for k in WORKLOADS if k in section]
    longest = max(len(section[k]["peers"]) for k in keys)
    figure, panels = _figure(len(keys), 3, 4.4, 0.9 + 0.21 * longest)
    ratios = [r.get("ratio", 1) for k in keys for r in section[k]["peers"].values()]
    left = 0.5 * min(1, *ratios)
    for key, axes in zip(keys, panels, strict=True):
        peers = section[key]["peers"]
        timed = {p: r["ratio"] for p, r in peers.items() if r["status"] == "timed" and "ratio" in r}
        others = [p for p in peers if p not in timed]
        names = [*sorted(timed, key=lambda p: timed[p]), *others][::-1]
        for place, name in enumerate(names):
            if name in timed:
                axes.barh(place, timed[name] - left, left=left, color=_colour(name))
                text = "1" if name == NISQKIT else f"{timed[name]:.3g}"
                axes.text(1.1 * timed[name], place, text, va="center", fontsize=8)
            else:
                status = peers[name]["status"]
                text = "no ratio" if status == "timed" else status
                axes.text(1.1, place, text, va="center", fontsize=8, color="grey")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xscale("log")
        axes.set_xlim(left, 5 * max(ratios))
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(visible=False, axis="y")
        axes.axvline(1, color="black", linewidth=0.8)
        workload = WORKLOADS[key]
        axes.set_title(
            f"{key}: {workload.qubits} qubits, {workload.layers} layers, batch {workload.batch}",
            fontsize=9,
        )
    figure.supxlabel("step time as a multiple of nisqkit's", fontsize=9)
    return figure


def _scaling(section: Json) -> Figure:
    """Steps over size, and what the engine predicts of its own."""
    names = [n for n in SIZES if n in section]
    figure, panels = _figure(len(names), 2, 4.6, 3.4)
    for name, axes in zip(names, panels, strict=True):
        for peer, line in lines(section[name], SIZES[name]).items():
            values = [result["step_ms"] for _, result in line]
            sizes = [size for size, _ in line]
            axes.plot(sizes, values, marker=".", color=_colour(peer), label=peer)
        points = sorted((getattr(w, SIZES[name]), p) for w, _, p in predictions(section[name]))
        if points:
            axes.plot(*zip(*points, strict=True), "r--", linewidth=1, label="nisqkit, predicted")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
        axes.yaxis.set_minor_formatter(NullFormatter())
        if SIZES[name] == "qubits":
            axes.set_xticks([size for size, _ in points])
        else:
            _sizes(axes, [size for size, _ in points])
        axes.set_xlabel(SIZES[name])
        axes.set_ylabel("training step, ms")
        axes.set_title(TITLES[name], fontsize=9)
        axes.legend(fontsize=7)
    return figure


def _predicted(section: Json) -> Figure:
    """Predicted over measured step of nisqkit, all series in one."""
    figure, (axes,) = _figure(1, 1, 5.6, 5)
    every = []
    for k, name in enumerate(n for n in SIZES if n in section):
        points = [(predicted, measured) for _, measured, predicted in predictions(section[name])]
        if points:
            x, y = zip(*points, strict=True)
            axes.scatter(x, y, s=18, color=f"C{k}", label=TITLES[name])
            every += points
    inside = sum(1 / BAND <= measured / predicted <= BAND for predicted, measured in every)
    low = min(map(min, every), default=1.0) / 2
    high = max(map(max, every), default=1.0) * 2
    ends = [low, high]
    axes.plot(ends, ends, color="black", linewidth=0.8)
    for factor in (1 / BAND, BAND):
        axes.plot(ends, [factor * e for e in ends], color="grey", linewidth=0.8, linestyle="--")
    for axis in (axes.xaxis, axes.yaxis):
        axis.axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_plain))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("predicted step, ms")
    axes.set_ylabel("measured step, ms")
    axes.set_title(f"{inside} of {len(every)} points within a factor of {BAND:g}", fontsize=9)
    axes.legend(fontsize=7)
    return figure


def _memory(section: Json) -> Figure:
    """Peak memory over depth."""
    names = [n for n in MEMORY if n in section]
    figure, panels = _figure(len(names), 2, 4.6, 3.4)
    for name, axes in zip(names, panels, strict=True):
        for peer, line in section[name].items():
            for what, style in (("first_mb", "-"), ("step_mb", ":")):
                points = sorted((int(d), r[what]) for d, r in line.items() if what in r)
                label = f"{peer}, {'with building' if what == 'first_mb' else 'a later step'}"
                if points:
                    axes.plot(
                        *zip(*points, strict=True),
                        style, marker=".", color=_colour(peer), label=label,
                    )  # fmt: skip
        _sizes(axes, (int(d) for line in section[name].values() for d in line))
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("layers")
        axes.set_ylabel("peak memory, MB")
        axes.set_title(name, fontsize=9)
        axes.legend(fontsize=7)
    return figure
