"""Studies in one process: what they find, how they go on, and what they refuse."""

import io
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console
from sqlalchemy.exc import OperationalError

from nisqkit.search import (
    Budget,
    Choice,
    Float,
    Group,
    Int,
    Objective,
    Ordered,
    Problem,
    Repeat,
    Study,
    When,
)
from nisqkit.search.storage import open_storage

# The planted optimum: the gate that is rarely active, three blocks, each with its own width.
PLANTED = Group(
    {
        "entangler": Choice(["ring", "line", "all", "none"]),
        "range": When("entangler", equals="all", space=Ordered([1, 2, 3, 4])),
        "angle": When("entangler", equals=["all", "ring"], space=Float(-3, 3)),
        "blocks": Repeat(
            Int(1, 6), Group({"gate": Choice("abcd"), "width": Ordered([1, 2, 4, 8])})
        ),
    }
)
TARGET = ["b", "d", "a", "c"]


def planted_loss(value: Any) -> float:
    """0 at one place only, which lies on an active branch."""
    PLANTED.check(value)
    blocks = value["blocks"]
    loss = abs(len(blocks) - 4) + 0.5 * sum(
        (block["gate"] != gate) + (block["width"] != 4)
        for block, gate in zip(blocks, TARGET, strict=False)
    )
    loss += abs(value["angle"] - 1) if "angle" in value else 3.0
    loss += abs(value["range"] - 3) / 2 if "range" in value else 2.0
    return loss


def planted() -> Problem:
    return Problem(
        PLANTED,
        [Objective("loss")],
        measure=lambda value: {"width": sum(block["width"] for block in value["blocks"])},
        evaluate=lambda values: [{"loss": planted_loss(value)} for value in values],
        budgets=["width<=30"],
    )


def line(evaluate: Any = None, **options: Any) -> Problem:
    """Numbers from 0 to 99; the loss is the distance from 40."""
    return Problem(
        Int(0, 99),
        [Objective("loss")],
        evaluate=evaluate or (lambda xs: [{"loss": abs(x - 40.0)} for x in xs]),
        **options,
    )


def two_objectives() -> Problem:
    space = Group({"x": Float(0, 1), "y": Repeat(Int(0, 8), Float(0, 1))})

    def evaluate(values: list[Any]) -> list[dict[str, float]]:
        rest = [1 + 9 * sum(v["y"]) / 8 + 0.1 * (8 - len(v["y"])) for v in values]
        return [
            {"f1": v["x"], "f2": g * (1 - math.sqrt(v["x"] / g))}
            for v, g in zip(values, rest, strict=True)
        ]

    return Problem(space, [Objective("f1"), Objective("f2")], evaluate=evaluate)


# --- what is found ---


@pytest.mark.slow
def test_evolution_beats_random_search_on_a_planted_optimum() -> None:
    wins = Counter[str]()
    for seed in range(20):
        losses = {}
        for sampler in ("evolution", "regularized", "random"):
            study = Study.open(planted(), sampler=sampler, seed=seed)
            study.run(evaluations=250)
            for candidate in study.evaluated:
                PLANTED.check(candidate.value)
                assert candidate.metrics["width"] <= 30
            losses[sampler] = study.best.metrics["loss"]
        wins.update(name for name in losses if losses[name] < losses["random"])
    assert wins["evolution"] >= 18
    assert wins["regularized"] >= 18


@pytest.mark.slow
def test_nsga2_beats_random_search() -> None:
    wins = 0
    for seed in range(20):
        volumes = []
        for kind in ("nsga2", "random"):
            study = Study.open(two_objectives(), sampler=kind, seed=seed, population=20)
            study.run(evaluations=240)
            volumes.append(study.hypervolume({"f1": 1.1, "f2": 10.0}))
        wins += volumes[0] > volumes[1]
    assert wins >= 18


def test_generations_are_those_of_quantumnas() -> None:
    """40 samples, then 20 mutants and 10 crossovers of the best 10 of all so far."""
    space = Group({f"g{i}": Int(0, 10**6) for i in range(12)})  # equal genes are no accident

    def evaluate(values: list[Any]) -> list[dict[str, float]]:
        return [{"loss": float(sum(v.values()))} for v in values]

    study = Study.open(Problem(space, [Objective("loss")], evaluate=evaluate), seed=5)
    study.run(evaluations=40 + 3 * 30)
    found = study.evaluated
    assert Counter(c.generation for c in found) == {0: 40, 1: 30, 2: 30, 3: 30}
    assert [c.number for c in found] == list(range(130))
    inherited = []
    for generation in (1, 2, 3):
        earlier = [c for c in found if c.generation < generation]
        unlike = {space.key(c.value): c for c in sorted(earlier, key=lambda c: c.losses)}
        parents = list(unlike.values())[:10]
        children = [c for c in found if c.generation == generation]
        for child in children[20:]:  # each gene from one of two parents
            pairs = [
                {a.number, b.number}
                for a in parents
                for b in parents
                if all(child.value[g] in (a.value[g], b.value[g]) for g in child.value)
            ]
            assert any(len(pair) == 2 for pair in pairs)
        if generation == 1:  # later parents are relatives, so that likeness proves nothing
            for child in children[:20]:
                likeness = [sum(child.value[g] == p.value[g] for g in p.value) for p in parents]
                inherited.append(max(likeness))
    # A mutant keeps each gene with probability 0.6: 20 mutants of 12 genes, 5 sigma.
    assert abs(np.mean(inherited) / 12 - 0.6) < 5 * math.sqrt(0.24 / 240)


