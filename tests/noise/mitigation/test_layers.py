"""Layers are as many as the depth, and written one after another the same circuit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from qiskit import QuantumCircuit

from nisqkit.circuits import Observables, Task, circuit_of, lower
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.noise.mitigation.layers import chunks, layers_of


@pytest.mark.parametrize("seed", range(4))
def test_layers_are_disjoint_as_many_as_the_depth_and_in_order(seed: int) -> None:
    program = lower(random_circuit(4, 20, seed), inputs="x").by_slots
    layers = layers_of(program)
    assert len(layers) == circuit_of(program).depth()
    for layer in layers:
        qubits = [q for use in layer for q in use.qubits]
        assert len(set(qubits)) == len(qubits)
    again = replace(program, gates=tuple(use for layer in layers for use in layer))
    inputs = torch.rand(2, len(program.inputs), dtype=torch.float64)
    z = Observables.parse(None, 4)
    tasks = [Task(p, inputs, inputs.new_zeros(0), z) for p in (program, again)]
    one, two = execute(tasks, Execution("reference"))
    torch.testing.assert_close(one.values, two.values, atol=1e-12, rtol=0)


def test_barriers_do_not_move() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.barrier()
    circuit.x(1)
    assert [[use.name for use in layer] for layer in layers_of(lower(circuit))] == [
        ["h", "barrier"],
        ["x"],
    ]


def test_chunks_are_nearly_equal() -> None:
    circuit = QuantumCircuit(1)
    for _ in range(7):
        circuit.sx(0)
    program = lower(circuit)
    assert [len(chunk) for chunk in chunks(program, 3)] == [3, 2, 2]
    for number in (0, 8):
        with pytest.raises(ValueError, match=f"has 7 layers, which cannot be {number} chunks"):
            chunks(program, number)
