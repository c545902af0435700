"""The torch engine against the reference, Qiskit and finite differences, and on another device."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import SparsePauliOp, Statevector, random_unitary
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nisqkit.circuits import Observables, Program, Task, amplitude, angle, lower
from nisqkit.circuits.ansatze import hardware_efficient
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.lower import gate_class
from nisqkit.hardware_backends import Backend
from nisqkit.hardware_backends.conformance import random_circuit, random_observables, random_task
from nisqkit.hardware_backends.reference import ReferenceBackend
from nisqkit.hardware_backends.torch_engine import TorchBackend
from nisqkit.qml import QuantumLayer


def task(
    program: Program, observables: Observables, batch: int, dtype: torch.dtype = torch.float64
) -> Task:
    random = np.random.default_rng([batch, program.num_qubits])
    x = torch.from_numpy(random.uniform(-2, 2, (batch, len(program.inputs)))).to(dtype)
    w = torch.from_numpy(random.uniform(-2, 2, len(program.weights))).to(dtype)
    return Task(program, x.requires_grad_(), w.requires_grad_(), observables)


def results(given: Task, backend: Backend) -> list[Tensor]:
    """Outputs, and the gradients of their mix to inputs and weights."""
    values = backend.run([given])[0].values
    mix = torch.linspace(-0.7, 1.3, values.numel(), dtype=values.dtype).reshape(values.shape)
    wanted = [given.inputs, given.weights]
    if not values.requires_grad:
        return [values, *map(torch.zeros_like, wanted)]
    grads = torch.autograd.grad((mix * values).sum(), wanted, materialize_grads=True)
    return [values.detach(), *grads]


def assert_like_reference(given: Task, tolerance: float = 1e-12) -> None:
    found, right = results(given, TorchBackend()), results(given, ReferenceBackend())
    for one, other in zip(found, right, strict=True):
        assert one.dtype == given.inputs.dtype
        torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


def qiskit_values(circuit: QuantumCircuit, given: Task) -> np.ndarray[Any, np.dtype[np.float64]]:
    assert given.observables.sums is not None
    sums = [SparsePauliOp.from_list(list(terms)) for terms in given.observables.sums]
    names = (*given.program.inputs, *given.program.weights)
    rows = []
    for row in given.inputs.tolist():
        values = dict(zip(names, [*row, *given.weights.tolist()], strict=True))
        state = Statevector(
            circuit.assign_parameters({p: values[p.name] for p in circuit.parameters})
        )
        rows.append([state.expectation_value(s).real for s in sums])
    return np.array(rows)


# --- values and gradients ---


@pytest.mark.parametrize("name", GATES)
def test_every_gate_on_every_pair_of_qubits(name: str) -> None:
    """With its angles as weights (one matrix for all samples) and as inputs (one per sample)."""
    record = GATES[name]
    places: list[tuple[int, ...]] = [(q,) for q in range(3)]
    if record.num_qubits == 2:
        places = [(a, b) for a in range(3) for b in range(3) if a != b]
    for place in places:
        circuit, v = QuantumCircuit(3), ParameterVector("v", max(1, record.num_params))
        for q in range(3):
            circuit.ry(0.4 + 0.5 * q, q)
            circuit.rz(0.9 - 0.7 * q, q)
        circuit.append(gate_class(name)(*v[: record.num_params]), place)
        for inputs in (None, "v") if record.num_params else (None,):
            given = task(lower(circuit, inputs), random_observables(3, seed=1), batch=2)
            assert_like_reference(given)


@pytest.mark.parametrize("num_qubits", [1, 2, 3, 5, 7, 9])
@pytest.mark.parametrize("inputs", [None, "x", "w"])
def test_random_circuits(num_qubits: int, inputs: str | None) -> None:
    """Gates of the samples' own, with weights in them too, all over a circuit of many windows."""
    circuit = random_circuit(num_qubits, 15 * num_qubits, seed=8)
    given = task(lower(circuit, inputs), random_observables(num_qubits, 3), batch=3)
    assert_like_reference(given, 1e-11)
    np.testing.assert_allclose(
        TorchBackend().run([given])[0].values.detach(), qiskit_values(circuit, given), atol=1e-11
    )


