"""Pruning while a model is trained: schedules, rewinding, and drop-and-grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import cos, floor, pi
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nisqkit.compression.layers import Layer, check_share, copied, find_layers
from nisqkit.compression.masks import Mask, prune_weights, set_mask, smallest_out
from nisqkit.compression.schedule import PruningSchedule


def prune_iteratively(
    model: nn.Module,
    ratios: Mapping[str, float],
    train: Callable[[nn.Module], Any],
    *,
    rounds: int = 3,
    schedule: PruningSchedule | None = None,
    rewind_to: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """Prune a little and train, several times; a copy comes back.

    In round ``k`` of ``rounds`` a layer is pruned to its ratio times the share that the schedule
    has reached at progress ``k / rounds``, relative to its target. With ``rewind_to`` the weights
    that are left then start again from there, before they are trained.

    Args:
        model: a trained model; it is left as it is.
        ratios: final share of zero weights per layer, as in `prune_weights`.
        train: trains the model that it is given, in place. Make an optimizer of your own in it.
        rounds: how often.
        schedule: default from 0 to the full ratios, ``PruningSchedule(0, target, end=1)``.
        rewind_to: the `state_dict` of the model early in its training.

    Source: Han et al. 2015 (arXiv:1506.02626); lottery tickets, Frankle and Carbin, ICLR 2019
    (arXiv:1803.03635), rewound to an early step as in Frankle et al. 2020 (arXiv:1912.05671).

    Raises:
        ValueError: as `prune_weights`; fewer than one round; or a state that has not the model's
            names.

    Example:
        >>> calls = []
        >>> pruned = prune_iteratively(nn.Linear(10, 10), {"": 0.8}, calls.append, rounds=4)
        >>> len(calls), int(pruned.weight.count_nonzero())
        (4, 20)
    """
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise ValueError(f"rounds must be a positive integer, got {rounds!r}")
    for name, ratio in ratios.items():
        check_share(ratio, name)
    find_layers(model, ratios, "ratios")
    if rewind_to is not None and (odd := set(rewind_to) ^ set(model.state_dict())):
        raise ValueError(
            f"rewind_to is no state_dict of this model: {sorted(odd)[0]!r} is only in one of them"
        )
    schedule = schedule or PruningSchedule(start=0.0, target=0.5, end=1.0)
    found = copied(model)
    for k in range(1, rounds + 1):
        part = schedule.share(k / rounds) / schedule.target
        found = prune_weights(found, {name: ratio * part for name, ratio in ratios.items()})
        if rewind_to is not None:
            _rewind(found, rewind_to)
        train(found)
    return found


def _rewind(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state from before the masks came, under them."""
    now = model.state_dict()
    names = {name.replace("parametrizations.weight.original", "weight"): name for name in now}
    model.load_state_dict({names[k]: v for k, v in state.items()}, strict=False)


class SparseTraining:
    """Prune, or drop and grow, between the steps of a training: `update` after each of them.

    ``"magnitude"``: at the progress ``t`` the smallest weights are masked, up to the ratio times
    ``schedule.share(t) / schedule.target``. ``"set"`` and ``"rigl"`` have the final number of
    zeros from the start, at random places; at each update a share ``drop`` of the weights that are
    left (it falls to 0 with the cosine of the progress, at ``schedule.end``) is dropped by
    magnitude, and as many others start from 0: random ones, or those with the largest gradients of
    the last backward pass.

    Optimizers that hold moments keep those of dropped weights; as their gradients are 0 then, the
    moments fade.

    Args:
        model: masks are put on its layers.
        ratios: share of zero weights per layer; `erk_ratios` gives good ones.
        method: ``"magnitude"``, ``"set"`` or ``"rigl"``.
        schedule: for ``"magnitude"`` how the ratio grows; for the others its ``end`` is when the
            exchange ends.
        drop: for ``"set"`` and ``"rigl"``, the share of weights to exchange at first, in (0, 1).
        seed: of the random places.

    Source: Zhu and Gupta 2017 (arXiv:1710.01878); SET, Mocanu et al., Nature Communications 9, 2383
    (2018); RigL, Evci et al., ICML 2020 (arXiv:1911.11134).

    Raises:
        ValueError: unknown layers or methods, numbers out of range.

    Example:
        >>> layer = nn.Linear(10, 10)
        >>> sparse = SparseTraining(layer, {"": 0.9}, "rigl", seed=0)
        >>> layer(torch.ones(1, 10)).sum().backward()
        >>> sparse.update(progress=0.1)
        >>> int(layer.weight.count_nonzero()), int(sparse.masks[""].mask.sum())
        (8, 10)
    """

    def __init__(
        self,
        model: nn.Module,
        ratios: Mapping[str, float],
        method: Literal["magnitude", "set", "rigl"] = "magnitude",
        *,
        schedule: PruningSchedule | None = None,
        drop: float = 0.3,
        seed: int = 0,
    ) -> None:
        if method not in ("magnitude", "set", "rigl"):
            raise ValueError(f"method must be 'magnitude', 'set' or 'rigl', got {method!r}")
        if not 0 < drop < 1:
            raise ValueError(f"drop is a share of the weights, in (0, 1), got {drop}")
        self.ratios = {name: check_share(ratio, name) for name, ratio in ratios.items()}
        self.layers: dict[str, Layer] = find_layers(model, ratios, "ratios")
        self.method, self.drop = method, drop
        self.schedule = schedule or PruningSchedule(start=0.0, target=0.5, end=0.75)
        self.random = torch.Generator().manual_seed(seed)
        self.masks: dict[str, Mask] = {}
        for name, layer in self.layers.items():
            mask = torch.ones(layer.weight.shape, dtype=torch.bool, device=layer.weight.device)
            if method != "magnitude":
                mask = smallest_out(self._uniform(mask), self._zeros(name))
            self.masks[name] = set_mask(layer, mask)
            self.masks[name].watching = method == "rigl"

    def _zeros(self, name: str) -> int:
        return floor(self.ratios[name] * self.layers[name].weight.numel() + 1e-9)

    def _uniform(self, like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=self.random).to(like.device)

    @torch.no_grad()
    def update(self, progress: float) -> None:
        """Change the masks; the progress of the training is in [0, 1].

        Raises:
            ValueError: progress out of range; or with ``"rigl"`` no backward pass before.
        """
        share = self.schedule.share(progress)
        for name, layer in self.layers.items():
            mask = self.masks[name].mask
            if self.method == "magnitude":
                count = floor(self._zeros(name) * share / self.schedule.target + 1e-9)
                mask.copy_(smallest_out(layer.weight.abs(), count))
            elif progress < self.schedule.end:
                self._exchange(name, layer, mask, progress)

    def _exchange(self, name: str, layer: Layer, mask: Tensor, progress: float) -> None:
        alive = int(mask.sum())
        share = self.drop / 2 * (1 + cos(pi * progress / self.schedule.end))
        count = min(floor(share * alive), mask.numel() - alive)
        if self.method == "set":
            promise = self._uniform(mask)
        else:
            gradient = self.masks[name].gradient
            if gradient is None:
                raise ValueError("rigl grows by gradients: call update after loss.backward()")
            promise = gradient.abs()
        stays = layer.weight.abs().masked_fill(~mask, torch.inf)
        dropped = ~smallest_out(stays, count)
        grown = ~smallest_out(-promise.masked_fill(mask, -torch.inf), count)
        mask[dropped] = False
        mask[grown] = True
        parametrizations: Any = layer.parametrizations
        parametrizations["weight"].original[dropped | grown] = 0
