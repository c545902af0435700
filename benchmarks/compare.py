"""One workload, many peers: check that they agree, find their best settings, time them in turns.

Each peer is a process of its own. All are alive at once and asleep but for the one that is timed,
so that a round holds a moment of each, and ratios are taken within rounds: what else the machine
does then hits all alike.
"""

from __future__ import annotations

import datetime as dt
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from peers import NISQKIT, PEERS
from processes import Failed, Process, Setting, settings
from reference import Array, Reference, affordable, reference
from workloads import Workload

OUTPUT_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 2e-3
"""Of the largest gradient, plus ``1e-6``; peers compute in single precision."""
SLOW = 10.0
"""Seconds; a step longer than this is timed at one setting and only once."""
NOISY = 0.3
"""A spread (interquartile range over median) above which a peer is timed again."""


@dataclass
class Entry:
    """One setting of one peer, alive; its medians (s) by round."""

    peer: str
    process: Process
    trial: float
    steps: dict[int, float] = field(default_factory=dict)
    forwards: dict[int, float] = field(default_factory=dict)
    peak_mb: float = 0.0
    spent: float = 0.0
    """Seconds that its rounds took."""


@dataclass(frozen=True)
class Effort:
    """How long to time.

    Attributes:
        rounds: Rounds of turns. seconds: Per peer and round.
        limit: Seconds that a call of a peer may take, and after which it is left out of further
            rounds. compile_limit: Seconds that the first step may take if the peer compiles.
        all_settings: Whether nisqkit and peers that compile are tried with one thread too.
        forward: Whether the forward pass is timed by itself.
        reference: Whether to compute reference values however long it takes; if not, large
            workloads are compared with nisqkit's results.
    """

    rounds: int = 7
    seconds: float = 0.4
    limit: float = 60.0
    compile_limit: float = 300.0
    all_settings: bool = True
    forward: bool = True
    reference: bool = True

    def quick(self) -> Effort:
        """To see that it works."""
        return replace(self, rounds=2, seconds=0.1)


def spread(rounds: dict[int, float]) -> float | None:
    """Interquartile range over median."""
    values = list(rounds.values())
    if len(values) < 3:
        return None
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / statistics.median(values)


def differences(found: list[Array], expected: Reference) -> dict[str, float]:
    """Largest absolute differences."""
    names = ("outputs", "loss", "weights", "inputs")
    result = {}
    for name, a, b in zip(names, found, expected, strict=True):
        if a.shape != b.shape:
            a = a.reshape(b.shape)
        difference = abs(a - b)
        result[name] = float("inf") if np.isnan(difference).any() else float(difference.max())
    return result


def disagreement(found: dict[str, float], expected: Reference) -> str | None:
    """What is wrong, if anything."""
    for name, difference in found.items():
        largest = float(abs(getattr(expected, name)).max())
        gradient = name in ("weights", "inputs")
        allowed = GRADIENT_TOLERANCE * largest + 1e-6 if gradient else OUTPUT_TOLERANCE
        if difference > allowed:
            what = f"gradient of the {name}" if gradient else name
            return f"{what} off by {difference:.1e} (largest value {largest:.1e})"
    return None


