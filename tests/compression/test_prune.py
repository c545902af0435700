import json

import numpy as np
import pytest
import torch

from nisqkit.compression.masks import zero_share
from nisqkit.compression.prune import prune, prune_space
from nisqkit.search.profile import profile

from .models import hybrid, images


def test_candidates_of_the_space_of_channels_can_be_applied() -> None:
    model, x = hybrid(), images()
    space = prune_space(model, kind="channels", example=x)
    assert space.size() == 9**2  # not what feeds the circuit, nor the head
    random = np.random.default_rng(0)
    for _ in range(3):
        candidate = json.loads(json.dumps(space.sample(random)))
        pruned = prune(model, candidate, kind="channels", example=x)
        channels = 8 - int(candidate["0"] * 8 + 1e-9)
        hidden = 20 - int(candidate["4"] * 20 + 1e-9)
        macs = 9 * 16 * channels + 16 * channels * hidden + 4 * hidden + 16
        assert profile(pruned, x[:1]).total("macs").value == macs


def test_candidates_of_the_space_of_weights_can_be_applied() -> None:
    model = torch.nn.ModuleDict({"encoder": hybrid(), "head": torch.nn.Linear(4, 2)})
    space = prune_space(model, ratios=[0.0, 0.5])
    assert space.size() == 2**5
    candidate = space.repair({"encoder": {"0": 0.5, "4": 0.5}})
    assert zero_share(prune(model, candidate))["encoder.4"] == 0.5


def test_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"pass an example .* torch.zeros\(1, 1, 8, 8\)"):
        prune(hybrid(), {"0": 0.5}, kind="channels")
    with pytest.raises(ValueError, match="kind must be 'weights' or 'channels', got 'filters'"):
        prune(hybrid(), {"0": 0.5}, kind="filters")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must be in \[0, 1\), got 2"):
        prune_space(hybrid(), ratios=[2])
