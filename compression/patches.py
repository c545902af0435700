"""The first convolutions, patch by patch: the same outputs from less memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_ELEMENTWISE: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid),
    *(nn.Hardtanh, nn.Hardswish, nn.Softplus, nn.Identity),
)
_IDLE: tuple[type[nn.Module], ...] = (nn.BatchNorm2d, nn.Dropout, nn.Dropout2d)  # in evaluation
_WINDOWS: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


class _Window(NamedTuple):
    """How a layer looks at one of the two dimensions."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    def size(self, size: int) -> int:
        """Output places of an input with this many."""
        return (size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def needed(self, low: int, high: int) -> tuple[int, int]:
        """Input places that the output places from low to below high look at; may be outside."""
        first = low * self.stride - self.padding
        last = (high - 1) * self.stride - self.padding + self.dilation * (self.kernel - 1)
        return first, last + 1


class Patched(nn.Module):
    """Convolutions and pools that run on one patch of the image at a time.

    The outputs are those of the layers themselves: each patch of the output is computed from the
    part of the input that it depends on, with a border that neighbouring patches compute again, and
    with zeros only where the image itself ends. So memory holds the input, the output, and what is
    between them for one patch. It pays where the images between are larger than both, as in the
    first layers of most CNNs; the price is the border, which `nisqkit.search.profile` shows in
    ``macs``, as it shows ``peak_activation_bytes``.

    Source: Lin et al., MCUNetV2, NeurIPS 2021 (arXiv:2110.15352).

    Args:
        layers: The layers, used and not copied: Conv2d, MaxPool2d, AvgPool2d (without padding),
            elementwise functions; BatchNorm2d and Dropout in evaluation mode. For the first five
            layers of a model: ``nn.Sequential(Patched(model[:5], (2, 2)), *model[5:])``.
        patches: Into how many rows and columns the output is cut.

    Raises:
        ValueError: Layers that look at the whole image, fewer than one patch; in ``forward`` an
            output that the patches do not divide, or training mode with BatchNorm or Dropout.

    Example:
        >>> layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        >>> image = torch.arange(64.0).reshape(1, 1, 8, 8)
        >>> torch.allclose(Patched(layers, (2, 2))(image), layers(image))
        True
    """

    def __init__(self, layers: nn.Sequential, patches: tuple[int, int]) -> None:
        super().__init__()
        if len(patches) != 2 or min(patches) < 1:
            raise ValueError(f"patches={patches}: give rows and columns, such as (2, 2)")
        self.layers, self.patches = layers, tuple(patches)
        for name, layer in self._named():
            _check(name, layer)

    def _named(self) -> Iterator[tuple[str, nn.Module]]:
        for name, layer in self.layers.named_modules(remove_duplicate=False):
            if type(layer) is not nn.Sequential:
                yield name, layer

    def forward(self, x: Tensor) -> Tensor:
        """(samples, channels, rows, columns), as the layers take and give it."""
        layers = [layer for _, layer in self._named()]
        if busy := [type(m).__name__ for m in layers if isinstance(m, _IDLE) and m.training]:
            raise ValueError(
                f"{busy[0]} in training mode depends on the whole image: call eval() first"
            )
        if x.dim() != 4:
            raise ValueError(f"x has shape {tuple(x.shape)}, but must be (samples, channels, h, w)")
        sizes = [(x.shape[2], x.shape[3])]
        for layer in layers:
            rows, columns = _windows(layer)
            sizes.append((rows.size(sizes[-1][0]), columns.size(sizes[-1][1])))
        for size, count, what in zip(sizes[-1], self.patches, ("rows", "columns"), strict=True):
            if size < 1 or size % count:
                fitting = [n for n in range(1, size + 1) if size % n == 0]
                raise ValueError(
                    f"{count} patches do not divide the {size} {what} of the output of "
                    f"{sizes[-1]}: use one of {fitting}"
                )
        result: Tensor | None = None
        height, width = (s // n for s, n in zip(sizes[-1], self.patches, strict=True))
        for row in range(0, sizes[-1][0], height):
            for column in range(0, sizes[-1][1], width):
                area = ((row, row + height), (column, column + width))
                patch = _run(layers, sizes, x, area)
                if result is None:
                    result = patch.new_empty(*patch.shape[:2], *sizes[-1])
                result[:, :, row : row + height, column : column + width] = patch
        assert result is not None
        return result

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"patches={self.patches}"


Area = tuple[tuple[int, int], tuple[int, int]]


def _run(layers: list[nn.Module], sizes: list[tuple[int, int]], x: Tensor, area: Area) -> Tensor:
    """The layers' output in one area."""
    wanted = [area]  # of each layer's output, the last one first
    for layer, size in zip(reversed(layers), reversed(sizes[:-1]), strict=True):
        inside = []
        for window, ends, limit in zip(_windows(layer), wanted[-1], size, strict=True):
            low, high = window.needed(*ends)
            inside.append((max(low, 0), min(high, limit)))
        wanted.append((inside[0], inside[1]))
    (top, bottom), (left, right) = wanted[-1]
    x = x[:, :, top:bottom, left:right]
    areas = wanted[::-1]
    for layer, given, made in zip(layers, areas[:-1], areas[1:], strict=True):
        pads: list[int] = []
        for window, have, ends in zip(_windows(layer), given, made, strict=True):
            low, high = window.needed(*ends)
            pads = [have[0] - low, high - have[1], *pads]  # columns first
        x = _apply(layer, x, pads)
    return x


def _apply(layer: nn.Module, x: Tensor, pads: list[int]) -> Tensor:
    """A layer on an area, with its padding only on the sides where the image ends."""
    if isinstance(layer, nn.Conv2d):
        x = functional.pad(x, pads) if any(pads) else x
        kernel = layer.weight, layer.bias
        return functional.conv2d(x, *kernel, layer.stride, 0, layer.dilation, layer.groups)
    if isinstance(layer, nn.MaxPool2d):
        x = functional.pad(x, pads, value=-torch.inf) if any(pads) else x
        return functional.max_pool2d(x, layer.kernel_size, layer.stride, 0, layer.dilation)
    found: Tensor = layer(x)
    return found


def _windows(layer: Any) -> tuple[_Window, _Window]:
    """Of rows and of columns."""
    if not isinstance(layer, _WINDOWS):
        return _Window(1, 1, 0, 1), _Window(1, 1, 0, 1)
    options = (layer.kernel_size, layer.stride, layer.padding, getattr(layer, "dilation", 1))
    rows, columns = zip(*(o if isinstance(o, tuple) else (o, o) for o in options), strict=True)
    return _Window(*rows), _Window(*columns)


def _check(name: str, layer: nn.Module) -> None:
    if type(layer) not in (*_ELEMENTWISE, *_IDLE, *_WINDOWS):
        allowed = ", ".join(t.__name__ for t in (*_WINDOWS, *_IDLE, *_ELEMENTWISE))
        raise ValueError(
            f"{type(layer).__name__} at {name!r} cannot run on patches; what can is {allowed}: "
            "leave it behind the patched layers"
        )
    options = [
        getattr(layer, "padding_mode", "zeros") != "zeros",
        isinstance(getattr(layer, "padding", 0), str),
        getattr(layer, "ceil_mode", False) or getattr(layer, "return_indices", False),
        isinstance(layer, nn.AvgPool2d) and layer.padding not in (0, (0, 0)),
    ]
    if any(options):
        raise ValueError(
            f"{layer} at {name!r} cannot run on patches: use padding by a number of zeros (none in "
            "AvgPool2d), without ceil_mode and return_indices"
        )
    if any(w.padding > w.dilation * (w.kernel - 1) for w in _windows(layer)):
        raise ValueError(
            f"{layer} at {name!r} pads more than its kernel reaches, so that some outputs see no "
            "image at all: use less padding"
        )
