"""Layers that keep for the backward pass only what it needs when their weights are frozen.

torch's convolution and BatchNorm keep their input even if no weight is trained, and ReLU keeps 32
bits per element where one is enough. So freezing weights saves memory only with layers like these.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input

_PASS = (nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout2d)  # in evaluation nothing but views


@contextmanager
def lean(model: nn.Module) -> Iterator[None]:
    """Run frozen convolutions, frozen BatchNorm and ReLU of a model in the lean way, for a while.

    - Conv2d with a frozen weight keeps no input. Its bias may be trained.
    - BatchNorm2d in evaluation mode with a frozen weight keeps no input.
    - ReLU in a Sequential keeps one bit per element, unless the next layer keeps its output anyway.

    Outputs and gradients are the same. `requires_grad` is read when the context is entered.

    Source: Cai et al., TinyTL, NeurIPS 2020 (arXiv:2007.11622).
    """
    with ExitStack() as undo:

        def swap(layer: nn.Module, forward: Any) -> None:
            layer.forward = forward
            undo.callback(layer.__dict__.pop, "forward")

        for layer in model.modules():
            if "forward" in layer.__dict__:  # somebody else's
                continue
            if type(layer) is nn.Conv2d and not layer.weight.requires_grad:
                if layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
                    swap(layer, partial(_conv, layer))
            elif type(layer) is nn.BatchNorm2d and layer.weight is not None:
                if not layer.weight.requires_grad and layer.track_running_stats:
                    swap(layer, partial(_batch_norm, layer, layer.forward))
            elif type(layer) is nn.ReLU and not layer.inplace and _alone(model, layer):
                swap(layer, _ReLU.apply)
        yield


def _alone(model: nn.Module, relu: nn.Module) -> bool:
    """Whether nobody keeps the output of a ReLU of a Sequential."""
    for stage in model.modules():
        if not isinstance(stage, nn.Sequential):
            continue
        order = list(_in_order(stage))
        if relu in order:
            behind = [m for m in order[order.index(relu) + 1 :] if not isinstance(m, _PASS)]
            if not behind:
                continue  # an outer stage may know
            return not _keeps_input(behind[0])
    return False


def _in_order(stage: nn.Sequential) -> Iterator[nn.Module]:
    for layer in stage:
        if isinstance(layer, nn.Sequential):
            yield from _in_order(layer)
        else:
            yield layer


def _keeps_input(layer: nn.Module) -> bool:
    weight = getattr(layer, "weight", None)
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.BatchNorm2d):
        return weight is not None and weight.requires_grad
    return True


def _conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    options = layer.stride, layer.padding, layer.dilation, layer.groups
    found: Tensor = _Conv.apply(x, layer.weight, layer.bias, *options)  # type: ignore[no-untyped-call]
    return found


class _Conv(torch.autograd.Function):
    """A convolution whose weight is a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.options = x.shape, options
        return functional.conv2d(x, weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        to_x = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = conv2d_input(ctx.shape, weight, grad, *ctx.options)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[2]:
            to_bias = grad.sum((0, 2, 3))
        return to_x, None, to_bias, None, None, None, None


def _batch_norm(layer: nn.BatchNorm2d, usual: Any, x: Tensor) -> Tensor:
    if layer.training:
        found: Tensor = usual(x)
        return found
    assert layer.running_mean is not None and layer.running_var is not None
    scale = layer.weight * (layer.running_var + layer.eps).rsqrt()
    shift = layer.bias - layer.running_mean * scale
    return x * scale[:, None, None] + shift[:, None, None]


_PLACES = (1, 2, 4, 8, 16, 32, 64, 128)


class _ReLU(torch.autograd.Function):
    """A ReLU that keeps the signs, eight in a byte."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = (x > 0).flatten()
        rows = functional.pad(positive, (0, -len(positive) % 8)).view(-1, 8)
        places = torch.tensor(_PLACES, dtype=torch.uint8, device=x.device)
        ctx.save_for_backward((rows * places).sum(1, dtype=torch.uint8))
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (packed,) = ctx.saved_tensors
        places = torch.tensor(_PLACES, dtype=torch.uint8, device=grad.device)
        positive = ((packed[:, None] & places) != 0).flatten()[: grad.numel()]
        found: Tensor = grad * positive.view(grad.shape)
        return found
