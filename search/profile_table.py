"""Profiles as tables to print."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from nisqkit.search.metric import Metric, unknown
from nisqkit.search.profile import Profile

MAIN = (
    *("parameters", "macs", "weight_bytes", "peak_activation_bytes", "latency_seconds"),
    *("qubits", "depth", "two_qubit_gates", "success_probability"),
    *("executions_per_step.parameter_shift", "price_usd_per_step.parameter_shift"),
)
"""What people compare first: the columns of a table of parts."""

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))


def profile_table(profile: Profile, names: Sequence[str] | None = None) -> Table:
    """See `Profile.table`."""
    totals = profile.totals()
    for name in names or ():
        if name not in totals:
            raise ValueError(unknown("metric", name, totals))
    if not profile.children:
        return _one(profile, totals, names or list(totals))
    chosen = [name for name in names or MAIN if name in totals]
    table = Table(title=profile.what or profile.name, title_justify="left")
    table.add_column("part")
    table.add_column("what")
    for name in chosen:
        table.add_column(name.replace("_", " ").replace(".", " "), justify="right")
    rows = list(profile.walk())
    for path, node in rows[1:]:
        indent = "  " * (_depth(profile, path) - 1)
        table.add_row(f"{indent}{node.name}", node.what, *_cells(node.totals(), chosen))
    table.add_section()
    table.add_row("total", profile.kind, *_cells(totals, chosen))
    return table


def _depth(profile: Profile, path: str) -> int:
    """How deep a node is; names may hold dots."""
    depth, node, left = 0, profile, path
    while left:
        node = next(
            child
            for child in node.children
            if left == child.name or left.startswith(f"{child.name}.")
        )
        left, depth = left[len(node.name) + 1 :], depth + 1
    return depth


def _cells(totals: dict[str, Metric], names: Sequence[str]) -> list[str]:
    return [written(totals[name]) if name in totals else "" for name in names]


def _one(profile: Profile, totals: dict[str, Metric], names: Sequence[str]) -> Table:
    title = f"{profile.name} ({profile.what})" if profile.what else profile.name
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("source")
    for name in names:
        metric = totals[name]
        source = metric.source + (f" {metric.date}" if metric.date else "")
        table.add_row(name, written(metric), source)
    return table


def diff_table(before: Profile, after: Profile) -> Table:
    """See `Profile.diff`."""
    old, new = before.totals(), after.totals()
    table = Table(title=f"{before.name} before and after", title_justify="left")
    table.add_column("metric")
    for heading in ("before", "after", "change"):
        table.add_column(heading, justify="right")
    for name in dict.fromkeys([*old, *new]):
        one, other = old.get(name), new.get(name)
        if one is None or other is None:
            cells = [written(one) if one else "", written(other) if other else ""]
            table.add_row(name, *cells, "gone" if one else "new")
        elif one.value != other.value:
            change = f"{other.value / one.value - 1:+.1%}" if one.value else "from 0"
            table.add_row(name, written(one), written(other), change)
    return table


def written(metric: Metric) -> str:
    """A metric as people read it, to three digits or so.

    Example:
        >>> [written(Metric(v, u)) for v, u in ((3, ""), (123456, ""), (2048, "B"), (3.2e-5, "s"))]
        ['3', '123,456', '2.0 KiB', '32 µs']
        >>> written(Metric(0.01, "s", source="measured", spread=0.001))
        '10 ms ± 1 ms'
    """
    text = _value(metric.value, metric.unit)
    if metric.spread is not None:
        text += f" ± {_value(metric.spread, metric.unit)}"
    return text


def _value(value: float, unit: str) -> str:
    if unit == "B":
        size, power = float(value), 0
        while size >= 1024 and power < 4:
            size, power = size / 1024, power + 1
        return f"{size:.1f} {'KMGT'[power - 1]}iB" if power else f"{size:.0f} B"
    if unit == "s" and 0 < abs(value) < 1:
        factor, prefix = next((p for p in _PREFIXES if abs(value) >= p[0]), (1e-9, "n"))
        return f"{value / factor:.3g} {prefix}s"
    if unit == "USD":
        return f"${value:,.2f}" if value >= 0.01 or not value else f"${value:.2g}"
    number = f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1e4 else f"{value:.4g}"
    return f"{number} {unit}".strip()
