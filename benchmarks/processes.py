"""The peers' processes, and the thread settings that each is tried with."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import numpy as np
from peers import PEERS
from reference import Array
from workloads import Workload

HERE = Path(__file__).parent
LOGS = HERE / ".cache" / "logs"
MEMORY_SHARE = 0.6
"""A process that holds more of the machine's memory than this is ended."""


class Failed(Exception):
    """A peer could not do it; the message says why."""

    status = "failed"


class OverLimit(Failed):
    """A call took longer than the limit."""

    status = "over the limit"


@dataclass(frozen=True)
class Setting:
    """Number of threads, and whether OpenMP's sleep while they wait; by default they spin."""

    threads: int
    passive: bool = False

    @property
    def label(self) -> str:
        """For tables."""
        count = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return count + (", passive" if self.passive else "")

    def environment(self, isa: str) -> dict[str, str]:
        """Environment variables of the process."""
        env = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "XLA_FLAGS")}
        for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
            env[f"{name}_NUM_THREADS"] = str(self.threads)
        if self.passive:
            env["OMP_WAIT_POLICY"] = "PASSIVE"
        flags = []
        if self.threads == 1:
            flags.append("--xla_cpu_multi_thread_eigen=false")
        env |= {
            "NPROC": str(self.threads),
            "JAX_PLATFORMS": "cpu",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONHASHSEED": "0",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        if isa == "avx2":
            env |= without_avx512()
            flags.append("--xla_cpu_max_isa=AVX2")
        return env | {"XLA_FLAGS": " ".join(flags)}


def without_avx512() -> dict[str, str]:
    """Environment variables that keep Numba, torch and its libraries from using AVX-512."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    for name in features:
        if name.startswith(("avx512", "avx10", "evex512")):
            features[name] = False
    return {
        "NUMBA_CPU_NAME": "x86-64-v3",
        "NUMBA_CPU_FEATURES": features.flatten(),
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def settings(peer: str) -> list[Setting]:
    """What the peer is tried with; it is timed at the fastest.

    A slow peer is tried with the first only. So the default wait policy comes last: when something
    else runs on the machine, it can make a fast peer slow.
    """
    if cores() == 1:
        return [Setting(1)]
    if PEERS[peer].threading == "openmp":
        return [Setting(cores(), True), Setting(1), Setting(cores())]
    return [Setting(cores()), Setting(1)]


class Process:
    """One peer, built for one workload; waits for requests.

    A call may take ``limit`` seconds; only the first step may have a limit of its own.
    """

    def __init__(
        self, peer: str, workload: Workload, setting: Setting, isa: str, limit: float
    ) -> None:
        self.peer, self.setting, self.limit = peer, setting, limit
        LOGS.mkdir(parents=True, exist_ok=True)
        log = LOGS / f"{workload.key}.{peer}.{setting.label.replace(' ', '_')}.log"
        python = environments.python(PEERS[peer].environment)
        arguments = [peer, json.dumps(workload.as_dict()), str(setting.threads)]
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [python, HERE / "worker.py", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=setting.environment(isa),
            )
        score = Path(f"/proc/{self.process.pid}/oom_score_adj")
        score.write_text("900")  # if memory runs out, end the peer rather than anything else
        self.about = self._answer(limit, "importing and building")

    def _resident(self) -> float:
        """Share of the machine's memory."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages / os.sysconf("SC_PHYS_PAGES")

    def _answer(self, limit: float, what: str) -> dict[str, Any]:
        lines: list[str] = []
        assert self.process.stdout is not None
        read = self.process.stdout.readline
        reader = threading.Thread(target=lambda: lines.append(read()), daemon=True)
        reader.start()
        end = time.monotonic() + limit
        while reader.is_alive():
            reader.join(0.05)
            if time.monotonic() > end:
                self.close()
                raise OverLimit(f"{what} took more than {limit:.0f} s")
            if self._resident() > MEMORY_SHARE:
                self.close()
                raise Failed(f"{what} took more than {MEMORY_SHARE:.0%} of the memory")
        if not lines or not lines[0]:
            self.close()
            raise Failed(f"{what}: the process ended with {self.process.returncode}")
        answer: dict[str, Any] = json.loads(lines[0])
        if "error" in answer:
            self.close()
            raise Failed(f"{what}: {answer['error']}")
        return answer

    def _ask(self, limit: float, what: str, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.close()
            raise Failed(f"{what}: the process has ended") from None
        return self._answer(limit, what)

    def first(self, limit: float) -> tuple[float, list[Array]]:
        """Seconds and results of the first step."""
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            answer = self._ask(limit, "the first step", do="first", file=file.name)
            with np.load(file.name) as stored:
                return answer["first_s"], [stored[k] for k in stored.files]

    def time(
        self, what: str, seconds: float, *, least: int = 1, warm: bool = True
    ) -> tuple[list[float], float]:
        """Seconds of each ``"step"`` or ``"forward"`` of a series, and the peak memory (MB)."""
        options = {"do": what, "seconds": seconds, "least": least, "most": 2000, "warm": warm}
        answer = self._ask(self.limit + seconds, f"a {what}", **options)
        return answer["times"], answer["peak_mb"]

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
