"""Between tree spaces and Optuna's flat parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial, FixedTrial

from nisqkit.search.base import Space, Value
from nisqkit.search.containers import Group, Repeat
from nisqkit.search.injection import Injection
from nisqkit.search.leaves import Choice, Finite, Float, Int


def flatten(space: Space, value: Value) -> dict[str, tuple[Any, BaseDistribution]]:
    """The active genes as Optuna parameters with their distributions, by their path.

    Example:
        >>> from nisqkit.search import Group, Int
        >>> flatten(Group({"layers": Int(1, 8)}), {"layers": 3})
        {'layers': (3, IntDistribution(high=8, log=False, low=1, step=1))}
    """
    flat: dict[str, tuple[Any, BaseDistribution]] = {}
    for path, leaf, gene in space.leaves(value):
        if isinstance(leaf, Injection):
            places = CategoricalDistribution(leaf.allowed)
            flat |= {f"{path}[{i}]": (place, places) for i, place in enumerate(gene)}
        else:
            flat[path] = (gene, distribution(leaf))
    return flat


def suggest(space: Space, trial: BaseTrial, path: str = "") -> Value:
    """A value of the space from any Optuna trial; for define-by-run objectives.

    Example:
        >>> import optuna
        >>> from nisqkit.search import Float, Group
        >>> suggest(Group({"rate": Float(0, 1)}), optuna.trial.FixedTrial({"rate": 0.5}))
        {'rate': 0.5}
    """
    if isinstance(space, Group):
        value: dict[str, Value] = {}
        for name, member in space.active_members(value):
            value[name] = suggest(member, trial, f"{path}.{name}" if path else name)
        return value
    path = path or "value"
    if isinstance(space, Repeat):
        number = trial.suggest_int(f"{path}.count", space.count.low, space.count.high)
        return [suggest(space.item, trial, f"{path}[{i}]") for i in range(number)]
    if isinstance(space, Injection):
        places = [
            trial.suggest_categorical(f"{path}[{i}]", space.allowed)
            for i in range(space.num_logical)
        ]
        return space.repair(places)  # Optuna draws each place for itself
    if isinstance(space, Choice):
        return trial.suggest_categorical(path, space.options)
    if isinstance(space, Int):
        return trial.suggest_int(path, space.low, space.high)
    assert isinstance(space, Float)
    return trial.suggest_float(path, space.low, space.high, log=space.log)


def unflatten(space: Space, params: Mapping[str, Any]) -> Value:
    """The inverse of `flatten`."""
    return suggest(space, FixedTrial(dict(params)))


def distribution(leaf: Space) -> BaseDistribution:
    """The Optuna distribution of a gene."""
    if isinstance(leaf, Choice):
        return CategoricalDistribution(leaf.options)
    if isinstance(leaf, Int):
        return IntDistribution(leaf.low, leaf.high)
    assert isinstance(leaf, Float)
    return FloatDistribution(leaf.low, leaf.high, log=leaf.log)


class FlatSpace(Space):
    """The space of a define-by-run study, as far as its trials have shown it.

    A value is a dict of parameters, of which any may be missing: the objective asks for those that
    it needs, and the sampler then draws what is missing.
    """

    kind = "flat"

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self.genes = {name: _Gene(d) for name, d in distributions.items() if not d.single()}

    def sample(self, rng: Any) -> Value:
        """Every parameter sampled."""
        return {name: gene.decode(gene.leaf.sample(rng)) for name, gene in self.genes.items()}

    def mutate(self, value: Value, rng: Any, probability: float = 0.4) -> Value:
        """Every parameter mutated with this probability."""
        return {
            name: gene.decode(gene.leaf.mutate(gene.encode(value[name]), rng, probability))
            for name, gene in self.genes.items()
            if name in value
        }

    def crossover(self, a: Value, b: Value, rng: Any) -> Value:
        """Every parameter from one of the parents."""
        child = {}
        for name in self.genes:
            first, second = (a, b) if rng.random() < 0.5 else (b, a)
            if name in first or name in second:
                child[name] = first[name] if name in first else second[name]
        return child

    def repair(self, value: Value) -> Value:
        """Known parameters, moved into their ranges."""
        return {
            name: gene.decode(gene.encode(value[name]))
            for name, gene in self.genes.items()
            if name in value
        }

    def check(self, value: Value, path: str = "value") -> None:
        """Nothing to check: the objective decides."""

    def size(self) -> int | float:
        """Unknown, so infinite."""
        return float("inf")

    def leaves(self, value: Value, path: str = "") -> Any:
        """The parameters."""
        return ((name, self.genes[name].leaf, value[name]) for name in value if name in self.genes)

    def to_json(self) -> dict[str, Any]:
        """Names only; this space is never stored."""
        return {"kind": self.kind, "names": list(self.genes)}


class _Gene:
    """A parameter as one of our leaves: an index where Optuna has steps or categories."""

    def __init__(self, distribution: BaseDistribution) -> None:
        self.distribution = distribution
        self.leaf: Finite | Float
        if isinstance(distribution, CategoricalDistribution):
            self.leaf = Choice(list(range(len(distribution.choices))))
        elif isinstance(distribution, IntDistribution) and not distribution.log:
            self.leaf = Int(0, (distribution.high - distribution.low) // distribution.step)
        elif isinstance(distribution, FloatDistribution) and distribution.step is not None:
            self.leaf = Int(0, round((distribution.high - distribution.low) / distribution.step))
        else:
            assert isinstance(distribution, IntDistribution | FloatDistribution)
            self.leaf = Float(distribution.low, distribution.high, log=distribution.log)

    def encode(self, param: Any) -> Any:
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            known = param in d.choices
            return int(d.to_internal_repr(param)) if known else 0
        if isinstance(d, IntDistribution | FloatDistribution) and isinstance(self.leaf, Int):
            assert d.step is not None
            return self.leaf.repair((param - d.low) / d.step)
        return self.leaf.repair(param)

    def decode(self, gene: Any) -> Any:
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return d.choices[gene]
        if isinstance(d, IntDistribution):
            return round(gene) if d.log else d.low + gene * d.step
        assert isinstance(d, FloatDistribution)
        return gene if d.step is None else min(d.low + gene * d.step, d.high)
