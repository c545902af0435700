"""Cold start: seconds from an empty process to the end of the first training step, and memory.

    python cold.py WORKLOAD     one line of JSON, measured in this process

`measure` starts fresh processes: once with an empty kernel cache, and then with the cache that the
first one left.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WARM_RUNS = 5


def measure(workload: str) -> dict[str, Any]:
    """Seconds in all (from starting Python) and by part, without and with a kernel cache."""
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"NUMBA_CACHE_DIR": cache}

        def run() -> dict[str, float]:
            start = time.perf_counter()
            output = subprocess.run(
                [sys.executable, __file__, workload],
                env=env,
                capture_output=True,
                text=True,
                check=True,
                timeout=300,
            ).stdout
            parts: dict[str, float] = json.loads(output.splitlines()[-1])
            return {"total_s": time.perf_counter() - start, **parts}

        empty = run()
        warm = [run() for _ in range(WARM_RUNS)]
    medians = {k: statistics.median(w[k] for w in warm) for k in empty}
    return {"empty_cache": empty, "warm_cache": medians}


def here(workload: str) -> dict[str, float]:
    """The first step in this process."""
    start = time.perf_counter()
    import nisqkit.qml  # noqa: F401 (its time is wanted)

    imported = time.perf_counter()
    from peers.nisqkit_layer import Step
    from processes import cores
    from worker import peak_mb
    from workloads import WORKLOADS

    work = WORKLOADS[workload]
    data = work.data()
    begin = time.perf_counter()
    step = Step(work, data, cores())
    built = time.perf_counter()
    step.step()
    first = time.perf_counter()
    step.step()
    return {
        "import_s": imported - start,
        "build_s": built - begin,
        "first_s": first - built,
        "second_s": time.perf_counter() - first,
        "peak_mb": peak_mb(),
    }


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    print(json.dumps(here(sys.argv[1])))
