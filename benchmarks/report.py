"""The report: results.json as Markdown with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pictures import draw
from report_steps import details, overview, settings, versions
from series import BAND, SIZES, TITLES, lines, predictions
from store import Store
from tables import number, table, threads
from workloads import MEMORY

Json = dict[str, Any]


def write(store: Store) -> Path:
    """Write ``report.md`` and the pictures beside ``results.json``."""
    data = store.data
    pictures = draw(data, store.folder)
    steps, avx2 = data.get("steps", {}), data.get("steps-avx2", {})
    parts = [
        _head(store.folder.name, data),
        overview(steps, "A training step"),
        _picture("steps.png", pictures),
        overview(avx2, "The same with AVX-512 off"),
        _scaling(data.get("scaling", {}), pictures),
        _predicted(data.get("scaling", {}), pictures),
        _memory(data.get("memory", {}), pictures),
        _roofline(data.get("roofline", {})),
        _cold(data.get("cold", {})),
        details(steps, ""),
        details(avx2, " with AVX-512 off"),
        settings(steps),
        versions([steps, avx2]),
    ]
    path = store.folder / "report.md"
    path.write_text("\n".join(p for p in parts if p))
    return path


def _picture(name: str, drawn: list[str]) -> str:
    return f"![{name.removesuffix('.png')}]({name})\n" if name in drawn else ""


def _head(name: str, data: Json) -> str:
    about = data.get("machine", {})
    clock = data.get("roofline", {}).get("native", {}).get("machine", {}).get("clock_ghz")
    return "\n".join(
        [
            f"# Benchmarks of {name}\n",
            f"{about.get('processor')} (family/model {about.get('family_model')}), "
            f"{about.get('cores')} cores, {number(clock, ' GHz measured, ') if clock else ''}"
            f"{about.get('memory_gb')} GB, {', '.join(about.get('flags', []))}; "
            f"{about.get('system')}, Python {about.get('python')}.\n",
            "What is measured, and how: [docs/benchmarks.md](../../../docs/benchmarks.md). "
            "Numbers: [results.json](results.json).\n",
        ]
    )


def _roofline(section: Json) -> str:
    parts = []
    for isa, part in section.items():
        about = part["machine"]
        parts.append(f"## Roofline, {isa} ({32 * about['lanes']}-bit vectors)\n")
        parts.append(
            f"Clock {about['clock_ghz']:.2f} GHz; derived peak "
            f"(clock x {about.get('pipes', 2)} full pipes x lanes x 2) "
            f"{about['derived_gflops_per_core']:.0f} GFLOP/s per core.\n"
        )
        levels = list(next(iter(about["threads"].values()))["gb_per_s"])
        rows = [
            [threads(t), f"{p['gflops']:.0f}", f"{p['of_derived']:.0%}"]
            + [f"{p['gb_per_s'][level]:.0f}" for level in levels]
            for t, p in about["threads"].items()
        ]
        head = ["", "multiply-adds, GFLOP/s", "of derived", *(f"{v}, GB/s" for v in levels)]
        parts.append(table(head, rows))
        rows = [
            [
                *(key, number(step["flops"] / 1e6), threads(t), number(r["step_ms"])),
                *(f"{r['gflops']:.0f}", f"{r['share']:.0%}"),
            ]
            for key, step in part["steps"].items()
            for t, r in step["threads"].items()
        ]
        head = ["", "MFLOP per step", "", "step, ms", "GFLOP/s", "share of measured peak"]
        parts.append(table(head, rows))
    if not parts:
        return ""
    steps = next(iter(section.values()))["steps"]
    parts.append("FLOPs per amplitude, by form of fused block (`benchmarks/flops.py`):\n")
    rows = [
        [key, r["what"], r["count"], number(r["forward"]), number(r["backward"])]
        for key, step in steps.items()
        for r in step["rows"]
    ]
    parts.append(table(["", "block", "how many", "forward", "backward"], rows))
    return "\n".join(parts)


def _cold(section: Json) -> str:
    if not section:
        return ""
    rows = [
        [key, cache.replace("_", " ")]
        + [f"{run[cache][k]:.2f}" for k in ("total_s", "import_s", "build_s", "first_s")]
        + [f"{1e3 * run[cache]['second_s']:.1f}", f"{run[cache]['peak_mb']:.0f}"]
        for key, run in section.items()
        for cache in ("empty_cache", "warm_cache")
    ]
    head = ["", "", "in all, s", "import, s", "layer, s", "first step, s", "second step, ms"]
    return "## Cold start in a fresh process\n\n" + table([*head, "peak MB"], rows)


def _scaling(section: Json, pictures: list[str]) -> str:
    parts = ["## Scaling\n", _picture("scaling.png", pictures)] if section else []
    for name in (n for n in SIZES if n in section):
        found = lines(section[name], SIZES[name])
        model = {getattr(w, SIZES[name]): p for w, _, p in predictions(section[name])}
        rows = []
        for size in sorted({size for line in found.values() for size, _ in line}):
            cells = [dict(line).get(size, {}).get("step_ms") for line in found.values()]
            rows.append([size, *map(number, cells), number(model.get(size))])
        head = [SIZES[name], *found, "nisqkit, predicted"]
        parts.append(f"### {TITLES[name]}\n\nMilliseconds of a training step.\n")
        parts.append(table(head, rows))
        missing = {
            f"- {p} at {point['workload'][SIZES[name]]}: {r['status']}: {r.get('reason')}"
            for point in section[name].values()
            for p, r in point["peers"].items()
            if r["status"] != "timed"
        }
        parts.append("\n".join([*sorted(missing), ""]))
    return "\n".join(parts)


def _predicted(section: Json, pictures: list[str]) -> str:
    points = [(n, p) for n in SIZES if n in section for p in predictions(section[n])]
    if not points:
        return ""
    rows = [
        [name, w.title, number(predicted), number(measured), number(measured / predicted)]
        for name, (w, measured, predicted) in points
        if not 1 / BAND <= measured / predicted <= BAND
    ]
    text = f"{len(points) - len(rows)} of {len(points)} steps of nisqkit take between "
    text += f"1/{BAND:g} and {BAND:g} times what its cost model predicts."
    parts = ["## Predicted and measured\n", _picture("predicted.png", pictures), text]
    if rows:
        head = ["series", "step", "predicted, ms", "measured, ms", "measured / predicted"]
        parts += ["The others:\n", table(head, rows)]
    return "\n".join([*parts, ""])


def _memory(section: Json, pictures: list[str]) -> str:
    parts = [_MEMORY, _picture("memory.png", pictures)] if section else []
    for name in (n for n in MEMORY if n in section):
        peers = section[name]
        depths = sorted({int(d) for line in peers.values() for d in line})
        rows = [
            [depth, *(_peak(peers[p].get(str(depth), {}), k) for p in peers for k in _PEAKS)]
            for depth in depths
        ]
        head = ["layers", *(f"{p}, {text}" for p in peers for text in _PEAKS.values())]
        parts += [f"### {name}\n", table(head, rows)]
    return "\n".join(parts)


_MEMORY = """## Peak memory

MB beyond what the process held before, in a fresh process per point, compilation left out.
"""
_PEAKS = {"first_mb": "with building the circuit", "step_mb": "a later step"}


def _peak(result: Json, which: str) -> str:
    return str(result.get("reason") or number(result.get(which)))
