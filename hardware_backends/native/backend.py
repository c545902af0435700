"""The native engine: batched state vectors with adjoint gradients, compiled by Numba."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.memory import check_memory
from nisqkit.hardware_backends.native.cost import cost
from nisqkit.hardware_backends.native.operations import ROUTES, routes
from nisqkit.hardware_backends.native.plan import Plan, best_route
from nisqkit.hardware_backends.native.plan import plan as make_plan
from nisqkit.hardware_backends.native.run import Run
from nisqkit.hardware_backends.native.vectors import LANES
from nisqkit.hardware_backends.native.wide import WideRun
from nisqkit.hardware_backends.reference import final_state, measure
from nisqkit.hardware_backends.sampling import draw, estimate, in_basis, measurement_bases


class NativeBackend(Backend):
    """State vectors in compiled code on the CPU; gradients by adjoint differentiation.

    States are not kept per gate: with depth grow only the overlaps, 32 numbers per matrix and 16
    samples. Results are bit-identical for any number of threads. Second derivatives fall back on
    the reference engine.

    Args:
        threads: Number of threads; default all cores that this process may use.
        route: ``"samples"`` (lanes of 16 samples), ``"unitary"`` (the same, with one unitary for
            what all samples share, for many samples of few qubits), ``"amplitudes"`` (lanes of 16
            amplitudes, for few samples of many qubits), or ``None``: the cheapest one. A circuit
            that a route does not fit runs on ``"samples"``.

    Raises:
        ValueError: Less than one thread, an unknown route, a torch device other than the CPU, a
            dtype other than float32 and float64, or a state that does not fit in memory.
    """

    name = "native"
    gradient = "adjoint"

    def __init__(self, threads: int | None = None, route: str | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        if route not in (None, *ROUTES):
            raise ValueError(f"route must be one of {', '.join(ROUTES)} or None, got {route!r}")
        self.threads = threads
        self.route = route

    def check(self, task: Task) -> None:
        """Refuse other torch devices and dtypes, and circuits that do not fit in memory."""
        if task.inputs.device.type != "cpu":
            raise ValueError(
                f"the native engine runs on the CPU, but the inputs are on {task.inputs.device}; "
                "move the layer to the CPU or use backend='torch'"
            )
        if task.inputs.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"the native engine computes in float32 or float64, not in {task.inputs.dtype}; "
                "use layer.float() or layer.double()"
            )
        n, batch = task.program.num_qubits, task.batch
        if (batch + LANES) << n < 2**20:  # it is there, and asking takes time
            return
        route = self._route(task)
        units, lanes = (batch, 1) if route == "amplitudes" else (-(-batch // LANES), LANES)
        # every unit's state, and a copy and a co-state per worker; probabilities come on top, with
        # their gradients or, for shots, in double precision
        states = units + 2 * min(units, self._workers())
        if route == "unitary":  # the states before it, and for the gradient its own co-states
            states += units * (1 + max(1, 2**n // LANES))
        if task.shots is not None:
            states += 2 * units
        elif task.observables.sums is None:
            states += units
        check_memory(n, 2 * task.inputs.element_size() * states * lanes * 2**n)

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """See `Backend.run`."""
        return [self._run(task) for task in tasks]

    def _run(self, task: Task) -> Result:
        self.check(task)
        if task.shots is None:
            return Result(self._values(task.program, task, task.observables))
        probs = Observables(task.program.num_qubits, None)
        with torch.no_grad():
            probabilities = [
                self._values(in_basis(task.program, basis), task, probs).double().numpy()
                for basis in measurement_bases(task.observables)
            ]
        return estimate(
            draw(probabilities, task.shots, task.seed), task.observables, task.inputs.dtype
        )

    def _values(self, program: Program, task: Task, observables: Observables) -> Tensor:
        plan = make_plan(program, observables, self._route(task))
        inputs, weights = task.inputs, task.weights
        if not plan.affine:
            weights, inputs = program.split_angles(inputs, weights)
        values: Tensor = _Adjoint.apply(inputs, weights, plan, self._workers())  # type: ignore[no-untyped-call]
        return values

    def _workers(self) -> int:
        if self.threads is None and hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return self.threads or os.cpu_count() or 1

    def _route(self, task: Task) -> str:
        if self.route in routes(task.program.num_qubits):
            return str(self.route)
        if self.route is not None:
            return "samples"
        return best_route(task.program, task.batch, task.inputs.element_size())

    def explain(self, task: Task) -> str:
        """How a task is run: route, fused operations, arithmetic, memory and predicted time."""
        from nisqkit.hardware_backends.native.machine import this_machine

        made = make_plan(task.program, task.observables, self._route(task))
        operations, size = made.operations, task.inputs.element_size()
        counts = np.bincount(operations.table[:, 0], minlength=5)
        found = cost(made.schedule, operations, task.batch, size, this_machine())
        lanes = "amplitudes" if operations.route == "amplitudes" else "samples"
        notes = f"lanes are 16 {lanes}"
        if operations.route == "unitary":
            notes += f", what follows {len(operations.head)} operations is one unitary for all"
        if operations.passes:
            notes += f", in {len(operations.passes)} passes"
        lines = [
            f"{task.program} on the native engine, batch {task.batch}, {task.inputs.dtype}",
            f"route           {operations.route}: {notes}",
            f"gates           {task.program.num_gates}, fused into {counts[0]} matrices on one "
            f"qubit and {counts[1]} on two; {counts[2]} CX and {counts[3]} CZ move data",
            f"multiply-adds   {found.multiply_adds:.3g} per training step, after fusion",
            f"state           {found.state_bytes / 2**20:.3g} MiB, at any depth",
            f"predicted       {found.seconds * 1e3:.3g} ms per training step on one core",
        ]
        return "\n".join(lines)


class _Adjoint(torch.autograd.Function):
    """(inputs, weights) -> outputs, as one autograd node."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, plan: Plan, workers: int) -> Tensor:
        run = (WideRun if plan.operations.passes else Run)(
            plan, inputs.detach().numpy(), weights.detach().numpy(), workers
        )
        ctx.save_for_backward(inputs, weights)
        ctx.run = run
        return torch.from_numpy(run.forward())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            inputs, weights = ctx.saved_tensors
            return (*_reference_gradient(ctx.run.plan, inputs, weights, grads[0]), None, None)
        g_inputs, g_weights = ctx.run.backward(grads[0].numpy(), ctx.needs_input_grad[0])
        return torch.from_numpy(g_inputs), torch.from_numpy(g_weights), None, None


def _reference_gradient(
    plan: Plan, inputs: Tensor, weights: Tensor, grad: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradient as a differentiable function, for second derivatives."""
    with torch.enable_grad():
        if plan.affine:
            angles = plan.program.angles(inputs, weights)
        else:
            angle_map = plan.program.angle_map
            order = torch.tensor(angle_map.batched_slots + angle_map.shared_slots).argsort()
            angles = torch.cat([inputs, weights.expand(len(inputs), -1)], dim=1)[:, order]
        values = measure(final_state(plan.program, angles), plan.observables)
        wanted = [t for t in (inputs, weights) if t.requires_grad]
        found = iter(
            torch.autograd.grad(values, wanted, grad, create_graph=True, allow_unused=True)
        )
    return tuple(next(found) if t.requires_grad else None for t in (inputs, weights))
