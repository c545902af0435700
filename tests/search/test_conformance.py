"""Optuna's own tests of samplers, on ours."""

from collections.abc import Callable

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from nisqkit.search.bridge import suggest
from nisqkit.search.evolution import EvolutionSampler, RegularizedEvolutionSampler
from nisqkit.search.nsga2 import NSGA2Sampler
from nisqkit.search.samplers import TreeRandomSampler, TreeSampler
from nisqkit.search.space import Choice, Float, Group, Injection, Int, Repeat, When

# A population of 2 makes the sampler of the second generation meet Optuna's few trials, too.
pytestmark = pytest.mark.slow

SMALL = {"population": 4, "parents": 1, "mutants": 1, "crossovers": 2}


class ForOneObjective(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    pass


class ForManyObjectives(
    BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase
):
    pass


class TestEvolution(ForOneObjective):
    @pytest.fixture(params=[{}, SMALL], ids=["default", "small"])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return lambda: EvolutionSampler(seed=0, **request.param)


class TestRegularizedEvolution(ForOneObjective):
    @pytest.fixture(params=[40, 2], ids=["default", "small"])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return lambda: RegularizedEvolutionSampler(seed=0, population=request.param)


class TestNSGA2(ForManyObjectives):
    @pytest.fixture(params=[40, 2], ids=["default", "small"])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return lambda: NSGA2Sampler(seed=0, population=request.param)


class TestRandom(ForManyObjectives):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: TreeRandomSampler(seed=0)


TREE = Group(
    {
        "optimizer": Choice(["adam", "sgd"]),
        "momentum": When("optimizer", equals="sgd", space=Float(0, 1)),
        "layout": Injection(3, [0, 1, 2, 3, 5], coupled=[(0, 1), (1, 2), (2, 3), (3, 5)]),
        "blocks": Repeat(Int(1, 4), Group({"width": Int(1, 4)})),
    }
)


@pytest.mark.parametrize("kind", [EvolutionSampler, RegularizedEvolutionSampler, NSGA2Sampler])
def test_a_tree_in_a_define_by_run_study(kind: type[TreeSampler]) -> None:
    """Every candidate is one of the tree, and its optimum is found."""

    def objective(trial: optuna.Trial) -> float:
        value = suggest(TREE, trial)
        TREE.check(value)
        widths = [block["width"] for block in value["blocks"]]
        distance = abs(value.get("momentum", 2.0) - 0.5) + (4 - len(widths)) + sum(widths) - 4
        return distance + (value["layout"] != [2, 3, 5])

    study = optuna.create_study(sampler=kind(TREE, seed=1))
    study.optimize(objective, n_trials=400)
    random = optuna.create_study(sampler=TreeRandomSampler(TREE, seed=1))
    random.optimize(objective, n_trials=400)
    assert study.best_value < random.best_value
    assert study.best_value < 1.5
