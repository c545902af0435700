"""The reference engine for noise against Qiskit's density matrices and channels."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit.quantum_info import DensityMatrix, Operator, Pauli, SparsePauliOp, SuperOp
from qiskit_aer.noise import (
    amplitude_damping_error,
    depolarizing_error,
    pauli_error,
    phase_damping_error,
)

from nisqkit.circuits import AmplitudeInput, Observables, Program, Task, lower
from nisqkit.circuits.program import GateUse
from nisqkit.hardware_backends.conformance import random_circuit, random_observables
from nisqkit.hardware_backends.reference import ReferenceBackend
from nisqkit.hardware_backends.reference_density import (
    final_density,
    from_pauli_vector,
    measure_density,
    reference_density_values,
    start_density,
    to_pauli_vector,
)
from nisqkit.noise import Channel, NoiseModel, NoiseUse, NoisyProgram

KRAUS = [np.diag([1, 0.6]), np.array([[0, 0.48j], [0, 0]]), np.array([[0, 0], [0, 0.64]])]
"""Three operators, one of them not Hermitian."""

CHANNELS = [
    (Channel.depolarizing(0.1, 2), SuperOp(depolarizing_error(0.1, 2))),
    (Channel.relaxation(0.2), SuperOp(amplitude_damping_error(0.2))),
    # coherences times sqrt(1 - p) in Aer, times 1 - lam here
    (Channel.dephasing(0.3), SuperOp(phase_damping_error(1 - 0.7**2))),
    (
        Channel.pauli({"XY": 0.1, "IZ": 0.05}),
        SuperOp(pauli_error([("XY", 0.1), ("IZ", 0.05), ("II", 0.85)])),
    ),
    (
        Channel.kraus(KRAUS),
        SuperOp(sum((np.kron(k.conj(), k) for k in KRAUS), np.zeros((4, 4)))),
    ),
]


def interleaved(program: Program, seed: int) -> tuple[NoisyProgram, dict[int, SuperOp]]:
    """A channel on random qubits after every gate, and what it is in Qiskit, by position."""
    rng = np.random.default_rng(seed)
    operations: list[GateUse | NoiseUse] = []
    superops = {}
    for use in program.gates:
        operations.append(use)
        channel, superop = CHANNELS[int(rng.integers(len(CHANNELS)))]
        if channel.num_qubits <= program.num_qubits:
            qubits = rng.choice(program.num_qubits, channel.num_qubits, replace=False)
            superops[len(operations)] = superop
            operations.append(NoiseUse(channel, tuple(qubits.tolist()), "noise"))
    every = tuple(range(program.num_qubits))
    return NoisyProgram(program, tuple(operations), (), every, every, NOISELESS), superops


NOISELESS = NoiseModel("none", {})


@pytest.mark.parametrize("num_qubits", [1, 2, 3])
def test_agrees_with_qiskit(num_qubits: int) -> None:
    program = lower(random_circuit(num_qubits, 8, seed=num_qubits), inputs="x")
    noisy, superops = interleaved(program, num_qubits)
    x = torch.full((1, len(program.inputs)), 0.7, dtype=torch.float64)
    w = torch.linspace(-1, 1, len(program.weights), dtype=torch.float64)
    angles = program.angles(x, w)
    state = DensityMatrix.from_int(0, 2**num_qubits)
    for k, use in enumerate(noisy.operations):
        if isinstance(use, GateUse):
            matrix = use.gate.matrix(angles[0, list(use.slots)]).numpy()
            state = state.evolve(Operator(matrix), list(use.qubits))
        else:
            state = state.evolve(superops[k], list(use.qubits))
    assert_allclose(final_density(noisy, angles)[0], state.data, atol=1e-12)
    observables = random_observables(num_qubits, seed=3)
    assert observables.sums is not None
    expected = [state.expectation_value(SparsePauliOp.from_list(s)).real for s in observables.sums]
    assert_allclose(reference_density_values(noisy, x, w, observables)[0], expected, atol=1e-12)
    probs = reference_density_values(noisy, x, w, Observables(num_qubits, None))
    assert_allclose(probs[0], state.probabilities(), atol=1e-12)


def test_without_noise_it_is_the_state_vector() -> None:
    program = lower(random_circuit(3, 10, seed=1), inputs="x")
    gates = tuple(use for use in program.gates if use.name != "barrier")
    noisy = NoisyProgram(program, gates, (), (0, 1, 2), (0, 1, 2), NOISELESS)
    x = torch.rand(4, len(program.inputs), dtype=torch.float64)
    w = torch.rand(len(program.weights), dtype=torch.float64)
    observables = random_observables(3, seed=1)
    expected = ReferenceBackend().run([Task(program, x, w, observables)])[0].values
    found = reference_density_values(noisy, x, w, observables)
    assert_allclose(found, expected, atol=1e-12)


def test_gradients_are_finite_differences() -> None:
    program = lower(random_circuit(2, 6, seed=2), inputs="x")
    noisy, _ = interleaved(program, 2)
    x = torch.rand(2, len(program.inputs), dtype=torch.float64, requires_grad=True)
    w = torch.rand(len(program.weights), dtype=torch.float64, requires_grad=True)
    observables = random_observables(2, seed=2)
    assert torch.autograd.gradcheck(
        lambda x, w: reference_density_values(noisy, x, w, observables), (x, w)
    )


def test_float32() -> None:
    program = lower(random_circuit(2, 6, seed=2), inputs="x")
    noisy, _ = interleaved(program, 2)
    x, w = torch.rand(2, len(program.inputs)), torch.rand(len(program.weights))
    observables = random_observables(2, seed=2)
    found = reference_density_values(noisy, x, w, observables)
    assert found.dtype == torch.float32
    expected = reference_density_values(noisy, x.double(), w.double(), observables)
    assert_allclose(found, expected, atol=1e-5)


def test_pauli_vectors() -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(8, 8)) + 1j * random.normal(size=(8, 8))
    rho = matrix @ matrix.conj().T
    vector = to_pauli_vector(torch.as_tensor(rho)[None])
    for index in (0, 1, 7, 27, 63):
        label = "".join("IXYZ"[index >> 2 * q & 3] for q in (2, 1, 0))
        assert_allclose(vector[0, index], np.trace(Pauli(label).to_matrix() @ rho).real)
    assert_allclose(from_pauli_vector(vector)[0], rho, atol=1e-12)
    strings = Observables(3, ((("XIZ", 2.0), ("YYI", -1.0)),))
    found = measure_density(torch.as_tensor(rho)[None], strings)
    expected = 2 * vector[0, 3 + 16 * 1] - vector[0, 4 * 2 + 16 * 2]
    assert_allclose(found[0, 0], expected)


def test_amplitude_input() -> None:
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    circuit = QuantumCircuit(2)
    circuit.append(AmplitudeInput(ParameterVector("x", 4)), [0, 1])
    program = lower(circuit, inputs="x")
    x = torch.tensor([[1.0, -2.0, 3.0, 0.5]], dtype=torch.float64)
    state = x[0] / x[0].norm()
    found = start_density(program, program.angles(x, x.new_zeros(0)))
    assert_allclose(found[0], torch.outer(state, state), atol=1e-12)