@pytest.mark.parametrize("batch", [0, 1, 2, 17])
@pytest.mark.parametrize("probs", [False, True])
def test_every_batch_size(batch: int, probs: bool) -> None:
    program = lower(random_circuit(4, 25, seed=5), "x")
    observables = Observables.parse("probs", 4) if probs else random_observables(4, 2)
    assert_like_reference(task(program, observables, batch), 1e-11)
    sampled = TorchBackend().run([replace(task(program, observables, batch), shots=10)])[0]
    assert sampled.std is not None
    assert sampled.values.shape == sampled.std.shape == (batch, observables.num_outputs)


def test_float32() -> None:
    for num_qubits in (3, 6):
        program = lower(random_circuit(num_qubits, 30, seed=2), "x")
        given = task(program, random_observables(num_qubits, 2), 5, torch.float32)
        assert_like_reference(given, 2e-5)


@pytest.mark.parametrize("num_qubits", [4, 9])
def test_float32_does_not_drift(num_qubits: int) -> None:
    """60 and 200 layers, un-applied window by window for the gradient."""
    layers = 200 if num_qubits == 4 else 60
    program = lower(hardware_efficient(num_qubits, layers))
    given = task(program, random_observables(num_qubits, 0), batch=1)
    single = task(program, given.observables, 1, torch.float32)
    for one, other in zip(
        results(single, TorchBackend()), results(given, TorchBackend()), strict=True
    ):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, atol=2e-5, rtol=0)


def few_gates(build: Callable[[QuantumCircuit], object]) -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    build(circuit)
    return circuit


@pytest.mark.parametrize(
    "circuit",
    [
        few_gates(lambda c: None),
        few_gates(lambda c: c.barrier()),
        few_gates(lambda c: c.id(0)),
        few_gates(lambda c: c.cx(0, 1)),
        few_gates(lambda c: [c.h(0), c.cx(0, 2), c.cz(2, 1), c.swap(0, 1), c.barrier(), c.y(2)]),
        few_gates(lambda c: [c.sx(2), c.append(UnitaryGate(random_unitary(4, seed=3)), [2, 0])]),
    ],
    ids=["empty", "barrier", "id", "cx", "fixed", "unitary"],
)
def test_circuits_without_angles(circuit: QuantumCircuit) -> None:
    given = task(lower(circuit), random_observables(3, seed=4), batch=2)
    assert_like_reference(given)
    found = TorchBackend().run([given])[0].values.detach()
    np.testing.assert_allclose(found, qiskit_values(circuit, given), atol=1e-13)


def test_feature_map_with_products() -> None:
    """Angles ``(pi - x_i)(pi - x_j)`` between CX, repeated, with trained gates between."""
    x, w, circuit = ParameterVector("x", 5), ParameterVector("w", 10), QuantumCircuit(5)
    for layer in range(2):
        for q in range(5):
            circuit.h(q)
            circuit.p(2 * x[q], q)
        for a, b in ((0, 1), (1, 2), (2, 3), (3, 4), (4, 0)):
            circuit.cx(a, b)
            circuit.p(2 * (np.pi - x[a]) * (np.pi - x[b]), b)
            circuit.cx(a, b)
        for q in range(5):
            circuit.ry(w[5 * layer + q] * w[q], q)
    given = task(lower(circuit, "x"), random_observables(5, 1), batch=3)
    assert_like_reference(given, 1e-10)
    found = TorchBackend().run([given])[0].values.detach()
    np.testing.assert_allclose(found, qiskit_values(circuit, given), atol=1e-11)


@pytest.mark.parametrize("frozen", ["inputs", "weights"])
def test_gradients_that_are_not_wanted(frozen: str) -> None:
    given = random_task(5, seed=3, num_gates=30)
    part = replace(given, **{frozen: getattr(given, frozen).detach()})
    other = "weights" if frozen == "inputs" else "inputs"
    found, right = (
        torch.autograd.grad(backend.run([part])[0].values.sum(), getattr(part, other))[0]
        for backend in (TorchBackend(), ReferenceBackend())
    )
    torch.testing.assert_close(found, right, atol=1e-11, rtol=0)


