"""The peers: one adapter per file, each for one way to compute the step.

An adapter module defines a class ``Step``: ``Step(workload, data, threads)`` builds the circuit;
``step()`` is one training step (forward, loss, backward, gradients for weights and inputs) and
``forward()`` the outputs alone; ``result()`` gives outputs, loss, gradient of the weights and of
the inputs; ``precision`` says what it computes in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workloads import Workload

NISQKIT = "nisqkit"


def _never(workload: Workload) -> str | None:
    return None


def _dense_gates(workload: Workload) -> str | None:
    """For a library whose gates are dense ``2**n x 2**n`` matrices."""
    if workload.qubits > 12:
        return f"its gates are dense matrices: {8 * 4**workload.qubits >> 30} GiB each"
    return None


@dataclass(frozen=True)
class Peer:
    """Where an adapter runs, and what to try.

    Attributes:
        module: Its module in this package. environment: Key of `environments.ENVIRONMENTS`;
        ``nisqkit`` is the project's own. imports: What is imported before the time of the first
        call is taken. versions: Distributions whose versions are reported. threading: ``"openmp"``
        (1 thread, all cores with the default and with the passive wait policy), ``"xla"`` or
            ``"own"`` (1 thread, all cores).
        torch: Whether the step is PyTorch's, with ``loss.backward()``.
        refuses: Why it cannot run a workload, or ``None``.
    """

    module: str
    environment: str
    imports: tuple[str, ...]
    versions: tuple[str, ...]
    threading: str = "openmp"
    torch: bool = True
    refuses: Callable[[Workload], str | None] = _never


_TORCH = ("torch", "numpy")
PEERS = {
    NISQKIT: Peer(
        "nisqkit_layer", NISQKIT, ("torch", "nisqkit.qml"), ("nisqkit", "numba", *_TORCH), "own"
    ),
    "torch_naive": Peer("torch_naive", NISQKIT, ("torch",), _TORCH),
    "pennylane_backprop": Peer(
        "pennylane_backprop", "pennylane", ("torch", "pennylane"), ("pennylane", *_TORCH)
    ),
    "pennylane_lightning": Peer(
        "pennylane_lightning",
        "pennylane",
        ("torch", "pennylane"),
        ("pennylane", "pennylane-lightning", *_TORCH),
    ),
    "pennylane_jax": Peer(
        "pennylane_jax",
        "pennylane_jax",
        ("jax", "pennylane"),
        ("pennylane", "jax", "jaxlib"),
        "xla",
        torch=False,
    ),
    "tensorcircuit_jax": Peer(
        "tensorcircuit_jax",
        "tensorcircuit_jax",
        ("jax", "tensorcircuit"),
        ("tensorcircuit-ng", "jax", "jaxlib"),
        "xla",
        torch=False,
    ),
    "tensorcircuit_torch": Peer(
        "tensorcircuit_torch",
        "tensorcircuit_torch",
        ("torch", "tensorcircuit"),
        ("tensorcircuit-ng", *_TORCH),
    ),
    "torchquantum_ng": Peer(
        "torchquantum_ng", "torchquantum_ng", ("torch",), ("torchquantum-ng", *_TORCH)
    ),
    "deepquantum": Peer(
        "deepquantum", "deepquantum", ("torch", "deepquantum"), ("deepquantum", *_TORCH)
    ),
    "torq": Peer(
        "torq", "torq", ("torch", "torq"), ("torq-quantum", *_TORCH), refuses=_dense_gates
    ),
    "pyqtorch": Peer("pyqtorch", "pyqtorch", ("torch", "pyqtorch"), ("pyqtorch", *_TORCH)),
    "pyqtorch_adjoint": Peer(
        "pyqtorch_adjoint", "pyqtorch", ("torch", "pyqtorch"), ("pyqtorch", *_TORCH)
    ),
    "qulacs": Peer("qulacs", "qulacs", ("qulacs",), ("qulacs", "numpy"), torch=False),
    "qiskit_ml": Peer(
        "qiskit_ml",
        "qiskit_ml",
        ("torch", "qiskit_machine_learning"),
        ("qiskit-machine-learning", "qiskit-algorithms", "qiskit", *_TORCH),
    ),
}
"""All peers by name."""
