"""The report: results.json as Markdown with pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from peers import NISQKIT, PEERS
from pictures import SIZES, TITLES, draw, predictions, series
from store import Store
from workloads import WORKLOADS

Json = dict[str, Any]


def write(store: Store) -> Path:
    """Write ``report.md`` and the pictures beside ``results.json``."""
    data = store.data
    pictures = draw(data, store.folder)
    parts = [
        _head(store.folder.name, data),
        _summary(data),
        *(f"![{name.removesuffix('.png')}]({name})\n" for name in pictures),
        _steps(data.get("steps", {}), ""),
        _steps(data.get("steps-avx2", {}), ", without AVX-512"),
        _threads(data.get("steps", {})),
        _roofline(data.get("roofline", {})),
        _cold(data.get("cold", {})),
        _scaling(data.get("scaling", {})),
        _versions(data),
    ]
    path = store.folder / "report.md"
    path.write_text("\n".join(p for p in parts if p))
    return path


def _table(head: list[str], rows: Iterable[list[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    lines += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _number(value: float | None, unit: str = "") -> str:
    """Three significant digits."""
    if value is None:
        return ""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}{unit}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}{unit}"


def _timed(run: Json) -> dict[str, Json]:
    found = {p: r for p, r in run["peers"].items() if r["status"] == "timed" and "step_ms" in r}
    return dict(sorted(found.items(), key=lambda item: item[1].get("ratio", math.inf)))


def _head(name: str, data: Json) -> str:
    about = data.get("machine", {})
    clock = data.get("roofline", {}).get("native", {}).get("machine", {}).get("clock_ghz")
    return "\n".join(
        [
            f"# Benchmarks of {name}\n",
            f"{about.get('processor')} (family/model {about.get('family_model')}), "
            f"{about.get('cores')} cores, {_number(clock, ' GHz measured, ') if clock else ''}"
            f"{about.get('memory_gb')} GB, {', '.join(about.get('flags', []))}; "
            f"{about.get('system')}, Python {about.get('python')}.\n",
            "What is measured, and how: [docs/benchmarks.md](../../../docs/benchmarks.md). "
            "Numbers: [results.json](results.json).\n",
        ]
    )


def _summary(data: Json) -> str:
    rows: list[list[str]] = []

    def row(what: str, wanted: str, found: str, good: bool) -> None:
        rows.append([what, wanted, found, "yes" if good else "**no**"])

    for key, run in sorted(data.get("steps", {}).items()):
        timed = _timed(run)
        others = [p for p in timed if p != NISQKIT and "ratio" in timed[p]]
        if NISQKIT in timed and others:
            for group, names in (
                ("fastest peer", others),
                ("fastest PyTorch peer", [p for p in others if PEERS[p].torch]),
            ):
                if names:
                    ratio = timed[names[0]]["ratio"]
                    found = f"{_number(ratio)} ({names[0]})"
                    row(f"{key}: step of the {group} / ours", "> 1", found, ratio > 1)
        tried = timed.get(NISQKIT, {}).get("settings", {})
        if len(tried) == 2:
            one, many = tried.values()
            ratio = many / one
            names = " / ".join(reversed(tried))
            row(f"{key}: {names}", "<= 1", _number(ratio), ratio <= 1.02)
    for isa, part in data.get("roofline", {}).items():
        for threads, peak in part["machine"]["threads"].items():
            what = f"{isa}: measured / derived peak, {_count(threads)}"
            row(what, ">= 80%", f"{peak['of_derived']:.0%}", peak["of_derived"] >= 0.8)
        for key, step in part["steps"].items():
            best = max(step["threads"].values(), key=lambda s: s["share"])
            what = f"{isa}: share of the peak on {key}, best thread count"
            row(what, ">= 40%", f"{best['share']:.0%}", best["share"] >= 0.4)
    for key, run in data.get("cold", {}).items():
        for cache, limit in (("warm", 3.0), ("empty", 20.0)):
            total = run[f"{cache}_cache"]["total_s"]
            what = f"{key}: cold start, {cache} kernel cache"
            row(what, f"< {limit:.0f} s", _number(total, " s"), total < limit)
    depth = data.get("scaling", {}).get("depth", {})
    ours = series(depth, "layers").get(NISQKIT, []) if depth else []
    if len(ours) > 1:
        (low, first), (high, last) = ours[0], ours[-1]
        ratio = last["peak_mb"] / first["peak_mb"]
        what = f"peak memory, {high} layers / {low}"
        row(what, "1", _number(ratio), ratio < 1.05)
    for name, section in data.get("scaling", {}).items():
        found = [measured / predicted for _, measured, predicted in predictions(section)]
        if found:
            text = f"{_number(min(found))} to {_number(max(found))}"
            good = min(found) >= 0.5 and max(found) <= 2
            row(f"{name}: measured / predicted step", "0.5 to 2", text, good)
    if not rows:
        return ""
    return "## Summary\n\n" + _table(["what", "wanted", "measured", "met"], rows)


def _count(threads: str) -> str:
    return "1 thread" if threads == "1" else f"{threads} threads"


def _steps(section: Json, title: str) -> str:
    parts = []
    for key in (k for k in WORKLOADS if k in section):
        run = section[key]
        parts.append(f"## {key}{title}: {WORKLOADS[key].title}\n")
        rows = [_step_row(peer, r) for peer, r in _timed(run).items()]
        head = ["peer", "best setting", "step, ms", "/ nisqkit", "spread", "forward, ms"]
        head += ["first call, s: import + build + step", "peak MB (imports)", "precision"]
        parts.append(_table([*head, "error of gradients (weights / inputs)"], rows))
        for peer, r in run["peers"].items():
            if r["status"] != "timed" or "step_ms" not in r:
                parts.append(f"- {peer}: {r['status']}: {r.get('reason', 'no time')}")
        load = " to ".join(f"{v:.1f}" for v in run["load"])
        took = f"{run['rounds']} rounds, load average {load}"
        dates = sorted(r["date"] for r in run["peers"].values() if "date" in r)
        parts.append(f"\nLast run: {took}, {dates[-1]}.\n")
    return "\n".join(parts)


def _step_row(peer: str, r: Json) -> list[str]:
    cold, low_high = r["cold"], r.get("ratio_range")
    ratio = _number(r.get("ratio"))
    if low_high and peer != NISQKIT:
        ratio += f" ({_number(low_high[0])} to {_number(low_high[1])})"
    spread = r["step_spread"]
    return [
        f"**{peer}**" if peer == NISQKIT else peer,
        r["setting"],
        _number(r["step_ms"]),
        ratio,
        "" if spread is None else f"{spread:.0%}",
        _number(r.get("forward_ms")),
        f"{cold['import_s']:.1f} + {cold['build_s']:.2f} + {cold['first_s']:.2f}",
        f"{r['peak_mb']:.0f} ({r['import_mb']:.0f})",
        r["precision"],
        f"{r['differences']['weights']:.0e} / {r['differences']['inputs']:.0e}",
    ]


def _threads(section: Json) -> str:
    """What each peer was tried with."""
    rows = []
    for key in (k for k in WORKLOADS if k in section):
        for peer, r in _timed(section[key]).items():
            tried = [
                f"{label}: {_number(ms) if isinstance(ms, float) else ms}"
                for label, ms in r["settings"].items()
            ]
            rows.append([key, peer, "; ".join(tried)])
    if not rows:
        return ""
    text = "Milliseconds; of the peers from a short trial, of nisqkit from all rounds.\n"
    return f"## Thread settings\n\n{text}\n" + _table(["", "peer", "tried"], rows)


def _roofline(section: Json) -> str:
    parts = []
    for isa, part in section.items():
        about = part["machine"]
        parts.append(f"## Roofline, {isa} ({32 * about['lanes']}-bit vectors)\n")
        parts.append(
            f"Clock {about['clock_ghz']:.2f} GHz; derived peak (clock x 2 pipes x lanes x 2) "
            f"{about['derived_gflops_per_core']:.0f} GFLOP/s per core.\n"
        )
        levels = list(next(iter(about["threads"].values()))["gb_per_s"])
        rows = [
            [_count(t), f"{p['gflops']:.0f}", f"{p['of_derived']:.0%}"]
            + [f"{p['gb_per_s'][level]:.0f}" for level in levels]
            for t, p in about["threads"].items()
        ]
        head = ["", "multiply-adds, GFLOP/s", "of derived", *(f"{v}, GB/s" for v in levels)]
        parts.append(_table(head, rows))
        rows = [
            [
                *(key, _number(step["flops"] / 1e6), _count(t), _number(r["step_ms"])),
                *(f"{r['gflops']:.0f}", f"{r['share']:.0%}"),
            ]
            for key, step in part["steps"].items()
            for t, r in step["threads"].items()
        ]
        head = ["", "MFLOP per step", "", "step, ms", "GFLOP/s", "share of measured peak"]
        parts.append(_table(head, rows))
    if not parts:
        return ""
    steps = next(iter(section.values()))["steps"]
    parts.append("FLOPs per amplitude, by form of fused block (`benchmarks/flops.py`):\n")
    rows = [
        [key, r["what"], r["count"], _number(r["forward"]), _number(r["backward"])]
        for key, step in steps.items()
        for r in step["rows"]
    ]
    parts.append(_table(["", "block", "how many", "forward", "backward"], rows))
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
    return "## Cold start in a fresh process\n\n" + _table([*head, "peak MB"], rows)


def _scaling(section: Json) -> str:
    parts = []
    for name in (n for n in SIZES if n in section):
        lines = series(section[name], SIZES[name])
        model = {getattr(w, SIZES[name]): p for w, _, p in predictions(section[name])}
        sizes = sorted({size for line in lines.values() for size, _ in line})
        rows = []
        for size in sizes:
            cells = [dict(line).get(size, {}).get("step_ms") for line in lines.values()]
            rows.append([size, *map(_number, cells)])
            if model:
                rows[-1].append(_number(model.get(size)))
        head = [SIZES[name], *lines, *(["nisqkit, predicted"] if model else [])]
        parts.append(f"## Scaling in {TITLES[name]}\n\nMilliseconds of a training step.\n")
        parts.append(_table(head, rows))
        wrong = {
            f"- {p}: {r['status']} at {point['workload'][SIZES[name]]}: {r.get('reason', '')}"
            for point in section[name].values()
            for p, r in point["peers"].items()
            if r["status"] != "timed"
        }
        parts.append("\n".join([*sorted(wrong), ""]))
        if name == "depth":
            head = ["layers", *lines]
            rows = [
                [size, *(_memory(dict(line).get(size)) for line in lines.values())]
                for size in sizes
            ]
            parts.append("Peak memory of the process, MB (of which imports).\n")
            parts.append(_table(head, rows))
    return "\n".join(parts)


def _memory(result: Json | None) -> str:
    return f"{result['peak_mb']:.0f} ({result['import_mb']:.0f})" if result else ""


def _versions(data: Json) -> str:
    found: dict[str, set[str]] = {}
    for section in ("steps", "steps-avx2"):
        for run in data.get(section, {}).values():
            for peer, r in run["peers"].items():
                if "versions" in r:
                    versions = ", ".join(f"{k} {v}" for k, v in r["versions"].items())
                    found.setdefault(peer, set()).add(versions)
    if not found:
        return ""
    rows = [[peer, "; ".join(sorted(v))] for peer, v in found.items()]
    return "## Versions\n\n" + _table(["peer", "versions"], rows)
