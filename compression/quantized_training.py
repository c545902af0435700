"""Training of weights that are stored as integers, with gradients scaled to what they are worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nisqkit.search.names import nearest


class IntegerTensor(nn.Module):
    """A parametrization: the layer sees ``scale * q``, and ``q`` is what is stored and trained.

    ``q`` holds whole numbers from ``-2**(bits - 1)`` to ``2**(bits - 1) - 1``, in a floating-point
    tensor, since torch differentiates no integers.

    Args:
        scale: Broadcasts against the tensor; positive.
        bits: From 2 to 32.
    """

    scale: Tensor

    def __init__(self, scale: Tensor, bits: int) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.low, self.high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def forward(self, q: Tensor) -> Tensor:
        """The values."""
        return q * self.scale

    def right_inverse(self, values: Tensor) -> Tensor:
        """The nearest integers."""
        return (values / self.scale).round().clamp(self.low, self.high)


def quantization_aware_scaling(
    parameter: nn.Parameter, scale: Tensor | float
) -> torch.utils.hooks.RemovableHandle:
    r"""Multiply every gradient of a parameter of integers by ``scale**-2``.

    With values ``W = s q`` the gradient of q is ``s`` times that of W, while q is ``1/s`` times as
    large as W. Relative to the weights, gradients are so ``s**2`` too small, differently for every
    tensor, and SGD that trains the float network does not train the integers. Scaled by ``s**-2``,
    a step of SGD on q is exactly the step on W. For a bias stored in units of ``s_W s_x``, that is
    its scale. Adam divides by the size of the gradient and does not need it.

    Source: Lin et al., On-Device Training Under 256KB Memory, NeurIPS 2022 (arXiv:2206.15472).

    Args:
        parameter: The integers.
        scale: Positive, of a shape that broadcasts against it.

    Returns:
        A handle whose ``remove()`` ends it.

    Raises:
        ValueError: A scale that is not positive or does not broadcast.

    Example:
        >>> q = nn.Parameter(torch.tensor([3.0]))
        >>> _ = quantization_aware_scaling(q, 0.5)
        >>> (0.5 * q).sum().backward()
        >>> q.grad  # 0.5 / 0.5**2
        tensor([2.])
    """
    factor = _positive(torch.as_tensor(scale, dtype=parameter.dtype), parameter) ** -2
    tensor: Any = parameter  # torch does not type its hooks
    handle: torch.utils.hooks.RemovableHandle = tensor.register_hook(lambda grad: grad * factor)
    return handle


def _positive(scale: Tensor, like: Tensor) -> Tensor:
    try:
        fits = torch.broadcast_tensors(scale, like)[0].shape == like.shape  # type: ignore[no-untyped-call]
    except RuntimeError:
        fits = False
    if not fits or not (scale > 0).all() or not scale.isfinite().all():
        raise ValueError(
            f"a scale of shape {tuple(scale.shape)} with values from {float(scale.min())} must be "
            f"positive, finite, and broadcast against {tuple(like.shape)}"
        )
    return scale


@contextmanager
def integer_weights(
    model: nn.Module,
    names: Sequence[str] | None = None,
    *,
    bits: int = 8,
    bias_bits: int = 32,
    input_scales: Mapping[str, float] | None = None,
    scaling: bool = True,
) -> Iterator[None]:
    """Linear and Conv2d layers with integers as their parameters, for a while.

    Weights have a scale per output channel, such that the largest is just represented; a bias has
    the product of that and the scale of the layer's input. Inside the context parameters are named
    as torch's parametrizations do; make the optimizer there, and call `snap` after each of its
    steps. On leaving, the layers have the values that the integers stand for.

    Args:
        model: The model; its layers are changed in place.
        names: Layers by name; default all Linear and Conv2d.
        bits: Of weights.
        bias_bits: Of biases.
        input_scales: Scale of each layer's input, by name; default 1 / 127.
        scaling: Whether gradients get `quantization_aware_scaling`.

    Raises:
        ValueError: Names that are no such layers, or bits out of range.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 2))
        >>> with integer_weights(model):
        ...     q = model[0].parametrizations.weight.original
        ...     bool((q == q.round()).all()), q.abs().max().item()
        (True, 127.0)
    """
    for what, count in (("bits", bits), ("bias_bits", bias_bits)):
        if not 2 <= count <= 32:
            raise ValueError(f"{what}={count} must be from 2 to 32")
    known = {n: m for n, m in model.named_modules() if type(m) in (nn.Linear, nn.Conv2d)}
    chosen = list(known if names is None else names)
    for name in [*chosen, *(input_scales or {})]:
        if name not in known:
            raise ValueError(f"{name!r} is no Linear and no Conv2d{nearest(name, known)}")
    handles = []
    done: list[tuple[Any, str]] = []
    try:
        for name in chosen:
            layer: Any = known[name]
            weight = layer.weight.detach()
            largest = weight.abs().amax(tuple(range(1, weight.dim())), keepdim=True)
            scale = largest.clamp_min(torch.finfo(weight.dtype).tiny * 2**32) / (
                2 ** (bits - 1) - 1
            )
            scales = {"weight": (scale, bits)}
            if layer.bias is not None:
                per_input = (input_scales or {}).get(name, 1 / 127)
                scales["bias"] = (scale.flatten() * per_input, bias_bits)
            for tensor, (units, count) in scales.items():
                _positive(units, getattr(layer, tensor))
                trained = getattr(layer, tensor).requires_grad
                parametrize.register_parametrization(layer, tensor, IntegerTensor(units, count))
                done.append((layer, tensor))
                original = layer.parametrizations[tensor].original.requires_grad_(trained)
                if scaling and trained:
                    handles.append(quantization_aware_scaling(original, units))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for layer, tensor in reversed(done):
            trained = layer.parametrizations[tensor].original.requires_grad
            parametrize.remove_parametrizations(layer, tensor)
            getattr(layer, tensor).requires_grad_(trained)


def snap(model: nn.Module, generator: torch.Generator | None = None) -> None:
    """Bring all integers of a model back to whole numbers in their range, after a step.

    Args:
        model: A model in the context of `integer_weights`.
        generator: Rounds up or down at random, so that the mean is the number itself: steps of less
            than a half then add up over time. None: rounds to the nearest, and such steps are lost.
    """
    layer: Any
    for layer in model.modules():
        if not parametrize.is_parametrized(layer):
            continue
        for parametrization in layer.parametrizations.values():
            if isinstance(integers := parametrization[0], IntegerTensor):
                q = parametrization.original
                with torch.no_grad():
                    if generator is not None:
                        q.add_(torch.rand(q.shape, generator=generator).to(q) - 0.5)
                    q.round_().clamp_(integers.low, integers.high)
