"""What a search needs to know: where to look, what to optimise, how to measure and evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nisqkit.search.base import Space, Value
from nisqkit.search.budget import Budget
from nisqkit.search.names import nearest
from nisqkit.search.objective import Objective

if TYPE_CHECKING:
    from numpy.random import Generator

Metrics = Mapping[str, float]
DRAWS = 2000  # so many candidates in a row that break a budget are an error


class Problem:
    """A space, its objectives and budgets, and two functions that give metrics.

    Args:
        space: where to look.
        objectives: what to optimise; two or more give a Pareto front.
        measure: the static metrics of one candidate, without simulation. It must be deterministic
            and return the same names for all candidates.
        evaluate: further metrics of a whole list of candidates at once, in its order. May be
            left out if all objectives are static.
        budgets: hard limits on static metrics; text is read by `Budget.parse`. A candidate that
            breaks one is never evaluated.
        initial: candidates to begin with.

    Raises:
        ValueError: no objectives, equal ones, a static objective or a budget on a metric that
            `measure` does not return, or an initial candidate that is none or breaks a budget.

    Example:
        >>> from nisqkit.search import Float, Objective
        >>> problem = Problem(Float(-1, 1), [Objective("loss")],
        ...                   evaluate=lambda xs: [{"loss": (x - 0.5) ** 2} for x in xs])
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        *,
        measure: Callable[[Value], Metrics] | None = None,
        evaluate: Callable[[list[Value]], Sequence[Metrics]] | None = None,
        budgets: Sequence[Budget | str] = (),
        initial: Sequence[Value] = (),
    ) -> None:
        self.space = space
        self.objectives = tuple(objectives)
        self.budgets = tuple(Budget.parse(b) if isinstance(b, str) else b for b in budgets)
        self.initial = tuple(initial)
        self._measure = measure
        self._evaluate = evaluate
        names = [objective.metric for objective in self.objectives]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"objectives {names}: at least one is needed, each metric once")
        static = [objective.metric for objective in self.objectives if objective.cost == "static"]
        if evaluate is None and len(static) < len(names):
            missing = [name for name in names if name not in static]
            raise ValueError(f"objectives {missing} are not static: pass evaluate=")
        if static or self.budgets:
            metrics = self.measure(space.sample(np.random.default_rng(0)))
            for name in static:
                if name not in metrics:
                    raise ValueError(
                        f"there is no static metric {name!r} for the objective"
                        f"{nearest(name, metrics)}"
                    )
            for budget in self.budgets:
                budget.excess(metrics)
        for i, value in enumerate(self.initial):
            space.check(value, f"initial[{i}]")
            broken = self.broken(self.measure(value))
            if broken:
                raise ValueError(f"initial[{i}] breaks the budget {'; '.join(broken)}")

    def measure(self, value: Value) -> dict[str, float]:
        """The static metrics of a candidate."""
        return {} if self._measure is None else _floats(self._measure(value))

    def evaluate(self, values: list[Value]) -> list[dict[str, float]]:
        """The other metrics of candidates.

        Raises:
            ValueError: `evaluate` returned another number of results than it got candidates.
        """
        if self._evaluate is None:
            return [{} for _ in values]
        found = [_floats(metrics) for metrics in self._evaluate(values)]
        if len(found) != len(values):
            raise ValueError(f"evaluate got {len(values)} candidates, but returned {len(found)}")
        return found

    def broken(self, metrics: Metrics) -> list[str]:
        """What budgets the metrics break, and by how much."""
        excesses = [(budget, budget.excess(metrics)) for budget in self.budgets]
        return [f"{budget} by {excess:g}" for budget, excess in excesses if excess > 0]

    def losses(self, metrics: Metrics) -> tuple[float, ...]:
        """The objectives as numbers to minimise, in their order.

        Raises:
            ValueError: a metric that is missing, which names the nearest.
        """
        for objective in self.objectives:
            if objective.metric not in metrics:
                raise ValueError(
                    f"neither measure nor evaluate returned the objective {objective.metric!r}"
                    f"{nearest(objective.metric, metrics)}"
                )
        return tuple(objective.loss(metrics[objective.metric]) for objective in self.objectives)

    def draw(
        self, make: Callable[[Generator], Value], rng: Generator
    ) -> tuple[Value, dict[str, float]]:
        """Draw candidates until one fits the budgets; that one and its static metrics.

        Raises:
            ValueError: none of 2000 fits, which says which budget is broken by how much.
        """
        for _ in range(DRAWS):
            value = make(rng)
            metrics = self.measure(value)
            if not self.broken(metrics):
                return value, metrics
        found = self.space.feasible(self.budgets, self.measure, samples=DRAWS)
        raise ValueError(
            f"none of {DRAWS} candidates drawn in a row fits the budgets; of the space, {found}"
        )


def _floats(metrics: Metrics) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}