def test_amplitude_input() -> None:
    """Amplitudes of each sample, and trained ones that all samples share."""
    for inputs in ("x", None):
        circuit = amplitude(5).compose(hardware_efficient(3, 1))
        circuit.cx(2, 0)
        assert_like_reference(
            task(lower(circuit, inputs), random_observables(3, 5), batch=2), 1e-11
        )
    program = lower(amplitude(4), "x")
    assert_like_reference(task(program, Observables.parse(["XY", "ZX"], 2), batch=3))


def test_adjoint_is_the_finite_difference() -> None:
    for given in (
        random_task(3, seed=1, batch=2, num_gates=15),
        task(
            lower(amplitude(3).compose(hardware_efficient(2, 1)), "x"), random_observables(2, 1), 2
        ),
    ):
        assert torch.autograd.gradcheck(as_function(given), (given.inputs, given.weights))


def as_function(given: Task) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, w: TorchBackend().run([replace(given, inputs=x, weights=w)])[0].values


@pytest.mark.parametrize("probs", [False, True])
@pytest.mark.parametrize("prepared", [False, True])
def test_second_derivatives(prepared: bool, probs: bool) -> None:
    circuit = random_circuit(2, 6, seed=0)
    if prepared:
        circuit = amplitude(3).compose(hardware_efficient(2, 1))
    observables = Observables.parse("probs", 2) if probs else random_observables(2, 4)
    given = task(lower(circuit, "x"), observables, batch=2)
    values = as_function(given)
    assert torch.autograd.gradgradcheck(values, (given.inputs, given.weights))
    # gradgradcheck takes the first derivative as it finds it, which is not by adjoints
    total = values(given.inputs, given.weights).square().sum()
    wanted = [given.inputs, given.weights]
    adjoint = torch.autograd.grad(total, wanted, retain_graph=True)
    differentiable = torch.autograd.grad(total, wanted, create_graph=True)
    for one, other in zip(adjoint, differentiable, strict=True):
        torch.testing.assert_close(one, other.detach())


def test_inference_first_and_backward_twice() -> None:
    given = random_task(4, seed=3)
    with torch.inference_mode():
        TorchBackend().run([given])
    total = TorchBackend().run([given])[0].values.sum()
    first = torch.autograd.grad(total, given.weights, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(total, given.weights)[0])


def test_layers_can_be_copied_after_a_step() -> None:
    layer = QuantumLayer(
        angle(3).compose(hardware_efficient(3, 2)), inputs="x", backend="torch", seed=1
    )
    x = torch.ones(2, 3)
    assert torch.equal(layer(x), copy.deepcopy(layer)(x))


# --- memory ---


def saved_bytes(num_layers: int, batch: int, backend: Backend) -> int:
    program = lower(angle(8).compose(hardware_efficient(8, num_layers)), "x")
    given = task(program, Observables.parse(None, 8), batch)
    total = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        backend.run([given])
    return total


def growth_with_depth(batch: int, backend: Backend) -> int:
    return saved_bytes(9, batch, backend) - saved_bytes(1, batch, backend)


def test_no_state_is_kept_per_gate() -> None:
    """Eight more layers of 16 trained gates: matrices, which do not depend on the batch."""
    assert growth_with_depth(10, TorchBackend()) == growth_with_depth(2, TorchBackend())
    assert growth_with_depth(2, TorchBackend()) < 2**22
    state = 16 * 2**8
    per_sample = growth_with_depth(3, ReferenceBackend()) - growth_with_depth(2, ReferenceBackend())
    assert per_sample > 8 * 16 * state  # what is not kept


def test_few_states_are_kept() -> None:
    """The initial and the final state, and what the initial one is made of."""
    state = 16 * 2**8
    per_sample = saved_bytes(9, 3, TorchBackend()) - saved_bytes(9, 2, TorchBackend())
    assert 2 * state <= per_sample < 4 * state


# --- devices ---


