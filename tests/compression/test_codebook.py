# pyright: reportIndexIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# (models are indexed here, and what compression returns is only known to be a module)

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

from nisqkit.compression.codebook import kmeans, share_weights
from nisqkit.compression.masks import prune_weights
from nisqkit.search.profile import profile

from .models import hybrid, images


@pytest.mark.parametrize("clusters", [2, 4, 8])
def test_the_result_is_a_fixed_point_of_sklearn(clusters: int) -> None:
    values = torch.randn(300, generator=torch.Generator().manual_seed(0)).double()
    centroids, codes = kmeans(values, clusters)
    start = centroids.numpy()[:, None]
    other = KMeans(clusters, init=start, n_init=1, max_iter=1, tol=0).fit(values.numpy()[:, None])
    inertia = float((centroids[codes] - values).square().sum())
    assert inertia == pytest.approx(other.inertia_, rel=1e-3)
    one = KMeans(1).fit(values.numpy()[:, None])
    assert inertia < one.inertia_


def test_few_values_are_kept_exactly() -> None:
    centroids, codes = kmeans(torch.tensor([3.0, 1.0, 3.0]), 8)
    assert centroids.tolist() == [1, 3] and codes.tolist() == [1, 0, 1]


def test_gradients_are_summed_per_entry() -> None:
    # Deep Compression, section 3.3: the gradient of a centroid is the sum over its weights.
    model = nn.Sequential(nn.Linear(6, 4))
    shared, x = share_weights(model, {"0": 2}), torch.rand(5, 6)
    dense = shared[0].weight.detach().clone().requires_grad_()
    nn.functional.linear(x, dense, model[0].bias).square().sum().backward()
    shared(x).square().sum().backward()
    assert dense.grad is not None
    sums = np.bincount(shared[0].codes.flatten(), dense.grad.flatten(), 4)
    assert shared[0].codebook.grad.tolist() == pytest.approx(sums.tolist(), rel=1e-4)


def test_pruned_weights_stay_zero() -> None:
    pruned = prune_weights(hybrid(), {"0": 0.5, "4": 0.9})
    shared = share_weights(pruned, {"0": 4, "4": 3})
    assert torch.equal(shared[4].weight == 0, pruned[4].weight == 0)
    optimizer = torch.optim.SGD(shared.parameters(), 0.1)
    shared(images()).sum().backward()
    optimizer.step()
    assert torch.equal(shared[4].weight == 0, pruned[4].weight == 0)
    assert len(shared[4].weight.unique()) <= 8
    found = profile(shared, images(1))
    assert found.flat()["4.weight_bytes"] == 20 * 128 * 3 // 8 + 4 * 7 + 4 * 20
    assert found.flat()["4.nonzero_macs"] == pytest.approx(0.1 * found.flat()["4.macs"])


def test_bad_bits() -> None:
    with pytest.raises(ValueError, match="weight_bits of '0' must be a whole number from 1 to 8"):
        share_weights(hybrid(), {"0": 9})
    with pytest.raises(ValueError, match="weight_bits names '77'"):
        share_weights(hybrid(), {"77": 2})
