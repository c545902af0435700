"""Plans of the torch engine: all of a program's run that does not depend on values of angles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.native.schedule import schedule
from nisqkit.hardware_backends.torch_matrices import Constants, Matrices
from nisqkit.hardware_backends.torch_windows import Step, Window, fuse, walk

SHORTEST_RUN = 64
"""Numbers side by side, below which it is faster to move a window to the front."""


class Plan:
    """A program's windows, where their matrices come from, and how a state goes through them.

    Attributes:
        steps: One for each window that is not among the openings.
        openings: Group and row of the windows that find their qubits in 0: the initial state is
            the product of their first columns. There are none after an amplitude input.
    """

    def __init__(self, program: Program, behind: int = 0) -> None:
        self.num_qubits = program.num_qubits
        angle_map = program.angle_map
        windows = fuse(schedule(program).blocks)
        openings: list[Window] = []
        idle = set(range(program.num_qubits))
        for window in windows:
            if program.prepare is None and idle.issuperset(window.qubits):
                openings.append(window)
            idle.difference_update(window.qubits)
        later = [w for w in windows if w not in openings]
        order = [q for w in openings for q in w.qubits]
        order += [q for q in reversed(range(program.num_qubits)) if q not in order]
        moves = walk(later, order, behind)
        self._num_idle = program.num_qubits - sum(len(w.qubits) for w in openings)
        self._finish, self._return = moves.finish, moves.start
        own = [w for w in windows if w.own]
        shared = [w for w in windows if not w.own]
        # a gate of the samples' own may have angles that all samples share
        used = {f.slot for w in own for b in w.blocks for f in b.factors}
        self._mixed = bool(used & set(angle_map.shared_slots))
        own_slots = (*angle_map.batched_slots, *(angle_map.shared_slots if self._mixed else ()))
        self._shared = Matrices(shared, angle_map.shared_slots)
        self._own = Matrices(own, own_slots)
        before = self._shared.num_groups
        places = dict(zip(shared, self._shared.places, strict=True))
        for window, (group, row) in zip(own, self._own.places, strict=True):
            places[window] = before + group, row
        self.openings = [places[w] for w in openings]
        self.steps = [
            Step(w.own, len(w.qubits), before, *places[w], w.trained, forward, backward)
            for w, before, forward, backward in zip(
                later, moves.before, moves.forward, moves.backward, strict=True
            )
        ]
        self._prepared = None if program.prepare is None else _Prepared(program)

    def matrices(self, shared: Tensor, batched: Tensor) -> list[Tensor]:
        """All groups of matrices, from the angles of `Program.split_angles`."""
        own = batched
        if self._mixed:
            own = torch.cat([batched, shared.expand(len(batched), -1)], dim=1)
        return [*self._shared(shared), *self._own(own)]

    def start(self, shared: Tensor, batched: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        """The initial state, ``(2**n, batch)``: the amplitude input, or the openings' product."""
        if self._prepared is not None:
            return self._prepared(shared, batched)
        state = batched.new_zeros((2**self._num_idle, 1), dtype=batched.dtype.to_complex())
        state[0] = 1
        for group, row in reversed(self.openings):
            column = matrices[group][..., row, :, 0]
            column = column.T if column.dim() == 2 else column[:, None]
            state = (column[:, None] * state[None]).flatten(0, 1)
        return state.expand(-1, len(batched))

    def evolve(self, state: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        """From the initial to the final state, ``(2**n, batch)``, by operations of autograd."""
        size, batch = state.shape
        for step in self.steps:
            moved = step.forward(state, batch)
            state = step.apply(matrices, moved, step.shape(batch, size))
        return self._finish(state, batch).reshape(size, batch)

    def pull_back(
        self, state: Tensor, costate: Tensor, matrices: Sequence[Tensor], wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        """Gradients of the initial state and of the matrices, from that of the final state.

        State and co-state are un-applied together. Where they have passed a matrix ``U``, its
        gradient in torch's convention is ``costate state^H U``.

        Args:
            state: The final state, ``(2**n, batch)``.
            costate: Its gradient.
            matrices: From `matrices`.
            wanted: Whether a gradient is wanted: of the initial state, of each group of matrices.
        """
        size, batch = state.shape
        overlaps: list[dict[int, Tensor]] = [{} for _ in matrices]
        asked = [step.trained and wanted[1 + step.group] for step in self.steps]
        last = -1 if wanted[0] else asked.index(True) if any(asked) else len(asked)
        inverses = [group.mH.contiguous() for group in matrices]
        both = torch.stack([state, costate])
        for k in reversed(range(max(0, last), len(asked))):
            step = self.steps[k]
            both = step.backward(both, batch).contiguous()
            if asked[k]:
                overlaps[step.group][step.row] = _overlap(step, both, batch, size)
            if k > last:
                both = step.apply(inverses, both, step.shape(batch, size, 2))
        found: list[Tensor | None] = [None]
        if wanted[0]:
            found = [self._return(both, batch).reshape(2, size, batch)[1]]
        for group, some, want in zip(matrices, overlaps, wanted[1:], strict=True):
            found.append(_gradient(group, some) if want and some else None)
        return found


def _overlap(step: Step, both: Tensor, batch: int, size: int) -> Tensor:
    """``costate state^H`` on a window's qubits, for all samples together or for each of them."""
    if step.own:
        first, second = both.view(step.shape(batch, size, 2)).tensor_split(2, dim=-1)
        return second @ first.mH
    first, second = both.view(2, *step.shape(batch, size)).unbind()
    if step.before == 0:
        return second[0] @ first[0].mH
    return (second @ first.mH).sum(0)


def _gradient(matrices: Tensor, overlaps: dict[int, Tensor]) -> Tensor:
    """The gradient of a group of matrices; it is zero where there is no overlap."""
    zero = torch.zeros_like(next(iter(overlaps.values())))
    rows = [overlaps.get(row, zero) for row in range(matrices.shape[-3])]
    return torch.stack(rows, dim=-3) @ matrices


class _Prepared:
    """The amplitude input of a program."""

    def __init__(self, program: Program) -> None:
        prepare, angle_map = program.prepare, program.angle_map
        assert prepare is not None
        self._size = 2**program.num_qubits
        self._batched = prepare.slots[0] in angle_map.batched_slots
        slots = angle_map.batched_slots if self._batched else angle_map.shared_slots
        basis = np.arange(len(prepare.slots))
        states = sum(((basis >> k) & 1) << q for k, q in enumerate(prepare.qubits))
        columns = [slots.index(s) for s in prepare.slots]
        self._constants = Constants(states=np.asarray(states), columns=np.array(columns))

    def __call__(self, shared: Tensor, batched: Tensor) -> Tensor:
        """The initial state, ``(2**n, batch)``."""
        made = self._constants.on(batched)
        if self._batched:
            amplitudes = batched.index_select(1, made["columns"]).T
        else:
            amplitudes = shared.index_select(0, made["columns"])[:, None].expand(-1, len(batched))
        empty = batched.new_zeros((self._size, len(batched)), dtype=batched.dtype.to_complex())
        return empty.index_copy(0, made["states"], amplitudes.to(empty.dtype))


def plan(program: Program, batch: int) -> Plan:
    """The plan of a program for batches of about this size; kept with the program."""
    key = (plan, max(0, SHORTEST_RUN.bit_length() - batch.bit_length()))
    if key not in program.cache:
        program.cache[key] = Plan(program, behind=key[1])
    found: Plan = program.cache[key]
    return found
