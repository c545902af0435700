from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nisqkit.circuits import angle
from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.compression import ElasticNet, HybridSupernet, Supernet, calibrate
from nisqkit.compression.supernet import largest, outputs_of, sample, smallest
from nisqkit.qml import QuantumLayer
from nisqkit.qml.post_measurement_norm import PostMeasurementNorm, freeze_statistics
from nisqkit.qml.super_circuit import SuperCircuit
from nisqkit.search import Choice, Group, Int, Ordered

DESIGN = DesignSpace("u3cu3", num_qubits=2, blocks=2)


def encoder() -> ElasticNet:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
    return ElasticNet(model, widths={"0": [2, 4, 8]})


def hybrid() -> HybridSupernet:
    """An elastic encoder, a SuperCircuit, normalisation, and a head that does not vary."""
    circuit = SuperCircuit(DESIGN, angle(2), seed=0, init="uniform")
    torch.manual_seed(1)
    parts = {"encoder": encoder(), "circuit": circuit, "norm": PostMeasurementNorm(2)}
    return HybridSupernet(parts | {"head": nn.Linear(2, 3)})


SMALL = {"encoder": {"0": {"width": 2}}, "circuit": [{"u3": 2, "cu3": 1}]}
X = torch.randn(12, 6, generator=torch.Generator().manual_seed(2))


def test_circuits_and_networks_have_one_protocol() -> None:
    assert isinstance(SuperCircuit(DESIGN, angle(2)), Supernet)
    assert isinstance(encoder(), Supernet)
    assert isinstance(hybrid(), Supernet)
    assert not isinstance(nn.Linear(2, 2), Supernet)


def test_the_space_of_a_pair_is_the_product() -> None:
    model = hybrid()
    circuits = SuperCircuit(DESIGN, angle(2)).__space__().size()
    assert model.__space__().size() == 3 * circuits
    assert largest(model.__space__())["circuit"] == DESIGN.largest
    assert smallest(model.__space__())["circuit"] == [{"u3": 1, "cu3": 1}]


def by_hand(model: Any, x: Tensor) -> Tensor:
    """The small candidate from torch, a written-out circuit, and the formula of the norm."""
    net, circuit = model.part("encoder").model, model.part("circuit")
    y = x @ net[0].weight[:2].T + net[0].bias[:2]
    y = torch.tanh((y - y.mean(0)) / (y.var(0) + 1e-5).sqrt())
    y = y @ net[3].weight[:, :2].T + net[3].bias
    layer = QuantumLayer(angle(2).compose(DESIGN.subcircuit(SMALL["circuit"])), inputs="x")
    with torch.no_grad():
        layer.weights.copy_(
            circuit.layer.weights[torch.tensor(DESIGN.weight_mask(SMALL["circuit"]))]
        )
    y = layer(y)
    y = (y - y.mean(0)) / (y.var(0, correction=0) + 1e-10).sqrt()
    head = model.part("head")
    found: Tensor = y @ head.weight.T + head.bias
    return found


def test_a_hybrid_candidate_is_the_same_everywhere() -> None:
    model = hybrid()
    calibrate(model, SMALL, X)
    model.eval()
    expected = by_hand(model, X)
    assert torch.allclose(model(X), expected, atol=1e-5)
    alone = model.extract(SMALL)
    assert torch.allclose(alone(X), model(X), atol=1e-6)
    assert torch.allclose(alone(X[:1]), model(X)[:1], atol=1e-6)  # statistics stay
    # 2 x 6 + 2, a norm of 2, 2 x 2 + 2, two U3 and a CU3, 2 x 3 + 3
    assert model.active_parameters == 14 + 4 + 6 + 9 + 9
    kept = [p.untyped_storage().data_ptr() for p in model.parameters()]
    assert all(p.untyped_storage().data_ptr() not in kept for p in alone.parameters())


