"""Tasks through mitigators: few calls of the backend, every round of all tasks in one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch

from nisqkit.circuits import Observables, Task, encoder, lower, u3_cu3
from nisqkit.hardware_backends.base import Result
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.hardware_backends.pennylane_noisy import PennyLaneNoisyBackend
from nisqkit.noise import Device, NoiseModel
from nisqkit.noise.mitigation import ZNE, Cost, Mitigator, PauliTwirling, ReadoutMitigation
from nisqkit.noise.mitigation.base import Round

BELEM = Device.load("fake_belem")
PROGRAM = lower(encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1)), inputs="x")
STACK = [PauliTwirling(2), ZNE((1, 3)), ReadoutMitigation()]


class Counting(NoisyBackend):
    """Remembers how many tasks came in each call."""

    def __init__(self) -> None:
        super().__init__(BELEM)
        self.calls: list[int] = []

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        self.calls.append(len(tasks))
        return super().run(tasks)


def task(observables: Sequence[str] | None = None, batch: int = 2, grad: bool = False) -> Task:
    x = torch.rand(batch, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    w = torch.linspace(-1, 1, len(PROGRAM.weights), dtype=torch.float64).requires_grad_(grad)
    return Task(PROGRAM, x, w, Observables.parse(observables, 4))


def test_everything_that_is_open_is_one_call() -> None:
    backend = Counting()
    tasks = [task(), task(["XIII", "IZZI", "IYII"])]  # one measurement basis, and two
    found = execute(tasks, Execution(backend, mitigation=STACK))
    assert backend.calls == [3 * 2 * 2]  # bases x scales x copies
    assert [result.values.shape for result in found] == [(2, 4), (2, 3)]
    backend.calls.clear()
    execute([task()], Execution(backend, mitigation=ReadoutMitigation(source="calibration")))
    assert backend.calls == [2, 1]  # all 0 and all 1, and then the circuit


def test_tasks_do_not_change_each_other() -> None:
    together = execute([task(), task(["XIII"])], Execution(noise=BELEM, mitigation=STACK))
    alone = [
        execute([t], Execution(noise=BELEM, mitigation=STACK))[0] for t in (task(), task(["XIII"]))
    ]
    for a, b in zip(together, alone, strict=True):
        assert torch.equal(a.values, b.values)


def test_the_stack_is_what_its_parts_are_one_inside_the_other() -> None:
    """By hand: each scale is the mean over twirled copies, with its readout undone."""
    found = execute([task()], Execution(noise=BELEM, mitigation=STACK))[0].values
    inner = []
    for scale in (1, 3):
        one = ZNE((scale, scale + 2))
        (first, _) = one.amplified(_placed(task()))
        values = execute(
            [first], Execution(noise=BELEM, mitigation=[PauliTwirling(2), ReadoutMitigation()])
        )[0].values
        inner.append(values)
    assert torch.allclose(found, 1.5 * inner[0] - 0.5 * inner[1], atol=1e-10)


def _placed(plain: Task) -> Task:
    (placed,) = NoisyBackend(BELEM).binder.placed(plain)
    return placed


@pytest.mark.parametrize("backend", ["native", "aer"])
def test_a_placed_task_is_the_task(backend: str) -> None:
    execution = Execution(backend, NoiseModel.from_device(BELEM))
    for observables in (None, ["ZIIZ"]):
        plain = execute([task(observables)], execution)[0].values
        placed = execute([_placed(task(observables))], execution)[0].values
        assert torch.allclose(plain, placed, atol=1e-10)


@dataclass(frozen=True)
class _WithoutGradient(Mitigator):
    differentiable = False

    def run(self, task: Task, model: NoiseModel | None) -> Round:
        (found,) = yield [task]
        return found

    def cost(self) -> Cost:
        return Cost()


def test_a_gradient_that_nobody_has_is_an_error_before_anything_runs() -> None:
    backend = Counting()
    execution = Execution(backend, mitigation=_WithoutGradient())
    with pytest.raises(ValueError, match="_WithoutGradient has no gradient: train without it"):
        execute([task(grad=True)], execution)
    assert backend.calls == []
    with torch.no_grad():
        execute([task(grad=True)], execution)
    assert backend.calls == [1]


def test_a_backend_that_transpiles_again_is_refused() -> None:
    with pytest.raises(ValueError, match="transpiles every circuit again, which would undo"):
        execute([task()], Execution(PennyLaneNoisyBackend(BELEM), mitigation=ZNE()))


def test_ideal_tasks_are_for_mitigators() -> None:
    with pytest.raises(ValueError, match=r"task\.ideal is what mitigators ask for"):
        execute([replace(task(), ideal=True)], Execution(noise=BELEM))


def test_without_noise_nothing_changes() -> None:
    plain = execute([task()], Execution())[0].values
    mitigated = execute([task()], Execution(mitigation=ZNE(folding="gates")))[0].values
    assert torch.allclose(plain, mitigated, atol=1e-10)
