"""Trajectories against density matrices on 20 circuits, in values and in gradients.

Every angle is an input here, and a batch is one sample many times over: each copy has its own
errors, so that the copies show the standard error of values and gradients alike.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from nisqkit.circuits import Task, lower
from nisqkit.circuits.gates import GATES
from nisqkit.hardware_backends.conformance import random_circuit, random_observables
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.noise import Channel, Confusion, Device, NoiseModel

DEVICES = ("fake_santiago", "fake_belem", "fake_yorktown", "fake_lima", "fake_quito")
COPIES = 96
SIGMAS = 4.0


def strong() -> NoiseModel:
    """Noise after every gate that is far from unital, and strong."""
    one = [Channel.relaxation(0.08), Channel.dephasing(0.05)]
    two = Channel.relaxation(0.1).tensor(Channel.pauli({"X": 0.03, "Y": 0.02}))
    gates = {(n, ()): two if g.num_qubits == 2 else one for n, g in GATES.items()}
    readout = [Confusion.flips(None, read_1_after_0=0.01, read_0_after_1=0.08)]
    return NoiseModel("strong", gates, ["unitary"], readout)


@dataclass(frozen=True)
class Case:
    """One of the 20: 16 on devices, and 4 with stronger noise."""

    number: int

    @property
    def noise(self) -> NoiseModel:
        if self.number >= 16:
            return strong()
        device = Device.load(DEVICES[self.number % 5])
        return NoiseModel.from_device(device, ("full", "pauli")[self.number % 2])

    def task(self) -> Task:
        n = 2 + self.number % 4
        circuit = random_circuit(n, 6, seed=200 + self.number)
        program = lower(circuit, inputs=sorted(circuit.parameters, key=str))
        random = np.random.default_rng(self.number)
        x = torch.from_numpy(random.uniform(-1, 1, (1, len(program.inputs))))
        return Task(program, x, x.new_zeros(0), random_observables(n, self.number))

    def __repr__(self) -> str:
        return f"{self.number}: {2 + self.number % 4} qubits, {self.noise.name}, {self.noise.kind}"


def values_and_slopes(task: Task, backend: NoisyBackend) -> tuple[Tensor, Tensor]:
    """``(batch, outputs)`` and, of a mixture of them, ``(batch, inputs)``."""
    x = task.inputs.clone().requires_grad_()
    values = execute([replace(task, inputs=x)], Execution(backend))[0].values
    mix = torch.linspace(0.4, 1.6, values.shape[1], dtype=values.dtype)
    (slopes,) = torch.autograd.grad((values @ mix).sum(), x)
    return values.detach(), slopes


@pytest.mark.parametrize("case", [Case(number) for number in range(20)], ids=repr)
def test_values_and_gradients_agree_within_four_sigma(case: Case) -> None:
    task = case.task()
    wanted = values_and_slopes(task, NoisyBackend(case.noise, method="density"))
    many = replace(task, inputs=task.inputs.expand(COPIES, -1), seed=(case.number, 1, 2))
    backend = NoisyBackend(case.noise, method="trajectories", runs=4)
    found = values_and_slopes(many, backend)
    for what, right in zip(found, wanted, strict=True):
        assert what.shape == (COPIES, right.shape[1])
        error = what.std(dim=0) / COPIES**0.5
        assert ((what.mean(dim=0) - right[0]).abs() < SIGMAS * error + 1e-9).all()
        assert error.max() > 1e-5
    std = backend.run([many])[0].std
    assert std is not None
    ratio = std.pow(2).mean(dim=0) / found[0].var(dim=0)
    assert ((ratio > 0.4) & (ratio < 2.5)).all()
