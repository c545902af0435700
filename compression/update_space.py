"""Update policies as a search space: what is trained of each layer, and which angles."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import nn

from nisqkit.compression.update_policy import UpdatePolicy, is_circuit
from nisqkit.search import Choice, Group, Ordered, Space


class UpdateSpace:
    """Which layers, tensors and angles of one model are trained.

    A candidate says for each layer with parameters, by its name with ``/`` for dots, ``"none"``,
    ``"bias"`` (where it has one) or ``"all"``; and for each circuit, which of its groups of angles
    are trained: ``{"0": "bias", "1": {"angles_0": True, "angles_1": False}}``. A group is a run of
    neighbouring weights, as long as the others or one longer.

    Args:
        model: The model.
        angle_groups: Into how many groups the weights of a circuit are divided; fewer where it has
            fewer weights.

    Raises:
        ValueError: No parameters, or fewer than one group.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> space = UpdateSpace(model)
        >>> space.__space__().size()
        9
        >>> sorted(space.policy({"0": "none", "2": "all"}).tensors)
        ['2.bias', '2.weight']
    """

    def __init__(self, model: nn.Module, angle_groups: int = 4) -> None:
        if angle_groups < 1:
            raise ValueError(f"angle_groups={angle_groups}: give 1 or more")
        self._tensors: dict[str, list[str]] = {}
        self._angles: dict[str, list[tuple[int, ...]]] = {}
        members: dict[str, Space] = {}
        layer: Any
        for path, layer in model.named_modules():
            own = [name for name, _ in layer.named_parameters(recurse=False)]
            if not own:
                continue
            name = path.replace(".", "/") or type(layer).__name__
            prefix = f"{path}." if path else ""
            if is_circuit(layer):
                count = layer.weights.numel()
                groups = _runs(count, angle_groups)
                self._angles[name] = groups
                self._tensors[name] = [f"{prefix}weights"]
                members[name] = Group(
                    {f"angles_{k}": Choice([False, True]) for k in range(len(groups))}
                )
            else:
                self._tensors[name] = [prefix + tensor for tensor in own]
                some = ["bias"] if "bias" in own and len(own) > 1 else []
                members[name] = Ordered(["none", *some, "all"])
        if not members:
            raise ValueError(
                f"{type(model).__name__} has no parameters: there is nothing to choose"
            )
        self._space = Group(members)

    def __space__(self) -> Space:
        """One member per layer and circuit."""
        return self._space

    def policy(self, candidate: Mapping[str, Any]) -> UpdatePolicy:
        """The policy of a candidate.

        Raises:
            ValueError: It is none of the space.
        """
        self._space.check(candidate, "candidate")
        tensors: set[str] = set()
        angles: dict[str, tuple[int, ...]] = {}
        for name, choice in candidate.items():
            names = self._tensors[name]
            if isinstance(choice, dict):
                groups = self._angles[name]
                chosen = [k for k, on in enumerate(choice.values()) if on]
                if len(chosen) == len(groups):
                    tensors.update(names)
                elif chosen:
                    angles[names[0]] = tuple(p for k in chosen for p in groups[k])
            elif choice == "all":
                tensors.update(names)
            elif choice == "bias":
                tensors.update(tensor for tensor in names if tensor.endswith("bias"))
        return UpdatePolicy(frozenset(tensors), angles)


def _runs(count: int, groups: int) -> list[tuple[int, ...]]:
    groups = min(groups, count)
    ends = [k * count // groups for k in range(groups + 1)]
    return [tuple(range(a, b)) for a, b in pairwise(ends)]
