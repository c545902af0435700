"""Folded circuits do the same, with the stated number of gates, in the gates that they had."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby

import pytest
import torch
from qiskit import QuantumCircuit
from torch import Tensor

from nisqkit.circuits import Observables, Task, encoder, lower, u3_cu3, zz_feature_map
from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.transpile import transpile_to
from nisqkit.noise import Device
from nisqkit.noise.mitigation import folding
from nisqkit.noise.mitigation.folding import fold, fold_chunks, folded_scale
from nisqkit.noise.mitigation.layers import chunks, layers_of

LOGICAL = lower(encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=2)), inputs="x")
TRANSPILED = transpile_to(LOGICAL, Device.load("fake_belem"))
NATIVE = TRANSPILED.native
WITH_FORMULAS = lower(zz_feature_map(3), inputs="x")


def values(program: Program, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    inputs = torch.rand(3, len(program.inputs), dtype=torch.float64, generator=random)
    weights = torch.rand(len(program.weights), dtype=torch.float64, generator=random)
    z = Observables.parse(None, program.num_qubits)
    return execute([Task(program, inputs, weights, z)], Execution("reference"))[0].values


@pytest.mark.parametrize("program", [LOGICAL, NATIVE, WITH_FORMULAS], ids=["u3", "belem", "zz"])
@pytest.mark.parametrize("method", ["global", "gates"])
@pytest.mark.parametrize("scale", [1.0, 1.7, 3.0, 4.4])
def test_values_stay_the_same(program: Program, method: str, scale: float) -> None:
    folded = fold(program, scale, method)
    assert (values(folded) - values(program)).abs().max() < 1e-10
    assert (folded.inputs, folded.weights) == (program.inputs, program.weights)


@pytest.mark.parametrize("method", ["global", "gates"])
@pytest.mark.parametrize("scale", [1.5, 2.0, 3.0, 4.4, 5.0, 7.0])
def test_two_qubit_gates_are_as_many_times_more_as_stated(method: str, scale: float) -> None:
    folded = fold(NATIVE, scale, method)
    before = sum(len(use.qubits) == 2 for use in NATIVE.gates)
    after = sum(len(use.qubits) == 2 for use in folded.gates)
    assert after / before == pytest.approx(scale, abs=1 / before + 1e-9)  # in steps of 2
    assert folded_scale(NATIVE, folded) == after / before
    if scale in (3, 5, 7):
        assert after == scale * before


@pytest.mark.parametrize("method", ["global", "gates"])
def test_a_device_circuit_stays_one_on_the_same_qubits(method: str) -> None:
    folded = fold(NATIVE, 3, method)
    assert {use.name for use in folded.gates} == {use.name for use in NATIVE.gates}
    pairs = {use.qubits for use in NATIVE.gates if len(use.qubits) == 2}
    assert {use.qubits for use in folded.gates if len(use.qubits) == 2} == pairs
    count, before = (Counter(use.name for use in p.gates) for p in (folded, NATIVE))
    for name in ("cx", "sx", "x"):
        assert count[name] == 3 * before[name]


def test_only_named_gates_are_folded() -> None:
    folded = fold(NATIVE, 5, "gates", gates=["cx"])
    count, before = (Counter(use.name for use in p.gates) for p in (folded, NATIVE))
    assert count["cx"] == 5 * before["cx"]
    assert count["sx"] == before["sx"]
    assert folded_scale(NATIVE, folded, ["cx"]) == 5


def test_every_angle_belongs_to_one_gate() -> None:
    """A shift rule that moves one slot must move one gate."""
    for program in (LOGICAL, NATIVE):
        slots = [slot for use in fold(program, 5).gates for slot in use.slots]
        assert len(slots) == len(set(slots))


def test_partial_folds_are_spread_over_the_circuit() -> None:
    circuit = QuantumCircuit(2)
    for _ in range(6):
        circuit.sx(0)
        circuit.cx(0, 1)
    names = [use.name for use in fold(lower(circuit), 2, "gates", gates=["cx"]).gates]
    runs = [len(list(run)) for name, run in groupby(names) if name == "cx"]
    assert runs == [1, 3, 1, 3, 1, 3]


def test_a_circuit_without_two_qubit_gates_scales_all_of_them() -> None:
    program = lower(encoder("10_ryzx"), inputs="x")
    folded = fold(program, 2)
    assert folded_scale(program, folded) == pytest.approx(2, abs=1 / program.num_gates)


def test_256_samples_are_folded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    program = replace(LOGICAL)  # without what is kept with it
    calls = []
    inner = folding._fold
    monkeypatch.setattr(folding, "_fold", lambda *a: calls.append(a) or inner(*a))
    z = Observables.parse(None, 4)
    weights = torch.zeros(len(program.weights))
    tasks = [Task(fold(program, 3), x, weights, z) for x in torch.rand(16, 16, 16)]
    execute(tasks, Execution())
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.5,), "scale is 0.5: give a number of at least 1"),
        ((float("inf"),), "scale is inf: give a number of at least 1"),
        ((3, "globel"), "did you mean 'global'"),
        ((3, "global", ["cx"]), "goes with folding='gates'"),
        ((3, "gates", ["cz"]), "unknown gate of the circuit 'cz'"),
    ],
)
def test_what_cannot_be_folded_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fold(NATIVE, *arguments)  # type: ignore[arg-type]


def test_chosen_layers_alone_are_folded() -> None:
    layers = layers_of(NATIVE)
    chosen = [k for k, layer in enumerate(layers) if any(len(use.qubits) == 2 for use in layer)][:2]
    folded = fold(NATIVE, 3, "gates", layers=chosen)
    assert (values(folded) - values(NATIVE)).abs().max() < 1e-10
    expected = NATIVE.num_gates + sum(
        2 * (3 if use.name == "sx" else 1)  # whose inverse is rz sx rz
        - (2 if use.name == "sx" else 0)
        for k in chosen
        for use in layers[k]
    )
    assert folded.num_gates == expected
    with pytest.raises(
        ValueError, match=r"layers=\[1000\] has 1000, and the circuit has the layers"
    ):
        fold(NATIVE, 3, "gates", layers=[1000])
    with pytest.raises(ValueError, match=r"layers=\[0\] goes with folding='gates'"):
        fold(NATIVE, 3, "global", layers=[0])
    first = {use.name for use in layers[0]}
    assert "cx" not in first
    with pytest.raises(ValueError, match=r"there are no gates \['cx'\] in the layers \[0\]"):
        fold(NATIVE, 3, "gates", gates=["cx"], layers=[0])


def test_chunks_are_folded_apart() -> None:
    folded = fold_chunks(NATIVE, [0, 2, 1])
    assert (values(folded) - values(NATIVE)).abs().max() < 1e-10
    cx = [sum(u.name == "cx" for u in chunk) for chunk in chunks(NATIVE, 3)]
    assert sum(u.name == "cx" for u in folded.gates) == cx[0] + 5 * cx[1] + 3 * cx[2]
    assert fold_chunks(NATIVE, (0, 2, 1)) is folded