def test_training_runs_the_active_circuit_and_no_drawn_one() -> None:
    model = hybrid().train()
    model.set_active(SMALL)
    model(X).sum().backward()
    weights = model.part("circuit").layer.weights
    inside = torch.tensor(DESIGN.weight_mask(SMALL["circuit"]))
    assert (weights.grad[~inside] == 0).all()
    assert (weights.grad[inside] != 0).any()
    assert int(model.part("circuit").step) == 0


def test_statistics_of_a_measurement_are_those_of_freeze_statistics() -> None:
    model = hybrid()
    model.calibrate(SMALL, X)
    norm = model.part("norm")
    other = hybrid()
    other.part("encoder").calibrate(SMALL["encoder"], X)
    other.set_active(SMALL)
    freeze_statistics(other.eval(), X)
    assert torch.allclose(norm.mean, other.part("norm").mean, atol=1e-7)
    assert torch.allclose(norm.var, other.part("norm").var, atol=1e-7)
    assert norm.training  # modes are as before


def test_a_supernet_without_calibration_of_its_own() -> None:
    head: Any = nn.Sequential(PostMeasurementNorm(2), nn.Linear(2, 2))
    circuit = SuperCircuit(DESIGN, angle(2), head=head, seed=0)
    calibrate(circuit, SMALL["circuit"], X[:, :2])
    assert circuit.active == SMALL["circuit"]
    plain = SuperCircuit(DESIGN, angle(2), seed=0).eval().set_active(SMALL["circuit"])
    assert torch.allclose(head[0].mean, plain(X[:, :2]).mean(0), atol=1e-6)


def test_samples_are_of_the_space_and_only_free_genes_vary() -> None:
    model = hybrid()
    space, rng = model.__space__(), np.random.default_rng(0)
    drawn = [sample(space, rng) for _ in range(50)]
    for candidate in drawn:
        space.check(candidate)
    assert {c["encoder"]["0"]["width"] for c in drawn} == {2, 4, 8}
    assert {len(c["circuit"]) for c in drawn} == {1, 2}
    for _ in range(20):
        candidate = sample(space, rng, free=["width"])
        assert candidate["circuit"] == DESIGN.largest


def test_a_candidate_without_of_is_made_active() -> None:
    class Plain(nn.Module):
        """The protocol and nothing else."""

        active_parameters = 0

        def __init__(self) -> None:
            super().__init__()
            self.factor = 1

        def __space__(self) -> Int:
            return Int(1, 3)

        def set_active(self, candidate: int) -> None:
            self.factor = candidate

        def extract(self, candidate: int) -> nn.Module:
            return nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * x

    assert torch.equal(outputs_of(Plain(), 3, X), 3 * X)
    assert torch.allclose(HybridSupernet({"a": Plain(), "b": Plain()})(X), 9 * X)


def test_bad_candidates() -> None:
    model = hybrid()
    for method in (model.set_active, model.extract):
        with pytest.raises(ValueError, match=r"candidate\.circuit is missing"):
            method({"encoder": {"0": {"width": 2}}})
        with pytest.raises(ValueError, match=r"candidate\.circus is unknown; did you mean"):
            method(SMALL | {"circus": []})
    with pytest.raises(ValueError, match=r"candidate\.encoder\.0\.width is 3"):
        model.of(SMALL | {"encoder": {"0": {"width": 3}}}, X)


def test_what_is_no_supernet() -> None:
    with pytest.raises(TypeError, match="Linear is no supernet: it needs __space__"):
        calibrate(nn.Linear(2, 2), {}, X)
    with pytest.raises(ValueError, match=r"none of the parts \['a'\] is a supernet"):
        HybridSupernet({"a": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match="there is no part 'encodr'; did you mean 'encoder'"):
        hybrid().part("encodr")


def test_genes_without_an_order() -> None:
    space = Group({"width": Ordered([1, 2]), "kind": Choice(["ring", "line"])})
    with pytest.raises(TypeError, match="Choice has no largest value: a supernet's genes are"):
        largest(space)
