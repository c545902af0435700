"""How fast this machine can be: clock, multiply-adds per second and bytes per second, all measured.

    python roofline.py          one line of JSON, on the cores and vector instructions that Numba
    uses

The clock comes from a chain of shifts and exclusive ors, each of which takes one cycle and waits
for the one before. The peak *derived* from it is ``clock * pipes * lanes * 2`` FLOPs per core and
second, with two multiply-add pipes of full vectors, as the server processors of Intel and AMD have;
AMD's before Zen 5 execute vectors of 512 bits in two halves, which is one such pipe (AMD, Software
Optimization Guide for Zen 4, 57647). The *measured* one comes from independent chains of
multiply-adds in registers.
Bandwidth is that of ``a = b + s c`` on arrays that fit in each cache.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from machine import cpuinfo
from numba import njit, types
from numba.core import cgutils, config
from numba.extending import intrinsic

CHAINS = 12
"""Independent chains: latency (4) times pipes (2) at least, and few enough for 16 registers."""
SIZES = {"L1": 24 * 2**10, "L2": 384 * 2**10, "L3": 6 * 2**20, "memory": 384 * 2**20}
"""Bytes of the three arrays together, per thread for L1 and L2, in all for the others."""


def lanes() -> int:
    """Values of float32 in a vector, as Numba compiles for this process."""
    features = config.CPU_FEATURES or llvm.get_host_cpu_features().flatten()
    enabled = features.split(",")
    return 16 if "+avx512f" in enabled else 8 if "+avx2" in enabled else 4


LANES = lanes()


def pipes() -> int:
    """Multiply-adds of full vectors that a core starts per cycle."""
    about = cpuinfo()
    halves = about.get("vendor_id") == "AuthenticAMD" and int(about["cpu family"]) < 26
    return 1 if halves and LANES == 16 else 2


@intrinsic  # type: ignore[untyped-decorator]
def multiply_adds(typing_context, count, start):  # type: ignore[no-untyped-def]
    """``count`` rounds of one multiply-add in each chain; returns a number that depends on all."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(ir.FloatType(), LANES)
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
        )
        number, first = arguments
        undefined = ir.Constant(vector, ir.Undefined)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

        def splat(value: Any) -> Any:
            one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, undefined, mask)

        factor = splat(first)
        offsets = [ir.Constant(ir.FloatType(), 0.1 * k) for k in range(CHAINS)]
        starts = [splat(builder.fadd(first, o)) for o in offsets]
        before = builder.block
        body, after = builder.append_basic_block("body"), builder.append_basic_block("after")
        builder.branch(body)
        builder.position_at_end(body)
        index = builder.phi(number.type)
        index.add_incoming(ir.Constant(number.type, 0), before)
        chains = []
        for value in starts:
            chain = builder.phi(vector)
            chain.add_incoming(value, before)
            chains.append(chain)
        new = [builder.call(fma, [chain, factor, factor]) for chain in chains]
        following = builder.add(index, ir.Constant(number.type, 1))
        index.add_incoming(following, body)
        for chain, value in zip(chains, new, strict=True):
            chain.add_incoming(value, body)
        builder.cbranch(builder.icmp_signed("<", following, number), body, after)
        builder.position_at_end(after)
        total = new[0]
        for value in new[1:]:
            total = builder.fadd(total, value)
        result = ir.Constant(ir.FloatType(), 0)
        for lane in range(LANES):
            entry = builder.extract_element(total, ir.Constant(ir.IntType(32), lane))
            result = builder.fadd(result, entry)
        return result

    return types.float32(types.int64, types.float32), generate


@njit(nogil=True)  # type: ignore[untyped-decorator]
def _compute(count, start):  # type: ignore[no-untyped-def]
    return multiply_adds(count, start)


@njit(nogil=True)  # type: ignore[untyped-decorator]
def _cycles(count, x):  # type: ignore[no-untyped-def]
    """Six dependent operations of one cycle each per round."""
    for _ in range(count):
        x ^= x << np.uint64(13)
        x ^= x >> np.uint64(7)
        x ^= x << np.uint64(17)
    return x


@njit(nogil=True, fastmath=True)  # type: ignore[untyped-decorator]
def _triad(a, b, c, s, repeats):  # type: ignore[no-untyped-def]
    for _ in range(repeats):
        for i in range(len(a)):
            a[i] = b[i] + s * c[i]
        s += np.float32(1)
    return a[0]


def _best(work: Callable[[int], Any], threads: int, repeats: int) -> float:
    """Least seconds of ``work(k)`` on all threads ``k`` at once: the least disturbed run."""
    if threads == 1:
        return min(_seconds(lambda: work(0)) for _ in range(repeats))
    with ThreadPoolExecutor(threads) as pool:
        return min(_seconds(lambda: list(pool.map(work, range(threads)))) for _ in range(repeats))


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def clock() -> float:
    """Cycles per second of a busy core."""
    count, start = 200_000, np.uint64(88172645463325252)
    _cycles(10, start)
    return 6 * count / _best(lambda k: _cycles(count, start), 1, 200)


def peak(threads: int) -> float:
    """Measured FLOPs per second in multiply-adds; one of them counts as two."""
    count = 200_000 if threads == 1 else 2_000_000
    _compute(10, np.float32(0.5))
    seconds = _best(lambda k: _compute(count, np.float32(0.5)), threads, 100)
    return threads * count * CHAINS * LANES * 2 / seconds


def bandwidth(size: int, threads: int) -> float:
    """Bytes per second of ``a = b + s c`` on three arrays of ``size`` bytes together."""
    length = size // 12
    arrays = [np.ones((3, length), np.float32) for _ in range(threads)]
    repeats = max(1, 2**26 // size)
    for a, b, c in arrays:
        _triad(a, b, c, np.float32(1), 1)
    seconds = _best(lambda k: _triad(*arrays[k], np.float32(1), repeats), threads, 15)
    return threads * repeats * 3 * length * 4 / seconds


def measure() -> dict[str, Any]:
    """All of it, for one thread and for all cores."""
    every = sorted({1, len(os.sched_getaffinity(0))})
    hertz = clock()
    derived = hertz * pipes() * LANES * 2
    result: dict[str, Any] = {
        "lanes": LANES,
        "pipes": pipes(),
        "clock_ghz": hertz / 1e9,
        "derived_gflops_per_core": derived / 1e9,
        "threads": {},
    }
    for threads in every:
        measured = peak(threads)
        shared = {"L3": threads, "memory": threads}
        result["threads"][str(threads)] = {
            "gflops": measured / 1e9,
            "of_derived": measured / (threads * derived),
            "gb_per_s": {
                level: bandwidth(size // shared.get(level, 1), threads) / 1e9
                for level, size in SIZES.items()
            },
        }
    return result


if __name__ == "__main__":
    print(json.dumps(measure()))
