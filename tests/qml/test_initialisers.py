"""Initialisers: their distributions, and that an identity block is the identity."""

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from scipy.stats import kstest

from nisqkit.circuits import Observables, hardware_efficient, lower, mirrored, u3_cu3
from nisqkit.hardware_backends.reference import final_state
from nisqkit.qml.initialisers import initial_weights

WIDE = lower(hardware_efficient(6, 40))
Z = Observables.parse(None, 6)


def test_uniform_covers_a_full_turn() -> None:
    values = initial_weights("uniform", WIDE, Z, seed=0).numpy()
    assert kstest(values, "uniform", (-np.pi, 2 * np.pi)).pvalue > 1e-3


@pytest.mark.parametrize("name", ["small-angle", "auto"])
def test_small_angles(name: str) -> None:
    values = initial_weights(name, WIDE, Z, seed=0).numpy()
    assert kstest(values, "uniform", (-0.1, 0.2)).pvalue > 1e-3


def test_gaussian_follows_depth_and_locality() -> None:
    """Depth 80 in rotations (CX has no angle), observables on one qubit and on three."""
    for observables, support in ((Z, 1), (Observables.parse("IXYZII", 6), 3)):
        values = initial_weights("gaussian", WIDE, observables, seed=0).numpy()
        assert kstest(values, "norm", (0, (4 * support * 82) ** -0.5)).pvalue > 1e-3


@pytest.mark.parametrize("ansatz", [u3_cu3(3, 2), hardware_efficient(4, 3)])
def test_identity_block_is_the_identity(ansatz: QuantumCircuit) -> None:
    program = lower(mirrored(ansatz))
    observables = Observables.parse(None, program.num_qubits)
    weights = initial_weights("identity-block", program, observables, seed=2)
    assert len(weights) == 2 * len(ansatz.parameters)
    assert weights.unique().numel() == len(ansatz.parameters)
    state = final_state(program, program.angles(weights.new_zeros(1, 0), weights)).flatten()
    assert abs(complex(state[0])) == pytest.approx(1, abs=1e-12)


def test_seeds() -> None:
    one, same, other = (initial_weights("uniform", WIDE, Z, seed=s) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_values_are_taken_as_given() -> None:
    given = torch.linspace(0, 1, len(WIDE.weights))
    assert torch.equal(initial_weights(given, WIDE, Z, seed=0).float(), given)


def test_identity_block_needs_a_mirrored_ansatz() -> None:
    with pytest.raises(ValueError, match=r"made by nisqkit.circuits.mirrored, but weight 'w\[0\]'"):
        initial_weights("identity-block", WIDE, Z, seed=0)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="unknown init 'gausian'; did you mean 'gaussian'"):
        initial_weights("gausian", WIDE, Z, seed=0)
