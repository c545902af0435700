"""The samplers that `Study.open` knows by name."""

from __future__ import annotations

from typing import Any

from optuna.samplers import BaseSampler

from nisqkit.search.evolution import EvolutionSampler, RegularizedEvolutionSampler
from nisqkit.search.names import nearest
from nisqkit.search.nsga2 import NSGA2Sampler
from nisqkit.search.samplers import TreeRandomSampler, TreeSampler

NAMES = ("evolution", "nsga2", "regularized", "random")


def make_sampler(
    sampler: str | BaseSampler,
    *,
    objectives: int,
    population: int,
    parents: int,
    mutants: int,
    mutation: float | None,
    crossovers: int,
) -> BaseSampler:
    """The sampler of that name.

    Raises:
        ValueError: an unknown name, bad numbers, or too many objectives for it.
    """
    if isinstance(sampler, TreeSampler):
        made: TreeSampler = sampler
    elif isinstance(sampler, BaseSampler):
        return sampler
    else:
        options: dict[str, Any] = {"population": population}
        match sampler:
            case "evolution":
                options |= {"parents": parents, "mutants": mutants, "crossovers": crossovers}
                options["mutation"] = 0.4 if mutation is None else mutation
                made = EvolutionSampler(**options)
            case "nsga2":
                made = NSGA2Sampler(**options, mutation=mutation)
            case "regularized":
                made = RegularizedEvolutionSampler(**options, mutation=mutation)
            case "random":
                made = TreeRandomSampler(**options)
            case _:
                raise ValueError(f"there is no sampler {sampler!r}{nearest(sampler, NAMES)}")
    if objectives > 1 and not made.many_objectives:
        raise ValueError(
            f"{type(made).__name__} is for one objective and the problem has {objectives}: use "
            "sampler='nsga2'"
        )
    return made
