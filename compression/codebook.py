"""Weight sharing: the weights of a layer take few values, and each value is trained as one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from nisqkit.compression.layers import Layer, copied, find_layers, replace_modules
from nisqkit.compression.masks import make_permanent
from nisqkit.compression.quantized_layer import apply_layer

_ROUNDS = 50


class SharedWeights(nn.Module):
    """A linear layer or convolution whose weights are entries of a codebook.

    In training the gradient of an entry is the sum over the weights that have it. With zeros in the
    weights, zero is an entry of its own and stays zero.

    Args:
        layer: its weights are clustered; its bias is kept.
        weight_bits: 1 to 8: the codebook has ``2**weight_bits`` entries at most.

    Attributes:
        codebook: the entries but zero, trained.
        codes: the entry of each weight, packed in ``weight_bits``; 0 is zero if there are zeros.
    """

    codes: Tensor

    def __init__(self, layer: Layer, weight_bits: int) -> None:
        super().__init__()
        weight = layer.weight.detach()
        self.weight_bits, self.has_zero = weight_bits, bool((weight == 0).any())
        codebook, codes = kmeans(weight[weight != 0], 2**weight_bits - self.has_zero)
        self.codebook = nn.Parameter(codebook)
        every = torch.zeros(weight.shape, dtype=torch.uint8, device=weight.device)
        every[weight != 0] = (codes + self.has_zero).to(torch.uint8)
        self.register_buffer("codes", every)
        self.layer = layer
        del layer.weight

    @property
    def bits(self) -> Mapping[str, int]:
        """Bits per element of what is packed."""
        return {"codes": self.weight_bits}

    @property
    def weight(self) -> Tensor:
        """The weights, from the codebook."""
        entries = functional.pad(self.codebook, (int(self.has_zero), 0))
        return entries[self.codes.long()]

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        return apply_layer(self.layer, x, self.weight)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"weight_bits={self.weight_bits}, entries={len(self.codebook) + self.has_zero}"


def share_weights(model: nn.Module, weight_bits: Mapping[str, int]) -> nn.Module:
    """A copy of a model in which the weights of some layers come from a codebook.

    Prune first, train, and share then: zeros stay zero. Train the copy afterwards.

    Args:
        model: it is left as it is. Its circuits stay as they are.
        weight_bits: per layer name, 1 to 8: the codebook has that power of 2 entries.

    Source: Deep Compression, Han et al., ICLR 2016 (arXiv:1510.00149); centroids start evenly
    spaced over the weights' range, which that paper found best.

    Raises:
        ValueError: unknown layers, or bits out of range.

    Example:
        >>> from nisqkit.search.profile import profile
        >>> net = nn.Sequential(nn.Linear(100, 10, bias=False))
        >>> small = share_weights(net, {"0": 2})
        >>> len(small[0].weight.unique())
        4
        >>> profile(small, torch.zeros(1, 100)).total("weight_bytes").value  # 250 and 4 floats
        266
    """
    for name, bits in weight_bits.items():
        if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
            raise ValueError(
                f"weight_bits of {name!r} must be a whole number from 1 to 8, got {bits!r}"
            )
    find_layers(model, weight_bits, "weight_bits")
    found = copied(model)
    layers = find_layers(found, weight_bits, "weight_bits")
    for layer in layers.values():
        make_permanent(layer)  # the codes say where the zeros are
    new = {name: SharedWeights(layer, weight_bits[name]) for name, layer in layers.items()}
    return replace_modules(found, dict(new))


def kmeans(values: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm in one dimension, from evenly spaced centroids.

    A centroid without values moves to one that is far from its own.

    Args:
        values: (n,).
        clusters: how many centroids; there are fewer where there are fewer different values.

    Returns:
        The centroids in ascending order, none without values, and the centroid of each value.

    Example:
        >>> kmeans(torch.tensor([0.0, 1.0, 10.0, 11.0]), 2)
        (tensor([ 0.5000, 10.5000]), tensor([0, 0, 1, 1]))
    """
    if len(unique := torch.unique(values)) <= clusters:
        return unique, torch.searchsorted(unique, values)
    centroids = torch.linspace(float(values.min()), float(values.max()), clusters).to(values)
    for _ in range(_ROUNDS):
        codes = _nearest(values, centroids)
        sums = torch.zeros_like(centroids).index_add_(0, codes, values)
        counts = torch.bincount(codes, minlength=len(centroids))
        new = torch.where(counts > 0, sums / counts.clamp(min=1), centroids)
        if empty := int((counts == 0).sum()):  # to the values that are farthest from theirs
            far = (values - new[codes]).abs().argsort(descending=True)[:empty]
            new[counts == 0] = values[far]
        new = new.sort().values
        if torch.equal(new, centroids):
            break
        centroids = new
    used, codes = torch.unique(_nearest(values, centroids), return_inverse=True)
    return centroids[used], codes


def _nearest(values: Tensor, centroids: Tensor) -> Tensor:
    return torch.bucketize(values, (centroids[1:] + centroids[:-1]) / 2)
