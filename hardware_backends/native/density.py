"""Exact values of noisy programs, and their gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.hardware_backends.native.density_plan import (
    DensityPlan,
    density_plan,
    strength_plan,
)
from nisqkit.hardware_backends.native.density_run import KEPT_BYTES, DensityRun, run_bytes
from nisqkit.hardware_backends.reference_density import (
    final_density,
    measure_density,
    start_density,
    to_pauli_vector,
)
from nisqkit.noise.noisy_program import NoiseUse, NoisyProgram


def density_bytes(noisy: NoisyProgram, batch: int, itemsize: int, workers: int = 1) -> int:
    """Bytes that `density_values` and its backward pass take at most, known before anything runs.

    The backward pass keeps Pauli vectors, 16 ``4**n`` numbers each, up to 256 MiB on all threads
    together; where a circuit has more, it keeps some and computes the rest again (Griewank and
    Walther, ACM Trans. Math. Softw. 26, 19, 2000, with one level of checkpoints). Only where twice
    the square root of their number does not fit either, it takes more than that.

    Args:
        noisy: The noisy program.
        batch: Number of samples.
        itemsize: 4 for float32, 8 for float64.
        workers: Number of threads.
    """
    probs = Observables(noisy.num_qubits, None)
    return run_bytes(density_plan(noisy, probs), batch, itemsize, workers, KEPT_BYTES)


def density_values(
    noisy: NoisyProgram, inputs: Tensor, weights: Tensor, observables: Observables, workers: int
) -> Tensor:
    """Exact expectation values or probabilities of the noisy state, differentiable.

    The state is the real vector of its ``4**n`` Pauli components, ``tr(P rho)``, gates and channels
    are fused into real matrices, and lanes are 16 samples. The same bits for any number of threads.
    Second derivatives fall back on the reference engine. Readout errors are the caller's.

    Args:
        noisy: The noisy program.
        inputs: Shape ``(batch, num_inputs)``, float32 or float64.
        weights: Shape ``(num_weights,)``.
        observables: On all qubits of the program.
        workers: Number of threads.

    Returns:
        Shape ``(batch, num_outputs)``.

    Raises:
        ValueError: A gate or channel acts on more than two qubits.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from nisqkit.circuits import lower
        >>> from nisqkit.noise import Channel, NoiseModel
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.x(0)
        >>> model = NoiseModel("decay", {("x", (0,)): Channel.relaxation(0.25)}, ideal={"measure"})
        >>> none = torch.zeros(1, 0), torch.zeros(0)
        >>> z = Observables.parse("Z", num_qubits=1)
        >>> density_values(model.bind(lower(circuit)), *none, z, workers=1)
        tensor([[-0.5000]])
    """
    plan = density_plan(noisy, observables)
    inputs, weights, start = _parameters(plan, inputs, weights)
    values: Tensor = _Density.apply(inputs, weights, start, plan, workers)  # type: ignore[no-untyped-call]
    return values


def strength_gradients(
    noisy: NoisyProgram,
    inputs: Tensor,
    weights: Tensor,
    observables: Observables,
    grad: Tensor,
    strengths: Mapping[str, float] | float,
    workers: int,
) -> dict[str, float]:
    """Derivatives of ``sum(grad * values)`` by the strength of every cause but those of readout.

    Args:
        noisy: The noisy program.
        inputs: Shape ``(batch, num_inputs)``.
        weights: Shape ``(num_weights,)``.
        observables: On all qubits of the program.
        grad: Shape ``(batch, num_outputs)``.
        strengths: Where the derivatives are taken, in the values too: for all causes, or by cause;
            a cause that is left out has strength 1.
        workers: Number of threads.

    Raises:
        ValueError: As `Channel.ptm_at` and `Channel.ptm_slope_at`, or as `density_values`.
    """
    causes = dict.fromkeys(u.cause for u in noisy.operations if isinstance(u, NoiseUse))
    if not isinstance(strengths, Mapping):
        strengths = dict.fromkeys(causes, float(strengths))
    plan = strength_plan(noisy, observables, strengths)
    with torch.no_grad():
        inputs, weights, start = _parameters(plan, inputs, weights)
        weights = torch.cat([weights, weights.new_zeros(len(noisy.causes))])
        run = DensityRun(plan, inputs.numpy(), weights.numpy(), start.numpy(), workers)
        _, found, _ = run.backward(grad.to(inputs.dtype).numpy(), inputs_wanted=False)
    first = len(found) - len(noisy.causes)
    return {c: float(found[first + k]) for k, c in enumerate(noisy.causes) if c in causes}


def _parameters(
    plan: DensityPlan, inputs: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, weights and initial Pauli vectors (none for state 0) as the kernels take them."""
    program = plan.noisy.program
    none = inputs.new_zeros(len(inputs), 0)
    if plan.affine:
        return inputs, weights, none
    shared, batched = program.split_angles(inputs, weights)
    if program.prepare is None:
        return batched, shared, none
    angles = _angles(plan, batched, shared)
    return batched, shared, to_pauli_vector(start_density(program, angles))


def _angles(plan: DensityPlan, batched: Tensor, shared: Tensor) -> Tensor:
    """All slots' angles from what the kernels take."""
    angle_map = plan.noisy.program.angle_map
    order = torch.tensor(angle_map.batched_slots + angle_map.shared_slots).argsort()
    return torch.cat([batched, shared.expand(len(batched), -1)], dim=1)[:, order]


class _Density(torch.autograd.Function):
    """(inputs, weights, start) -> outputs, as one autograd node."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weights: Tensor, start: Tensor, plan: DensityPlan, workers: int
    ) -> Tensor:
        x, w, s = (t.detach().numpy() for t in (inputs, weights, start))
        run = DensityRun(plan, x, w, s, workers)
        ctx.save_for_backward(inputs, weights, start)
        ctx.run = run
        return torch.from_numpy(run.forward())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            return (*_reference_gradient(ctx.run.plan, ctx.saved_tensors, grads[0]), None, None)
        found = ctx.run.backward(grads[0].numpy(), ctx.needs_input_grad[0])
        return (*(torch.from_numpy(g) for g in found), None, None)


def _reference_gradient(
    plan: DensityPlan, parameters: tuple[Tensor, ...], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradient as a differentiable function, for second derivatives."""
    inputs, weights, start = parameters
    with torch.enable_grad():
        if plan.affine:
            angles = plan.noisy.program.angles(inputs, weights)
        else:
            angles = _angles(plan, inputs, weights)
        given = start if start.numel() else None
        state = final_density(plan.noisy, angles, given)
        values = measure_density(state, plan.observables)
        wanted = [t for t in parameters if t.requires_grad]
        found = iter(
            torch.autograd.grad(values, wanted, grad, create_graph=True, allow_unused=True)
        )
    return tuple(next(found) if t.requires_grad else None for t in parameters)
