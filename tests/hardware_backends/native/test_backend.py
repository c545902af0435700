"""The native engine against the reference engine, finite differences and itself on more threads."""

import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

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
    amplitude,
    hardware_efficient,
    lower,
    u3_cu3,
)
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.lower import gate_class
from nisqkit.hardware_backends.conformance import random_circuit, random_observables, random_task
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.reference import ReferenceBackend

WIDE = 9
"""The only number of qubits that fits every route."""


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


@pytest.mark.parametrize("name", GATES)
def test_every_gate_on_every_pair_of_qubits(name: str) -> None:
    """With its angles as weights (one matrix for all samples) and as inputs (one per sample)."""
    record = GATES[name]
    places = [(q,) for q in range(3)]
    if record.num_qubits == 2:
        places = [(a, b) for a in range(3) for b in range(3) if a != b]
    for place in places:
        circuit, v = QuantumCircuit(3), ParameterVector("v", max(1, record.num_params))
        for q in range(3):
            circuit.ry(0.4 + 0.5 * q, q)
            circuit.rz(0.9 - 0.7 * q, q)
        circuit.append(gate_class(name)(*v[: record.num_params]), place)
        for inputs in (None, "v") if record.num_params else (None,):
            program = lower(circuit, inputs)
            assert_like_reference(task(program, random_observables(3, seed=1), batch=2))


