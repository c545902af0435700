"""The native engine: batched state vectors with adjoint gradients, compiled by Numba."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.memory import check_memory
from nisqkit.hardware_backends.native import kernels
from nisqkit.hardware_backends.native.schedule import Schedule, schedule
from nisqkit.hardware_backends.reference import final_state, measure
from nisqkit.hardware_backends.sampling import draw, estimate, in_basis, measurement_bases

LANES = 16
"""Samples per tile: one AVX-512 register of float32."""

Array = NDArray[Any]


class NativeBackend(Backend):
    """State vectors in compiled code on the CPU; gradients by adjoint differentiation.

    Its memory does not grow with depth.
    Results are bit-identical for any number of threads. Second derivatives fall back on the
    reference engine.

    Args:
        threads: Number of threads; default all cores that this process may use.

    Raises:
        ValueError: Less than one thread, a torch device other than the CPU, a dtype other than
            float32 and float64, or a state that does not fit in memory.
    """

    name = "native"
    gradient = "adjoint"

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self.threads = threads

    def check(self, task: Task) -> None:
        """Refuse other torch devices and dtypes, and circuits that do not fit in memory."""
        if task.inputs.device.type != "cpu":
            raise ValueError(
                f"the native engine runs on the CPU, but the inputs are on {task.inputs.device}; "
                "move the layer to the CPU or use backend='reference'"
            )
        if task.inputs.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"the native engine computes in float32 or float64, not in {task.inputs.dtype}; "
                "use layer.float() or layer.double()"
            )
        tiles, lanes = _tiling(task.batch)
        # every tile's state, and a copy and a co-state per worker; probabilities take as much again
        states = tiles + 2 * min(tiles, self._workers())
        if task.shots is not None or task.observables.sums is None:
            states += 2 * tiles
        check_memory(
            task.program.num_qubits,
            2 * task.inputs.element_size() * states * lanes * 2**task.program.num_qubits,
        )

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
        plan = _plan(program, observables)
        shared, batched = program.split_angles(task.inputs, task.weights)
        values: Tensor = _Adjoint.apply(shared, batched, plan, self._workers())  # type: ignore[no-untyped-call]
        return values

    def _workers(self) -> int:
        if self.threads is None and hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return self.threads or os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class _Plan:
    """All that does not depend on the angles.

    Schedule, observables and where slots stand in the two angle vectors.
    """

    program: Program
    observables: Observables
    schedule: Schedule
    shared_columns: Array  # of the shared angles, for the shared matrices
    lane_batched: Array  # of the batched angles, for the first per-lane angles
    lane_shared: Array  # of the shared angles, for the other per-lane angles
    lane_order: Array  # row of each per-lane angle among (lane_batched, lane_shared)
    strings: Array  # (S, 3): X mask, Z mask, number of Y
    coefficients: Array
    prepare_rows: Array | None  # basis states of the amplitudes
    prepare_columns: Array | None  # their columns in the batched (or shared) angles
    prepare_batched: bool


@lru_cache(maxsize=256)
def _plan(program: Program, observables: Observables) -> _Plan:
    blocks = schedule(program)
    shared = {slot: k for k, slot in enumerate(program.angle_map.shared_slots)}
    batched = {slot: k for k, slot in enumerate(program.angle_map.batched_slots)}
    lane_batched = [s for s in blocks.lane_slots if s in batched]
    lane_shared = [s for s in blocks.lane_slots if s in shared]
    order = [(lane_batched + lane_shared).index(s) for s in blocks.lane_slots]
    strings = []
    for string in observables.strings:
        flips = [(q, c) for q, c in enumerate(reversed(string)) if c != "I"]
        x, z = (sum(1 << q for q, c in flips if c in letters) for letters in ("XY", "YZ"))
        strings.append((x, z, string.count("Y") % 4))
    rows = columns = None
    in_batch = False
    if program.prepare is not None:
        in_batch = program.prepare.slots[0] in batched
        where = batched if in_batch else shared
        columns = np.array([where[s] for s in program.prepare.slots])
        rows = np.array(
            [
                sum(((i >> k) & 1) << q for k, q in enumerate(program.prepare.qubits))
                for i in range(len(columns))
            ]
        )
    return _Plan(
        program,
        observables,
        blocks,
        np.array([shared[s] for s in blocks.shared_slots], dtype=np.int64),
        np.array([batched[s] for s in lane_batched], dtype=np.int64),
        np.array([shared[s] for s in lane_shared], dtype=np.int64),
        np.array(order, dtype=np.int64),
        np.array(strings, dtype=np.int64).reshape(-1, 3),
        observables.coefficients if observables.sums is not None else np.zeros((0, 0)),
        rows,
        columns,
        in_batch,
    )


def _tiling(batch: int) -> tuple[int, int]:
    """``(tiles, lanes)``: lanes is a power of two, at most `LANES`."""
    lanes = min(LANES, 1 << max(0, batch - 1).bit_length())
    return -(-batch // lanes), lanes


@lru_cache(maxsize=8)
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """The threads of one process: a forked child does not inherit its parent's."""
    return ThreadPoolExecutor(workers, thread_name_prefix="nisqkit-native")


