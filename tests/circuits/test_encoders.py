"""Encoders: gates, qubits and order of features as published, and Qiskit's ZZ feature map."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit.library import zz_feature_map as qiskit_zz_feature_map
from qiskit.quantum_info import Statevector

from nisqkit.circuits import amplitude, angle, encoder, lower, zz_feature_map
from nisqkit.circuits.encoders import LAYERED
from nisqkit.hardware_backends.reference import final_state

Listing = list[tuple[str, int, str]]


def listing(circuit: QuantumCircuit) -> Listing:
    """Gate, qubit and parameter of every rotation, in order."""
    return [
        (i.operation.name, circuit.find_bit(i.qubits[0]).index, i.operation.params[0].name)
        for i in circuit.data
    ]


@pytest.mark.parametrize(
    ("kind", "num_qubits", "layers"),
    [
        ("4x4_ryzxy", 4, [("ry", 4), ("rz", 4), ("rx", 4), ("ry", 4)]),
        ("6x6_ryzxy", 10, [("ry", 10), ("rz", 10), ("rx", 10), ("ry", 6)]),
        ("10_ryzx", 4, [("ry", 4), ("rz", 4), ("rx", 2)]),
        ("4_ry", 4, [("ry", 4)]),
    ],
)
def test_published_encoders(kind: str, num_qubits: int, layers: list[tuple[str, int]]) -> None:
    circuit = encoder(kind)
    expected: Listing = []
    for gate, count in layers:
        expected += [(gate, q, f"x[{len(expected) + q}]") for q in range(count)]
    assert circuit.num_qubits == num_qubits
    assert listing(circuit) == expected


def test_every_published_encoder_is_tested() -> None:
    assert set(LAYERED) == {"4x4_ryzxy", "6x6_ryzxy", "10_ryzx", "4_ry"}


def test_angle_encoding_repeats_its_layers() -> None:
    assert listing(angle(3)) == [("ry", q, f"x[{q}]") for q in range(3)]
    assert listing(angle(2, 5, gates="rx p", name="f")) == [
        ("rx", 0, "f[0]"),
        ("rx", 1, "f[1]"),
        ("p", 0, "f[2]"),
        ("p", 1, "f[3]"),
        ("rx", 0, "f[4]"),
    ]


def test_more_qubits_than_features() -> None:
    circuit = angle(5, 2)
    assert (circuit.num_qubits, len(circuit.data)) == (5, 2)


@pytest.mark.parametrize("reps", [1, 2, 3])
@pytest.mark.parametrize("num_qubits", [2, 3, 4])
def test_zz_feature_map_is_qiskits(num_qubits: int, reps: int) -> None:
    values = np.random.default_rng(reps).uniform(-3, 3, num_qubits)
    theirs = qiskit_zz_feature_map(num_qubits, reps=reps, entanglement="full")
    # both sort their vector's elements by index
    expected = Statevector(theirs.assign_parameters(values))
    found = Statevector(zz_feature_map(num_qubits, reps).assign_parameters(values))
    assert_allclose(found.data, expected.data, atol=1e-12)


def test_zz_feature_map_on_one_qubit_has_no_pairs() -> None:
    """``P(2x) H`` on |0>, by hand."""
    state = Statevector(zz_feature_map(1, reps=1).assign_parameters([0.7])).data
    assert_allclose(state, np.array([1, np.exp(1.4j)]) / np.sqrt(2))


def test_zz_feature_map_goes_through_the_engine() -> None:
    """Its angles are products of inputs."""
    values = np.random.default_rng(0).uniform(-3, 3, (2, 3))
    program = lower(zz_feature_map(3, name="f"), "f")
    angles = program.angles(torch.tensor(values), torch.zeros(0, dtype=torch.float64))
    found = final_state(program, angles).flatten(1)
    theirs = qiskit_zz_feature_map(3, reps=2)
    expected = [Statevector(theirs.assign_parameters(row)).data for row in values]
    assert_allclose(found, expected, atol=1e-12)


def test_amplitude_encoding_uses_the_fewest_qubits() -> None:
    widths = {count: amplitude(count).num_qubits for count in (1, 2, 3, 4, 5, 16, 17)}
    assert widths == {1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 16: 4, 17: 5}
    assert [p.name for p in amplitude(3, name="f").parameters] == ["f[0]", "f[1]", "f[2]"]


def test_errors() -> None:
    with pytest.raises(ValueError, match="at least 1 qubit and 1 feature, got 0 and 0"):
        angle(0)
    with pytest.raises(ValueError, match="at least 1 qubit and 1 feature, got 3 and 0"):
        angle(3, 0)
    with pytest.raises(ValueError, match="unknown rotation 'ryy'; did you mean 'ry'"):
        angle(2, gates="rx ryy")
    with pytest.raises(ValueError, match="gates must name at least one rotation, such as 'ry'"):
        angle(2, gates=" ")
    with pytest.raises(ValueError, match="unknown encoder '4x4_ryzx'; did you mean '4x4_ryzxy'"):
        encoder("4x4_ryzx")
    with pytest.raises(ValueError, match="at least 1 qubit and 1 repetition, got 2 and 0"):
        zz_feature_map(2, reps=0)
    with pytest.raises(ValueError, match="amplitude needs at least 1 feature, got -1"):
        amplitude(-1)
