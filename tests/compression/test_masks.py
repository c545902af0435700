# pyright: reportIndexIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# (models are indexed here, and what compression returns is only known to be a module)

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from nisqkit.compression.masks import erk_ratios, make_permanent, mask_of, prune_weights, zero_share
from nisqkit.search.profile import profile

from .models import hybrid, images


def test_the_weights_are_those_that_torch_prunes() -> None:
    model = hybrid()
    pruned = prune_weights(model, {"0": 0.6, "4": 0.9})
    for name, ratio in (("0", 0.6), ("4", 0.9)):
        layer = copy.deepcopy(model.get_submodule(name))
        count = int(ratio * layer.weight.numel())
        torch_prune.l1_unstructured(layer, "weight", amount=count)
        assert torch.equal(layer.weight, pruned.get_submodule(name).weight)
    assert torch.equal(pruned[6].weight, model[6].weight)


def test_across_layers() -> None:
    model = hybrid()
    pruned = prune_weights(model, {"0": 0.8, "4": 0.8}, across_layers=True)
    found = torch.cat([pruned[k].weight.detach().flatten() for k in (0, 4)])
    every = torch.cat([model[k].weight.detach().flatten() for k in (0, 4)]).abs()
    assert int((found == 0).sum()) == int(0.8 * every.numel())
    assert every[found == 0].max() <= every[found != 0].min()
    with pytest.raises(ValueError, match="so the ratios must be one"):
        prune_weights(model, {"0": 0.8, "4": 0.5}, across_layers=True)


def test_zeros_stay_while_the_rest_is_trained() -> None:
    pruned = prune_weights(hybrid(), {"0": 0.5, "4": 0.9}).train()
    zero, before = pruned[4].weight == 0, pruned[4].weight.detach().clone()
    optimizer = torch.optim.Adam(pruned.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        pruned(images()).square().sum().backward()
        optimizer.step()
    assert torch.equal(pruned[4].weight == 0, zero)
    assert not torch.allclose(pruned[4].weight, before)


def test_macs_stay_and_nonzero_macs_fall() -> None:
    model = nn.Sequential(nn.Linear(16, 10), nn.ReLU(), nn.Linear(10, 5))
    pruned = prune_weights(model, {"0": 0.75})
    found = profile(pruned, torch.zeros(1, 16))
    assert found.total("macs").value == 160 + 50
    assert found.total("nonzero_macs").value == 40 + 50
    # the weights as they are stored, and a bit per weight for the mask
    assert found.total("weight_bytes").value == 4 * (160 + 10 + 50 + 5) + 160 // 8


def test_permanent() -> None:
    model, x = hybrid().eval(), images()
    pruned = prune_weights(model, {"0": 0.5, "4": 0.9})
    expected = pruned(x)
    assert make_permanent(pruned) is pruned
    assert set(pruned.state_dict()) == set(model.state_dict())
    assert torch.equal(pruned(x), expected)
    assert zero_share(pruned) == {"0": 0.5, "4": 0.9, "6": 0.0, "8": 0.0}


def test_a_copy_that_is_made_permanent_leaves_the_other_alone() -> None:
    # torch's own remove_parametrizations takes the weight away from all copies: they share a class
    pruned = prune_weights(hybrid(), {"4": 0.9})
    other = make_permanent(copy.deepcopy(pruned))
    assert torch.equal(pruned[4].weight, other[4].weight) and mask_of(pruned[4]) is not None
    assert type(other[4]) is nn.Linear


def test_pruning_more_of_a_pruned_model() -> None:
    first = prune_weights(hybrid(), {"4": 0.5})
    second = prune_weights(first, {"4": 0.8})
    one, other = mask_of(first[4]), mask_of(second[4])
    assert one is not None and other is not None
    assert int(other.mask.sum()) == round(0.2 * other.mask.numel())
    assert bool((one.mask | ~other.mask).all())  # nothing comes back


def test_erk() -> None:
    # RigL, appendix: density of a layer ~ (n_in + n_out + w + h) / (n_in n_out w h).
    model = nn.Sequential(nn.Conv2d(8, 32, 3), nn.Conv2d(32, 64, 3), nn.Linear(200, 100))
    ratios = erk_ratios(model, 0.9)
    sizes = {"0": 32 * 8 * 9, "1": 64 * 32 * 9, "2": 20_000}
    kept = sum((1 - ratios[name]) * size for name, size in sizes.items())
    assert kept == pytest.approx(0.1 * sum(sizes.values()))
    raw = np.array([(8 + 32 + 6) / sizes["0"], (32 + 64 + 6) / sizes["1"], 300 / sizes["2"]])
    density = np.array([1 - ratios[name] for name in "012"])
    assert density / density[1] == pytest.approx(raw / raw[1])


def test_erk_keeps_small_layers_whole() -> None:
    ratios = erk_ratios(nn.Sequential(nn.Linear(1000, 1000), nn.Linear(1000, 2)), 0.9)
    assert ratios["1"] == 0
    assert 1_000_000 * ratios["0"] == pytest.approx(0.9 * 1_002_000)
    with pytest.raises(ValueError, match="there is no layer to prune"):
        erk_ratios(nn.ReLU(), 0.5)


def test_bad_ratios() -> None:
    with pytest.raises(ValueError, match="would remove the whole layer"):
        prune_weights(hybrid(), {"0": 1.0})
    with pytest.raises(ValueError, match=r"must be in \[0, 1\), got -0.5"):
        prune_weights(hybrid(), {"0": -0.5})
    with pytest.raises(ValueError, match="ratios names '40', which is no layer"):
        prune_weights(hybrid(), {"40": 0.5})
    with pytest.raises(ValueError, match="a QuantumLayer describes itself and is kept whole"):
        prune_weights(hybrid(), {"7": 0.5})
