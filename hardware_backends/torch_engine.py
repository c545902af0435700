"""The torch engine: batched state vectors with adjoint gradients, on any torch device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.memory import check_memory
from nisqkit.hardware_backends.sampling import draw, estimate, in_basis, measurement_bases
from nisqkit.hardware_backends.torch_measure import Measurement, measurement
from nisqkit.hardware_backends.torch_plan import Plan, plan


class TorchBackend(Backend):
    """A PyTorch-on-CUDA route: the reference, batched and fused, correct on any torch device.

    A step is a short sequence of torch calls that does not wait for the device: all matrices are
    built together, gates on up to four qubits are applied as one, and gradients are adjoint, so
    that no state is kept per gate. Second and higher derivatives keep them.

    Raises:
        ValueError: A dtype other than float32 and float64, or a state that does not fit in the
            memory of the CPU (other devices report that themselves).

    Example:
        >>> from nisqkit.circuits import angle, hardware_efficient
        >>> from nisqkit.qml import QuantumLayer
        >>> circuit = angle(3).compose(hardware_efficient(3, 2))
        >>> layer = QuantumLayer(circuit, inputs="x", backend=TorchBackend())
        >>> layer(torch.zeros(5, 3)).shape
        torch.Size([5, 3])
    """

    name = "torch"
    gradient = "adjoint"

    def check(self, task: Task) -> None:
        """Refuse other dtypes, and circuits that do not fit in memory."""
        if task.inputs.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"the torch engine computes in float32 or float64, not in {task.inputs.dtype}; "
                "use layer.float() or layer.double()"
            )
        if task.inputs.device.type == "cpu":
            # forwards a state, its copy in another order and the next one; backwards two of each,
            # beside the initial and the final state
            states = 3
            if task.shots is None and torch.is_grad_enabled():
                states = 8
            size = 2 * task.inputs.element_size() * 2**task.program.num_qubits
            check_memory(task.program.num_qubits, states * size * task.batch)

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """See `Backend.run`."""
        return [self._run(task) for task in tasks]

    def _run(self, task: Task) -> Result:
        self.check(task)
        if task.shots is None:
            return Result(_values(task.program, task, task.observables))
        probs = Observables(task.program.num_qubits, None)
        with torch.no_grad():
            probabilities = [
                _values(_turned(task.program, basis), task, probs).double().cpu().numpy()
                for basis in measurement_bases(task.observables)
            ]
        sampled = estimate(
            draw(probabilities, task.shots, task.seed), task.observables, task.inputs.dtype
        )
        assert sampled.std is not None
        device = task.inputs.device
        return Result(sampled.values.to(device), sampled.std.to(device))


def _turned(program: Program, basis: str) -> Program:
    """`in_basis`, kept with the program: a new object would be planned again at every step."""
    key = (_turned, basis)
    if key not in program.cache:
        program.cache[key] = in_basis(program, basis)
    found: Program = program.cache[key]
    return found


def _values(program: Program, task: Task, observables: Observables) -> Tensor:
    made, measured = plan(program, task.batch), measurement(program, observables)
    shared, batched = program.split_angles(task.inputs, task.weights)
    matrices = made.matrices(shared, batched)
    start = made.start(shared, batched, matrices)
    values: Tensor = _Adjoint.apply(made, measured, start, *matrices)  # type: ignore[no-untyped-call]
    return values


class _Adjoint(torch.autograd.Function):
    """(initial state, matrices) -> outputs, as one autograd node that keeps the final state only.

    The matrices are ordinary torch functions of inputs and weights, so autograd does the rest.
    """

    @staticmethod
    def forward(
        ctx: Any, made: Plan, measured: Measurement, start: Tensor, *matrices: Tensor
    ) -> Tensor:
        state = made.evolve(start, matrices)
        ctx.made, ctx.measured = made, measured
        ctx.save_for_backward(state, start, *matrices)
        return measured.values(state)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        state, start, *matrices = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():  # create_graph=True, for which all states are kept
            # aliases, as the initial state may itself depend on the matrices
            start, *matrices = given = [tensor.view_as(tensor) for tensor in (start, *matrices)]
            values = ctx.measured.values(ctx.made.evolve(start, matrices))
            asked = [tensor for tensor, want in zip(given, wanted, strict=True) if want]
            found = iter(
                torch.autograd.grad(values, asked, grads[0], create_graph=True, allow_unused=True)
            )
            return (None, None, *(next(found) if want else None for want in wanted))
        costate = ctx.measured.costate(state, grads[0])
        return (None, None, *ctx.made.pull_back(state, costate, matrices, wanted))
