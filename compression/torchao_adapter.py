"""Linear layers in int8 by torchao's kernels, instead of grids of floats."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from typing import Any

from torch import nn

from nisqkit.compression.layers import compressible_layers, copied, find_layers


def int8_linear(model: nn.Module, layers: Sequence[str] | None = None) -> nn.Module:
    """A copy for inference whose linear layers hold their weights as int8 tensors of torchao.

    A scale per output; activations stay floats. Convolutions and circuits stay as they are: torchao
    has no path for the first. Weights of other widths are `nisqkit.compression.quantize`'s:
    torchao stores them in 8 bits on a CPU.

    Args:
        model: it is left as it is.
        layers: names of linear layers; default all.

    Raises:
        ValueError: an unknown layer, or one that is not linear.
        ImportError: torchao is not installed.

    Example:
        >>> import torch
        >>> from nisqkit.search.profile import profile
        >>> small = int8_linear(nn.Sequential(nn.Linear(64, 10)))
        >>> profile(small, torch.zeros(1, 64)).total("weight_bytes").value  # 640 + 40 + 40
        720
    """
    if layers is None:
        every = compressible_layers(model).items()
        layers = [name for name, layer in every if isinstance(layer, nn.Linear)]
    for name, layer in find_layers(model, layers, "layers").items():
        if not isinstance(layer, nn.Linear):
            raise ValueError(
                f"{name!r} is a {type(layer).__name__}, and torchao takes linear layers alone: use "
                "quantize(model, {name: (8, 32)})"
            )
    torchao = _torchao()
    found = copied(model)
    chosen = find_layers(found, layers, "layers")
    torchao.quantize_(
        found,
        torchao.Int8WeightOnlyConfig(),
        filter_fn=lambda module, _: any(module is layer for layer in chosen.values()),
    )
    for layer in chosen.values():
        weight: Any = layer.weight
        layer.register_buffer("weight_scale", weight.scale)  # so that it is counted
        layer.bits = {"weight": 8}  # type: ignore[assignment]
    return found


def _torchao() -> Any:
    # remarks about kernels that a CPU cannot have, and about torchao's own enumerations
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            import torchao.quantization
    except ImportError as error:
        raise ImportError('int8_linear needs torchao: pip install "nisqkit[compression]"') from (
            error
        )
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    return torchao.quantization
