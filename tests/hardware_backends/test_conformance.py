"""Every backend passes the shipped conformance test, and the test catches broken ones."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from qiskit.primitives import StatevectorSampler

from nisqkit.circuits import Task
from nisqkit.hardware_backends import Backend, Result
from nisqkit.hardware_backends.conformance import CHECKS, check_backend
from nisqkit.hardware_backends.reference import ReferenceBackend
from nisqkit.hardware_backends.registry import available_backends, get_backend


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("name", available_backends())
def test_backends_by_name_conform(name: str, check: Callable[[Backend], None]) -> None:
    check(get_backend(name))


class Broken(ReferenceBackend):
    """A reference backend with a fault of choice."""

    def __init__(self, fault: Callable[[Task, Result], Result]) -> None:
        self.fault = fault

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        return [self.fault(t, r) for t, r in zip(tasks, super().run(tasks), strict=True)]


def flipped(task: Task, result: Result) -> Result:
    if task.observables.sums is None:
        return replace(result, values=result.values.flip(1))
    return result


def small_error(task: Task, result: Result) -> Result:
    return replace(result, values=result.values + 1e-4)


def no_gradient_of_weights(task: Task, result: Result) -> Result:
    if task.shots is not None:
        return result
    return ReferenceBackend().run([replace(task, weights=task.weights.detach())])[0]


def no_error_bar(task: Task, result: Result) -> Result:
    return replace(result, std=None)


def wrong_error_bar(task: Task, result: Result) -> Result:
    return replace(result, std=None if result.std is None else 3 * result.std)


def unseeded(task: Task, result: Result) -> Result:
    if task.shots is None:
        return result
    seed = (int(torch.randint(2**31, ())), 0, 0)
    return ReferenceBackend().run([replace(task, seed=seed)])[0]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (flipped, "probabilities: differs"),
        (small_error, "values, 1 qubits, batch 1, torch.float32: differs"),
        (no_gradient_of_weights, "gradient of the weights"),
        (no_error_bar, "std must have the shape"),
        (wrong_error_bar, "the standard errors are wrong"),
        (unseeded, "the same seed gave other samples"),
    ],
)
def test_faults_are_caught(fault: Callable[[Task, Result], Result], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_backend(Broken(fault))


class Nameless(Broken):
    """Without a name."""

    name = ""


class Short(ReferenceBackend):
    """Gives no results."""

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        return []


def turned(task: Task, result: Result) -> Result:
    return replace(result, values=result.values.T)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (Nameless(small_error), "Nameless has no name: define name"),
        (Short(), "run gave 0 results for 4 tasks"),
        (Broken(lambda task, result: result.values), "run gave a Tensor: return a list of Result"),  # type: ignore[arg-type,return-value]
        (Broken(turned), r"values has shape \(4, 2\), not \(batch, num_outputs\) = \(2, 4\)"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_broken_contract_is_named(backend: Backend, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_backend(backend)


def test_names_and_primitives_are_resolved() -> None:
    check_backend("reference")
    check_backend(StatevectorSampler(seed=np.random.default_rng(2)))
    with pytest.raises(ValueError, match="unknown backend 'natve'"):
        check_backend("natve")
    with pytest.raises(TypeError, match=r"pass ReferenceBackend\(\), not the class"):
        check_backend(ReferenceBackend)
    with pytest.raises(TypeError, match="a primitive is a Qiskit V2 estimator or sampler"):
        check_backend(3)
