from pathlib import Path

import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from matplotlib.patches import Circle

from nisqkit.noise import Device, NoiseModel
from nisqkit.qml.error_budget import ErrorBudget, Part
from nisqkit.qml.error_budget_plot import budget_map
from nisqkit.qml.plots import save_figure


def budget(*parts: Part) -> ErrorBudget:
    noise = NoiseModel.from_device(Device.load("fake_belem"))
    return ErrorBudget(parts, 1.0, 1.5, 0.0, None, None, 10, noise, unit="nats")


def greyness(circle: Circle) -> float:
    red, green, blue = to_rgb(circle.get_facecolor())
    return max(red, green, blue) - min(red, green, blue)


def test_qubits_and_edges_have_their_parts() -> None:
    figure = budget_map(
        budget(
            Part("cx 0-1", 0.3, 0.6),
            Part("cx 1-0", 0.1, 0.2),
            Part("T1 of 1", 0.05, 0.1),
            Part("readout of 1", 0.05, 0.1),
        )
    )
    axes, bar = figure.axes
    circles = [patch for patch in axes.patches if isinstance(patch, Circle)]
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2", "3", "4"]
    assert [greyness(c) > 0.05 for c in circles] == [False, True, False, False, False]
    # two lines for the used edge, its rim and its colour, and one for each of the three others
    assert len(axes.get_lines()) == 5
    dark = sum(to_rgb(axes.get_lines()[1].get_color()))
    assert dark < sum(to_rgb(circles[1].get_facecolor()))  # 0.4 costs more than 0.1
    assert bar.get_xlabel() == "part of the loss (nats); grey: not used"
    assert bar.get_xlim() == pytest.approx((0, 0.4))
    title = figure.texts[0].get_text()
    assert title == "fake_belem of 2021-03-15\nnoise costs +0.5000 nats of loss"


def test_noise_that_helps_has_another_colour() -> None:
    figure = budget_map(budget(Part("T1 of 0", -0.2, -0.5), Part("T1 of 1", 0.1, 0.2)))
    axes, bar = figure.axes
    assert bar.get_xlim() == pytest.approx((-0.2, 0.2))
    helps, costs = (to_rgb(patch.get_facecolor()) for patch in axes.patches[:2])
    assert helps[2] > helps[1]  # violet
    assert costs[0] > costs[2]  # orange


def test_it_can_be_written(tmp_path: Path) -> None:
    save_figure(budget_map(budget()), tmp_path / "map.png")
    assert imread(tmp_path / "map.png").shape[2] == 4


def test_without_a_device() -> None:
    by_hand = ErrorBudget((), 1.0, 1.5, 0.0, None, None, 10, NoiseModel("by hand", {}))
    with pytest.raises(ValueError, match="'by hand' has no device, so there is no coupling graph"):
        budget_map(by_hand)
