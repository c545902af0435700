import itertools

import torch

from nisqkit.compression.gptq import gptq_round


def error(weight: torch.Tensor, rounded: torch.Tensor, x: torch.Tensor) -> float:
    return float(((weight - rounded) @ x.T).square().sum())


def test_between_the_best_of_the_grid_and_rounding() -> None:
    random = torch.Generator().manual_seed(0)
    wins = 0
    for _ in range(20):
        x = torch.randn(30, 2, generator=random) @ torch.randn(2, 4, generator=random)
        x = x.double()
        weight = torch.randn(1, 4, generator=random).double()
        step = torch.tensor([[0.7]], dtype=torch.float64)
        every = torch.tensor(list(itertools.product(range(-3, 4), repeat=4))).double() * 0.7
        best = min(error(weight, row[None], x) for row in every)
        nearest = error(weight, (weight / step).round().clamp(-3, 3) * step, x)
        found = gptq_round(weight, x, step, bits=3)
        assert set((found / step).round().flatten().tolist()) <= set(range(-3, 4))
        assert best <= error(weight, found, x) + 1e-9
        wins += error(weight, found, x) < nearest + 1e-9
    assert wins >= 15


def test_uncorrelated_inputs_need_no_more_than_rounding() -> None:
    weight = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    found = gptq_round(weight, torch.eye(8), torch.full((5, 1), 0.25), bits=8)
    assert torch.allclose(found, (weight / 0.25).round() * 0.25)


def test_masked_and_unused_inputs() -> None:
    weight, x = torch.rand(3, 4) + 0.3, torch.rand(20, 4)
    x[:, 2] = 0
    mask = torch.tensor([1, 0, 1, 1]).expand(3, 4)
    found = gptq_round(weight, x, torch.full((3, 1), 0.1), bits=5, mask=mask)
    assert bool((found[:, 1] == 0).all()) and bool(found.isfinite().all())
