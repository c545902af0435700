"""What is wrong with real machines: devices, noise models, and programs bound to their noise."""

if __name__ != "nisqkit.noise":
    raise ImportError(f"import nisqkit.noise, not {__name__}")

from .age import CalibrationWarning as CalibrationWarning
from .age import age_note as age_note
from .channels import Channel as Channel
from .confusion import Confusion as Confusion
from .coverage import Coverage as Coverage
from .coverage import GateUse as GateUse
from .coverage import coverage as coverage
from .device import Device as Device
from .device import GateCalibration as GateCalibration
from .device_sources import available_devices as available_devices
from .model import Noise as Noise
from .model import NoiseModel as NoiseModel
from .noisy_program import NoiseUse as NoiseUse
from .noisy_program import NoisyProgram as NoisyProgram
from .readout import confuse as confuse
from .readout import through_readout as through_readout
from .schedule import Idle as Idle
