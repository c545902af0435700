import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nisqkit.compression import ElasticNet
from nisqkit.compression.supernet import Supernet, largest, sample, smallest


def mlp(seed: int = 0) -> ElasticNet:
    torch.manual_seed(seed)
    block = nn.Sequential(nn.Linear(12, 12), nn.Tanh())
    stage = nn.Sequential(block, nn.Sequential(nn.Linear(12, 12), nn.Tanh()))
    model = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), stage, nn.Linear(12, 3))
    return ElasticNet(
        model,
        widths={"0": [4, 8, 12], "2.0.0": [6, 12], "2.1.0": [3, 12]},
        depths={"2": [0, 1, 2]},
    )


def cnn(seed: int = 0) -> ElasticNet:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(6 * 16, 10),
        nn.ReLU(),
        nn.Linear(10, 4),
    )
    net = ElasticNet(
        model,
        widths={"0": [4, 8], "5": [2, 3, 6], "9": [5, 10]},
        kernels={"0": [1, 3, 5], "5": [1, 3]},
    )
    with torch.no_grad():  # transformations that are not the identity
        for matrix in net._transforms.values():
            matrix.add_(0.1 * torch.randn_like(matrix))
    return net


def every(net: ElasticNet, count: int = 12) -> list[Any]:
    """The ends of the space and random candidates."""
    space, rng = net.__space__(), np.random.default_rng(0)
    return [largest(space), smallest(space), *(sample(space, rng) for _ in range(count))]


# --- what a sub-network computes ---


def test_an_mlp_sliced_by_hand() -> None:
    net, x = mlp(), torch.randn(7, 5)
    first, last = net.layer("0"), net.layer("3")
    block = net.layer("2.0.0")
    net.set_active({"0": {"width": 8}, "2": {"depth": 1, "0": {"0": {"width": 6}}}})
    hidden = functional.relu(x @ first.weight[:8].T + first.bias[:8])
    hidden = torch.tanh(hidden @ block.weight[:6, :8].T + block.bias[:6])
    expected = hidden @ last.weight[:, :6].T + last.bias
    assert torch.allclose(net(x), expected, atol=1e-6)
    net.set_active({"0": {"width": 4}, "2": {"depth": 0}})
    hidden = functional.relu(x @ first.weight[:4].T + first.bias[:4])
    assert torch.allclose(net(x), hidden @ last.weight[:, :4].T + last.bias, atol=1e-6)


def test_a_cnn_sliced_by_hand() -> None:
    net, x = cnn(), torch.randn(9, 1, 8, 8)
    candidate = {"0": {"width": 4, "kernel": 1}, "5": {"width": 3, "kernel": 3}, "9": {"width": 5}}
    net.calibrate(candidate, x)
    net.eval()
    conv, alone, second = (net.layer(name) for name in ("0", "3", "5"))
    three = (conv.weight[:, :, 1:4, 1:4].flatten(2) @ net.transforms("0")[3]).unflatten(2, (3, 3))
    one = three[:, :, 1:2, 1:2] * net.transforms("0")[1]
    y = functional.conv2d(x, one[:4], conv.bias[:4])
    y = functional.relu((y - y.mean((0, 2, 3), keepdim=True)) / _unbiased(y))
    y = functional.conv2d(y, alone.weight[:4], alone.bias[:4], padding=1, groups=4)
    y = functional.conv2d(functional.max_pool2d(y, 2), second.weight[:3, :4], padding=1)
    y = torch.tanh((y - y.mean((0, 2, 3), keepdim=True)) / _unbiased(y)).flatten(1)
    dense, last = net.layer("9"), net.layer("11")
    y = functional.relu(y @ dense.weight[:5, :48].T + dense.bias[:5])
    assert torch.allclose(net(x), y @ last.weight[:, :5].T + last.bias, atol=1e-5)