@pytest.mark.parametrize("num_qubits", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("inputs", [None, "x", "w"])
def test_random_circuits(num_qubits: int, inputs: str | None) -> None:
    program = lower(random_circuit(num_qubits, 40, seed=8), inputs)
    assert_like_reference(task(program, random_observables(num_qubits, 3), batch=3), 1e-11)


@pytest.mark.parametrize("seed", range(3))
def test_adjoint_is_the_finite_difference(seed: int) -> None:
    given = random_task(3, seed, batch=2, num_gates=15)

    def values(x: Tensor, w: Tensor) -> Tensor:
        return NativeBackend().run([replace(given, inputs=x, weights=w)])[0].values

    assert torch.autograd.gradcheck(values, (given.inputs, given.weights))


@pytest.mark.parametrize("batch", [0, 1, 15, 16, 17, 33])
def test_every_batch_size(batch: int) -> None:
    program = lower(random_circuit(3, 20, seed=5), "x")
    assert_like_reference(task(program, random_observables(3, 2), batch), 1e-11)
    assert_like_reference(task(program, Observables.parse("probs", 3), batch), 1e-11)


HASHES = """
import hashlib, torch
from nisqkit.hardware_backends.conformance import random_task
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.native.operations import ROUTES

for route in ROUTES:
    task = random_task(9, seed=1, batch=3, num_gates=40, dtype=torch.float32)
    values = NativeBackend(threads=1, route=route).run([task])[0].values
    grads = torch.autograd.grad(values.square().sum(), [task.inputs, task.weights])
    print(*(hashlib.sha256(t.detach().numpy().tobytes()).hexdigest() for t in (values, *grads)))
"""


@pytest.mark.slow
def test_a_cold_cache_gives_the_same_bits(tmp_path: Path) -> None:
    """Slow (about 45 s), since everything is compiled anew in float32; then read from the cache.

    What is compiled together and what is linked from the cache may be inlined differently.
    """
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", HASHES]
    outputs = [subprocess.check_output(command, env=environment, timeout=300) for _ in range(2)]
    assert any(tmp_path.rglob("*.nbc"))
    assert outputs[0] == outputs[1] and len(outputs[0].split()) == 9


def test_no_weights_no_inputs_or_neither() -> None:
    circuit, v = QuantumCircuit(2), ParameterVector("v", 3)
    circuit.rx(v[0], 0)
    circuit.cu(v[1], v[2], 0.3, v[0] * v[1], 1, 0)
    for inputs in (None, "v"):
        assert_like_reference(task(lower(circuit, inputs), random_observables(2, 0), batch=3))
    assert_like_reference(
        task(lower(circuit.assign_parameters([0.1, 0.2, 0.3])), random_observables(2, 0), batch=3)
    )


def test_only_one_of_the_two_asks_for_a_gradient() -> None:
    given = random_task(3, seed=2)
    for one, other in (("inputs", "weights"), ("weights", "inputs")):
        half = replace(given, **{other: getattr(given, other).detach()})
        found, right = results(half, NativeBackend()), results(given, ReferenceBackend())
        torch.testing.assert_close(found[1], right[1 if one == "inputs" else 2])


@pytest.mark.parametrize("strings", [["Y"], ["YY", "XY"], ["YYY", "YIY", "XYZ"], ["YYYY", "YXYZ"]])
def test_strings_with_ys(strings: list[str]) -> None:
    """An odd number of Y has imaginary entries; values by Qiskit, gradients by the reference."""
    n = len(strings[0])
    circuit = u3_cu3(n, blocks=3)
    given = task(lower(circuit), Observables.parse(strings, n), batch=1)
    values = dict(zip(given.program.weights, given.weights.tolist(), strict=True))
    state = Statevector(circuit.assign_parameters({p: values[p.name] for p in circuit.parameters}))
    expected = [state.expectation_value(Pauli(s)).real for s in strings]
    assert_allclose(NativeBackend().run([given])[0].values.detach()[0], expected, atol=1e-12)
    assert_like_reference(given)


def test_gradients_of_probabilities() -> None:
    given = replace(random_task(3, seed=6), observables=Observables.parse("probs", 3))

    def values(x: Tensor, w: Tensor) -> Tensor:
        return NativeBackend().run([replace(given, inputs=x, weights=w)])[0].values

    assert torch.autograd.gradcheck(values, (given.inputs, given.weights))
    total = values(given.inputs, given.weights).sum()
    (slope,) = torch.autograd.grad(total, given.weights)
    assert_allclose(slope, torch.zeros_like(slope), atol=1e-14)  # they always sum to one


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


@pytest.mark.parametrize("inputs", ["a", "b"])
@pytest.mark.parametrize("observables", [random_observables(3, 4), Observables.parse("probs", 3)])
def test_amplitudes_as_inputs_and_as_weights(inputs: str, observables: Observables) -> None:
    given = task(with_amplitudes(inputs), observables, batch=18)
    assert_like_reference(given)
    few = replace(given, inputs=given.inputs[:2].detach().requires_grad_())

    def values(x: Tensor, w: Tensor) -> Tensor:
        return NativeBackend().run([replace(few, inputs=x, weights=w)])[0].values

    assert torch.autograd.gradcheck(values, (few.inputs, few.weights))


@pytest.mark.parametrize(
    "program",
    [
        lower(random_circuit(2, 6, seed=1), "x"),
        with_amplitudes("a"),
        with_amplitudes("b"),
        lower(amplitude(2)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("probs", [False, True])
def test_second_derivatives(program: Program, probs: bool) -> None:
    n = program.num_qubits
    observables = Observables.parse("probs" if probs else "XYZ"[:n], n)
    given = task(program, observables, batch=2)

    def values(x: Tensor, w: Tensor) -> Tensor:
        return NativeBackend().run([replace(given, inputs=x, weights=w)])[0].values

    wanted = [t for t in (given.inputs, given.weights) if t.numel()]
    assert torch.autograd.gradgradcheck(values, (given.inputs, given.weights))
    # gradgradcheck takes the first derivative as it finds it, by the reference engine
    total = values(given.inputs, given.weights).square().sum()
    adjoint = torch.autograd.grad(total, wanted, retain_graph=True)
    differentiable = torch.autograd.grad(total, wanted, create_graph=True)
    for one, other in zip(adjoint, differentiable, strict=True):
        torch.testing.assert_close(one, other.detach())


@pytest.mark.parametrize("num_qubits", [4, 9])
def test_float32_does_not_drift(num_qubits: int) -> None:
    """200 layers, un-applied gate by gate for the gradient: 1e-6 is about ten roundings."""
    layers = 200 if num_qubits == 4 else 60
    program = lower(hardware_efficient(num_qubits, layers))
    given = task(program, random_observables(num_qubits, 0), batch=1)
    x, w = (t.detach().float().requires_grad_() for t in (given.inputs, given.weights))
    exact = results(replace(given, weights=w.detach().double().requires_grad_()), NativeBackend())
    found = results(replace(given, inputs=x, weights=w), NativeBackend())
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0].double(), exact[0], atol=3e-6, rtol=0)
    torch.testing.assert_close(found[2].double(), exact[2], atol=1e-5, rtol=0)


def test_too_many_qubits_are_refused_before_anything_is_allocated() -> None:
    program = lower(hardware_efficient(44, 1))
    given = Task(program, torch.zeros(1, 0), torch.zeros(88), Observables.parse(None, 44))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"a state of 44 qubits for this batch takes 3.93e.05 GiB"):
        NativeBackend(threads=1).run([given])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_forked_process_has_threads_of_its_own() -> None:
    """Data loaders and search workers fork; the parent's threads do not come along."""
    given = random_task(WIDE, seed=0, batch=40, num_gates=150)  # worth two threads
    backend = NativeBackend(threads=2)
    backend.run([given])
    assert "nisqkit-native" in str(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of exactly this
        child = os.fork()
    if child == 0:
        code = 1
        try:
            backend.run([given])
            code = 7
        finally:
            os._exit(code)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 7
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the forked process hangs")


def test_default_threads_on_systems_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    given = random_task(2, seed=0, batch=20)
    expected = NativeBackend().run([given])[0].values
    monkeypatch.delattr(os, "sched_getaffinity")
    assert torch.equal(NativeBackend().run([given])[0].values, expected)


def test_errors() -> None:
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        NativeBackend(threads=0)
    with pytest.raises(
        ValueError, match="one of samples, unitary, amplitudes or None, got 'amplitude'"
    ):
        NativeBackend(route="amplitude")
    program, observables = lower(hardware_efficient(2, 1)), Observables.parse(None, 2)
    meta = Task(program, torch.zeros(1, 0, device="meta"), torch.zeros(4), observables)
    message = (
        "runs on the CPU, but the inputs are on meta; move the layer to the CPU or use backend"
    )
    with pytest.raises(ValueError, match=message):
        NativeBackend().run([meta])
    half = Task(program, torch.zeros(1, 0).half(), torch.zeros(4).half(), observables)
    with pytest.raises(ValueError, match=r"in float32 or float64, not in torch.float16; use layer"):
        NativeBackend().run([half])
