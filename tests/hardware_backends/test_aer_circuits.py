"""Circuits for Aer, and Aer with the channels of noise models, against other density matrices."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit

from nisqkit.circuits import Observables, Program, Task, amplitude, lower
from nisqkit.circuits.gates import GATES
from nisqkit.hardware_backends import aer
from nisqkit.hardware_backends.aer import AerBackend
from nisqkit.hardware_backends.aer_circuits import bindable_gates, noisy_circuit
from nisqkit.hardware_backends.conformance import check_backend, random_circuit, random_observables
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.reference_density import reference_density_values
from nisqkit.noise import Channel, Confusion, Device, Noise, NoiseModel, confuse

SANTIAGO = Device.load("fake_santiago")
SILENT = NoiseModel("silent", {}, [*GATES, "unitary", "prepare", "measure"])


def by_hand() -> NoiseModel:
    """Different noise for every gate, of every kind, with two qubits that are read together."""
    gates: dict[tuple[str, tuple[int, ...]], list[Channel | Noise]] = {}
    for k, (name, gate) in enumerate(GATES.items()):
        if gate.num_qubits == 1:
            gates[name, ()] = [Channel.relaxation(0.01 + 0.001 * k), Channel.dephasing(0.02)]
        else:
            gates[name, ()] = [
                Channel.depolarizing(0.02 + 0.001 * k, 2),
                Noise(Channel.relaxation(0.05), (1,)),
                Channel.pauli({"XZ": 0.01, "YI": 0.02}),
            ]
    together = np.array(
        [
            [0.90, 0.05, 0.02, 0.01],
            [0.05, 0.90, 0.03, 0.04],
            [0.03, 0.02, 0.90, 0.05],
            [0.02, 0.03, 0.05, 0.90],
        ]
    )
    readout = [
        Confusion((2, 0), together),
        Confusion.flips(None, read_1_after_0=0.03, read_0_after_1=0.1),
    ]
    return NoiseModel("by hand", gates, ["unitary", "prepare"], readout)


MODEL = by_hand()


def loaded(seed: int) -> Program:
    """Amplitudes as inputs, and then a random circuit."""
    circuit = random_circuit(3, 14, seed)
    fixed = {p: 0.3 for p in circuit.parameters if p.name.startswith("x")}
    return lower(amplitude(6).compose(circuit.assign_parameters(fixed)), "x")


def task(program: Program, seed: int, observables: object = "probs", batch: int = 2) -> Task:
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, len(program.inputs), generator=random, dtype=torch.float64)
    w = torch.rand(len(program.weights), generator=random, dtype=torch.float64)
    parsed = Observables.parse(observables, program.num_qubits)
    return Task(program, x.requires_grad_(), w.requires_grad_(), parsed)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("prepared", [False, True], ids=["gates", "amplitudes"])
def test_channels_are_those_of_the_reference(seed: int, prepared: bool) -> None:
    """Every gate of the table, with noise after it; probabilities through correlated readout."""
    program = loaded(seed) if prepared else lower(random_circuit(3, 25, seed), "x")
    of = task(program, seed)
    noisy = MODEL.bind(program)
    with torch.no_grad():
        there = Observables(noisy.num_qubits, None)
        wanted = confuse(reference_density_values(noisy, of.inputs, of.weights, there), noisy)
        found = AerBackend(MODEL).run([of])[0].values
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prepared", [False, True], ids=["gates", "amplitudes"])
def test_values_and_gradients_are_those_of_the_native_engine(prepared: bool) -> None:
    program = loaded(5) if prepared else lower(random_circuit(3, 14, 5), "x")
    of = replace(task(program, 5), observables=random_observables(3, 5))
    found, wanted = (
        execute([of], Execution(name, noise=MODEL))[0].values for name in ("aer", "native")
    )
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    slopes = [
        torch.autograd.grad(values.pow(2).sum(), [of.inputs, of.weights])
        for values in (found, wanted)
    ]
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_without_noise_it_conforms() -> None:
    check_backend(AerBackend(SILENT))
    check_backend(AerBackend(method="density_matrix"))


def test_shots_scatter_around_the_exact_values() -> None:
    of = task(lower(random_circuit(3, 12, 6), "x"), 6, ["ZXI", "IYZ", "IIZ"], batch=1)
    backend = AerBackend(MODEL)
    exact = backend.run([of])[0].values.detach()
    many = replace(of, inputs=of.inputs.detach().expand(100, -1), shots=100, seed=(3, 0, 0))
    found = backend.run([many])[0]
    assert found.std is not None
    score = (found.values - exact) / found.std
    spread = 6 * (2 / score.numel()) ** 0.5
    assert 1 - spread < score.pow(2).mean() < 1 + spread
    assert (score.mean(dim=0).abs() < 4.5 / 10).all()
    assert torch.equal(found.values, backend.run([many])[0].values)


def test_single_precision() -> None:
    of = task(lower(random_circuit(3, 12, 7), "x"), 7, ["ZXI", "IYZ"])
    single = replace(of, inputs=of.inputs.float(), weights=of.weights.float())
    found, wanted = (AerBackend(MODEL).run([t])[0].values.detach() for t in (single, of))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("options", [{}, {"idle": True}, {"kind": "pauli", "idle": True}])
def test_models_of_a_device_are_transpiled_for_it(options: dict) -> None:  # type: ignore[type-arg]
    """In the layout that is asked for; idle noise is part of the circuit."""
    model = NoiseModel.from_device(SANTIAGO, **options)
    backend = AerBackend(model, layout=[3, 1, 2])
    program = lower(random_circuit(3, 6, 8), "x")
    transpiled = backend.transpile(program)
    assert transpiled is not None and transpiled.initial_layout == (3, 1, 2)
    of = task(program, 8)
    assert backend.binder is not None
    noisy = backend.binder.bind(program)
    with torch.no_grad():
        there = Observables(noisy.num_qubits, None)
        wanted = confuse(reference_density_values(noisy, of.inputs, of.weights, there), noisy)
        torch.testing.assert_close(backend.run([of])[0].values, wanted, rtol=0, atol=1e-12)
    assert repr(backend) == "AerBackend(fake_santiago, method='automatic')"


def test_no_gate_is_left_whose_angle_aer_would_lose() -> None:
    program = lower(random_circuit(3, 60, 9), "x")
    circuit = noisy_circuit(MODEL.bind(program))
    names = {i.operation.name for i in circuit.circuit.data}
    assert names <= bindable_gates() | {"unitary", "kraus"}
    assert "kraus" in names
    assert noisy_circuit(MODEL.bind(program)) is circuit
    assert circuit.size > circuit.circuit.size()


def test_large_batches_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    of = task(lower(random_circuit(3, 8, 10), "x"), 10, ["ZXI", "IYZ"], batch=5)
    whole = AerBackend(MODEL).run([of, of])
    monkeypatch.setattr(aer, "_GATES_PER_RUN", 100)
    for a, b in zip(whole, AerBackend(MODEL).run([of, of]), strict=True):
        assert torch.equal(a.values, b.values)


def test_copies_and_pickles_run() -> None:
    of = task(lower(random_circuit(2, 6, 11), "x"), 11)
    backend = AerBackend(replace(MODEL, readout=MODEL.readout[1:]))
    wanted = backend.run([of])[0].values
    for other in (copy.deepcopy(backend), pickle.loads(pickle.dumps(backend))):
        assert torch.equal(other.run([of])[0].values, wanted)


def test_errors() -> None:
    with pytest.raises(ValueError, match="'statevector' cannot run the channels of a noise model"):
        AerBackend(MODEL, method="statevector")
    with pytest.raises(ValueError, match="layout needs a device, and the noise model 'by hand'"):
        AerBackend(MODEL, layout=[0, 1])
    x = QuantumCircuit(2)
    x.x(0)
    program = lower(x)
    for backend in (AerBackend(NoiseModel("none", {}, ["measure"])),):
        with pytest.raises(ValueError, match=r"x on \(0,\): none has no noise for it"):
            backend.check(task(program, 0))
    with pytest.raises(ValueError, match="amplitudes are loaded without gates and so without"):
        AerBackend(replace(MODEL, ideal=frozenset({"unitary"}))).check(task(loaded(0), 0))
    with pytest.raises(ValueError, match=r"known together with that of qubit 2 only"):
        AerBackend(MODEL).check(task(program, 0))
    with pytest.raises(ValueError, match="circuit has 6 qubits and fake_santiago has 5"):
        AerBackend(NoiseModel.from_device(SANTIAGO)).check(task(lower(QuantumCircuit(6)), 0))
    with pytest.raises(ValueError, match="shots is 0: give a positive number"):
        AerBackend(MODEL).check(replace(task(program, 0), shots=0))
