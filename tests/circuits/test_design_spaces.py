"""Design spaces have the published sizes; a sub-circuit is the SuperCircuit without some gates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from qiskit.quantum_info import Operator

from nisqkit.circuits import Observables, Task, lower
from nisqkit.circuits.design_spaces import DESIGN_SPACES, DesignSpace
from nisqkit.hardware_backends.execute import Execution, execute

# of a full block on 4 qubits: QuantumNAS's released code, see Wang et al., HPCA 2022
PER_BLOCK = {
    "u3cu3": 24,
    "zzry": 8,
    "rxyz": 12,
    "zxxx": 8,
    "rxyz_u1_cu3": 28,
    "ibm_basis": 12,
}


@pytest.mark.parametrize("name", DESIGN_SPACES)
def test_a_full_block_has_as_many_weights_as_published(name: str) -> None:
    design = DesignSpace(name, 4)
    assert design.num_weights(design.largest[:1]) == PER_BLOCK[name]
    assert len(design.circuit().parameters) == PER_BLOCK[name] * design.num_blocks
    assert len(design.largest) == DESIGN_SPACES[name]


def test_u3cu3_has_the_published_genes() -> None:
    """16 widths of 1 to 4 and 1 to 8 blocks; without what is not used, that many circuits."""
    design = DesignSpace("u3cu3", 4)
    assert design.space.size() == sum(4 ** (2 * blocks) for blocks in range(1, 9))
    assert DesignSpace("u3cu3", 4, arbitrary=True).space.size() == sum(
        15 ** (2 * blocks) for blocks in range(1, 9)
    )


@pytest.mark.parametrize("arbitrary", [False, True])
@pytest.mark.parametrize("name", DESIGN_SPACES)
def test_a_sub_circuit_is_the_super_circuit_with_a_mask(name: str, arbitrary: bool) -> None:
    design = DesignSpace(name, 3, blocks=3, arbitrary=arbitrary)
    whole = lower(design.circuit())
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.uniform(-3, 3, len(whole.weights)))
    none = torch.zeros(1, 0, dtype=torch.float64)
    observables = Observables.parse(["XZY", "ZIX", "YYI"], 3)
    for _ in range(4):
        sub = design.space.sample(rng)
        alone = lower(design.subcircuit(sub))
        own = weights[torch.tensor(design.weight_mask(sub), dtype=torch.bool)]
        assert len(own) == design.num_weights(sub)
        masked = whole.select(design.mask(sub)[: whole.num_groups])
        tasks = [Task(alone, none, own, observables), Task(masked, none, weights, observables)]
        one, two = execute(tasks, Execution("reference"))
        torch.testing.assert_close(one.values, two.values, atol=1e-12, rtol=0)


def test_layers_stand_as_published() -> None:
    layers = {layer.name: layer.places for layer in DesignSpace("rxyz", 4).layers}
    assert layers["cz"] == ((0, 1), (2, 3), (1, 2))
    ring = {layer.name: layer.places for layer in DesignSpace("u3cu3", 4).layers}["cu3"]
    assert ring == ((0, 1), (1, 2), (2, 3), (3, 0))
    names = [layer.name for layer in DesignSpace("ibm_basis", 4).layers]
    assert names == ["rz", "x", "rz_2", "sx", "rz_3", "cx"]


def test_the_prelude_is_no_part_of_a_block() -> None:
    """All of the last block of RXYZ is applied: its CZ layer is not lost."""
    design = DesignSpace("rxyz", 4, blocks=2)
    full = design.subcircuit(design.largest)
    assert full.count_ops()["cz"] == 2 * 3
    root = Operator(design.kept((True,) * 4 + (False,) * (len(design.circuit().data) - 4)))
    turned = np.array(
        [[np.cos(np.pi / 8), -np.sin(np.pi / 8)], [np.sin(np.pi / 8), np.cos(np.pi / 8)]]
    )
    expected = turned
    for _ in range(3):
        expected = np.kron(expected, turned)
    np.testing.assert_allclose(root.data, expected, atol=1e-12)


def test_the_square_root_of_swap_is_one() -> None:
    design = DesignSpace("rxyz_u1_cu3", 2, blocks=1)
    (gate,) = [i.operation for i in design.circuit().data if i.operation.label == "sqrt_swap"]
    swap = np.eye(4)[[0, 2, 1, 3]]
    np.testing.assert_allclose(gate.to_matrix() @ gate.to_matrix(), swap, atol=1e-12)


def test_the_human_circuit_uses_its_weights_from_the_front() -> None:
    design = DesignSpace("u3cu3", 4)
    for number in (3, 24, 36, 192):
        assert len(design.kept(design.human_mask(number)).parameters) == number
    assert len(design.kept(design.human_mask(37)).parameters) == 36
    free = DesignSpace("ibm_basis", 4, blocks=2)  # gates without weights come along
    assert free.kept(free.human_mask(4)).count_ops() == {"rz": 4, "x": 4}


def test_random_circuits_have_the_weights_that_are_asked_for() -> None:
    design = DesignSpace("u3cu3", 4)
    rng = np.random.default_rng(0)
    drawn = [design.random(36, rng) for _ in range(5)]
    assert [design.num_weights(sub) for sub in drawn] == [36] * 5
    assert len({str(sub) for sub in drawn}) > 1


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="unknown design space 'u3cu'; did you mean 'u3cu3'"):
        DesignSpace("u3cu", 4)
    with pytest.raises(ValueError, match="num_qubits=1 must be at least 2"):
        DesignSpace("u3cu3", 1)
    with pytest.raises(ValueError, match="blocks=0 must be at least 1"):
        DesignSpace("u3cu3", 4, blocks=0)
    design = DesignSpace("u3cu3", 4)
    with pytest.raises(ValueError, match="u3"):
        design.mask([{"u3": 5, "cu3": 1}])
    with pytest.raises(ValueError, match=r"num_weights=0: DesignSpace\(.*\) has from 1 to 192"):
        design.human_mask(0)
