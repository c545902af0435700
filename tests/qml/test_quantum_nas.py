"""QuantumNAS from beginning to end, small: resumable, with budgets, and a run that is a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.optimize import minimize_scalar
from typer.testing import CliRunner

from nisqkit.circuits.subcircuit_text import subcircuit_from_text
from nisqkit.cli.main import app
from nisqkit.noise import Device
from nisqkit.qml.co_search import CoSearch, calibrated_loss, working_qubits
from nisqkit.qml.evaluation import limited
from nisqkit.qml.models import quantum_layers
from nisqkit.qml.quantum_nas import NasConfig, NasWatcher, open_search, run_nas, super_circuit
from nisqkit.qml.runs import evaluate_run, load_run
from nisqkit.qml.training import load_data
from nisqkit.search import Study

SMALL = NasConfig(
    task="digits2",
    device="fake_belem",
    space="zzry",
    blocks=2,
    super_epochs=2,
    evaluations=60,
    epochs=2,
    finalists=3,
    fidelity=3,
    prune=0.3,
    budgets=("two_qubit_gates<=20",),
)


class Stop(Exception):
    """The run is cut off."""


class Until(NasWatcher):
    """Stops where a stage begins."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.stages: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)
        if self.text in text:
            raise Stop

    def searched(self, done: int, total: int, study: Study) -> None:
        assert total == 60 and 0 <= done <= total


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("nas") / "run"
    return run_nas(SMALL, out), out


def test_the_report_says_what_there_is(straight: tuple[dict[str, Any], Path]) -> None:
    report, out = straight
    assert report == json.loads((out / "report.json").read_text())
    assert report["evaluated"] == 60
    assert (out / "search.png").stat().st_size > 1000
    winner = report["winner"]
    assert winner["metrics"]["two_qubit_gates"] <= 20
    assert report["block_loss_against_transpiled"]["count"] == min(20, report["distinct"])
    assert report["inherited_against_scratch"]["count"] == 3
    design, mask = subcircuit_from_text((out / "subcircuit.json").read_text())
    assert mask == design.mask(winner["candidate"]["circuit"])
    assert {b["name"] for b in report["baselines"]} >= {"logistic regression"}


def test_the_winner_is_a_run_on_its_qubits(straight: tuple[dict[str, Any], Path]) -> None:
    report, out = straight
    run = load_run(out / "winner")
    assert run.config.layout == tuple(report["winner"]["candidate"]["layout"])
    found = {e.condition: e.accuracy for e in evaluate_run(run, ["fake_belem"])}
    assert found == pytest.approx(report["results"]["winner"]["test_accuracy"])


def test_pruned_gates_are_gone_and_values_stay(straight: tuple[dict[str, Any], Path]) -> None:
    report, out = straight
    pruned, final = load_run(out / "pruned").model, load_run(out / "final").model
    x = torch.rand(5, 16)
    torch.testing.assert_close(pruned.eval()(x), final.eval()(x), atol=1e-5, rtol=0)
    before, after = (next(iter(quantum_layers(m).values())) for m in (pruned, final))
    zeros = int((before.weights == 0).sum())
    assert zeros == round(0.3 * before.weights.numel())
    assert after.weights.numel() == before.weights.numel() - zeros  # one angle per gate here
    gates = report["results"]
    assert gates["pruned"]["gates"].get("cx", 0) <= gates["winner"]["gates"].get("cx", 0)


@pytest.mark.parametrize("stage", ["searching", "training the winner"])
def test_a_resumed_search_finds_the_same(
    straight: tuple[dict[str, Any], Path], tmp_path: Path, stage: str
) -> None:
    report, _ = straight
    out = tmp_path / "run"
    with pytest.raises(Stop):
        run_nas(SMALL, out, watcher=Until(stage))
    with pytest.raises(ValueError, match="already holds a search: go on with it by resume"):
        run_nas(SMALL, out)
    with pytest.raises(ValueError, match=r"different are: epochs \(3, not 2\)"):
        run_nas(replace(SMALL, epochs=3), out, resume=True)
    found = run_nas(SMALL, out, resume=True)
    for key in ("winner", "front", "results", "distinct"):
        assert found[key] == report[key]


