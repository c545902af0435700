"""Energies of the hydrogen molecule, and a search for the circuit that a noisy device bears."""

from __future__ import annotations

import numpy as np
import pytest

from nisqkit.circuits import u3_cu3
from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.noise import Device
from nisqkit.qml import QuantumLayer
from nisqkit.qml.co_search import CoSearch
from nisqkit.qml.super_circuit import SuperCircuit
from nisqkit.qml.vqe import H2, minimise
from nisqkit.search import Study

GROUND = -1.8572750


def test_the_ground_energy_is_that_of_diagonalisation() -> None:
    assert np.linalg.eigvalsh(H2.to_matrix())[0] == pytest.approx(GROUND, abs=1e-7)
    layer = QuantumLayer(u3_cu3(2, blocks=2), observables=H2, seed=0).double()
    exact = np.linalg.eigvalsh(H2.to_matrix())[0]
    assert minimise(layer) == pytest.approx(exact, abs=1e-6)


def test_a_search_with_noise_finds_lower_energies_on_the_device() -> None:
    """One SuperCircuit, two searches with equally many evaluations; transpiled for real."""
    design = DesignSpace("u3cu3", 2)
    model = SuperCircuit(design, observables=H2, steps=600, seed=0).double()
    minimise(model, steps=600, lr=0.02)
    model.eval()
    yorktown = Device.load("fake_yorktown")
    found = {}
    for score in ("loss", "ideal"):
        search = CoSearch.energy(model, yorktown, score=score)
        study = Study.open(search.problem(), seed=0)
        study.run(240)
        fresh = model.extract(study.best.value["circuit"], inherit=False).double()
        minimise(fresh, steps=300)
        found[score] = search.transpiled_loss(study.best.value, fresh)
        assert found[score] > GROUND
    assert found["loss"] < found["ideal"] - 0.02
