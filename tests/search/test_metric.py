"""Totals of metrics."""

import math

import pytest

from nisqkit.search.metric import Metric, unknown, whole


def test_parts_add_up_as_they_say() -> None:
    assert whole([Metric(2), Metric(3)]).value == 5
    assert whole([Metric(2, aggregate="max"), Metric(3, aggregate="max")]).value == 3
    assert whole([Metric(0.5, aggregate="product")] * 3).value == 0.125
    assert whole([Metric(7, aggregate="none")]).value == 7


def test_a_whole_is_as_firm_as_its_weakest_part() -> None:
    made = whole(
        [
            Metric(1, "s", source="measured", spread=3.0),
            Metric(1, "s", source="measured", spread=4.0),
            Metric(1, "s", source="calibrated", date="2026-02-01"),
            Metric(1, "s", source="exact", date="2025-02-01"),
        ]
    )
    assert (made.source, made.spread, made.date) == ("measured", 5.0, "2025-02-01")
    assert whole([Metric(1), Metric(1, source="estimated")]).source == "estimated"


def test_what_makes_no_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="agree in unit and aggregate, got sum of s, sum of B"):
        whole([Metric(1, "s"), Metric(1, "B")])
    with pytest.raises(ValueError, match="'none' make no whole"):
        whole([Metric(1, aggregate="none")] * 2)
    with pytest.raises(ValueError, match="finite number, got nan"):
        Metric(math.nan)
    with pytest.raises(ValueError, match="unknown aggregate 'sums'; did you mean 'sum'"):
        Metric(1, aggregate="sums")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown source 'mesured'; did you mean 'measured'"):
        Metric(1, source="mesured")  # type: ignore[arg-type]
    assert unknown("metric", "xyz", []) == "unknown metric 'xyz'. Known: none."
