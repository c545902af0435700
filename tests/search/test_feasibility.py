import io
import math

import pytest
from rich.console import Console
from scipy.stats import binomtest

from nisqkit.search import Budget, Group, Int

SPACE = Group({"qubits": Int(1, 10), "layers": Int(1, 10)})
BUDGETS = [Budget("gates", max=20), Budget("qubits", max=8), Budget("layers", min=1)]


def measure(value: dict[str, int]) -> dict[str, float]:
    gates = value["qubits"] * value["layers"]
    return {"gates": gates, "qubits": value["qubits"], "layers": value["layers"]}


def test_shares_are_those_of_an_enumeration() -> None:
    found = SPACE.feasible(BUDGETS, measure, samples=4000, seed=1)
    every = [(q, n) for q in range(1, 11) for n in range(1, 11)]
    many = {(q, n) for q, n in every if q * n > 20}
    wide = {(q, n) for q, n in every if q > 8}
    expected = {
        "share": 1 - len(many | wide) / 100,
        "gates": len(many) / 100,
        "gates alone": len(many - wide) / 100,
        "qubits": len(wide) / 100,
        "qubits alone": len(wide - many) / 100,
    }
    gates, qubits = found.killers  # the worst first; the third budget kills nothing
    measured = {
        "share": found.share,
        "gates": gates.share,
        "gates alone": gates.alone,
        "qubits": qubits.share,
        "qubits alone": qubits.alone,
    }
    for name, share in expected.items():
        assert abs(measured[name] - share) < 5 * math.sqrt(share * (1 - share) / 4000), name
    assert gates.budget == BUDGETS[0]
    assert gates.least_excess == 1  # 3 times 7
    assert (qubits.least_excess, qubits.median_excess) in [(1, 1), (1, 1.5), (1, 2)]
    interval = binomtest(round(found.share * 4000), 4000).proportion_ci(method="exact")
    assert found.interval == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_all_or_nothing() -> None:
    none = SPACE.feasible([Budget("gates", max=0.5)], measure, samples=100)
    assert none.share == 0
    assert none.interval == pytest.approx((0, 1 - 0.025 ** (1 / 100)))
    assert "gates<=0.5 is broken by 100.0% (100.0% break it alone), by at least" in str(none)
    every = SPACE.feasible([Budget("gates", max=100)], measure, samples=100)
    assert every.share == 1
    assert every.killers == ()


def test_table() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(SPACE.feasible(BUDGETS, measure).table())
    text = console.export_text()
    assert "gates<=20" in text
    assert "qubits<=8" in text
    assert "layers" not in text


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"no static metric 'qubit'; did you mean 'qubits'"):
        SPACE.feasible([Budget("qubit", max=3)], measure)
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        SPACE.feasible(BUDGETS, measure, samples=0)
