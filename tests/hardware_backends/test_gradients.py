"""Parameter shift and SPSA against adjoint gradients and against statistics."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from nisqkit.circuits import Observables, Task, amplitude, hardware_efficient, lower
from nisqkit.hardware_backends import Backend, Result
from nisqkit.hardware_backends.conformance import random_task
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.gradients import SPSA
from nisqkit.hardware_backends.native import NativeBackend


def jacobians(task: Task, execution: Execution) -> list[torch.Tensor]:
    """Of every output, with respect to inputs and weights."""
    values = execute([task], execution)[0].values
    rows = []
    for k in range(values.shape[1]):
        wanted = [task.inputs, task.weights]
        grads = torch.autograd.grad(
            values[:, k].sum(), wanted, retain_graph=True, materialize_grads=True
        )
        rows.append(torch.cat([g.flatten() for g in grads]))
    return rows


@pytest.mark.parametrize("seed", range(12))
def test_parameter_shift_equals_adjoint(seed: int) -> None:
    """On the whole gate table, shared parameters and non-affine expressions among it."""
    task = random_task(1 + seed % 5, seed, batch=1 + seed % 3, num_gates=15)
    adjoint = jacobians(task, Execution("native"))
    shifted = jacobians(task, Execution("native", diff_method="parameter-shift"))
    for one, other in zip(adjoint, shifted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


def test_parameter_shift_of_amplitudes_equals_adjoint() -> None:
    program = lower(amplitude(6).compose(hardware_efficient(3, 1)), "x")
    x = torch.tensor([[0.2, -1.0, 0.0, 0.3, 0.7, 0.1], [0.0, 0, 1, 0, 0, 0]], dtype=torch.float64)
    w = torch.linspace(-1, 1, len(program.weights), dtype=torch.float64)
    observables = Observables.parse(["XYZ", "ZIX"], 3)
    task = Task(program, x.requires_grad_(), w.requires_grad_(), observables)
    adjoint = jacobians(task, Execution("native"))
    shifted = jacobians(task, Execution("native", diff_method="parameter-shift"))
    for one, other in zip(adjoint, shifted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


class Counting(Backend):
    """The native engine without its gradients, counting calls and rows."""

    name = "counting"

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        self.calls.append([task.batch for task in tasks])
        return NativeBackend().run(tasks)


def test_all_shifted_copies_of_all_tasks_are_one_call() -> None:
    program = lower(hardware_efficient(2, 1))
    backend = Counting()
    w = torch.rand(len(program.weights), dtype=torch.float64, requires_grad=True)
    task = Task(program, w.new_zeros(1, 0), w, Observables.parse(None, 2))
    values = [r.values for r in execute([task, task], Execution(backend))]
    torch.cat(values).sum().backward()
    assert backend.calls == [[1 + 2 * 4, 1 + 2 * 4]]


def test_without_gradients_nothing_is_shifted() -> None:
    task, backend = random_task(2, seed=1, batch=5), Counting()
    with torch.no_grad():
        execute([task], Execution(backend))
    fixed = replace(task, inputs=task.inputs.detach(), weights=task.weights.detach())
    execute([fixed], Execution(backend, diff_method="spsa"))
    assert backend.calls == [[5], [5]]


def test_only_what_is_asked_for_is_shifted() -> None:
    task, backend = random_task(2, seed=4, batch=1, num_gates=0), Counting()
    execute([replace(task, inputs=task.inputs.detach())], Execution(backend))
    execute([task], Execution(backend))
    assert backend.calls == [[1 + 2 * 2], [1 + 2 * 4]]  # two RZ of weights, two RY of inputs


def test_shots_give_unbiased_gradients() -> None:
    """The mean over seeds lies within 4 standard errors of the exact gradient, per component."""
    exact = jacobians(random_task(2, seed=2, batch=1, num_gates=4), Execution("native"))
    samples = []
    for step in range(60):
        task = replace(random_task(2, seed=2, batch=1, num_gates=4), shots=200, seed=(5, step, 0))
        samples.append(torch.stack(jacobians(task, Execution("native"))))
    stacked = torch.stack(samples)
    error = stacked.std(dim=0) / 60**0.5
    assert bool(((stacked.mean(dim=0) - torch.stack(exact)).abs() <= 4 * error + 1e-9).all())


def test_spsa_is_unbiased_and_costs_two_evaluations() -> None:
    task = random_task(2, seed=5, batch=1, num_gates=4)
    exact = torch.stack(jacobians(task, Execution("native")))
    backend = Counting()
    execution = Execution(backend, diff_method=SPSA(samples=2000, step=1e-3))
    single = torch.stack(jacobians(task, execution))
    assert backend.calls == [[1 + 2 * 2000]]
    # Each estimate's variance is at most the squared length of the gradient.
    error = exact.norm(dim=1, keepdim=True) / 2000**0.5
    assert bool(((single - exact).abs() <= 4.5 * error + 1e-5).all())


def test_spsa_is_reproducible_and_steps_differ() -> None:
    task = random_task(2, seed=5)
    one, two, three = (
        jacobians(replace(task, seed=(0, step, 0)), Execution(diff_method="spsa"))
        for step in (1, 1, 2)
    )
    torch.testing.assert_close(one, two, atol=0, rtol=0)
    assert not torch.allclose(torch.stack(one), torch.stack(three))


def test_values_do_not_depend_on_the_method() -> None:
    task = random_task(3, seed=6)
    expected = execute([task], Execution("native"))[0].values
    for method in ("parameter-shift", "spsa"):
        values = execute([task], Execution("native", diff_method=method))[0].values
        torch.testing.assert_close(values, expected, atol=1e-13, rtol=0)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="SPSA needs at least 1 sample, got 0"):
        SPSA(samples=0)
    with pytest.raises(ValueError, match="SPSA needs a positive step, got -1"):
        SPSA(step=-1)
