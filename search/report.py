"""The result of a study as a table and as a picture."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

    from nisqkit.search.study import Study


def front_table(study: Study) -> Table:
    """The front, one row per candidate: its number, objectives, other metrics, and itself."""
    from rich.table import Table

    front = study.front
    names = [objective.metric for objective in study.problem.objectives]
    others = sorted({name for c in front for name in c.metrics} - set(names))
    failed = len(study.failed)
    count = f"{len(study.evaluated)} candidates, {len(study.distinct)} different"
    table = Table(
        title=f"{study.optuna.study_name}: front of {len(front)}",
        caption=count + (f", {failed} failed (not finite)" if failed else ""),
    )
    table.add_column("number", justify="right")
    for objective in study.problem.objectives:
        arrow = "↓" if objective.direction == "minimize" else "↑"
        table.add_column(f"{objective.metric} {arrow}", justify="right")
    for name in others:
        table.add_column(name, justify="right")
    table.add_column("candidate", overflow="fold")
    knee = study.knee().number if len(names) > 1 and front else None
    for c in front:
        number = f"{c.number} (knee)" if c.number == knee else str(c.number)
        metrics = [f"{c.metrics[name]:.6g}" if name in c.metrics else "" for name in names + others]
        table.add_row(number, *metrics, study.problem.space.key(c.value))
    return table


def plot_study(study: Study, path: str | Path) -> None:
    """Write a picture: every pair of objectives, or the best so far if there is only one.

    Raises:
        ValueError: nothing is evaluated yet, or Matplotlib does not know the suffix.
    """
    from matplotlib.figure import Figure

    if not study.evaluated:
        raise ValueError("nothing is evaluated yet: call Study.run first")
    pairs = list(combinations(range(len(study.problem.objectives)), 2))
    figure = Figure(figsize=(5 * max(1, len(pairs)), 4), layout="constrained")
    if pairs:
        axes = np.atleast_1d(figure.subplots(1, len(pairs)))
        for axis, (x, y) in zip(axes, pairs, strict=True):
            _plot_pair(axis, study, x, y)
    else:
        _plot_progress(figure.subplots(), study)
    figure.savefig(path)


def _plot_pair(axis: Axes, study: Study, x: int, y: int) -> None:
    names = [objective.metric for objective in study.problem.objectives]
    front = study.front
    knee = study.knee()
    for candidates, marker, label in (
        (study.evaluated, ".", "evaluated"),
        (front, "o", "front"),
        ([knee], "*", "knee"),
    ):
        xs = [c.metrics[names[x]] for c in candidates]
        ys = [c.metrics[names[y]] for c in candidates]
        size = {".": 3, "o": 6, "*": 14}[marker]
        axis.plot(xs, ys, marker, markersize=size, label=label, alpha=0.5 if size == 3 else 1)
    axis.set_xlabel(names[x])
    axis.set_ylabel(names[y])
    axis.legend()


def _plot_progress(axis: Axes, study: Study) -> None:
    (objective,) = study.problem.objectives
    values = [c.metrics[objective.metric] for c in study.evaluated]
    better = np.minimum if objective.direction == "minimize" else np.maximum
    axis.plot(values, ".", markersize=3, alpha=0.5, label="evaluated")
    axis.plot(better.accumulate(values), label="best so far")
    axis.set_xlabel("candidate")
    axis.set_ylabel(objective.metric)
    axis.legend()
