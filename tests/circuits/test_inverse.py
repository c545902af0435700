"""Inverses undo their gates, for every gate of the table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from qiskit.quantum_info import Operator, random_unitary

from nisqkit.circuits.gates import GATES, gate
from nisqkit.circuits.inverse import inverse
from nisqkit.circuits.program import GateUse


def embedded(matrix: np.ndarray, qubits: tuple[int, ...], num_qubits: int) -> np.ndarray:
    return np.asarray(Operator(np.eye(2**num_qubits)).compose(Operator(matrix), list(qubits)).data)


@pytest.mark.parametrize("name", [*GATES, "unitary"])
def test_a_gate_and_its_inverse_are_the_identity_up_to_a_phase(name: str) -> None:
    entries = tuple(random_unitary(4, seed=3).data.ravel().tolist()) if name == "unitary" else None
    record = gate(name, entries)
    qubits = tuple(range(record.num_qubits))
    angles = np.random.default_rng(5).uniform(-3, 3, record.num_params)
    total = record.matrix(torch.from_numpy(angles)).numpy()
    for part in inverse(GateUse(name, qubits, qubits[: record.num_params], entries)):
        values = [factor * angles[k] if factor else 0.0 for k, factor, _ in part.angles]
        values = [v + c for v, (_, _, c) in zip(values, part.angles, strict=True)]
        matrix = gate(part.name, part.matrix).matrix(torch.tensor(values, dtype=torch.float64))
        total = embedded(matrix.numpy(), part.qubits, len(qubits)) @ total
    phase = total[0, 0]
    assert abs(phase) == pytest.approx(1)
    np.testing.assert_allclose(total, phase * np.eye(len(total)), atol=1e-12)


@pytest.mark.parametrize("name", ["rz", "sx", "x", "cx", "ecr", "cz", "id", "rx", "rzz", "u1"])
def test_native_gates_are_undone_by_themselves_and_rz(name: str) -> None:
    record = GATES[name]
    found = inverse(GateUse(name, tuple(range(record.num_qubits)), (0,) * record.num_params))
    assert {part.name for part in found} <= {name, "rz"}
    assert sum(part.name == name for part in found) == 1


def test_a_gate_that_nobody_wrote_an_inverse_for_is_an_error() -> None:
    with pytest.raises(ValueError, match="gate with an inverse"):
        inverse(GateUse("toffoli", (0, 1, 2)))
