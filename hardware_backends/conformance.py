"""The conformance test that every backend passes; run it on your own with `check_backend`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterExpression, ParameterVector
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import random_unitary
from torch import Tensor

from nisqkit.circuits.encoders import amplitude
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.lower import gate_class, lower
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.reference import ReferenceBackend
from nisqkit.hardware_backends.registry import get_backend


def random_circuit(num_qubits: int, num_gates: int, seed: int) -> QuantumCircuit:
    """A random circuit over the whole gate table, with inputs ``x`` and weights ``w``.

    Angles are constants, parameters (some shared by several gates), affine expressions and
    products, sines and squares of parameters. It begins with different rotations on every qubit,
    so that no qubit is like another.

    Example:
        >>> circuit = random_circuit(3, num_gates=20, seed=0)
        >>> sorted({p.name[0] for p in circuit.parameters})
        ['w', 'x']
    """
    rng = np.random.default_rng([seed, num_qubits])
    x, w = ParameterVector("x", 3), ParameterVector("w", 4)

    def angle() -> ParameterExpression | float:
        a, b = x[int(rng.integers(3))], w[int(rng.integers(4))]
        c = float(rng.uniform(-2, 2))
        forms = [c, a, b, a, b, c * a + 0.3, b - a, a * b, (c * b).sin(), a * a, (b * c + a).cos()]
        return forms[int(rng.integers(len(forms)))]

    circuit = QuantumCircuit(num_qubits)
    for q in range(num_qubits):
        circuit.ry(0.4 + 0.3 * q + x[q % 3], q)
        circuit.rz(0.7 * w[q % 4] - 0.2 * q, q)
    names = [name for name, g in GATES.items() if g.num_qubits <= num_qubits]
    for _ in range(num_gates):
        name = str(rng.choice([*names, "unitary"]))
        if name == "unitary":
            size = int(rng.integers(1, min(num_qubits, 2) + 1))
            gate = UnitaryGate(random_unitary(2**size, seed=int(rng.integers(2**31))))
        else:
            size = GATES[name].num_qubits
            gate = gate_class(name)(*(angle() for _ in range(GATES[name].num_params)))
        circuit.append(gate, rng.choice(num_qubits, size, replace=False).tolist())
    return circuit


def random_observables(num_qubits: int, seed: int) -> Observables:
    """Four Pauli sums that single out every qubit and mix measurement bases."""
    rng = np.random.default_rng([seed, num_qubits, 1])
    sums = []
    for _ in range(4):
        strings = {"".join(rng.choice(list("IXYZ"), num_qubits)) for _ in range(3)}
        sums.append(tuple((s, float(rng.uniform(-1, 1))) for s in sorted(strings)))
    return Observables(num_qubits, tuple(sums))


def random_task(
    num_qubits: int,
    seed: int,
    *,
    batch: int = 3,
    num_gates: int = 12,
    dtype: torch.dtype = torch.float64,
) -> Task:
    """A task on a random circuit, whose inputs and weights ask for gradients."""
    program = lower(random_circuit(num_qubits, num_gates, seed), inputs="x")
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, len(program.inputs), generator=random, dtype=torch.float64) * 2 - 1
    w = torch.rand(len(program.weights), generator=random, dtype=torch.float64) * 2 - 1
    return Task(
        program,
        x.to(dtype).requires_grad_(),
        w.to(dtype).requires_grad_(),
        random_observables(num_qubits, seed),
    )


def _gradients(task: Task, values: Tensor) -> tuple[Tensor, Tensor]:
    mix = torch.linspace(0.3, 1.7, values.numel(), dtype=values.dtype).reshape(values.shape)
    found = torch.autograd.grad(
        (mix * values).sum(), [task.inputs, task.weights], materialize_grads=True
    )
    return found[0], found[1]


def _close(what: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    gap = float((found - expected).detach().abs().max()) if found.numel() else 0.0
    if not gap <= tolerance:
        raise AssertionError(f"{what}: differs from the reference by {gap:.3g} > {tolerance:g}")


def check_values_and_gradients(backend: Backend) -> None:
    """Exact values and gradients on random circuits, in both precisions, all tasks in one call."""
    if not backend.exact:
        return
    for dtype, value_gap, gradient_gap in (
        (torch.float32, 1e-5, 1e-4),
        (torch.float64, 1e-10, 1e-8),
    ):
        sizes = ((1, 1), (2, 3), (3, 1), (4, 2))
        tasks = [random_task(n, seed=n, batch=b, dtype=dtype) for n, b in sizes]
        results = execute(tasks, Execution(backend))
        for task, result in zip(tasks, results, strict=True):
            expected = ReferenceBackend().run([task])[0].values
            what = f"{task.program.num_qubits} qubits, batch {task.batch}, {dtype}"
            if result.values.dtype != dtype:
                raise AssertionError(f"{what}: the values are {result.values.dtype}")
            _close(f"values, {what}", result.values, expected, value_gap)
            pairs = zip(_gradients(task, result.values), _gradients(task, expected), strict=True)
            for name, (found, right) in zip(("inputs", "weights"), pairs, strict=True):
                _close(f"gradient of the {name}, {what}", found, right, gradient_gap)


def check_probabilities(backend: Backend) -> None:
    """Probabilities sum to one, and qubit 0 is the least significant bit."""
    if not backend.exact:
        return
    circuit = QuantumCircuit(3)
    circuit.x(0)
    circuit.ry(0.5, 2)
    empty = torch.zeros(1, 0, dtype=torch.float64)
    task = Task(lower(circuit), empty, empty[0], Observables.parse("probs", 3))
    expected = torch.zeros(1, 8, dtype=torch.float64)
    expected[0, 0b001], expected[0, 0b101] = np.cos(0.25) ** 2, np.sin(0.25) ** 2
    _close("probabilities", backend.run([task])[0].values, expected, 1e-10)


def check_amplitude_input(backend: Backend) -> None:
    """Amplitudes are normalised, signed, and in Qiskit's order; their gradients are right."""
    if not backend.exact:
        return
    circuit = amplitude(7)
    circuit.cx(2, 0)
    circuit.ry(0.7, 1)
    x = torch.tensor([[0.1, -0.9, 0.3, 0.5, 0.0, -0.2, 0.8]], dtype=torch.float64)
    w = x.new_zeros(0).requires_grad_()
    task = Task(lower(circuit, "x"), x.requires_grad_(), w, random_observables(3, 5))
    values = execute([task], Execution(backend))[0].values
    expected = ReferenceBackend().run([task])[0].values
    _close("values of an amplitude input", values, expected, 1e-9)
    _close(
        "gradient of an amplitude input",
        _gradients(task, values)[0],
        _gradients(task, expected)[0],
        1e-8,
    )


