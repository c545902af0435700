"""Every route of the native engine against the reference, Qiskit and itself on more threads."""

import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Pauli, Statevector
from torch import Tensor

from nisqkit.circuits import (
    AmplitudeInput,
    Observables,
    Program,
    Task,
    angle,
    hardware_efficient,
    lower,
    u3_cu3,
)
from nisqkit.hardware_backends.conformance import random_circuit, random_observables, random_task
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.native import backend as module
from nisqkit.hardware_backends.native.operations import ROUTES, routes
from nisqkit.hardware_backends.reference import ReferenceBackend

WIDE = 9
"""The only number of qubits that fits every route."""

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


def with_amplitudes(of: str, num_qubits: int = 3) -> Program:
    """Three amplitudes on the last and the first qubit, given by inputs or by weights."""
    circuit, a, b = QuantumCircuit(num_qubits), ParameterVector("a", 3), ParameterVector("b", 4)
    last = num_qubits - 1
    circuit.append(AmplitudeInput([a[0], a[1] - 0.5, a[0] * a[2]]), [last, 0])
    circuit.ry(b[0], 1)
    circuit.crx(b[1] + a[1], 1, last)
    circuit.cx(last, 0)
    circuit.rxx(b[2] * b[3], 0, 1)
    return lower(circuit, of)


@EVERY_ROUTE
@BOTH_DTYPES
@pytest.mark.parametrize("inputs", [None, "x", "w"])
def test_routes_run_every_gate(inputs: str | None, dtype: torch.dtype, route: str) -> None:
    program = lower(random_circuit(WIDE, 150, seed=3), inputs)
    given = task(program, random_observables(WIDE, 3), batch=3, dtype=dtype)
    assert_like_reference(given, 1e-11, NativeBackend(route=route))


@BOTH_DTYPES
@pytest.mark.parametrize(
    ("num_qubits", "route"), [(n, r) for n in (1, 2, 3, 5, 8, 11, 12) for r in routes(n)]
)
def test_routes_at_any_width(num_qubits: int, route: str, dtype: torch.dtype) -> None:
    program = lower(random_circuit(num_qubits, 60, seed=8), "x")
    given = task(program, random_observables(num_qubits, 3), batch=2, dtype=dtype)
    assert_like_reference(given, 1e-11, NativeBackend(route=route))


@EVERY_ROUTE
@BOTH_DTYPES
@pytest.mark.parametrize("batch", [0, 1, 3, 16, 17])
@pytest.mark.parametrize("probs", [False, True])
def test_routes_take_every_batch_size(
    probs: bool, batch: int, dtype: torch.dtype, route: str
) -> None:
    program = lower(random_circuit(WIDE, 40, seed=5), "x")
    outputs = Observables.parse("probs", WIDE) if probs else random_observables(WIDE, 2)
    given = task(program, outputs, batch, dtype=dtype)
    assert_like_reference(given, 1e-11, NativeBackend(route=route))


@EVERY_ROUTE
@pytest.mark.parametrize("layout", [list(range(WIDE)), [8, 3, 5, 0, 7, 1, 2, 6, 4]])
def test_probabilities_are_in_the_order_of_the_basis_states(layout: list[int], route: str) -> None:
    """Wherever CX, SWAP and exchanges have left the qubits; by Qiskit."""
    circuit = QuantumCircuit(WIDE)
    for k, q in enumerate(layout):
        circuit.ry(0.3 + 0.25 * k, q)
        circuit.cx(q, (q + 3) % WIDE)
        circuit.swap(q, (q + 1) % WIDE)
        circuit.rx(0.9 - 0.2 * k, (q + 1) % WIDE)
    given = task(lower(circuit), Observables.parse("probs", WIDE), batch=2)
    found = NativeBackend(route=route).run([given])[0].values.detach()
    assert_allclose(found, [Statevector(circuit).probabilities()] * 2, atol=1e-13)


@EVERY_ROUTE
@BOTH_DTYPES
def test_strings_with_ys_on_lanes_and_rows(dtype: torch.dtype, route: str) -> None:
    """Values by Qiskit, gradients by the reference; qubits 0 to 3 begin on the lanes."""
    strings = ["Y" * WIDE, "IIIIIIIIY", "YIIIIIIII", "XYZIIIYYX", "IIYYYIIYZ", "ZIZIIZYXI"]
    circuit = u3_cu3(WIDE, blocks=1)
    program = lower(circuit)
    given = task(program, Observables.parse(strings, WIDE), batch=1, dtype=dtype)
    values = dict(zip(program.weights, given.weights.tolist(), strict=True))
    state = Statevector(circuit.assign_parameters({p: values[p.name] for p in circuit.parameters}))
    expected = [state.expectation_value(Pauli(s)).real for s in strings]
    backend = NativeBackend(route=route)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    assert_allclose(backend.run([given])[0].values.detach()[0], expected, atol=tolerance)
    assert_like_reference(given, 1e-11, backend)


