import math

import pytest
import torch
from torch import nn

from nisqkit.compression.masks import zero_share
from nisqkit.compression.schedule import PruningSchedule
from nisqkit.compression.sparse_training import SparseTraining, prune_iteratively

from .models import accuracy, digits4, hybrid, train


def test_iterative_shares_are_those_of_the_schedule() -> None:
    seen = []
    schedule = PruningSchedule(start=0.0, target=0.5, end=1.0, power=3)
    layer = nn.Sequential(nn.Linear(100, 10))
    prune_iteratively(
        layer, {"0": 0.8}, lambda m: seen.append(zero_share(m)["0"]), rounds=4, schedule=schedule
    )
    expected = [0.8 * (1 - (1 - k / 4) ** 3) for k in range(1, 5)]
    assert seen == pytest.approx(expected, abs=1e-3)
    assert zero_share(layer)["0"] == 0


def test_rewinding_brings_the_early_weights_back_but_no_pruned_one() -> None:
    early = nn.Sequential(nn.Linear(20, 10), nn.Linear(10, 2))
    state = {name: value.clone() for name, value in early.state_dict().items()}
    seen = []

    def change(model: nn.Module) -> None:
        seen.append(model[0].weight.detach().clone())  # type: ignore[index]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape))

    final = prune_iteratively(early, {"0": 0.5}, change, rounds=3, rewind_to=state)
    for weight in seen:
        kept = weight != 0
        assert torch.equal(weight[kept], state["0.weight"][kept])
    zeros = [int((weight == 0).sum()) for weight in seen]
    assert zeros == sorted(zeros) and zeros[-1] == 100
    assert bool((final[0].weight[seen[-1] == 0] == 0).all())  # type: ignore[index]


def test_bad_rounds_and_states() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="rounds must be a positive integer, got 0"):
        prune_iteratively(model, {"0": 0.5}, print, rounds=0)
    with pytest.raises(ValueError, match="rewind_to is no state_dict of this model"):
        prune_iteratively(model, {"0": 0.5}, print, rewind_to={})
    with pytest.raises(ValueError, match="ratios names '1'"):
        prune_iteratively(model, {"1": 0.5}, print)


def test_rigl_drops_the_smallest_and_grows_where_the_gradient_is_largest() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(12, 8), torch.rand(5, 12)
    sparse = SparseTraining(layer, {"": 0.75}, "rigl", drop=0.5, seed=1)
    before = sparse.masks[""].mask.clone()
    weight = layer.weight.detach().clone()
    layer(x).square().sum().backward()
    # the gradient of a dense layer with these weights
    dense = weight.clone().requires_grad_()
    nn.functional.linear(x, dense, layer.bias.detach()).square().sum().backward()
    assert dense.grad is not None
    sparse.update(0.25)
    after = sparse.masks[""].mask
    count = math.floor(0.25 * (1 + math.cos(math.pi * 0.25 / 0.75)) * 24)
    assert int((before & ~after).sum()) == int((~before & after).sum()) == count
    gone, stayed = weight.abs()[before & ~after], weight.abs()[before & after]
    assert gone.max() <= stayed.min()
    grown, rest = dense.grad.abs()[~before & after], dense.grad.abs()[~before & ~after]
    assert grown.min() >= rest.max()
    assert bool((layer.weight[~before & after] == 0).all())  # they start at 0


def test_set_keeps_the_number_and_depends_on_the_seed_alone() -> None:
    masks = []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        layer = nn.Linear(30, 20)
        sparse = SparseTraining(layer, {"": 0.9}, "set", seed=seed)
        for progress in (0.1, 0.4, 0.7):
            sparse.update(progress)
            assert int(sparse.masks[""].mask.sum()) == 60
        masks.append(sparse.masks[""].mask)
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])


def test_nothing_moves_after_the_end() -> None:
    sparse = SparseTraining(nn.Linear(30, 20), {"": 0.9}, "set", seed=0)
    before = sparse.masks[""].mask.clone()
    sparse.update(0.75)
    assert torch.equal(before, sparse.masks[""].mask)


def test_pruning_along_a_training_costs_no_accuracy() -> None:
    x, y, test_x, test_y = digits4()
    model = hybrid()
    train(model, x, y, epochs=4)
    before = accuracy(model, test_x, test_y)
    schedule = PruningSchedule(start=0.0, target=0.5, end=0.75)
    sparse = SparseTraining(model, {"0": 0.5, "4": 0.8}, schedule=schedule)
    for k in range(1, 5):
        sparse.update(k / 4)
        train(model, x, y, epochs=2, lr=0.005)
    assert zero_share(model)["4"] == 0.8 and zero_share(model)["0"] == 0.5
    assert accuracy(model, test_x, test_y) >= before - 0.02


def test_bad_options() -> None:
    layer = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="method must be 'magnitude', 'set' or 'rigl', got 'fast'"):
        SparseTraining(layer, {"": 0.5}, "fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="drop is a share of the weights"):
        SparseTraining(layer, {"": 0.5}, drop=1.0)
    sparse = SparseTraining(layer, {"": 0.5}, "rigl")
    with pytest.raises(ValueError, match=r"call update after loss.backward"):
        sparse.update(0.1)
