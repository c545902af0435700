"""Runs with given errors: the kernels do what the drawn operators do one by one."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from scipy.stats import unitary_group
from torch import Tensor

from nisqkit.circuits import AmplitudeInput, Observables, lower
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.conformance import random_circuit, random_observables
from nisqkit.hardware_backends.native.trajectories import trajectory_values
from nisqkit.hardware_backends.native.trajectory_branches import branches
from nisqkit.hardware_backends.native.trajectory_draws import Errors
from nisqkit.hardware_backends.reference import apply, final_state, measure
from nisqkit.noise.channels import Channel
from nisqkit.noise.model import NoiseModel
from nisqkit.noise.noisy_program import NoiseUse, NoisyProgram

SEED = (1, 2, 3)


def general(num_qubits: int, seed: int) -> Channel:
    dim = 2**num_qubits
    unitary = unitary_group.rvs(2 * dim, random_state=seed)
    ptm = Channel.kraus([unitary[:dim, :dim], unitary[dim:, :dim]]).ptm
    return Channel.from_ptm(0.8 * np.eye(4**num_qubits) + 0.2 * ptm)


KINDS: dict[str, tuple[list[Channel], list[Channel]]] = {
    "pauli": (
        [Channel.pauli({"X": 0.05, "Y": 0.02, "Z": 0.01})],
        [Channel.depolarizing(0.1, 2), Channel.pauli({"XY": 0.1, "ZI": 0.05})],
    ),
    "device": (
        [Channel.depolarizing(0.02), Channel.relaxation(0.1), Channel.dephasing(0.05)],
        [Channel.depolarizing(0.1, 2)],
    ),
    "general": (
        [general(1, 0), general(1, 1), Channel.relaxation(0.1)],
        [general(2, 2), general(2, 3), Channel.relaxation(0.1).tensor(Channel.relaxation(0.2))],
    ),
    "strong": (  # branches that cannot be inverted, also where there is no error
        [Channel.relaxation(1.0), Channel.relaxation(0.9), Channel.pauli({"X": 0.9})],
        [Channel.relaxation(0.999).tensor(Channel.relaxation(0.5)), Channel.depolarizing(1.0, 2)],
    ),
}


def with_noise(
    program: Program, one: Sequence[Channel], two: Sequence[Channel], seed: int, share: float = 0.6
) -> NoisyProgram:
    """Channels at random places, on the gates' qubits in either order, and on others."""
    rng = np.random.default_rng(seed)
    n = program.num_qubits
    operations: list[GateUse | NoiseUse] = []
    for use in program.gates:
        if use.name != "barrier":
            operations.append(use)
        for channel in (*one, *two):
            if rng.random() < share / (len(one) + len(two)) and channel.num_qubits <= n:
                qubits = tuple(rng.permutation(n)[: channel.num_qubits].tolist())
                if channel.num_qubits <= len(use.qubits) and rng.random() < 0.7:
                    qubits = tuple(rng.permutation(use.qubits)[: channel.num_qubits].tolist())
                operations.append(NoiseUse(channel, qubits, use.name))
    every = tuple(range(n))
    return NoisyProgram(program, tuple(operations), (), every, every, NoiseModel("test", {}))


