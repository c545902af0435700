"""What the native engine's own cost model predicts for the points of a series."""

from __future__ import annotations

from typing import Any

from peers import NISQKIT
from peers.nisqkit_layer import circuit
from workloads import Workload

from nisqkit.circuits.lower import lower
from nisqkit.hardware_backends.native.machine import this_machine
from nisqkit.hardware_backends.native.plan import predicted


def predicted_ms(workload: Workload, threads: int) -> float:
    """Milliseconds of a training step."""
    program = lower(circuit(workload), "x")
    found = predicted(program, workload.batch, machine=this_machine(), threads=threads)
    return 1e3 * found.seconds


def predict(series: dict[str, Any]) -> None:
    """Put ``predicted_ms`` beside what was measured of nisqkit, at each point of a series."""
    for point in series.values():
        ours = point["peers"][NISQKIT]
        if "step_ms" in ours:
            ours["predicted_ms"] = predicted_ms(Workload(**point["workload"]), ours["threads"])
