"""Clifford data regression: its circuits are near-Clifford ones, and affine noise is undone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Clifford

from nisqkit.circuits import (
    AmplitudeInput,
    Observables,
    Task,
    circuit_of,
    encoder,
    lower,
    u3_cu3,
)
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.noise import Channel, Device, NoiseModel
from nisqkit.noise.mitigation import ZNE, CliffordDataRegression, PauliTwirling, ReadoutMitigation
from nisqkit.noise.mitigation.cdr import _line
from nisqkit.qml import QuantumLayer

BELEM = Device.load("fake_belem")
CIRCUIT = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))
NONE = torch.zeros(1, 0, dtype=torch.float64)


def device_layer(**options: object) -> QuantumLayer:
    layer = QuantumLayer(CIRCUIT, "x", noise=BELEM, init="uniform", seed=0, **options)  # type: ignore[arg-type]
    return layer.double()


def native_task() -> Task:
    layer = device_layer()
    x = torch.rand(3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (placed,) = layer.backend.binder.placed(layer._task(x, False))  # type: ignore[attr-defined]
    return placed


def test_training_circuits_are_clifford_but_for_the_stated_share() -> None:
    task = native_task()
    angles = task.program.angles(task.inputs, task.weights).detach()
    free = ((angles / (np.pi / 2)).frac().abs() > 1e-6).any(dim=0)
    used = torch.zeros_like(free)
    used[[s for use in task.program.gates for s in use.slots]] = True
    number = int((free & used).sum())
    for share in (0.0, 0.3):
        mitigator = CliffordDataRegression(5, fraction_non_clifford=share)
        rows = mitigator.training_angles(task.program, angles)
        assert rows.shape == (3, 5, angles.shape[1])
        away = (rows / (np.pi / 2) - (rows / (np.pi / 2)).round()).abs() > 1e-6
        assert away.any(dim=0)[:, used].sum(dim=1).tolist() == [round(share * number)] * 5
        assert torch.equal(rows[away & used], angles[:, None].expand_as(rows)[away & used])
    circuit = circuit_of(task.program.by_slots)
    clifford = CliffordDataRegression(2, 0.0).training_angles(task.program, angles)[1, 0]
    named = {p: clifford[int(p.name[5:-1])].item() for p in circuit.parameters}
    Clifford.from_circuit(circuit.assign_parameters(named))  # raises for any other circuit


def test_affine_noise_is_undone_as_by_mitiq() -> None:
    """Two qubits, depolarised by each CX: every value is (1 - p)^k of the true one."""
    with warnings.catch_warnings(action="ignore"):
        from mitiq.cdr import execute_with_cdr
    circuit = QuantumCircuit(2)
    for k in range(3):
        circuit.rz(0.3 + k, 0)
        circuit.sx(0)
        circuit.rz(0.7 * k, 1)
        circuit.sx(1)
        circuit.rz(0.4 - k, 1)
        circuit.cx(0, 1)
    model = NoiseModel(
        "by hand",
        {("cx", ()): Channel.depolarizing(0.1, 2)},
        {"rz", "sx", "x", "z", "s", "sdg", "id", "h", "p", "u3", "u", "rx", "sxdg", "measure"},
    )
    z = Observables.parse("ZZ", 2)
    task = Task(lower(circuit), NONE, NONE[0], z)
    raw = execute([task], Execution(noise=model))[0].values.item()
    ideal = execute([task], Execution())[0].values.item()
    ours = execute([task], Execution(noise=model, mitigation=CliffordDataRegression(10)))[0]

    def executor(bound, noise=model):  # type: ignore[no-untyped-def] # Mitiq reads annotations
        at = Task(lower(bound), NONE, NONE[0], z)
        return execute([at], Execution(noise=noise))[0].values.item()

    with warnings.catch_warnings(action="ignore"):
        theirs = execute_with_cdr(
            circuit,
            executor,
            simulator=lambda bound: executor(bound, None),  # pyright: ignore[reportArgumentType]
            num_training_circuits=10,
            fraction_non_clifford=0.3,
            random_state=0,
        )
    assert abs(raw - ideal) > 0.05
    assert ours.values.item() == pytest.approx(ideal, abs=1e-8)
    assert theirs == pytest.approx(ideal, abs=1e-5)


def test_the_line_is_that_of_least_squares() -> None:
    random = np.random.default_rng(0)
    noisy, exact = random.normal(size=(2, 7, 3)), random.normal(size=(2, 7, 3))
    slope, offset = _line(torch.tensor(noisy), torch.tensor(exact))
    for b in range(2):
        for k in range(3):
            expected = np.polyfit(noisy[b, :, k], exact[b, :, k], 1)
            assert [slope[b, k], offset[b, k]] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("observables", [None, ["XIII", "ZZII"], "probs"])
def test_a_batch_on_a_device_is_nearer_to_the_truth(observables: object) -> None:
    layer = device_layer(observables=observables)
    x = torch.rand(8, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mitigated = layer.with_backend("native", noise=BELEM, mitigation=CliffordDataRegression())
    with torch.no_grad():
        ideal, raw = layer.with_backend("native")(x), layer(x)
        assert (mitigated(x) - ideal).abs().mean() < (raw - ideal).abs().mean() / 2
        # what a sample gets does not depend on the others
        torch.testing.assert_close(mitigated(x[2:3]), mitigated(x)[2:3], atol=1e-9, rtol=0)


def test_with_shots_there_is_a_standard_error() -> None:
    layer = device_layer(shots=4000, mitigation=CliffordDataRegression())
    x = torch.rand(4, 16, dtype=torch.float64)
    with torch.no_grad():
        result = layer.estimate(x)
    assert result.std is not None and (result.std > 0).all()


def test_bad_input() -> None:
    layer = device_layer(mitigation=CliffordDataRegression())
    with pytest.raises(ValueError, match="CliffordDataRegression has no gradient: train without"):
        layer(torch.zeros(1, 16, dtype=torch.float64))
    with pytest.raises(ValueError, match="num_training=1 must be at least 2"):
        CliffordDataRegression(1)
    with pytest.raises(ValueError, match=r"fraction_non_clifford=1\.0 must be at least 0"):
        CliffordDataRegression(fraction_non_clifford=1.0)
    execution = Execution(mitigation=CliffordDataRegression())
    program = lower(u3_cu3(2, blocks=1))
    weights = torch.zeros(len(program.weights))
    task = Task(program, torch.zeros(1, 0), weights, Observables.parse(None, 2))
    with pytest.raises(ValueError, match=r"has no Clifford angles for cu3 on \(0, 1\)"):
        execute([task], execution)
    loading = QuantumCircuit(2)
    loading.append(AmplitudeInput(list(ParameterVector("x", 4))), [0, 1])
    amplitudes = lower(loading, inputs="x")
    task = Task(amplitudes, torch.ones(1, 4), torch.zeros(0), Observables.parse(None, 2))
    with pytest.raises(ValueError, match="this circuit loads amplitudes"):
        execute([task], execution)
    wide = QuantumCircuit(25)
    wide.rx(0.1, range(25))
    task = Task(lower(wide), NONE, NONE[0], Observables.parse("Z" * 25, 25))
    with pytest.raises(ValueError, match="of at most 24 qubits, and this circuit has 25"):
        execute([task], execution)


def test_it_comes_last() -> None:
    Execution(
        noise=BELEM, mitigation=[PauliTwirling(), ReadoutMitigation(), CliffordDataRegression()]
    )
    with pytest.raises(ValueError, match="ReadoutMitigation behind CliffordDataRegression, which"):
        Execution(noise=BELEM, mitigation=[CliffordDataRegression(), ReadoutMitigation()])
    with pytest.raises(ValueError, match="has ZNE and CliffordDataRegression, which both"):
        Execution(noise=BELEM, mitigation=[ZNE(), CliffordDataRegression()])
