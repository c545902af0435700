"""Runs one peer in a process of its own: answers the harness, one line of JSON at a time.

python worker.py PEER WORKLOAD_AS_JSON THREADS
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import json
import os
import sys
import time
import traceback
import warnings
from typing import Any

from peers import PEERS
from workloads import Workload


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    raise AssertionError("Linux reports VmHWM")


def timed(function: Any) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def series(function: Any, seconds: float, least: int, most: int, warm: bool) -> list[float]:
    """Seconds of repeated calls: at least ``least``, and until ``seconds`` are over."""
    gc.collect()
    if warm:
        function()
    end = time.perf_counter() + seconds
    times: list[float] = []
    while len(times) < least or (time.perf_counter() < end and len(times) < most):
        times.append(timed(function))
    return times


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    return {n: importlib.metadata.version(n) for n in names}


def serve(name: str, workload: Workload, threads: int, requests: Any, reply: Any) -> None:
    """Build the peer's step, then answer requests until there are no more."""
    import numpy as np

    peer = PEERS[name]
    start = time.perf_counter()
    for module in peer.imports:
        importlib.import_module(module)
    adapter = importlib.import_module(f"peers.{peer.module}")
    imported, memory, data = time.perf_counter() - start, peak_mb(), workload.data()
    start = time.perf_counter()
    step = adapter.Step(workload, data, threads)
    reply(
        import_s=imported,
        build_s=time.perf_counter() - start,
        import_mb=memory,
        precision=step.precision,
        versions=_versions(peer.versions),
    )
    for line in requests:
        request = json.loads(line)
        if request["do"] == "first":
            seconds = timed(step.step)
            with open(request["file"], "wb") as file:
                np.savez(file, *(np.asarray(a, dtype=np.float64) for a in step.result()))
            step.release()
            reply(first_s=seconds)
        else:
            function = step.step if request["do"] == "step" else step.forward
            options = [request[k] for k in ("seconds", "least", "most", "warm")]
            times = series(function, *options)
            if request["do"] == "step":
                step.release()
            reply(times=times, peak_mb=peak_mb())


def main() -> None:
    """Serve; whatever goes wrong is a reply too."""
    warnings.filterwarnings("ignore")
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print does not belong to the channel

    def reply(**answer: Any) -> None:
        channel.write(json.dumps(answer) + "\n")

    name, workload, threads = sys.argv[1:]
    try:
        serve(name, Workload(**json.loads(workload)), int(threads), sys.stdin, reply)
    except BaseException as error:
        traceback.print_exc()
        reply(error=f"{type(error).__name__}: {error}"[:300])


if __name__ == "__main__":
    main()
