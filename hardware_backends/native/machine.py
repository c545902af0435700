"""How fast the present machine is, for predictions in seconds."""

from __future__ import annotations

import time
from functools import lru_cache

import torch

from nisqkit.circuits.ansatze import hardware_efficient
from nisqkit.circuits.encoders import angle
from nisqkit.circuits.lower import lower
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.native.backend import NativeBackend
from nisqkit.hardware_backends.native.cost import TYPICAL, Machine
from nisqkit.hardware_backends.native.plan import predicted

REPEATS = 15


@lru_cache(maxsize=1)
def this_machine() -> Machine:
    """Measure it with two short circuits: some milliseconds, beside compiling, once per process."""
    small = lower(angle(2).compose(hardware_efficient(2, 1)), "x")
    large = lower(angle(10).compose(hardware_efficient(10, 6)), "x")
    step = _seconds(small, 1)
    expected = predicted(large, 16).seconds - TYPICAL.step
    return TYPICAL.scaled((_seconds(large, 16) - step) / expected, step)


def _seconds(program: Program, batch: int) -> float:
    """Of a training step, the shortest of some; the median would be that of a busy machine."""
    backend = NativeBackend(threads=1)
    inputs = torch.zeros(batch, len(program.inputs), requires_grad=True)
    weights = torch.zeros(len(program.weights), requires_grad=True)
    task = Task(program, inputs, weights, Observables.parse(None, program.num_qubits))
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        torch.autograd.backward(backend.run([task])[0].values.sum())
        times.append(time.perf_counter() - start)
    return min(times)