def check_shots(backend: Backend) -> None:
    """Sampled values lie within five standard errors of the exact ones; the errors are right."""
    tasks = [
        replace(random_task(n, seed=n, batch=8), shots=2000, seed=(7, n, 0)) for n in (1, 2, 3)
    ]
    tasks.append(replace(tasks[-1], observables=Observables.parse("probs", 3)))
    with torch.no_grad():
        results = backend.run(tasks)
        exact = ReferenceBackend().run([replace(t, shots=None) for t in tasks])
    scores = []
    for task, result, right in zip(tasks, results, exact, strict=True):
        what = f"shots, {task.program.num_qubits} qubits"
        if result.std is None or result.std.shape != result.values.shape:
            raise AssertionError(f"{what}: std must have the shape of the values")
        gap = (result.values - right.values).abs()
        if bool((gap > 5 * result.std + 5e-3).any()):
            raise AssertionError(f"{what}: a value is more than 5 standard errors away")
        scores.append((gap / result.std.clamp_min(1e-3)).flatten())
    mean_square = float((torch.cat(scores) ** 2).mean())
    if not 0.5 < mean_square < 2.0:
        raise AssertionError(f"the standard errors are wrong: mean square score {mean_square:.2f}")


def check_seeds(backend: Backend) -> None:
    """Equal seeds give equal samples, other steps give others; batch neighbours play no part."""
    if not backend.seeded:
        return
    task = replace(random_task(2, seed=3, batch=4), shots=100, seed=(1, 2, 3))
    with torch.no_grad():
        first, again = (backend.run([task])[0].values for _ in range(2))
        other = backend.run([replace(task, seed=(1, 3, 3))])[0].values
        alone = backend.run([replace(task, inputs=task.inputs[:1])])[0].values
    if not torch.equal(first, again):
        raise AssertionError("the same seed gave other samples")
    if torch.equal(first, other):
        raise AssertionError("another step gave the same samples")
    if not torch.equal(first[:1], alone):
        raise AssertionError("a sample's shots depend on the rest of its batch")


def check_contract(backend: Backend) -> None:
    """It has a name, and `run` gives a result per task: a row per sample, a column per output.

    This comes first: the other checks would fail on it with errors that do not say why.
    """
    name = getattr(backend, "name", None)
    if not isinstance(name, str) or not name:
        raise AssertionError(
            f"{type(backend).__name__} has no name: define name = '...', as in backend='...'"
        )
    tasks = [replace(random_task(n, seed=n, batch=n + 1), shots=50, seed=(7, n, 0)) for n in (1, 2)]
    if backend.exact:
        tasks += [replace(task, shots=None) for task in tasks]
    with torch.no_grad():
        results = backend.run(tasks)
    if not isinstance(results, list) or len(results) != len(tasks):
        given = f"{len(results)} results" if isinstance(results, list) else type(results).__name__
        raise AssertionError(
            f"run gave {given} for {len(tasks)} tasks: return a list, one for each"
        )
    for task, result in zip(tasks, results, strict=True):
        if not isinstance(result, Result):
            raise AssertionError(f"run gave a {type(result).__name__}: return a list of Result")
        wanted = (task.batch, task.observables.num_outputs)
        shape = tuple(getattr(result.values, "shape", ()))
        if shape != wanted:
            raise AssertionError(
                f"values has shape {shape}, not (batch, num_outputs) = {wanted}, with "
                f"shots={task.shots}"
            )


CHECKS: tuple[Callable[[Backend], None], ...] = (
    check_contract,
    check_values_and_gradients,
    check_probabilities,
    check_amplitude_input,
    check_shots,
    check_seeds,
)
"""All checks; each takes a backend and raises an AssertionError that says what is wrong."""


def check_backend(backend: Backend | str | Any) -> None:
    """Run every check on a backend.

    Args:
        backend: A `Backend`, or what `get_backend` makes one of: a name, a Qiskit V2 primitive.

    Raises:
        AssertionError: Says which property does not hold, and by how much.
        TypeError: Something that is no backend, or a class in place of an object.
        ValueError: An unknown name.

    Example:
        >>> from nisqkit.hardware_backends.native import NativeBackend
        >>> check_backend(NativeBackend())
    """
    if isinstance(backend, type):
        raise TypeError(f"check_backend takes an object: pass {backend.__name__}(), not the class")
    found = get_backend(backend)
    for check in CHECKS:
        check(found)
