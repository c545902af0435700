"""`Profile`: what a model, a part of one, or a circuit costs, as a tree of named metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from torch import nn

from nisqkit.search.metric import Metric, unknown, whole

if TYPE_CHECKING:
    from rich.table import Table

Kind: TypeAlias = Literal["classical", "quantum", "boundary", "model"]

_FORMAT = {"format": "nisqkit.profile", "version": 1}


@dataclass(frozen=True)
class Profile:
    """A tree of metrics: one node per part.

    A metric that a node states is of the node and all below it. Where it states none, the total is
    what its children make together. What does not apply is left out, and is never 0.

    Attributes:
        name: Name of the part within its parent.
        kind: ``"classical"``, ``"quantum"``, ``"boundary"`` (between the two, such as
            post-measurement normalisation) or ``"model"`` (parts of several kinds).
        metrics: By name.
        children: The parts, with distinct names.
        notes: What was assumed, and what is missing.
        what: What the part is, such as ``"Linear"``; for people.

    Raises:
        ValueError: An unknown kind, or two children of one name.

    Example:
        >>> part = {"macs": Metric(64)}
        >>> model = Profile("net", "classical", {}, (Profile("a", "classical", part),
        ...                                          Profile("b", "classical", part)))
        >>> model.total("macs").value
        128
        >>> model.flat()
        {'macs': 128, 'a.macs': 64, 'b.macs': 64}
        >>> Profile.from_json(model.to_json()) == model
        True
    """

    name: str
    kind: Kind
    metrics: Mapping[str, Metric]
    children: tuple[Profile, ...] = ()
    notes: tuple[str, ...] = ()
    what: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(unknown("kind", self.kind, get_args(Kind)))
        names = [child.name for child in self.children]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two parts of {self.name!r} are named {repeated[0]!r}")
        object.__setattr__(self, "metrics", dict(self.metrics))

    def totals(self) -> dict[str, Metric]:
        """All metrics of the whole tree, by name; those stated here come first."""
        found = dict(self.metrics)
        parts: dict[str, list[Metric]] = {}
        for child in self.children:
            for name, metric in child.totals().items():
                parts.setdefault(name, []).append(metric)
        for name, metrics in parts.items():
            if name not in found and (len(metrics) == 1 or metrics[0].aggregate != "none"):
                found[name] = whole(metrics)
        return found

    def total(self, name: str) -> Metric:
        """One metric of the whole tree.

        Raises:
            ValueError: There is none of this name.
        """
        found = self.totals()
        if name not in found:
            raise ValueError(f"{unknown('metric', name, found)} It may need an example or a device")
        return found[name]

    def flat(self) -> dict[str, float]:
        """All totals, by name, and by path for the parts: ``"macs"``, ``"encoder.0.macs"``."""
        found = {name: metric.value for name, metric in self.totals().items()}
        for child in self.children:
            for name, value in child.flat().items():
                found.setdefault(f"{child.name}.{name}", value)
        return found

    def walk(self, path: str = "") -> Iterator[tuple[str, Profile]]:
        """Every node with its path, parents first; the path of the root is empty."""
        yield path, self
        for child in self.children:
            yield from child.walk(f"{path}.{child.name}" if path else child.name)

    def all_notes(self) -> list[str]:
        """Notes of all nodes, each once, with the paths of the parts that have it."""
        where: dict[str, list[str]] = {}
        for path, node in self.walk():
            for note in node.notes:
                where.setdefault(note, []).append(path)
        return [
            f"{', '.join(filter(None, paths))}: {note}".lstrip(": ")
            for note, paths in where.items()
        ]

    def table(self, names: Sequence[str] | None = None) -> Table:
        """A `rich.table.Table`; what does not apply is blank.

        Up to five parts stand side by side, with a row for every metric. More parts have a row
        each, with the metrics that people compare first. ``names`` chooses metrics.

        Raises:
            ValueError: A metric that no part has.
        """
        from nisqkit.search.profile_table import profile_table

        return profile_table(self, names)

    def diff(self, other: Profile) -> Table:
        """A `rich.table.Table` of all totals that differ: this profile is before, ``other`` after.

        Raises:
            TypeError: ``other`` is no profile.
        """
        from nisqkit.search.profile_table import diff_table

        if not isinstance(other, Profile):
            raise TypeError(f"diff takes another Profile, not {type(other).__name__}")
        return diff_table(self, other)

    def to_json(self) -> str:
        """JSON text; `from_json` reads it back."""
        return json.dumps(_FORMAT | _to_dict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Read what `to_json` has written.

        Raises:
            ValueError: Not such text, or of another version.
        """
        try:
            found = json.loads(text)
            head = {key: found.get(key) for key in _FORMAT}
        except (json.JSONDecodeError, AttributeError) as error:
            raise ValueError(f"this is no profile in JSON: {error}") from error
        if head != _FORMAT:
            raise ValueError(f"this is {head}, and not {_FORMAT}: write it again with to_json")
        try:
            return _from_dict(found)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this profile is damaged: {error!r}") from error


