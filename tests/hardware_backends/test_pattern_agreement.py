"""Patterns against density matrices on devices, with transpiling, readout and measurement bases.

As in the test of trajectories, every angle is an input, and a batch is one sample many times over.
"""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from nisqkit.circuits import Observables, Task, encoder, lower, u3_cu3
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.noise import Device, NoiseModel

COPIES = 10_000
SIGMAS = 4.0


@dataclass(frozen=True)
class Case:
    """A device's noise at some strength, and what is measured."""

    device: str
    kind: str
    factor: float
    observables: Observables

    @property
    def noise(self) -> NoiseModel:
        model = NoiseModel.from_device(Device.load(self.device), self.kind)
        return model.scale(self.factor, clip=True)

    def __repr__(self) -> str:
        return f"{self.device}, {self.kind}, {self.factor:g}"


CASES = (
    Case("fake_santiago", "pauli", 1.0, Observables.parse(None, 4)),
    Case("fake_yorktown", "pauli", 1.5, Observables.parse(["XIZY", "ZZII", "IXXI"], 4)),
    Case("fake_belem", "pauli", 60.0, Observables.parse(None, 4)),  # beyond where it is clipped
    Case("fake_quito", "full", 2.0, Observables.parse("probs", 4)),
)


def task_for(observables: Observables, dtype: torch.dtype = torch.float64) -> Task:
    circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))
    program = lower(circuit, inputs=sorted(circuit.parameters, key=str))
    x = torch.linspace(-1.3, 1.7, len(program.inputs), dtype=dtype)[None]
    return Task(program, x, x.new_zeros(0), observables, seed=(3, 1, 4))


def values_and_slopes(task: Task, backend: NoisyBackend | NativeBackend) -> tuple[Tensor, Tensor]:
    """``(batch, outputs)`` and, of a mixture of them, ``(batch, inputs)``."""
    x = task.inputs.clone().requires_grad_()
    values = execute([replace(task, inputs=x)], Execution(backend))[0].values
    mix = torch.linspace(0.4, 1.6, values.shape[1], dtype=values.dtype)
    (slopes,) = torch.autograd.grad((values @ mix).sum(), x)
    return values.detach(), slopes


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_the_mean_over_patterns_is_the_density_matrix(case: Case) -> None:
    task = task_for(case.observables)
    wanted = values_and_slopes(task, NoisyBackend(case.noise, method="density"))
    many = replace(task, inputs=task.inputs.expand(COPIES, -1))
    found = values_and_slopes(many, NoisyBackend(case.noise, method="patterns"))
    for what, right in zip(found, wanted, strict=True):
        error = what.std(dim=0) / COPIES**0.5
        assert ((what.mean(dim=0) - right[0]).abs() < SIGMAS * error + 1e-9).all()
        assert error.max() > 1e-4


@pytest.mark.parametrize("kind", ["pauli", "full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_factor_0_is_no_noise(kind: str, dtype: torch.dtype) -> None:
    """With readout scaled too; the readout errors of the device stay without that."""
    task = task_for(Observables.parse(["XIZY", "ZZII", "IXXI"], 4), dtype)
    model = NoiseModel.from_device(Device.load("fake_santiago"), kind)
    silent = NoisyBackend(model.scale(0, readout=True), method="patterns")
    clean = values_and_slopes(task, NativeBackend())
    for ours, right in zip(values_and_slopes(task, silent), clean, strict=True):
        torch.testing.assert_close(
            ours, right, rtol=0, atol=1e-6 if dtype == torch.float64 else 1e-5
        )
    reading = values_and_slopes(task, NoisyBackend(model.scale(0), method="patterns"))
    density = values_and_slopes(task, NoisyBackend(model.scale(0), method="density"))
    for ours, right in zip(reading, density, strict=True):
        torch.testing.assert_close(ours, right, rtol=0, atol=1e-5)
    assert (reading[0] - clean[0]).abs().max() > 0.005


def test_a_basis_has_its_own_pattern() -> None:
    """X and Z of a qubit are measured in two circuits: their errors are independent."""
    task = task_for(Observables.parse(["IIIX", "IIIZ"], 4))
    model = NoiseModel.from_device(Device.load("fake_yorktown"), "pauli").scale(3, clip=True)
    many = replace(task, inputs=task.inputs.expand(COPIES, -1))
    values = NoisyBackend(model, method="patterns").run([many])[0].values
    assert abs(float(torch.corrcoef(values.T)[0, 1])) < SIGMAS / COPIES**0.5
