from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from nisqkit.compression.lean_layers import lean


def net() -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
        nn.Sequential(nn.Conv2d(6, 6, 3, stride=2, groups=3), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(6 * 9, 4),
    )
    model(torch.randn(10, 2, 8, 8))
    return model.eval().double()


def run(model: nn.Module, x: Tensor) -> tuple[list[Tensor], int]:
    """Output and gradients, and the bytes that are kept, parameters left out."""
    owned = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in owned:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    model.zero_grad()
    x = x.detach().clone().requires_grad_(x.requires_grad)
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        y = model(x)
    size = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    y.square().sum().backward()
    gradients = [g for g in (x.grad, *(p.grad for p in model.parameters())) if g is not None]
    return [y.detach(), *(g.clone() for g in gradients)], size


@pytest.mark.parametrize("to_input", [False, True])
@pytest.mark.parametrize("trained", ["bias", "weight", "3", "0.0", ""])
def test_outputs_and_gradients_stay(trained: str, to_input: bool) -> None:
    model = net()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained in name if trained.isalpha() else name.startswith(trained))
    x = torch.randn(5, 2, 8, 8, dtype=torch.float64, requires_grad=to_input)
    before, kept = run(model, x)
    with lean(model):
        after, leaner = run(model, x)
    assert len(before) == len(after) > 1
    for a, b in zip(before, after, strict=True):
        assert torch.allclose(a, b, atol=1e-12)
    assert leaner <= kept
    assert "forward" not in model[0][0].__dict__
    again, as_before = run(model, x)
    assert torch.equal(again[0], before[0])
    assert as_before == kept


def test_what_biases_alone_need_is_a_bit_per_relu() -> None:
    model = net()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
    with lean(model):
        _, kept = run(model, torch.randn(5, 2, 8, 8, dtype=torch.float64))
    assert kept == 5 * 6 * 64 // 8 + -(-5 * 6 * 9 // 8) + 6 * 8  # and the scale of BatchNorm
    _, usual = run(model, torch.randn(5, 2, 8, 8, dtype=torch.float64))
    # inputs of both convolutions and of BatchNorm, and the second ReLU, in float64
    images = 5 * 8 * (2 * 64 + 6 * 64 + 6 * 64 + 6 * 9)
    assert usual >= images > 30 * kept


def test_a_relu_whose_output_is_kept_anyway_stays() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(4, 3)
    _, kept = run(model, x)
    with lean(model):
        _, leaner = run(model, x)
    assert kept == leaner == 4 * (4 * 3 + 4 * 8)


def test_batch_norm_in_training_is_left_alone() -> None:
    model: Any = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    model.requires_grad_(False)
    other: Any = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    other.load_state_dict(model.state_dict())
    x = torch.randn(4, 1, 6, 6)
    with lean(model):
        found = model(x)
    assert torch.allclose(found, other(x), atol=1e-6)
    assert torch.allclose(model[1].running_mean, other[1].running_mean)
