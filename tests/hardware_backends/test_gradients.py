"""Parameter shift and SPSA against adjoint gradients and against statistics."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from nisqkit.circuits import Observables, Task, amplitude, angle, hardware_efficient, lower
from nisqkit.hardware_backends import Backend, Result
from nisqkit.hardware_backends.conformance import random_task
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.gradients import SPSA, ParameterShift
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.noise import Device
from nisqkit.noise.mitigation import ZNE, Mitigator, ReadoutMitigation


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


@pytest.mark.parametrize("seed", range(6))
def test_parameter_shift_of_some_weights_is_that_of_all_for_these_and_zero_for_the_others(
    seed: int,
) -> None:
    """Among them weights that share a gate's expression with one that is not chosen."""
    task = random_task(1 + seed % 4, seed, batch=2, num_gates=15)
    chosen = tuple(range(seed % 2, len(task.weights), 2))
    others = [w for w in range(len(task.weights)) if w not in chosen]
    complete = jacobians(task, Execution("native", diff_method="parameter-shift"))
    some = jacobians(task, Execution("native", diff_method=ParameterShift(chosen)))
    first = task.inputs.numel()
    for one, other in zip(complete, some, strict=True):
        assert torch.equal(one[:first], other[:first])
        assert torch.equal(one[first:][list(chosen)], other[first:][list(chosen)])
        assert not other[first:][others].any()


def z_task(weights: int = 4, batch: int = 3, inputs: bool = False) -> Task:
    program = lower(angle(2).compose(hardware_efficient(2, weights // 4)), "x")
    w = torch.linspace(-1, 1, weights, dtype=torch.float64, requires_grad=True)
    x = torch.linspace(0.1, 2, batch * 2, dtype=torch.float64)
    x = x.reshape(batch, 2).requires_grad_(inputs)
    return Task(program, x, w, Observables.parse(None, 2))


@pytest.mark.parametrize("chosen", [(), (2,), (0, 3), (0, 1, 2, 3)])
def test_shifts_of_other_weights_are_not_run(chosen: tuple[int, ...]) -> None:
    task, backend = z_task(), Counting()
    values = execute([task], Execution(backend, diff_method=ParameterShift(chosen)))[0].values
    values.sum().backward()
    assert backend.calls == [[3 * (1 + 2 * len(chosen))]]
    assert task.weights.grad is not None
    measured = task.weights.grad.abs() > 1e-12
    assert measured.nonzero()[:, 0].tolist() == [w for w in chosen if w in (0, 2)]  # 1, 3: RZ last


@pytest.mark.parametrize("mitigation", [(), (ZNE((1, 3), "linear"), ReadoutMitigation())])
def test_parameter_shift_of_some_weights_on_a_device(mitigation: tuple[Mitigator, ...]) -> None:
    """There, and under mitigation, the weights stand in transpiled circuits."""
    noise = Device.load("fake_belem")
    task = z_task(8, inputs=True)
    first = task.inputs.numel()
    complete = jacobians(task, Execution("native", noise, "parameter-shift", None, mitigation))
    some = jacobians(task, Execution("native", noise, ParameterShift((1, 4)), None, mitigation))
    for one, other in zip(complete, some, strict=True):
        torch.testing.assert_close(one[:first], other[:first], atol=1e-12, rtol=0)
        one, other = one[first:], other[first:]
        torch.testing.assert_close(one[[1, 4]], other[[1, 4]], atol=1e-12, rtol=0)
        assert not other[[0, 2, 3, 5, 6, 7]].any()
        assert one[1].abs() > 0.01  # an RZ that is seen, since a second layer follows


def test_parameter_shift_refuses_weights_that_are_not_there() -> None:
    for wrong in [(-1,), (1, 1)]:
        with pytest.raises(ValueError, match="must be different positions"):
            ParameterShift(wrong)
    with pytest.raises(ValueError, match="weight 4, but the circuit has 4 weights"):
        execute([z_task()], Execution(diff_method=ParameterShift((0, 4))))
