"""Programs back as circuits."""

import numpy as np
import pytest
import sympy
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector, ParameterVectorElement
from qiskit.quantum_info import Operator

from nisqkit.circuits import amplitude, lower
from nisqkit.circuits.angles import AngleMap, NonlinearMap
from nisqkit.circuits.program import GateUse, Prepare, Program
from nisqkit.circuits.to_qiskit import circuit_of, expression, named_parameters
from nisqkit.hardware_backends.conformance import random_circuit


@pytest.mark.parametrize("seed", range(4))
def test_a_circuit_comes_back_with_its_names_and_its_matrix(seed: int) -> None:
    circuit = random_circuit(3, num_gates=25, seed=seed)
    program = lower(circuit, inputs="x")
    again = circuit_of(program)
    names = sorted(p.name for p in circuit.parameters)
    assert sorted(p.name for p in again.parameters) == names
    values = dict(zip(names, np.linspace(-0.9, 0.8, len(names)), strict=True))
    first, second = (
        Operator(c.assign_parameters({p: values[p.name] for p in c.parameters}))
        for c in (circuit, again)
    )
    assert second.equiv(first, rtol=0, atol=1e-12)
    twin = lower(again, inputs="x")
    assert (twin.inputs, twin.weights) == (program.inputs, program.weights)
    assert [(g.name, g.qubits) for g in twin.gates] == [(g.name, g.qubits) for g in program.gates]


def test_names_with_an_index_are_elements_of_one_vector() -> None:
    x, theta = ParameterVector("x", 12), Parameter("theta")
    circuit = QuantumCircuit(1)
    circuit.rx(x[10] - 2 * x[2], 0)
    circuit.ry(theta, 0)
    found = {p.name: p for p in circuit_of(lower(circuit, inputs="x")).parameters}
    assert sorted(found) == ["theta", "x[10]", "x[2]"]
    element = found["x[10]"]
    assert isinstance(element, ParameterVectorElement)
    assert (element.vector.name, element.index, len(element.vector)) == ("x", 10, 12)
    assert element.vector == found["x[2]"].vector
    assert not isinstance(found["theta"], ParameterVectorElement)


def test_lengths_of_vectors_can_be_given() -> None:
    found = named_parameters(["x[1]", "y[0]"], {"x": 5})
    assert isinstance(found[0], ParameterVectorElement)
    assert len(found[0].vector) == 5
    assert not isinstance(found[1], ParameterVectorElement)


def test_labels_stay() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(circuit.copy().to_gate(label="empty"), [0])
    circuit.rx(0.1, 0, label="block 3")
    assert circuit_of(lower(circuit)).data[-1].operation.label == "block 3"


def test_amplitude_inputs_come_back() -> None:
    circuit = amplitude(6)
    circuit.h(0)
    program = lower(circuit, inputs="x")
    assert lower(circuit_of(program), inputs="x") == program


def test_amplitudes_on_more_qubits_than_they_need() -> None:
    gates = (GateUse("h", (0,)),)
    program = Program(3, gates, AngleMap.identity(2), Prepare((2, 0, 1), (0, 1)))
    (first, *_) = circuit_of(program).data
    assert len(first.operation.params) == 2
    assert [circuit_of(program).find_bit(q).index for q in first.qubits] == [2]


def test_torch_functions_are_refused() -> None:
    nonlinear = NonlinearMap((0,), ((0,),), "mine", lambda x, w: torch.sin(x))
    program = Program(1, (GateUse("rx", (0,), (0,)),), AngleMap(("x",), (), (0.0,), (), nonlinear))
    with pytest.raises(ValueError, match=r"slots .0. are a torch function"):
        circuit_of(program)


def test_functions_that_qiskit_lacks_are_refused() -> None:
    p = Parameter("p")
    with pytest.raises(ValueError, match=r"cannot carry the function .* use sin, cos"):
        expression(sympy.gamma(sympy.Symbol("p")), {"p": p})
