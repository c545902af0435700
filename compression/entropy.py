"""How few bytes an ideal code could store a model in: Shannon's bound, layer by layer."""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from nisqkit.compression.codebook import SharedWeights
from nisqkit.compression.fake_quantize import weight_codes
from nisqkit.compression.masks import mask_of
from nisqkit.compression.quantized_layer import QuantizedLayer
from nisqkit.search.weight_bytes import weight_metrics


def entropy_bytes(model: nn.Module) -> int:
    """Bytes of a model if the codes of its weights were coded ideally, each layer on its own.

    For layers with quantized or shared weights, the entropy of their codes (weights as independent
    draws from their histogram) stands in place of their bits; the zeros of pruned weights are
    codes as all others. Masked weights without quantization count as their positions, coded
    ideally, and the rest as floats. All else counts as in ``weight_bytes``. Huffman codes, as in
    Deep Compression, need at most one bit per weight more; the table of the code is not counted.

    Source: Shannon 1948; Deep Compression, Han et al. 2016 (arXiv:1510.00149).

    Example:
        >>> from nisqkit.compression.codebook import share_weights
        >>> net = nn.Sequential(nn.Linear(16, 4, bias=False))
        >>> _ = nn.init.zeros_(net[0].weight)
        >>> net[0].weight.data[0] = 1.0  # a quarter of the weights: 0.811 bits each
        >>> entropy_bytes(share_weights(net, {"0": 4}))  # 52 bits, and a codebook of one float
        11
    """
    total = weight_metrics(model)["weight_bytes"].value
    quantized = [m for m in model.modules() if isinstance(m, QuantizedLayer) and m.weight_bits < 32]
    for layer in quantized:
        assert layer.scales is not None
        weight = layer.layer.weight.detach()
        codes = weight_codes(weight, layer.scales, layer.weight_bits)
        mask = mask_of(layer.layer)
        if mask is not None:  # with one bit a pruned weight needs a code of its own
            codes = codes.masked_fill(mask.mask == 0, 0.0)
            total -= _packed(weight, 1)
        total += _entropy_bytes(codes) - _packed(weight, layer.weight_bits)
    done = {layer.layer for layer in quantized}
    for module in model.modules():
        if isinstance(module, SharedWeights):
            total += _entropy_bytes(module.codes) - _packed(module.codes, module.weight_bits)
        elif module not in done and (mask := mask_of(module)) is not None:
            zeros = mask.mask.numel() - int(mask.mask.sum())
            total += _entropy_bytes(mask.mask) - _packed(mask.mask, 1)
            total -= zeros * _stored(module).element_size()
    return int(total)


def _stored(masked: nn.Module) -> Tensor:
    parametrizations: Any = masked.parametrizations
    found: Tensor = parametrizations["weight"].original
    return found


def _packed(tensor: Tensor, bits: int) -> int:
    return ceil(tensor.numel() * bits / 8)


def _entropy_bytes(codes: Tensor) -> int:
    """Entropy of the histogram times the number of codes, in bytes."""
    counts = torch.unique(codes, return_counts=True)[1].double()
    share = counts / counts.sum()
    bits = float(-(share * share.log2()).sum()) * codes.numel()
    return ceil(bits / 8 - 1e-9)
