"""The series of growing size, as lines and as predicted and measured points."""

from __future__ import annotations

from typing import Any

from peers import NISQKIT
from workloads import Workload

SIZES = {"qubits": "qubits", "qubits-batch16": "qubits", "batch": "batch", "depth": "layers"}
"""For each series, the size that grows."""
TITLES = {
    "qubits": "qubits: 4 layers, batch 1",
    "qubits-batch16": "qubits: 4 layers, batch 16",
    "batch": "batch: 8 qubits, 6 layers",
    "depth": "depth: 12 qubits, batch 32",
}
BAND = 2.0
"""Within this factor a prediction is good."""


def lines(section: dict[str, Any], size: str) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """For each peer, its timed points in order of size."""
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for point in section.values():
        for peer, result in point["peers"].items():
            if result["status"] == "timed" and "step_ms" in result:
                found.setdefault(peer, []).append((point["workload"][size], result))
    return {peer: sorted(line, key=lambda p: p[0]) for peer, line in found.items()}


def predictions(section: dict[str, Any]) -> list[tuple[Workload, float, float]]:
    """For each point: workload, our measured step and what the engine's cost model says (ms)."""
    found = []
    for point in section.values():
        ours = point["peers"].get(NISQKIT, {})
        if "step_ms" in ours and "predicted_ms" in ours:
            workload = Workload(**point["workload"])
            found.append((workload, ours["step_ms"], ours["predicted_ms"]))
    return sorted(found, key=lambda p: (p[0].qubits, p[0].batch, p[0].layers))