def replay(
    noisy: NoisyProgram, inputs: Tensor, weights: Tensor, observables: Observables, runs: int
) -> Tensor:
    """The same mean over the same errors, one operation at a time."""
    batch = len(inputs)
    channels = [use.channel for use in noisy.operations if isinstance(use, NoiseUse)]
    errors = Errors.make([branches(c).probabilities for c in channels])
    drawn = errors.draw(batch, runs, SEED)
    branch = np.zeros((batch, runs + 1, len(channels)), np.int64)
    branch[drawn.run // runs, 1 + drawn.run % runs, drawn.place] = drawn.branch
    branch = branch.reshape(-1, len(channels))
    program = noisy.program
    angles = program.angles(inputs, weights).repeat_interleave(runs + 1, dim=0)
    empty = Program(program.num_qubits, (), program.angle_map, program.prepare)
    state = final_state(empty, angles)
    place = 0
    for use in noisy.operations:
        if isinstance(use, GateUse):
            state = apply(state, use.gate.matrix(angles[:, list(use.slots)]), use.qubits)
            continue
        parts = branches(use.channel).operators
        for k, operators in enumerate(parts):
            matrices = torch.from_numpy(operators[branch[:, place]])
            qubits = use.qubits if len(parts) == 1 else (use.qubits[k],)
            state = apply(state, matrices.to(state.dtype), qubits)
        place += 1
    values = measure(state, observables).reshape(batch, runs + 1, -1)
    if observables.sums is not None:  # the identity has the value 1, whatever a run's norm
        for k, terms in enumerate(observables.sums):
            shift = sum(c for s, c in terms if set(s) == {"I"})
            norm = state.flatten(1).abs().square().sum(dim=1).reshape(batch, runs + 1)
            values[..., k] += shift * (1 - norm)
    p0 = errors.none
    return p0 * values[:, 0] + (1 - p0) * values[:, 1:].mean(dim=1)


def parameters(program: Program, batch: int, seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, len(program.inputs), generator=random, dtype=torch.float64) * 2 - 1
    w = torch.rand(len(program.weights), generator=random, dtype=torch.float64) * 2 - 1
    return x.requires_grad_(), w.requires_grad_()


def assert_same(
    noisy: NoisyProgram, observables: Observables, batch: int, runs: int, seed: int
) -> None:
    x, w = parameters(noisy.program, batch, seed)
    found, _ = trajectory_values(noisy, x, w, observables, runs, SEED, 1)
    expected = replay(noisy, x, w, observables, runs)
    scale = max(1.0, float(expected.detach().abs().max()))
    assert_allclose(found.detach(), expected.detach(), atol=1e-10 * scale, rtol=0)
    mix = torch.linspace(0.3, 1.7, found.numel(), dtype=torch.float64).reshape(found.shape)
    pairs = zip(
        torch.autograd.grad((mix * found).sum(), [x, w]),
        torch.autograd.grad((mix * expected).sum(), [x, w], materialize_grads=True),
        strict=True,
    )
    for ours, exact in pairs:
        assert_allclose(ours, exact, atol=1e-9 * max(1.0, float(exact.abs().max())), rtol=0)


@pytest.mark.parametrize("num_qubits", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_the_drawn_operators(kind: str, num_qubits: int) -> None:
    for seed in range(3):
        program = lower(random_circuit(num_qubits, 14, seed), inputs="x")
        noisy = with_noise(program, *KINDS[kind], seed)
        observables = random_observables(num_qubits, seed)
        if seed == 2:
            observables = Observables(num_qubits, None)
        assert_same(noisy, observables, batch=3, runs=7, seed=seed)


@pytest.mark.parametrize(("batch", "runs"), [(1, 1), (1, 33), (17, 1), (17, 2), (16, 16)])
def test_any_batch_and_number_of_runs(batch: int, runs: int) -> None:
    program = lower(random_circuit(3, 14, 5), inputs="x")
    noisy = with_noise(program, *KINDS["device"], 5)
    assert_same(noisy, random_observables(3, 5), batch, runs, seed=5)


def test_the_initial_state_may_be_an_amplitude_input() -> None:
    for name in ("x", "w"):  # amplitudes of each sample, or the same for all
        circuit = QuantumCircuit(3)
        circuit.append(AmplitudeInput(ParameterVector("a", 4)), [2, 0])
        circuit.compose(random_circuit(3, 8, 1), inplace=True)
        program = lower(circuit, inputs=["a", "x"] if name == "x" else ["x"])
        assert program.prepare is not None
        noisy = with_noise(program, *KINDS["device"], 1)
        assert_same(noisy, random_observables(3, 1), 5, 7, seed=1)


def test_an_identity_among_the_observables_is_exact() -> None:
    program = lower(random_circuit(2, 8, 1), inputs="x")
    noisy = with_noise(program, *KINDS["device"], 1)
    x, w = parameters(program, 2, 0)
    sums = ((("II", 0.25), ("ZX", 2.0)), (("II", -3.0),))
    found, std = trajectory_values(noisy, x, w, Observables(2, sums), 5, SEED, 1)
    alone, _ = trajectory_values(noisy, x, w, Observables(2, ((("ZX", 2.0),),)), 5, SEED, 1)
    assert_allclose(found.detach(), torch.cat([0.25 + alone, 0 * alone - 3], dim=1).detach())
    assert std[:, 1].tolist() == [0.0, 0.0]


def test_rounding_errors_stay_small_when_much_noise_is_un_applied() -> None:
    """Un-applying all of it would amplify them by 1e12."""
    program = lower(random_circuit(2, 60, 3), inputs="x")
    noisy = with_noise(program, [Channel.relaxation(0.5)], [], 3, share=1.2)
    count = sum(isinstance(use, NoiseUse) for use in noisy.operations)
    assert np.sqrt(0.5) ** -count > 1e9
    assert_same(noisy, random_observables(2, 3), 2, 9, seed=3)


def test_single_precision() -> None:
    program = lower(random_circuit(4, 30, 2), inputs="x")
    noisy = with_noise(program, *KINDS["device"], 2)
    found = []
    for dtype in (torch.float32, torch.float64):
        x, w = (t.detach().to(dtype).requires_grad_() for t in parameters(program, 5, 2))
        values, std = trajectory_values(noisy, x, w, random_observables(4, 2), 9, SEED, 1)
        assert values.dtype == std.dtype == dtype
        grads = torch.autograd.grad(values.sum(), [x, w])
        found.append([values.detach(), std, *grads])
    for single, double in zip(*found, strict=True):
        assert_allclose(single, double, atol=2e-5 * max(1.0, float(double.abs().max())), rtol=0)
