"""Peak memory of a training step, beyond what the imports and a first small step take.

    python memory.py PEER WORKLOAD_AS_JSON THREADS     one line of JSON, measured in this process

`measure` starts a fresh process. A step of one layer comes first there, so that neither compilation
nor what libraries set up once counts; then what is free goes back to the system, and Linux is
told to forget the peak so far.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from peers import PEERS
from worker import peak_mb
from workloads import Workload


def measure(peer: str, workload: Workload, limit: float) -> dict[str, Any]:
    """What `here` says, or ``reason`` if it could not be measured."""
    import environments
    from processes import Setting, cores

    setting = Setting(cores())
    arguments = [peer, json.dumps(workload.as_dict()), str(setting.threads)]
    try:
        done = subprocess.run(
            [environments.python(PEERS[peer].environment), __file__, *arguments],
            env=setting.environment("native"),
            capture_output=True,
            text=True,
            check=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return {"reason": f"over the limit of {limit:.0f} s"}
    except subprocess.CalledProcessError as error:
        return {"reason": f"failed: {(error.stderr.splitlines() or ['no message'])[-1][:200]}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def here(name: str, workload: Workload, threads: int) -> dict[str, float]:
    """Peaks in MB.

    ``first_mb``: from building the circuit to the end of its first step. ``step_mb``: in a later
    step. ``base_mb``: what was in use before, and does not count.
    """
    for module in PEERS[name].imports:
        importlib.import_module(module)
    adapter = importlib.import_module(f"peers.{PEERS[name].module}")

    def built(work: Workload) -> Any:
        step = adapter.Step(work, work.data(), threads)
        step.step()
        step.release()
        return step

    built(replace(workload, layers=1))
    base = reset()
    step = built(workload)
    first = peak_mb() - base
    before = reset()
    step.step()
    return {"first_mb": first, "step_mb": peak_mb() - before, "base_mb": base}


def reset() -> float:
    """Give free memory back and forget the peak; what is in use (MB).

    Where the system does not let a process forget its peak, the peak so far counts as in use.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


if __name__ == "__main__":
    peer, workload, threads = sys.argv[1:]
    print(json.dumps(here(peer, Workload(**json.loads(workload)), int(threads))))
