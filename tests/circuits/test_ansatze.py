"""Ansatze: gates, qubits and order of weights as published; PennyLane's layers; mirrored blocks."""

from collections.abc import Callable

import numpy as np
import pennylane as qp
import pytest
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.quantum_info import Operator, Statevector

from nisqkit.circuits import hardware_efficient, lower, mirrored, strongly_entangling, u3_cu3
from nisqkit.circuits.ansatze import ANSATZE, ring
from nisqkit.hardware_backends.conformance import random_circuit

Listing = list[tuple[str, tuple[int, ...], tuple[str, ...]]]


def listing(circuit: QuantumCircuit) -> Listing:
    """Gate, qubits and parameters of every instruction, in order."""
    return [
        (
            i.operation.name,
            tuple(circuit.find_bit(q).index for q in i.qubits),
            tuple(p.name for p in i.operation.params),
        )
        for i in circuit.data
    ]


def names(start: int, count: int, vector: str = "w") -> tuple[str, ...]:
    return tuple(f"{vector}[{k}]" for k in range(start, start + count))


def test_ring_closes_from_three_qubits_on() -> None:
    assert ring(1) == []
    assert ring(2) == [(0, 1)]
    assert ring(4) == [(0, 1), (1, 2), (2, 3), (3, 0)]


def test_u3_cu3_is_quantumnas_first_space() -> None:
    """U3 on wires 0 to 3, then CU3 on (0,1), (1,2), (2,3), (3,0), control first; 8 blocks: 192."""
    expected: Listing = []
    weight = 0
    for _ in range(2):
        for q in range(4):
            expected.append(("u3", (q,), names(weight, 3)))
            weight += 3
        for pair in ((0, 1), (1, 2), (2, 3), (3, 0)):
            expected.append(("cu3", pair, names(weight, 3)))
            weight += 3
    assert listing(u3_cu3(4, blocks=2)) == expected
    assert len(u3_cu3(4, blocks=8).parameters) == 192


def test_u3_cu3_without_entanglement() -> None:
    circuit = u3_cu3(3, blocks=2, entangle=False)
    assert dict(circuit.count_ops()) == {"u3": 6}
    assert len(circuit.parameters) == 18


@pytest.mark.parametrize(("num_qubits", "weights"), [(1, 3), (2, 9), (3, 18), (5, 30)])
def test_weights_of_one_block(num_qubits: int, weights: int) -> None:
    assert len(u3_cu3(num_qubits, blocks=1).parameters) == weights
    assert len(u3_cu3(num_qubits, blocks=3).parameters) == 3 * weights


def test_hardware_efficient() -> None:
    expected: Listing = []
    weight = 0
    for _ in range(2):
        for q in range(3):
            expected.append(("ry", (q,), names(weight, 1, "v")))
            expected.append(("rz", (q,), names(weight + 1, 1, "v")))
            weight += 2
        expected += [("cx", pair, ()) for pair in ((0, 1), (1, 2), (2, 0))]
    assert listing(hardware_efficient(3, layers=2, name="v")) == expected
    assert dict(hardware_efficient(2, layers=3).count_ops()) == {"ry": 6, "rz": 6, "cx": 3}


@pytest.mark.parametrize(("num_qubits", "layers"), [(1, 2), (2, 2), (3, 3), (4, 5)])
def test_strongly_entangling_is_pennylanes(num_qubits: int, layers: int) -> None:
    """Its ``weights[layer, wire]`` are the three angles of a qubit, in the same order."""
    weights = np.random.default_rng(layers).uniform(-3, 3, (layers, num_qubits, 3))

    @qp.qnode(qp.device("default.qubit", wires=num_qubits))
    def state() -> object:
        qp.StronglyEntanglingLayers(weights, wires=range(num_qubits))
        return qp.state()

    theirs = np.asarray(state()).reshape([2] * num_qubits).transpose().ravel()  # wire 0 lowest
    circuit = strongly_entangling(num_qubits, layers)
    values = dict(zip(lower(circuit).weights, weights.ravel(), strict=True))
    ours = Statevector(circuit.assign_parameters(values)).data
    assert_allclose(ours, theirs, atol=1e-12)


def test_ranges_of_strongly_entangling_layers() -> None:
    """``r = layer mod (n - 1) + 1``: 1, 2, 3 and again 1 for four qubits."""
    circuit = strongly_entangling(4, layers=4)
    pairs = [qubits for name, qubits, _ in listing(circuit) if name == "cx"]
    assert pairs == [(q, (q + r) % 4) for r in (1, 2, 3, 1) for q in range(4)]
    assert len(circuit.parameters) == 48


@pytest.mark.parametrize("name", ANSATZE)
def test_ansatze_by_name(name: str) -> None:
    """Weights in natural order are weights in order of use."""
    circuit = ANSATZE[name](3, 4)
    used = [p for _, _, parameters in listing(circuit) for p in parameters]
    assert list(lower(circuit).weights) == used
    assert used == list(names(0, len(used)))


def gate_table_circuit() -> QuantumCircuit:
    return random_circuit(3, num_gates=25, seed=4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: hardware_efficient(3, 2),
        lambda: strongly_entangling(3, 2),
        lambda: u3_cu3(3, 2),
        gate_table_circuit,
    ],
)
def test_mirrored_with_equal_weights_is_the_identity(make: Callable[[], QuantumCircuit]) -> None:
    circuit = make()
    block = mirrored(circuit)
    assert len(block.parameters) == 2 * len(circuit.parameters)
    values = np.random.default_rng(0).uniform(-1, 1, 99)
    bound = block.assign_parameters({p: values[p.index] for p in block.parameters})
    assert_allclose(Operator(bound).data, np.eye(8), atol=1e-10)
    other = block.assign_parameters(np.linspace(-1, 1, len(block.parameters)))
    assert np.abs(Operator(other).data - np.eye(8)).max() > 0.1


def test_mirrored_weights_are_named_after_their_twins() -> None:
    weights = lower(mirrored(u3_cu3(2, 1))).weights
    assert weights == names(0, 9) + names(0, 9, "w_mirror")


def test_mirrored_keeps_gaps_in_a_vector() -> None:
    """A vector of which only some elements are used, as after pruning."""
    w, circuit = ParameterVector("w", 4), QuantumCircuit(1)
    circuit.rx(w[3] + w[1], 0)
    used = {p.name for p in mirrored(circuit).parameters}
    assert used == {"w[1]", "w[3]", "w_mirror[1]", "w_mirror[3]"}


def test_mirrored_needs_vectors() -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("a"), 0)
    with pytest.raises(ValueError, match="parameters in ParameterVectors, but 'a' is a single"):
        mirrored(circuit)


@pytest.mark.parametrize(
    ("ansatz", "what"),
    [
        (hardware_efficient, "hardware_efficient"),
        (strongly_entangling, "strongly_entangling"),
        (u3_cu3, "u3_cu3"),
    ],
)
def test_sizes_must_be_positive(ansatz: Callable[[int, int], QuantumCircuit], what: str) -> None:
    with pytest.raises(ValueError, match=f"{what} needs at least 1 qubit and a depth of 1, got 0"):
        ansatz(0, 1)
    with pytest.raises(ValueError, match=f"{what} needs at least 1 .* got 2 and 0"):
        ansatz(2, 0)
