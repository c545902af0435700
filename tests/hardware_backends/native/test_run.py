"""Dividing work among threads, and the states that a run leaves."""

import itertools
import threading

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit.quantum_info import Statevector

from nisqkit.circuits import Observables, lower
from nisqkit.hardware_backends.conformance import random_circuit
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
    ("num_qubits", "route"), [(4, "samples"), (9, "samples"), (9, "amplitudes")]
)
def test_the_final_states_are_qiskits(num_qubits: int, route: str) -> None:
    """Each where the plan says, for each sample."""
    circuit = random_circuit(num_qubits, 40, seed=3)
    program = lower(circuit, "x")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, len(program.inputs))), rng.normal(size=len(program.weights))
    made = plan(program, Observables.parse("probs", num_qubits), route)
    assert not made.affine  # so the run takes angles
    shared, own = program.split_angles(torch.tensor(x), torch.tensor(w))
    run = Run(made, own.numpy(), shared.numpy(), workers=1)
    run.forward()
    state = run.re + 1j * run.im
    for b in range(3):
        values = dict(zip((*program.inputs, *program.weights), (*x[b], *w), strict=True))
        bound = circuit.assign_parameters({p: values[p.name] for p in circuit.parameters})
        memory = state[0, :, b] if route == "samples" else state[b].ravel()
        found, right = memory[made.places], Statevector(bound).data
        assert abs(np.vdot(right, found)) == pytest.approx(1, abs=1e-12)
        assert_allclose(abs(found), abs(right), atol=1e-13)
    assert run.units == (1 if route == "samples" else 3)
    assert run.work == run.units * made.operations.work
