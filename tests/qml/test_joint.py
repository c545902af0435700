"""Joint search: costs against independent counts, values against the engine, a run at its end."""

from __future__ import annotations

import json
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import torch

from nisqkit.circuits import Observables, Program, Task
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.gradients import ParameterShift
from nisqkit.hardware_backends.metered import Meter, Metered
from nisqkit.hardware_backends.registry import get_backend
from nisqkit.noise import Device
from nisqkit.qml import load_dataset
from nisqkit.qml.joint import (
    TRAINED,
    JointSearch,
    joint_supernet,
    quantized_circuit,
    train_joint,
)
from nisqkit.qml.joint_run import JointConfig, run_joint
from nisqkit.qml.runs import evaluate_run, load_run
from nisqkit.search.profile import profile

DATA = load_dataset("digits2")
BELEM = Device.load("fake_belem")


@pytest.fixture(scope="module")
def search() -> JointSearch:
    model = joint_supernet(16, 2, blocks=2, widths=(2, 4), seed=0)
    train_joint(model, DATA.train, epochs=2)
    return JointSearch(model, DATA.train, DATA.valid, BELEM, steps=2)


def candidates(search: JointSearch, count: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    return [search.space.sample(rng) for _ in range(count)]


def test_bytes_and_macs_are_those_of_the_profile(search: JointSearch) -> None:
    """Of candidates without pruning, whose layers are stored without a bit mask."""
    for candidate in candidates(search, 6):
        dense = candidate | {"prune": {"0": 0.0, "2": 0.0}}
        found = search.measure(dense)
        model = search.build(dense)
        counted = profile(model.get_submodule("encoder"), torch.zeros(1, 16))
        angles = ceil(search.measure(dense)["parameters"] * candidate["angle_bits"] / 8)  # type: ignore[operator]
        assert found["weight_bytes"] == counted.total("weight_bytes").value + angles
        assert found["macs"] == counted.total("macs").value


def test_pruned_layers_are_stored_as_a_mask_and_what_is_left(search: JointSearch) -> None:
    (candidate,) = candidates(search, 1)
    candidate |= {
        "encoder": {"0": {"width": 4}},
        "prune": {"0": 0.75, "2": 0.0},
        "weight_bits": {"0": 8, "2": 8},
    }
    found = search.measure(candidate)
    angles = ceil(found["parameters"] * candidate["angle_bits"] / 8)  # type: ignore[operator]
    first = (16 * 8 + 64) // 8 + 8 * 4  # 16 of 64 weights and 64 bits; scales and biases
    second = 16 * 8 // 8 + 8 * 4
    assert found["weight_bytes"] == first + second + angles
    assert found["nonzero_macs"] == 16 + 16
    model = search.build(candidate)
    weights = model.get_submodule("encoder.0").layer.weight  # type: ignore[union-attr]
    assert int((weights == 0).sum()) == 48  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize("trained", TRAINED)
def test_executions_are_counted_by_a_backend_that_runs_them(
    search: JointSearch, trained: str
) -> None:
    """One training step of 3 samples by parameter shift, on a backend that counts circuits."""
    (candidate,) = candidates(search, 1)
    candidate |= {"trained": trained, "circuit": search.model.part("circuit").design.largest}
    samples = len(DATA.train)
    per_sample = search.measure(candidate)["executions_per_epoch"] / candidate["shots"] / samples  # type: ignore[operator]
    program = search.model.part("circuit").program(candidate["circuit"])
    count = len(program.weights)
    last = count // 2  # of two equal blocks
    chosen = {"circuit": range(count), "everything": range(count), "last block": range(last, count)}
    weights = torch.rand(count, dtype=torch.float64, requires_grad=trained != "encoder")
    inputs = torch.rand(3, 4, dtype=torch.float64)
    inputs.requires_grad_(trained in ("everything", "encoder"))
    meter = Meter()
    method = (
        ParameterShift(weights=tuple(chosen[trained])) if trained in chosen else "parameter-shift"
    )
    backend = Metered(get_backend("native"), meter)
    task = Task(program, inputs, weights, search.model.part("circuit").layer.observables)
    execute([task], Execution(backend, diff_method=method))[0].values.sum().backward()
    assert meter.executions == 3 * per_sample


def test_judged_is_what_the_placed_circuit_gives(search: JointSearch) -> None:
    """With shots that leave no error: the density engine on the same blocks."""
    (candidate,) = candidates(search, 1)
    candidate |= {"measurement_bits": 8}
    model = search.build(candidate)
    search.tune(model, candidate, 2)
    many = candidate | {"shots": 10**12}
    search.whole.key = lambda found: json.dumps(found, sort_keys=True)  # type: ignore[method-assign]
    found = search.judged(model, many)
    del search.whole.key
    quantized = quantized_circuit(model)
    x, y = search.valid
    with torch.no_grad():
        angles = model.get_submodule("encoder")(x)
        program, observables = quantized.circuit.program, quantized.circuit.observables
        assert isinstance(program, Program) and isinstance(observables, Observables)
        placed, placement = search.blocks.program(
            program,
            search.blocks.route(program, candidate["layout"]),  # type: ignore[arg-type]
        )
        task = Task(
            placed,
            angles,
            quantized.weights,
            observables,
            placement=placement,  # type: ignore[arg-type]
        )
        values = execute([task], Execution(noise=search.noise))[0].values
        assert quantized.measured is not None
        logits = model.get_submodule("circuit")[1](quantized.measured(values))  # type: ignore[index]
        loss = torch.nn.functional.cross_entropy(logits.double(), y)
    assert found["loss"] == pytest.approx(float(loss), abs=1e-3)


def test_only_what_is_trained_changes(search: JointSearch) -> None:
    (candidate,) = candidates(search, 1)
    design = search.model.part("circuit").design
    candidate |= {"circuit": design.largest, "prune": {"0": 0.0, "2": 0.0}}
    half = design.num_weights(design.largest) // 2
    for trained in TRAINED:
        chosen = candidate | {"trained": trained}
        model = search.build(chosen)
        before = {k: v.clone() for k, v in model.named_parameters()}
        search.tune(model, chosen, 3)
        changed = {k: (v != before[k]) for k, v in model.named_parameters()}
        circuit = next(v for k, v in changed.items() if k.startswith("circuit"))
        encoder = any(bool(v.any()) for k, v in changed.items() if k.startswith("encoder"))
        assert encoder == (trained in ("everything", "encoder"))
        assert bool(circuit[half:].any()) == (trained != "encoder")
        assert bool(circuit[:half].any()) == (trained in ("everything", "circuit"))
        assert all(p.requires_grad for p in model.parameters())


def test_the_same_candidate_is_judged_the_same(search: JointSearch) -> None:
    some = candidates(search, 2)
    assert search.evaluate(some) == search.evaluate(some)


def test_halves_can_be_fixed(search: JointSearch) -> None:
    (candidate,) = candidates(search, 1)
    fixed = {k: candidate[k] for k in ("encoder", "prune", "weight_bits")}
    half = JointSearch(search.model, DATA.train, DATA.valid, BELEM, steps=2, fixed=fixed)
    rest = {k: v for k, v in candidate.items() if k not in fixed}
    half.space.check(rest)
    assert half.measure(rest) == search.measure(candidate)
    with pytest.raises(ValueError, match=r"fixed has \['bits'\], and the groups are"):
        JointSearch(search.model, DATA.train, DATA.valid, BELEM, fixed={"bits": 3})


SMALL = JointConfig(
    task="digits2",
    device="fake_belem",
    blocks=2,
    evaluations=40,
    super_epochs=2,
    steps=2,
    epochs=1,
    budgets=("weight_bytes<=300",),
)


def test_the_winner_is_a_run(tmp_path: Path) -> None:
    report = run_joint(SMALL, tmp_path / "a")
    run = load_run(tmp_path / "a" / "winner")
    chosen = report["winner"]["candidate"]
    assert run.config.layout == tuple(chosen["layout"]) and run.config.shots == chosen["shots"]
    found = {e.condition: e.accuracy for e in evaluate_run(run)}
    assert found["noise-free"] == report["result"]["test"][0]["accuracy"]
    assert report["winner"]["metrics"]["weight_bytes"] <= 300
    again = run_joint(SMALL, tmp_path / "a", resume=True)
    assert again["front"] == report["front"] and again["winner"] == report["winner"]


def test_bad_input(tmp_path: Path) -> None:
    for wrong, message in (
        ({"space": "u3"}, "unknown space 'u3'"),
        ({"objectives": ("bytes",)}, "unknown objective 'bytes'"),
        ({"objectives": ("weight_bytes",)}, "lack 'loss' and 'error'"),
        ({"epochs": 0}, "epochs=0 must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            JointConfig(device="fake_belem", **wrong)  # type: ignore[arg-type]
    for budget, message in (
        ("weight_byte<=8k", "'weight_byte'; did you mean 'weight_bytes'"),
        ("weight_bytes<=8", "none of 200 candidates fits the budgets"),
    ):
        with pytest.raises(ValueError, match=message):
            run_joint(replace(SMALL, budgets=(budget,)), tmp_path / "b")
    assert not (tmp_path / "b").exists()
    with pytest.raises(FileNotFoundError, match="there is no joint search"):
        run_joint(SMALL, tmp_path / "b", resume=True)
