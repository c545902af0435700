import math

import pytest

from nisqkit.search.budget import Budget


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two_qubit_gates<=40", Budget("two_qubit_gates", max=40)),
        ("classical.weight_bytes <= 8k", Budget("classical.weight_bytes", max=8000)),
        ("macs<=1.5M", Budget("macs", max=1_500_000)),
        ("esp>=0.9", Budget("esp", min=0.9)),
        ("error<=1e-3", Budget("error", max=0.001)),
    ],
)
def test_parse(text: str, expected: Budget) -> None:
    assert Budget.parse(text) == expected


@pytest.mark.parametrize("text", ["", "gates", "gates<40", "gates<=", "gates<=4G", "<=4", "a<=1-2"])
def test_text_that_is_no_budget(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected metric<=number or metric>=number, such as"):
        Budget.parse(text)


def test_excess() -> None:
    both = Budget("gates", max=10, min=4)
    assert [both.excess({"gates": n}) for n in (1, 4, 7, 10, 12)] == [3, 0, 0, 0, 2]
    assert str(both) == "gates<=10 and gates>=4"


def test_bad_budgets() -> None:
    with pytest.raises(ValueError, match="give a finite max, or min, or both"):
        Budget("gates")
    with pytest.raises(ValueError, match="give a finite max, or min, or both"):
        Budget("gates", max=math.inf)
    with pytest.raises(ValueError, match=r"no static metric 'gate'; did you mean 'gates'\?"):
        Budget("gate", max=3).excess({"gates": 3, "depth": 4})
    with pytest.raises(ValueError, match="gates<=3: the metric is NaN"):
        Budget("gates", max=3).excess({"gates": math.nan})
