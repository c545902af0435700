# pyright: reportIndexIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# (models are indexed here, and what compression returns is only known to be a module)

import heapq

import numpy as np
import torch
from scipy.stats import entropy
from torch import nn

from nisqkit.compression.codebook import share_weights
from nisqkit.compression.entropy import entropy_bytes
from nisqkit.compression.masks import prune_weights
from nisqkit.compression.quantize import quantize
from nisqkit.search.weight_bytes import weight_metrics

from .models import hybrid


def huffman_bits(codes: np.ndarray) -> float:
    """Length of a Huffman code, by the greedy construction."""
    counts = np.unique(codes, return_counts=True)[1].tolist()
    heap, total = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        total += both
        heapq.heappush(heap, both)
    return total


def test_huffman_codes_need_little_more() -> None:
    model = nn.Sequential(nn.Linear(64, 32, bias=False))
    shared = share_weights(prune_weights(model, {"0": 0.8}), {"0": 5})
    codes = shared[0].codes.numpy().ravel()
    bound = 8 * (entropy_bytes(shared) - 4 * len(shared[0].codebook))
    counts = np.unique(codes, return_counts=True)[1]
    assert abs(bound - entropy(counts, base=2) * codes.size) < 8
    assert bound - 8 <= huffman_bits(codes) <= bound + codes.size
    assert bound < 5 * codes.size  # less than packed


def test_quantized_weights() -> None:
    model = nn.Sequential(nn.Linear(64, 32, bias=False))
    small = quantize(prune_weights(model, {"0": 0.5}), {"0": (4, 32)})
    codes = (small[0].weight.detach() / small[0].scales).round().numpy()
    counts = np.unique(codes, return_counts=True)[1]
    expected = entropy(counts, base=2) * codes.size / 8 + 4 * 32
    assert abs(entropy_bytes(small) - expected) < 1.01


def test_masked_weights_are_positions_and_floats() -> None:
    model = prune_weights(nn.Sequential(nn.Linear(64, 32, bias=False)), {"0": 0.75})
    expected = 2048 / 4 * 4 + 2048 * entropy([0.25, 0.75], base=2) / 8
    assert abs(entropy_bytes(model) - expected) < 1.01


def test_a_model_as_it_is() -> None:
    model = hybrid()
    assert entropy_bytes(model) == weight_metrics(model)["weight_bytes"].value
    assert torch.is_tensor(model[0].weight)
