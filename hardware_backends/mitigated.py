"""Runs tasks through error mitigation: every round of all of them is one call of the backend."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.registry import get_backend
from nisqkit.noise.mitigation.base import Estimate, Mitigator, Round
from nisqkit.noise.model import NoiseModel

RunTasks: TypeAlias = Callable[[Sequence[Task]], list[Result]]
Rounds: TypeAlias = Generator[list[Task], list[Estimate], list[Estimate]]
"""As `Round`, of several tasks."""


def mitigated(
    tasks: Sequence[Task], mitigators: Sequence[Mitigator], backend: Backend, run: RunTasks
) -> list[Result]:
    """Run tasks through mitigators.

    Args:
        tasks: What is to be known.
        mitigators: As in `Mitigator`; the last one is asked first.
        backend: That runs them.
        run: Runs plain tasks on it, with gradients.
    """
    binder: Binder | None = getattr(backend, "binder", None)
    rounds = together([_by_basis(task, tuple(mitigators), binder) for task in tasks])
    found = drive(rounds, run)
    return [Result(estimate.values, estimate.std) for estimate in found]


def check_mitigated(task: Task, mitigators: Sequence[Mitigator], backend: Backend) -> None:
    """Refuse what cannot be mitigated, before anything runs.

    Raises:
        ValueError: A gradient is wanted through a mitigator that has none; the backend cannot run
            circuits of its device as they stand; or as `Mitigator.check`.
    """
    binder: Binder | None = getattr(backend, "binder", None)
    if binder is not None and not backend.places:
        raise ValueError(
            f"backend {backend.name!r} transpiles every circuit again, which would undo what "
            "mitigation does to it: use backend='native' or 'aer'"
        )
    wanted = task.inputs.requires_grad or task.weights.requires_grad
    for mitigator in mitigators:
        if wanted and torch.is_grad_enabled() and not mitigator.differentiable:
            raise ValueError(
                f"{type(mitigator).__name__} has no gradient: train without it, and evaluate with "
                "it under torch.no_grad()"
            )
        for part in [task] if binder is None else binder.placed(task):
            mitigator.check(part, None if binder is None else binder.model)


def _by_basis(task: Task, mitigators: tuple[Mitigator, ...], binder: Binder | None) -> Round:
    """Mitigate each circuit that measures a part of the task, and add up."""
    if binder is None:
        return (yield from _through(task, mitigators, None))
    parts = binder.placed(task)
    if len(parts) == 1:
        return (yield from _through(parts[0], mitigators, binder.model))
    run, step, number = task.seed
    seeds = [(run, step, number + (k << 32)) for k in range(len(parts))]
    apart = [replace(part, seed=seed) for part, seed in zip(parts, seeds, strict=True)]
    found = yield from together([_through(part, mitigators, binder.model) for part in apart])
    values = torch.stack([part.values for part in found]).sum(dim=0)
    known = [part.std for part in found if part.std is not None]
    std = torch.stack(known).square().sum(dim=0).sqrt() if len(known) == len(found) else None
    return Estimate(values, std)


def _through(task: Task, mitigators: tuple[Mitigator, ...], model: NoiseModel | None) -> Round:
    """Ask the last mitigator, and the ones before it for each task that it yields."""
    if not mitigators:
        (result,) = yield [task]
        return result
    *rest, last = mitigators
    asked = last.run(task, model)
    try:
        wanted = next(asked)
        while True:
            found = yield from together(
                [_through(t, () if t.ideal else tuple(rest), model) for t in wanted]
            )
            wanted = asked.send(found)
    except StopIteration as done:
        result = done.value
        assert isinstance(result, Estimate)
        return result


def together(rounds: Sequence[Round]) -> Rounds:
    """Several generators at once: what they yield in a round is one list of tasks.

    Returns their results in order.
    """
    results: list[Estimate | None] = [None] * len(rounds)
    open_rounds: dict[int, list[Task]] = {}
    for k, one in enumerate(rounds):
        _advance(k, one, None, open_rounds, results)
    while open_rounds:
        asking = list(open_rounds)
        answers = yield [task for k in asking for task in open_rounds[k]]
        position = 0
        for k in asking:
            count = len(open_rounds.pop(k))
            answer = answers[position : position + count]
            position += count
            _advance(k, rounds[k], answer, open_rounds, results)
    assert all(result is not None for result in results)
    return [result for result in results if result is not None]


def _advance(
    k: int,
    one: Round,
    answer: list[Estimate] | None,
    open_rounds: dict[int, list[Task]],
    results: list[Estimate | None],
) -> None:
    try:
        open_rounds[k] = next(one) if answer is None else one.send(answer)
    except StopIteration as done:
        results[k] = done.value


def drive(rounds: Rounds, run: RunTasks) -> list[Estimate]:
    """Run what a generator yields until it returns."""
    try:
        wanted = next(rounds)
        while True:
            noisy = iter(run([task for task in wanted if not task.ideal]))
            exact = iter(_without_noise([task for task in wanted if task.ideal]))
            results = [next(exact if task.ideal else noisy) for task in wanted]
            found = [Estimate(result.values, result.std) for result in results]
            wanted = rounds.send(found)
    except StopIteration as done:
        estimates: list[Estimate] = done.value
        return estimates


def _without_noise(tasks: Sequence[Task]) -> list[Result]:
    """Exact values by the native engine, of tasks that may be placed."""
    if not tasks:
        return []
    found = get_backend("native").run([_unplaced(task) for task in tasks])
    return [
        Result(_of_measured(task, result.values)) for task, result in zip(tasks, found, strict=True)
    ]


def _unplaced(task: Task) -> Task:
    """The task with its observables on the qubits of its program."""
    if task.placement is None:
        return task
    width, measured = task.program.num_qubits, task.placement.measured
    sums = task.observables.sums
    if sums is not None:
        sums = tuple(tuple((_moved(s, measured, width), c) for s, c in terms) for terms in sums)
    return replace(task, observables=Observables(width, sums), placement=None)


def _moved(string: str, measured: Sequence[int], width: int) -> str:
    """A Pauli string whose letter of qubit k is that of qubit ``measured[k]`` of a wider one."""
    letters = ["I"] * width
    for k, letter in enumerate(reversed(string)):
        letters[width - 1 - measured[k]] = letter
    return "".join(letters)


def _of_measured(task: Task, values: Tensor) -> Tensor:
    """Probabilities of the measured qubits, out of those of all; other values as they are."""
    if task.placement is None or task.observables.sums is not None:
        return values
    states = torch.arange(values.shape[1])
    seen = torch.zeros_like(states)
    for k, q in enumerate(task.placement.measured):
        seen |= (states >> q & 1) << k
    return values.new_zeros(len(values), task.observables.num_outputs).index_add(1, seen, values)
