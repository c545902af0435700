"""How sub-circuits are drawn: few changes, the published bounds, and uniform otherwise."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chisquare

from nisqkit.circuits.design_sampling import (
    SAMPLINGS,
    Genes,
    PlainSampling,
    ProgressiveSampling,
    RestrictedSampling,
    sampling,
)
from nisqkit.circuits.design_spaces import DesignSpace

DESIGN = DesignSpace("u3cu3", 4)
TOTAL = 400


def draws(name: str, seed: int = 0) -> list[Genes]:
    found: list[Genes] = []
    for step in range(TOTAL):
        before = found[-1] if found else None
        rng = np.random.default_rng((seed, step))
        found.append(sampling(name).draw(DESIGN, before, step, TOTAL, rng))
    return found


@pytest.mark.parametrize("name", SAMPLINGS)
def test_every_draw_is_a_sub_circuit_and_comes_again(name: str) -> None:
    found = draws(name)
    for genes in found:
        DESIGN.space.check(genes.subcircuit(DESIGN))
        assert len(genes.numbers) == 16
    assert found == draws(name)
    assert found != draws(name, seed=1)


@pytest.mark.parametrize("name", ["restricted", "progressive"])
def test_neighbours_differ_in_at_most_seven_positions(name: str) -> None:
    found = draws(name)
    apart = [a.differences(b) for a, b in pairwise(found)]
    assert max(apart) <= 7
    assert np.mean(apart) > 4  # 7 are drawn again, of which some stay by chance


def test_progressive_sampling_never_falls_below_its_bound() -> None:
    """Of 8 blocks in 3 parts: at least 6, then 3, then 1, and never back."""
    found = draws("progressive")
    assert found[0].subcircuit(DESIGN) == DESIGN.largest
    bounds = [ProgressiveSampling().lowest(DESIGN, step, TOTAL) for step in range(TOTAL)]
    assert all(genes.blocks >= bound for genes, bound in zip(found, bounds, strict=True))
    assert sorted(set(bounds), reverse=True) == [6, 3, 1]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds.index(1) == 20  # 2 of 40 stages
    assert ProgressiveSampling(chunks=10).lowest(DESIGN, 9 * TOTAL // 40, TOTAL) == 1
    assert min(genes.blocks for genes in found) == 1


def test_plain_sampling_is_uniform() -> None:
    rng = np.random.default_rng(0)
    found = [PlainSampling().draw(DESIGN, None, 0, 1, rng) for _ in range(2000)]
    for values, size in (
        ([g.numbers[3] for g in found], 4),
        ([g.blocks for g in found], 8),
    ):
        counts = Counter(values)
        assert chisquare([counts[k] for k in range(1, size + 1)]).pvalue > 1e-4


def test_unused_numbers_do_not_matter() -> None:
    one = Genes((1, 2, *range(1, 15)), 1)
    two = Genes((1, 2) + (4,) * 14, 1)
    assert DESIGN.mask(one.subcircuit(DESIGN)) == DESIGN.mask(two.subcircuit(DESIGN))


def test_options() -> None:
    rng = np.random.default_rng(0)
    first = RestrictedSampling(changes=1).draw(DESIGN, None, 0, 1, rng)
    second = RestrictedSampling(changes=1).draw(DESIGN, first, 1, 1, rng)
    assert second.differences(first) <= 1
    with pytest.raises(ValueError, match="unknown sampling 'restrict'; did you mean 'restricted'"):
        sampling("restrict")
