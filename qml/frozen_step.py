"""A step of an optimizer that leaves chosen entries of its parameters exactly as they are.

A gradient of zero does not do that: momentum, Adam's moments and weight decay move an entry whose
gradient is zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
)

ELEMENTWISE = (Adam, AdamW, SGD, RMSprop, Adagrad, Adadelta, Adamax, NAdam, RAdam)
"""Optimizers that treat every entry on its own and start from zeros."""


def frozen_step(optimizer: Optimizer, frozen: Mapping[Tensor, Tensor]) -> None:
    """Do one step in which some entries take no part.

    Frozen entries, and what the optimizer remembers of them (momentum, moments), keep their bits.
    All others are moved as by ``optimizer.step()``. Adam's counter of steps, which corrects the
    bias of the first steps, belongs to a whole parameter and goes on.

    Args:
        optimizer: One of `ELEMENTWISE`, or of a class derived from these; gradients are there.
        frozen: For parameters of the optimizer, which entries are frozen: booleans in the
            parameter's shape. Parameters that are not named are moved as a whole.

    Raises:
        TypeError: An optimizer whose entries depend on each other, such as LBFGS, or that does not
            start from zeros, such as Rprop.
        ValueError: A tensor that the optimizer does not train, or a mask of another shape.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
        >>> optimizer = torch.optim.Adam([w], lr=0.1, weight_decay=0.1)
        >>> w.sum().backward()
        >>> frozen_step(optimizer, {w: torch.tensor([False, True])})
        >>> w.data, optimizer.state[w]["exp_avg"]
        (tensor([0.9000, 1.0000]), tensor([0.1100, 0.0000]))
    """
    _check(optimizer, frozen)
    before = {
        parameter: (parameter.detach().clone(), _memory(optimizer, parameter, clone=True))
        for parameter in frozen
    }
    optimizer.step()
    with torch.no_grad():
        for parameter, mask in frozen.items():
            values, memory = before[parameter]
            parameter[mask] = values[mask]
            for name, now in _memory(optimizer, parameter).items():
                # what was made in this very step started from zeros
                now[mask] = memory[name][mask] if name in memory else 0.0


def _memory(optimizer: Optimizer, parameter: Tensor, clone: bool = False) -> dict[str, Tensor]:
    """What the optimizer remembers of every entry of a parameter."""
    return {
        name: value.clone() if clone else value
        for name, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor) and value.shape == parameter.shape
    }


def _check(optimizer: Optimizer, frozen: Mapping[Tensor, Tensor]) -> None:
    if not isinstance(optimizer, ELEMENTWISE):
        allowed = ", ".join(kind.__name__ for kind in ELEMENTWISE)
        raise TypeError(
            f"{type(optimizer).__name__} cannot freeze single entries, since it does not move each "
            f"on its own from a memory of zeros; take one of {allowed}"
        )
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for parameter, mask in frozen.items():
        if id(parameter) not in trained:
            raise ValueError(
                f"a tensor of shape {tuple(parameter.shape)} is to be frozen, but the optimizer "
                "does not train it: give parameters of the optimizer"
            )
        if mask.dtype != torch.bool or mask.shape != parameter.shape:
            raise ValueError(
                f"frozen has {mask.dtype} of shape {tuple(mask.shape)} for a parameter of shape "
                f"{tuple(parameter.shape)}: give booleans of the same shape"
            )
