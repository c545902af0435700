"""One error pattern per sample: what is drawn, what it gives, and that both are unbiased."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from torch import Tensor

from nisqkit.circuits import Observables, lower
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.conformance import random_circuit, random_observables
from nisqkit.hardware_backends.native.trajectories import pattern_values
from nisqkit.hardware_backends.reference import final_state, measure
from nisqkit.hardware_backends.reference_density import reference_density_values
from nisqkit.noise.channels import Channel
from nisqkit.noise.model import NoiseModel
from nisqkit.noise.noisy_program import NoiseUse, NoisyProgram

SIGMA = 4.0
COPIES = 12_000

NOISE: dict[str, tuple[Channel, Channel]] = {
    "pauli": (Channel.pauli({"X": 0.02, "Y": 0.03, "Z": 0.05}), Channel.pauli({"XY": 0.05})),
    "likely": (Channel.pauli({"X": 0.5, "Z": 0.4}), Channel.depolarizing(1.0, 2)),
    "relaxation": (Channel.relaxation(0.1), Channel.depolarizing(0.03, 2)),
    "general": (
        Channel.relaxation(0.05).compose(Channel.pauli({"X": 0.02})),
        Channel.relaxation(0.1).tensor(Channel.dephasing(0.1)),
    ),
}


def bind(program: Program, kind: str) -> NoisyProgram:
    """After each gate the channel for its number of qubits."""
    operations: list[GateUse | NoiseUse] = []
    for use in program.gates:
        channel = NOISE[kind][len(use.qubits) - 1]
        operations += [use, NoiseUse(channel, use.qubits, "noise")]
    every = tuple(range(program.num_qubits))
    return NoisyProgram(program, tuple(operations), (), every, every, NoiseModel("test", {}))


def case(kind: str, num_qubits: int = 3, batch: int = 2) -> tuple[NoisyProgram, Tensor, Tensor]:
    program = lower(random_circuit(num_qubits, 10, seed=num_qubits), inputs="x")
    random = np.random.default_rng(num_qubits)
    x, w = (
        torch.from_numpy(random.uniform(-1, 1, shape)).requires_grad_()
        for shape in ((batch, len(program.inputs)), len(program.weights))
    )
    return bind(program, kind), x, w


def mixed(values: Tensor) -> Tensor:
    """One number per sample that depends on all outputs."""
    return values @ torch.linspace(0.4, 1.6, values.shape[1], dtype=values.dtype)


def test_each_pauli_is_drawn_as_often_as_the_model_says() -> None:
    """Two Bell pairs show which Pauli hit one half of each: their XX and ZZ change sign."""
    random = np.random.default_rng(0)
    chances = random.dirichlet(np.full(16, 0.7)) * 0.6
    chances[0] += 0.4
    circuit = QuantumCircuit(4)
    for q in (0, 1):
        circuit.h(q)
        circuit.cx(q, q + 2)
    program = lower(circuit)
    hit = NoiseUse(Channel(2, "pauli", tuple(chances)), (0, 1), "hit")
    every = tuple(range(4))
    noisy = NoisyProgram(program, (*program.gates, hit), (), every, every, NoiseModel("test", {}))
    x = torch.zeros(COPIES, 0, dtype=torch.float64)
    observables = Observables.parse(["IXIX", "IZIZ", "XIXI", "ZIZI"], 4)
    found = pattern_values(noisy, x, x.new_zeros(0), observables, (1, 2, 3), 1)
    assert_allclose(found.abs(), 1, atol=1e-12)
    flipped = (found < 0).numpy()
    digits = {(False, False): 0, (False, True): 1, (True, True): 2, (True, False): 3}  # I, X, Y, Z
    drawn = [digits[a, b] + 4 * digits[c, d] for a, b, c, d in flipped.tolist()]
    count = np.bincount(drawn, minlength=16)
    assert (
        abs(count - COPIES * chances) <= SIGMA * np.sqrt(COPIES * chances * (1 - chances))
    ).all()


@pytest.mark.parametrize("kind", NOISE)
def test_the_mean_is_that_of_the_density_matrix(kind: str) -> None:
    """In values, and in gradients to inputs, of which each copy of a sample has its own."""
    noisy, x, w = case(kind, batch=1)
    observables = random_observables(3, 1)
    exact = reference_density_values(noisy, x, w, observables)
    (slopes,) = torch.autograd.grad(mixed(exact).sum(), x)
    many = x.detach().expand(COPIES, -1).clone().requires_grad_()
    values = pattern_values(noisy, many, w, observables, (0, 0, 0), 1)
    (found,) = torch.autograd.grad(mixed(values).sum(), many)
    for sampled, right in ((values.detach(), exact.detach()), (found, slopes)):
        error = sampled.std(dim=0) / COPIES**0.5
        assert ((sampled.mean(dim=0) - right[0]).abs() <= SIGMA * error + 1e-10).all()
        assert error.max() > 1e-4


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", ["pauli", "general"])
def test_gradients_to_weights_are_unbiased(kind: str, shared: bool) -> None:
    """Steps are independent, whether or not the samples of a step are."""
    noisy, x, w = case(kind, batch=20)
    observables, steps = random_observables(3, 1), 200
    exact = mixed(reference_density_values(noisy, x, w, observables)).mean()
    wanted = torch.cat([exact.detach()[None], *torch.autograd.grad(exact, [w])])
    found = []
    for step in range(steps):
        value = mixed(pattern_values(noisy, x, w, observables, (0, step, 0), 1, shared)).mean()
        found.append(torch.cat([value.detach()[None], *torch.autograd.grad(value, [w])]))
    steps_found = torch.stack(found)
    error = steps_found.std(dim=0) / steps**0.5
    assert ((steps_found.mean(dim=0) - wanted).abs() <= SIGMA * error + 1e-10).all()


@pytest.mark.parametrize("kind", NOISE)
def test_without_strength_it_is_the_circuit_without_noise(kind: str) -> None:
    noisy, x, w = case(kind)
    observables = random_observables(3, 2)
    values = pattern_values(noisy.at_strength(0.0), x, w, observables, (0, 0, 0), 1)
    exact = measure(final_state(noisy.program, noisy.program.angles(x, w)), observables)
    assert_allclose(values.detach(), exact.detach(), atol=1e-12)
    for ours, right in zip(
        torch.autograd.grad(mixed(values).sum(), [x, w]),
        torch.autograd.grad(mixed(exact).sum(), [x, w]),
        strict=True,
    ):
        assert_allclose(ours, right, atol=1e-12)


def test_probabilities() -> None:
    noisy, x, w = case("general", batch=1)
    probs = Observables(3, None)
    exact = reference_density_values(noisy, x, w, probs).detach()
    many = x.detach().expand(COPIES, -1)
    found = pattern_values(noisy, many, w.detach(), probs, (0, 0, 0), 1)
    error = found.std(dim=0) / COPIES**0.5
    assert ((found.mean(dim=0) - exact[0]).abs() <= SIGMA * error + 1e-10).all()


def test_a_shared_pattern_gives_equal_samples_equal_values() -> None:
    noisy, x, w = case("pauli", batch=1)
    many, observables = x.detach().expand(40, -1), random_observables(3, 3)
    steps = []
    for step in range(20):
        arguments = noisy, many, w.detach(), observables, (0, step, 0), 1
        alike = pattern_values(*arguments, shared=True)
        assert (alike == alike[0]).all()
        steps.append(tuple(alike[0].tolist()))
        assert len(pattern_values(*arguments).unique(dim=0)) > 1
    assert len(set(steps)) > 5


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", NOISE)
def test_gradients_of_one_draw_are_finite_differences(kind: str, shared: bool) -> None:
    noisy, x, w = case(kind)

    def values(x: Tensor, w: Tensor) -> Tensor:
        return pattern_values(noisy, x, w, random_observables(3, 4), (3, 2, 1), 1, shared)

    assert torch.autograd.gradcheck(values, (x, w), atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["pauli", "general"])
def test_threads_change_no_bit(kind: str, dtype: torch.dtype) -> None:
    noisy, x, w = case(kind, batch=70)
    x, w = (v.detach().to(dtype).requires_grad_() for v in (x, w))
    found = []
    for workers in (1, 2, 3):
        values = pattern_values(noisy, x, w, random_observables(3, 5), (0, 0, 0), workers)
        found.append([values.detach(), *torch.autograd.grad(mixed(values).sum(), [x, w])])
    assert found[0][0].dtype == dtype
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            assert torch.equal(one, same)


@pytest.mark.parametrize("kind", NOISE)
def test_a_sample_does_not_depend_on_the_others(kind: str) -> None:
    noisy, x, w = case(kind, batch=37)
    found = []
    for count in (37, 5):
        part = x[:count]
        values = pattern_values(noisy, part, w, random_observables(3, 6), (7, 0, 0), 1)
        (slopes,) = torch.autograd.grad(mixed(values).sum(), [x])
        found.append((values[:5], slopes[:5]))
    for whole, alone in zip(*found, strict=True):
        assert torch.equal(whole, alone)


def test_an_empty_batch() -> None:
    noisy, x, w = case("pauli")
    for shared in (False, True):
        values = pattern_values(noisy, x[:0], w, Observables.parse(None, 3), (0, 0, 0), 2, shared)
        assert values.shape == (0, 3)
        assert torch.autograd.grad(values.sum(), [w])[0].tolist() == [0.0] * len(w)


def test_second_derivatives_are_refused() -> None:
    noisy, x, w = case("pauli")
    values = pattern_values(noisy, x, w, Observables.parse(None, 3), (0, 0, 0), 1)
    with pytest.raises(RuntimeError, match="first derivatives only, but create_graph=True"):
        torch.autograd.grad(values.sum(), [w], create_graph=True)


def test_what_does_not_fit_in_memory_is_refused() -> None:
    circuit = QuantumCircuit(40)
    circuit.id(0)
    noisy = bind(lower(circuit), "pauli")
    x = torch.zeros(1, 0)
    with pytest.raises(ValueError, match=r"a state of 40 qubits .* takes .* GiB"):
        pattern_values(noisy, x, torch.zeros(0), Observables.parse(None, 40), (0, 0, 0), 1)


def test_a_channel_on_three_qubits_is_refused() -> None:
    noisy, x, w = case("pauli")
    wide = NoiseUse(Channel.depolarizing(0.1, 3), (0, 1, 2), "wide")
    noisy = replace(noisy, operations=(*noisy.operations, wide))
    with pytest.raises(ValueError, match="a channel acts on 3 qubits"):
        pattern_values(noisy, x, w, Observables.parse(None, 3), (0, 0, 0), 1)
