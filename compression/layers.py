"""The layers of a model that can be compressed, and the parts that must be kept whole."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn

from nisqkit.search.base import Space
from nisqkit.search.containers import Group
from nisqkit.search.names import nearest

Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Modules with one ``weight`` whose rows are their outputs."""

# these read the weights of the layers inside of them without calling them
_CLOSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


def is_kept_whole(module: nn.Module) -> bool:
    """Whether the inside of a module is its own affair.

    Circuits describe themselves (`__profile__`); SuperCircuits and other supernets say what can
    vary in them (`__space__`), and are compressed after a candidate has been taken out.
    """
    return hasattr(type(module), "__profile__") or hasattr(type(module), "__space__")


def compressible_layers(model: nn.Module) -> dict[str, Layer]:
    """Linear and convolution layers by name, without those inside of parts that are kept whole.

    A layer that stands in several places is listed once.

    Example:
        >>> list(compressible_layers(nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2))))
        ['0', '2']
    """
    return {
        name: module
        for name, module in _outside(model)
        if isinstance(module, LAYERS)
        and not is_kept_whole(module)
        and hasattr(module, "weight")  # shared weights are in a codebook
        and not _has_a_special_forward(module)
    }


def kept_parts(model: nn.Module) -> dict[str, nn.Module]:
    """The parts that are kept whole, by name: circuits, for example."""
    return {name: module for name, module in _outside(model) if is_kept_whole(module)}


def _outside(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules that are not inside of one that is kept whole; each once."""
    seen: set[int] = set()

    def visit(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
        if id(module) in seen:
            return
        seen.add(id(module))
        yield name, module
        if not is_kept_whole(module) and not isinstance(module, _CLOSED):
            for child, inner in module.named_children():
                yield from visit(inner, f"{name}.{child}" if name else child)

    yield from visit(model, "")


def _has_a_special_forward(module: nn.Module) -> bool:
    """Whether a layer computes something else than its class says."""
    kind = next(kind for kind in LAYERS if isinstance(module, kind))
    return type(module).forward is not kind.forward


def find_layers(model: nn.Module, given: Iterable[str], what: str) -> dict[str, Layer]:
    """The layers of some names.

    Args:
        model: where they are looked for.
        given: their names.
        what: what names them, such as ``"the policy"``, for messages.

    Raises:
        ValueError: a name that no layer has, or one of a module that cannot be compressed.
    """
    known = compressible_layers(model)
    others = dict(model.named_modules())
    for name in given:
        if name in known:
            continue
        if name not in others:
            raise ValueError(f"{what} names {name!r}, which is no layer{nearest(name, known)}")
        kind = type(others[name]).__name__
        if is_kept_whole(others[name]):
            raise ValueError(
                f"{what} names {name!r}, but a {kind} describes itself and is kept whole: leave it "
                "out"
            )
        raise ValueError(
            f"{what} names {name!r}, but a {kind} cannot be compressed; Linear, Conv1d, Conv2d and "
            f"Conv3d outside of attention and transformers can: leave it out{nearest(name, known)}"
        )
    return {name: known[name] for name in given}


def check_share(ratio: Any, name: str) -> float:
    """A ratio as a float.

    Raises:
        ValueError: it is no number in [0, 1).
    """
    number = isinstance(ratio, int | float) and not isinstance(ratio, bool)
    if number and ratio == 1:
        raise ValueError(
            f"the ratio 1 of {name!r} would remove the whole layer: give less than 1, or take the "
            "layer out of the model"
        )
    if not number or not 0 <= ratio < 1:
        raise ValueError(f"the ratio of {name!r} must be in [0, 1), got {ratio!r}")
    return float(ratio)


def replace_modules(model: nn.Module, new: Mapping[str, nn.Module]) -> nn.Module:
    """Put modules in place of others, everywhere that those stand; returns the model.

    Changes the model, unless the model itself is replaced (by the name ``""``).
    """
    if "" in new:
        return new[""]
    by_module = {id(model.get_submodule(name)): module for name, module in new.items()}
    for parent in list(model.modules()):
        for child, module in list(parent._modules.items()):
            if module is not None and id(module) in by_module:
                parent._modules[child] = by_module[id(module)]
    return model


def copied(model: nn.Module) -> nn.Module:
    """A deep copy, without gradients."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"compression takes a torch.nn.Module, not {type(model).__name__}")
    found = copy.deepcopy(model)
    for parameter in found.parameters():
        parameter.grad = None
    return found


def group_of(spaces: Mapping[str, Space]) -> Group:
    """A space per layer as one space, nested as the names are: ``"encoder.0"`` in ``encoder``.

    Names of members have no dots, so a candidate is nested too; `by_layer` undoes it.

    Raises:
        ValueError: nothing to vary, or a model that is a layer, which has no name.
    """
    if not spaces:
        raise ValueError("there is no layer to compress in this model, so nothing can vary")
    if "" in spaces:
        raise ValueError("a space names layers, and this model is one: wrap it in nn.Sequential")
    tree: dict[str, Any] = {}
    for name, space in spaces.items():
        *parents, last = name.split(".")
        at = tree
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = space

    def build(part: dict[str, Any]) -> Group:
        return Group({k: build(v) if isinstance(v, dict) else v for k, v in part.items()})

    return build(tree)


def by_layer(candidate: Mapping[str, Any], *leaves: Sequence[str]) -> dict[str, Any]:
    """A nested candidate by full names; what has full names already comes back as it is.

    Args:
        candidate: values by name, some inside of mappings.
        leaves: keys by which a mapping is known to be a value and not a level of names.

    Example:
        >>> by_layer({"encoder": {"0": 0.5, "2": 0.25}, "head": 0.0})
        {'encoder.0': 0.5, 'encoder.2': 0.25, 'head': 0.0}
    """
    found: dict[str, Any] = {}
    for name, value in candidate.items():
        if isinstance(value, Mapping) and set(value) not in [set(leaf) for leaf in leaves]:
            inner = by_layer(value, *leaves)
            found |= {f"{name}.{below}": v for below, v in inner.items()}
        else:
            found[name] = value
    return found


def first_batch(example: Any) -> tuple[Any, ...]:
    """Arguments of a model's call."""
    return example if isinstance(example, tuple) else (example,)


def batches(data: Any) -> list[tuple[Any, ...]]:
    """Calibration data as a list of arguments of the model.

    Args:
        data: a tensor (one batch), or an iterable of batches; a batch is a tensor, or a tuple whose
            first entry is the input, as a `DataLoader` gives them.

    Raises:
        ValueError: no data.
    """
    given = [data] if isinstance(data, Tensor) else list(data)
    found = [(b[0] if isinstance(b, list | tuple) else b,) for b in given]
    if not found or all(len(x) == 0 for (x,) in found):
        raise ValueError("calibration needs data: give a batch of inputs, or several; got none")
    return [args for args in found if len(args[0])]
