"""PennyLane devices as a backend, against Qiskit's state vectors and finite differences."""

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pennylane as qp
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp, Statevector
from torch import Tensor

from nisqkit.circuits import Observables, Task, amplitude, lower
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.pennylane import PennyLaneBackend

MEASURED = ["XYZ", SparsePauliOp(["IIZ", "ZXI", "III", "ZZZ"], [0.5, -1.5, 0.25, 1.0]), "III"]
NAMES = ("default.qubit", "lightning.qubit")


def statevector(circuit: QuantumCircuit, x: Tensor, w: Tensor) -> Statevector:
    values = {f"x[{k}]": float(v) for k, v in enumerate(x.detach())}
    values |= {f"w[{k}]": float(v) for k, v in enumerate(w.detach())}
    return Statevector(circuit.assign_parameters({p: values[p.name] for p in circuit.parameters}))


def by_qiskit(circuit: QuantumCircuit, x: Tensor, w: Tensor, measured: Any) -> Tensor:
    state = statevector(circuit, x, w)
    if measured == "probs":
        return torch.tensor(state.probabilities())
    return torch.tensor([state.expectation_value(SparsePauliOp(o)).real for o in measured])


def example(seed: int, batch: int = 4) -> tuple[QuantumCircuit, Task]:
    """A circuit in which all of ``w[0] .. w[3]`` and ``x[0] .. x[2]`` are used."""
    circuit = random_circuit(3, num_gates=20, seed=seed)
    for k, p in enumerate(ParameterVector("w", 4)):
        circuit.ry(next((q for q in circuit.parameters if q.name == p.name), p), k % 3)
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, 3, generator=generator, dtype=torch.float64).requires_grad_()
    w = torch.rand(4, generator=generator, dtype=torch.float64).requires_grad_()
    return circuit, Task(lower(circuit, "x"), x, w, Observables.parse(MEASURED, 3))


@pytest.mark.parametrize("measured", [MEASURED, "probs"], ids=["sums", "probs"])
@pytest.mark.parametrize("device", NAMES)
@pytest.mark.parametrize("seed", range(2))
def test_values_and_gradients(device: str, measured: Any, seed: int) -> None:
    circuit, task = example(seed)
    task = replace(task, observables=Observables.parse(measured, 3))
    values = PennyLaneBackend(device).run([task])[0].values
    x, w = task.inputs.detach(), task.weights.detach()
    right = torch.stack([by_qiskit(circuit, row, w, measured) for row in x])
    torch.testing.assert_close(values.detach(), right, rtol=0, atol=1e-12)
    slope_x, slope_w = torch.autograd.grad(values[1, 1], [task.inputs, task.weights])
    assert not slope_x[[0, 2, 3]].any()
    step = 1e-5
    for k in range(4):
        e = step * torch.eye(4, dtype=torch.float64)[k]
        up, down = (by_qiskit(circuit, x[1], w + s * e, measured)[1] for s in (1, -1))
        assert abs(slope_w[k] - (up - down) / (2 * step)) < 1e-8
        if k < 3:
            up, down = (by_qiskit(circuit, x[1] + s * e[:3], w, measured)[1] for s in (1, -1))
            assert abs(slope_x[1, k] - (up - down) / (2 * step)) < 1e-8


