"""The reference engine against Qiskit, and its derivatives against finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.quantum_info import (
    Operator,
    SparsePauliOp,
    Statevector,
    random_statevector,
    random_unitary,
)
from torch import Tensor

from nisqkit.circuits import Observables, Program, Task, amplitude, angle, lower
from nisqkit.circuits.ansatze import hardware_efficient
from nisqkit.hardware_backends.conformance import random_circuit, random_observables, random_task
from nisqkit.hardware_backends.reference import ReferenceBackend, apply, final_state, measure


def qiskit_states(
    circuit: QuantumCircuit, program: Program, x: Tensor, w: Tensor
) -> list[Statevector]:
    """Qiskit's state of every sample."""
    states = []
    for row in x:
        numbers = [*row.tolist(), *w.tolist()]
        values = dict(zip((*program.inputs, *program.weights), numbers, strict=True))
        bound = circuit.assign_parameters({p: values[p.name] for p in circuit.parameters})
        states.append(Statevector(bound))
    return states


def without_phase(found: NDArray[np.complex128], expected: Statevector) -> NDArray[np.complex128]:
    overlap = np.vdot(found, expected.data)
    return np.asarray(found * overlap / abs(overlap))


@pytest.mark.parametrize("num_qubits", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_states_and_values_are_qiskits(num_qubits: int, seed: int) -> None:
    circuit = random_circuit(num_qubits, 25, seed)
    program = lower(circuit, inputs="x")
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, len(program.inputs), generator=generator, dtype=torch.float64)
    w = torch.randn(len(program.weights), generator=generator, dtype=torch.float64)
    expected = qiskit_states(circuit, program, x, w)
    states = final_state(program, program.angles(x, w))
    for state, right in zip(states, expected, strict=True):
        assert_allclose(without_phase(state.flatten().numpy(), right), right.data, atol=1e-12)
    observables = random_observables(num_qubits, seed)
    assert observables.sums is not None
    sums = [SparsePauliOp.from_list(terms) for terms in observables.sums]
    assert_allclose(
        ReferenceBackend().run([Task(program, x, w, observables)])[0].values,
        [[state.expectation_value(op).real for op in sums] for state in expected],
        atol=1e-12,
    )
    assert_allclose(
        measure(states, Observables.parse("probs", num_qubits)),
        [state.probabilities() for state in expected],
        atol=1e-12,
    )


@pytest.mark.parametrize("qubits", [[0], [2], [0, 1], [1, 0], [2, 0], [0, 2], [1, 2, 0]])
def test_apply_puts_the_first_qubit_lowest(qubits: list[int]) -> None:
    matrix = random_unitary(2 ** len(qubits), seed=1)
    start = random_statevector(8, seed=2)
    expected = start.evolve(Operator(matrix), qubits).data
    state = torch.tensor(np.array(start.data)).reshape(1, 2, 2, 2)
    assert_allclose(apply(state, torch.tensor(matrix.data), qubits).flatten(), expected, atol=1e-14)
    batch = torch.cat([state, state])
    matrices = torch.stack([torch.eye(2 ** len(qubits)), torch.tensor(matrix.data)])
    both = apply(batch, matrices, qubits).flatten(1)
    assert_allclose(both, [start.data, expected], atol=1e-14)


def test_first_and_second_derivatives() -> None:
    task = random_task(2, seed=0, batch=2, num_gates=6)

    def values(x: Tensor, w: Tensor) -> Tensor:
        return ReferenceBackend().run([replace(task, inputs=x, weights=w)])[0].values

    assert torch.autograd.gradcheck(values, (task.inputs, task.weights))
    assert torch.autograd.gradgradcheck(values, (task.inputs, task.weights))


def test_gradient_of_amplitudes_and_probabilities() -> None:
    program = lower(amplitude(3).compose(hardware_efficient(2, 1)), "x")
    x = torch.tensor([[0.4, -1.3, 0.2]], dtype=torch.float64, requires_grad=True)
    w = torch.linspace(-1, 1, 4, dtype=torch.float64, requires_grad=True)

    def values(x: Tensor, w: Tensor) -> Tensor:
        task = Task(program, x, w, Observables.parse("probs", 2))
        return ReferenceBackend().run([task])[0].values

    assert torch.autograd.gradcheck(values, (x, w))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_follows_the_inputs(dtype: torch.dtype) -> None:
    task = random_task(3, seed=1, dtype=dtype)
    result = ReferenceBackend().run([task])[0]
    assert result.values.dtype == dtype
    assert result.std is None
    sampled = ReferenceBackend().run([replace(task, shots=10)])[0]
    assert sampled.values.dtype == dtype
    assert sampled.std is not None and sampled.std.dtype == dtype


@pytest.mark.parametrize("shots", [None, 10])
@pytest.mark.parametrize("observables", ["probs", None])
def test_empty_batch(shots: int | None, observables: str | None) -> None:
    program = lower(angle(2).compose(hardware_efficient(2, 1)), "x")
    w = torch.ones(4)
    task = Task(program, torch.zeros(0, 2), w, Observables.parse(observables, 2), shots)
    result = ReferenceBackend().run([task])[0]
    assert result.values.shape == (0, task.observables.num_outputs)
    assert (result.std is None) == (shots is None)


def test_it_runs_on_other_torch_devices() -> None:
    """The meta device computes nothing, but it refuses tensors that live elsewhere."""
    program = lower(angle(3).compose(hardware_efficient(3, 2)), "x")
    x, w = torch.zeros(5, 3, device="meta"), torch.zeros(12, device="meta")
    for observables in (Observables.parse(["XYZ", "ZII"], 3), Observables.parse("probs", 3)):
        values = ReferenceBackend().run([Task(program, x, w, observables)])[0].values
        assert values.device.type == "meta"
        assert values.shape == (5, observables.num_outputs)


def test_shots_scatter_about_the_exact_values() -> None:
    task = random_task(2, seed=4, batch=3)
    exact = ReferenceBackend().run([task])[0].values
    sampled = ReferenceBackend().run([replace(task, shots=20_000, seed=(1, 2, 3))])[0]
    assert sampled.std is not None
    assert not sampled.values.requires_grad
    assert bool(((sampled.values - exact).abs() < 5 * sampled.std + 1e-9).all())
    assert bool((sampled.std < 0.03).all())


def test_too_many_qubits_are_refused_at_once() -> None:
    program = lower(QuantumCircuit(50))
    task = Task(program, torch.zeros(2, 0), torch.zeros(0), Observables.parse(None, 50))
    message = "a state of 50 qubits for this batch takes 3.36e.07 GiB, but .* GiB of memory are av"
    with pytest.raises(ValueError, match=message):
        ReferenceBackend().run([task])
    double = replace(task, inputs=task.inputs.double(), weights=task.weights.double())
    with pytest.raises(ValueError, match=r"this batch takes 6.71e.07 GiB"):
        ReferenceBackend().run([double])
