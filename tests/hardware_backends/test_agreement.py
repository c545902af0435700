"""200 random circuits: all engines, PennyLane and Qiskit agree on values and gradients.

PennyLane and Qiskit get the original circuit, not our lowering. ``pytest -s`` on this file prints
which gates were covered and how many gradients were not zero.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from nisqkit.circuits import Task, lower
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.pennylane_io import to_pennylane, to_pennylane_observable
from nisqkit.hardware_backends import Backend
from nisqkit.hardware_backends.conformance import random_circuit, random_observables
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.reference import ReferenceBackend
from nisqkit.hardware_backends.torch_engine import TorchBackend

qp = pytest.importorskip("pennylane")

covered: Counter[str] = Counter()
gradients: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def report() -> Iterator[None]:
    yield
    print(f"\n{len(covered)} of {len(GATES) + 1} gates covered: {dict(covered.most_common())}")
    print(f"gradients: {gradients['not zero']} not zero, {gradients['zero']} zero")


def problem(seed: int) -> tuple[QuantumCircuit, Task]:
    num_qubits, batch = 1 + seed % 6, (1, 7)[seed % 2]
    circuit = random_circuit(num_qubits, num_gates=10, seed=seed)
    program = lower(circuit, inputs="x")
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.uniform(-1, 1, (batch, len(program.inputs))))
    w = torch.from_numpy(random.uniform(-1, 1, len(program.weights)))
    return circuit, Task(program, x, w, random_observables(num_qubits, seed))


def outputs_and_gradients(task: Task, backend: Backend, dtype: torch.dtype) -> list[torch.Tensor]:
    """Outputs of the batch, and the gradients of the first sample's mixed outputs."""
    x = task.inputs.to(dtype, copy=True).requires_grad_()
    w = task.weights.to(dtype, copy=True).requires_grad_()
    values = backend.run([replace(task, inputs=x, weights=w)])[0].values
    assert values.dtype == dtype
    return with_gradients(values, x, w)


def with_gradients(values: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> list[torch.Tensor]:
    loss = (values[0] * mix(values.shape[1], values.dtype)).sum()
    grads = torch.autograd.grad(loss, [x, w], materialize_grads=True)
    return [values.detach(), grads[0][0], grads[1]]


def mix(count: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.linspace(0.5, 1.5, count, dtype=dtype)


def pennylane(circuit: QuantumCircuit, task: Task) -> list[torch.Tensor]:
    function = to_pennylane(circuit, inputs="x")
    assert task.observables.sums is not None
    sums = [SparsePauliOp.from_list(list(terms)) for terms in task.observables.sums]

    @qp.qnode(qp.device("default.qubit", wires=circuit.num_qubits), interface="torch")
    def node(x: torch.Tensor, w: torch.Tensor) -> object:
        function(x, w)
        return [qp.expval(to_pennylane_observable(s)) for s in sums]

    x, w = task.inputs.clone().requires_grad_(), task.weights.clone().requires_grad_()
    columns = [v.expand(task.batch) for v in node(x, w)]
    return with_gradients(torch.stack(columns, dim=1), x, w)


def qiskit(circuit: QuantumCircuit, task: Task) -> list[torch.Tensor]:
    """Bound circuits and state vectors; gradients by central differences of fourth order."""
    assert task.observables.sums is not None
    sums = [SparsePauliOp.from_list(list(terms)) for terms in task.observables.sums]
    by_name = {p.name: p for p in circuit.parameters}
    names = [*task.program.inputs, *task.program.weights]

    def outputs(row: np.ndarray) -> np.ndarray:
        bound = {by_name[n]: v for n, v in zip(names, row, strict=True) if n in by_name}
        state = Statevector(circuit.assign_parameters(bound))
        return np.array([state.expectation_value(s).real for s in sums])

    def loss(row: np.ndarray) -> float:
        return float(outputs(row) @ mix(len(sums)).numpy())

    rows = torch.cat([task.inputs, task.weights.expand(task.batch, -1)], dim=1).numpy()
    slopes, h = [], 1e-3
    for unit in np.eye(len(names)):
        one, two = (
            (loss(rows[0] + s * unit) - loss(rows[0] - s * unit)) / (2 * s) for s in (h, 2 * h)
        )
        slopes.append((4 * one - two) / 3)
    split = len(task.program.inputs)
    values = torch.from_numpy(np.array([outputs(row) for row in rows]))
    gradient = torch.tensor(slopes, dtype=torch.float64)
    return [values, gradient[:split], gradient[split:]]


def assert_close(
    found: list[torch.Tensor], expected: list[torch.Tensor], gaps: list[float]
) -> None:
    for one, other, gap in zip(found, expected, gaps, strict=True):
        torch.testing.assert_close(one.double(), other.double(), atol=gap, rtol=0)


@pytest.mark.parametrize("seed", range(200))
def test_engines_agree(seed: int) -> None:
    circuit, task = problem(seed)
    expected = outputs_and_gradients(task, ReferenceBackend(), torch.float64)
    tight, loose = [1e-10, 1e-8, 1e-8], [1e-5, 1e-4, 1e-4]
    engines: tuple[Backend, ...] = (NativeBackend(), TorchBackend())
    for engine in engines:
        assert_close(outputs_and_gradients(task, engine, torch.float64), expected, tight)
    assert_close(pennylane(circuit, task), expected, tight)
    assert_close(qiskit(circuit, task), expected, tight)
    for engine in (*engines, ReferenceBackend()):
        assert_close(outputs_and_gradients(task, engine, torch.float32), expected, loose)
    covered.update(instruction.operation.name for instruction in circuit.data)
    for slope in torch.cat(expected[1:]).tolist():
        gradients["not zero" if abs(slope) > 1e-9 else "zero"] += 1


def test_the_circuits_cover_the_gate_table() -> None:
    assert set(GATES) | {"unitary"} <= set(covered)
    assert gradients["not zero"] > 0.9 * gradients.total()
