from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nisqkit.circuits import angle, hardware_efficient
from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.circuits.task import Task
from nisqkit.compression.update_policy import (
    UpdatePolicy,
    angles,
    bias_only,
    everything,
    last_only,
    layers,
    update_costs,
)
from nisqkit.compression.update_space import UpdateSpace
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.reference import ReferenceBackend
from nisqkit.qml import QuantumLayer
from nisqkit.qml.super_circuit import SuperCircuit


class Counting(Backend):
    """Evaluates as the reference does, and counts samples that run."""

    name = "counting"

    def __init__(self) -> None:
        self.count = 0

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        self.count += sum(task.batch for task in tasks)
        return ReferenceBackend().run(tasks)


def hybrid(backend: Any = "native", method: str = "auto") -> nn.Sequential:
    torch.manual_seed(0)
    circuit = QuantumLayer(
        angle(2).compose(hardware_efficient(2, layers=2)),
        inputs="x",
        backend=backend,
        diff_method=method,
        init="uniform",
        seed=0,
    )
    return nn.Sequential(nn.Linear(4, 2), circuit, nn.Linear(2, 3))


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 10), nn.Tanh(), nn.Linear(10, 4)
    )


# --- memory, counted by hand ---


def test_saved_bytes_of_an_mlp() -> None:
    """Linear keeps its input if its weight is trained; Tanh its output if anything before is."""
    model, x = mlp(), torch.zeros(8, 6)
    assert update_costs(model, x, everything(model)).saved_bytes == 4 * 8 * (6 + 20 + 10)
    assert update_costs(model, x, bias_only(model)).saved_bytes == 4 * 8 * (20 + 10)
    assert update_costs(model, x, last_only(model)).saved_bytes == 4 * 8 * 10
    assert update_costs(model, x, layers(model, "4.bias")).saved_bytes == 0
    assert update_costs(model, x, layers(model, "2")).saved_bytes == 4 * 8 * (20 + 10)
    assert update_costs(model, x, UpdatePolicy()).saved_bytes == 0


def test_saved_bytes_of_a_cnn() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 2)),
    )
    x = torch.zeros(3, 1, 8, 8)
    image = 3 * 8 * 8
    # inputs of both convolutions and of the last layer, which are the outputs of the ReLUs
    assert update_costs(model, x, everything(model)).saved_bytes == 4 * image * (1 + 4 + 4)
    assert update_costs(model, x, bias_only(model)).saved_bytes == image * (4 + 4) // 8
    assert update_costs(model, x, last_only(model)).saved_bytes == 4 * image * 4
    torchs = update_costs(model, x, bias_only(model), memory=False).saved_bytes
    assert torchs == 4 * image * (1 + 4 + 4)  # as much as to train everything


# --- executions, counted by a backend ---


@pytest.mark.parametrize("chosen", [[], [0], [5, 2, 7], list(range(8))])
def test_executions_that_really_run(chosen: list[int]) -> None:
    """2 qubits, 2 layers of RY and RZ: 8 angles, of which each costs two more executions."""
    backend = Counting()
    model = hybrid(backend, "parameter-shift")
    policy = layers(model, "2") | angles(model, "1.weights", chosen)
    with policy.applied(model):
        model(X).sum().backward()
    assert backend.count == 5 * (1 + 2 * len(chosen))
    assert update_costs(model, X, policy).executions == 5 * (1 + 2 * len(chosen))


def test_a_trained_encoder_costs_the_gradients_of_the_inputs() -> None:
    model = hybrid()
    frozen = layers(model, "1", "2")
    assert update_costs(model, X, frozen).executions == 5 * (1 + 2 * 8)
    assert update_costs(model, X, frozen | layers(model, "0.bias")).executions == 5 * (17 + 2 * 2)
    assert update_costs(model, X, layers(model, "2")).executions == 5
    assert update_costs(mlp(), torch.zeros(1, 6), UpdatePolicy()).executions is None


# --- what training does ---


def test_only_what_is_chosen_moves() -> None:
    model = hybrid()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    policy = bias_only(model) | angles(model, "1.weights", [1, 6])
    with policy.applied(model):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
        for _ in range(2):
            optimizer.zero_grad()
            model(X).square().sum().backward()
            optimizer.step()
    after = dict(model.named_parameters())
    assert all(p.requires_grad for p in after.values())
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved == {"0.bias", "2.bias", "1.weights"}
    changed = (after["1.weights"] != before["1.weights"]).nonzero().flatten().tolist()
    assert changed == [1, 6]


