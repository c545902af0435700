"""Means over runs: unbiased values and gradients, honest errors, the same bits on any thread."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from torch import Tensor

from nisqkit.circuits import Observables, lower
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.conformance import random_circuit, random_observables
from nisqkit.hardware_backends.native.trajectories import (
    trajectory_bytes,
    trajectory_values,
    trajectory_variances,
)
from nisqkit.hardware_backends.reference import final_state, measure
from nisqkit.hardware_backends.reference_density import reference_density_values
from nisqkit.noise.channels import Channel
from nisqkit.noise.model import NoiseModel
from nisqkit.noise.noisy_program import NoiseUse, NoisyProgram

SIGMA = 4.0

GENERAL = Channel.from_ptm(
    0.9 * np.eye(16) + 0.1 * Channel.relaxation(0.5).tensor(Channel.dephasing(0.5)).ptm
)
NOISE: dict[str, tuple[list[Channel], list[Channel]]] = {
    "pauli": ([Channel.pauli({"X": 0.01, "Y": 0.02, "Z": 0.03})], [Channel.pauli({"XY": 0.05})]),
    "depolarizing": ([Channel.depolarizing(0.02)], [Channel.depolarizing(0.05, 2)]),
    "relaxation": ([Channel.relaxation(0.1)], []),
    "dephasing": ([Channel.dephasing(0.05)], []),
    "device": (
        [Channel.relaxation(0.02), Channel.dephasing(0.02)],
        [Channel.depolarizing(0.03, 2)],
    ),
    "general": ([Channel.relaxation(0.05).compose(Channel.pauli({"X": 0.02}))], [GENERAL]),
}


def bind(program: Program, one: Sequence[Channel], two: Sequence[Channel] = ()) -> NoisyProgram:
    """After each gate ``two`` on its two qubits, then ``one`` on each of its qubits."""
    operations: list[GateUse | NoiseUse] = []
    for use in program.gates:
        operations.append(use)
        if len(use.qubits) == 2:
            operations += [NoiseUse(c, use.qubits, "two") for c in two]
        operations += [NoiseUse(c, (q,), "one") for q in use.qubits for c in one]
    every = tuple(range(program.num_qubits))
    return NoisyProgram(program, tuple(operations), (), every, every, NoiseModel("test", {}))


def parameters(program: Program, batch: int, seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, len(program.inputs), generator=random, dtype=torch.float64) * 2 - 1
    w = torch.rand(len(program.weights), generator=random, dtype=torch.float64) * 2 - 1
    return x.requires_grad_(), w.requires_grad_()


def random_case(
    num_qubits: int, kind: str, seed: int
) -> tuple[NoisyProgram, Tensor, Tensor, Observables]:
    program = lower(random_circuit(num_qubits, 12, seed), inputs="x")
    observables = random_observables(num_qubits, seed)
    return bind(program, *NOISE[kind]), *parameters(program, 2, seed), observables


def gradients(values: Tensor, x: Tensor, w: Tensor) -> Tensor:
    mix = torch.linspace(0.3, 1.7, values.numel(), dtype=values.dtype).reshape(values.shape)
    found = torch.autograd.grad((mix * values).sum(), [x, w], materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


@pytest.mark.parametrize("kind", NOISE)
def test_without_strength_it_is_the_circuit_without_noise(kind: str) -> None:
    noisy, x, w, observables = random_case(3, kind, 0)
    values, std = trajectory_values(noisy.at_strength(0.0), x, w, observables, 5, (0, 0, 0), 1)
    exact = measure(final_state(noisy.program, noisy.program.angles(x, w)), observables)
    assert_allclose(values.detach(), exact.detach(), atol=1e-10)
    assert (std == 0).all()
    assert_allclose(gradients(values, x, w), gradients(exact, x, w), atol=1e-10)


@pytest.mark.parametrize("num_qubits", [2, 3, 4])
@pytest.mark.parametrize("kind", NOISE)
def test_values_and_gradients_are_those_of_the_density_matrix(kind: str, num_qubits: int) -> None:
    noisy, x, w, observables = random_case(num_qubits, kind, num_qubits)
    exact = reference_density_values(noisy, x, w, observables)
    values, std = trajectory_values(noisy, x, w, observables, 2000, (0, 0, 0), 1)
    assert ((values - exact).abs() <= SIGMA * std + 1e-10).all()
    found = []
    for step in range(60):
        values, _ = trajectory_values(noisy, x, w, observables, 20, (1, step, 0), 1)
        found.append(gradients(values, x, w))
    mean, error = torch.stack(found).mean(dim=0), torch.stack(found).std(dim=0) / np.sqrt(60)
    assert ((mean - gradients(exact, x, w)).abs() <= SIGMA * error + 1e-10).all()


def test_normalised_jumps_would_have_a_wrong_gradient() -> None:
    """Amplitude damping 0.1 after each of four rotations by one weight."""
    weight, gamma, layers, count = Parameter("w"), 0.1, 4, 40_000
    circuit = QuantumCircuit(1)
    for _ in range(layers):
        circuit.ry(weight, 0)
    noisy = bind(lower(circuit), [Channel.relaxation(gamma)])
    x = torch.zeros(1, 0, dtype=torch.float64, requires_grad=True)
    w = torch.full((1,), 0.5, dtype=torch.float64, requires_grad=True)
    observables = Observables.parse(["Z"], 1)
    value = reference_density_values(noisy, x, w, observables)
    (exact,) = torch.autograd.grad(value, [w])

    # jumps with the probability that the state gives them, and the state normalised after each
    angle = torch.full((count,), 0.5, dtype=torch.float64, requires_grad=True)
    number = torch.rand(layers, count, generator=torch.Generator().manual_seed(0))
    cos, sin = torch.cos(angle / 2), torch.sin(angle / 2)
    up, down = torch.ones_like(cos), torch.zeros_like(cos)
    for k in range(layers):
        up, down = cos * up - sin * down, sin * up + cos * down
        jumps = number[k] < gamma * down.detach() ** 2
        up, down = (
            torch.where(jumps, down, up),
            torch.where(jumps, 0 * down, np.sqrt(1 - gamma) * down),
        )
        norm = torch.sqrt(up**2 + down**2)
        up, down = up / norm, down / norm
    values = up**2 - down**2
    error = values.std() / np.sqrt(count)
    assert (values.mean() - value).abs() < SIGMA * error  # the values are right
    (slopes,) = torch.autograd.grad(values.sum(), [angle])
    assert (slopes.mean() - exact).abs() > SIGMA * slopes.std() / np.sqrt(count)

    found = []
    for step in range(200):
        values, _ = trajectory_values(noisy, x, w, observables, 20, (0, step, 0), 1)
        found.append(torch.autograd.grad(values, [w])[0])
    ours = torch.stack(found)
    error = ours.std() / np.sqrt(len(ours))
    assert (ours.mean() - exact).abs() < SIGMA * error
    assert (slopes.mean() - exact).abs() > SIGMA * error


def test_the_standard_error_is_that_over_seeds() -> None:
    noisy, x, w, observables = random_case(3, "device", 1)
    found = [
        trajectory_values(noisy, x.detach(), w.detach(), observables, 40, (0, k, 0), 1)
        for k in range(300)
    ]
    values, std = (torch.stack(part) for part in zip(*found, strict=True))
    spread = values.std(dim=0)
    claimed = std.square().mean(dim=0).sqrt()
    # the spread of 300 nearly normal values is known to 1 / sqrt(600), that of heavier tails less
    assert_allclose(claimed, spread, rtol=SIGMA * 1.5 / np.sqrt(600), atol=1e-12)


def flips(errors: float, num_qubits: int) -> NoisyProgram:
    """Each qubit is flipped with a probability."""
    circuit = QuantumCircuit(num_qubits)
    for q in range(num_qubits):
        circuit.id(q)
    return bind(lower(circuit), [Channel.pauli({"X": errors})])


@pytest.mark.parametrize("errors", [0.01, 0.2])
def test_stratification_gains_what_it_should(errors: float) -> None:
    """The number of flips is binomial."""
    n, runs = 4, 40_000
    noisy = flips(errors, n)
    observables = Observables(n, (tuple((s, 1.0) for s in Observables.parse(None, n).strings),))
    arguments = noisy, torch.zeros(1, 0), torch.zeros(0), observables, runs, (1, 2, 3), 1
    found = trajectory_variances(*arguments)
    p0 = (1 - errors) ** n
    assert_allclose(found.no_error, p0)
    plain = 4 * n * errors * (1 - errors) / (runs + 1)
    assert_allclose(found.plain, plain, rtol=0.05)
    mean, square = -2 * n * errors / (1 - p0), 4 * (n * errors * (1 - errors) + (n * errors) ** 2)
    stratified = (1 - p0) ** 2 * (square / (1 - p0) - mean**2) / runs
    assert_allclose(found.stratified, stratified, rtol=SIGMA * 0.05)
    assert found.stratified <= (1 - p0) * found.plain * 1.01
    values, std = trajectory_values(*arguments)
    assert_allclose(std.double() ** 2, found.stratified, rtol=1e-4)
    assert (values - n * (1 - 2 * errors)).abs() <= SIGMA * std + 1e-6


def test_rare_errors_need_few_runs() -> None:
    """With 20 runs and errors of 0.1% in all, plain sampling would most often see none."""
    noisy = flips(1e-3 / 8, 8)
    observables = Observables.parse(None, 8)
    x, w = torch.zeros(1, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    values, std = trajectory_values(noisy, x, w, observables, 20, (0, 0, 0), 1)
    exact = 1 - 2e-3 / 8
    error = 1e-3 * 2 * np.sqrt(1 / 8 * 7 / 8 / 20)  # plain sampling: 5e-3
    assert (std < 2 * error).all()
    assert ((values - exact).abs() < SIGMA * error).all()


def test_eight_qubits_against_a_closed_form() -> None:
    n, p = 8, 0.05
    x = ParameterVector("x", n)
    circuit = QuantumCircuit(n)
    for q in range(n):
        circuit.ry(x[q], q)
    noisy = bind(lower(circuit, inputs="x"), [Channel.depolarizing(p), Channel.relaxation(0.1)])
    inputs = torch.linspace(0.1, 3.0, 3 * n, dtype=torch.float64).reshape(3, n)
    values, std = trajectory_values(
        noisy, inputs, torch.zeros(0, dtype=torch.float64), Observables.parse(None, n), 400,
        (0, 0, 0), 2,
    )  # fmt: skip
    exact = 0.1 + 0.9 * (1 - p) * torch.cos(inputs)
    assert ((values - exact).abs() <= SIGMA * std).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threads_change_no_bit(dtype: torch.dtype) -> None:
    noisy, x, w, observables = random_case(4, "device", 3)
    x = x.detach().to(dtype).repeat(9, 1).requires_grad_()
    w = w.detach().to(dtype).requires_grad_()
    found = []
    for workers in (1, 2, 3):
        values, std = trajectory_values(noisy, x, w, observables, 11, (0, 0, 0), workers)
        found.append([values.detach(), std, gradients(values, x, w)])
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            assert torch.equal(one, same)


@pytest.mark.parametrize("kind", NOISE)
def test_a_sample_does_not_depend_on_the_others(kind: str) -> None:
    noisy, x, w, observables = random_case(3, kind, 4)
    x = (x.detach().repeat(9, 1)[:17] + torch.arange(17)[:, None] / 17).requires_grad_()
    whole, std = trajectory_values(noisy, x, w, observables, 7, (0, 0, 0), 1)
    part, part_std = trajectory_values(noisy, x[:5], w, observables, 7, (0, 0, 0), 1)
    assert torch.equal(whole[:5], part) and torch.equal(std[:5], part_std)
    (g_whole,) = torch.autograd.grad(whole[:5].sum(), [x])
    (g_part,) = torch.autograd.grad(part.sum(), [x])
    assert torch.equal(g_whole, g_part)


@pytest.mark.parametrize("kind", ["pauli", "device", "general"])
def test_gradients_of_one_draw_are_finite_differences(kind: str) -> None:
    noisy, x, w, observables = random_case(3, kind, 6)

    def value(x: Tensor, w: Tensor) -> Tensor:
        values, _ = trajectory_values(noisy, x, w, observables, 6, (3, 2, 1), 1)
        mix = torch.linspace(0.3, 1.7, values.numel(), dtype=values.dtype)
        return (mix * values.flatten()).sum()

    exact = torch.autograd.grad(value(x, w), [x, w])
    step = 1e-4
    with torch.no_grad():
        for which, gradient in enumerate(exact):
            for k in range(gradient.numel()):
                sides = []
                for sign in (1, -1, 2, -2):
                    moved = [x.clone(), w.clone()]
                    moved[which].view(-1)[k] += sign * step
                    sides.append(float(value(*moved)))
                fourth = (8 * (sides[0] - sides[1]) - (sides[2] - sides[3])) / (12 * step)
                assert abs(fourth - gradient.flatten()[k]) < 1e-7


def test_a_single_run_has_no_standard_error() -> None:
    noisy, x, w, observables = random_case(2, "device", 0)
    values, std = trajectory_values(noisy, x, w, observables, 1, (0, 0, 0), 1)
    assert values.isfinite().all() and std.isnan().all()
    assert torch.autograd.grad(values.sum(), [w])[0].isfinite().all()


def test_an_empty_batch() -> None:
    noisy, x, w, observables = random_case(2, "device", 0)
    values, std = trajectory_values(noisy, x[:0], w, observables, 3, (0, 0, 0), 2)
    assert values.shape == std.shape == (0, 4)
    assert torch.autograd.grad(values.sum(), [w])[0].tolist() == [0.0] * len(w)


def test_second_derivatives_are_refused() -> None:
    noisy, x, w, observables = random_case(2, "device", 0)
    values, _ = trajectory_values(noisy, x, w, observables, 3, (0, 0, 0), 1)
    with pytest.raises(RuntimeError, match="first derivatives only, but create_graph=True"):
        torch.autograd.grad(values.sum(), [w], create_graph=True)


@pytest.mark.parametrize("runs", [0, -3])
def test_less_than_one_run_is_refused(runs: int) -> None:
    noisy, x, w, observables = random_case(2, "device", 0)
    with pytest.raises(ValueError, match=rf"runs is {runs}: give at least 1"):
        trajectory_values(noisy, x, w, observables, runs, (0, 0, 0), 1)
    with pytest.raises(ValueError, match=rf"runs is {runs}: give at least 1"):
        trajectory_bytes(noisy, observables, 1, runs, (0, 0, 0), 1)


def test_variances_need_two_runs() -> None:
    noisy, x, w, observables = random_case(2, "device", 0)
    with pytest.raises(ValueError, match="runs is 1: give at least 2"):
        trajectory_variances(noisy, x, w, observables, 1, (0, 0, 0), 1)


def test_memory_is_said_and_checked() -> None:
    noisy = flips(0.01, 40)
    observables = Observables.parse(None, 40)
    needed = trajectory_bytes(noisy, observables, 1, 3, (0, 0, 0), workers=2)
    state = 2**40 * 16 * 8
    assert 4 * state <= needed <= 4.1 * state  # state and co-state of two threads
    with pytest.raises(ValueError, match=r"a state of 40 qubits .* takes .* GiB"):
        trajectory_values(
            noisy, torch.zeros(1, 0), torch.zeros(0), observables, 3, (0, 0, 0), workers=2
        )


def test_memory_does_not_grow_with_states_of_runs() -> None:
    noisy, _, _, observables = random_case(4, "pauli", 0)
    few, many = (trajectory_bytes(noisy, observables, 4, r, (0, 0, 0), 1) for r in (16, 1600))
    assert (many - few) / (4 * 1584) < 2**4 * 8 * 16  # bytes per run: outputs, slopes, overlaps
