"""What is wrong with real machines, as data: devices, and what their noise covers."""

if __name__ != "nisqkit.noise":
    raise ImportError(f"import nisqkit.noise, not {__name__}")

from .coverage import Coverage as Coverage
from .coverage import GateUse as GateUse
from .coverage import coverage as coverage
from .device import Device as Device
from .device import GateCalibration as GateCalibration
from .device_sources import available_devices as available_devices
