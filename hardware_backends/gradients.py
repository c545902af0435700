"""Gradients from shifted copies, for backends that only return numbers: parameter shift and SPSA.

Both evaluate the values and everything that the gradient needs in one grouped call of the backend,
so that a training step on a queued device is one job.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nisqkit.circuits.amplitude import synthesise
from nisqkit.circuits.gates import shift_rule
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.sampling import generator
from nisqkit.hardware_backends.slot_circuit import slot_angles


@dataclass(frozen=True)
class SPSA:
    """Simultaneous perturbation: every parameter is moved at once, in a random direction.

    Two evaluations per estimate, whatever the number of parameters; the estimate is noisy, and
    unbiased up to ``O(step**2)``. Source: Spall, IEEE Trans. Autom. Control 37, 332 (1992).

    Attributes:
        samples: Directions that are averaged.
        step: How far to move, radians; default 0.01 for exact values and 0.2 with shots.

    Raises:
        ValueError: ``samples`` below 1, or a step that is not positive.
    """

    samples: int = 1
    step: float | None = None

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"SPSA needs at least 1 sample, got {self.samples}")
        if self.step is not None and not self.step > 0:
            raise ValueError(f"SPSA needs a positive step, got {self.step}")


@dataclass(frozen=True)
class ParameterShift:
    """Parameter shift of chosen weights: no circuit is run for the others, whose gradient is zero.

    Gradients to the inputs stay complete. It goes where ``"parameter-shift"`` goes.

    Attributes:
        weights: Positions in the weight vector; None: all.

    Raises:
        ValueError: A position is negative or given twice. Behind the last weight: when it is run.

    Example:
        >>> from nisqkit.circuits import Observables, hardware_efficient, lower
        >>> from nisqkit.hardware_backends import Execution, execute
        >>> w = torch.tensor([0.1, 0.2, 0.3, 0.4], requires_grad=True)
        >>> z = Observables.parse(None, 2)
        >>> task = Task(lower(hardware_efficient(2, 1)), torch.zeros(1, 0), w, z)
        >>> execution = Execution(diff_method=ParameterShift(weights=(2,)))
        >>> execute([task], execution)[0].values.sum().backward()
        >>> (w.grad != 0).tolist()
        [False, False, True, False]
    """

    weights: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.weights is None:
            return
        object.__setattr__(self, "weights", tuple(self.weights))
        if min(self.weights, default=0) < 0 or len(set(self.weights)) < len(self.weights):
            raise ValueError(
                f"weights={list(self.weights)} must be different positions in the weight vector, "
                "counted from 0"
            )

    def chosen(self, weights: Tensor) -> Tensor:
        """The same values, through which gradients flow to the chosen ones only.

        Raises:
            ValueError: A position is behind the last weight.
        """
        if self.weights is None:
            return weights
        if max(self.weights, default=-1) >= len(weights):
            raise ValueError(
                f"ParameterShift of weight {max(self.weights)}, but the circuit has "
                f"{len(weights)} weights, counted from 0"
            )
        kept = torch.zeros(len(weights), dtype=torch.bool, device=weights.device)
        kept[list(self.weights)] = True
        return torch.where(kept, weights, weights.detach())


@dataclass(frozen=True, eq=False)
class _Copies:
    """Rows of angles to evaluate, and how their values make the Jacobian.

    ``J[slot] += c * f(rows of the copy)``.
    """

    rows: Tensor  # (copies * batch, slots)
    slots: list[int]
    coefficients: list[Tensor]  # per copy, (batch,)


def differentiable_slots(
    program: Program, inputs: bool, weights: bool, only: Collection[int] | None = None
) -> list[int]:
    """Slots that depend on parameters whose gradient is wanted.

    Args:
        program: The program.
        inputs: Whether those of the inputs are.
        weights: Whether those of the weights are.
        only: The weights concerned; None: all.
    """
    n = len(program.inputs)
    wanted = set(range(n)) if inputs else set()
    if weights:
        wanted.update(n + w for w in (range(len(program.weights)) if only is None else only))
    return [
        slot
        for slot, used in enumerate(program.angle_map.dependencies)
        if not wanted.isdisjoint(used)
    ]


def shifted_copies(
    program: Program,
    angles: Tensor,
    slots: Sequence[int],
    frequencies: Mapping[int, tuple[float, int]] | None = None,
) -> _Copies:
    """All copies that the parameter-shift rules of some slots ask for.

    Args:
        program: The program.
        angles: Shape ``(batch, num_slots)``.
        slots: The slots to differentiate.
        frequencies: ``(base, R)`` of slots whose rule is not that of their gate: see
            `Transpiled.frequencies`.

    Gates follow `Gate.shift_rule`. For an amplitude, the state is rotated by ``+-pi/4`` towards the
    basis state, in the plane of the two, where the value is a sinusoid of twice the angle.
    """
    wanted = set(slots)
    rows: list[Tensor] = []
    owners: list[int] = []
    coefficients: list[Tensor] = []
    ones = torch.ones(len(angles), dtype=angles.dtype)
    for use in program.gates:
        for param, slot in enumerate(use.slots):
            if slot not in wanted:
                continue
            rule = shift_rule(*(frequencies or {}).get(slot, use.gate.frequencies[param]))
            for shift, coefficient in zip(*rule, strict=True):
                copy = angles.clone()
                copy[:, slot] += shift.to(angles.dtype)
                rows.append(copy)
                owners.append(slot)
                coefficients.append(coefficient.to(angles.dtype) * ones)
    if program.prepare is not None:
        columns = list(program.prepare.slots)
        psi = angles[:, columns]
        for k, slot in enumerate(columns):
            if slot not in wanted:
                continue
            towards = torch.zeros_like(psi)
            towards[:, k] = 1
            towards = towards - psi[:, k : k + 1] * psi
            length = towards.norm(dim=1, keepdim=True)
            unit = torch.where(
                length > 1e-12, towards / length.clamp_min(1e-12), torch.zeros_like(towards)
            )
            for sign in (1.0, -1.0):
                copy = angles.clone()
                copy[:, columns] = (psi + sign * unit) / torch.sqrt(
                    1 + (unit**2).sum(dim=1, keepdim=True)
                )
                rows.append(copy)
                owners.append(slot)
                coefficients.append(sign * length[:, 0])
    stacked = torch.cat(rows) if rows else angles[:0]
    return _Copies(stacked, owners, coefficients)


class _Linear(torch.autograd.Function):
    """Attach a known Jacobian to known values."""

    @staticmethod
    def forward(ctx: Any, angles: Tensor, values: Tensor, jacobian: Tensor) -> Tensor:
        ctx.save_for_backward(jacobian)
        return values.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (jacobian,) = ctx.saved_tensors  # (batch, slots, outputs)
        return torch.einsum("bk,bsk->bs", grad, jacobian), None, None


def parameter_shift(
    tasks: Sequence[Task], backend: Backend, options: ParameterShift | None = None
) -> list[Result]:
    """Values with exact gradients (or unbiased ones, with shots) by the parameter-shift rules.

    Works per angle slot, so a parameter that is used several times, or inside an expression, gets
    the right gradient by the chain rule of its angle map.
    """
    options = options or ParameterShift()
    plans: list[tuple[Tensor, _Copies | None]] = []
    requests: list[Task] = []
    for task in tasks:
        program = task.program
        weights = options.chosen(task.weights)
        frequencies = _frequencies(program, backend)
        if frequencies is None:
            angles = program.angles(task.inputs, weights)
        else:  # amplitudes are loaded by gates there, which are as noisy as all others
            program, _ = synthesise(task.program)
            angles = slot_angles(task.program, task.inputs, weights)
        copies = None
        if angles.requires_grad and torch.is_grad_enabled():
            slots = differentiable_slots(
                task.program,
                task.inputs.requires_grad,
                task.weights.requires_grad,
                options.weights,
            )
            amplitudes = () if task.program.prepare is None else task.program.prepare.slots
            if not set(slots).isdisjoint(amplitudes):  # and so the angles that load them
                slots += range(task.program.angle_map.num_slots, angles.shape[1])
            copies = shifted_copies(program, angles.detach(), slots, frequencies)
        rows = angles.detach() if copies is None else torch.cat([angles.detach(), copies.rows])
        requests.append(_at_angles(replace(task, program=program), rows))
        plans.append((angles, copies))
    results = []
    for task, (angles, copies), found in zip(tasks, plans, backend.run(requests), strict=True):
        values, std = (
            found.values[: task.batch],
            None if found.std is None else found.std[: task.batch],
        )
        if copies is not None:
            shifted = found.values[task.batch :].reshape(
                len(copies.slots), task.batch, values.shape[1]
            )
            jacobian = values.new_zeros(task.batch, angles.shape[1], values.shape[1])
            for slot, coefficient, value in zip(
                copies.slots, copies.coefficients, shifted, strict=True
            ):
                jacobian[:, slot] += coefficient[:, None] * value
            values = _Linear.apply(angles, values, jacobian)  # type: ignore[no-untyped-call]
        results.append(Result(values, std))
    return results


def _frequencies(program: Program, backend: Backend) -> Mapping[int, tuple[float, int]] | None:
    """Of each slot, in the circuit as the backend's device gets it; None without a device."""
    transpile = getattr(backend, "transpile", None)
    transpiled = None if transpile is None else transpile(program.by_slots)
    return None if transpiled is None else transpiled.frequencies