class Comparison:
    """The run of one workload."""

    def __init__(
        self,
        workload: Workload,
        effort: Effort,
        isa: str = "native",
        log: Callable[[str], None] = print,
    ) -> None:
        self.workload, self.effort, self.isa, self.log = workload, effort, isa, log
        self.results: dict[str, dict[str, Any]] = {}
        self.entries: list[Entry] = []
        self.expected: Reference | None = None

    def run(self, peers: list[str]) -> dict[str, Any]:
        """Everything, as JSON; nisqkit is always part of it."""
        load, started = os.getloadavg()[0], time.monotonic()
        date = f"{dt.datetime.now(dt.UTC):%F %T} UTC"
        if self.effort.reference or affordable(self.workload):
            self.expected = reference(self.workload)
        try:
            for peer in dict.fromkeys([NISQKIT, *peers]):
                self.results[peer] = {"date": date}
                self._prepare(peer)
            self._rounds()
        finally:
            for entry in self.entries:
                entry.process.close()
        self._summarise()
        run = {
            "rounds": self.effort.rounds,
            "seconds": self.effort.seconds,
            "limit": self.effort.limit,
            "compile_limit": self.effort.compile_limit,
            "load": [load, os.getloadavg()[0]],
            "took_s": time.monotonic() - started,
            "nisqkit_ms": self.results[NISQKIT].get("step_ms"),
        }
        return {
            "workload": self.workload.as_dict(),
            "isa": self.isa,
            "runs": {date: run},
            "peers": self.results,
        }

    def _prepare(self, peer: str) -> None:
        """Check a peer, and keep its fastest setting alive (of nisqkit all of them)."""
        result = self.results[peer]
        reason = PEERS[peer].refuses(self.workload)
        if reason:
            result |= {"status": "refused", "reason": reason}
            return
        tried = settings(peer)
        if not self.effort.all_settings and PEERS[peer].threading != "openmp":
            tried = tried[:1]
        best: Entry | None = None
        for setting in tried:
            try:
                entry = self._try(peer, setting, result)
            except Failed as failure:
                if best is None:
                    reason = f"{failure} ({setting.label})"
                    result |= {"status": failure.status, "reason": reason}
                    break
                result["settings"][setting.label] = str(failure)
                continue
            if entry is None:
                break
            result["settings"][setting.label] = 1e3 * entry.trial
            if peer == NISQKIT:
                self.entries.append(entry)
            elif best is None or entry.trial < best.trial:
                if best:
                    best.process.close()
                best = entry
            else:
                entry.process.close()
            if best and best.trial > SLOW:
                break
        if best:
            self.entries.append(best)
        self.log(f"  {peer}: {result['status']} {result.get('reason') or result['settings']}")

    def _try(self, peer: str, setting: Setting, result: dict[str, Any]) -> Entry | None:
        """One setting; ``None`` if its results are wrong."""
        compiles = PEERS[peer].threading != "openmp"
        longest = self.effort.compile_limit if compiles else self.effort.limit
        limit = longest if peer == NISQKIT else self.effort.limit  # the others need its times
        process = Process(peer, self.workload, setting, self.isa, limit)
        first, found = process.first(longest)
        if self.expected is None:
            self.expected = Reference(*found)  # nisqkit comes first
        off = differences(found, self.expected)
        wrong = disagreement(off, self.expected)
        result |= {k: process.about[k] for k in ("precision", "versions")}
        if wrong:
            process.close()
            result |= {"status": "wrong", "reason": wrong, "differences": off}
            return None
        cold = {k: process.about[k] for k in ("import_s", "build_s")} | {"first_s": first}
        result |= {"status": "timed", "differences": off, "import_mb": process.about["import_mb"]}
        result.setdefault("cold", cold)
        result.setdefault("settings", {})
        if first > SLOW and not compiles:
            return Entry(peer, process, first)
        once = min(process.time("step", 0, warm=False)[0])
        if once > 1:
            return Entry(peer, process, once)
        times, _ = process.time("step", 3 * self.effort.seconds, least=3)
        return Entry(peer, process, statistics.median(times))

    def _rounds(self) -> None:
        for k in range(self.effort.rounds):
            self._round(k, self.entries if k % 2 == 0 else self.entries[::-1])
        done = self.effort.rounds
        for _ in range(2 if self.effort.rounds >= 5 else 0):
            noisy = {e.peer for e in self.entries if (spread(e.steps) or 0) > NOISY}
            if not noisy:
                break
            self.log(f"  again, since the spread is large: {', '.join(sorted(noisy))}")
            again = [e for e in self.entries if e.peer in noisy | {NISQKIT}]
            for k in range(done, done + 3):
                self._round(k, again)
            done += 3

    def _round(self, index: int, entries: list[Entry]) -> None:
        for entry in list(entries):
            late = entry.trial > SLOW or entry.spent > self.effort.limit
            if entry not in self.entries or (late and entry.steps):
                continue
            start = time.monotonic()
            try:
                self._turn(index, entry)
            except Failed as failure:
                self.entries.remove(entry)
                self.results[entry.peer] |= {"status": failure.status, "reason": str(failure)}
            entry.spent += time.monotonic() - start
            time.sleep(0.05)

    def _turn(self, index: int, entry: Entry) -> None:
        seconds, warm = self.effort.seconds, entry.trial < 0.5
        times, entry.peak_mb = entry.process.time("step", seconds, warm=warm)
        entry.steps[index] = statistics.median(times)
        if self.effort.forward and entry.trial <= SLOW:
            times, _ = entry.process.time("forward", seconds / 2, warm=warm)
            entry.forwards[index] = statistics.median(times)

    def _summarise(self) -> None:
        base = min(
            (e for e in self.entries if e.peer == NISQKIT and e.steps),
            key=lambda e: statistics.median(e.steps.values()),
            default=None,
        )
        for entry in self.entries:
            if not entry.steps:
                continue
            result, label = self.results[entry.peer], entry.process.setting.label
            step = 1e3 * statistics.median(entry.steps.values())
            if entry.peer == NISQKIT:
                result["settings"][label] = step
                if entry is not base:
                    continue
            result |= {
                "setting": label,
                "threads": entry.process.setting.threads,
                "step_ms": step,
                "step_spread": spread(entry.steps),
                "rounds": len(entry.steps),
                "peak_mb": entry.peak_mb,
            }
            if entry.forwards:
                result["forward_ms"] = 1e3 * statistics.median(entry.forwards.values())
            if base:
                common = entry.steps.keys() & base.steps.keys()
                ratios = [entry.steps[k] / base.steps[k] for k in common]
                result["ratio"] = statistics.median(ratios)
                result["ratio_range"] = [min(ratios), max(ratios)]
