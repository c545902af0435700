"""Sub-circuits by mask against circuits without the gates, built and evaluated by Qiskit alone."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from torch import Tensor

from nisqkit.circuits import (
    AmplitudeInput,
    Observables,
    Program,
    Task,
    amplitude,
    angle,
    lower,
    u3_cu3,
)
from nisqkit.hardware_backends.base import Backend
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.native import NativeBackend, steps
from nisqkit.hardware_backends.reference import ReferenceBackend

Array = NDArray[np.float64]

BACKENDS = pytest.mark.parametrize(
    "backend", [NativeBackend(), ReferenceBackend()], ids=lambda b: b.name
)

STRINGS = ["XYZ", "ZIY", "IZX"]

CIRCUITS = {
    "affine": angle(3).compose(u3_cu3(3, blocks=2)),
    "nonlinear": random_circuit(3, 25, seed=11),
    "amplitudes": amplitude(6).compose(u3_cu3(3, blocks=2)),
}


def random_mask(length: int, seed: int, share: float = 0.6) -> list[bool]:
    return [bool(b) for b in np.random.default_rng(seed).random(length) < share]


def without(circuit: QuantumCircuit, mask: list[bool]) -> QuantumCircuit:
    """The gates of the selected instructions; amplitudes are set apart, in `qiskit_values`."""
    sub = QuantumCircuit(circuit.num_qubits)
    for keep, instruction in zip(mask, circuit.data, strict=True):
        if keep and not isinstance(instruction.operation, AmplitudeInput):
            sub.append(
                instruction.operation, [circuit.find_bit(q).index for q in instruction.qubits]
            )
    return sub


def qiskit_values(circuit: QuantumCircuit, mask: list[bool], named: dict[str, float]) -> Array:
    sub = without(circuit, mask)
    start = np.zeros(2**circuit.num_qubits)
    start[0] = 1
    first = circuit.data[0].operation
    if isinstance(first, AmplitudeInput):
        start[:] = 0
        start[: len(first.params)] = [named[p.name] for p in first.params]
        start /= np.linalg.norm(start)
    state = Statevector(start).evolve(
        sub.assign_parameters({p: named[p.name] for p in sub.parameters})
    )
    return np.array([state.expectation_value(SparsePauliOp(s)).real for s in STRINGS])


def slopes(function: Callable[[Array], Array], at: Array) -> Array:
    """``d function / d at`` by central differences, one column per parameter."""
    steps = 1e-5 * np.eye(len(at))
    return np.stack([(function(at + e) - function(at - e)) / 2e-5 for e in steps], axis=1)


def parameters(program: Program, batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(batch, len(program.inputs), generator=generator, dtype=torch.float64) + 0.1
    w = torch.rand(len(program.weights), generator=generator, dtype=torch.float64) * 4 - 2
    return x.requires_grad_(), w.requires_grad_()


def run(program: Program, x: Tensor, w: Tensor, backend: Backend) -> Tensor:
    return backend.run([Task(program, x, w, Observables.parse(STRINGS, 3))])[0].values


@BACKENDS
@pytest.mark.parametrize("name", CIRCUITS)
def test_values_and_gradients_are_those_of_the_circuit_without_the_gates(
    name: str, backend: Backend
) -> None:
    circuit = CIRCUITS[name]
    program = lower(circuit, "x")
    x, w = parameters(program, batch=2)
    names, width = program.inputs + program.weights, len(program.inputs)
    zeros = 0
    for seed, share in enumerate((0.8, 0.5, 0.1)):
        mask = random_mask(len(circuit.data), seed, share)
        selected = program.select(mask)
        assert 0 < selected.num_gates < program.num_gates
        values = run(selected, x, w, backend)

        def oracle(point: Array, mask: list[bool] = mask) -> Array:
            return qiskit_values(circuit, mask, dict(zip(names, point, strict=True)))

        used = {p.name for p in without(circuit, mask).parameters}
        unused = [name not in used for name in program.weights]
        for k, row in enumerate(x.detach().numpy()):
            point = np.concatenate([row, w.detach().numpy()])
            assert_allclose(values[k].detach(), oracle(point), atol=1e-12)
            right = np.array([1.0, -2.0, 0.5]) @ slopes(oracle, point)
            found = values[k] @ torch.tensor([1, -2, 0.5], dtype=torch.float64)
            g_x, g_w = torch.autograd.grad(found, (x, w), retain_graph=True)
            assert_allclose(g_x[k], right[:width], atol=1e-8)
            assert_allclose(g_w, right[width:], atol=1e-8)
            assert not g_w[unused].any()  # exactly zero
            zeros += sum(unused)
    assert zeros > 0


@BACKENDS
@pytest.mark.parametrize("name", CIRCUITS)
def test_all_groups_are_the_program(name: str, backend: Backend) -> None:
    program = lower(CIRCUITS[name], "x")
    whole = program.select([True] * program.num_groups)
    results = []
    for one in (program, whole):
        x, w = parameters(program, batch=3)
        values = run(one, x, w, backend)
        results.append((values, *torch.autograd.grad(values.square().sum(), (x, w))))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@BACKENDS
@pytest.mark.parametrize("name", CIRCUITS)
def test_no_group_leaves_the_initial_state(name: str, backend: Backend) -> None:
    """``|0..0>``, or the amplitudes: they are no gates."""
    program = lower(CIRCUITS[name], "x")
    none = program.select([False] * program.num_groups)
    x, w = parameters(program, batch=2)
    found = backend.run([Task(none, x, w, Observables.parse("probs", 3))])[0].values
    expected = torch.zeros(2, 8, dtype=torch.float64)
    if name == "amplitudes":
        expected[:, :6] = x.detach() ** 2 / (x.detach() ** 2).sum(dim=1, keepdim=True)
    else:
        expected[:, 0] = 1
    torch.testing.assert_close(found.detach(), expected, atol=1e-14, rtol=0)


def test_no_kernel_is_compiled_for_a_mask() -> None:
    compiled = [steps.forward, steps.backward]
    for circuit in CIRCUITS.values():
        program = lower(circuit, "x")
        x, w = parameters(program, batch=2)
        run(program, x, w, NativeBackend()).sum().backward()
        before = [len(k.nopython_signatures) for k in compiled]
        length = program.num_groups
        masks = [random_mask(length, seed) for seed in range(5)] + [[False] * length]
        for mask in masks:
            run(program.select(mask), x, w, NativeBackend()).sum().backward()
        assert [len(k.nopython_signatures) for k in compiled] == before
        assert min(before) > 0