@EVERY_ROUTE
def test_adjoint_of_every_route_is_the_finite_difference(route: str) -> None:
    given = random_task(WIDE, seed=4, batch=2, num_gates=15)

    def values(x: Tensor, w: Tensor) -> Tensor:
        task = replace(given, inputs=x, weights=w)
        return NativeBackend(route=route).run([task])[0].values

    assert torch.autograd.gradcheck(values, (given.inputs, given.weights))


@EVERY_ROUTE
@BOTH_DTYPES
@pytest.mark.parametrize("probs", [False, True])
def test_threads_do_not_change_a_bit(probs: bool, dtype: torch.dtype, route: str) -> None:
    """Three tiles, the last of them not full, or 40 samples; enough work for three threads."""
    program = lower(random_circuit(WIDE, 150, seed=1), "x")
    outputs = Observables.parse("probs", WIDE) if probs else random_observables(WIDE, 9)
    given = task(program, outputs, batch=40, dtype=dtype)
    alone = results(given, NativeBackend(threads=1, route=route))
    for threads in (2, 3, None):
        again = results(given, NativeBackend(threads=threads, route=route))
        assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True))
    assert "nisqkit-native" in str(threading.enumerate())  # there were threads


@EVERY_ROUTE
@pytest.mark.parametrize("shots", [None, 10])
def test_an_empty_batch_is_no_special_case(shots: int | None, route: str) -> None:
    program = lower(u3_cu3(WIDE, 1))
    given = replace(task(program, random_observables(WIDE, 2), 0), shots=shots)
    result = NativeBackend(route=route).run([given])
    assert result[0].values.shape == (0, 4)
    assert (result[0].std is None) == (shots is None)


@EVERY_ROUTE
@pytest.mark.parametrize("num_qubits", [2, WIDE])
def test_no_gates(num_qubits: int, route: str) -> None:
    observables = Observables.parse(["Z" * num_qubits, "X" + "I" * (num_qubits - 1)], num_qubits)
    program = lower(QuantumCircuit(num_qubits))
    empty = Task(program, torch.zeros(3, 0), torch.zeros(0), observables)
    backend = NativeBackend(route=route)
    assert backend.run([empty])[0].values.tolist() == [[1, 0]] * 3
    assert_like_reference(empty, backend=backend)


@EVERY_ROUTE
@BOTH_DTYPES
@pytest.mark.parametrize("inputs", ["a", "b"])
@pytest.mark.parametrize("probs", [False, True])
def test_routes_take_amplitudes(probs: bool, inputs: str, dtype: torch.dtype, route: str) -> None:
    """On a qubit of the lanes and one of the rows."""
    outputs = Observables.parse("probs", WIDE) if probs else random_observables(WIDE, 4)
    program = with_amplitudes(inputs, WIDE)
    given = task(program, outputs, batch=17, dtype=dtype)
    assert_like_reference(given, backend=NativeBackend(route=route))


@EVERY_ROUTE
def test_backward_can_be_repeated(route: str) -> None:
    given = random_task(WIDE, seed=3)
    total = NativeBackend(route=route).run([given])[0].values.sum()
    first = torch.autograd.grad(total, given.weights, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(total, given.weights)[0])


@pytest.mark.parametrize(("num_qubits", "route"), [(3, None), *((9, r) for r in ROUTES)])
def test_shots_have_the_exact_mean(num_qubits: int, route: str | None) -> None:
    given = random_task(num_qubits, seed=5, batch=20)
    backend = NativeBackend(route=route)
    with torch.no_grad():
        exact = backend.run([given])[0].values
        sampled = backend.run([replace(given, shots=5000, seed=(1, 0, 0))])[0]
    assert sampled.std is not None
    score = (sampled.values - exact) / sampled.std
    assert float(score.abs().max()) < 5
    assert 0.6 < float((score**2).mean()) < 1.5