def test_maximising() -> None:
    problem = Problem(
        Int(0, 99),
        [Objective("score", direction="maximize")],
        evaluate=lambda xs: [{"score": -abs(x - 40.0)} for x in xs],
    )
    study = Study.open(problem, seed=0)
    study.run(200)
    assert study.best.value == 40


def test_initial_candidates_come_first() -> None:
    study = Study.open(line(initial=[40, 7]))
    study.run(2)
    assert [c.value for c in study.evaluated] == [40, 7]


def test_static_objectives_need_no_evaluation() -> None:
    problem = Problem(
        Int(0, 99),
        [Objective("gates", cost="static")],
        measure=lambda x: {"gates": abs(x - 40)},
    )
    study = Study.open(problem, seed=0)
    study.run(200)
    assert study.best.value == 40


@pytest.mark.parametrize("path", [None, "study.journal"])
def test_optunas_own_samplers(path: str | None, tmp_path: Path) -> None:
    tpe = optuna.samplers.TPESampler(seed=0)
    storage = None if path is None else tmp_path / path
    study = Study.open(planted(), storage, sampler=tpe, population=10)
    study.run(60)
    assert len(study.evaluated) == 60
    assert all(c.metrics["width"] <= 30 for c in study.evaluated)


# --- batches, repetitions, going on ---


def test_a_generation_is_one_call_and_repetitions_are_none() -> None:
    calls: list[list[int]] = []

    def evaluate(xs: list[int]) -> list[dict[str, float]]:
        calls.append(list(xs))
        return [{"loss": abs(x - 40.0)} for x in xs]

    study = Study.open(line(evaluate), seed=0)
    study.run(40 + 10 * 30)
    # 100 candidates are all there are; 340 were asked for.
    flat = [x for call in calls for x in call]
    assert len(flat) == len(set(flat)) <= 100
    assert len(calls) <= 11
    assert len(study.evaluated) == 340
    assert len(study.distinct) == len(flat)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("sampler", ["evolution", "nsga2", "regularized", "random"])
def test_interrupted_studies_end_like_others(batch: int, sampler: str, tmp_path: Path) -> None:
    straight = Study.open(line(), sampler=sampler, seed=2)
    straight.run(150)
    for evaluations in (13, 77, 150):
        study = Study.open(line(), tmp_path / "study.journal", sampler=sampler, seed=2)
        study.run(evaluations, batch=batch)
        assert len(study.evaluated) == evaluations
    assert study.evaluated == straight.evaluated
    other = Study.open(line(), sampler=sampler, seed=3)
    other.run(150)
    assert other.evaluated != straight.evaluated


