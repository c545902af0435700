"""Noise on PennyLane's default.mixed, against the reference's density matrices and gradients."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from qiskit import QuantumCircuit

from nisqkit.circuits import Observables, Program, Task, amplitude, lower
from nisqkit.circuits.gates import GATES
from nisqkit.hardware_backends import memory
from nisqkit.hardware_backends.conformance import check_backend, random_circuit, random_observables
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.pennylane_noisy import PennyLaneNoisyBackend
from nisqkit.hardware_backends.reference_density import reference_density_values
from nisqkit.noise import Channel, Confusion, Device, NoiseModel, confuse
from nisqkit.qml import QuantumLayer

SANTIAGO = Device.load("fake_santiago")
MODEL = NoiseModel(
    "by hand",
    {
        (name, ()): Channel.depolarizing(0.03, 2)
        if gate.num_qubits == 2
        else [Channel.relaxation(0.04), Channel.pauli({"Y": 0.01})]
        for name, gate in GATES.items()
    },
    ["unitary", "prepare"],
    [Confusion.flips(None, read_1_after_0=0.02, read_0_after_1=0.07)],
)


def loaded(seed: int) -> Program:
    circuit = random_circuit(3, 14, seed)
    fixed = {p: 0.3 for p in circuit.parameters if p.name.startswith("x")}
    return lower(amplitude(6).compose(circuit.assign_parameters(fixed)), "x")


def task(program: Program, seed: int, observables: object = "probs", batch: int = 2) -> Task:
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, len(program.inputs), generator=random, dtype=torch.float64)
    w = torch.rand(len(program.weights), generator=random, dtype=torch.float64)
    parsed = Observables.parse(observables, program.num_qubits)
    return Task(program, x.requires_grad_(), w.requires_grad_(), parsed)


def with_every_phase() -> Program:
    """Gates that PennyLane writes with PhaseShift, all of their angles inputs."""
    circuit = random_circuit(2, 30, seed=3)
    return lower(circuit, sorted(circuit.parameters, key=str))


@pytest.mark.parametrize("noise", [MODEL, SANTIAGO], ids=["model", "device"])
@pytest.mark.parametrize("make", [lambda: loaded(1), with_every_phase], ids=["loaded", "phases"])
@pytest.mark.parametrize("batch", [1, 3])
def test_probabilities_and_gradients(make, noise: Device | NoiseModel, batch: int) -> None:  # type: ignore[no-untyped-def]
    program = make()
    of = task(program, 1, batch=batch)
    backend = PennyLaneNoisyBackend(noise)
    noisy = backend.binder.bind(program)
    there = Observables(noisy.num_qubits, None)
    wanted = confuse(reference_density_values(noisy, of.inputs, of.weights, there), noisy)
    found = execute([of], Execution(backend))[0].values
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    mix = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).reshape(found.shape)
    slopes = [
        torch.autograd.grad((mix * values).sum(), [of.inputs, of.weights], materialize_grads=True)
        for values in (found, wanted)
    ]
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("noise", [MODEL, SANTIAGO], ids=["model", "device"])
def test_expectation_values_are_those_of_aer(noise: Device | NoiseModel) -> None:
    program = lower(random_circuit(3, 10, 2), "x")
    of = replace(task(program, 2), observables=random_observables(3, 2))
    model = noise if isinstance(noise, NoiseModel) else NoiseModel.from_device(noise)
    with torch.no_grad():
        found, wanted = (
            execute([of], Execution(name, noise=model))[0].values
            for name in ("pennylane:default.mixed", "aer")
        )
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_without_noise_it_conforms() -> None:
    check_backend(
        PennyLaneNoisyBackend(NoiseModel("silent", {}, [*MODEL.ideal, *GATES, "measure"]))
    )


def test_shots_scatter_around_the_exact_values() -> None:
    of = task(lower(random_circuit(2, 8, 4), "x"), 4, ["ZX", "IY"], batch=1)
    backend = PennyLaneNoisyBackend(SANTIAGO)
    exact = backend.run([of])[0].values.detach()
    many = replace(of, inputs=of.inputs.detach().expand(100, -1), shots=100, seed=(3, 0, 0))
    found = backend.run([many])[0]
    assert found.std is not None
    score = (found.values - exact) / found.std
    spread = 6 * (2 / score.numel()) ** 0.5
    assert 1 - spread < score.pow(2).mean() < 1 + spread
    assert (score.mean(dim=0).abs() < 4.5 / 10).all()


def test_all_tasks_and_programs_without_inputs() -> None:
    circuit = QuantumCircuit(2)
    circuit.x(1)
    fixed = task(lower(circuit), 0, ["ZI", "II"], batch=3)
    tasks = [fixed, task(loaded(0), 0), task(lower(random_circuit(2, 5, 0), "x"), 0, ["XY"])]
    backend = PennyLaneNoisyBackend(MODEL)
    for of, found in zip(tasks, backend.run(tasks), strict=True):
        torch.testing.assert_close(found.values, backend.run([of])[0].values, rtol=0, atol=1e-13)
    assert backend.run(tasks)[0].values.shape == (3, 2)
    empty = replace(fixed, inputs=fixed.inputs[:0])
    assert backend.run([empty])[0].values.shape == (0, 2)
    assert backend.run([]) == []


def test_layers_train_and_are_copied() -> None:
    circuit = random_circuit(2, 6, 5)
    backend = PennyLaneNoisyBackend(SANTIAGO, layout=[3, 2], optimization_level=1)
    layer = QuantumLayer(circuit, inputs="x", backend=backend, seed=0)
    x = torch.zeros(2, 3)
    layer(x).sum().backward()
    assert layer.weights.grad is not None and layer.weights.grad.abs().max() > 0
    assert layer.transpiled.initial_layout == (3, 2)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(x), layer(x), rtol=0, atol=1e-6)
        assert isinstance(other.backend, PennyLaneNoisyBackend)
        assert other.backend.binder == backend.binder


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match=r"noise is a Device .*, a NoiseModel or None, not str"):
        PennyLaneNoisyBackend("fake_santiago")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layout needs a device"):
        PennyLaneNoisyBackend(MODEL, layout=[0, 1])
    with pytest.raises(ValueError, match="circuit has 6 qubits and fake_santiago has 5"):
        PennyLaneNoisyBackend(SANTIAGO).check(task(lower(QuantumCircuit(6)), 0))
    circuit = QuantumCircuit(1)
    circuit.h(0)
    with pytest.raises(ValueError, match=r"h on \(0,\): x only has no noise for it"):
        PennyLaneNoisyBackend(NoiseModel("x only", {}, ["x", "measure"])).run(
            [task(lower(circuit), 0)]
        )
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**29)
    with pytest.raises(ValueError, match="a density matrix of 10 qubits"):
        PennyLaneNoisyBackend(MODEL).check(task(lower(random_circuit(10, 60, 0), "x"), 0))
