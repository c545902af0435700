"""Exact noisy values of the native engine against the reference engine and finite differences."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from torch import Tensor

from nisqkit.circuits import AmplitudeInput, Observables, Program, Task, lower
from nisqkit.circuits.program import GateUse
from nisqkit.hardware_backends.conformance import random_circuit, random_observables
from nisqkit.hardware_backends.native.density import (
    density_bytes,
    density_values,
    strength_gradients,
)
from nisqkit.hardware_backends.reference import ReferenceBackend
from nisqkit.hardware_backends.reference_density import reference_density_values
from nisqkit.noise import Channel, Confusion, NoiseModel, NoiseUse, NoisyProgram

NO_MODEL = NoiseModel("none", {})


def native_circuit(num_qubits: int, layers: int, seed: int) -> QuantumCircuit:
    """Gates that devices have, with inputs and weights in the angles of rz."""
    rng = np.random.default_rng(seed)
    x, w = ParameterVector("x", 3), ParameterVector("w", 3 * layers * num_qubits)
    circuit, weights = QuantumCircuit(num_qubits), iter(w)
    for layer in range(layers):
        for q in range(num_qubits):
            circuit.rz(x[q % 3] if layer % 2 == 0 else next(weights), q)
            circuit.sx(q)
            circuit.rz(2 * next(weights) + 0.3, q)
            if rng.random() < 0.5:
                circuit.x(q)
        for _ in range(num_qubits if num_qubits > 1 else 0):
            circuit.cx(*rng.choice(num_qubits, 2, replace=False).tolist())
    return circuit


def random_channel(rng: np.random.Generator, num_qubits: int) -> Channel:
    """A channel of any kind, with an error of some percent."""
    kind = int(rng.integers(5))
    if kind == 0:
        return Channel.depolarizing(rng.uniform(0, 0.05), num_qubits)
    if kind == 1 and num_qubits == 1:
        return Channel.relaxation(rng.uniform(0, 0.05))
    if kind == 2 and num_qubits == 1:
        return Channel.dephasing(rng.uniform(0, 0.05))
    if kind == 3:
        errors = 0.05 * rng.dirichlet(np.ones(4**num_qubits))
        errors[0] = 1 - errors[1:].sum()
        return Channel(num_qubits, "pauli", tuple(errors))
    dim = 2**num_qubits
    tall = np.vstack([np.eye(dim), 0.15 * rng.normal(size=(2 * dim, dim))])
    isometry = np.linalg.qr(tall + 0.1j * rng.normal(size=tall.shape))[0]
    return Channel.kraus([isometry[k * dim : (k + 1) * dim] for k in range(3)])


def with_noise(program: Program, seed: int) -> NoisyProgram:
    """Random channels on the qubits of each gate, none to three."""
    rng = np.random.default_rng(seed)
    operations: list[GateUse | NoiseUse] = []
    for use in program.gates:
        if use.name == "barrier":
            continue
        operations.append(use)
        for _ in range(int(rng.integers(4))):
            size = int(rng.integers(1, len(use.qubits) + 1))
            qubits = tuple(rng.permutation(use.qubits)[:size].tolist())
            channel = random_channel(rng, size)
            operations.append(NoiseUse(channel, qubits, f"{channel.kind} of {min(qubits)}"))
    every = tuple(range(program.num_qubits))
    return NoisyProgram(program, tuple(operations), (), every, every, NO_MODEL)


def noisy_circuit(num_qubits: int, seed: int) -> NoisyProgram:
    """With an odd seed any gates, with an even one those of devices."""
    if seed % 2:
        circuit = random_circuit(num_qubits, 12, seed)
    else:
        circuit = native_circuit(num_qubits, 3, seed)
    return with_noise(lower(circuit, inputs="x"), seed)


def parameters(
    noisy: NoisyProgram, batch: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Random inputs and weights that ask for gradients."""
    generator = torch.Generator().manual_seed(batch)
    x = torch.rand(batch, len(noisy.program.inputs), generator=generator, dtype=torch.float64)
    w = torch.rand(len(noisy.program.weights), generator=generator, dtype=torch.float64)
    return x.to(dtype).requires_grad_(), w.to(dtype).requires_grad_()


