from typing import Any

import pytest

from nisqkit.search import Budget, Int, Objective, Problem


def evaluate(values: list[int]) -> list[dict[str, float]]:
    raise AssertionError("nothing may be evaluated before the problem is sound")


def problem(**options: Any) -> Problem:
    defaults: dict[str, Any] = {
        "objectives": [Objective("loss")],
        "measure": lambda x: {"gates": x, "depth": 2 * x},
        "evaluate": evaluate,
    }
    return Problem(Int(0, 9), **(defaults | options))


def test_text_becomes_budgets() -> None:
    assert problem(budgets=["gates<=4", Budget("depth", min=1)]).budgets == (
        Budget("gates", max=4),
        Budget("depth", min=1),
    )


def test_broken_budgets_in_words() -> None:
    sound = problem(budgets=["gates<=4", "depth>=6"])
    assert sound.broken({"gates": 6, "depth": 5}) == ["gates<=4 by 2", "depth>=6 by 1"]
    assert sound.broken({"gates": 3, "depth": 6}) == []


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"objectives": []}, r"objectives \[\]: at least one is needed"),
        ({"objectives": [Objective("a"), Objective("a")]}, "each metric once"),
        ({"evaluate": None}, r"objectives \['loss'\] are not static: pass evaluate="),
        ({"budgets": ["gate<=4"]}, "no static metric 'gate'; did you mean 'gates'"),
        ({"budgets": ["loss<=4"]}, r"no static metric 'loss'; there are \['gates', 'depth'\]"),
        (
            {"objectives": [Objective("dept", cost="static")]},
            "no static metric 'dept' for the objective; did you mean 'depth'",
        ),
        ({"initial": [10]}, r"initial\[0\] is 10, but must be an integer from 0 to 9"),
        (
            {"initial": [3, 9], "budgets": ["gates<=4"]},
            r"initial\[1\] breaks the budget gates<=4 by 5",
        ),
    ],
)
def test_problems_that_cannot_be(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        problem(**options)


def test_objectives_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="direction is 'min', but must be one of"):
        Objective("loss", direction="min")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="cost is 'free', but must be one of"):
        Objective("loss", cost="free")  # pyright: ignore[reportArgumentType]
