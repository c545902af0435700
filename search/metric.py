"""`Metric`: one number of a profile, with its unit, how it adds up, and where it comes from."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

Aggregate: TypeAlias = Literal["sum", "max", "product", "none"]
Source: TypeAlias = Literal["exact", "analytic", "estimated", "measured", "calibrated"]

SOURCES: tuple[Source, ...] = ("exact", "analytic", "calibrated", "measured", "estimated")
"""From the firmest to the weakest: what a total says is the weakest of its parts."""


@dataclass(frozen=True)
class Metric:
    """One number.

    Attributes:
        value: The number, finite.
        unit: Such as ``"B"``, ``"s"`` or ``"USD"``; empty for a count.
        aggregate: How parts make a whole: ``"sum"``, ``"max"``, ``"product"``, or ``"none"`` where
            nothing sensible comes of it.
        source: ``"exact"`` (counted), ``"analytic"`` (a formula that holds by construction),
            ``"estimated"`` (a model that may be wrong), ``"measured"``, or ``"calibrated"`` (from
            the calibration of a device).
        spread: Of a measurement: its interquartile range, in the same unit.
        date: Of a calibration or a price list, as ``YYYY-MM-DD``.

    Raises:
        ValueError: A value that is not finite, or an unknown aggregate or source.

    Example:
        >>> whole([Metric(3), Metric(4, source="estimated")])
        Metric(value=7, unit='', aggregate='sum', source='estimated', spread=None, date=None)
    """

    value: float
    unit: str = ""
    aggregate: Aggregate = "sum"
    source: Source = "exact"
    spread: float | None = None
    date: str | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(
                f"a metric is a finite number, got {self.value}: leave out what does not apply"
            )
        if self.aggregate not in get_args(Aggregate):
            raise ValueError(unknown("aggregate", self.aggregate, get_args(Aggregate)))
        if self.source not in SOURCES:
            raise ValueError(unknown("source", self.source, SOURCES))

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, for JSON."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        defaults = {field.name: field.default for field in fields(self)}
        return {k: v for k, v in found.items() if k == "value" or v != defaults[k]}


def whole(parts: Sequence[Metric]) -> Metric:
    """What parts make together, by their ``aggregate``.

    Independent spreads add in squares. The source is the weakest one, the date the earliest.

    Raises:
        ValueError: The parts differ in unit or aggregate, or several have the aggregate ``"none"``.

    Example:
        >>> whole([Metric(0.5, aggregate="product"), Metric(0.5, aggregate="product")]).value
        0.25
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if len({(part.unit, part.aggregate) for part in parts}) > 1:
        kinds = ", ".join(f"{part.aggregate} of {part.unit or 'counts'}" for part in parts)
        raise ValueError(f"parts that make a whole agree in unit and aggregate, got {kinds}")
    if first.aggregate == "none":
        raise ValueError("metrics with aggregate 'none' make no whole: look at the parts")
    values = [part.value for part in parts]
    spreads = [part.spread for part in parts if part.spread is not None]
    dates = [part.date for part in parts if part.date is not None]
    makes: dict[str, float] = {
        "sum": sum(values),
        "max": max(values),
        "product": math.prod(values),
    }
    weakest = SOURCES[max(SOURCES.index(part.source) for part in parts)]
    return Metric(
        makes[first.aggregate],
        first.unit,
        first.aggregate,
        weakest,
        math.hypot(*spreads) if spreads else None,
        min(dates) if dates else None,
    )


def unknown(kind: str, given: object, known: Iterable[str]) -> str:
    """The text of an error about an unknown name: the nearest one first, then what is known.

    Example:
        >>> unknown("metric", "mac", ["macs", "parameters"])
        "unknown metric 'mac'; did you mean 'macs'? Known: macs, parameters."
    """
    names = list(known)
    near = difflib.get_close_matches(str(given), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {given!r}{hint} Known: {', '.join(names) or 'none'}."