def weighted(values: Tensor) -> Tensor:
    """A function of all values, no two alike."""
    mix = torch.linspace(0.3, 1.7, values.numel(), dtype=values.dtype).reshape(values.shape)
    return (mix * values).sum()


def gradients(values: Tensor, *by: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(weighted(values), by, materialize_grads=True, retain_graph=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_qubits", [1, 2, 3, 4, 5])
def test_agrees_with_the_reference(num_qubits: int, seed: int) -> None:
    noisy = noisy_circuit(num_qubits, seed)
    x, w = parameters(noisy, batch=(1, 17, 3, 16)[(seed + num_qubits) % 4])
    observables = (
        Observables(num_qubits, None) if seed >= 2 else random_observables(num_qubits, seed)
    )
    expected = reference_density_values(noisy, x, w, observables)
    found = density_values(noisy, x, w, observables, workers=1)
    assert_allclose(found.detach(), expected.detach(), atol=1e-10)
    for one, other in zip(gradients(found, x, w), gradients(expected, x, w), strict=True):
        assert_allclose(one, other, atol=1e-8)
    assert all(float(g.abs().max()) > 1e-5 for g in gradients(found, x, w))  # nothing is trivial


def test_float32() -> None:
    noisy = noisy_circuit(3, 0)
    (x, w), (x64, w64) = parameters(noisy, 20, torch.float32), parameters(noisy, 20)
    observables = random_observables(3, 0)
    found = density_values(noisy, x, w, observables, 1)
    expected = density_values(noisy, x64, w64, observables, 1)
    assert found.dtype == torch.float32
    assert_allclose(found.detach(), expected.detach(), atol=1e-5)
    for one, other in zip(gradients(found, x, w), gradients(expected, x64, w64), strict=True):
        assert_allclose(one, other, atol=1e-4)


def test_gradients_are_finite_differences_of_the_reference() -> None:
    noisy = noisy_circuit(3, 1)
    x, w = parameters(noisy, 2)
    observables = random_observables(3, 4)
    found = gradients(density_values(noisy, x, w, observables, 1), x, w)

    def value(x: Tensor, w: Tensor) -> float:
        return float(weighted(reference_density_values(noisy, x, w, observables)))

    step = 1e-5
    with torch.no_grad():
        for which, (given, gradient) in enumerate(zip((x, w), found, strict=True)):
            for k in range(given.numel()):
                change = torch.zeros_like(given)
                change.view(-1)[k] = step
                ends = [
                    value(x + sign * change, w) if which == 0 else value(x, w + sign * change)
                    for sign in (1, -1)
                ]
                slope = (ends[0] - ends[1]) / (2 * step)
                assert abs(slope - float(gradient.view(-1)[k])) < 1e-8


def test_second_derivatives() -> None:
    noisy = noisy_circuit(2, 1)
    x, w = parameters(noisy, 2)
    observables = random_observables(2, 1)
    hessians = []
    for values in (
        density_values(noisy, x, w, observables, 1),
        reference_density_values(noisy, x, w, observables),
    ):
        first = torch.autograd.grad(weighted(values), (x, w), create_graph=True)
        hessians.append(gradients(torch.cat([g.flatten() for g in first]), x, w))
    for one, other in zip(*hessians, strict=True):
        assert_allclose(one, other, atol=1e-8)
    affine = noisy_circuit(2, 2)
    x, w = parameters(affine, 2)
    values = density_values(affine, x, w, observables, 1)
    (first,) = torch.autograd.grad(weighted(values), w, create_graph=True)
    values = reference_density_values(affine, x, w, observables)
    (other,) = torch.autograd.grad(weighted(values), w, create_graph=True)
    (ours,) = torch.autograd.grad(weighted(first), x)
    (oracle,) = torch.autograd.grad(weighted(other), x)
    assert_allclose(ours, oracle, atol=1e-8)


def test_same_bits_on_any_number_of_threads() -> None:
    noisy = noisy_circuit(4, 2)
    observables = random_observables(4, 0)
    for dtype in (torch.float32, torch.float64):
        x, w = parameters(noisy, 100, dtype)
        one, two, three = (
            (values.detach(), *gradients(values, x, w))
            for values in (density_values(noisy, x, w, observables, n) for n in (1, 2, 3))
        )
        for a, b, c in zip(one, two, three, strict=True):
            assert_array_equal(a, b)
            assert_array_equal(a, c)


def test_a_sample_does_not_depend_on_its_neighbours() -> None:
    noisy = noisy_circuit(3, 2)
    x, w = parameters(noisy, 40)
    observables = random_observables(3, 0)
    together = density_values(noisy, x, w, observables, 1)
    alone = density_values(noisy, x[37:38], w, observables, 1)
    assert_array_equal(together[37:38].detach(), alone.detach())
    assert density_values(noisy, x[:0], w, observables, 1).shape == (0, 4)


def test_inputs_without_gradient() -> None:
    noisy = noisy_circuit(3, 1)
    x, w = parameters(noisy, 5)
    observables = random_observables(3, 0)
    (expected,) = gradients(density_values(noisy, x, w, observables, 1), w)
    (found,) = gradients(density_values(noisy, x.detach(), w, observables, 1), w)
    assert_allclose(found, expected, atol=1e-14)
    (only,) = gradients(density_values(noisy, x, w.detach(), observables, 1), x)
    assert_allclose(only, gradients(density_values(noisy, x, w, observables, 1), x)[0], atol=1e-14)


def test_the_state_is_a_state() -> None:
    noisy = noisy_circuit(4, 3)
    x, w = parameters(noisy, 9)
    probabilities = density_values(noisy, x, w, Observables(4, None), 1).detach()
    assert_allclose(probabilities.sum(dim=1), 1, atol=1e-12)
    assert probabilities.min() > -1e-12
    strings = Observables.parse(["XXZI", "YIIY", "IIII"], 4)
    values = density_values(noisy, x, w, strings, 1).detach()
    assert values.abs().max() <= 1 + 1e-12
    assert_allclose(values[:, 2], 1, atol=1e-14)


def test_without_noise_it_is_the_state_vector() -> None:
    program = lower(random_circuit(3, 10, seed=2), inputs="x")
    gates = tuple(use for use in program.gates if use.name != "barrier")
    noisy = NoisyProgram(program, gates, (), (0, 1, 2), (0, 1, 2), NO_MODEL)
    x, w = parameters(noisy, 5)
    observables = random_observables(3, 0)
    expected = ReferenceBackend().run([Task(program, x, w, observables)])[0].values
    found = density_values(noisy, x, w, observables, 1)
    assert_allclose(found.detach(), expected.detach(), atol=1e-12)


def test_no_gates_and_no_weights() -> None:
    empty = NoisyProgram(lower(QuantumCircuit(2)), (), (), (0, 1), (0, 1), NO_MODEL)
    x, w = parameters(empty, 3)
    values = density_values(empty, x, w, Observables.parse(["IZ", "XI"], 2), 1)
    assert values.tolist() == [[1, 0]] * 3
    assert gradients(values, x, w)[0].shape == (3, 0)
    circuit = QuantumCircuit(1)
    circuit.rx(ParameterVector("x", 1)[0], 0)
    decays = NoiseUse(Channel.relaxation(0.3), (0,), "decay")
    program = lower(circuit, inputs="x")
    noisy = NoisyProgram(program, (*program.gates, decays), (), (0,), (0,), NO_MODEL)
    x, w = parameters(noisy, 20)
    values = density_values(noisy, x, w, Observables.parse(None, 1), 1)
    # relaxation takes <Z> to 0.3 + 0.7 <Z>
    assert_allclose(values.detach(), 0.3 + 0.7 * x.detach().cos(), atol=1e-14)
    (found,) = torch.autograd.grad(values.sum(), x)
    assert_allclose(found, -0.7 * x.detach().sin(), atol=1e-14)


@pytest.mark.parametrize("batched", [True, False])
def test_amplitude_input(batched: bool) -> None:
    circuit = QuantumCircuit(3)
    circuit.append(AmplitudeInput(list(ParameterVector("a", 4))), [2, 0])
    circuit.cx(2, 1)
    circuit.ry(ParameterVector("w", 1)[0], 1)
    noisy = with_noise(lower(circuit, inputs="a" if batched else None), seed=5)
    x, w = parameters(noisy, 18)
    observables = random_observables(3, 0)
    found = density_values(noisy, x, w, observables, 1)
    expected = reference_density_values(noisy, x, w, observables)
    assert_allclose(found.detach(), expected.detach(), atol=1e-12)
    for one, other in zip(gradients(found, x, w), gradients(expected, x, w), strict=True):
        assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize("strength", [0.0, 0.6])
@pytest.mark.parametrize("seed", [1, 2])
def test_strength_gradients_are_finite_differences(seed: int, strength: float) -> None:
    noisy = noisy_circuit(2, seed)
    x, w = parameters(noisy, 3)
    observables = random_observables(2, seed)
    # not the same for all causes, and with some left out at strength 1
    strengths = {c: strength * (1 - 0.05 * k) for k, c in enumerate(noisy.causes[::2])}
    grad = torch.linspace(0.3, 1.7, 12, dtype=torch.float64).reshape(3, 4)
    found = strength_gradients(noisy, x, w, observables, grad, strengths, workers=1)
    assert tuple(found) == noisy.causes
    assert max(map(abs, found.values())) > 1e-3

    def value(cause: str, change: float) -> float:
        at = strengths | {cause: strengths.get(cause, 1.0) + change}
        with torch.no_grad():
            values = reference_density_values(noisy.at_strength(at), x, w, observables)
        return float((grad * values).sum())

    weights = (-25 / 12, 4, -3, 4 / 3, -1 / 4)
    for cause, slope in found.items():
        # there are no negative strengths, and some channels cannot be stronger than they are
        step = 1e-3 if strengths.get(cause, 1.0) < 0.5 else -1e-3
        difference = sum(c * value(cause, k * step) for k, c in enumerate(weights)) / step
        assert abs(slope - difference) < 1e-6


def test_strengths_of_a_move_and_of_readout() -> None:
    # <Z> of the target is damped by each depolarising: (1 - p)**T each, two of them
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.cx(0, 1)
    circuit.cx(0, 1)
    model = NoiseModel(
        "two",
        {("cx", (0, 1)): Channel.depolarizing(0.1, 2)},
        ideal={"x"},
        readout=[Confusion.flips(None, read_1_after_0=0.01, read_0_after_1=0.03)],
    )
    noisy = model.bind(lower(circuit))
    x, w = torch.zeros(1, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    for t in (0.0, 0.5, 1.0):
        for dtype in (torch.float64, torch.float32):
            x, w, one = x.to(dtype), w.to(dtype), torch.ones(1, 1, dtype=dtype)
            found = strength_gradients(noisy, x, w, Observables.parse("ZI", 2), one, t, 1)
            assert list(found) == ["cx 0-1"]
            exact = 2 * np.log(0.9) * 0.9 ** (2 * t)
            assert_allclose(found["cx 0-1"], exact, rtol=1e-5 if dtype == torch.float32 else 1e-12)


def test_three_qubit_channels_are_refused() -> None:
    program = lower(QuantumCircuit(3))
    crowd = NoiseUse(Channel.depolarizing(0.1, 3), (0, 1, 2), "crowd")
    noisy = NoisyProgram(program, (crowd,), (), (0, 1, 2), (0, 1, 2), NO_MODEL)
    x, w = parameters(noisy, 1)
    with pytest.raises(ValueError, match="channel for 'crowd' acts on 3 qubits"):
        density_values(noisy, x, w, Observables.parse(None, 3), 1)


def test_memory_is_bounded_and_known_before() -> None:
    shallow = with_noise(lower(native_circuit(7, 4, 0), inputs="x"), 0)
    deep = with_noise(lower(native_circuit(7, 12, 0), inputs="x"), 0)
    state = 16 * 4 * 4**7
    assert 4 * state < density_bytes(shallow, 16, 4) < 2**28
    # without checkpoints it would keep some 150 states, of 2 MiB each
    assert density_bytes(deep, 16, 8) < 2**28 + 2**22
    assert density_bytes(deep, 64, 8, workers=2) < 2**28 + 2**23
    wide = with_noise(lower(native_circuit(10, 12, 0), inputs="x"), 0)
    state = 16 * 4 * 4**10
    assert 20 * state < density_bytes(wide, 16, 4) < 60 * state