@pytest.mark.parametrize("route", routes(16))
@pytest.mark.parametrize("batch", [1, 20])
@pytest.mark.parametrize("probs", [None, "probs"])
def test_the_memory_that_is_checked_is_the_memory_that_is_used(
    batch: int, probs: str | None, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = lower(hardware_efficient(16, 1))
    given = task(program, Observables.parse(probs, 16), batch, dtype=torch.float32)
    backend = NativeBackend(threads=2, route=route)
    promises: list[int] = []
    backend.run([given])[0].values.sum().backward()  # loads the kernels
    monkeypatch.setattr(module, "check_memory", lambda _, needed: promises.append(needed))
    tracemalloc.start()
    backend.run([given])[0].values.sum().backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.4 * promises[0] < peak < 1.1 * promises[0]


@pytest.mark.parametrize(("num_qubits", "route"), [(3, None), *((9, r) for r in ROUTES)])
def test_samples_do_not_touch_each_other(num_qubits: int, route: str | None) -> None:
    """A sample that is not a number leaves its neighbours alone."""
    backend = NativeBackend(route=route)
    program = lower(angle(num_qubits).compose(u3_cu3(num_qubits, blocks=2)), "x")  # all affine
    given = task(program, random_observables(num_qubits, 2), batch=5)
    x = given.inputs.detach().clone()
    expected = backend.run([replace(given, inputs=x)])[0].values
    x[2] = np.nan
    found = backend.run([replace(given, inputs=x)])[0].values
    others = [0, 1, 3, 4]
    assert bool(found[2].isnan().all())
    torch.testing.assert_close(found[others], expected[others])


@pytest.mark.parametrize(
    ("num_qubits", "route"), [(1, "amplitudes"), (8, "amplitudes"), (1, "unitary"), (10, "unitary")]
)
def test_circuits_that_a_route_does_not_fit_run_on_samples(num_qubits: int, route: str) -> None:
    """The amplitudes route needs nine qubits; a unitary has two to nine."""
    program = lower(random_circuit(num_qubits, 20, seed=5), "x")
    given = task(program, random_observables(num_qubits, 2), batch=3)
    asked = NativeBackend(route=route)
    found, right = results(given, asked), results(given, NativeBackend(route="samples"))
    assert all(torch.equal(a, b) for a, b in zip(found, right, strict=True))
    assert "route           samples: " in asked.explain(given)


@EVERY_ROUTE
def test_explain_tells_the_route_that_is_taken(route: str) -> None:
    """Nine matrices on one qubit; CX gates move numbers where qubits are on the lanes."""
    given = task(lower(hardware_efficient(WIDE, 1)), Observables.parse(None, WIDE), batch=16)
    lines = NativeBackend(route=route).explain(given).splitlines()
    assert "batch 16, torch.float64" in lines[0]
    assert lines[1].startswith(f"route           {route}: ")
    assert "27, fused into 9 matrices on one qubit and 0 on two; " in lines[2]
    assert lines[2].endswith(f"{9 if route == 'amplitudes' else 0} CX and 0 CZ move data")
    if route == "amplitudes":
        assert f" {9 * 32 * 16 * 2**9:.3g} per training step" in lines[3]
    if route == "samples":  # a product state: the k-th matrix meets 2**k pairs of rows
        assert f" {32 * 16 * 2 * (2**9 - 1):.3g} per training step" in lines[3]
    if route != "unitary":
        assert lines[4] == "state           0.125 MiB, at any depth"
    assert lines[5].endswith(" ms per training step on one core")


@EVERY_ROUTE
@pytest.mark.parametrize("probs", [False, True])
def test_second_derivatives_of_every_route(probs: bool, route: str) -> None:
    """They are the reference's, and what they are taken of is what is found without them."""
    circuit, x, w = QuantumCircuit(WIDE), ParameterVector("x", 2), ParameterVector("w", 2)
    for q in range(WIDE):
        circuit.ry(x[q % 2] + 0.1 * q, q)
    circuit.crx(w[0], 0, 5)
    circuit.rxx(w[1], 5, 8)
    outputs = Observables.parse("probs" if probs else ["ZIIIIIIIX", "YIIZIIIIZ"], WIDE)
    given = task(lower(circuit, "x"), outputs, batch=2)
    parameters = [given.inputs, given.weights]

    def slopes(backend: NativeBackend | ReferenceBackend, again: bool) -> list[Tensor]:
        total = backend.run([given])[0].values.square().sum()
        first = torch.autograd.grad(total, parameters, create_graph=again)
        if not again:
            return list(first)
        second = torch.autograd.grad(torch.stack([g.sin().sum() for g in first]).sum(), parameters)
        return [*(g.detach() for g in first), *second]

    found = slopes(NativeBackend(route=route), True)
    right = slopes(ReferenceBackend(), True)
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-11)
        assert bool(other.any())
    for one, other in zip(slopes(NativeBackend(route=route), False), found[:2], strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-11)
