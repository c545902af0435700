"""Tables of the benchmark: means, intervals and paired gains are SciPy's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from nisqkit.qml.nat_plot import nat_plot
from nisqkit.qml.nat_report import entries, settings, to_json, to_markdown
from nisqkit.qml.nat_study import Cell, NatRecords, NatStudy

STUDY = NatStudy(
    ("digits4",), ("fake_belem", "fake_lima"), seeds=4, techniques=("baseline", "norm", "gates")
)


def made_up(missing: tuple[Cell, ...] = ()) -> NatRecords:
    random = np.random.default_rng(0)
    records = NatRecords(STUDY)
    for cell in STUDY.cells():
        if cell not in missing:
            device, clean = random.uniform(0.5, 0.8), random.uniform(0.8, 0.9)
            records.cells[cell] = {
                "device_accuracy": device,
                "noise_free_accuracy": clean,
                "parameters": 12,
            }
    for seed in range(4):
        fits = [("majority", 0), ("logistic regression", 68), ("MLP-16", 340)]
        records.classical["digits4", seed] = [
            {"name": name, "num_parameters": size, "test_accuracy": random.uniform(0.9, 1)}
            for name, size in fits
        ]
    return records


def test_numbers_are_those_of_scipy() -> None:
    records = made_up()
    (entry,) = (e for e in entries(records) if (e.device, e.technique) == ("fake_lima", "norm"))
    values = {
        key: np.array(
            [
                records.cells[Cell("digits4", "fake_lima", key, s)]["device_accuracy"]
                for s in range(4)
            ]
        )
        for key in ("baseline", "norm")
    }
    interval = stats.t.interval(0.95, 3, values["norm"].mean(), stats.sem(values["norm"]))
    assert entry.device_accuracy == pytest.approx((values["norm"].mean(), *interval))
    paired = stats.ttest_rel(values["norm"], values["baseline"]).confidence_interval(0.95)
    assert entry.gain is not None
    assert entry.gain[1:] == pytest.approx((paired.low, paired.high))
    assert entry.seeds == (0, 1, 2, 3)


def test_a_gain_pairs_the_seeds_that_both_rows_have() -> None:
    missing = (
        Cell("digits4", "fake_belem", "baseline", 1),
        Cell("digits4", "fake_belem", "norm", 2),
    )
    records = made_up(missing)
    (entry,) = (e for e in entries(records) if (e.device, e.technique) == ("fake_belem", "norm"))
    assert entry.seeds == (0, 1, 3)
    pairs = [
        records.cells[Cell("digits4", "fake_belem", "norm", s)]["device_accuracy"]
        - records.cells[Cell("digits4", "fake_belem", "baseline", s)]["device_accuracy"]
        for s in (0, 3)
    ]
    assert entry.gain is not None
    assert entry.gain.mean == pytest.approx(np.mean(pairs))


def test_everything_is_in_the_files() -> None:
    records = made_up()
    records.failures["a cell"] = "ValueError: why"
    content = json.loads(json.dumps(to_json(records)))
    assert len(content["runs"]) == 24
    assert {run["device"] for run in content["runs"]} == {"fake_belem", "fake_lima"}
    assert all(0.5 < run["device_accuracy"] < 0.8 for run in content["runs"])
    assert content["devices"][0]["date"].startswith("2021")
    assert content["versions"]["torch"]
    text = to_markdown(records)
    assert "fake_lima: 2 nodes of 2 blocks, T = 1 for gates, 5 levels (not of the paper)" in text
    assert "| + injection: gates | 12 |" in text
    assert "| MLP-16 | 340 |" in text
    assert "- a cell: ValueError: why" in text


def test_settings_of_a_device() -> None:
    assert settings("fake_santiago") == "2 nodes of 6 blocks, T = 1.5 for gates, 4 levels"


def test_the_picture_has_a_panel_per_task_and_device() -> None:
    figure = nat_plot(made_up())
    assert [ax.get_title() for ax in figure.axes] == ["digits4, fake_belem", "digits4, fake_lima"]
    with pytest.raises(ValueError, match="no entry has two seeds yet"):
        nat_plot(NatRecords(STUDY))
