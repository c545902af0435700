"""What the native engine's own cost model predicts, to be drawn beside what is measured."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from peers.nisqkit_layer import circuit
from workloads import Workload

from nisqkit.circuits.lower import lower
from nisqkit.circuits.program import Program

MODEL = "nisqkit.hardware_backends.native.cost"
"""Should have ``step_seconds(program, batch, threads) -> float``; if not, nothing is predicted."""


def predicted_ms(workload: Workload, threads: int) -> float | None:
    """Milliseconds of a training step, or ``None`` if the engine has no cost model."""
    try:
        model: Callable[[Program, int, int], float] = importlib.import_module(MODEL).step_seconds
    except ModuleNotFoundError as error:
        if error.name != MODEL:
            raise
        return None
    return 1e3 * model(lower(circuit(workload), "x"), workload.batch, threads)
