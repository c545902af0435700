from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.image import imread
from matplotlib.patches import Circle

from nisqkit.noise import Device, GateCalibration
from nisqkit.qml.device_plot import edge_errors, error_map
from nisqkit.qml.plots import save_figure

BELEM = Device.load("fake_belem")


def darkness(colour: Any) -> float:
    return 1 - float(np.dot(colour[:3], (0.299, 0.587, 0.114)))


def with_cx(error: float | None, pair: tuple[int, int]) -> Device:
    gates = tuple(g._replace(error=error) if set(g.qubits) == set(pair) else g for g in BELEM.gates)
    return replace(BELEM, gates=gates)


def test_worse_qubits_and_edges_are_darker() -> None:
    axes = error_map(BELEM).axes[0]
    disks = [patch for patch in axes.patches if isinstance(patch, Circle)]
    shades = [darkness(disk.get_facecolor()) for disk in disks]
    reads = [sum(pair) for pair in BELEM.readout if pair]
    assert np.argsort(shades).tolist() == np.argsort(reads).tolist()
    shades = [darkness(line.get_color()) for line in axes.get_lines()]
    errors = [error for error in edge_errors(BELEM).values() if error]
    assert np.argsort(shades).tolist() == np.argsort(errors).tolist()


def test_every_qubit_has_its_number_in_a_readable_colour() -> None:
    axes = error_map(BELEM).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2", "3", "4"]
    for text, disk in zip(axes.texts, axes.patches, strict=True):
        ink = 1.0 if text.get_color() == "white" else 0.12
        assert abs(ink - (1 - darkness(disk.get_facecolor()))) > 0.35


def test_colour_bars_have_units_and_the_range_of_the_errors() -> None:
    _, qubits, edges = error_map(BELEM).axes
    assert (qubits.get_xlabel(), edges.get_xlabel()) == ("readout error (%)", "cx error (%)")
    errors = [error for error in edge_errors(BELEM).values() if error]
    assert edges.get_xlim() == pytest.approx((min(errors), max(errors)))


def test_dead_and_uncalibrated_edges_and_qubits_can_be_told_apart() -> None:
    dead = error_map(with_cx(1.0, (1, 3)))
    lines = dict(zip(edge_errors(BELEM), dead.axes[0].get_lines(), strict=True))
    assert lines[1, 3].get_linestyle() == "--"
    assert lines[0, 1].get_linestyle() == "-"
    (legend,) = dead.legends
    assert [text.get_text() for text in legend.get_texts()] == ["dead"]
    # a dead edge does not stretch the scale
    assert max(dead.axes[2].get_xlim()) < 0.02
    unknown = replace(with_cx(None, (1, 3)), readout=(None, *BELEM.readout[1:]))
    figure = error_map(unknown, used=[2])
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["not calibrated", "readout not calibrated", "used"]
    first = figure.axes[0].patches[0]
    assert to_hex(first.get_facecolor()) == "#bdbdbd"  # grey


def test_used_qubits_have_a_ring() -> None:
    patches = error_map(BELEM, used={1, 3}).axes[0].patches
    rings = [p for p in patches if isinstance(p, Circle) and not p.get_fill()]
    disks = [p for p in patches if isinstance(p, Circle) and p.get_fill()]
    assert [tuple(ring.center) for ring in rings] == [tuple(disks[q].center) for q in (1, 3)]


def test_a_wide_range_of_errors_has_a_logarithmic_scale() -> None:
    cusco = error_map(Device.load("fake_cusco"))
    assert cusco.axes[1].get_xscale() == "log"
    assert error_map(BELEM).axes[1].get_xscale() == "linear"


def test_a_qubit_that_is_not_there() -> None:
    with pytest.raises(
        ValueError, match=r"qubit 5 is not on fake_belem: give qubits between 0 and 4"
    ):
        error_map(BELEM, used=[1, 5])


@pytest.mark.parametrize("name", ["fake_armonk", "fake_yorktown", "fake_kyoto", "fake_fez"])
def test_devices_of_1_to_156_qubits_are_written(name: str, tmp_path: Path) -> None:
    save_figure(error_map(Device.load(name)), tmp_path / "map.png")
    picture = imread(tmp_path / "map.png")
    assert picture.shape[0] > 300 and picture.shape[1] > 800
    # nothing is drawn up to the border, so that nothing is cut off
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (border == 1).all()


def test_edges_take_the_best_gate_of_a_pair() -> None:
    uses = [("cx", (0, 1), 0.02), ("cx", (1, 0), 1.0), ("ecr", (0, 1), None)]
    gates = tuple(GateCalibration(*use, duration=3e-7) for use in uses)
    pair = Device("pair", gates, (1e-4,) * 2, (1e-4,) * 2, (None, None))
    assert edge_errors(pair) == {(0, 1): 0.02}
