"""Passes over chunks against the reference engine, Qiskit, and themselves on more threads.

The engine cuts a circuit into passes from 18 qubits on; here most are cut by hand, at 13 or 14.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Statevector
from torch import Tensor

from nisqkit.circuits import AmplitudeInput, Observables, Program, Task, hardware_efficient, lower
from nisqkit.hardware_backends.conformance import random_circuit, random_observables
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.native.operations import LANE_QUBITS, on_amplitudes
from nisqkit.hardware_backends.native.plan import Plan
from nisqkit.hardware_backends.native.schedule import schedule
from nisqkit.hardware_backends.native.wide import WideRun, move
from nisqkit.hardware_backends.reference import ReferenceBackend

BOTH_DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def random_numbers(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64) * 4 - 2


def make_task(program: Program, observables: Observables, batch: int, dtype: torch.dtype) -> Task:
    """At random inputs and weights that ask for gradients."""
    x = random_numbers(batch, len(program.inputs), seed=0).to(dtype).requires_grad_()
    w = random_numbers(len(program.weights), seed=1).to(dtype).requires_grad_()
    return Task(program, x, w, observables)


def cut(program: Program, observables: Observables, chunk_bits: int) -> Plan:
    """The plan of the amplitudes route with small chunks."""
    blocks = schedule(program)
    operations = on_amplitudes(blocks, chunk_bits)
    assert len(operations.passes) > 1
    return Plan(program, observables, blocks, operations)


def start(task: Task, chunk_bits: int, workers: int = 1) -> tuple[WideRun, list[Tensor]]:
    """The run of a task in passes, and its parameters: those of the task, or all angles."""
    plan = cut(task.program, task.observables, chunk_bits)
    x, w = task.inputs, task.weights
    if not plan.affine:
        w, x = task.program.split_angles(x, w)
    return WideRun(plan, x.detach().numpy(), w.detach().numpy(), workers), [x, w]


def in_passes(task: Task, chunk_bits: int = 6, workers: int = 1) -> list[Tensor]:
    """Values, and gradients of inputs and weights for a random mixture of the values."""
    run, parameters = start(task, chunk_bits, workers)
    values = torch.from_numpy(run.forward())
    slopes = [torch.from_numpy(g) for g in run.backward(mixture(values).numpy())]
    assert all(t.dtype == task.inputs.dtype for t in (values, *slopes))
    wanted = [task.inputs, task.weights]
    return [values, *torch.autograd.grad(parameters, wanted, slopes, materialize_grads=True)]


def mixture(values: Tensor) -> Tensor:
    return random_numbers(*values.shape, seed=7).to(values.dtype)


def by(backend: NativeBackend | ReferenceBackend, task: Task) -> list[Tensor]:
    """What `in_passes` returns, by a backend."""
    values = backend.run([task])[0].values
    wanted = [task.inputs, task.weights]
    grads = torch.autograd.grad(values, wanted, mixture(values), materialize_grads=True)
    return [values.detach(), *grads]


def assert_like_reference(
    program: Program, observables: Observables, batch: int, dtype: torch.dtype, chunk_bits: int = 6
) -> None:
    """In float64 to 1e-12; float32 may lose two digits."""
    task = make_task(program, observables, batch, dtype)
    x, w = (t.detach().double().requires_grad_() for t in (task.inputs, task.weights))
    right = by(ReferenceBackend(), Task(program, x, w, observables))
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    for one, other in zip(in_passes(task, chunk_bits), right, strict=True):
        torch.testing.assert_close(one.double(), other, atol=tolerance, rtol=tolerance)


@BOTH_DTYPES
@pytest.mark.parametrize(("num_qubits", "chunk_bits"), [(13, 5), (13, 6), (14, 6), (14, 7)])
@pytest.mark.parametrize("inputs", ["x", "w", None])
def test_random_circuits(
    num_qubits: int, chunk_bits: int, inputs: str | None, dtype: torch.dtype
) -> None:
    """Matrices of all samples, of one sample, or both; sums of Pauli strings."""
    program = lower(random_circuit(num_qubits, 50, seed=num_qubits + chunk_bits), inputs)
    observables = random_observables(num_qubits, 3)
    assert_like_reference(program, observables, 2, dtype, chunk_bits)


@BOTH_DTYPES
def test_probabilities(dtype: torch.dtype) -> None:
    program = lower(random_circuit(13, 50, seed=5), "x")
    assert_like_reference(program, Observables.parse("probs", 13), 2, dtype)


@BOTH_DTYPES
def test_flips_of_every_qubit(dtype: torch.dtype) -> None:
    """Four of the qubits are on the lanes at the end, and some on either side of a chunk."""
    program = lower(random_circuit(13, 50, seed=6), "x")
    singles = ["I" * k + letter + "I" * (12 - k) for k in range(13) for letter in "XY"]
    observables = Observables.parse([*singles, "Y" * 13, "X" * 13, "ZY" * 6 + "X"], 13)
    at_the_end = [v for v, _ in cut(program, observables, 6).operations.masks]
    assert at_the_end != [1 << q for q in range(13)]
    assert_like_reference(program, observables, 1, dtype)


@BOTH_DTYPES
@pytest.mark.parametrize("inputs", ["a", "b"])
def test_amplitudes_as_inputs_and_as_weights(inputs: str, dtype: torch.dtype) -> None:
    """On a qubit of the lanes and one of the rows, with angles that are not affine."""
    circuit, a, b = QuantumCircuit(13), ParameterVector("a", 3), ParameterVector("b", 4)
    circuit.append(AmplitudeInput([a[0], a[1] - 0.5, a[0] * a[2]]), [12, 0])
    for q in range(13):
        circuit.ry(b[0] * (1 + q), q)
        circuit.crx(b[1] + a[1], q, (q + 5) % 13)
    circuit.cx(12, 0)
    circuit.rxx(b[2] * b[3], 0, 11)
    assert_like_reference(lower(circuit, inputs), random_observables(13, 4), 3, dtype)


def test_more_samples_than_a_tile() -> None:
    """A sample's own matrices are built 16 samples at a time."""
    program = lower(random_circuit(13, 25, seed=2), "x")
    assert_like_reference(program, random_observables(13, 1), 17, torch.float64)


