"""The gate table against Qiskit's matrices, and its shift rules against analysis."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit.quantum_info import Operator

from nisqkit.circuits.gates import GATES, Gate, gate
from nisqkit.circuits.lower import gate_class

PARAMETERISED = [(g.name, p) for g in GATES.values() for p in range(g.num_params)]


@pytest.mark.parametrize("name", GATES)
def test_matrix_is_qiskits(name: str) -> None:
    angles = np.random.default_rng(1).uniform(-4, 4, GATES[name].num_params)
    ours = gate(name).matrix(torch.tensor(angles)).numpy()
    assert_allclose(ours, Operator(gate_class(name)(*angles)).data, atol=1e-12)


def expectation(record: Gate, angles: torch.Tensor) -> torch.Tensor:
    """The expectation value of a fixed Hermitian matrix after the gate, from a fixed state."""
    random = torch.Generator().manual_seed(record.num_qubits)
    dim = 2**record.num_qubits
    state = torch.randn(dim, generator=random, dtype=torch.complex128)
    root = torch.randn(dim, dim, generator=random, dtype=torch.complex128)
    after = record.matrix(angles) @ (state / state.norm())
    return ((root + root.conj().T) @ after * after.conj()).sum().real


@pytest.mark.parametrize(("name", "param"), PARAMETERISED)
def test_shift_rule_is_the_derivative(name: str, param: int) -> None:
    record = gate(name)
    random = torch.Generator().manual_seed(3)
    angles = torch.rand(record.num_params, generator=random, dtype=torch.float64) * 6 - 3
    angles.requires_grad_()
    (exact,) = torch.autograd.grad(expectation(record, angles), angles)
    shifts, coefficients = record.shift_rule(param)
    unit = torch.eye(record.num_params, dtype=torch.float64)[param]
    values = [expectation(record, angles.detach() + s * unit) for s in shifts]
    assert_allclose(float(coefficients @ torch.stack(values)), float(exact[param]), atol=1e-10)


@pytest.mark.parametrize(
    ("name", "terms"), [("rx", 2), ("p", 2), ("rzz", 2), ("cp", 2), ("crx", 4), ("cu3", 4)]
)
def test_number_of_shift_terms(name: str, terms: int) -> None:
    assert len(gate(name).shift_rule(0)[0]) == terms


def test_matrix_is_batched_and_differentiable() -> None:
    angles = torch.rand(2, 5, 3, dtype=torch.float64, requires_grad=True)
    matrices = gate("u").matrix(angles)
    assert matrices.shape == (2, 5, 2, 2)
    identity = torch.eye(2, dtype=torch.complex128).expand(2, 5, 2, 2)
    torch.testing.assert_close(matrices @ matrices.mH, identity)
    assert torch.autograd.gradcheck(lambda a: torch.view_as_real(gate("u").matrix(a)), angles)


def test_unknown_gate_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown gate 'cu33'; did you mean 'cu3'"):
        gate("cu33")