def test_an_error_of_evaluate_gives_its_candidates_back(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"

    def broken(xs: list[int]) -> list[dict[str, float]]:
        raise OSError("no data")  # not a ConnectionError of the storage

    with pytest.raises(OSError, match="no data") as caught:
        Study.open(line(broken), path).run(40)
    assert type(caught.value) is OSError
    study = Study.open(line(), path)
    study.run(40)
    assert [c.number for c in study.evaluated] == list(range(40))
    assert not study.failed


def test_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    Study.open(line()).run(60, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(0, 60), (40, 60), (60, 60)]


# --- budgets ---


def test_nothing_that_breaks_a_budget_is_evaluated() -> None:
    seen: list[int] = []

    def evaluate(xs: list[int]) -> list[dict[str, float]]:
        seen.extend(xs)
        return [{"loss": float(-x)} for x in xs]

    problem = line(evaluate, measure=lambda x: {"gates": 3 * x}, budgets=["gates<=60", "gates>=9"])
    study = Study.open(problem, seed=0)
    study.run(200)
    assert set(seen) <= set(range(3, 21))
    assert study.best.value == 20


def test_an_empty_feasible_space_says_which_budget_and_by_how_much() -> None:
    budgets = [Budget("gates", max=-5), Budget("gates", max=200)]
    problem = line(measure=lambda x: {"gates": 3 * x}, budgets=budgets)
    with pytest.raises(ValueError, match=r"none of 2000 candidates .*fits the budgets") as caught:
        Study.open(problem).run(40)
    message = str(caught.value)
    # The least is 0 gates, 5 too many; 67 to 99, a third, break the second.
    assert "gates<=-5 is broken by 100.0%" in message
    assert "by at least 5, in the median by" in message
    assert "gates<=200 is broken by 3" in message


# --- values that are not finite ---


def test_nan_fails_its_candidate_and_the_study_goes_on() -> None:
    def evaluate(xs: list[int]) -> list[dict[str, float]]:
        return [{"loss": math.nan if x % 2 else math.inf if x == 40 else float(x)} for x in xs]

    study = Study.open(line(evaluate), seed=0)
    with pytest.warns(RuntimeWarning, match=r"\d+ of 100 candidates have objectives that are not"):
        study.run(100)
    assert len(study.failed) + len(study.evaluated) == 100
    assert all(c.value % 2 == 0 for c in study.evaluated)
    assert all(value % 2 or value == 40 for value, _ in study.failed)
    value, message = next((v, m) for v, m in study.failed if v % 2)
    assert message == f"loss is nan for the candidate {value}"
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(study.table())
    text = " ".join(console.export_text().split())
    assert f"{len(study.failed)} failed (not finite)" in text


def test_nothing_but_nan_is_an_error() -> None:
    study = Study.open(line(lambda xs: [{"loss": math.nan} for _ in xs]), seed=0)
    with pytest.raises(ValueError, match="all 40 candidates have objectives that are not finite"):
        study.run(200)


def test_results_that_miss_an_objective() -> None:
    study = Study.open(line(lambda xs: [{"los": 1.0} for _ in xs]))
    with pytest.raises(ValueError, match=r"returned the objective 'loss'; did you mean 'los'"):
        study.run(40)
    study = Study.open(line(lambda xs: [{"loss": 1.0}]))
    with pytest.raises(ValueError, match=r"evaluate got \d+ candidates, but returned 1"):
        study.run(40)


# --- other studies, lost storages ---


@pytest.mark.parametrize("name", ["study.journal", "study.db"])
def test_a_study_whose_definition_has_changed(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    space = Group({"x": Int(0, 9), "y": Int(0, 9)})
    loss = [Objective("loss")]

    def problem(space: Any, objectives: Any = loss, **options: Any) -> Problem:
        return Problem(
            space,
            objectives,
            measure=lambda v: {"g": 1.0},
            evaluate=lambda vs: [{"loss": 1.0, "lost": 1.0} for _ in vs],
            **options,
        )

    Study.open(problem(space), path)
    Study.open(problem(space), path)
    changed = Group({"x": Int(0, 9), "y": Int(0, 8)})
    match = r"made with another space: space\.members\[1\]\[1\]\.high was 9 and is 8 now"
    with pytest.raises(ValueError, match=match):
        Study.open(problem(changed), path)
    with pytest.raises(ValueError, match=r"another budgets: budgets was \[\] and is"):
        Study.open(problem(space, budgets=["g<=3"]), path)
    with pytest.raises(ValueError, match=r"another objectives: objectives\[0\]\[0\] was 'loss'"):
        Study.open(problem(space, [Objective("lost")]), path)
    with pytest.raises(ValueError, match="another seed: seed was 0 and is 1 now"):
        Study.open(problem(space), path, seed=1)
    with pytest.raises(ValueError, match=r"another sampler: sampler\.sampler was 'EvolutionS"):
        Study.open(problem(space), path, sampler="random")
    Study.open(problem(changed), path, name="another name")


def test_a_study_of_somebody_else(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.journal")
    optuna.create_study(storage=storage, study_name="theirs").optimize(lambda t: 1.0, n_trials=1)
    with pytest.raises(ValueError, match="'theirs' that nisqkit did not make; choose another name"):
        Study.open(line(), storage, name="theirs")


class Losable(optuna.storages.InMemoryStorage):
    """A storage that is lost after some writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_left = math.inf

    def set_trial_state_values(self, *args: Any, **kwargs: Any) -> bool:
        if self.writes_left <= 0:
            raise OperationalError("UPDATE trials", {}, OSError("connection refused"))
        self.writes_left -= 1
        return super().set_trial_state_values(*args, **kwargs)


def test_what_is_evaluated_when_the_storage_is_lost_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evaluated: list[int] = []

    def evaluate(xs: list[int]) -> list[dict[str, float]]:
        evaluated.extend(xs)
        return [{"loss": abs(x - 40.0)} for x in xs]

    undisturbed = Study.open(line(), seed=0)
    undisturbed.run(60)
    storage = Losable()
    storage.writes_left = 5
    study = Study.open(line(evaluate), storage, seed=0)
    with pytest.raises(ConnectionError, match="results were evaluated but not stored") as caught:
        study.run(60)
    (path,) = tmp_path.glob("search.*.results.json")
    assert str(path) in str(caught.value)
    assert "connection refused" in str(caught.value)
    assert len(json.loads(path.read_text())["results"]) == len(set(evaluated)) - 5

    # The storage is back, and what was evaluated is not evaluated again.
    storage.writes_left = math.inf
    again = Study.open(line(evaluate), storage, seed=0)
    assert again.recover(path) == len(set(evaluated)) - 5
    again.run(60)
    assert again.evaluated == undisturbed.evaluated
    assert Counter(evaluated).most_common(1)[0][1] == 1

    with pytest.raises(ValueError, match="has results of the space"):
        Study.open(planted()).recover(path)
    path.write_text('{"nisqkit_results": 2}')
    with pytest.raises(ValueError, match="has version 2 of the format"):
        again.recover(path)
    with pytest.raises(ValueError, match="is no file of results"):
        again.recover(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("/nowhere/study.db", r"/nowhere/study\.db cannot be reached; nothing was evaluated"),
        (
            "postgresql://me:secret@127.0.0.1:1/none",
            r"postgresql://me:\*\*\*@127\.0\.0\.1:1/none cannot be reached; nothing was",
        ),
    ],
)
def test_a_storage_that_cannot_be_reached(url: str, match: str) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")
    with pytest.raises(ConnectionError, match=match):
        Study.open(line(), url)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sampler": "evolutoin"}, "no sampler 'evolutoin'; did you mean 'evolution'"),
        ({"population": 30}, "add up to 40, but population is 30"),
        ({"population": 10, "parents": 0, "mutants": 10, "crossovers": 0}, "at least one parent"),
        ({"mutation": 1.5}, r"mutation must be a probability in \[0, 1\], got 1.5"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"sampler": "random", "population": 0}, "population must be at least 1, got 0"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Study.open(line(), **options)


def test_evolution_is_for_one_objective() -> None:
    with pytest.raises(
        ValueError, match="one objective and the problem has 2: use sampler='nsga2'"
    ):
        Study.open(two_objectives())
    study = Study.open(two_objectives(), sampler="nsga2")
    with pytest.raises(ValueError, match="there are 2 objectives, so no single candidate"):
        _ = study.best
    with pytest.raises(ValueError, match="nothing is evaluated yet"):
        study.knee()
    with pytest.raises(ValueError, match="evaluations=0, batch=None: both must be at least 1"):
        study.run(0)


# --- results ---


def test_front_hypervolume_knee_table_and_picture(tmp_path: Path) -> None:
    # x qubits cost x and lose 12 / x: 2, 3, 4 and 6 are on the front, whatever y does.
    problem = Problem(
        Group({"x": Choice([2, 3, 4, 6]), "y": Int(0, 3)}),
        [Objective("loss"), Objective("qubits", cost="static")],
        measure=lambda v: {"qubits": v["x"]},
        evaluate=lambda vs: [{"loss": 12 / v["x"] + v["y"]} for v in vs],
    )
    study = Study.open(problem, sampler="nsga2", seed=0)
    study.run(200)
    assert len(study.distinct) == 16
    assert [(c.metrics["loss"], c.metrics["qubits"]) for c in study.front] == [
        (2, 6),
        (3, 4),
        (4, 3),
        (6, 2),
    ]
    # Boxes up to (7, 7): widths 5, 4, 3, 1 over heights 1, 2, 1, 1.
    assert study.hypervolume({"loss": 7, "qubits": 7}) == 5 + 4 * 2 + 3 + 1
    # The worst evaluated is (9, 6): widths 6, 5, 3 over heights 2, 1, 1.
    assert study.hypervolume() == 6 * 2 + 5 + 3
    # Scaled by 4 each, the sums are 1, 0.75, 0.75 and 1; the first of the two counts.
    assert study.knee().value == {"x": 4, "y": 0}
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(study.table())
    text = console.export_text()
    assert "loss ↓" in text and "(knee)" in text and '{"x":4,"y":0}' in text
    for name in ("front.png", "front.svg"):
        study.plot(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000
    trials = study.optuna.get_trials(states=(TrialState.COMPLETE,))
    assert trials[0].params.keys() == {"x", "y"}  # what Optuna's dashboard shows
    single = Study.open(line(), seed=0)
    single.run(50)
    single.plot(tmp_path / "progress.png")
    assert (tmp_path / "progress.png").stat().st_size > 5000
