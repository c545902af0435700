"""A SuperCircuit is each of its sub-circuits: values, gradients, and what is taken out of it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from nisqkit.circuits import angle, encoder
from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.qml import QuantumLayer, TrainConfig, load_dataset
from nisqkit.qml.classifiers import GroupSum
from nisqkit.qml.fit import fit
from nisqkit.qml.run_folder import RunFolder
from nisqkit.qml.super_circuit import SuperCircuit

DESIGN = DesignSpace("u3cu3", 4, blocks=3)


def model(**options: object) -> SuperCircuit:
    found = SuperCircuit(
        DESIGN,
        encoder("4x4_ryzxy"),
        head=GroupSum(4, 4),
        init="uniform",
        seed=0,
        **options,  # type: ignore[arg-type]
    )
    return found.double()


@pytest.mark.parametrize("seed", range(3))
def test_a_sub_circuit_is_what_is_taken_out(seed: int) -> None:
    whole = model().eval()
    sub = DESIGN.space.sample(np.random.default_rng(seed))
    x = torch.rand(5, 16, dtype=torch.float64)
    alone = whole.extract(sub)
    torch.testing.assert_close(whole.set_active(sub)(x), alone(x), atol=1e-12, rtol=0)
    layer = alone[0]  # type: ignore[index]
    assert isinstance(layer, QuantumLayer)
    assert layer.weights.numel() == whole.active_parameters == DESIGN.num_weights(sub)
    fresh = whole.extract(sub, inherit=False, seed=1)
    assert not torch.equal(fresh[0].weights, layer.weights)  # type: ignore[index]


def test_only_weights_of_the_sub_circuit_get_a_gradient() -> None:
    whole = model().train()
    whole(torch.rand(3, 16, dtype=torch.float64)).sum().backward()
    grad = whole.layer.weights.grad
    assert grad is not None
    used = torch.tensor(DESIGN.weight_mask(whole._sub()))
    assert (grad[~used] == 0).all()
    assert (grad[used] != 0).float().mean() > 0.5


def test_training_draws_and_evaluation_does_not() -> None:
    whole = model(sample="plain").train()
    x = torch.rand(3, 16, dtype=torch.float64)
    first, second = whole(x), whole(x)
    assert int(whole.step) == 2 and not torch.equal(first, second)
    whole.eval()
    assert torch.equal(whole(x), whole(x)) and int(whole.step) == 2
    torch.testing.assert_close(whole(x), whole.head(whole.layer(x)))  # the largest one


def test_a_copy_goes_on_as_the_original() -> None:
    whole = model().train()
    x = torch.rand(3, 16, dtype=torch.float64)
    whole(x)
    other = model().train()
    other.load_state_dict(copy.deepcopy(whole.state_dict()))
    for _ in range(3):
        assert torch.equal(whole(x), other(x))


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: object) -> None:
    data = load_dataset("digits4")
    config = TrainConfig(epochs=3, lr=0.01, keep="last")
    straight = model(steps=48).float()
    fit(straight, data, config)
    folder = RunFolder(tmp_path / "super")  # type: ignore[operator]
    folder.path.mkdir()

    class Stop(Exception):
        pass

    from nisqkit.qml.fit import Watcher

    class Stopping(Watcher):
        def epoch(self, record: dict[str, object]) -> None:
            if record["epoch"] == 2:
                raise Stop

    with pytest.raises(Stop):
        fit(model(steps=48).float(), data, config, folder=folder, watcher=Stopping())
    resumed = model(steps=48).float()
    fit(resumed, data, config, folder=folder)
    assert torch.equal(resumed.layer.weights, straight.layer.weights)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="the encoder has 3 qubits and the design space 4"):
        SuperCircuit(DESIGN, angle(3))
    with pytest.raises(ValueError, match="unknown sampling 'all'"):
        SuperCircuit(DESIGN, sample="all")
    with pytest.raises(ValueError, match="u3"):
        model().set_active([{"u3": 9, "cu3": 1}])