def _to_dict(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "kind": profile.kind,
        "what": profile.what,
        "metrics": {name: metric.to_dict() for name, metric in profile.metrics.items()},
        "notes": list(profile.notes),
        "children": [_to_dict(child) for child in profile.children],
    }


def _from_dict(found: dict[str, Any]) -> Profile:
    return Profile(
        found["name"],
        found["kind"],
        {name: Metric(**values) for name, values in found["metrics"].items()},
        tuple(_from_dict(child) for child in found["children"]),
        tuple(found["notes"]),
        found["what"],
    )


def profile(
    thing: Any,
    example: Any = None,
    *,
    name: str | None = None,
    bits: Mapping[str, int] | None = None,
    latency_runs: int = 0,
    threads: int | None = None,
    **options: Any,
) -> Profile:
    """Profile a model: parameters, MACs, bytes, latency, and what its quantum parts cost.

    All numbers are for one pass over the ``example``: give one sample for numbers per sample, a
    batch for those of a training step. The model is left as it was. A part with a method
    ``__profile__(example, **options)`` describes itself; that is how circuits come in. Its example
    is what it was called with, and requires a gradient if something upstream is trained.

    - ``parameters``, ``trainable_parameters``: shared ones once.
    - ``weight_bytes``: parameters and persistent buffers, packed; see `weight_metrics`.
    - ``macs``: multiply-adds of a forward pass, and ``nonzero_macs`` without those by zero weights;
      see `MacCounter`.
    - ``peak_activation_bytes``: the most that is alive while the part runs, without gradients.
    - ``saved_for_backward_bytes``: what autograd keeps for the backward pass.
    - ``latency_seconds``: with ``latency_runs``, the median, its interquartile range the spread.

    Args:
        thing: A `torch.nn.Module`, or anything with ``__profile__``.
        example: The input of a module, with its batch dimension: a tensor, or a tuple of arguments.
        name: Name of the root; by default that of its class.
        bits: Bits per element by parameter name, as in ``thing.named_parameters()``.
        latency_runs: How often to time a forward pass, after as many as a fifth to warm up.
        threads: Number of torch's threads for the timing; default as it is.
        options: For the parts that describe themselves, such as ``device=`` and ``shots=``.

    Raises:
        ValueError: A module without an example, an unknown name in ``bits``, options that no part
            takes, or numbers out of range.
        TypeError: Something that is neither a module nor describes itself.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> found = profile(net, torch.zeros(1, 8))
        >>> found.total("macs").value, found.total("weight_bytes").value
        (40, 184)
        >>> found.flat()["0.macs"]
        32
    """
    if isinstance(thing, nn.Module):
        from nisqkit.search.module_profile import module_profile

        return module_profile(
            thing,
            example,
            name=name,
            bits=bits,
            latency_runs=latency_runs,
            threads=threads,
            options=options,
        )
    if isinstance(thing, type) or not hasattr(thing, "__profile__"):
        raise TypeError(
            f"{thing!r:.60} cannot be profiled: give a torch.nn.Module, or an object with "
            "__profile__; for circuits there is profile_circuit "
            "in nisqkit.hardware_backends.circuit_profile"
        )
    found: Profile = thing.__profile__(example, **options)
    return found if name is None else replace(found, name=name)
