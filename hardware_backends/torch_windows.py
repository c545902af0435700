"""Windows: blocks on few qubits, fused into one matrix, and where the state's axes lie.

A matrix on four qubits costs a processor little more than one on a single qubit, since reading and
writing the state takes the time; so the torch engine applies few, larger matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from nisqkit.hardware_backends.native.schedule import CX, CZ, Block

SHARED_WIDTH = 4
"""Most qubits of a window whose matrix all samples share."""

OWN_WIDTH = 2
"""Most qubits of a window of which each sample has its own matrix: building it costs 4**width."""

BATCH, PAIR = -1, -2
"""Axes of a state that are no qubits: the samples; the state and the co-state."""


@dataclass(eq=False)
class Window:
    """Neighbouring blocks on few qubits, which become one matrix.

    Attributes:
        own: Whether each sample has its own matrix.
        qubits: Most significant first.
        blocks: In the order of application.
    """

    own: bool
    qubits: list[int] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    @property
    def trained(self) -> bool:
        """Whether an angle is in it."""
        return any(block.trained for block in self.blocks)

    def has_room(self, qubits: Sequence[int]) -> bool:
        """Whether these qubits can join it."""
        return len({*self.qubits, *qubits}) <= (OWN_WIDTH if self.own else SHARED_WIDTH)

    def add(self, blocks: Sequence[Block], qubits: Sequence[int]) -> None:
        """Apply these blocks after those that are in it."""
        self.qubits += [q for q in qubits if q not in self.qubits]
        self.blocks += blocks


def _turns(blocks: Sequence[Block]) -> list[list[Block]]:
    """Blocks in turns of the samples' own ones and shared ones, as few as the qubits allow.

    CX and CZ stay in the turn of what is before them.
    """
    turns: list[list[Block]] = []
    newest: dict[int, int] = {}  # the last turn on each qubit; even ones are own
    for block in blocks:
        turn = max(newest.get(q, -1) for q in block.qubits)
        own = turn % 2 == 0 if block.kind in (CX, CZ) else block.own
        if turn < 0 or own != (turn % 2 == 0):
            turn = turn + 1 if own == (turn % 2 == 1) else turn + 2
        newest.update(dict.fromkeys(block.qubits, turn))
        turns += [[] for _ in range(turn + 1 - len(turns))]
        turns[turn].append(block)
    return turns


def fuse(blocks: Sequence[Block]) -> list[Window]:
    """Gather a schedule's blocks into windows, in an order in which they can be applied.

    A block goes into the first window that its qubits allow and that has room. One on a single
    qubit that no window of its turn has yet waits for the next block on two.
    """
    windows: list[Window] = []
    newest: dict[int, int] = {}  # the last window on each qubit

    def place(members: Sequence[Block], first: int, own: bool) -> None:
        qubits = list(dict.fromkeys(q for block in members for q in block.qubits))
        index = max([first, *(newest.get(q, 0) for q in qubits)])
        while index < len(windows) and not windows[index].has_room(qubits):
            index += 1
        if index == len(windows):
            windows.append(Window(own))
        windows[index].add(members, qubits)
        newest.update(dict.fromkeys(qubits, index))

    for turn, members in enumerate(_turns(blocks)):
        first = len(windows)
        waiting: dict[int, list[Block]] = {}
        for block in members:
            q = block.qubits[0]
            if len(block.qubits) == 1 and newest.get(q, -1) < first:
                waiting.setdefault(q, []).append(block)
            else:
                before = [b for q in block.qubits for b in waiting.pop(q, [])]
                place([*before, block], first, turn % 2 == 0)
        for alone in waiting.values():
            place(alone, first, turn % 2 == 0)
    for window in windows:  # one of CX and CZ alone is the same for all samples
        window.own = any(block.own for block in window.blocks)
    return windows


class Move(NamedTuple):
    """A change of the order of a state's axes.

    Attributes:
        sizes: For each run of axes that stay together: the power of two, and whether the batch is
            among them.
        order: Where each new run comes from.
    """

    sizes: tuple[tuple[int, bool], ...]
    order: tuple[int, ...]

    @classmethod
    def between(cls, old: Sequence[int], new: Sequence[int]) -> Move:
        """The move between two orders of the same axes, most significant first."""
        position = {axis: k for k, axis in enumerate(new)}
        runs: list[list[int]] = []
        for axis in old:
            if runs and position[axis] == position[runs[-1][-1]] + 1:
                runs[-1].append(axis)
            else:
                runs.append([axis])
        sizes = tuple((sum(a != BATCH for a in run), BATCH in run) for run in runs)
        return cls(sizes, tuple(sorted(range(len(runs)), key=lambda k: position[runs[k][0]])))

    def __call__(self, state: Tensor, batch: int) -> Tensor:
        """The state with its axes in the new order, as a view."""
        if len(self.order) == 1:
            return state
        shape = [batch << power if batched else 1 << power for power, batched in self.sizes]
        return state.reshape(shape).permute(self.order)


class Step(NamedTuple):
    """A window's place in a run.

    Attributes:
        own: Whether each sample has its own matrix.
        width: Number of qubits.
        before: Number of qubits in front of the window.
        group, row: Where its matrix stands.
        trained: Whether its matrix has a gradient.
        forward: From the axes that the step before leaves to ``(others, window, others, batch)``,
            or ``(batch, window, others)`` for an own matrix.
        backward: From the axes that the step after leaves to the same, with the pair in front; or
            to ``(batch, window, pair, others)``.
    """

    own: bool
    width: int
    before: int
    group: int
    row: int
    trained: bool
    forward: Move
    backward: Move

    def shape(self, batch: int, size: int, copies: int = 1) -> tuple[int, int, int]:
        """``(others, window, others)``, for ``size`` amplitudes of each sample, or for a pair."""
        rest = size >> self.width
        if self.own:
            return batch, 1 << self.width, copies * rest
        return copies << self.before, 1 << self.width, (rest >> self.before) * batch

    def apply(self, groups: Sequence[Tensor], state: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Apply its matrix to a state, or to a pair, whose axes are in place."""
        matrix = groups[self.group].select(-3, self.row)
        state = state.reshape(shape if shape[0] > 1 or self.own else shape[1:])
        return matrix @ state.contiguous()


