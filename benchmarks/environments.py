"""One virtual environment per peer, below ``benchmarks/.venvs``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from peers import NISQKIT, PEERS

FOLDER = Path(__file__).parent / ".venvs"
TORCH = "torch==2.13.0"
JAX = ("jax==0.10.2", "jaxlib==0.10.2")
ENVIRONMENTS = {
    "pennylane": (TORCH, "pennylane==0.45.1", "pennylane-lightning==0.45.0"),
    "pennylane_jax": ("pennylane==0.45.1", *JAX),
    "tensorcircuit_jax": ("tensorcircuit-ng==1.10.0", "optax", *JAX),
    "tensorcircuit_torch": (TORCH, "tensorcircuit-ng==1.10.0"),
    "torchquantum_ng": (TORCH, "torchquantum-ng==0.2.0"),
    "deepquantum": (TORCH, "deepquantum==4.5.0"),
    "torq": (TORCH, "torq-quantum==0.1.3"),
    "pyqtorch": (TORCH, "pyqtorch==1.7.8"),
    "qulacs": ("qulacs==0.6.14", "numpy"),
    "qiskit_ml": (
        TORCH,
        "qiskit==2.6.1",
        "qiskit-machine-learning==0.9.1",
        "qiskit-algorithms==0.4.0",
    ),
}
"""What is installed in each. torch comes first, so that nothing pulls another version in."""


def python(environment: str) -> Path:
    """The interpreter of an environment; the project's own for ``"nisqkit"``."""
    if environment == NISQKIT:
        return Path(sys.executable)
    return FOLDER / environment / "bin" / "python"


def build(environment: str) -> None:
    """Create an environment unless it is there.

    Raises:
        RuntimeError: pip failed.
    """
    if environment == NISQKIT or (FOLDER / environment / ".installed").exists():
        return
    print(f"building the environment of {environment}", flush=True)
    folder = FOLDER / environment
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    packages = ENVIRONMENTS[environment]
    pip = [str(python(environment)), "-m", "pip", "--disable-pip-version-check"]
    pip += ["install", "--quiet"]
    if TORCH in packages:
        subprocess.run([*pip, TORCH, "numpy"], check=True)
    done = subprocess.run([*pip, *packages], check=False)
    if done.returncode:
        raise RuntimeError(
            f"pip could not install {' '.join(packages)}; leave these peers out with --peers"
        )
    (folder / ".installed").touch()


def build_for(peers: list[str]) -> None:
    """Create the environments of these peers."""
    for environment in dict.fromkeys(PEERS[p].environment for p in peers):
        build(environment)
