"""Unstructured pruning: single weights are zero, and stay so while the model is trained."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nisqkit.compression.layers import Layer, check_share, compressible_layers, copied, find_layers


class Mask(nn.Module):
    """The parametrization of a masked weight: the stored weight times a mask of zeros and ones.

    The mask counts with one bit per weight in `nisqkit.search.profile`.
    """

    bits = {"mask": 1}  # noqa: RUF012 - a constant

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.watching = False
        self.gradient: Tensor | None = None

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer computes with."""
        found = weight * self.mask
        if self.watching and found.requires_grad:
            found.register_hook(self._note)  # type: ignore[no-untyped-call]
        return found

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What to store when the layer's weight is assigned."""
        return weight

    def _note(self, gradient: Tensor) -> None:
        """Keep the gradient of all weights, with that of the pruned ones."""
        self.gradient = gradient.detach().clone()


def prune_weights(
    model: nn.Module, ratios: Mapping[str, float], *, across_layers: bool = False
) -> nn.Module:
    """A copy of a model in which the smallest weights of some layers are zero, and stay so.

    Of a layer with ``n`` weights the ``floor(ratio * n)`` of the smallest magnitude are masked.
    Weights that are masked already are the first of these, so ratios are of the whole layer. Biases
    stay. The multiply-adds that a dense kernel runs stay the same: ``nonzero_macs`` of a profile
    falls, ``macs`` does not.

    Args:
        model: it is left as it is. Its circuits stay as they are.
        ratios: for layers by name, the share of their weights that becomes zero, in [0, 1).
        across_layers: rank the weights of all these layers together; the ratio, which must be the
            same for all, is then that of all of them. A layer keeps at least one weight.

    Source: Han et al., NeurIPS 2015 (arXiv:1506.02626).

    Raises:
        ValueError: unknown layers, ratios out of range.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 2, bias=False))
        >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]))
        >>> prune_weights(model, {"0": 0.5})[0].weight.tolist()
        [[0.0, 0.0, 0.0, 0.0], [5.0, 6.0, 7.0, 8.0]]
    """
    wanted = {name: check_share(ratio, name) for name, ratio in ratios.items()}
    find_layers(model, wanted, "ratios")
    found = copied(model)
    layers = find_layers(found, wanted, "ratios")
    if across_layers:
        _mask_together(layers, wanted)
        return found
    for name, layer in layers.items():
        scores = layer.weight.detach().abs()
        set_mask(layer, smallest_out(scores, floor(wanted[name] * scores.numel() + 1e-9)))
    return found


def _mask_together(layers: Mapping[str, Layer], wanted: Mapping[str, float]) -> None:
    if len(set(wanted.values())) > 1:
        raise ValueError(
            f"across_layers ranks all weights together, so the ratios must be one, got {wanted}"
        )
    scores = {name: layer.weight.detach().abs().clone() for name, layer in layers.items()}
    for score in scores.values():  # its largest weight stays
        score.view(-1)[score.argmax()] = torch.inf
    flat = torch.cat([score.flatten() for score in scores.values()])
    ratio = next(iter(wanted.values()), 0.0)
    kept = smallest_out(flat, floor(ratio * flat.numel() + 1e-9))
    parts = torch.split(kept, [score.numel() for score in scores.values()])
    for name, part in zip(scores, parts, strict=True):
        set_mask(layers[name], part.reshape(scores[name].shape) | scores[name].isinf())


def smallest_out(scores: Tensor, count: int) -> Tensor:
    """A boolean mask without the ``count`` smallest scores; of equal ones the first go."""
    mask = torch.ones(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[scores.flatten().argsort(stable=True)[:count]] = False
    return mask.reshape(scores.shape)


def mask_of(layer: nn.Module) -> Mask | None:
    """The mask of a layer's weight, if it has one."""
    if parametrize.is_parametrized(layer, "weight"):
        parametrizations: Any = layer.parametrizations
        for part in parametrizations["weight"]:
            if isinstance(part, Mask):
                return part
    return None


def set_mask(layer: nn.Module, mask: Tensor) -> Mask:
    """Give a layer's weight a mask, or another one."""
    found = mask_of(layer)
    if found is None:
        found = Mask(mask)
        parametrize.register_parametrization(layer, "weight", found)
    else:
        found.mask.copy_(mask)
    return found


def zero_share(model: nn.Module) -> dict[str, float]:
    """Share of the weights that are zero, by layer.

    Example:
        >>> model = prune_weights(nn.Sequential(nn.Linear(10, 10)), {"0": 0.9})
        >>> zero_share(model)
        {'0': 0.9}
    """
    found = {}
    for name, layer in compressible_layers(model).items():
        weight = layer.weight.detach()
        found[name] = 1 - int(weight.count_nonzero()) / weight.numel()
    return {name: round(share, 12) for name, share in found.items()}


def make_permanent(model: nn.Module) -> nn.Module:
    """Write the zeros of all masks into the weights, and take the masks away; returns the model.

    Example:
        >>> model = make_permanent(prune_weights(nn.Linear(4, 4), {"": 0.5}))
        >>> sorted(model.state_dict()), int(model.weight.count_nonzero())
        (['bias', 'weight'], 8)
    """
    for layer in compressible_layers(model).values():
        if mask_of(layer) is not None:
            _own_class(layer)
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return model


def _own_class(layer: nn.Module) -> None:
    """Give a layer a class of its own: torch takes the weight away from that of all copies."""
    kind = type(layer)
    inside = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
    own: Any = type(kind.__name__, kind.__bases__, inside)
    layer.__class__ = own


def erk_ratios(model: nn.Module, ratio: float) -> dict[str, float]:
    """Ratios per layer that prune ``ratio`` of all weights: more where a layer has many.

    The density of a layer is proportional to (the sum of the sizes of its weight's dimensions) /
    (their product), so that small layers stay denser. Layers whose density would be above 1 stay
    whole, and the others make up for it.

    Args:
        model: whose layers are taken.
        ratio: share of the weights of all layers that goes, in [0, 1).

    Source: Erdős-Rényi-Kernel densities of RigL, Evci et al., ICML 2020 (arXiv:1911.11134), after
    SET, Mocanu et al. 2018.

    Raises:
        ValueError: a ratio out of range, or no layer.

    Example:
        >>> model = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 10))
        >>> {name: round(r, 3) for name, r in erk_ratios(model, 0.8).items()}
        {'0': 0.858, '1': 0.219}
    """
    ratio = check_share(ratio, "model")
    layers = compressible_layers(model)
    if not layers:
        raise ValueError("there is no layer to prune in this model")
    size = {name: layer.weight.numel() for name, layer in layers.items()}
    raw = {name: sum(layer.weight.shape) / size[name] for name, layer in layers.items()}
    dense: set[str] = set()
    while True:
        rest = [name for name in layers if name not in dense]
        budget = (1 - ratio) * sum(size.values()) - sum(size[name] for name in dense)
        scale = budget / sum(raw[name] * size[name] for name in rest) if rest else 0.0
        over = [name for name in rest if scale * raw[name] > 1]
        if not over:
            break
        dense.update(over)
    return {name: 0.0 if name in dense else 1 - scale * raw[name] for name in layers}
