"""Programs: immutable keys, the same state by inputs and by slots, and normalised amplitudes."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.quantum_info import random_unitary

from nisqkit.circuits import AmplitudeInput, GateUse, Program, amplitude, angle, lower
from nisqkit.circuits.ansatze import hardware_efficient
from nisqkit.circuits.program import Prepare
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.reference import final_state


def test_equal_circuits_are_one_key() -> None:
    one, other = (lower(random_circuit(3, 20, seed=1), inputs="x") for _ in range(2))
    assert one is not other
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other, lower(random_circuit(3, 20, seed=2), inputs="x")}) == 2


def test_inputs_and_weights_are_told_apart() -> None:
    circuit = angle(2)
    assert lower(circuit) != lower(circuit, inputs="x")


def test_nothing_can_be_changed() -> None:
    program = lower(angle(1))
    with pytest.raises(FrozenInstanceError):
        program.num_qubits = 2  # type: ignore[misc]


def test_copies_carry_no_hash() -> None:
    """Text is hashed differently in every process, so a hash must not travel."""
    program = lower(random_circuit(2, 10, seed=0), inputs="x")
    hash(program)
    assert set(program.__getstate__()) == {field.name for field in fields(Program)}
    for twin in (copy.deepcopy(program), pickle.loads(pickle.dumps(program))):
        assert twin == program
        assert hash(twin) == hash(program)


def test_repr_counts() -> None:
    circuit = amplitude(4).compose(hardware_efficient(2, 1))
    text = "Program(2 qubits, amplitudes on 2 qubits, 5 gates, 4 inputs, 4 weights)"
    assert repr(lower(circuit, "x")) == text
    assert repr(lower(angle(2))) == "Program(2 qubits, 2 gates, 0 inputs, 2 weights)"


def test_the_matrix_of_a_unitary_is_kept() -> None:
    matrix = random_unitary(4, seed=0).data
    use = GateUse("unitary", (1, 0), matrix=tuple(matrix.ravel().tolist()))
    assert use.gate.num_qubits == 2
    assert_allclose(use.gate.matrix(torch.zeros(0, dtype=torch.float64)), matrix)


@pytest.mark.parametrize("seed", range(4))
def test_by_slots_is_the_same_structure(seed: int) -> None:
    program = lower(random_circuit(3, 20, seed), inputs="x")
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, len(program.inputs), generator=generator, dtype=torch.float64)
    w = torch.randn(len(program.weights), generator=generator, dtype=torch.float64)
    angles = program.angles(x, w)
    by_slots = program.by_slots
    assert by_slots.gates == program.gates
    assert by_slots.weights == ()
    again = by_slots.angles(angles, w.new_zeros(0))
    assert torch.equal(again, angles)
    torch.testing.assert_close(final_state(by_slots, again), final_state(program, angles))


def weighted_amplitudes() -> Program:
    """Three amplitudes that are weights, on qubits 2 and 0 of three, then an input."""
    circuit, w, x = QuantumCircuit(3), ParameterVector("w", 3), ParameterVector("x", 1)
    circuit.append(AmplitudeInput([w[0], 2 * w[1], w[0] - w[2]]), [2, 0])
    circuit.ry(x[0] + w[2], 1)
    return lower(circuit, "x")


def test_amplitudes_are_normalised() -> None:
    program = lower(amplitude(3), "x")
    assert program.prepare == Prepare((0, 1), (0, 1, 2))
    x = torch.tensor([[3.0, 0.0, -4.0], [0.0, 1e-3, 0.0]], dtype=torch.float64)
    expected = [[0.6, 0, -0.8], [0, 1, 0]]
    assert_allclose(program.angles(x, x.new_zeros(0)), expected, atol=1e-15)
    assert_allclose(program.split_angles(x, x.new_zeros(0))[1], expected, atol=1e-15)


@pytest.mark.parametrize("size", [1e-30, 1e-22, 1e22, 1e38])
def test_amplitudes_of_any_size_are_normalised(size: float) -> None:
    """In float32, whose squares range from 1e-45 to 1e38 only."""
    program = lower(amplitude(2), "x")
    x = torch.tensor([[0.6 * size, -0.8 * size]])
    assert x.dtype == torch.float32
    assert_allclose(program.angles(x, x.new_zeros(0)), [[0.6, -0.8]], rtol=1e-6)


def test_amplitudes_that_are_weights() -> None:
    program = weighted_amplitudes()
    x = torch.tensor([[0.3], [0.5]], dtype=torch.float64)
    w = torch.tensor([3.0, -2.0, 3.0], dtype=torch.float64)
    assert_allclose(program.angles(x, w), [[0.6, -0.8, 0, 3.3], [0.6, -0.8, 0, 3.5]])
    shared, batched = program.split_angles(x, w)
    assert_allclose(shared, [0.6, -0.8, 0])
    assert_allclose(batched, [[3.3], [3.5]])
    # |w| as Qiskit has it: qubit 2 is the low bit of the amplitude's index, qubit 0 the high one
    state = final_state(program, program.angles(x, w))[0].flatten().numpy()
    rotated = np.array([np.cos(1.65), np.sin(1.65)])
    assert_allclose(state[[0b000, 0b010]], 0.6 * rotated)
    assert_allclose(state[[0b100, 0b110]], -0.8 * rotated)
    assert_allclose(np.linalg.norm(state), 1)


@pytest.mark.parametrize("program", [lower(amplitude(3), "x"), weighted_amplitudes()], ids=repr)
def test_gradient_of_the_normalisation(program: Program) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, len(program.inputs), generator=generator, dtype=torch.float64)
    w = torch.randn(len(program.weights), generator=generator, dtype=torch.float64)
    arguments = (x.requires_grad_(), w.requires_grad_())
    assert torch.autograd.gradcheck(program.angles, arguments)
    assert torch.autograd.gradcheck(program.split_angles, arguments)


def test_a_sample_of_zeros_is_named() -> None:
    program = lower(amplitude(2), "x")
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    message = "all amplitudes of sample 1 are zero, so it is not a quantum state; give at least one"
    with pytest.raises(ValueError, match=message):
        program.angles(x, x.new_zeros(0))
    with pytest.raises(ValueError, match=message):
        program.split_angles(x, x.new_zeros(0))
    with pytest.raises(ValueError, match="all amplitudes of sample 0 are zero"):
        weighted_amplitudes().split_angles(torch.zeros(2, 1), torch.zeros(3))


def test_formulas_outside_their_domain_are_refused() -> None:
    x, w = Parameter("x"), Parameter("w")
    circuit = QuantumCircuit(2)
    circuit.rx(x.log(), 1)
    circuit.ry(1 / w, 0)
    program = lower(circuit, inputs=[x])
    good, bad = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [-1.0]])
    one, zero = torch.ones(1), torch.zeros(1)
    for angles in (program.angles, program.split_angles):
        angles(good, one)
        with pytest.raises(
            ValueError, match=r"'rx' on qubits \(1,\) is not finite in sample 1 \(nan"
        ):
            angles(bad, one)
        with pytest.raises(ValueError, match=r"'ry' on qubits \(0,\) is not finite \(inf\): keep"):
            angles(good, zero)


def block_circuit() -> QuantumCircuit:
    """Instructions: amplitudes, RX, barrier, three gates as one, barrier, RZ, measurement."""
    block, w = QuantumCircuit(2, name="block"), ParameterVector("w", 4)
    block.ry(w[1], 0)
    block.cx(0, 1)
    block.ry(w[2], 1)
    circuit = QuantumCircuit(2, 1)
    circuit.append(AmplitudeInput([1, 2]), [1])
    circuit.rx(w[0], 0)
    circuit.barrier()
    circuit.append(block.to_gate(), [0, 1])
    circuit.barrier()
    circuit.rz(w[3], 1)
    circuit.measure(0, 0)
    return circuit


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        ("TTTTTT", ["rx", "barrier", "ry", "cx", "ry", "barrier", "rz"]),
        ("FTTTTT", ["rx", "barrier", "ry", "cx", "ry", "barrier", "rz"]),
        ("TTTFTT", ["rx", "barrier", "barrier", "rz"]),
        ("TTFTFT", ["rx", "ry", "cx", "ry", "rz"]),
        ("TTTTTF", ["rx", "barrier", "ry", "cx", "ry"]),
        ("FTTFTF", ["rx"]),
        ("FFTFTF", []),
        ("FFFFFF", []),
    ],
)
def test_a_mask_selects_instructions(mask: str, names: list[str]) -> None:
    """Entry ``k`` is instruction ``k``, whatever it was lowered to; no barriers at the end."""
    program = lower(block_circuit())
    assert program.num_groups == 6
    selected = program.select([letter == "T" for letter in mask])
    assert [use.name for use in selected.gates] == names
    assert set(selected.gates) <= set(program.gates)  # with their slots, groups and tags
    assert selected.angle_map is program.angle_map
    assert selected.prepare == program.prepare
    assert selected.weights == ("w[0]", "w[1]", "w[2]", "w[3]")


@pytest.mark.parametrize("kind", [tuple, np.array, torch.tensor, lambda mask: list(np.array(mask))])
def test_masks_are_sequences_arrays_or_tensors(kind: Callable[[list[bool]], Any]) -> None:
    program = lower(hardware_efficient(2, 1))
    mask = [True, False, False, True, True]
    found = program.select(kind(mask))
    assert [use.group for use in found.gates] == [0, 3, 4]
    assert found == program.select(mask)
    assert hash(found) == hash(program.select(mask))
    assert program.select([True] * 5) == program


def test_selecting_twice_is_selecting_what_is_in_both() -> None:
    program = lower(hardware_efficient(3, 2))
    rng = np.random.default_rng(0)
    for _ in range(10):
        one, other = rng.random((2, program.num_groups)) < 0.5
        first = program.select(one)
        again = first.select(other[: first.num_groups])
        assert again == program.select(one & other)


def test_a_program_without_gates_has_no_groups() -> None:
    program = lower(QuantumCircuit(2))
    assert program.num_groups == 0
    assert program.select([]) == program


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([1, 0, 0, 1, 1], "takes booleans, but entry 0 is 1: give True for each group to keep"),
        ([True, True, False, None, True], "takes booleans, but entry 3 is None"),
        (np.arange(5), "takes booleans, but entry 0 is 0"),
        (torch.ones(5), r"takes booleans, but entry 0 is 1\.0"),
        (np.ones((5, 1), dtype=bool), r"takes booleans, but entry 0 is \[True\]"),
        ("TTTTT", "takes booleans, but entry 0 is 'T'"),
        (torch.tensor(True), "takes a sequence of booleans, not Tensor"),
        ({0: True}, "takes a sequence of booleans, not dict"),
        (None, "takes a sequence of booleans, not NoneType"),
    ],
)
def test_masks_that_are_not_booleans(mask: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        lower(hardware_efficient(2, 1)).select(mask)


@pytest.mark.parametrize("length", [0, 4, 6])
def test_masks_of_the_wrong_length(length: int) -> None:
    message = f"mask has {length} entries, but the program has 5 groups: give one for each inst"
    with pytest.raises(ValueError, match=message):
        lower(hardware_efficient(2, 1)).select(torch.ones(length, dtype=torch.bool))


def test_formulas_of_gates_that_are_not_selected_must_be_defined() -> None:
    """Else the gradient of the weight, which is zero, would be zero times infinity."""
    circuit, w = QuantumCircuit(1), Parameter("w")
    circuit.ry(w.log(), 0)
    circuit.rx(w, 0)
    selected = lower(circuit).select([False, True])
    with pytest.raises(ValueError, match=r"the angle of a gate that is not selected is not finite"):
        selected.angles(torch.zeros(1, 0), torch.zeros(1))
