"""Pictures of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from costs import predicted_ms
from matplotlib.figure import Figure
from peers import NISQKIT
from workloads import Workload

SIZES = {"qubits": "qubits", "qubits-batch16": "qubits", "batch": "batch", "depth": "layers"}
"""For each series, the size that grows."""
TITLES = {
    "qubits": "qubits: 4 layers, batch 1",
    "qubits-batch16": "qubits: 4 layers, batch 16",
    "batch": "batch: 8 qubits, 6 layers",
    "depth": "depth: 12 qubits, batch 32",
}
STYLE = {"font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True}


def draw(data: dict[str, Any], folder: Path) -> list[str]:
    """Draw what there is; names of the files."""
    done = []
    with mpl.rc_context(STYLE):
        if data.get("steps"):
            done.append(_steps(data["steps"], folder / "steps.png"))
        if data.get("scaling"):
            done.append(_scaling(data["scaling"], folder / "scaling.png"))
        if data.get("scaling", {}).get("depth"):
            done.append(_memory(data["scaling"]["depth"], folder / "memory.png"))
    return done


def _save(figure: Figure, path: Path) -> str:
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    return path.name


def _colour(peer: str) -> str:
    from peers import PEERS

    return "black" if peer == NISQKIT else f"C{list(PEERS).index(peer) % 10}"


def _steps(section: dict[str, Any], path: Path) -> str:
    """One bar per peer and workload: its step as a multiple of ours in the same rounds."""
    keys = sorted(section)
    figure = Figure(figsize=(2.6 * len(keys) + 0.6, 3.4))
    for k, key in enumerate(keys):
        peers = {
            p: r["ratio"]
            for p, r in section[key]["peers"].items()
            if r["status"] == "timed" and "ratio" in r
        }
        names = sorted(peers, key=lambda p: -peers[p])
        axes = figure.add_subplot(1, len(keys), k + 1)
        axes.barh(names, [peers[p] for p in names], color=[_colour(p) for p in names])
        axes.set_xscale("log")
        axes.set_title(key)
        axes.set_xlim(left=0.5)
        axes.set_xlabel("step time / nisqkit's")
        axes.axvline(1, color="black", linewidth=0.8)
    figure.tight_layout()
    return _save(figure, path)


def series(section: dict[str, Any], size: str) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """For each peer, its timed points in order of size."""
    lines: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for point in section.values():
        for peer, result in point["peers"].items():
            if result["status"] == "timed" and "step_ms" in result:
                lines.setdefault(peer, []).append((point["workload"][size], result))
    return {peer: sorted(line, key=lambda p: p[0]) for peer, line in lines.items()}


def predictions(section: dict[str, Any]) -> list[tuple[Workload, float, float]]:
    """For each point: workload, our measured step and what the engine's cost model says (ms)."""
    found = []
    for point in section.values():
        workload, ours = Workload(**point["workload"]), point["peers"].get(NISQKIT, {})
        if "step_ms" in ours:
            predicted = predicted_ms(workload, ours["threads"])
            if predicted is not None:
                found.append((workload, ours["step_ms"], predicted))
    return found


def _scaling(section: dict[str, Any], path: Path) -> str:
    names = [n for n in SIZES if n in section]
    figure = Figure(figsize=(4 * len(names), 3.6))
    for k, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), k + 1)
        for peer, line in series(section[name], SIZES[name]).items():
            axes.plot(
                [size for size, _ in line],
                [result["step_ms"] for _, result in line],
                marker=".",
                color=_colour(peer),
                label=peer,
            )
        model = sorted((getattr(w, SIZES[name]), p) for w, _, p in predictions(section[name]))
        if model:
            axes.plot(*zip(*model, strict=True), "k--", linewidth=0.8, label="nisqkit, predicted")
        axes.set_yscale("log")
        if SIZES[name] != "qubits":
            axes.set_xscale("log", base=2)
        axes.set_xlabel(SIZES[name])
        axes.set_ylabel("training step, ms")
        axes.set_title(TITLES[name])
        axes.legend(fontsize=7)
    figure.tight_layout()
    return _save(figure, path)


def _memory(section: dict[str, Any], path: Path) -> str:
    figure = Figure(figsize=(4, 3.4))
    axes = figure.add_subplot()
    for peer, line in series(section, "layers").items():
        sizes, values = zip(*((s, r["peak_mb"] - r["import_mb"]) for s, r in line), strict=True)
        axes.plot(sizes, values, marker=".", color=_colour(peer), label=peer)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("layers")
    axes.set_ylabel("peak memory beyond the imports, MB")
    axes.set_title("memory: 12 qubits, batch 32")
    axes.legend(fontsize=7)
    figure.tight_layout()
    return _save(figure, path)
