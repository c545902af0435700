"""Amplitude input: the state that the gates prepare, as Qiskit computes it."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.quantum_info import Statevector
from torch import Tensor

from nisqkit.circuits import AmplitudeInput, Program, amplitude, lower
from nisqkit.circuits.amplitude import convert_angles, rotation_angles, synthesise
from nisqkit.hardware_backends.reference import final_state


def qiskit_state(program: Program, angles: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Qiskit's state of a program of gates, with its angles put in as numbers."""
    circuit = QuantumCircuit(program.num_qubits)
    for use in program.gates:
        getattr(circuit, use.name)(*(float(angles[s]) for s in use.slots), *use.qubits)
    return np.asarray(Statevector(circuit).data)


def synthesised_states(circuit: QuantumCircuit, x: Tensor) -> list[NDArray[np.complex128]]:
    """One state per sample, by RY and CX alone."""
    program = lower(circuit, "x")
    gates, matrix = synthesise(program)
    angles = convert_angles(program, matrix, program.angles(x, x.new_zeros(0)))
    assert gates.prepare is None
    assert angles.shape == (len(x), gates.angle_map.num_slots)
    return [qiskit_state(gates, row) for row in angles.numpy()]


def states_of(vectors: NDArray[np.float64], qubits: list[int], num_qubits: int) -> Tensor:
    """What Qiskit's own ``initialize`` prepares on these qubits."""
    states = []
    for vector in vectors:
        circuit = QuantumCircuit(num_qubits)
        circuit.initialize((vector / np.linalg.norm(vector)).tolist(), qubits)
        states.append(Statevector(circuit).data)
    return torch.tensor(np.array(states))


def samples(num: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random signs, zeros here and there, a whole branch of zeros, and a basis state."""
    x = rng.normal(size=(4, num))
    x[1, rng.random(num) < 0.4] = 0
    x[1, rng.integers(num)] = -0.7
    x[2, : num // 2] = 0
    x[3] = 0
    x[3, num - 1] = -2
    return x


@pytest.mark.parametrize("num_qubits", [1, 2, 3, 4, 5])
def test_the_gates_prepare_the_exact_state(num_qubits: int) -> None:
    x = samples(2**num_qubits, np.random.default_rng(num_qubits))
    found = synthesised_states(amplitude(2**num_qubits), torch.tensor(x))
    expected = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert_allclose(found, expected, atol=1e-14)  # with its signs and without a phase


@pytest.mark.parametrize("num_features", [1, 2, 3, 5, 6, 9, 20])
def test_missing_amplitudes_are_zero(num_features: int) -> None:
    x = samples(num_features, np.random.default_rng(num_features))
    circuit = amplitude(num_features)
    expected = np.zeros((4, 2**circuit.num_qubits))
    expected[:, :num_features] = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert_allclose(synthesised_states(circuit, torch.tensor(x)), expected, atol=1e-14)
    program = lower(circuit, "x")
    angles = program.angles(torch.tensor(x), torch.zeros(0, dtype=torch.float64))
    assert_allclose(final_state(program, angles).flatten(1), expected, atol=1e-14)


@pytest.mark.parametrize("qubits", [[0], [2], [1, 0], [3, 1], [2, 0, 3], [3, 2, 1, 0], [0, 3, 1]])
def test_on_some_qubits_of_a_circuit(qubits: list[int]) -> None:
    """Loaded directly and written as gates: Qiskit's ``initialize`` on the same qubits."""
    size = 2 ** len(qubits)
    x = samples(size, np.random.default_rng(size))
    expected = states_of(x, qubits, num_qubits=4).numpy()
    circuit = QuantumCircuit(4)
    circuit.append(AmplitudeInput(list(ParameterVector("x", size))), qubits)
    assert_allclose(synthesised_states(circuit, torch.tensor(x)), expected, atol=1e-14)
    program = lower(circuit, "x")
    angles = program.angles(torch.tensor(x), torch.zeros(0, dtype=torch.float64))
    assert_allclose(final_state(program, angles).flatten(1), expected, atol=1e-14)


def test_the_circuit_goes_on_after_the_preparation() -> None:
    circuit = amplitude(4).compose(QuantumCircuit(2))
    circuit.rx(0.3, 0)
    circuit.cx(0, 1)
    circuit.rz(Parameter("a"), 1)
    program = lower(circuit, "x")
    gates, matrix = synthesise(program)
    x, w = torch.tensor([[0.1, -0.2, 0.3, 0.4]], dtype=torch.float64), torch.tensor([0.7]).double()
    angles = program.angles(x, w)
    found = qiskit_state(gates, convert_angles(program, matrix, angles)[0].numpy())
    assert_allclose(found, final_state(program, angles).flatten(), atol=1e-14)
    assert gates.gates[-len(program.gates) :] == program.gates


@pytest.mark.parametrize("num_qubits", [1, 2, 3, 4, 5])
def test_number_of_gates(num_qubits: int) -> None:
    """Mottonen et al. 2005: ``2^n - 1`` rotations and ``2^n - 2`` CX for real amplitudes."""
    gates, _ = synthesise(lower(amplitude(2**num_qubits), "x"))
    names = [use.name for use in gates.gates]
    assert names.count("ry") == 2**num_qubits - 1
    assert names.count("cx") == 2**num_qubits - 2
    assert len(names) == 2 ** (num_qubits + 1) - 3


def test_without_an_amplitude_input_nothing_changes() -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("a"), 0)
    program = lower(circuit)
    gates, matrix = synthesise(program)
    assert (gates, matrix) == (program.by_slots, None)
    angles = torch.tensor([[0.3]])
    assert convert_angles(program, matrix, angles) is angles


