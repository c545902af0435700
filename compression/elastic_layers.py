"""Layers that run with the first of their channels and the middle of their kernels."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

# what works channel by channel or place by place, whatever the number of channels
PLAIN: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid),
    *(nn.Hardtanh, nn.Hardswish, nn.Softplus, nn.Identity, nn.Dropout, nn.Dropout2d),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten),
)
NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d)
WEIGHTED: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d)
SUPPORTED = ", ".join(t.__name__ for t in (*WEIGHTED, *NORMS, *PLAIN))


def check_layer(path: str, layer: nn.Module) -> None:
    """Raise a ValueError that says which layer cannot be sliced, and what to do."""
    advice = "put it into a part of its own behind or before the elastic one (HybridSupernet)"
    if type(layer) not in (*WEIGHTED, *NORMS, *PLAIN):
        raise ValueError(
            f"ElasticNet cannot slice {type(layer).__name__} at {path!r}; it can {SUPPORTED} and "
            f"nested Sequential: {advice}"
        )
    if isinstance(layer, nn.Conv2d):
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise ValueError(
                f"Conv2d at {path!r} has padding={layer.padding!r}, mode {layer.padding_mode!r}: "
                "give the padding as a number, and the mode 'zeros'"
            )
        if layer.groups > 1 and not depthwise(layer):
            raise ValueError(
                f"Conv2d at {path!r} has {layer.groups} groups, which fit no slice of the "
                f"channels: use 1 group, or as many as input and output channels, or {advice}"
            )
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1):
        raise ValueError(f"Flatten at {path!r} must be Flatten(), which keeps the batch dimension")


def depthwise(layer: nn.Module) -> bool:
    """Whether each output channel has an input channel of its own."""
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels == (
        layer.out_channels
    )


def full_width(layer: nn.Module) -> int:
    """Output channels of a layer with weights."""
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def input_width(layer: nn.Module) -> int:
    """Input channels of a layer with weights, or of a norm."""
    if isinstance(layer, _BatchNorm):
        return layer.num_features
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def kernel_weight(layer: nn.Conv2d, kernel: int | None, transforms: Mapping[int, Tensor]) -> Tensor:
    """The weights with a smaller kernel: the middle of the next larger one, transformed.

    Args:
        layer: The convolution.
        kernel: Its size, or None for the full one.
        transforms: By size, a matrix of (size**2, size**2) that acts on the places of a kernel;
            for every size down to the one wanted.
    """
    weight = layer.weight
    if kernel is None or kernel == layer.kernel_size[0]:
        return weight
    for size in sorted(transforms, reverse=True):
        if size < kernel:
            break
        cut = (weight.shape[-1] - size) // 2
        middle = weight[..., cut : cut + size, cut : cut + size]
        weight = (middle.flatten(2) @ transforms[size]).view(middle.shape)
    return weight


def run_layer(
    layer: nn.Module,
    x: Tensor,
    width: int | None,
    kernel: int | None,
    transforms: Mapping[int, Tensor],
) -> Tensor:
    """Run a layer on what arrives: as many of its input channels as there are in ``x``.

    Args:
        layer: One that passes `check_layer`.
        x: (samples, channels, ...), or (..., channels) for ``Linear``.
        width: Output channels, None for all (a depthwise convolution: as many as arrive).
        kernel: Kernel size, None for the full one.
        transforms: As in `kernel_weight`.
    """
    if isinstance(layer, nn.Linear):
        bias = None if layer.bias is None else layer.bias[:width]
        return functional.linear(x, layer.weight[:width, : x.shape[-1]], bias)
    if isinstance(layer, nn.Conv2d):
        channels = x.shape[1]
        alone = depthwise(layer)
        width = channels if alone else width
        weight = kernel_weight(layer, kernel, transforms)[:width, : 1 if alone else channels]
        return functional.conv2d(
            x,
            weight,
            None if layer.bias is None else layer.bias[:width],
            layer.stride,
            _padding(layer, kernel),
            layer.dilation,
            channels if alone else 1,
        )
    if isinstance(layer, _BatchNorm):
        return _batch_norm(layer, x)
    found: Tensor = layer(x)
    return found


def _padding(layer: nn.Conv2d, kernel: int | None) -> tuple[int, ...]:
    assert isinstance(layer.padding, tuple)
    if kernel is None or kernel == layer.kernel_size[0]:
        return layer.padding
    return tuple(d * (kernel // 2) for d in layer.dilation)


def _batch_norm(layer: _BatchNorm, x: Tensor) -> Tensor:
    """In training by the batch; its running statistics stay, as they would be of all candidates."""
    channels = x.shape[1]
    batch = layer.training or layer.running_mean is None
    return functional.batch_norm(
        x,
        None if batch or layer.running_mean is None else layer.running_mean[:channels],
        None if batch or layer.running_var is None else layer.running_var[:channels],
        None if layer.weight is None else layer.weight[:channels],
        None if layer.bias is None else layer.bias[:channels],
        batch,
        0.0,
        layer.eps,
    )


def slice_layer(
    layer: nn.Module,
    channels: int,
    width: int | None,
    kernel: int | None,
    transforms: Mapping[int, Tensor],
) -> nn.Module:
    """A layer of its own with copies of the weights that `run_layer` uses.

    Args:
        layer: One that passes `check_layer`.
        channels: How many arrive.
        width: As in `run_layer`.
        kernel: As in `run_layer`.
        transforms: As in `run_layer`.
    """
    found = copy.deepcopy(layer)
    with torch.no_grad():
        if isinstance(found, nn.Linear):
            _keep(found, "weight", found.weight[:width, :channels])
            _keep(found, "bias", None if found.bias is None else found.bias[:width])
            found.out_features, found.in_features = found.weight.shape
        elif isinstance(found, nn.Conv2d):
            alone = depthwise(found)
            width = channels if alone else width
            found.padding = _padding(found, kernel)
            weight = kernel_weight(found, kernel, transforms)[:width, : 1 if alone else channels]
            _keep(found, "weight", weight)
            _keep(found, "bias", None if found.bias is None else found.bias[:width])
            found.in_channels, found.out_channels = channels, weight.shape[0]
            found.groups = channels if alone else 1
            found.kernel_size = (weight.shape[2], weight.shape[3])
        elif isinstance(found, _BatchNorm):
            found.num_features = channels
            for name in ("weight", "bias"):
                old = getattr(found, name)
                _keep(found, name, None if old is None else old[:channels])
            for name in ("running_mean", "running_var"):
                old = getattr(found, name)
                setattr(found, name, None if old is None else old[:channels].clone())
    return found


def _keep(layer: nn.Module, name: str, value: Tensor | None) -> None:
    old = getattr(layer, name)
    if value is not None:
        new = nn.Parameter(value.detach().clone(), requires_grad=old.requires_grad)
        setattr(layer, name, new)