def _unbiased(y: Tensor) -> Tensor:
    return (y.var((0, 2, 3), keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize("make", [mlp, cnn])
def test_extracted_networks_compute_the_same(make: Any) -> None:
    net = make()
    x = torch.randn(16, 5) if make is mlp else torch.randn(16, 1, 8, 8)
    for candidate in every(net):
        net.calibrate(candidate, x)
        net.eval()
        alone = net.extract(candidate)
        assert torch.allclose(alone(x), net(x), atol=1e-6)
        assert torch.allclose(net.of(candidate, x), net(x), atol=0)
        assert sum(p.numel() for p in alone.parameters()) == net.active_parameters
        net.train()
        alone.train()
        assert torch.allclose(alone(x), net(x), atol=1e-5)  # by the batch's statistics, too


def test_an_extracted_network_shares_nothing() -> None:
    net = mlp()
    alone = net.extract(smallest(net.__space__()))
    mine = {p.untyped_storage().data_ptr() for p in net.parameters()}
    for parameter in alone.parameters():
        assert parameter.untyped_storage().data_ptr() not in mine
        assert parameter.untyped_storage().nbytes() == 4 * parameter.numel()  # no hidden rest


def test_the_largest_is_the_model() -> None:
    net, x = cnn(), torch.randn(6, 1, 8, 8)
    model = copy.deepcopy(net.model).eval()
    assert torch.allclose(net.eval()(x), model(x), atol=1e-6)
    assert net.active_parameters == sum(p.numel() for p in model.parameters())


def test_gradients_vanish_outside_the_active_slice() -> None:
    net, x = cnn(), torch.randn(6, 1, 8, 8)
    candidate = {"0": {"width": 4, "kernel": 3}, "5": {"width": 2, "kernel": 1}, "9": {"width": 5}}
    net.set_active(candidate)
    (net(x) ** 2).sum().backward()
    inside = {
        "0.weight": np.s_[:4, :, 1:4, 1:4],
        "0.bias": np.s_[:4],
        "1.weight": np.s_[:4],
        "1.bias": np.s_[:4],
        "3.weight": np.s_[:4],
        "3.bias": np.s_[:4],
        "5.weight": np.s_[:2, :4, 1:2, 1:2],
        "6.weight": np.s_[:2],
        "6.bias": np.s_[:2],
        "9.weight": np.s_[:5, :32],
        "9.bias": np.s_[:5],
        "11.weight": np.s_[:, :5],
        "11.bias": np.s_[:],
    }
    parameters = dict(net.model.named_parameters())
    assert inside.keys() == parameters.keys()
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        assert parameter.grad[inside[name]].abs().sum() > 0
        parameter.grad[inside[name]] = 0
        assert parameter.grad.abs().sum() == 0, name


def test_the_space_counts_what_can_differ() -> None:
    # depth 0: 1, depth 1: 2, depth 2: 2 x 2 block widths, each times 3 first widths
    assert mlp().__space__().size() == 3 * (1 + 2 + 4)
    assert cnn().__space__().size() == 2 * 3 * 3 * 2 * 2
    texts = {str(every(mlp(), 200)[k]) for k in range(202)}
    assert len(texts) == 21


def test_fresh_weights_are_those_of_the_seed() -> None:
    net = mlp()
    candidate = smallest(net.__space__())
    made: list[Any] = [net.extract(candidate, inherit=False, seed=seed) for seed in (1, 1, 2)]
    first, same, other = (model[0].weight for model in made)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first, net.layer("0").weight[:4])


def test_training_leaves_running_statistics_alone() -> None:
    net = cnn()
    before = net.layer("1").running_mean.clone()
    net.train()(torch.randn(6, 1, 8, 8))
    assert torch.equal(net.layer("1").running_mean, before)


def test_it_is_a_supernet_that_can_be_saved() -> None:
    net, x = cnn(), torch.randn(8, 1, 8, 8)
    assert isinstance(net, Supernet)
    candidate = smallest(net.__space__())
    net.calibrate(candidate, x)
    other = cnn(seed=5)
    other.load_state_dict(net.state_dict())
    other.set_active(candidate)
    assert torch.equal(other.eval()(x), net.eval()(x))


# --- what is refused ---


def test_statistics_of_another_candidate() -> None:
    net, x = cnn(), torch.randn(8, 1, 8, 8)
    one, two = smallest(net.__space__()), largest(net.__space__())
    net.calibrate(one, x)
    net.eval()
    net(x)
    net.set_active(two)
    with pytest.raises(ValueError, match=r"not those of the active candidate.*call calibrate"):
        net(x)
    with pytest.raises(ValueError, match=r"not those of this candidate.*before extract"):
        net.extract(two)
    net.extract(two, inherit=False)  # what is fresh has none
    net.set_active(one)
    net.train()(x)  # a training step
    with pytest.raises(ValueError, match="BatchNorm's statistics"):
        net.eval()(x)


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ({"0": {"width": 5}, "2": {"depth": 0}}, r"candidate\.0\.width is 5, but must be one of"),
        ({"0": {"width": 4}, "2": {"depth": 3}}, r"candidate\.2\.depth is 3"),
        ({"0": {"width": 4}}, r"candidate\.2 is missing"),
        (
            {"0": {"width": 4}, "2": {"depth": 0, "0": {"0": {"width": 6}}}},
            r"candidate\.2\.0 is there, but only belongs there if depth",
        ),
        ([{"u3": 1}], r"candidate is \[.*but must be a dict"),
    ],
)
def test_candidates_of_another_space(candidate: Any, message: str) -> None:
    net = mlp()
    for method in (net.set_active, net.extract):
        with pytest.raises(ValueError, match=message):
            method(candidate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": {"0": [0, 8]}}, r"widths of '0' are \[0, 8\].*from 1 to 8, and 8"),
        ({"widths": {"0": [4, 16]}}, r"from 1 to 8"),
        ({"widths": {"0": [4]}}, r"and 8, what it has, one of them"),
        ({"widths": {"0": [4, 4, 8]}}, "must be different"),
        ({"widths": {"0": [4, 8.0]}}, "must be different integers"),
        ({"widths": {"00": [4, 8]}}, r"names '00', which is no Linear or Conv2d.*did you mean '0'"),
        ({"widths": {"1": [4, 8]}}, "which is no Linear or Conv2d"),
        ({"widths": {"3": [4, 8]}}, "a depthwise convolution.*the layer before it"),
        ({"widths": {"11": [2, 4]}}, "whose channels are the outputs: leave it out"),
        ({"kernels": {"0": [2, 5]}}, "but must be odd"),
        ({"kernels": {"0": [3, 7]}}, "from 1 to 5"),
        ({"depths": {"0": [1]}}, "which is no Sequential"),
        ({}, "nothing is elastic"),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ElasticNet(cnn().model, **options)


def test_kernels_that_would_change_the_image() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 5), nn.Flatten(), nn.Linear(32, 2))
    with pytest.raises(ValueError, match="must be square, odd and padded by half of it"):
        ElasticNet(model, kernels={"0": [3, 5]})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.LayerNorm(4), r"cannot slice LayerNorm at '1'; it can Linear, Conv2d.*HybridSupernet"),
        (nn.Conv2d(4, 4, 1, groups=2), r"Conv2d at '1' has 2 groups, which fit no slice"),
        (nn.Conv2d(4, 4, 3, padding="same"), r"padding='same'.*give the padding as a number"),
        (nn.Flatten(0), "must be Flatten"),
    ],
)
def test_layers_that_cannot_be_sliced(layer: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ElasticNet(nn.Sequential(nn.Linear(4, 4), layer, nn.Linear(4, 2)), widths={"0": [2, 4]})


def test_a_module_that_is_no_sequence() -> None:
    with pytest.raises(ValueError, match=r"takes an nn\.Sequential, not Linear"):
        ElasticNet(nn.Linear(2, 2))  # type: ignore[arg-type]


def test_blocks_that_change_the_width_cannot_be_left_out() -> None:
    stage = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 6))
    model = nn.Sequential(stage, nn.Linear(6, 2))
    with pytest.raises(ValueError, match=r"'1' takes 6 channels, but '0\.0'.*makes 4"):
        ElasticNet(model, depths={"0": [1, 2]})


def test_a_layer_in_two_places() -> None:
    shared = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="stands in two places"):
        ElasticNet(nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 2)), widths={"0": [2, 4]})


def test_a_block_with_the_name_of_a_gene() -> None:
    stage = nn.Sequential()
    for name in ("depth", "other"):
        stage.add_module(name, nn.Linear(4, 4))
    with pytest.raises(ValueError, match="is named 'depth': choose another name"):
        ElasticNet(
            nn.Sequential(stage, nn.Linear(4, 2)), widths={"0.depth": [2, 4]}, depths={"0": [1, 2]}
        )


def test_every_candidate_of_a_small_space_runs() -> None:
    net, x = mlp(), torch.randn(3, 5)
    for first, depth in itertools.product((4, 8, 12), (0, 1, 2)):
        blocks = [{"0": {"0": {"width": 6}}}, {"1": {"0": {"width": 3}}}][:depth]
        candidate: dict[str, Any] = {"depth": depth}
        for block in blocks:
            candidate |= block
        assert net.of({"0": {"width": first}, "2": candidate}, x).shape == (3, 3)
