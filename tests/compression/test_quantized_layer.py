# pyright: reportIndexIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# (models are indexed here, and what compression returns is only known to be a module)

import copy
import pickle

import pytest
import torch
from torch import nn

from nisqkit.compression.quantize import QuantizePolicy, quantize

from .models import hybrid, images


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_convolutions_of_all_kinds(kind: type[nn.Module]) -> None:
    dims = int(kind.__name__[4])
    layer = kind(2, 4, 3, stride=2, padding=1, dilation=1, groups=2, padding_mode="circular")
    x = torch.rand(2, 2, *[7] * dims)
    small = quantize(nn.Sequential(layer), QuantizePolicy(8))
    same = copy.deepcopy(layer)
    with torch.no_grad():
        same.weight.copy_(small[0].weight)
    assert torch.allclose(small(x), same(x), atol=1e-6)
    assert not torch.equal(small(x), layer(x))


def test_copies_states_and_pickles() -> None:
    policy, x = QuantizePolicy(4, 4, circuits={"7": (4, 4)}), images()
    small = quantize(hybrid(), policy, calibrate=x).eval()
    other = quantize(hybrid(seed=1), policy, calibrate=images(seed=9)).eval()
    assert not torch.allclose(other(x), small(x))
    other.load_state_dict(small.state_dict())
    for copied in (other, copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert torch.equal(copied(x), small(x))


def test_gradients_reach_weights_and_inputs() -> None:
    small, x = quantize(hybrid(), QuantizePolicy(4, 8), calibrate=images()), images()
    x.requires_grad_()
    small(x).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert all(p.grad is not None for p in small.parameters())


def test_double_precision() -> None:
    small = quantize(hybrid(), QuantizePolicy(8, 8), calibrate=images()).double()
    assert small(images().double()).dtype == torch.float64
