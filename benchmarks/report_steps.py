"""The report's part on W1 to W5: who is fastest, every peer's ratio, and what was measured."""

from __future__ import annotations

import math
from typing import Any

from peers import NISQKIT, PEERS
from tables import number, table
from workloads import WORKLOADS

Json = dict[str, Any]


def overview(section: Json, title: str) -> str:
    """Our step, the fastest peer, and every peer's ratio, by workload."""
    keys = _keys(section)
    if not keys:
        return ""
    rows = []
    for key in keys:
        found = timed(section[key])
        others = [p for p in found if p != NISQKIT and "ratio" in found[p]]
        fastest = _fastest(found, others)
        torch = _fastest(found, [p for p in others if PEERS[p].torch])
        rows.append([key, WORKLOADS[key].title, number(_ours(section[key])), *fastest, *torch])
    head = ["", "step", "nisqkit, ms", "fastest peer", "its step / ours"]
    head += ["fastest PyTorch peer", "its step / ours"]
    return "\n".join(
        [
            f"## {title}\n",
            table(head, rows),
            "Every peer's step as a multiple of nisqkit's in the same rounds:\n",
            _matrix(section, keys),
        ]
    )


def _keys(section: Json) -> list[str]:
    return [k for k in WORKLOADS if k in section]


def timed(run: Json) -> dict[str, Json]:
    """Peers with a time, the fastest first."""
    found = {p: r for p, r in run["peers"].items() if r["status"] == "timed" and "step_ms" in r}
    return dict(sorted(found.items(), key=lambda item: item[1].get("ratio", math.inf)))


def _ours(run: Json) -> float | None:
    found: float | None = run["peers"].get(NISQKIT, {}).get("step_ms")
    return found


def _fastest(found: dict[str, Json], peers: list[str]) -> list[str]:
    if not peers:
        return ["", ""]
    return [peers[0], _ratio(found[peers[0]])]


def _ratio(result: Json) -> str:
    text = number(result.get("ratio"))
    if result.get("rounds") == 1:
        return f"{text} (one round)"
    low, high = (number(v) for v in result.get("ratio_range", (None, None)))
    return f"{text} ({low} to {high})" if low else text


def _matrix(section: Json, keys: list[str]) -> str:
    rows = []
    for peer in (p for p in PEERS if p != NISQKIT):
        results = [section[key]["peers"].get(peer) for key in keys]
        if any(results):
            rows.append([peer, *(_cell(r) for r in results)])
    return table(["peer", *keys], rows)


def _cell(result: Json | None) -> str:
    if result is None:
        return ""
    if "ratio" in result:
        return number(result["ratio"])
    return number(result.get("step_ms"), " ms") or str(result["status"])


def details(section: Json, title: str) -> str:
    """A table per workload: what was measured of each peer, why of some nothing, and when."""
    parts = []
    for key in _keys(section):
        run = section[key]
        parts.append(f"## {key}{title}: {WORKLOADS[key].title}\n")
        rows = [_row(peer, r) for peer, r in timed(run).items()]
        missing = [(p, r) for p, r in run["peers"].items() if p not in timed(run)]
        rows += [[p, r["status"], *[""] * 8] for p, r in missing]
        head = ["peer", "best setting", "step, ms", "/ nisqkit", "spread", "forward, ms"]
        head += ["first call, s: import + build + step", "peak MB (imports)", "precision"]
        parts.append(table([*head, "error of gradients (weights / inputs)"], rows))
        parts += [f"- {p} is not timed, {r['status']}: {r.get('reason')}" for p, r in missing]
        parts.append(_when(run))
    return "\n".join(parts)


def _row(peer: str, r: Json) -> list[str]:
    cold, spread = r["cold"], r["step_spread"]
    return [
        f"**{peer}**" if peer == NISQKIT else peer,
        r["setting"],
        number(r["step_ms"]),
        "1" if peer == NISQKIT else _ratio(r),
        "" if spread is None else f"{spread:.0%}",
        number(r.get("forward_ms")),
        f"{cold['import_s']:.1f} + {cold['build_s']:.2f} + {cold['first_s']:.2f}",
        f"{r['peak_mb']:.0f} ({r['import_mb']:.0f})",
        r["precision"],
        f"{r['differences']['weights']:.0e} / {r['differences']['inputs']:.0e}",
    ]


def _when(run: Json) -> str:
    """Which peers were timed when, and beside which step of ours."""
    lines = [""]
    for date in sorted({r["date"] for r in run["peers"].values()}):
        names = ", ".join(p for p, r in run["peers"].items() if r["date"] == date)
        about, text = run.get("runs", {}).get(date), ""
        if about:
            load = " to ".join(f"{v:.1f}" for v in about["load"])
            text = f" ({about['rounds']} rounds of {about['seconds']:g} s, "
            text += f"limit {about['limit']:.0f} s, load average {load}, "
            text += f"nisqkit {number(about['nisqkit_ms'], ' ms') or 'not timed'})"
        lines.append(f"- {date}{text}: {names}")
    return "\n".join([*lines, ""])


def settings(section: Json) -> str:
    """What each peer was tried with."""
    rows = []
    for key in _keys(section):
        for peer, r in timed(section[key]).items():
            tried = [
                f"{label}: {number(ms) if isinstance(ms, float) else ms}"
                for label, ms in r["settings"].items()
            ]
            rows.append([key, peer, "; ".join(tried)])
    if not rows:
        return ""
    text = "Milliseconds; of the peers from a short trial, of nisqkit from all rounds.\n"
    return f"## Thread settings\n\n{text}\n" + table(["", "peer", "tried"], rows)


def versions(sections: list[Json]) -> str:
    """What was installed."""
    found: dict[str, set[str]] = {}
    for section in sections:
        for run in section.values():
            for peer, r in run["peers"].items():
                if "versions" in r:
                    text = ", ".join(f"{k} {v}" for k, v in r["versions"].items())
                    found.setdefault(peer, set()).add(text)
    if not found:
        return ""
    rows = [[peer, "; ".join(sorted(v))] for peer, v in found.items()]
    return "## Versions\n\n" + table(["peer", "versions"], rows)
