"""Dividing work among threads, and the states that a run leaves."""

import itertools
import threading
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Operator, Statevector

from nisqkit.circuits import AmplitudeInput, Observables, angle, lower, u3_cu3
from nisqkit.hardware_backends.conformance import random_circuit, random_observables
from nisqkit.hardware_backends.native.operations import ROUTES
from nisqkit.hardware_backends.native.plan import plan
from nisqkit.hardware_backends.native.run import SMALL_WORK, Run, divide


@pytest.mark.parametrize("work", [None, 0, SMALL_WORK - 1, SMALL_WORK, 2.5 * SMALL_WORK, 1e12])
def test_every_unit_is_run_once(work: float | None) -> None:
    for units, workers in itertools.product(range(20), range(1, 8)):
        done: list[int] = []
        divide(lambda first, last: done.extend(range(first, last)), units, workers, work)  # noqa: B023
        assert sorted(done) == list(range(units))


@pytest.mark.parametrize(
    ("units", "workers", "work", "parts"),
    [
        (10, 4, None, 4),
        (3, 4, None, 3),  # no more parts than units
        (10, 1, None, 1),
        (10, 4, SMALL_WORK - 1, 1),  # not worth a second thread
        (10, 4, SMALL_WORK, 2),
        (10, 4, 2.9 * SMALL_WORK, 3),
        (10, 4, 1e12, 4),
    ],
)
def test_parts_are_even_and_worth_a_thread(
    units: int, workers: int, work: float | None, parts: int
) -> None:
    sizes: list[int] = []
    divide(lambda first, last: sizes.append(last - first), units, workers, work)
    assert len(sizes) == parts
    assert max(sizes) - min(sizes) <= 1


def test_the_caller_works_too() -> None:
    """With three workers, two more threads are woken."""
    names: list[str] = []
    barrier = threading.Barrier(3, timeout=10)  # all three parts run at once

    def part(first: int, last: int) -> None:
        barrier.wait()
        names.append(threading.current_thread().name)

    divide(part, 3, 3)
    assert threading.current_thread().name in names
    assert sum(name.startswith("nisqkit-native") for name in names) == 2


def test_an_error_on_another_thread_is_raised() -> None:
    def part(first: int, last: int) -> None:
        if first > 0:
            raise ZeroDivisionError("in the second part")

    with pytest.raises(ZeroDivisionError, match="in the second part"):
        divide(part, 2, 2)


@pytest.mark.parametrize(
    ("num_qubits", "route"),
    [(4, "samples"), (4, "unitary"), (9, "samples"), (9, "unitary"), (9, "amplitudes")],
)
def test_the_final_states_are_qiskits(num_qubits: int, route: str) -> None:
    """Each where the plan says, for each sample."""
    circuit = random_circuit(num_qubits, 40, seed=3)
    program = lower(circuit, "x")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, len(program.inputs))), rng.normal(size=len(program.weights))
    made = plan(program, Observables.parse("probs", num_qubits), route)
    assert not made.affine  # so the run takes angles
    assert made.operations.route == route
    shared, own = program.split_angles(torch.tensor(x), torch.tensor(w))
    run = Run(made, own.numpy(), shared.numpy(), workers=1)
    run.forward()
    state = run.states[0] + 1j * run.states[1]
    assert run.units == len(state) == (3 if route == "amplitudes" else 1)
    for b in range(3):
        values = dict(zip((*program.inputs, *program.weights), (*x[b], *w), strict=True))
        bound = circuit.assign_parameters({p: values[p.name] for p in circuit.parameters})
        memory = state[b].ravel() if route == "amplitudes" else state[0, :, b]
        found, right = memory[made.places], Statevector(bound).data
        assert abs(np.vdot(right, found)) == pytest.approx(1, abs=1e-12)
        assert_allclose(abs(found), abs(right), atol=1e-13)


