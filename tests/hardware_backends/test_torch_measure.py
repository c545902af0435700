"""Measurement against Qiskit, and its co-state against autograd."""

import numpy as np
import pytest
import torch
from qiskit.quantum_info import SparsePauliOp, random_statevector

from nisqkit.circuits import Observables
from nisqkit.hardware_backends.torch_measure import LOW_QUBITS, Measurement

STRINGS = ["IIZ", "XYZ", "YYI", "YXX", "III", "ZIZ", "XYI", "YIY", "YII"]


@pytest.mark.parametrize("num_qubits", [3, LOW_QUBITS + 2])
def test_values_are_qiskits(num_qubits: int) -> None:
    """Signs of more than ten qubits are in two parts; odd numbers of Y are imaginary."""
    rest = "Z" + "Y" * (num_qubits - 4) if num_qubits > 3 else ""
    sums = [SparsePauliOp([rest + s, s + rest], [0.7, -0.2]) for s in STRINGS]
    states = [random_statevector(2**num_qubits, seed=k) for k in range(2)]
    columns = torch.from_numpy(np.stack([s.data for s in states], axis=1))
    found = Measurement(Observables.parse(sums, num_qubits)).values(columns)
    expected = [[state.expectation_value(s).real for s in sums] for state in states]
    np.testing.assert_allclose(found, expected, atol=1e-13)


@pytest.mark.parametrize("given", [STRINGS, "probs", None])
def test_the_costate_is_the_gradient_of_the_state(given: list[str] | str | None) -> None:
    measured = Measurement(Observables.parse(given, 3))
    state = torch.randn(8, 4, dtype=torch.complex128, requires_grad=True)
    values = measured.values(state)
    grad = torch.randn_like(values)
    expected = torch.autograd.grad(values, state, grad)[0]
    torch.testing.assert_close(measured.costate(state.detach(), grad), expected)
