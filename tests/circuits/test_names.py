"""Natural order, and the text of errors about unknown names."""

import random

from nisqkit.circuits.names import natural_key, unknown


def test_numbers_are_ordered_by_value() -> None:
    ordered = ["a", "a1b2", "a1b10", "a2", "a10", "b", "theta[2]", "theta[10]", "w9z", "w10"]
    shuffled = random.Random(3).sample(ordered, len(ordered))
    assert sorted(shuffled, key=natural_key) == ordered


def test_numbers_come_before_letters() -> None:
    assert sorted(["q", "10", "2", ""], key=natural_key) == ["", "2", "10", "q"]


def test_any_parameter_name_has_a_key() -> None:
    """A superscript is a digit that is no number."""
    assert sorted(["x²", "x2", "²", "θ٣", "θ12"], key=natural_key)[0] == "x2"


def test_the_nearest_name_comes_first() -> None:
    message = unknown("encoder", "4x4_ryzxz", ["10_ryzx", "4x4_ryzxy", "6x6_ryzxy"])
    assert message == (
        "unknown encoder '4x4_ryzxz'; did you mean '4x4_ryzxy'? Known: 4x4_ryzxy, 6x6_ryzxy, "
        "10_ryzx."
    )


def test_without_a_near_name_there_is_no_guess() -> None:
    assert unknown("gate", "toffoli", ["h", "x"]) == "unknown gate 'toffoli'. Known: h, x."


def test_nothing_is_known() -> None:
    assert unknown("input", "x", []) == "unknown input 'x'. Known: none."


def test_long_lists_are_cut() -> None:
    message = unknown("weight", "v", (f"w{k}" for k in range(40)))
    assert message.endswith("w22, w23, ... (40 in all).")
    assert "w24" not in message
    assert "in all" not in unknown("weight", "v", (f"w{k}" for k in range(24)))


def test_a_far_name_is_no_guess() -> None:
    assert "did you mean" not in unknown("device", "fake_rueschlikon", ["fake_cusco"])
