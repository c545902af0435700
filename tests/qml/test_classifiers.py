"""Networks of several circuits are the composition of their parts."""

from __future__ import annotations

import pytest
import torch

from nisqkit.circuits import angle, encoder, u3_cu3
from nisqkit.noise import Device
from nisqkit.qml import PostMeasurementNorm, PostMeasurementQuantize, QuantumLayer, classifier
from nisqkit.qml.models import count_parameters, quantum_layers

X = torch.rand(6, 16, generator=torch.Generator().manual_seed(0))


def layers(model: torch.nn.Module) -> list[QuantumLayer]:
    return list(quantum_layers(model).values())


def test_nodes_follow_each_other_as_published() -> None:
    model = classifier(16, 2, depth=1, nodes=3, norm=True, quantize=4, seed=5)
    kinds = [QuantumLayer, PostMeasurementNorm, PostMeasurementQuantize]
    assert [type(part) for part in list(model)[:-1]] == [*kinds, *kinds, QuantumLayer]
    first = QuantumLayer(encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1)), "x", seed=5)
    later = [QuantumLayer(angle(4).compose(u3_cu3(4, blocks=1)), "x") for _ in range(2)]
    for ours, k in zip(later, (3, 6), strict=True):
        ours.load_state_dict(model[k].state_dict())
    norm, quantize = PostMeasurementNorm(4), PostMeasurementQuantize(4)
    y = quantize(norm(first(X)))
    y = later[1](quantize(norm(later[0](y))))
    expected = torch.stack([y[:, 0] + y[:, 1], y[:, 2] + y[:, 3]], dim=1)
    assert torch.allclose(model(X), expected, atol=1e-6)
    assert count_parameters(model) == 3 * 24


def test_every_node_of_every_seed_starts_elsewhere() -> None:
    models = [classifier(16, 4, depth=1, nodes=3, seed=seed) for seed in range(4)]
    weights = torch.stack([layer.weights for model in models for layer in layers(model)])
    assert len(weights.unique(dim=0)) == 12


def test_options_reach_every_node() -> None:
    belem = Device.load("fake_belem")
    model = classifier(
        16, 4, depth=1, nodes=2, noise=belem, layout=[0, 1, 3, 4], inject="exact", seed=0
    )
    for layer in layers(model):
        assert layer.execution.noise == belem
        assert layer.transpiled.initial_layout == (0, 1, 3, 4)
        assert layer.injection is not None
    native = classifier(16, 4, depth=1, nodes=2, noise=belem, native=True, seed=0)
    plain = classifier(16, 4, depth=1, nodes=2, noise=belem, seed=0)
    assert count_parameters(native) > count_parameters(plain)
    assert torch.allclose(native(X), plain(X), atol=2e-2)  # the encoder merges differently


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": 0}, "nodes=0 must be at least 1"),
        ({"norm": True}, "norm acts between nodes, and there is one"),
        ({"quantize": 5}, "quantize acts between nodes, and there is one"),
        ({"native": True}, "native_layer needs the layer's device"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(16, 4, depth=1, **options)  # type: ignore[arg-type]