@pytest.mark.slow
def test_two_workers_find_the_same(straight: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    report, _ = straight
    with pytest.raises(Stop):
        run_nas(SMALL, tmp_path / "run", workers=2, watcher=Until("transpiling"))
    study, _ = open_search(tmp_path / "run")
    front = [{"candidate": c.value, "metrics": dict(c.metrics)} for c in study.front]
    assert front == report["front"]


def test_scores_and_layouts() -> None:
    data = load_data(SMALL.training(1))
    model = super_circuit(SMALL, data).eval()
    split, belem = limited(data.valid, 10), Device.load("fake_belem")
    candidate = {"layout": [0, 1, 2, 3], "circuit": model.design.smallest}
    scores = {
        score: CoSearch.classifying(model, split, belem, score=score, calibrate=False)
        for score in ("loss", "loss/success", "ideal", "training-free")
    }
    (noisy,), (shared,), (ideal,), (free,) = (s.evaluate([candidate]) for s in scores.values())
    success = scores["loss"].measure(candidate)["success_probability"]
    assert shared["score"] == pytest.approx(ideal["loss"] / success)
    assert abs(noisy["loss"] - ideal["loss"]) > 1e-3
    assert free["score"] == pytest.approx(-free["capacity"] * free["resilience"] ** 0.25)
    # without a swap, blocks are nearly what Qiskit makes of the whole circuit
    assert scores["loss"].transpiled_loss(candidate) == pytest.approx(noisy["loss"], abs=0.01)
    fixed = CoSearch.classifying(model, split, belem, layout=[0, 1, 2, 3], calibrate=False)
    assert fixed.evaluate([{"circuit": model.design.smallest}]) == [noisy]
    gates = tuple(
        g._replace(error=1.0) if 4 in g.qubits and len(g.qubits) == 2 else g for g in belem.gates
    )
    broken = replace(belem, gates=gates)
    assert working_qubits(broken) == [0, 1, 2, 3]
    search = CoSearch.classifying(model, split, broken)
    with pytest.raises(ValueError, match="4"):
        search.space.check({"layout": [0, 1, 3, 4], "circuit": model.design.smallest})


def test_a_calibrated_loss_does_not_see_a_common_scale() -> None:
    """It is that of the best scale, found here by Newton's method in SciPy."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 3, generator=random, dtype=torch.float64)
    labels = torch.randint(3, (40,), generator=random)
    logits[range(40), labels] += 0.7

    def loss(scale: float) -> float:
        return float(torch.nn.functional.cross_entropy(scale * logits, labels))

    best = minimize_scalar(loss, bounds=(1e-3, 100), method="bounded").fun
    assert calibrated_loss(logits, labels) == pytest.approx(best, abs=1e-3)
    assert calibrated_loss(0.05 * logits, labels) == pytest.approx(best, abs=1e-3)
    assert loss(0.05) > best + 0.03


def test_bad_input(tmp_path: Path) -> None:
    for wrong, message in (
        ({"space": "u3cu"}, "unknown space 'u3cu'; did you mean 'u3cu3'"),
        ({"sampling": "plane"}, "unknown sampling 'plane'; did you mean 'plain'"),
        ({"score": "los"}, "unknown score 'los'; did you mean 'loss'"),
        ({"objectives": ("depht",)}, "unknown objective 'depht'; did you mean 'depth'"),
        ({"objectives": ("depth",)}, "lack 'score'"),
        ({"evaluations": 0}, "evaluations=0 must be at least 1"),
        ({"fidelity": 1}, "fidelity=1 must be 0, or at least 2"),
    ):
        with pytest.raises(ValueError, match=message):
            NasConfig(device="fake_belem", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown field of NasConfig 'seeds'; did you mean 'seed'"):
        NasConfig.from_dict({"device": "fake_belem", "seeds": 1})
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="two_qubit_gate'; did you mean 'two_qubit_gates'"):
        run_nas(replace(SMALL, budgets=("two_qubit_gate<=20",)), out)
    with pytest.raises(ValueError, match="none of 200 candidates fits the budgets"):
        run_nas(replace(SMALL, budgets=("two_qubit_gates<=1",)), out)
    with pytest.raises(FileNotFoundError, match=r"there is no search in .* to resume"):
        run_nas(SMALL, out, resume=True)
    with pytest.raises(ConnectionError, match="nothing was evaluated"):
        run_nas(SMALL, out, storage="postgresql://nobody@127.0.0.1:9/none")
    assert not out.exists()  # all found out before anything was written


def test_the_command(straight: tuple[dict[str, Any], Path]) -> None:
    _, out = straight
    runner = CliRunner()
    shown = runner.invoke(app, ["search", "report", str(out)])
    assert shown.exit_code == 0, shown.output
    assert "Trained from scratch" in shown.output and "winner" in shown.output
    failed = runner.invoke(app, ["search", "--out", str(out / "new")])
    assert failed.exit_code == 2
    assert "search needs a device to search for" in failed.output
