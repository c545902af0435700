"""A guard around circuits: what compresses the rest of a model must leave them as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nisqkit.compression.layers import first_batch, kept_parts
from nisqkit.search.module_calls import undisturbed


@dataclass(frozen=True, eq=False)
class CircuitRecord:
    """What a circuit (or another part that is kept whole) is, and how it is called.

    Attributes:
        state: copies of its parameters and buffers.
        inputs: the shapes that it is called with, call by call.
        outputs: the shapes that it returns.
    """

    state: dict[str, Tensor]
    inputs: tuple[tuple[torch.Size, ...], ...]
    outputs: tuple[torch.Size, ...]


def record_circuits(model: nn.Module, example: Any) -> dict[str, CircuitRecord]:
    """Note all circuits of a model, by name, and how they are called with an example.

    The model is left as it was: random numbers, counters and modes too.
    """
    parts = kept_parts(model)
    calls: dict[str, list[tuple[Any, Any]]] = {name: [] for name in parts}
    with evaluation(model), watched(parts, calls):
        model(*first_batch(example))
    return {
        name: CircuitRecord(
            {k: v.detach().clone() for k, v in part.state_dict().items()},
            tuple(tuple(x.shape for x in args if isinstance(x, Tensor)) for args, _ in calls[name]),
            tuple(y.shape for _, y in calls[name]),
        )
        for name, part in parts.items()
    }


def check_circuits(model: nn.Module, before: dict[str, CircuitRecord], example: Any) -> None:
    """Compare all circuits of a model with a record.

    Raises:
        ValueError: a circuit is gone, its parameters have changed, or it is called with, or
            returns, other shapes. A model that does not run any more says so, too.

    Example:
        >>> model, example = nn.Linear(2, 2), torch.zeros(1, 2)
        >>> check_circuits(model, record_circuits(model, example), example)
    """
    parts = kept_parts(model)
    for name, record in before.items():
        if name not in parts:
            raise ValueError(f"the circuit {name!r} is gone from the model")
        state = parts[name].state_dict()
        for key in record.state.keys() | state.keys():
            old, new = record.state.get(key), state.get(key)
            if old is None or new is None or old.shape != new.shape or not torch.equal(old, new):
                raise ValueError(f"{key!r} of the circuit {name!r} has changed: {_say(old, new)}")
    try:
        after = record_circuits(model, example)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"the model does not run any more, so a circuit was cut: {error}") from (
            error
        )
    for name, record in before.items():
        if (after[name].inputs, after[name].outputs) != (record.inputs, record.outputs):
            raise ValueError(
                f"the interface of the circuit {name!r} has changed: it took {record.inputs} and "
                f"gave {record.outputs}, and now takes {after[name].inputs} and gives "
                f"{after[name].outputs}"
            )


def _say(old: Tensor | None, new: Tensor | None) -> str:
    if old is None or new is None:
        return "it is new" if old is None else "it is gone"
    if old.shape != new.shape:
        return f"its shape was {tuple(old.shape)} and is {tuple(new.shape)}"
    return f"by up to {float((old.double() - new.double()).abs().max()):.3g}"


@contextmanager
def watched(
    parts: Mapping[str, nn.Module], calls: dict[str, list[tuple[Any, Any]]]
) -> Iterator[None]:
    """Append ``(arguments, output)`` of every call of some modules to lists, by name."""

    def hook(name: str) -> Any:
        return lambda _, args, output: calls[name].append((args, output))

    hooks = [part.register_forward_hook(hook(name)) for name, part in parts.items()]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Run a model in evaluation mode without gradients, and leave it as it was.

    Random numbers, buffers (such as counters) and modes are put back.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with undisturbed(model), torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
