"""Profiles as tables to print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from nisqkit.search.metric import Metric, unknown
from nisqkit.search.profile import Profile

MAIN = (
    *("parameters", "macs", "weight_bytes", "peak_activation_bytes", "latency_seconds"),
    *("qubits", "depth", "two_qubit_gates", "success_probability"),
    *("executions_per_step.parameter_shift", "price_usd_per_step.parameter_shift"),
)
"""What people compare first: the columns where there are more parts than fit side by side."""

SIDE_BY_SIDE = 5
"""With so many parts at most, parts are columns."""

_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def profile_table(profile: Profile, names: Sequence[str] | None = None) -> Table:
    """See `Profile.table`."""
    totals = profile.totals()
    for name in names or ():
        if name not in totals:
            raise ValueError(unknown("metric", name, totals))
    parts = list(profile.walk())[1:]
    if len(parts) <= SIDE_BY_SIDE:
        return _metrics_as_rows(profile, totals, parts, names or list(totals))
    return _parts_as_rows(profile, totals, parts, [n for n in names or MAIN if n in totals])


def profile_tables(profile: Profile, width: int) -> list[Table]:
    """The table of a profile; where it is too wide, several with some of its columns each.

    Args:
        profile: What to show.
        width: Of the terminal, in characters.
    """
    parts = list(profile.walk())[1:]
    names = [name for name in MAIN if name in profile.totals()]
    if len(parts) <= SIDE_BY_SIDE or width >= 16 * len(names):
        return [profile_table(profile)]
    each = max(2, (width - 32) // 12)
    totals = profile.totals()
    return [
        _parts_as_rows(profile, totals, parts, names[k : k + each], some=True)
        for k in range(0, len(names), each)
    ]


def _metrics_as_rows(
    profile: Profile,
    totals: Mapping[str, Metric],
    parts: Sequence[tuple[str, Profile]],
    names: Sequence[str],
) -> Table:
    table = Table(title=_title(profile), title_justify="left")
    table.add_column("metric", no_wrap=True)
    for path, node in parts:
        table.add_column(f"{path}\n{node.what}", justify="right", overflow="fold")
    table.add_column("total" if parts else "value", justify="right", overflow="fold")
    table.add_column("source", overflow="fold")
    inner = [node.totals() for _, node in parts]
    for name in names:
        metric = totals[name]
        source = metric.source + (f" {metric.date}" if metric.date else "")
        cells = [_cell(found, name) for found in inner]
        table.add_row(name, *cells, written(metric), source)
    return table


def _parts_as_rows(
    profile: Profile,
    totals: Mapping[str, Metric],
    parts: Sequence[tuple[str, Profile]],
    names: Sequence[str],
    some: bool = False,
) -> Table:
    """One row per part; of some of the columns, without parts that have none of them."""
    table = Table(title=_title(profile), title_justify="left")
    table.add_column("part")
    table.add_column("what")
    for name in names:
        table.add_column(name.replace("_", " ").replace(".", " "), justify="right")
    for path, node in parts:
        found = node.totals()
        if some and not found.keys() & set(names):
            continue  # it has nothing of these
        table.add_row(path, node.what, *[_cell(found, name) for name in names])
    table.add_section()
    table.add_row("total", "", *[written(totals[name]) for name in names])
    return table


def _title(profile: Profile) -> str:
    if profile.what in ("", profile.name):
        return profile.name
    return f"{profile.name} ({profile.what})"


def _cell(found: Mapping[str, Metric], name: str) -> str:
    return written(found[name]) if name in found else ""


def diff_table(before: Profile, after: Profile) -> Table:
    """See `Profile.diff`."""
    old, new = before.totals(), after.totals()
    same = before.name == after.name
    table = Table(
        title=before.name if same else f"from {before.name} to {after.name}", title_justify="left"
    )
    table.add_column("metric", no_wrap=True)
    for heading in ("before", "after", "change"):
        table.add_column(heading, justify="right")
    for name in dict.fromkeys([*old, *new]):
        one, other = old.get(name), new.get(name)
        if one is not None and other is not None:
            if one.value != other.value:
                change = f"{other.value / one.value - 1:+.1%}" if one.value else "from 0"
                table.add_row(name, written(one), written(other), change)
        else:
            change = "gone" if other is None else "new"
            table.add_row(name, _cell(old, name), _cell(new, name), change)
    return table


def written(metric: Metric) -> str:
    """A metric as people read it, to three digits or so.

    Example:
        >>> [written(Metric(v, u)) for v, u in ((3, ""), (123456, ""), (2048, "B"), (3.2e-5, "s"))]
        ['3', '123,456', '2.0 KiB', '32 µs']
        >>> written(Metric(0.01, "s", source="measured", spread=0.001))
        '10 ± 1 ms'
    """
    value, unit = float(metric.value), metric.unit
    if unit == "B":
        size, power = value, 0
        while size >= 1024 and power < 4:
            size, power = size / 1024, power + 1
        return f"{size:.1f} {'KMGT'[power - 1]}iB" if power else f"{size:.0f} B"
    if unit == "s":
        factor, prefix = next((p for p in _PREFIXES if abs(value) >= p[0]), (1.0, ""))
        spread = "" if metric.spread is None else f" ± {metric.spread / factor:.2g}"
        number = f"{value:,.0f}" if value >= 1000 else f"{value / factor:.3g}"
        return f"{number}{spread} {prefix}s"
    if unit == "USD":
        digits = ",.0f" if value >= 1000 else ",.2f" if value >= 0.01 or not value else ".2g"
        return f"${value:{digits}}"
    number = f"{value:,.0f}" if value.is_integer() or abs(value) >= 1e4 else f"{value:.4g}"
    return f"{number} {unit}".strip()