def test_an_empty_batch() -> None:
    program = lower(random_circuit(13, 40, seed=2), "x")
    values, g_inputs, g_weights = in_passes(
        make_task(program, random_observables(13, 1), 0, torch.float32)
    )
    assert values.shape == (0, 4)
    assert g_inputs.shape == (0, len(program.inputs))
    assert not g_weights.any()


@BOTH_DTYPES
@pytest.mark.parametrize("probs", [False, True])
def test_threads_do_not_change_a_bit(probs: bool, dtype: torch.dtype) -> None:
    program = lower(random_circuit(14, 60, seed=1), "x")
    outputs = Observables.parse("probs", 14) if probs else random_observables(14, 9)
    task = make_task(program, outputs, 2, dtype)
    alone = in_passes(task, workers=1)
    for workers in (2, 3):
        again = in_passes(task, workers=workers)
        assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True))


def test_more_chunks_than_parts() -> None:
    """128 chunks; the overlaps of two at a time are added up before those of the parts are."""
    program, observables = lower(random_circuit(16, 30, seed=1), "x"), random_observables(16, 2)
    assert_like_reference(program, observables, 1, torch.float64, chunk_bits=5)
    task = make_task(program, observables, 1, torch.float32)
    alone, again = (in_passes(task, chunk_bits=5, workers=workers) for workers in (1, 3))
    assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True))


def test_the_final_state_is_qiskits() -> None:
    """Where the masks say that each basis state is."""
    circuit = random_circuit(13, 60, seed=3)
    task = make_task(lower(circuit), Observables.parse("probs", 13), 1, torch.float64)
    named = dict(zip(task.program.weights, task.weights.tolist(), strict=True))
    bound = circuit.assign_parameters({p: named[p.name] for p in circuit.parameters})
    run, _ = start(task, chunk_bits=5, workers=2)
    run.forward()
    state = (run.states[0, 0] + 1j * run.states[1, 0]).ravel()[run.plan.places]
    assert abs(np.vdot(Statevector(bound).data, state)) == pytest.approx(1, abs=1e-12)
    assert_allclose(abs(state), abs(Statevector(bound).data), atol=1e-13)


def test_backward_leaves_the_state_alone() -> None:
    """So that it can be repeated."""
    program = lower(random_circuit(13, 40, seed=2), "x")
    run, _ = start(make_task(program, random_observables(13, 1), 2, torch.float64), chunk_bits=6)
    slopes = np.ones_like(run.forward())
    before = run.states.copy()
    first, second = run.backward(slopes), run.backward(slopes)
    assert np.array_equal(run.states, before)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_eighteen_qubits_take_this_way() -> None:
    """Through the backend, whose threads change nothing; values also with shots."""
    circuit = hardware_efficient(18, layers=1)
    program, observables = lower(circuit), Observables.parse(["Z" + "I" * 17, "XY" * 9], 18)
    task = make_task(program, observables, 1, torch.float64)
    backend = NativeBackend(threads=1)
    assert "passes" in backend.explain(task)
    found = by(backend, task)
    for one, other in zip(found, by(ReferenceBackend(), task), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)
    again = by(NativeBackend(threads=2), task)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    shots = Task(program, task.inputs, task.weights, observables, shots=400)
    result = backend.run([shots])[0]
    assert result.std is not None
    assert float(((result.values - found[0]) / result.std).abs().max()) < 5


def test_eighteen_qubits_without_gates() -> None:
    """No gates, no passes."""
    program = lower(QuantumCircuit(18))
    observables = Observables.parse(["Z" * 18, "X" + "I" * 17], 18)
    empty = Task(program, torch.zeros(1, 0), torch.zeros(0), observables)
    assert NativeBackend().run([empty])[0].values.tolist() == [[1, 0]]


def test_chunks_hold_every_row_once_and_passes_every_operation_once() -> None:
    program = lower(random_circuit(13, 60, seed=4))
    run, _ = start(make_task(program, Observables.parse(None, 13), 1, torch.float64), chunk_bits=5)
    parts = run._passes()
    for inner, outer, _ in parts:
        assert len(inner) == 2**5
        rows = (outer[:, None] + inner).ravel()
        assert sorted(rows.tolist()) == list(range(2 ** (13 - LANE_QUBITS)))
    covered = [k for _, _, ops in parts for k in range(ops.start, ops.stop)]
    assert covered == list(range(len(run.plan.operations.table)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_gathered_and_put_back(dtype: type) -> None:
    source = np.random.default_rng(0).normal(size=(32, 16)).astype(dtype)
    rows, base = np.array([0, 1, 8, 9]), 6
    buffer, target = np.zeros((4, 16), dtype), np.zeros_like(source)
    move(source, buffer, rows, base, True)
    assert np.array_equal(buffer, source[[6, 7, 14, 15]])
    move(buffer, target, rows, base, False)
    assert np.array_equal(target[[6, 7, 14, 15]], buffer)
    assert not np.delete(target, [6, 7, 14, 15], axis=0).any()
