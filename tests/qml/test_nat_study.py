"""The QuantumNAT benchmark: every cell is one resumable run, whoever runs it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nisqkit.qml.nat_study import (
    TECHNIQUES,
    Cell,
    NatRecords,
    NatStudy,
    Progress,
    find_technique,
    run_study,
)

SMALL = NatStudy(
    ("digits2",), ("fake_yorktown",), seeds=2, epochs=1, techniques=("baseline", "norm")
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NatRecords]:
    out = tmp_path_factory.mktemp("nat")
    return out, run_study(SMALL, out, workers=1)


def test_a_technique_is_what_the_row_before_has_and_one_thing_more() -> None:
    study = NatStudy(("mnist4",), ("fake_belem",))
    config = {t.key: study.config(Cell("mnist4", "fake_belem", t.key, 3)) for t in TECHNIQUES}
    for technique in TECHNIQUES:
        assert config[technique.key].seed == 3
        if technique.after is not None:
            changed = config[technique.key].differences(config[technique.after])
            names = {change.split(" ")[0] for change in changed} - {"noise_factor"}
            assert len(names) == 1, (technique.key, changed)
    gates = config["gates-levels"]
    assert (gates.noise_factor, gates.quantize, gates.nodes, gates.depth) == (0.5, 5, 2, 3)
    assert config["gates-1"].noise_factor == 1
    assert (gates.batch_size, gates.keep, gates.warmup_epochs) == (256, "last", 9)
    assert config["exact"].noise_factor == 1


def test_all_cells_are_run_and_recorded(done: tuple[Path, NatRecords]) -> None:
    out, records = done
    assert set(records.cells) == set(SMALL.cells())
    assert not records.failures
    for cell, found in records.cells.items():
        report = json.loads((out / cell.folder / "report.json").read_text())
        assert found["noise_free_accuracy"] == report["test"][0]["accuracy"]
        assert found["device_accuracy"] == report["test"][1]["accuracy"]
        assert report["test"][1]["condition"] == cell.device
    assert [b["name"] for b in records.classical["digits2", 0]][-1] == "MLP-16"


def test_a_study_goes_on_where_it_stopped(done: tuple[Path, NatRecords]) -> None:
    out, records = done
    removed = SMALL.cells()[1]
    for file in ("report.json", "checkpoint.pt", "metrics.jsonl", "config.json", "progress.txt"):
        (out / removed.folder / file).unlink()
    (out / removed.folder).rmdir()
    kept = {c: (out / c.folder / "report.json").stat().st_mtime_ns for c in SMALL.cells()[2:]}
    told: list[object] = []

    class Told(Progress):
        def started(self, epochs: int, done: int) -> None:
            told.append((epochs, done))

        def epoch(self, cell: Cell) -> None:
            told.append(cell)

    again = run_study(SMALL, out, workers=2, progress=Told())  # in a process of its own
    assert told[0] == (4, 3)
    assert told[1:] in ([removed], [])  # the last message may come too late
    assert again.cells[removed]["device_accuracy"] == records.cells[removed]["device_accuracy"]
    assert kept == {c: (out / c.folder / "report.json").stat().st_mtime_ns for c in kept}


def test_other_settings_are_refused(done: tuple[Path, NatRecords]) -> None:
    out, _ = done
    with pytest.raises(ValueError, match=r"has another config; different are: epochs \(2, not 1\)"):
        run_study(replace(SMALL, epochs=2), out, workers=1)


def test_a_run_that_fails_does_not_lose_the_others(tmp_path: Path) -> None:
    study = replace(SMALL, techniques=("baseline",), seeds=2)
    broken = tmp_path / Cell("digits2", "fake_yorktown", "baseline", 0).folder
    failed: list[str] = []

    class Breaks(Progress):
        def started(self, epochs: int, done: int) -> None:
            (broken / "config.json").mkdir(parents=True)  # nothing can be written there now

        def failed(self, cell: Cell, error: str) -> None:
            failed.append(str(cell))

    records = run_study(study, tmp_path, workers=1, progress=Breaks())
    assert failed == ["digits2 on fake_yorktown, baseline, seed 0"]
    assert list(records.failures) == failed
    assert [cell.seed for cell in records.cells] == [1]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="seeds=1: give at least 2"):
        NatStudy(("digits4",), ("fake_belem",), seeds=1)
    with pytest.raises(ValueError, match="devices is empty"):
        NatStudy(("digits4",), ())
    with pytest.raises(ValueError, match="did you mean 'norm'"):
        find_technique("nrom")