def test_rotation_angles_split_the_weight() -> None:
    flat = torch.full((1, 8), 8**-0.5, dtype=torch.float64)
    assert_allclose(rotation_angles(flat), np.full((1, 7), np.pi / 2))
    # one qubit: cos(a / 2), sin(a / 2), over the whole circle
    a = torch.linspace(-6.2, 6.2, 9, dtype=torch.float64)
    found = rotation_angles(torch.stack([torch.cos(a / 2), torch.sin(a / 2)], dim=1))
    assert_allclose(found[:, 0], a, atol=1e-14)
    assert rotation_angles(torch.ones(2, 1)).shape == (2, 0)


def test_precision_follows_the_angles() -> None:
    program = lower(amplitude(4), "x")
    _, matrix = synthesise(program)
    angles = program.angles(torch.rand(3, 4) + 0.1, torch.zeros(0))
    assert convert_angles(program, matrix, angles).dtype == torch.float32


def test_width_of_the_instruction() -> None:
    widths = [AmplitudeInput([1.0] * count).num_qubits for count in range(1, 10)]
    assert widths == [1, 1, 2, 2, 3, 3, 3, 3, 4]


def test_numbers_and_expressions_as_amplitudes() -> None:
    constant = QuantumCircuit(1)
    constant.append(AmplitudeInput([3, -4.0]), [0])
    program = lower(constant)
    empty = torch.zeros(1, 0, dtype=torch.float64)
    assert_allclose(program.angles(empty, empty[0]), [[0.6, -0.8]])
    w = ParameterVector("w", 2)
    circuit = QuantumCircuit(1)
    circuit.append(AmplitudeInput([w[0] * w[1], w[0] + 1]), [0])
    weights = torch.tensor([2.0, -2.0], dtype=torch.float64)
    assert_allclose(lower(circuit).angles(empty, weights), [[-0.8, 0.6]])


def test_the_instruction_is_copied_and_bound_like_any_other() -> None:
    circuit = amplitude(3)
    for twin in (copy.deepcopy(circuit), pickle.loads(pickle.dumps(circuit))):
        assert lower(twin, "x") == lower(circuit, "x")
    bound = lower(circuit.assign_parameters([1.0, 2.0, -2.0]))
    empty = torch.zeros(1, 0, dtype=torch.float64)
    assert_allclose(bound.angles(empty, empty[0]), [[1 / 3, 2 / 3, -2 / 3]])


def test_errors() -> None:
    with pytest.raises(ValueError, match="AmplitudeInput needs at least one amplitude, got none"):
        AmplitudeInput([])
    with pytest.raises(ValueError, match=r"prepares a state from \|0...0> and has no inverse"):
        amplitude(4).inverse()
