"""Execution: which method is used, and what is refused before any work."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from nisqkit.circuits import Task
from nisqkit.hardware_backends import Backend, Result
from nisqkit.hardware_backends.conformance import random_task
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.noise import Device


class SamplesOnly(Backend):
    """Refuses to be run: the checks must come first."""

    name = "samples-only"
    exact = False

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        raise RuntimeError("ran")

    def check(self, task: Task) -> None:
        if task.batch > 2:
            raise ValueError("too many samples")


def test_exact_values_from_a_sampler_are_refused() -> None:
    with pytest.raises(ValueError, match="'samples-only' only samples: give shots=, for example"):
        execute([random_task(1, seed=0)], Execution(SamplesOnly()))


def test_the_backends_own_check_comes_before_the_run() -> None:
    fine = replace(random_task(1, seed=0, batch=1), shots=10)
    with pytest.raises(ValueError, match="too many samples"):
        execute(
            [fine, replace(random_task(1, seed=0, batch=3), shots=10)], Execution(SamplesOnly())
        )


@pytest.mark.parametrize("method", ["adjoint", "backprop"])
def test_exact_gradients_do_not_go_with_shots(method: str) -> None:
    backend = "native" if method == "adjoint" else "reference"
    task = replace(random_task(1, seed=0), shots=10)
    with pytest.raises(ValueError, match=f"diff_method='{method}' needs exact values"):
        execute([task], Execution(backend, diff_method=method))


def test_a_method_that_the_backend_does_not_offer() -> None:
    with pytest.raises(ValueError, match="'native' does not differentiate by 'backprop': it"):
        Execution("native", diff_method="backprop")
    with pytest.raises(ValueError, match="it has no gradient of its own"):
        Execution(SamplesOnly(), diff_method="adjoint")


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown diff_method 'parameter_shift'; did you mean"):
        Execution("native", diff_method="parameter_shift")


def test_shots_must_be_positive() -> None:
    with pytest.raises(ValueError, match="shots must be at least 1, got 0"):
        execute([replace(random_task(1, seed=0), shots=0)], Execution())


def test_noise_needs_a_backend_that_simulates_it() -> None:
    with pytest.raises(ValueError, match="'torch' does not simulate device noise: use backend='na"):
        Execution("torch", noise=Device.load("fake_santiago"))


@pytest.mark.parametrize("layout", [[3, 2, 1], (0, 1, 2)])
def test_the_layout_reaches_the_backend(layout: Sequence[int]) -> None:
    device = Device.load("fake_santiago")
    execution = Execution(noise=device, layout=layout)  # type: ignore[arg-type]
    assert execution.layout == tuple(layout)
    assert hash(execution) == hash(Execution(noise=device, layout=tuple(layout)))
    task = random_task(3, seed=0)
    transpiled = execution.resolved.transpile(task.program)  # type: ignore[attr-defined]
    assert transpiled.initial_layout == tuple(layout)
    with pytest.raises(ValueError, match=r"layout=\[0\] needs a device"):
        Execution(layout=(0,))


def test_tasks_keep_their_order() -> None:
    tasks = [random_task(n, seed=n) for n in (3, 1, 2)]
    together = execute(tasks, Execution())
    for task, result in zip(tasks, together, strict=True):
        torch.testing.assert_close(result.values, execute([task], Execution())[0].values)
