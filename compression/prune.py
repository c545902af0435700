"""`prune`: one call for weights and for whole outputs, and the spaces of their ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from nisqkit.compression.channels import prunable_channels, prune_channels
from nisqkit.compression.layers import by_layer, check_share, compressible_layers, group_of
from nisqkit.compression.masks import prune_weights
from nisqkit.search.containers import Group
from nisqkit.search.leaves import Ordered

RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def prune(
    model: nn.Module,
    ratios: Mapping[str, Any],
    *,
    kind: Literal["weights", "channels"] = "weights",
    example: Any = None,
    keep: Sequence[str] = (),
) -> nn.Module:
    """A pruned copy of a model; its circuits stay as they are.

    Args:
        model: it is left as it is.
        ratios: per layer, the share that goes; or a candidate of `prune_space`.
        kind: ``"weights"``: single weights become zero, see `prune_weights`. ``"channels"``: whole
            outputs of layers go, see `prune_channels`.
        example: an input of the model, for ``"channels"``.
        keep: for ``"channels"``, parts that stay as they are.

    Raises:
        ValueError: as those two; an unknown kind, or channels without an example.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 2))
        >>> prune(model, {"0": 0.8}, kind="channels", example=torch.zeros(1, 6))[0]
        Linear(in_features=6, out_features=2, bias=True)
    """
    flat = by_layer(ratios)
    _check_kind(kind, example)
    if kind == "weights":
        return prune_weights(model, flat)
    return prune_channels(model, flat, example, keep)


def prune_space(
    model: nn.Module,
    *,
    kind: Literal["weights", "channels"] = "weights",
    example: Any = None,
    keep: Sequence[str] = (),
    ratios: Sequence[float] = RATIOS,
) -> Group:
    """The space of ratios per layer, for a search under a budget of MACs or bytes.

    Candidates are nested as the layers' names are; `prune` takes them as they are.

    Source: AMC, He et al., ECCV 2018 (arXiv:1802.03494), whose agent any search here replaces.

    Raises:
        ValueError: nothing can be pruned, or a ratio is out of range.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 2))
        >>> space = prune_space(model, kind="channels", example=torch.zeros(1, 6), ratios=[0, 0.5])
        >>> space.members
        {'0': Ordered(options=[0.0, 0.5])}
    """
    _check_kind(kind, example)
    options = [check_share(ratio, "ratios") for ratio in ratios]
    if kind == "channels":
        names = list(prunable_channels(model, example, keep))
    else:
        names = list(compressible_layers(model))
    return group_of({name: Ordered(options) for name in names})


def _check_kind(kind: str, example: Any) -> None:
    if kind not in ("weights", "channels"):
        raise ValueError(f"kind must be 'weights' or 'channels', got {kind!r}")
    if kind == "channels" and example is None:
        raise ValueError(
            "kind='channels' follows the data through the model: pass an example with its batch "
            "dimension, such as torch.zeros(1, 1, 8, 8)"
        )
