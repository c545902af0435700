"""The wheel alone, without extras. ``make wheel-check`` runs this away from the checkout.

Nothing here may read the checkout or import anything but nisqkit's required dependencies.
"""

import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from nisqkit.circuits import hardware_efficient
from nisqkit.noise import Device, NoiseModel
from nisqkit.noise.mitigation import (
    PEC,
    ZNE,
    CliffordDataRegression,
    DynamicalDecoupling,
    LayerwiseRichardson,
    PauliTwirling,
    ReadoutMitigation,
)
from nisqkit.qml import QuantumLayer

FOLDERS = ("cli", "qml", "compression", "hardware_backends", "noise", "circuits", "search")


def modules() -> list[str]:
    names = []
    for folder in FOLDERS:
        package = importlib.import_module(f"nisqkit.{folder}")
        names.append(package.__name__)
        names += [
            info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        ]
    return names


# Not `qiskit_qasm3_import`: qiskit-ibm-runtime needs it too.
@pytest.mark.parametrize("module", ["pennylane", "mitiq", "ply", "pylatexenc", "psycopg"])
def test_no_extra_is_installed(module: str) -> None:
    assert find_spec(module) is None


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_installed_folder_is_used_and_typed(folder: str) -> None:
    init = importlib.import_module(f"nisqkit.{folder}").__file__
    assert init is not None
    assert Path(sys.prefix) in Path(init).parents
    assert Path(init).with_name("py.typed").is_file()


@pytest.mark.parametrize("name", modules())
def test_a_module_imports_or_says_what_to_install(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError as error:
        if "nisqkit[" not in str(error):
            raise


def test_a_layer_trains() -> None:
    layer = QuantumLayer(hardware_efficient(2, 1), seed=0)
    layer().sum().backward()
    assert layer.weights.grad is not None
    assert layer.weights.grad.abs().max() > 0


def test_the_pennylane_backend_says_what_to_install() -> None:
    with pytest.raises(ImportError, match=r"nisqkit\[pennylane\]"):
        QuantumLayer(hardware_efficient(2, 1), backend="pennylane:default.qubit")


def test_the_licence_is_shipped() -> None:
    metadata = distribution("nisqkit").metadata
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"


def test_what_mitiq_does_says_what_to_install() -> None:
    with pytest.raises(ImportError, match=r'run: pip install "nisqkit\[mitigation\]"'):
        ZNE(extrapolation="poly-exponential")


def test_the_command_line_starts() -> None:
    command = Path(sys.executable).with_name("nisqkit")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout
    assert "demo" in done.stdout


def test_mitigation_needs_no_mitiq() -> None:
    stack = [PauliTwirling(2), ZNE(), ReadoutMitigation()]
    belem = Device.load("fake_belem")
    layer = QuantumLayer(hardware_efficient(2, 1), noise=belem, mitigation=stack, seed=0)
    ideal, raw = layer.with_backend("native")(), layer.with_backend("native", noise=belem)()
    assert (layer() - ideal).abs().max() < (raw - ideal).abs().max()
    idle = NoiseModel.from_device(belem, idle=True)
    for other in (PEC(2), CliffordDataRegression(2), LayerwiseRichardson(), DynamicalDecoupling()):
        model = belem if isinstance(other, PEC) else idle
        with torch.no_grad():
            assert layer.with_backend("native", noise=model, mitigation=other)().isfinite().all()
