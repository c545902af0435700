import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nisqkit.noise import CalibrationWarning, Device, NoiseModel, age_note


def aged(days: float, source: str) -> Device:
    date = datetime.now(UTC) - timedelta(days=days)
    return replace(Device.load("fake_santiago"), date=date, source=source)


def test_an_old_calibration_of_a_machine_warns_with_its_date() -> None:
    device = aged(8, "IBMBackend of qiskit_ibm_runtime")
    assert device.date is not None
    day = device.date.date().isoformat()
    with pytest.warns(CalibrationWarning, match=f"{day}, 8 days old; take a new one") as caught:
        NoiseModel.from_device(device)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("days", "source"),
    [
        (6, "IBMBackend of qiskit_ibm_runtime"),
        (3000, "FakeSantiagoV2 of qiskit_ibm_runtime"),
        (3000, "written by hand"),
        (3000, "AerSimulator of qiskit_aer"),
    ],
)
def test_no_other_calibration_warns(days: float, source: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NoiseModel.from_device(aged(days, source))


def test_sources_of_snapshots_are_recognised() -> None:
    assert Device.load("fake_santiago").source.startswith("Fake")


@pytest.mark.parametrize(("days", "text"), [(0, "0 days"), (1, "1 day"), (900, "2.5 years")])
def test_notes(days: int, text: str) -> None:
    device = Device.load("fake_santiago")
    assert device.date is not None
    note = age_note(device, device.date + timedelta(days=days, hours=3))
    assert note == f"calibration of 2021-03-15, {text} old"
    assert age_note(replace(device, date=None), datetime.now(UTC)) == "calibration without a date"
