"""Tables as a terminal shows them."""

import pytest
from rich.console import Console
from rich.table import Table

from nisqkit.search.metric import Metric
from nisqkit.search.profile import Profile
from nisqkit.search.profile_table import MAIN, profile_tables, written


def rows(table: Table) -> list[list[str]]:
    console = Console(width=300, no_color=True)
    with console.capture() as shown:
        console.print(table)
    lines = [line for line in shown.get().splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def model(parts: int) -> Profile:
    children = tuple(
        Profile(str(k), "classical", {"macs": Metric(10)} if k else {}, what="Part")
        for k in range(parts)
    )
    cost = {"price_usd_per_step.spsa": Metric(2, "USD", "sum", "estimated", date="2026-05-25")}
    return Profile("net", "model", cost, children)


def test_few_parts_stand_side_by_side_and_blank_is_not_zero() -> None:
    assert rows(model(2).table()) == [
        ["price_usd_per_step.spsa", "", "", "$2.00", "estimated 2026-05-25"],
        ["macs", "", "10", "10", "exact"],
    ]
    assert rows(model(0).table(["price_usd_per_step.spsa"])) == [
        ["price_usd_per_step.spsa", "$2.00", "estimated 2026-05-25"]
    ]


def test_many_parts_are_rows() -> None:
    found = rows(model(7).table())
    assert "macs" in MAIN
    assert found == [
        ["0", "Part", ""],
        *[[str(k), "Part", "10"] for k in range(1, 7)],
        ["total", "", "60"],
    ]
    with pytest.raises(ValueError, match="unknown metric 'mac'; did you mean 'macs'"):
        model(7).table(["mac"])


def test_on_a_narrow_terminal_columns_stand_below_each_other() -> None:
    metrics = {"macs": Metric(10), "parameters": Metric(3), "depth": Metric(7, aggregate="max")}
    parts = [Profile(str(k), "classical", metrics, what="Part") for k in range(6)]
    parts.append(Profile("6", "classical", {"macs": Metric(1)}, what="Part"))
    wide = Profile("net", "model", {}, tuple(parts))
    assert len(profile_tables(wide, 200)) == 1
    first, second = (rows(table) for table in profile_tables(wide, 40))
    assert first[-1] == ["total", "", "18", "61"] and len(first) == 8
    assert second[-1] == ["total", "", "7"] and len(second) == 7  # the last part has no depth


def test_a_diff_shows_what_changed() -> None:
    before = Profile("net", "model", {"a": Metric(8), "b": Metric(1), "c": Metric(0)})
    after = Profile("net", "model", {"a": Metric(2), "c": Metric(5), "d": Metric(0.25)})
    assert rows(before.diff(after)) == [
        ["a", "8", "2", "-75.0%"],
        ["b", "1", "", "gone"],
        ["c", "0", "5", "from 0"],
        ["d", "", "0.25", "new"],
    ]
    assert rows(before.diff(before)) == []


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        (Metric(0, "B"), "0 B"),
        (Metric(1023, "B"), "1023 B"),
        (Metric(3 * 2**30, "B"), "3.0 GiB"),
        (Metric(2**50, "B"), "1024.0 TiB"),
        (Metric(0, "s"), "0 s"),
        (Metric(4321.0, "s"), "4,321 s"),
        (Metric(2.5e-9, "s"), "2.5 ns"),
        (Metric(0.001, "USD"), "$0.001"),
        (Metric(0, "USD"), "$0.00"),
        (Metric(123456.7, "USD"), "$123,457"),
        (Metric(0.58083), "0.5808"),
        (Metric(12345.6), "12,346"),
    ],
)
def test_numbers_are_short(metric: Metric, text: str) -> None:
    assert written(metric) == text
