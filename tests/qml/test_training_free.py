"""Predictors without training: exact and by stabilisers, with known limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from qiskit.quantum_info import Clifford, Operator

from nisqkit.circuits import circuit_of, encoder, lower, u3_cu3
from nisqkit.circuits.design_spaces import DESIGN_SPACES, DesignSpace
from nisqkit.noise import Device, NoiseModel
from nisqkit.qml.training_free import (
    clifford_angles,
    clifford_noise_resilience,
    representational_capacity,
)

SANTIAGO = Device.load("fake_santiago")
PAULI = NoiseModel.from_device(SANTIAGO, kind="pauli")


@pytest.mark.parametrize("space", [s for s in DESIGN_SPACES if s != "rxyz_u1_cu3"])
def test_replicas_are_clifford_circuits(space: str) -> None:
    """Qiskit's `Clifford` takes them; with the prelude and T gates aside."""
    design = DesignSpace(space, 3, blocks=1)
    program = lower(design.circuit()).by_slots
    constant = {
        s for s, used in enumerate(lower(design.circuit()).angle_map.dependencies) if not used
    }
    angles = clifford_angles(program, 4, seed=1)
    circuit = circuit_of(program)
    for row in angles.tolist():
        slots = {p: int(p.name.split("[")[1][:-1]) for p in circuit.parameters}
        bound = circuit.assign_parameters({p: row[s] for p, s in slots.items()})
        Clifford.from_operator(Operator(bound)) if "cu3" in bound.count_ops() else Clifford(bound)
    assert len(constant) == (3 if space == "rxyz" else 0)


def test_exact_and_sampled_resilience_agree() -> None:
    """Aer's stabiliser simulator with 4,000 shots: sampling makes its distances a little larger."""
    program = lower(u3_cu3(2, blocks=2))
    exact = clifford_noise_resilience(program, (0, 1), PAULI, replicas=6)
    sampled = clifford_noise_resilience(program, (0, 1), PAULI, replicas=6, shots=4000)
    assert sampled == pytest.approx(exact, abs=0.02)
    assert exact < 0.98


def test_deeper_circuits_and_worse_qubits_are_less_resilient() -> None:
    noise = NoiseModel.from_device(Device.load("fake_yorktown"), kind="pauli")
    found = [
        clifford_noise_resilience(lower(u3_cu3(2, blocks=b)), (0, 1), noise) for b in (1, 3, 16)
    ]
    assert found[2] < found[0] - 0.1
    better = clifford_noise_resilience(lower(u3_cu3(2, blocks=3)), (0, 1), PAULI)
    assert better > found[1]


def test_capacity_knows_separated_classes() -> None:
    """An encoder that takes the two classes to opposite states is perfect; equal inputs are not."""
    program = lower(encoder("4_ry"), inputs="x")
    labels = torch.tensor([0] * 8 + [1] * 8)
    apart = torch.pi * labels[:, None].double().expand(16, 4)
    assert representational_capacity(program, apart, labels) == pytest.approx(1)
    mixed = torch.rand(16, 4, generator=torch.Generator().manual_seed(0)) * torch.pi
    assert representational_capacity(program, mixed, labels) < 0.8


def test_capacity_weighs_other_classes() -> None:
    """All alike among C classes: the same-class entries are right, the others wrong."""
    program = lower(encoder("4_ry"), inputs="x")
    labels = torch.arange(12) % 3
    inputs = torch.pi * (torch.arange(12) < 11).double()[:, None].expand(12, 4)
    alike = np.ones((12, 12))
    alike[11, :11] = alike[:11, 11] = 0  # below the mean overlap
    same = (labels[:, None] == labels[None]).numpy()
    expected = 1 - (((alike - same) * np.where(same, 1, 0.5)) ** 2).sum() / 144
    assert representational_capacity(program, inputs, labels) == pytest.approx(expected)


def test_bad_input() -> None:
    program = lower(u3_cu3(2, blocks=1))
    full = NoiseModel.from_device(SANTIAGO)
    with pytest.raises(ValueError, match="fake_santiago is not the Pauli noise of a device"):
        clifford_noise_resilience(program, (0, 1), full)
    with pytest.raises(ValueError, match="capacity needs samples of two classes"):
        representational_capacity(program, torch.zeros(2, 0), torch.zeros(2))