def _each_tile(function: Callable[[int], None], tiles: int, workers: int) -> None:
    """Run the function on every tile.

    The assignment of tiles to threads does not change any number.
    """
    if workers == 1 or tiles == 1:
        for t in range(tiles):
            function(t)
    else:
        list(_pool(workers, os.getpid()).map(function, range(tiles)))


def _to_tiles(rows: Array, tiles: int, lanes: int) -> Array:
    """``(batch, P) -> (tiles, P, lanes)``, padded with zeros."""
    padded = np.zeros((tiles * lanes, rows.shape[1]), rows.dtype)
    padded[: len(rows)] = rows
    return np.ascontiguousarray(padded.reshape(tiles, lanes, rows.shape[1]).swapaxes(1, 2))


def _from_tiles(tiles: Array, batch: int) -> Array:
    """``(tiles, P, lanes) -> (batch, P)``."""
    return np.ascontiguousarray(
        tiles.swapaxes(1, 2).reshape(len(tiles) * tiles.shape[2], tiles.shape[1])[:batch]
    )


class _Adjoint(torch.autograd.Function):
    """(shared angles, batched angles) -> outputs, as one autograd node."""

    @staticmethod
    def forward(ctx: Any, shared: Tensor, batched: Tensor, plan: _Plan, workers: int) -> Tensor:
        run = _Run(plan, shared.detach().numpy(), batched.detach().numpy(), workers)
        ctx.save_for_backward(shared, batched)
        ctx.run = run
        return torch.from_numpy(run.forward())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        shared, batched = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True
            return (*_reference_gradient(ctx.run.plan, shared, batched, grad), None, None)
        g_shared, g_batched = ctx.run.backward(grad.detach().to(batched.dtype).contiguous().numpy())
        return torch.from_numpy(g_shared), torch.from_numpy(g_batched), None, None