@pytest.mark.parametrize("device", NAMES)
def test_amplitudes_and_their_gradients(device: str) -> None:
    circuit = amplitude(6)
    circuit.cry(0.7, 0, 2)
    circuit.h(1)
    x = torch.tensor([[0.1, -0.9, 0.3, 0.5, 0.0, -0.2], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    x = x.double().requires_grad_()
    task = Task(lower(circuit, "x"), x, x.new_zeros(0), Observables.parse(["ZXI", "IZZ"], 3))
    values = PennyLaneBackend(device).run([task])[0].values

    def right(row: Tensor) -> Tensor:
        state = Statevector(torch.cat([row, row.new_zeros(2)]).numpy() / row.norm().item())
        gates = QuantumCircuit(3)
        gates.cry(0.7, 0, 2)
        gates.h(1)
        state = state.evolve(gates)
        return torch.tensor(
            [state.expectation_value(SparsePauliOp(o)).real for o in ("ZXI", "IZZ")]
        )

    rows = x.detach()
    torch.testing.assert_close(values.detach(), torch.stack([right(r) for r in rows]))
    (slope,) = torch.autograd.grad(values[0, 0], x)
    for k in range(6):
        e = 1e-5 * torch.eye(6, dtype=torch.float64)[k]
        assert abs(slope[0, k] - (right(rows[0] + e) - right(rows[0] - e))[0] / 2e-5) < 1e-8


@pytest.mark.parametrize("device", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_have_the_dtype_of_the_inputs(device: str, dtype: torch.dtype) -> None:
    _, task = example(0, batch=1)
    x, w = (t.detach().to(dtype).requires_grad_() for t in (task.inputs, task.weights))
    for shots in (None, 10):
        result = PennyLaneBackend(device).run([replace(task, inputs=x, weights=w, shots=shots)])[0]
        assert result.values.dtype == dtype
        assert result.std is None or result.std.dtype == dtype


@pytest.mark.parametrize("device", [*NAMES, "default.mixed", "reference.qubit"])
def test_all_tasks_go_to_the_device_together(device: str) -> None:
    """Different programs, batches and observables in one call; results come back in order."""
    backend = PennyLaneBackend(device)
    tasks = []
    for seed, batch, measured in ((0, 2, MEASURED), (1, 3, "probs"), (2, 1, ["IZX"])):
        _, task = example(seed, batch)
        tasks.append(replace(task, observables=Observables.parse(measured, 3)))
    with torch.no_grad(), qp.Tracker(backend.device) as tracker:
        together = backend.run(tasks)
        assert tracker.totals["batches"] == 1
        for task, result in zip(tasks, together, strict=True):
            torch.testing.assert_close(result.values, backend.run([task])[0].values)


@pytest.mark.parametrize("device", NAMES)
def test_programs_without_inputs_and_empty_batches(device: str) -> None:
    circuit = QuantumCircuit(2)
    circuit.x(1)
    x = torch.zeros(3, 0)
    task = Task(lower(circuit), x, x[0], Observables.parse(None, 2))
    backend = PennyLaneBackend(device)
    assert backend.run([task])[0].values.tolist() == [[1, -1]] * 3
    empty = replace(task, inputs=x[:0])
    assert backend.run([empty])[0].values.shape == (0, 2)
    assert backend.run([replace(empty, shots=5)])[0].values.shape == (0, 2)
    assert backend.run([]) == []


@pytest.mark.parametrize(
    ("device", "batch"), [("default.qubit", 40), ("lightning.qubit", 40), ("reference.qubit", 12)]
)
def test_shots_have_the_right_mean_and_error(device: str, batch: int) -> None:
    circuit, task = example(3, batch)
    shots = 400
    exact = torch.stack([by_qiskit(circuit, r, task.weights, MEASURED) for r in task.inputs])
    result = PennyLaneBackend(device).run([replace(task, shots=shots, seed=(3, 1, 4))])[0]
    assert result.std is not None
    score = (result.values - exact)[:, :2] / result.std[:, :2]
    assert score.abs().max() < 4.5
    mean_square = float((score**2).mean())  # 1, with a variance of 2 per score
    assert abs(mean_square - 1) < 4 * (2 / score.numel()) ** 0.5
    assert not result.std[:, 2].any()  # the identity has no error
    single = torch.sqrt((1 - exact[:, 0] ** 2) / (shots - 1))  # one Pauli string
    torch.testing.assert_close(result.std[:, 0], single, rtol=0.2, atol=0.01)
    probabilities = replace(task, observables=Observables.parse("probs", 3), shots=shots)
    found = PennyLaneBackend(device).run([probabilities])[0].values
    right = torch.stack([by_qiskit(circuit, r, task.weights, "probs") for r in task.inputs])
    assert (found - right).abs().max() < 4.5 * np.sqrt(0.25 / shots)


@pytest.mark.parametrize("device", NAMES)
def test_shots_follow_from_the_seed_and_the_place_in_the_batch(device: str) -> None:
    _, task = example(4, batch=5)
    task = replace(task, shots=50, seed=(1, 2, 3))
    first = PennyLaneBackend(device).run([task])[0].values
    assert torch.equal(first, PennyLaneBackend(device).run([task])[0].values)
    few = replace(task, inputs=task.inputs[:2])
    assert torch.equal(first[:2], PennyLaneBackend(device).run([few])[0].values)
    other = replace(task, seed=(1, 3, 3))
    assert not torch.equal(first, PennyLaneBackend(device).run([other])[0].values)


def test_other_devices_are_differentiated_by_shifts() -> None:
    backend = PennyLaneBackend("default.mixed", wires=3)
    assert backend.gradient is None
    _, task = example(1, batch=1)
    found, right = (
        torch.autograd.grad(execute([task], Execution(b))[0].values.sum(), task.weights)[0]
        for b in (backend, "reference")
    )
    torch.testing.assert_close(found, right, rtol=0, atol=1e-9)


@pytest.mark.parametrize("device", NAMES)
def test_backends_are_copied_and_pickled_after_use(device: str) -> None:
    _, task = example(0, batch=1)
    backend = PennyLaneBackend(device, wires=5)
    values = backend.run([task])[0].values
    for again in (copy.deepcopy(backend), pickle.loads(pickle.dumps(backend))):
        assert len(again.device.wires) == 5
        torch.testing.assert_close(again.run([task])[0].values, values)


def test_names() -> None:
    assert PennyLaneBackend("lightning.qubit").name == "pennylane:lightning.qubit"
    assert PennyLaneBackend("lightning.qubit").gradient == "adjoint"
    backend = PennyLaneBackend(qp.device("default.qubit", wires=2))
    assert (backend.name, backend.gradient) == ("pennylane:default.qubit", "backprop")
    assert not PennyLaneBackend("reference.qubit").seeded


def test_errors_say_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"'defualt.qubit'; did you mean 'default.qubit'"):
        PennyLaneBackend("defualt.qubit")
    with pytest.raises(TypeError, match="name of a PennyLane device or a device object, not int"):
        PennyLaneBackend(3)
    with pytest.raises(TypeError, match=r"options \['wires'\] go with a device's name"):
        PennyLaneBackend(qp.device("default.qubit"), wires=2)
    _, task = example(0, batch=1)
    with pytest.raises(ValueError, match=r"has the wires \[0, 1\], but .* create .* wires=3"):
        PennyLaneBackend("default.qubit", wires=2).run([task])
    x = torch.zeros(1, 0)
    wide = Task(lower(QuantumCircuit(40)), x, x[0], Observables.parse(["Z" * 40], 40))
    with pytest.raises(ValueError, match="40 qubits"):
        PennyLaneBackend().run([wide])