@pytest.mark.parametrize("num_qubits", [2, 3, 4, 5])
def test_the_unitary_is_qiskits(num_qubits: int) -> None:
    """All of the circuit, column by column: the samples are the basis states."""
    size = 2**num_qubits
    rest = random_circuit(num_qubits, 40, seed=1)
    circuit, a = QuantumCircuit(num_qubits), ParameterVector("a", size)
    circuit.append(AmplitudeInput(list(a)), range(num_qubits))
    values = np.random.default_rng(0).normal(size=rest.num_parameters)
    rest = rest.assign_parameters(values)
    program = lower(circuit.compose(rest), "a")
    made = plan(program, Observables.parse("probs", num_qubits), "unitary")
    assert made.operations.route == "unitary" and made.operations.split == 0
    shared, own = program.split_angles(
        torch.eye(size, dtype=torch.float64), torch.zeros(0).double()
    )
    run = Run(made, own.numpy(), shared.numpy(), workers=1)
    run.forward()
    state = (run.states[0] + 1j * run.states[1]).transpose(1, 0, 2).reshape(size, -1)
    found, right = state[made.places, :size], Operator(rest).data
    overlap = np.vdot(found, right)
    assert abs(overlap) == pytest.approx(size)
    assert_allclose(found * overlap / abs(overlap), right, atol=1e-12)


def reuploading(num_qubits: int, weighted: bool) -> QuantumCircuit:
    """Inputs, gates of weights, inputs again; ``weighted``: an angle adds an input and a weight."""
    circuit, x = QuantumCircuit(num_qubits), ParameterVector("x", num_qubits)
    w = ParameterVector("w", 2 * num_qubits)
    for layer in range(2):
        for q in range(num_qubits):
            circuit.ry(x[q] + 0.5 * w[q] if weighted and q % 3 == 1 else x[q], q)
        for q in range(num_qubits):
            circuit.crx(w[layer * num_qubits + q], q, (q + 1) % num_qubits)
    return circuit


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("circuit", "weighted"),
    [
        (angle(9).compose(u3_cu3(9, 1)), False),
        (reuploading(9, weighted=False), False),
        (reuploading(9, weighted=True), True),
    ],
    ids=["encoder", "reuploading", "weighted"],
)
def test_weights_need_no_gradients_of_inputs(
    circuit: QuantumCircuit, weighted: bool, dtype: Any, route: str
) -> None:
    """What is left out changes no bit of the weights' gradient."""
    program = lower(circuit, "x")
    made = plan(program, random_observables(9, 1), route)
    assert made.affine and made.own_weighted == weighted and made.operations.route == route
    rng = np.random.default_rng(0)
    x = rng.normal(size=(17, len(program.inputs))).astype(dtype)
    w = rng.normal(size=len(program.weights)).astype(dtype)
    run = Run(made, x, w, workers=1)
    grad = rng.normal(size=run.forward().shape).astype(dtype)
    g_inputs, g_weights = run.backward(grad)
    assert np.array_equal(run.backward(grad, inputs_wanted=False)[1], g_weights)
    assert g_weights.all() and g_inputs.all()
    again = run.backward(grad)  # nothing was used up
    assert np.array_equal(again[0], g_inputs) and np.array_equal(again[1], g_weights)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("of", ["a", "b"])
def test_amplitudes_need_all_un_applied(of: str, route: str) -> None:
    """Their gradients, those of weights here, come from the very beginning."""
    circuit, a, b = QuantumCircuit(9), ParameterVector("a", 2), ParameterVector("b", 9)
    circuit.append(AmplitudeInput([a[0], a[1]]), [8])
    for q in range(9):
        circuit.rx(b[q], q)
        circuit.cx(q, (q + 1) % 9)
    program = lower(circuit, of)
    made = plan(program, random_observables(9, 1), route)
    x = torch.rand(3, len(program.inputs), dtype=torch.float64) + 0.5
    w = torch.rand(len(program.weights), dtype=torch.float64) + 0.5
    shared, own = program.split_angles(x, w)
    run = Run(made, own.numpy(), shared.numpy(), workers=1)
    grad = np.ones_like(run.forward())
    g_inputs, g_weights = run.backward(grad)
    assert np.array_equal(run.backward(grad, inputs_wanted=False)[1], g_weights)
    assert g_weights.any() and g_inputs.any()


@pytest.mark.parametrize("route", ROUTES)
def test_backward_leaves_the_states_alone(route: str) -> None:
    program = lower(reuploading(9, weighted=True), "x")
    made = plan(program, Observables.parse(None, 9), route)
    run = Run(made, np.ones((17, 9)), np.ones(18), workers=2)
    grad = np.ones_like(run.forward())
    before = run.states.copy()
    run.backward(grad)
    assert np.array_equal(run.states, before) and before.any()