class OnlyOn(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses every operation that takes or gives a tensor on another device."""

    def __init__(self, device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in tree_leaves((args, kwargs, result)):
            if isinstance(item, Tensor):
                assert item.device.type == self.device, f"{func} has a tensor on {item.device}"
        self.count += 1
        return result


def reuploading() -> QuantumCircuit:
    """Gates with an input and a weight, between trained ones, on one qubit and on two."""
    x, w, circuit = ParameterVector("x", 5), ParameterVector("w", 15), QuantumCircuit(5)
    for layer in range(2):
        for q in range(5):
            circuit.u(x[q], w[5 * layer + q] + 0.1, 0.3, q)
            circuit.rzz(x[q], q, (q + 1) % 5)
            circuit.cu(w[q], 0.2, w[10 + q], 0.0, q, (q + 2) % 5)
        circuit.cz(0, 3)
    return circuit


PROGRAMS = {
    "encoder": lower(angle(6).compose(hardware_efficient(6, 2)), "x"),
    "reuploading": lower(reuploading(), "x"),
    "weights only": lower(reuploading(), None),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("probs", [False, True])
def test_a_step_stays_on_the_inputs_device(name: str, probs: bool) -> None:
    """The meta device computes nothing, refuses tensors from elsewhere, and cannot give numbers.

    So a second step, with all constants made, waits for nothing and copies nothing.
    """
    program = PROGRAMS[name]
    n = program.num_qubits
    observables = Observables.parse("probs", n) if probs else random_observables(n, 3)
    x = torch.zeros(5, len(program.inputs), device="meta", requires_grad=True)
    w = torch.zeros(len(program.weights), device="meta", requires_grad=True)

    def step() -> tuple[Tensor, ...]:
        values = TorchBackend().run([Task(program, x, w, observables)])[0].values
        assert values.shape == (5, observables.num_outputs)
        return torch.autograd.grad(values.sum(), [x, w], materialize_grads=True)

    step()
    with OnlyOn("meta") as mode:
        grads = step()
    assert mode.count > 50
    assert [(g.device.type, g.shape) for g in grads] == [("meta", x.shape), ("meta", w.shape)]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("probs", [False, True])
def test_every_tensor_is_made_where_the_inputs_are(name: str, probs: bool) -> None:
    """With another default device, a constructor that forgets the device breaks the first step."""
    program = replace(PROGRAMS[name])  # without what other tests have cached
    n = program.num_qubits
    observables = Observables.parse("probs", n) if probs else random_observables(n, 3)
    given = task(program, observables, batch=3)
    wanted = [given.inputs, given.weights]
    expected = ReferenceBackend().run([given])[0].values  # makes the angle map's constants, too
    torch.set_default_device("meta")
    try:
        values = TorchBackend().run([given])[0].values
        found = torch.autograd.grad(values.square().sum(), wanted, materialize_grads=True)
    finally:
        torch.set_default_device(None)
    right = torch.autograd.grad(expected.square().sum(), wanted, materialize_grads=True)
    for one, other in zip((values, *found), (expected, *right), strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


# --- shots and refusals ---


def test_shots_have_the_exact_mean() -> None:
    given = random_task(5, seed=5, batch=20)
    with torch.no_grad():
        exact = TorchBackend().run([given])[0].values
        sampled = TorchBackend().run([replace(given, shots=5000, seed=(1, 0, 0))])[0]
    assert sampled.std is not None
    score = (sampled.values - exact) / sampled.std
    assert float(score.abs().max()) < 5
    assert 0.6 < float((score**2).mean()) < 1.5


def test_other_dtypes_are_refused() -> None:
    program = lower(angle(1), "x")
    x = torch.zeros(1, 1, dtype=torch.float16)
    given = Task(program, x, x[0, :0], Observables.parse(None, 1))
    with pytest.raises(ValueError, match=r"float32 or float64, not in torch.float16; use layer"):
        TorchBackend().run([given])


def test_too_many_qubits_are_refused_at_once() -> None:
    program = lower(QuantumCircuit(50))
    given = Task(program, torch.zeros(2, 0), torch.zeros(0), Observables.parse(None, 50))
    with pytest.raises(ValueError, match=r"a state of 50 qubits for this batch takes .* GiB"):
        TorchBackend().run([given])
