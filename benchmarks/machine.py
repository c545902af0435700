"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def cpuinfo() -> dict[str, str]:
    """The first processor's lines of ``/proc/cpuinfo``."""
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {k.strip(): v.strip() for k, v in pairs}


def machine() -> dict[str, Any]:
    """Processor, vector instructions, cores, memory, system."""
    about = cpuinfo()
    flags = set(about.get("flags", "").split())
    wanted = ("avx2", "fma", "avx512f", "hypervisor")
    return {
        "processor": about.get("model name", platform.processor()),
        "family_model": f"{about.get('cpu family', '?')}/{about.get('model', '?')}",
        "flags": [f for f in wanted if f in flags],
        "mhz_reported": float(about.get("cpu MHz", "nan")),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
