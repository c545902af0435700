"""Costs multiply; lists whose order makes no sense are refused."""

from __future__ import annotations

import pytest

from nisqkit.noise.mitigation import ZNE, Cost, PauliTwirling, ReadoutMitigation, stack_cost
from nisqkit.noise.mitigation.base import Mitigator, check_stack


def test_the_cost_of_a_stack_is_known_before_it_runs() -> None:
    stack = [PauliTwirling(16), ZNE((1, 3, 5)), ReadoutMitigation()]
    assert stack_cost(stack) == Cost(circuits=48, shots=3)
    assert stack_cost([]) == Cost(1, 1)


@pytest.mark.parametrize(
    "stack",
    [
        [],
        [ZNE(), ReadoutMitigation()],
        [ReadoutMitigation(), ZNE()],
        [ReadoutMitigation("bayes"), ZNE()],
        [PauliTwirling(), ReadoutMitigation("least-squares"), ZNE()],
    ],
)
def test_orders_that_make_sense(stack: list[Mitigator]) -> None:
    check_stack(stack)


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ([ZNE(), PauliTwirling()], "PauliTwirling behind ZNE, so that the gates"),
        ([ZNE(), ReadoutMitigation("bayes")], "ReadoutMitigation behind ZNE, so that what is ext"),
        ([ZNE(), ZNE((1, 2))], "lists ZNE twice"),
    ],
)
def test_orders_that_make_none(stack: list[Mitigator], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_stack(stack)


def test_something_else_is_no_mitigator() -> None:
    with pytest.raises(TypeError, match=r"mitigation takes mitigators such as ZNE\(\), not str"):
        check_stack(["zne"])  # type: ignore[list-item]
