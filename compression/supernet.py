"""The supernet protocol: one set of weights for all candidates of a space; pairs of supernets."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from numpy.random import Generator
from torch import Tensor, nn

from nisqkit.compression.calibration import measure_statistics
from nisqkit.search import Group, Int, Ordered, Repeat, Space
from nisqkit.search.names import nearest


@runtime_checkable
class Supernet(Protocol):
    """What an elastic network and a SuperCircuit have in common.

    A supernet is a module whose weights all candidates of its space share. It may have two methods
    more: ``calibrate(candidate, data)``, where it keeps statistics of its own (`calibrate` does it
    for all others), and ``of(candidate, x)``, the outputs of a candidate whatever is active.

    Example:
        >>> from nisqkit.compression import ElasticNet
        >>> net = ElasticNet(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
        ...                  widths={"0": [2, 4, 8]})
        >>> isinstance(net, Supernet), isinstance(net.model, Supernet)
        (True, False)
    """

    def __space__(self) -> Space:
        """What can vary."""
        ...

    def set_active(self, candidate: Any) -> Any:
        """Run this candidate from now on; a ValueError if it is of another space."""
        ...

    @property
    def active_parameters(self) -> int:
        """How many parameters the active candidate has."""
        ...

    def extract(self, candidate: Any) -> nn.Module:
        """The candidate as a module of its own, with copies of its weights."""
        ...


def calibrate(supernet: nn.Module, candidate: Any, data: Tensor) -> None:
    """Make a candidate the active one and measure its statistics on these samples.

    Statistics of normalisations (BatchNorm, post-measurement normalisation) belong to one candidate
    and its weights. Those that training leaves behind are a mixture over candidates, with which
    accuracies of sub-networks look like chance.

    Args:
        supernet: A `Supernet`.
        candidate: Of its space.
        data: (samples, ...), training or validation inputs, 2 samples or more; all run at once.

    Raises:
        TypeError: No supernet.
        ValueError: A candidate of another space.
    """
    checked(supernet).set_active(candidate)
    own = getattr(supernet, "calibrate", None)
    if own is not None:
        own(candidate, data)
    else:
        measure_statistics(supernet, data)


def outputs_of(supernet: nn.Module, candidate: Any, x: Tensor) -> Tensor:
    """Outputs of one candidate, differentiable, in training mode too."""
    own = getattr(supernet, "of", None)
    if own is not None:
        found: Tensor = own(candidate, x)
        return found
    checked(supernet).set_active(candidate)
    result: Tensor = supernet(x)
    return result


def checked(module: object) -> Any:
    """The module, if it is a supernet."""
    if not isinstance(module, Supernet):
        raise TypeError(
            f"{type(module).__name__} is no supernet: it needs __space__, set_active, "
            "active_parameters and extract, as ElasticNet and SuperCircuit have them"
        )
    return module


def build(space: Space, choose: Callable[[str, Space], Any], name: str = "") -> Any:
    """A value of a space, gene by gene: ``choose(name of the gene, its space)``.

    The name is that of the nearest group's member, and ``"count"`` for the length of a list.
    """
    if isinstance(space, Group):
        value: dict[str, Any] = {}
        for member, inner in space.active_members(value):
            value[member] = build(inner, choose, member)
        return value
    if isinstance(space, Repeat):
        return [build(space.item, choose, name) for _ in range(choose("count", space.count))]
    return choose(name, space)


def _end(space: Space, place: int) -> Any:
    if not isinstance(space, Ordered | Int):
        raise TypeError(
            f"{type(space).__name__} has no largest value: a supernet's genes are Ordered, from "
            "small to large, or Int"
        )
    return space.options[place]


def largest(space: Space) -> Any:
    """The candidate with every gene at its last option.

    Raises:
        TypeError: A gene without an order.

    Example:
        >>> largest(Group({"width": Ordered([4, 8]), "depth": Int(1, 3)}))
        {'width': 8, 'depth': 3}
    """
    return build(space, lambda _, gene: _end(gene, -1))


def smallest(space: Space) -> Any:
    """The candidate with every gene at its first option."""
    return build(space, lambda _, gene: _end(gene, 0))


def sample(space: Space, rng: Generator, free: Collection[str] | None = None) -> Any:
    """A random candidate in which only the genes of these names vary; the others are largest.

    Example:
        >>> import numpy as np
        >>> space = Group({"width": Ordered([4, 8]), "depth": Int(1, 3)})
        >>> sample(space, np.random.default_rng(1), free=["depth"])
        {'width': 8, 'depth': 2}
    """

    def choose(name: str, gene: Space) -> Any:
        return gene.sample(rng) if free is None or name in free else _end(gene, -1)

    return build(space, choose)


class HybridSupernet(nn.Module):
    """Parts one behind the other, of which any may be supernets: an encoder, then a SuperCircuit.

    Its space is the group of their spaces. Parts that are no supernets are in every candidate.
    Nothing is drawn here: in training mode, too, the active candidate runs.

    Args:
        parts: Name and module in the order in which they run.

    Raises:
        ValueError: No part is a supernet.

    Example:
        >>> from nisqkit.compression import ElasticNet
        >>> encoder = ElasticNet(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)),
        ...                      widths={"0": [4, 8]})
        >>> model = HybridSupernet({"encoder": encoder, "head": nn.Linear(2, 2)})
        >>> model.set_active({"encoder": {"0": {"width": 4}}}).active_parameters  # 28 + 10 + 6
        44
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        if not self._supernets:
            raise ValueError(
                f"none of the parts {list(parts)} is a supernet: use nn.Sequential for them, or "
                "make one an ElasticNet or a SuperCircuit"
            )
        self.active: Any = largest(self.__space__())

    @property
    def _supernets(self) -> dict[str, Any]:
        return {name: part for name, part in self.parts.items() if isinstance(part, Supernet)}

    def __space__(self) -> Space:
        """The group of the parts' spaces."""
        return Group({name: part.__space__() for name, part in self._supernets.items()})

    def set_active(self, candidate: Mapping[str, Any]) -> HybridSupernet:
        """Run this candidate: for each supernet by its name a candidate of it.

        Raises:
            ValueError: It is none of the space.
        """
        self.__space__().check(candidate, "candidate")
        for name, part in self._supernets.items():
            part.set_active(candidate[name])
        self.active = candidate
        return self

    @property
    def active_parameters(self) -> int:
        """Parameters of the active candidate, all parts together."""
        with evaluating(self):
            counts = [
                part.active_parameters
                if isinstance(part, Supernet)
                else sum(p.numel() for p in part.parameters())
                for part in self.parts.values()
            ]
        return sum(counts)

    def of(self, candidate: Mapping[str, Any], x: Tensor) -> Tensor:
        """Outputs of one candidate, whatever is active."""
        self.__space__().check(candidate, "candidate")
        for name, part in self.parts.items():
            x = outputs_of(part, candidate[name], x) if name in candidate else part(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the active candidate."""
        return self.of(self.active, x)

    def calibrate(self, candidate: Mapping[str, Any], data: Tensor) -> None:
        """Make the candidate active and measure the statistics of every part, in their order."""
        self.set_active(candidate)
        with evaluating(self), torch.no_grad():
            for name, part in self.parts.items():
                if name in candidate:
                    calibrate(part, candidate[name], data)
                    data = outputs_of(part, candidate[name], data)
                else:
                    measure_statistics(part, data)
                    data = part(data)

    def extract(self, candidate: Mapping[str, Any]) -> nn.Sequential:
        """The candidate as one ``Sequential`` that shares nothing with this supernet."""
        self.__space__().check(candidate, "candidate")
        found = OrderedDict[str, nn.Module]()
        for name, part in self.parts.items():
            taken = checked(part).extract(candidate[name]) if name in candidate else part
            found[name] = copy.deepcopy(taken).train(self.training)
        return nn.Sequential(found)

    def part(self, name: str) -> Any:
        """One part.

        Raises:
            ValueError: There is none of this name.
        """
        if name not in self.parts:
            raise ValueError(f"there is no part {name!r}{nearest(name, self.parts)}")
        return self.parts[name]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every module then has its mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
