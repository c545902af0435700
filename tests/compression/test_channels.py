# pyright: reportIndexIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# (models are indexed here, and what compression returns is only known to be a module)

import copy

import pytest
import torch
from torch import Tensor, nn

from nisqkit.compression.channels import prunable_channels, prune_channels
from nisqkit.search.profile import profile

from .models import accuracy, circuit, digits4, hybrid, images, train


def test_outputs_that_do_nothing_go_and_the_function_stays() -> None:
    # Outputs of zero weights and biases are removed; what is left must compute the same.
    model = hybrid().eval()
    with torch.no_grad():
        for layer, dead in (
            (model[0], [1, 2, 5, 6]),
            (model[4], [0, 3, 4, 8, 9, 10, 11, 12, 17, 19]),
        ):
            layer.weight[dead] = 0
            layer.bias[dead] = 0
        model[1].weight[[1, 2, 5, 6]] = 0
    x = images(20)
    pruned = prune_channels(model, {"0": 0.5, "4": 0.5}, x)
    assert pruned[0].weight.shape == (4, 1, 3, 3) and pruned[4].weight.shape == (10, 64)
    assert torch.allclose(pruned(x), model(x), atol=1e-6)


def test_macs_and_bytes_are_those_of_the_smaller_model() -> None:
    pruned = prune_channels(hybrid(), {"0": 0.75, "4": 0.3}, images())
    found = profile(pruned, images(1))
    macs = 9 * 2 * 16 + 2 * 16 * 14 + 14 * 4 + 4 * 4
    assert found.total("macs").value == found.total("nonzero_macs").value == macs
    weights = 2 * 9 + 2 + 4 + 32 * 14 + 14 + 14 * 4 + 4 + 16 + 16 + 4
    statistics = 2 * 2 * 4 + 8  # of the batch normalisation, and the number of its batches
    assert found.total("weight_bytes").value == 4 * weights + statistics + 8  # calls of the circuit


def test_the_circuit_comes_out_as_it_was() -> None:
    model = hybrid()
    before = model[7](torch.rand(9, 4, generator=torch.Generator().manual_seed(3)))
    pruned = prune_channels(model, {"0": 0.7, "4": 0.7}, images())
    after = pruned[7](torch.rand(9, 4, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(before, after)
    assert torch.equal(pruned[7].weights, model[7].weights) and pruned[7].weights.shape == (16,)
    pruned(images()).sum().backward()
    assert pruned[7].weights.grad is not None and pruned[0].weight.grad is not None
    assert model[7].weights.grad is None


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.c = nn.Conv2d(8, 6, 1)
        self.to_angles = nn.Linear(6, 4)
        self.circuit = circuit()
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = self.c(x + self.b(x).relu()).mean((2, 3))
        angles = self.to_angles(x)
        return self.head(torch.cat([self.circuit(angles), angles.tanh()], dim=1))


def test_layers_that_are_added_lose_the_same_outputs() -> None:
    model = Residual()
    assert prunable_channels(model, images()) == {"a": 8, "c": 6}
    pruned = prune_channels(model, {"b": 0.5, "c": 0.5}, images())
    assert pruned.a.out_channels == pruned.b.out_channels == 4
    assert pruned.c.weight.shape == (3, 4, 1, 1) and pruned.to_angles.weight.shape == (4, 3)
    with pytest.raises(ValueError, match="'a' and 'b' lose the same outputs"):
        prune_channels(model, {"a": 0.5, "b": 0.25}, images())


@pytest.mark.parametrize(
    ("model", "name"), [(hybrid(), "6"), (Residual(), "to_angles")], ids=["plain", "also elsewhere"]
)
def test_what_feeds_a_circuit_stays(model: nn.Module, name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"'{name}' feeds '\w+' \(QuantumLayer\), whose interface"
    ):
        prune_channels(model, {name: 0.5}, images())


def test_what_feeds_a_circuit_without_a_layer_between() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 4), nn.Flatten(), nn.Tanh(), circuit())
    assert prunable_channels(model, images()) == {}
    with pytest.raises(ValueError, match="'0' feeds '3'"):
        prune_channels(model, {"0": 0.5}, images())


def test_the_outputs_of_a_model_stay() -> None:
    for last in ([], [nn.LogSoftmax(dim=1)]):
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), *last)
        assert prunable_channels(model, torch.rand(2, 4)) == {"0": 8}
        with pytest.raises(ValueError, match="'2' is the model's output"):
            prune_channels(model, {"2": 0.5}, torch.rand(2, 4))


def test_modes_and_frozen_parameters_stay() -> None:
    model = hybrid().train()
    model[2].eval()
    model[0].requires_grad_(False)
    pruned = prune_channels(model, {"0": 0.5}, images())
    assert [m.training for m in pruned.modules()] == [m.training for m in model.modules()]
    frozen = [n for n, p in pruned.named_parameters() if not p.requires_grad]
    assert frozen == ["0.weight", "0.bias"]


def test_bad_ratios() -> None:
    model, x = hybrid(), images()
    with pytest.raises(ValueError, match="the ratio 1 of '0' would remove the whole layer"):
        prune_channels(model, {"0": 1}, x)
    for ratio in (-0.1, 1.5, float("nan"), "half"):
        with pytest.raises(ValueError, match=r"the ratio of '0' must be in \[0, 1\)"):
            prune_channels(model, {"0": ratio}, x)  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="ratios names '9', which is no layer"):
        prune_channels(model, {"9": 0.5}, x)


def test_a_layer_keeps_at_least_one_output() -> None:
    assert prune_channels(hybrid(), {"0": 0.999}, images())[0].out_channels == 1


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 6)
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.scale


def test_modules_that_cannot_be_pruned_are_named_and_can_be_kept() -> None:
    model = nn.Sequential(Scaled(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    x = torch.rand(3, 16)
    with pytest.raises(ValueError, match=r"'0' \(Scaled\). Name them in keep="):
        prune_channels(model, {"1": 0.5}, x)
    pruned = prune_channels(model, {"1": 0.5}, x, keep=["0"])
    assert isinstance(pruned[0], Scaled) and pruned[1].out_features == 3
    assert torch.equal(pruned[0].scale, model[0].scale)
    with pytest.raises(ValueError, match="keep names 'zero', which is no part"):
        prune_channels(model, {"1": 0.5}, x, keep=["zero"])
    grouped = nn.Sequential(nn.Conv2d(4, 8, 1, groups=2), nn.Conv2d(8, 2, 1))
    with pytest.raises(ValueError, match=r"'0' \(a convolution in 2 groups\)"):
        prune_channels(grouped, {"0": 0.5}, torch.rand(1, 4, 2, 2))


def test_a_cnn_without_70_percent_of_its_channels_is_as_good() -> None:
    x, y, test_x, test_y = digits4()
    model = train(hybrid(channels=16), x, y, epochs=10)
    before = accuracy(model, test_x, test_y)
    pruned = prune_channels(model, {"0": 0.7, "4": 0.7}, x[:2])
    broken = accuracy(copy.deepcopy(pruned), test_x, test_y)
    after = accuracy(train(pruned, x, y, epochs=10), test_x, test_y)
    assert before > 0.9 and broken < before  # there was something to repair
    assert after >= before - 0.0101
    macs = [profile(m, x[:1]).total("macs").value for m in (model, pruned)]
    assert macs[1] < 0.2 * macs[0]