def test_chosen_angles_have_the_gradient_that_they_have_otherwise() -> None:
    model = hybrid()
    output = model(X)
    output.square().sum().backward()
    circuit: Any = model[1]
    whole = circuit.weights.grad[[6, 1]].clone()
    with angles(model, "1.weights", [6, 1]).applied(model):
        again = model(X)
        assert torch.allclose(again, output, atol=1e-6)
        again.square().sum().backward()
        assert torch.allclose(circuit.weights.grad, whole, atol=1e-5)
        assert model.state_dict()["1.weights"].shape == (2,)
    assert model.state_dict()["1.weights"].shape == (8,)
    assert torch.equal(model(X), output)


def test_everything_is_as_before_after_an_error() -> None:
    model = hybrid()
    model[0].weight.requires_grad_(False)
    circuit: Any = model[1]
    program = circuit.program
    with (
        pytest.raises(RuntimeError, match="stop"),
        angles(model, "1.weights", [0]).applied(model),
    ):
        raise RuntimeError("stop")
    assert circuit.program is program
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["0.weight"]


# --- the policies ---


def test_named_policies() -> None:
    model = hybrid()
    assert bias_only(model).tensors == {"0.bias", "2.bias"}
    assert last_only(model, 2).tensors == {"1.weights", "2.weight", "2.bias"}
    assert layers(model, "0", "2.bias").tensors == {"0.weight", "0.bias", "2.bias"}
    both = angles(model, "1.weights", [3]) | angles(model, "1.weights", [0, 3])
    assert both.angles == {"1.weights": (0, 3)}


def test_the_space_of_policies() -> None:
    model = hybrid()
    space = UpdateSpace(model, angle_groups=3)
    assert space.__space__().size() == 3 * 2**3 * 3
    candidate = {
        "0": "bias",
        "1": {"angles_0": True, "angles_1": False, "angles_2": True},
        "2": "all",
    }
    policy = space.policy(candidate)
    assert policy.tensors == {"0.bias", "2.weight", "2.bias"}
    assert policy.angles == {"1.weights": (0, 1, 5, 6, 7)}
    rng = np.random.default_rng(0)
    for _ in range(10):
        space.policy(space.__space__().sample(rng)).check(model)
    whole = space.policy({"0": "none", "1": dict.fromkeys(candidate["1"], True), "2": "none"})
    assert whole == layers(model, "1")


def test_costs_fall_as_less_is_trained() -> None:
    model = hybrid()
    space = UpdateSpace(model, angle_groups=2)
    on, off = {"angles_0": True, "angles_1": True}, {"angles_0": False, "angles_1": False}
    half = {"angles_0": True, "angles_1": False}
    found = [
        update_costs(model, X, space.policy(candidate)).executions
        for candidate in (
            {"0": "all", "1": on, "2": "all"},
            {"0": "none", "1": on, "2": "all"},
            {"0": "none", "1": half, "2": "all"},
            {"0": "none", "1": off, "2": "all"},
        )
    ]
    assert found == [5 * 21, 5 * 17, 5 * 9, 5]


def test_names_that_do_not_exist() -> None:
    model = hybrid()
    with pytest.raises(ValueError, match=r"the layer '3' does not exist"):
        layers(model, "3")
    with pytest.raises(ValueError, match=r"'0\.weigth' does not exist; did you mean '0\.weight'"):
        layers(model, "0.weigth")
    with pytest.raises(ValueError, match="the layer '1' has no parameters"):
        layers(mlp(), "1")
    policy = UpdatePolicy(frozenset({"0.biases"}))
    with (
        pytest.raises(ValueError, match=r"the parameter '0\.biases', which the model does not"),
        policy.applied(model),
    ):
        pass
    with pytest.raises(ValueError, match=r"angles of '0\.bias', which is no circuit's weights"):
        angles(model, "0.bias", [0])
    with pytest.raises(ValueError, match=r"angles \[8\] are chosen.*from 0 to 7"):
        angles(model, "1.weights", [8])
    with pytest.raises(ValueError, match="count=4: the model has from 1 to 3 layers to train"):
        last_only(model, 4)


def test_angles_of_a_supernet() -> None:
    circuit = SuperCircuit(DesignSpace("u3cu3", 2, blocks=2), angle(2), seed=0)
    model = nn.Sequential(nn.Linear(4, 2), circuit)
    with pytest.raises(ValueError, match=r"belongs to the supernet SuperCircuit.*extract a cand"):
        angles(model, "1.layer.weights", [0])
    layers(model, "1.layer.weights").check(model)  # as a whole it can be trained or frozen


def test_bad_spaces() -> None:
    with pytest.raises(ValueError, match="angle_groups=0: give 1 or more"):
        UpdateSpace(hybrid(), 0)
    with pytest.raises(ValueError, match="ReLU has no parameters: there is nothing to choose"):
        UpdateSpace(nn.ReLU())
    with pytest.raises(ValueError, match=r"candidate\.0 is 'some', but must be one of"):
        UpdateSpace(mlp()).policy({"0": "some", "2": "all", "4": "all"})
