"""Refuse work that does not fit in memory, before anything is allocated."""

from __future__ import annotations

import os


def available_bytes() -> int:
    """Memory that can be taken without swapping, in bytes."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**63


def check_memory(num_qubits: int, needed: int, *, density: bool = False) -> None:
    """Raise if ``needed`` bytes are not there; ``density`` if they are for a density matrix.

    Raises:
        ValueError: Says how much it would take and how much is available.
    """
    if needed <= 2**28:  # asking the system takes longer than such a circuit
        return
    available = available_bytes()
    if needed > available:
        if density:
            raise ValueError(
                f"a density matrix of {num_qubits} qubits, which exact values with noise need, "
                f"takes {needed / 2**30:.3g} GiB, but {available / 2**30:.3g} GiB of memory are "
                "available; give shots=, which run one state vector at a time, or use fewer qubits"
            )
        raise ValueError(
            f"a state of {num_qubits} qubits for this batch takes {needed / 2**30:.3g} GiB, but "
            f"{available / 2**30:.3g} GiB of memory are available; "
            "use fewer qubits, a smaller batch or float32"
        )
