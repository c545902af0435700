"""IBM's published formula, by the examples that IBM publishes."""

import json
from datetime import date
from pathlib import Path

import pytest

from nisqkit.hardware_backends.ibm_price import ibm_prices, price_usd, qpu_seconds


@pytest.mark.parametrize("executions", [1, 4096, 1_000_000])
def test_the_quick_form_is_2_and_350_microseconds_each(executions: int) -> None:
    assert qpu_seconds(executions) == pytest.approx(2 + 0.00035 * executions)


def test_the_quick_form_is_the_formula_for_a_typical_circuit() -> None:
    # "A typical circuit length is likely between 50-100 microseconds", rep_delay 250
    low, high = (qpu_seconds(10_000, length) for length in (50e-6, 100e-6))
    assert low < qpu_seconds(10_000) == pytest.approx(high)
    assert low == pytest.approx(2 + 300e-6 * 10_000)


def test_the_code_example_of_the_documentation() -> None:
    # circuit_duration += init_duration; += rep_delay; total_time = 2 + circuit_duration * shots
    circuit, init, rep_delay, shots = 3.2e-6, 1.1e-6, 100e-6, 1024
    expected = 2 + (circuit + init + rep_delay) * shots
    assert qpu_seconds(shots, circuit + init, rep_delay=rep_delay) == pytest.approx(expected)
    assert qpu_seconds(0, 1e-6, rep_delay=0.0, jobs=3) == 6


def test_prices_are_dated_and_per_minute() -> None:
    prices = ibm_prices()
    assert date.fromisoformat(prices.date) >= date(2026, 5, 25)
    assert [60 * price_usd(1, p) for p in ("pay-as-you-go", "flex", "premium", "open")] == [
        *(pytest.approx(96), pytest.approx(72), pytest.approx(48), 0)
    ]


def test_bad_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="executions is -1: give a number, 0 or more"):
        qpu_seconds(-1)
    with pytest.raises(ValueError, match="circuit_seconds is nan"):
        qpu_seconds(1, float("nan"))
    with pytest.raises(ValueError, match="rep_delay is -1"):
        qpu_seconds(1, 1e-6, rep_delay=-1)
    with pytest.raises(ValueError, match="rep_delay needs the length of the circuit"):
        qpu_seconds(1, rep_delay=1e-4)
    with pytest.raises(ValueError, match="jobs is 0: give 1 or more"):
        qpu_seconds(1, jobs=0)
    with pytest.raises(ValueError, match="unknown plan 'flexx'; did you mean 'flex'"):
        price_usd(1, "flexx")
    (tmp_path / "other.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(ValueError, match="is no price list"):
        ibm_prices(tmp_path / "other.json")
