"""Circuits as PennyLane quantum functions, against Qiskit's own state vectors."""

import pennylane as qp
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Parameter, ParameterVector
from qiskit.quantum_info import SparsePauliOp, Statevector, random_unitary
from torch import Tensor

from nisqkit.circuits import amplitude, lower
from nisqkit.circuits.pennylane_writer import to_pennylane, to_pennylane_observable
from nisqkit.hardware_backends.conformance import random_circuit

OBSERVABLES = ["XYZ", SparsePauliOp(["IIZ", "ZXI", "III"], [0.5, -1.5, 0.25])]


def expected(circuit: QuantumCircuit, x: Tensor, w: Tensor, observables: list) -> Tensor:
    """Expectation values by Qiskit."""
    numbers = {f"x[{k}]": float(v) for k, v in enumerate(x)}
    numbers |= {f"w[{k}]": float(v) for k, v in enumerate(w)}
    state = Statevector(circuit.assign_parameters({p: numbers[p.name] for p in circuit.parameters}))
    values = [state.expectation_value(SparsePauliOp(o)).real for o in observables]
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(4))
def test_values_and_gradients_are_qiskits(seed: int) -> None:
    circuit = random_circuit(3, num_gates=25, seed=seed)
    function = to_pennylane(circuit, inputs="x", observables=OBSERVABLES)
    qnode = qp.QNode(function, qp.device("default.qubit"), interface="torch")
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    w = torch.rand(len(function.weights), generator=generator, dtype=torch.float64)
    w.requires_grad_()
    full = torch.zeros(4, dtype=torch.float64)
    where = [int(name[2:-1]) for name in function.weights]

    def by_qiskit(a: Tensor, b: Tensor) -> Tensor:
        full[where] = b.detach()
        return expected(circuit, a, full, OBSERVABLES)

    broadcast = torch.stack(list(qnode(x, w)), dim=1)
    single = torch.stack(list(qnode(x[2], w)))
    right = torch.stack([by_qiskit(row, w) for row in x.detach()])
    torch.testing.assert_close(broadcast.detach(), right, rtol=0, atol=1e-10)
    torch.testing.assert_close(single.detach(), right[2], rtol=0, atol=1e-10)
    slope_x, slope_w = torch.autograd.grad(single[1], [x, w])
    step, one = 1e-5, torch.eye(4, dtype=torch.float64)
    for k in range(3):
        a = x.detach()[2]
        up, down = (by_qiskit(a + s * one[k, :3], w)[1] for s in (step, -step))
        assert abs(slope_x[2, k] - (up - down) / (2 * step)) < 1e-8
    for k in range(len(w)):
        a, shift = x.detach()[2], one[k, : len(w)]
        up, down = (by_qiskit(a, w + s * shift)[1] for s in (step, -step))
        assert abs(slope_w[k] - (up - down) / (2 * step)) < 1e-8


def test_names_are_attached_in_order() -> None:
    x, w = ParameterVector("x", 2), ParameterVector("w", 12)
    circuit = QuantumCircuit(1)
    for p in (w[10], w[2], x[0], Parameter("phi")):
        circuit.rx(p, 0)
    function = to_pennylane(circuit, inputs=x)
    assert function.inputs == ("x[0]", "x[1]")
    assert function.weights == ("phi", "w[2]", "w[10]")


def test_amplitudes_and_probabilities_keep_qiskits_order() -> None:
    circuit = amplitude(6)
    circuit.cx(0, 2)
    function = to_pennylane(circuit, inputs="x", observables="probs")
    qnode = qp.QNode(function, qp.device("default.qubit"), interface="torch")
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.3
    found = qnode(x, torch.zeros(0))
    for row, probabilities in zip(x, found, strict=True):
        state = Statevector(torch.cat([row, row.new_zeros(2)]).numpy() / row.norm().item())
        gates = QuantumCircuit(3)
        gates.cx(0, 2)
        right = torch.tensor(state.evolve(gates).probabilities())
        torch.testing.assert_close(probabilities, right)


def test_gates_without_a_twin_become_matrices_or_their_definition() -> None:
    circuit = QuantumCircuit(4)
    circuit.h(0)
    circuit.unitary(random_unitary(8, seed=2), [3, 0, 1])
    circuit.ccx(0, 3, 2)
    circuit.mcp(0.7, [0, 1, 2], 3)
    circuit.barrier()
    circuit.measure_all()
    function = to_pennylane(circuit, observables="probs")
    qnode = qp.QNode(function, qp.device("default.qubit"), interface="torch")
    right = Statevector(circuit.remove_final_measurements(inplace=False)).probabilities()
    torch.testing.assert_close(qnode(torch.zeros(0), torch.zeros(0)), torch.tensor(right))


def test_observables_read_right_to_left() -> None:
    assert to_pennylane_observable("XIZ") == qp.prod(qp.Z(0), qp.X(2))
    matrix = SparsePauliOp(["XY", "ZI", "II"], [0.5, 2.0, -1.0])
    found = qp.matrix(to_pennylane_observable(matrix), wire_order=[1, 0])
    torch.testing.assert_close(torch.tensor(found), torch.tensor(matrix.to_matrix()))


def test_what_is_no_gate_is_refused() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(Gate("mystery", 1, []), [0])
    with pytest.raises(ValueError, match="'mystery' is not a gate"):
        to_pennylane(circuit)


def test_only_circuits_are_written() -> None:
    with pytest.raises(TypeError, match=r"takes a qiskit.QuantumCircuit, not Program: .*circuit_o"):
        to_pennylane(lower(QuantumCircuit(1)))  # type: ignore[arg-type]
