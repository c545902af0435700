import numpy as np
import pytest
from qiskit.quantum_info import (
    PTM,
    Choi,
    Pauli,
    SuperOp,
    average_gate_fidelity,
    random_quantum_channel,
)

from nisqkit.noise.pauli_basis import (
    choi_of_ptm,
    embedded,
    infidelity,
    kraus_of_ptm,
    paulis,
    ptm_of_superop,
    signs,
    superop_of_kraus,
    superop_of_ptm,
)


def random_ptm(num_qubits: int, seed: int) -> tuple[SuperOp, np.ndarray]:
    dim = 2**num_qubits
    channel = SuperOp(random_quantum_channel(dim, dim, rank=3, seed=seed))
    return channel, ptm_of_superop(channel.data, num_qubits).real


@pytest.mark.parametrize("num_qubits", [1, 2, 3])
def test_the_basis_is_that_of_qiskit(num_qubits: int) -> None:
    every = paulis(num_qubits)
    for index, matrix in enumerate(every):
        label = "".join("IXYZ"[index // 4**q % 4] for q in reversed(range(num_qubits)))
        assert np.array_equal(matrix, Pauli(label).to_matrix())
    for i, j in np.random.default_rng(0).integers(4**num_qubits, size=(20, 2)):
        sign = signs(num_qubits)[i, j]
        assert np.array_equal(every[i] @ every[j], sign * every[j] @ every[i])


@pytest.mark.parametrize("num_qubits", [1, 2])
def test_every_form_agrees_with_qiskit(num_qubits: int) -> None:
    channel, ptm = random_ptm(num_qubits, seed=5)
    assert np.allclose(ptm, PTM(channel).data, atol=1e-12)
    assert np.allclose(superop_of_ptm(ptm, num_qubits), channel.data, atol=1e-12)
    assert np.allclose(choi_of_ptm(ptm, num_qubits), Choi(channel).data, atol=1e-12)
    kraus = kraus_of_ptm(ptm, num_qubits)
    assert np.allclose(superop_of_kraus(kraus), channel.data, atol=1e-12)
    assert infidelity(ptm) == pytest.approx(1 - average_gate_fidelity(channel), abs=1e-12)


@pytest.mark.parametrize("on", [(0, 1), (2, 0), (1, 2), (2, 1)])
def test_embedding_agrees_with_composing_in_qiskit(on: tuple[int, ...]) -> None:
    channel, ptm = random_ptm(2, seed=7)
    wide = SuperOp(np.eye(64)).compose(channel, qargs=list(on))
    assert np.allclose(embedded(ptm, on, 3), ptm_of_superop(wide.data, 3).real, atol=1e-12)
