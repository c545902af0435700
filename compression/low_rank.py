"""LoRA: adapt a frozen encoder by a small product of two matrices per linear layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nisqkit.compression.layers import compressible_layers, copied, find_layers, replace_modules


class LowRankAdapter(nn.Module):
    """A frozen linear layer plus a trained update of low rank: ``W + (alpha / rank) B A``.

    It starts as the layer itself, since ``B`` starts at zero.

    Args:
        layer: it is frozen.
        rank: at least 1, at most the smaller of its widths.
        alpha: scale of the update.

    Raises:
        ValueError: a rank or a scale out of range.
    """

    def __init__(self, layer: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        largest = min(layer.weight.shape)
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= largest:
            raise ValueError(
                f"rank must be a whole number from 1 to {largest}, the smaller width of "
                f"{layer}, got {rank!r}"
            )
        if not (alpha > 0 and math.isfinite(alpha)):
            raise ValueError(f"alpha must be positive and finite, got {alpha}")
        self.layer = layer.requires_grad_(False)
        self.scale = alpha / rank
        like = layer.weight
        self.down = nn.Parameter(like.new_empty(rank, like.shape[1]))
        self.up = nn.Parameter(like.new_zeros(like.shape[0], rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    @property
    def weight(self) -> Tensor:
        """The layer's weight with the update."""
        return self.layer.weight + self.scale * self.up @ self.down

    def forward(self, x: Tensor) -> Tensor:
        """The output of the layer with the update."""
        low = functional.linear(functional.linear(x, self.down), self.up)
        found: Tensor = self.layer(x) + self.scale * low
        return found


def add_adapters(
    model: nn.Module,
    rank: int,
    layers: Sequence[str] | None = None,
    *,
    alpha: float | None = None,
    seed: int = 0,
) -> nn.Module:
    """A copy of a model in which only low-rank updates of linear layers are trained.

    Everything else is frozen, circuits too: set ``requires_grad`` of what shall be trained as well.

    Args:
        model: it is left as it is.
        rank: of the updates.
        layers: names of linear layers; default all.
        alpha: scale of the updates; default the rank, so that the factor is 1.
        seed: of the initial values.

    Source: Hu et al., ICLR 2022 (arXiv:2106.09685).

    Raises:
        ValueError: unknown layers, layers that are not linear, or a rank out of range.

    Example:
        >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))
        >>> adapted = add_adapters(net, rank=2, layers=["0"])
        >>> [(name, tuple(p.shape)) for name, p in adapted.named_parameters() if p.requires_grad]
        [('0.down', (2, 64)), ('0.up', (32, 2))]
        >>> x = torch.rand(5, 64)
        >>> torch.equal(adapted(x), net(x))
        True
    """
    if layers is None:
        found_names = compressible_layers(model).items()
        layers = [name for name, layer in found_names if isinstance(layer, nn.Linear)]
    for name, layer in find_layers(model, layers, "layers").items():
        if not isinstance(layer, nn.Linear):
            raise ValueError(f"{name!r} is a {type(layer).__name__}; adapters take linear layers")
    found = copied(model).requires_grad_(False)
    new: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, layer in find_layers(found, layers, "layers").items():
            assert isinstance(layer, nn.Linear)
            new[name] = LowRankAdapter(layer, rank, rank if alpha is None else alpha)
    for name, module in new.items():
        module.train(found.get_submodule(name).training)
    return replace_modules(found, new)


def merge_adapters(model: nn.Module) -> nn.Module:
    """A copy in which the updates are part of the layers' weights, which cost nothing then.

    Example:
        >>> merge_adapters(add_adapters(nn.Sequential(nn.Linear(8, 4)), rank=2))
        Sequential(
          (0): Linear(in_features=8, out_features=4, bias=True)
        )
    """
    found = copied(model)
    new: dict[str, nn.Module] = {}
    for name, module in found.named_modules():
        if isinstance(module, LowRankAdapter):
            with torch.no_grad():
                module.layer.weight.copy_(module.weight)
            new[name] = module.layer
    return replace_modules(found, new)
