# pyright: reportIndexIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# (models are indexed here, and what compression returns is only known to be a module)

import warnings

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn

from nisqkit.compression.circuit_guard import check_circuits, record_circuits
from nisqkit.search.profile import Profile

from .models import hybrid, images


class Toy(nn.Module):
    """A circuit of 4 product qubits: <Z> after RY(x + w)."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.rand(4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cos(x + self.weights)

    def __profile__(self, example: Tensor | None = None) -> Profile:
        return Profile("Toy", "quantum", {})


def prune_without_guard(model: nn.Module, x: Tensor, ignored: list[nn.Module]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tp.pruner.BasePruner(
            model,
            x,
            importance=tp.importance.GroupMagnitudeImportance(),
            pruning_ratio=0.5,
            ignored_layers=ignored,
        ).step()


def test_without_the_guard_qubits_are_cut_and_the_check_says_so() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), Toy(), nn.Linear(4, 2))
    x = torch.rand(3, 6)
    before = record_circuits(model, x)
    prune_without_guard(model, x, [model[3], model[4]])  # although it is to be ignored
    assert model[3].weights.shape == (2,) and model(x).shape == (3, 2)  # and the model still runs
    with pytest.raises(ValueError, match=r"'weights' of the circuit '3' has changed: .*\(4,\)"):
        check_circuits(model, before, x)


def test_without_the_guard_a_quantum_layer_loses_angles() -> None:
    model, x = hybrid(), images()
    before = record_circuits(model, x)
    prune_without_guard(model, x, [model[7], model[8]])
    assert model[7].weights.numel() < 16
    with pytest.raises(ValueError, match="'weights' of the circuit '7' has changed"):
        check_circuits(model, before, x)


def test_every_change_is_seen() -> None:
    x = images()
    model = hybrid()
    before = record_circuits(model, x)
    check_circuits(model, before, x)
    with torch.no_grad():
        model[7].weights[3] += 1e-6
    with pytest.raises(ValueError, match=r"has changed: by up to [89]\.\d+e-07|1\.?\d*e-06"):
        check_circuits(model, before, x)
    cut = hybrid()
    cut[6] = nn.Linear(20, 3)
    with pytest.raises(ValueError, match="does not run any more"):
        check_circuits(cut, record_circuits(hybrid(), x), x)
    wider = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), hybrid()[7])
    reshaped = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Unflatten(1, (2, 4)), wider[2])
    record = record_circuits(wider, x)
    with pytest.raises(ValueError, match="the circuit '2' is gone"):
        check_circuits(reshaped, record, x)
    with pytest.raises(ValueError, match="the interface of the circuit '2' has changed"):
        check_circuits(wider, record, images(7))


def test_the_model_is_left_as_it_was() -> None:
    model = hybrid().train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    record_circuits(model, images())
    assert all(module.training for module in model.modules())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
