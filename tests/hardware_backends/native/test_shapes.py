"""Circuits that begin as product states or not, and whose shared gates can be moved or not."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from torch import Tensor

from nisqkit.circuits import Observables, Program, Task, lower
from nisqkit.hardware_backends.conformance import random_observables
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.native.operations import ROUTES
from nisqkit.hardware_backends.native.plan import plan
from nisqkit.hardware_backends.reference import ReferenceBackend

WIDE = 9
"""The only number of qubits that fits every route."""

Parameters = Sequence[Parameter]
Write = Callable[[QuantumCircuit, Parameters, Parameters], None]

EVERY_ROUTE = pytest.mark.parametrize("route", ROUTES)
BOTH_DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64) * 4 - 2


def task(
    program: Program,
    observables: Observables,
    batch: int,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Task:
    """A task at random inputs and weights that ask for gradients."""
    x = numbers(batch, len(program.inputs), seed=seed).to(dtype).requires_grad_()
    w = numbers(len(program.weights), seed=seed + 1).to(dtype).requires_grad_()
    return Task(program, x, w, observables)


def results(given: Task, backend: NativeBackend | ReferenceBackend) -> list[Tensor]:
    """Values, and gradients of a random mixture of them."""
    values = backend.run([given])[0].values
    mix = numbers(*values.shape, seed=7).to(values.dtype)
    wanted = [t for t in (given.inputs, given.weights) if t.requires_grad]
    if not values.requires_grad:
        return [values]
    grads = torch.autograd.grad((mix * values).sum(), wanted, materialize_grads=True)
    return [values.detach(), *grads]


def in_double(given: Task) -> Task:
    """The same numbers in float64, which ask for the same gradients."""
    x, w = (
        t.detach().double().requires_grad_(t.requires_grad) for t in (given.inputs, given.weights)
    )
    return replace(given, inputs=x, weights=w)


def assert_like_reference(
    given: Task, tolerance: float = 1e-12, backend: NativeBackend | None = None
) -> None:
    """Values and gradients against the reference in float64; float32 may lose two digits."""
    dtype = given.inputs.dtype
    tolerance = tolerance if dtype == torch.float64 else 2e-5
    found = results(given, backend or NativeBackend())
    right = results(in_double(given), ReferenceBackend())
    for one, other in zip(found, right, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), other, atol=tolerance, rtol=tolerance)


def ring(circuit: QuantumCircuit, w: Parameters, first: int = 0) -> None:
    """Trained two-qubit gates around the circle."""
    for q in range(WIDE):
        circuit.crx(w[(first + q) % len(w)], (first + q) % WIDE, (first + q + 1) % WIDE)


def product_state(circuit: QuantumCircuit, w: Parameters, x: Parameters) -> None:
    """Every other matrix is the samples' own; gates that are alike share a group."""
    for q in range(WIDE):
        circuit.ry(x[q] if q % 2 else w[q], q)
        circuit.rz(x[q - 1] if q % 2 else w[q] + 0.3, q)
    for q in range(WIDE - 1):
        circuit.cx(q, q + 1)
    ring(circuit, w)


def some_qubits(circuit: QuantumCircuit, w: Parameters, x: Parameters) -> None:
    """A product state on qubits 0 and 1; qubit 2 begins with a gate on two."""
    circuit.ry(w[0], 0)
    circuit.ry(x[0], 1)
    circuit.cx(2, 3)
    for q in range(WIDE):
        circuit.rx(x[q], q)
        circuit.ry(w[q], q)
    circuit.cx(1, 0)
    ring(circuit, w, 2)


def no_qubits(circuit: QuantumCircuit, w: Parameters, x: Parameters) -> None:
    circuit.rxx(x[0], 0, 1)
    for q in range(WIDE):
        circuit.ry(w[q], q)
    circuit.cz(0, 8)
    ring(circuit, w, 5)


def movable(circuit: QuantumCircuit, w: Parameters, x: Parameters) -> None:
    """Shared gates before own ones on other qubits, on the same, and behind a CX between them."""
    ring(circuit, w)
    circuit.rx(x[0], 3)
    circuit.crz(w[1], 5, 6)
    circuit.cx(3, 5)
    circuit.ry(w[2], 7)
    circuit.rxx(x[1], 6, 8)
    circuit.crx(w[3], 0, 1)
    circuit.rz(x[2], 1)
    circuit.swap(1, 4)
    ring(circuit, w, 4)
    circuit.ry(x[3], 4)
    circuit.h(4)


def last(circuit: QuantumCircuit, w: Parameters, x: Parameters) -> None:
    """Own matrices on all qubits at the end: nothing but CX gates can come after them."""
    ring(circuit, w)
    for q in range(WIDE):
        circuit.rx(x[q], q)
    circuit.cx(0, 8)


def weighted(circuit: QuantumCircuit, w: Parameters, x: Parameters) -> None:
    """An own matrix reads weights too, here in a product."""
    for q in range(WIDE):
        circuit.ry(w[q] * x[q] if q % 2 else x[q] + w[0], q)
    ring(circuit, w)
    circuit.crz(w[1] * x[1], 0, 1)
    circuit.rx(w[2], 0)


SHAPES: dict[Write, tuple[int, bool]] = {
    product_state: (9, True),
    some_qubits: (2, True),
    no_qubits: (0, True),
    movable: (0, True),
    last: (0, False),
    weighted: (9, True),
}
"""Matrices of the product state at the beginning; if matrices are left for the unitary."""


def shaped(write: Write) -> Program:
    circuit = QuantumCircuit(WIDE)
    write(circuit, list(ParameterVector("w", WIDE)), list(ParameterVector("x", WIDE)))
    return lower(circuit, "x")


@EVERY_ROUTE
@BOTH_DTYPES
@pytest.mark.parametrize("write", SHAPES)
def test_product_states_and_what_moves_behind_own_matrices(
    write: Write, dtype: torch.dtype, route: str
) -> None:
    program = shaped(write)
    observables = random_observables(WIDE, 6)
    made = plan(program, observables, route)
    starts, left = SHAPES[write]
    assert made.schedule.starts == starts
    if route == "unitary":
        assert made.operations.route == route and bool(len(made.operations.tail)) == left
    given = task(program, observables, batch=18, dtype=dtype)
    assert_like_reference(given, 1e-11, NativeBackend(route=route))


@EVERY_ROUTE
@BOTH_DTYPES
@pytest.mark.parametrize("write", [product_state, movable, weighted])
def test_only_one_of_the_two_asks_for_a_gradient(
    write: Write, dtype: torch.dtype, route: str
) -> None:
    """Then what the other needs may be left out, and changes no bit."""
    given = task(shaped(write), random_observables(WIDE, 6), batch=17, dtype=dtype)
    backend = NativeBackend(route=route)
    values, g_inputs, g_weights = results(given, backend)
    for half, right in (
        (replace(given, inputs=given.inputs.detach()), g_weights),
        (replace(given, weights=given.weights.detach()), g_inputs),
    ):
        again, found = results(half, backend)
        assert torch.equal(again, values) and torch.equal(found, right) and bool(right.any())


@EVERY_ROUTE
@pytest.mark.parametrize("write", [movable, weighted])
@pytest.mark.parametrize("batch", [3, 40])
def test_threads_do_not_change_a_bit_of_any_shape(batch: int, write: Write, route: str) -> None:
    given = task(shaped(write), random_observables(WIDE, 9), batch, dtype=torch.float32)
    alone = results(given, NativeBackend(threads=1, route=route))
    for threads in (2, 3):
        again = results(given, NativeBackend(threads=threads, route=route))
        assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True))