class Walk(NamedTuple):
    """The moves of a run.

    Attributes:
        before: For each window, the number of qubits in front of it.
        forward, backward: One for each window, in the order of application.
        finish: From the last window to ``(qubits, batch)``, the most significant qubit first.
        start: Backwards, from the first window to the pair and the order of the beginning.
    """

    before: list[int]
    forward: list[Move]
    backward: list[Move]
    finish: Move
    start: Move


def walk(windows: Sequence[Window], start: Sequence[int], behind: int = 0) -> Walk:
    """The moves of the axes through windows; it also sets the order of the windows' qubits.

    Nothing moves for a window whose qubits lie side by side. Where something must move, the qubits
    are put in the order in which they will be needed, so that the next windows find them so.

    Args:
        windows: In the order of application.
        start: The order of the qubits at the beginning, the most significant first.
        behind: Fewest qubits behind a window that is not moved to the front.
    """
    order = [*start, BATCH]
    orders, pairs, before = [order], [], []
    for k, window in enumerate(windows):
        first = min(order.index(q) for q in window.qubits)
        last = first + len(window.qubits)
        together = set(order[first:last]) == set(window.qubits)
        if window.own or order[-1] != BATCH or not together or len(order) - 1 - last < behind:
            first, last = 0, len(window.qubits)
            needed = _as_needed(windows[k:], [a for a in order if a != BATCH])
            order = [BATCH, *needed] if window.own else [*needed, BATCH]
        window.qubits = [q for q in order if q != BATCH][first:last]
        orders.append(order)
        before.append(first)
        pairs.append(
            [*order[: 1 + last], PAIR, *order[1 + last :]] if window.own else [PAIR, *order]
        )
    standard = [*sorted(start, reverse=True), BATCH]
    backward = [[PAIR, *orders[0]], *pairs, [PAIR, *standard]]
    return Walk(
        before,
        [Move.between(old, new) for old, new in pairwise(orders)],
        [Move.between(old, new) for new, old in pairwise(backward[1:])],
        Move.between(order, standard),
        Move.between(backward[1], backward[0]),
    )


def _as_needed(windows: Sequence[Window], qubits: Sequence[int]) -> list[int]:
    """The qubits of the first window, then those of the second, and so on.

    Of a window's qubits, those come last that the next window shares.
    """
    found: list[int] = []
    for k, window in enumerate(windows):
        following = windows[k + 1].qubits if k + 1 < len(windows) else []
        fresh = [q for q in qubits if q in window.qubits and q not in found]
        found += sorted(fresh, key=lambda q: q in following)
        if len(found) == len(qubits):
            break
    return [*found, *(q for q in qubits if q not in found)]