def _reference_gradient(
    plan: _Plan, shared: Tensor, batched: Tensor, grad: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """The gradient as a differentiable function, for second derivatives."""
    angle_map = plan.program.angle_map
    order = torch.tensor(angle_map.shared_slots + angle_map.batched_slots).argsort()
    with torch.enable_grad():
        angles = torch.cat([shared.expand(len(batched), -1), batched], dim=1)[:, order]
        values = measure(final_state(plan.program, angles), plan.observables)
        wanted = [t for t in (shared, batched) if t.requires_grad]
        found = iter(
            torch.autograd.grad(values, wanted, grad, create_graph=True, allow_unused=True)
        )
    g_shared = next(found) if shared.requires_grad else None
    g_batched = next(found) if batched.requires_grad else None
    return g_shared, g_batched


class _Run:
    """One forward pass and what its backward pass needs: the final states."""

    def __init__(self, plan: _Plan, shared: Array, batched: Array, workers: int) -> None:
        self.plan, self.workers, self.batch = plan, workers, len(batched)
        self.num_shared, self.num_batched = len(shared), batched.shape[1]
        self.dtype = batched.dtype
        self.tiles, self.lanes = _tiling(self.batch)
        rows = [
            batched[:, plan.lane_batched],
            np.broadcast_to(shared[plan.lane_shared], (self.batch, len(plan.lane_shared))),
        ]
        self.lane_angles = _to_tiles(
            np.concatenate(rows, axis=1)[:, plan.lane_order], self.tiles, self.lanes
        )
        self.shared_angles = np.ascontiguousarray(
            shared[plan.shared_columns, None], dtype=np.float64
        )
        factors = plan.schedule.shared
        self.u_re, self.u_im = np.zeros((2, len(factors.dims) + 1, 16, 1))
        kernels.build(*factors.index, factors.table, self.shared_angles, self.u_re, self.u_im)
        shape = (self.tiles, 2**plan.program.num_qubits, self.lanes)
        self.re, self.im = np.zeros(shape, self.dtype), np.zeros(shape, self.dtype)
        if plan.prepare_rows is None:
            self.re[:, 0] = 1
        else:
            source = (
                batched
                if plan.prepare_batched
                else np.broadcast_to(shared, (self.batch, len(shared)))
            )
            self.re[:, plan.prepare_rows] = _to_tiles(
                source[:, plan.prepare_columns], self.tiles, self.lanes
            )

    def _shared_matrices(self, re: Array, im: Array) -> tuple[Array, Array]:
        return tuple(np.ascontiguousarray(m[..., 0], dtype=self.dtype) for m in (re, im))  # type: ignore[return-value]

    def forward(self) -> Array:
        plan, blocks = self.plan, self.plan.schedule.blocks
        lanes = plan.schedule.lanes
        s_re, s_im = self._shared_matrices(self.u_re, self.u_im)
        out = np.zeros((self.tiles, len(plan.strings), self.lanes), self.dtype)

        def tile(t: int) -> None:
            kernels.forward(
                self.re[t],
                self.im[t],
                blocks,
                s_re,
                s_im,
                lanes.index,
                lanes.table,
                self.lane_angles[t],
            )
            kernels.expectations(self.re[t], self.im[t], plan.strings, out[t])

        _each_tile(tile, self.tiles, self.workers)
        if plan.observables.sums is None:
            return _from_tiles(self.re**2 + self.im**2, self.batch)
        values = _from_tiles(out, self.batch)
        outputs: Array = values @ plan.coefficients.T.astype(self.dtype)
        return outputs

    def backward(self, grad: Array) -> tuple[Array, Array]:
        plan, blocks, factors = self.plan, self.plan.schedule.blocks, self.plan.schedule.shared
        lanes = plan.schedule.lanes
        u_re, u_im = kernels.dagger(self.u_re, self.u_im, factors.dims)
        s_re, s_im = self._shared_matrices(u_re, u_im)
        probs = plan.observables.sums is None
        weights = grad if probs else grad @ plan.coefficients.astype(self.dtype)
        weights = _to_tiles(weights, self.tiles, self.lanes)
        lane_grad = np.zeros_like(self.lane_angles)
        overlaps = np.zeros((self.tiles, 2, len(factors.dims), 16))
        rows = plan.prepare_rows if plan.prepare_rows is not None else np.zeros(0, np.int64)
        amplitude_grad = np.zeros((self.tiles, len(rows), self.lanes), self.dtype)

        def tile(t: int) -> None:
            re, im = self.re[t].copy(), self.im[t].copy()
            if probs:
                c_re, c_im = weights[t] * re, weights[t] * im
            else:
                c_re, c_im = np.empty_like(re), np.empty_like(im)
                kernels.costate(re, im, plan.strings, weights[t], c_re, c_im)
            kernels.backward(
                re, im, c_re, c_im, blocks, s_re, s_im, lanes.index, lanes.table,
                self.lane_angles[t], lane_grad[t], overlaps[t],
            )  # fmt: skip
            amplitude_grad[t] = 2 * c_re[rows]

        _each_tile(tile, self.tiles, self.workers)
        g_shared, g_batched = np.zeros(self.num_shared), np.zeros((self.batch, self.num_batched))
        m = overlaps.sum(axis=0)[..., None]
        own = np.zeros_like(self.shared_angles)
        kernels.chain(*factors.index, factors.table, self.shared_angles, m[0], m[1], own)
        g_shared[plan.shared_columns] += own[:, 0]
        rest = np.empty((self.batch, len(plan.lane_order)))
        rest[:, plan.lane_order] = _from_tiles(lane_grad, self.batch)
        split = len(plan.lane_batched)
        g_batched[:, plan.lane_batched] += rest[:, :split]
        g_shared[plan.lane_shared] += rest[:, split:].sum(axis=0)
        if plan.prepare_columns is not None:
            rows_grad = _from_tiles(amplitude_grad, self.batch)
            if plan.prepare_batched:
                g_batched[:, plan.prepare_columns] += rows_grad
            else:
                g_shared[plan.prepare_columns] += rows_grad.sum(axis=0)
        return g_shared.astype(self.dtype), g_batched.astype(self.dtype)
