"""Frozen entries keep their bits, and the others move as in an optimizer of their own."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn, optim

from nisqkit.qml.frozen_step import frozen_step

OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], optim.Optimizer]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: optim.Adam(p, lr=0.1, weight_decay=0.1),
    "amsgrad": lambda p: optim.Adam(p, lr=0.1, amsgrad=True, maximize=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.1, centered=True, momentum=0.5, weight_decay=0.1),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.3, weight_decay=0.1),
    "adadelta": lambda p: optim.Adadelta(p, weight_decay=0.1),
    "adamax": lambda p: optim.Adamax(p, lr=0.1, weight_decay=0.1),
    "nadam": lambda p: optim.NAdam(p, lr=0.1, weight_decay=0.1),
    "radam": lambda p: optim.RAdam(p, lr=0.1, weight_decay=0.1),
}


def memory(optimizer: optim.Optimizer, w: Tensor) -> dict[str, Tensor]:
    """What is kept per entry."""
    state = optimizer.state[w]
    return {k: v.clone() for k, v in state.items() if torch.is_tensor(v) and v.shape == w.shape}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_entries_keep_their_bits_and_the_others_move_as_in_a_plain_step(name: str) -> None:
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(12))
    optimizer = OPTIMIZERS[name]([w])
    moved_by_plain_step = False
    for step in range(8):
        frozen = torch.rand(12) < 0.5 if step else torch.arange(12) < 6  # the very first step, too
        w.grad = torch.where(frozen, 0.0, torch.randn(12))
        twin = nn.Parameter(w.detach().clone())
        twin.grad = w.grad.clone()
        plain = OPTIMIZERS[name]([twin])
        plain.load_state_dict(deepcopy(optimizer.state_dict()))
        before, known = w.detach().clone(), memory(optimizer, w)
        frozen_step(optimizer, {w: frozen})
        plain.step()

        assert torch.equal(w[frozen], before[frozen])
        assert torch.equal(w[~frozen], twin[~frozen]) and (w[~frozen] != before[~frozen]).all()
        for key, value in memory(optimizer, w).items():
            if key in known:
                assert torch.equal(value[frozen], known[key][frozen])
            assert torch.equal(value[~frozen], plain.state[twin][key][~frozen])
        moved_by_plain_step |= not torch.equal(twin[frozen], before[frozen])
    assert moved_by_plain_step == (name != "sgd")  # so a zero gradient would not have done


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_entries_frozen_from_the_start_might_as_well_not_be_there(name: str) -> None:
    """The others move as in an optimizer that never heard of them."""
    torch.manual_seed(1)
    w = nn.Parameter(torch.randn(10))
    frozen = torch.arange(10) % 3 == 0
    alone = nn.Parameter(w.detach()[~frozen].clone())
    whole, part = OPTIMIZERS[name]([w]), OPTIMIZERS[name]([alone])
    for _ in range(6):
        w.grad = torch.randn(10)  # frozen, whatever the gradient
        alone.grad = w.grad[~frozen].clone()
        frozen_step(whole, {w: frozen})
        part.step()
        torch.testing.assert_close(w[~frozen], alone, rtol=1e-6, atol=1e-6)
    # and start as fresh entries do when they are no longer frozen
    assert all(not v[frozen].any() or k == "sum" for k, v in memory(whole, w).items())


def test_parameters_that_are_not_named_move_as_a_whole() -> None:
    w, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = optim.SGD([w, other], lr=1.0)
    (w.sum() + other.sum()).backward()
    frozen_step(optimizer, {w: torch.tensor([True, False])})
    assert w.tolist() == [1, 0] and other.tolist() == [0, 0]


def test_refuses_optimizers_whose_entries_are_not_apart() -> None:
    w = nn.Parameter(torch.ones(2))
    for wrong in (optim.LBFGS([w]), optim.Rprop([w])):
        with pytest.raises(TypeError, match="cannot freeze single entries"):
            frozen_step(wrong, {})


def test_refuses_masks_that_do_not_fit() -> None:
    w = nn.Parameter(torch.ones(2))
    optimizer = optim.Adam([w])
    with pytest.raises(ValueError, match="does not train it"):
        frozen_step(optimizer, {torch.ones(2): torch.ones(2, dtype=torch.bool)})
    for mask in (torch.ones(2), torch.ones(3, dtype=torch.bool)):
        with pytest.raises(ValueError, match="booleans of the same shape"):
            frozen_step(optimizer, {w: mask})
    assert not optimizer.state  # nothing was done
