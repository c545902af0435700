"""How old a calibration is: machines drift, and are calibrated daily."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta

from .device import Device

_FRESH = timedelta(days=7)
_NOT_LIVE = ("Fake", "Aer", "written by hand")  # how `Device.source` starts


class CalibrationWarning(UserWarning):
    """The noise of a real machine is about to be taken from an old calibration."""


def age_note(device: Device, today: datetime) -> str:
    """One line about the age of a device's calibration, for people.

    Args:
        device: The device.
        today: The present time, with its time zone.

    Example:
        >>> age_note(Device.load("fake_santiago"), datetime(2021, 3, 20, tzinfo=UTC))
        'calibration of 2021-03-15, 4 days old'
    """
    if device.date is None:
        return "calibration without a date"
    days = (today - device.date) // timedelta(days=1)
    age = f"{days} day{'s' * (days != 1)}" if days < 730 else f"{days / 365.25:.1f} years"
    return f"calibration of {device.date.date().isoformat()}, {age} old"


def warn_if_old(device: Device) -> None:
    """Warn if a device was taken from a machine more than a week ago.

    Snapshots that come with a package, simulators and devices written by hand say what they are.

    Warns:
        CalibrationWarning: With the date.
    """
    now = datetime.now(UTC)
    if device.date is None or device.source.startswith(_NOT_LIVE) or now - device.date <= _FRESH:
        return
    warnings.warn(
        f"{device.name}: {age_note(device, now)}; take a new one with Device.from_backend",
        CalibrationWarning,
        stacklevel=4,
    )
