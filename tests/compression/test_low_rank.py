# pyright: reportIndexIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# (models are indexed here, and what compression returns is only known to be a module)

import pytest
import torch
from torch import nn

from nisqkit.compression.low_rank import add_adapters, merge_adapters

from .models import hybrid, images


def train_a_little(model: nn.Module) -> None:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.05)
    for _ in range(5):
        optimizer.zero_grad()
        model(images()).square().sum().backward()
        optimizer.step()


def test_the_update_has_low_rank_and_nothing_else_moves() -> None:
    model = hybrid().eval()
    adapted = add_adapters(model, rank=2, layers=["4"])
    assert torch.equal(adapted(images()), model(images()))
    train_a_little(adapted)
    merged = merge_adapters(adapted)
    update = (merged[4].weight - model[4].weight).detach().double()
    assert int(torch.linalg.matrix_rank(update, rtol=1e-4)) == 2
    for k in (0, 6, 7, 8):
        for before, after in zip(model[k].parameters(), merged[k].parameters(), strict=True):
            assert torch.equal(before, after)
    assert torch.allclose(merged(images()), adapted(images()), atol=1e-5)


def test_only_the_update_is_trained() -> None:
    adapted = add_adapters(hybrid(), rank=3)
    names = {n for n, p in adapted.named_parameters() if p.requires_grad}
    assert names == {f"{k}.{part}" for k in (4, 6, 8) for part in ("down", "up")}
    one, other = add_adapters(hybrid(), 3, seed=1), add_adapters(hybrid(), 3, seed=2)
    assert not torch.equal(one[4].down, other[4].down)


def test_bad_ranks_and_layers() -> None:
    with pytest.raises(ValueError, match=r"rank must be a whole number from 1 to 4, .* got 5"):
        add_adapters(hybrid(), 5, layers=["6"])
    with pytest.raises(ValueError, match="'0' is a Conv2d; adapters take linear layers"):
        add_adapters(hybrid(), 2, layers=["0"])
    with pytest.raises(ValueError, match="layers names '12'"):
        add_adapters(hybrid(), 2, layers=["12"])
    with pytest.raises(ValueError, match="alpha must be positive and finite, got 0"):
        add_adapters(hybrid(), 2, layers=["4"], alpha=0)
