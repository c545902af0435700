import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nisqkit.compression import ElasticNet
from nisqkit.compression.differentiable_choice import DifferentiableChoice, gene_options
from nisqkit.compression.latency_table import LatencyTable, measure_latency
from nisqkit.compression.supernet import largest, smallest
from nisqkit.search import Group, Ordered, Space, When


def net() -> ElasticNet:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(2)]
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.Sequential(*blocks),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Flatten(),
        nn.Linear(64, 2),
    )
    return ElasticNet(
        model,
        widths={"0": [2, 4], "1.0.0": [1, 4], "1.1.0": [3, 4]},
        kernels={"1.0.0": [1, 3]},
        depths={"1": [0, 1, 2]},
    )


NET = net()
TABLE = measure_latency(NET, torch.zeros(2, 1, 6, 6), runs=3)


def candidates(space: Space) -> list[Any]:
    """All of a small space."""
    if isinstance(space, Ordered):
        return list(space.options)
    assert isinstance(space, Group)
    found: list[dict[str, Any]] = [{}]
    for name, member in space.members.items():
        inner = candidates(member.space if isinstance(member, When) else member)
        found = [
            value | {name: option}
            for value in found
            for option in (inner if name in dict(space.active_members(value)) else [None])
        ]
        found = [{k: v for k, v in value.items() if v is not None} for value in found]
    return found


def probability(candidate: Any, shares: dict[str, Tensor]) -> float:
    """Of drawing it, gene by gene; genes that it does not have are summed over."""
    result = 1.0
    for path, options in gene_options(NET).items():
        value: Any = candidate
        for name in path.split("."):
            value = value.get(name, {}) if isinstance(value, dict) else {}
        if value != {}:
            result *= float(shares[path][options.index(value)])
    return result


def random_shares(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        path: torch.rand(len(options), generator=generator, dtype=torch.float64).softmax(0)
        for path, options in gene_options(NET).items()
    }


def test_every_form_of_every_layer_is_there() -> None:
    forms = {path: set(entries) for path, entries in TABLE.entries.items()}
    assert forms["0"] == {"0,2,0", "0,4,0"}
    assert forms["1.0.0"] == {f"{a},{w},{k}" for a in (2, 4) for w in (1, 4) for k in (1, 3)}
    assert forms["1.1.0"] == {f"{a},{w},0" for a in (1, 4) for w in (3, 4)}
    # behind a stage of 0, 1 or 2 blocks, the channels are of the layer before or of a block
    for path in ("2", "3", "4"):
        assert forms[path] == {f"{a},0,0" for a in (1, 2, 3, 4)}
    assert all(s > 0 for entries in TABLE.entries.values() for s in entries.values())


def test_a_candidate_takes_the_sum_of_its_layers() -> None:
    candidate = {"0": {"width": 2}, "1": {"depth": 1, "0": {"0": {"width": 1, "kernel": 3}}}}
    forms = {"0": "0,2,0", "1.0.0": "2,1,3", "1.0.1": "1,0,0", "2": "1,0,0", "3": "1,0,0"}
    expected = sum(TABLE.entries[path][form] for path, form in forms.items())
    expected += TABLE.entries["4"]["1,0,0"]
    assert TABLE.seconds(NET, candidate) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_expected_time_is_the_mean_over_all_candidates(seed: int) -> None:
    shares = random_shares(seed)
    everyone = candidates(NET.__space__())
    assert len(everyone) == NET.__space__().size() == 2 * (1 + 4 + 8)
    chances = [probability(candidate, shares) for candidate in everyone]
    assert sum(chances) == pytest.approx(1)
    times = [TABLE.seconds(NET, candidate) for candidate in everyone]
    expected = sum(p * t for p, t in zip(chances, times, strict=True))
    assert float(TABLE.expected(NET, shares)) == pytest.approx(expected, rel=1e-12)


def test_the_gradient_of_the_latency_term_against_finite_differences() -> None:
    model = DifferentiableChoice(NET).double()
    with torch.no_grad():
        for vector in model.choices():
            vector.copy_(torch.randn(len(vector), dtype=torch.float64))
    microseconds = 1e6 * TABLE.expected(NET, model.shares())
    microseconds.backward()
    for vector in model.choices():
        assert vector.grad is not None
        for k in range(len(vector)):
            ends = []
            for step in (1e-4, -1e-4):
                with torch.no_grad():
                    vector[k] += step
                    ends.append(1e6 * float(TABLE.expected(NET, model.shares())))
                    vector[k] -= step
            found = (ends[0] - ends[1]) / 2e-4
            assert float(vector.grad[k]) == pytest.approx(found, rel=1e-4, abs=1e-5)


def test_the_latency_term_alone_leads_to_a_fast_candidate() -> None:
    table = LatencyTable(  # times as the numbers of multiplications say, so that the test is exact
        {path: {form: _work(form) for form in entries} for path, entries in TABLE.entries.items()},
        TABLE.space,
        TABLE.machine,
    )
    model = DifferentiableChoice(NET)
    optimizer = torch.optim.Adam(model.choices(), lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        table.expected(NET, model.shares()).backward()
        optimizer.step()
    best = model.best()
    assert best["1"] == {"depth": 0}
    assert best["0"] == {"width": 2}
    fastest = min(table.seconds(NET, c) for c in candidates(NET.__space__()))
    assert table.seconds(NET, best) == fastest


def _work(form: str) -> float:
    arriving, width, kernel = (int(part) for part in form.split(","))
    return float(max(arriving, 1) * max(width, 1) * max(kernel, 1) ** 2)


def test_measured_times_tell_large_from_small() -> None:
    """A hundred times the multiplications take at least twice the time."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1)),
        *(nn.Flatten(), nn.Linear(64 * 256, 2)),
    )
    wide = ElasticNet(model, widths={"0": [4, 64], "2": [4, 64]})
    table = measure_latency(wide, torch.zeros(8, 1, 16, 16), runs=5)
    space = wide.__space__()
    assert table.seconds(wide, largest(space)) > 2 * table.seconds(wide, smallest(space))
    assert wide.training  # as it was


def test_json() -> None:
    again = LatencyTable.from_json(TABLE.to_json())
    assert again == TABLE
    assert again.machine["threads"] == 1
    assert math.isfinite(again.seconds(NET, largest(NET.__space__())))


def test_what_is_refused() -> None:
    other = ElasticNet(net().model, widths={"0": [1, 4]})
    with pytest.raises(ValueError, match=r"this table is of the space .*: measure one for it"):
        TABLE.seconds(other, largest(other.__space__()))
    with pytest.raises(ValueError, match="this table is of the space"):
        TABLE.expected(other, DifferentiableChoice(other).shares())
    with pytest.raises(ValueError, match=r"candidate\.0\.width is 3"):
        TABLE.seconds(NET, {"0": {"width": 3}, "1": {"depth": 0}})
    with pytest.raises(ValueError, match="this is no latency table in JSON"):
        LatencyTable.from_json("[")
    with pytest.raises(ValueError, match=r"and not .*: measure the table again"):
        LatencyTable.from_json('{"format": "nisqkit.latency_table", "version": 0}')
    with pytest.raises(ValueError, match="latency_runs is 2: give 3 or more"):
        measure_latency(NET, torch.zeros(1, 1, 6, 6), runs=2)