def _at_angles(task: Task, rows: Tensor) -> Task:
    """The task with its angles given directly."""
    return replace(task, program=task.program.by_slots, inputs=rows, weights=rows.new_zeros(0))


class _Perturbed(torch.autograd.Function):
    """Attach directional derivatives.

    The gradient estimate of a parameter is ``(g . D) * direction``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weights: Tensor,
        values: Tensor,
        slopes: Tensor,
        d_inputs: Tensor,
        d_weights: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(slopes, d_inputs, d_weights)
        return values.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Shapes (R, batch, outputs), (R, batch, inputs) and (R, weights).
        slopes, d_inputs, d_weights = ctx.saved_tensors
        along = torch.einsum("bk,rbk->rb", grad, slopes) / len(slopes)
        g_inputs = torch.einsum("rb,rbi->bi", along, d_inputs)
        g_weights = torch.einsum("rb,rw->w", along, d_weights)
        return g_inputs, g_weights, None, None, None, None


def spsa(tasks: Sequence[Task], backend: Backend, options: SPSA) -> list[Result]:
    """Values with gradients estimated by simultaneous perturbation; see `SPSA`."""
    requests: list[Task] = []
    directions: list[tuple[Tensor, Tensor] | None] = []
    for task in tasks:
        x, w = task.inputs.detach(), task.weights.detach()
        rows = [task.program.angles(x, w)]
        pair = None
        if torch.is_grad_enabled() and (task.inputs.requires_grad or task.weights.requires_grad):
            pair = _directions(task, options.samples)
            step = _step(task, options)
            for d_x, d_w in zip(*pair, strict=True):
                for sign in (step, -step):
                    moved_x = x + sign * d_x if task.inputs.requires_grad else x
                    moved_w = w + sign * d_w if task.weights.requires_grad else w
                    rows.append(task.program.angles(moved_x, moved_w))
        requests.append(_at_angles(task, torch.cat(rows)))
        directions.append(pair)
    results = []
    for task, pair, found in zip(tasks, directions, backend.run(requests), strict=True):
        values, std = (
            found.values[: task.batch],
            None if found.std is None else found.std[: task.batch],
        )
        if pair is not None:
            moved = found.values[task.batch :].reshape(options.samples, 2, task.batch, -1)
            slopes = (moved[:, 0] - moved[:, 1]) / (2 * _step(task, options))
            values = _Perturbed.apply(task.inputs, task.weights, values, slopes, *pair)  # type: ignore[no-untyped-call]
        results.append(Result(values, std))
    return results


def _step(task: Task, options: SPSA) -> float:
    if options.step is not None:
        return options.step
    return 0.01 if task.shots is None else 0.2


def _directions(task: Task, samples: int) -> tuple[Tensor, Tensor]:
    """Random signs for every input of every sample and every weight, from the task's seed."""
    shapes = ((samples, *task.inputs.shape), (samples, len(task.weights)))
    random = generator(task.seed, sample=0, group=2**63)  # a group number that no measurement has
    return tuple(  # type: ignore[return-value]
        torch.from_numpy(2.0 * random.integers(0, 2, shape) - 1.0).to(task.inputs.dtype)
        for shape in shapes
    )
