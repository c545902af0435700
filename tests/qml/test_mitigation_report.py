"""What mitigation is worth: errors against noise-free values, at the same number of shots."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest
import torch

from nisqkit.noise import Device
from nisqkit.noise.mitigation import ZNE, ReadoutMitigation
from nisqkit.qml import classifier, freeze_statistics, load_dataset
from nisqkit.qml.evaluation import limited
from nisqkit.qml.mitigation_plot import extrapolation_plot
from nisqkit.qml.mitigation_report import extrapolations, mitigation_report
from nisqkit.qml.models import with_backend
from nisqkit.qml.plots import save_figure

BELEM = Device.load("fake_belem")
DATA = load_dataset("digits4", seed=0)
SPLIT = limited(DATA.test, 8)
MODEL = classifier(16, 4, depth=1, seed=0)
BOTH = (ZNE(), ReadoutMitigation())
STACKS = {"raw": (), "readout": (ReadoutMitigation(),), "both": BOTH}


def test_errors_are_those_of_the_expectation_values() -> None:
    rows = mitigation_report(MODEL, SPLIT, DATA.class_names, BELEM, stacks=STACKS)
    assert [row.name for row in rows] == list(STACKS)
    features, labels = SPLIT.tensors()
    with torch.no_grad():
        ideal = MODEL(features)
        for row, stack in zip(rows, STACKS.values(), strict=True):
            found = with_backend(MODEL, "native", noise=BELEM, mitigation=stack)(features)
            assert row.error == pytest.approx((found - ideal).abs().mean().item(), abs=1e-7)
            assert row.correct == int((found.argmax(1) == labels).sum())
    assert rows[2].error < rows[1].error < rows[0].error
    assert [row.circuits for row in rows] == [1, 1, 3]


def test_every_row_spends_the_same_shots() -> None:
    rows = mitigation_report(MODEL, SPLIT, DATA.class_names, BELEM, shots=900, stacks=STACKS)
    assert [row.shots for row in rows] == [900, 900, 300]
    assert all(row.std is not None and row.std > 0 for row in rows)
    assert rows[2].std > 2 * rows[0].std  # type: ignore[operator]
    with pytest.raises(ValueError, match="shots=2 cannot be divided among the 3 circuits"):
        mitigation_report(MODEL, SPLIT, DATA.class_names, BELEM, shots=2, stacks=STACKS)


def test_normalisation_takes_its_statistics_from_mitigated_values() -> None:
    model = classifier(16, 4, depth=1, nodes=2, norm=True, seed=0)
    valid = DATA.valid.tensors()[0]
    (row,) = mitigation_report(
        model, SPLIT, DATA.class_names, BELEM, freeze_on=valid, stacks={"both": BOTH}
    )
    moved = with_backend(model, "native", noise=BELEM, mitigation=BOTH)
    freeze_statistics(moved, valid)
    freeze_statistics(model, valid)
    with torch.no_grad():
        apart = moved.eval()(SPLIT.tensors()[0]) - model.eval()(SPLIT.tensors()[0])
    assert row.error == pytest.approx(apart.abs().mean().item(), abs=1e-6)


def test_the_picture_of_extrapolations(tmp_path: Path) -> None:
    found = extrapolations(MODEL, SPLIT.tensors()[0], BELEM, count=3)
    assert len(found) == 3
    for one in found:
        raw, true = one.values[0], one.noise_free
        assert abs(one.zero["richardson"] - true) < abs(raw - true)
    figure = extrapolation_plot(found, "digits4 on fake_belem")
    save_figure(figure, tmp_path / "e.png")
    assert matplotlib.image.imread(tmp_path / "e.png").std() > 0.05
    assert len(figure.axes) == 3
    with pytest.raises(ValueError, match="no extrapolations given"):
        extrapolation_plot([], "")
