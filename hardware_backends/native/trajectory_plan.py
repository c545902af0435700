"""Plans of trajectories: all that does not depend on the parameters' values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nisqkit.circuits.observables import Observables
from nisqkit.hardware_backends.native.operations import on_samples
from nisqkit.hardware_backends.native.plan import Plan
from nisqkit.hardware_backends.native.rows import KIND, SOURCE, TRAINED
from nisqkit.hardware_backends.native.schedule import OWN, TWO
from nisqkit.hardware_backends.native.trajectory_branches import conditions
from nisqkit.hardware_backends.native.trajectory_draws import Draws, Errors
from nisqkit.hardware_backends.native.trajectory_schedule import (
    BranchFactor,
    NoisySchedule,
    noisy_schedule,
)
from nisqkit.hardware_backends.native.vectors import LANES
from nisqkit.noise.noisy_program import NoisyProgram

Array = NDArray[Any]

WORST = 8.0
"""By how much un-applying blocks may amplify rounding errors, until the state is read again from
where it was kept: three bits."""


@dataclass(frozen=True, eq=False)
class Lanes:
    """Which run is where; see ``trajectory_kernels.py``.

    Of means, the first units are the samples without errors, the others ``sample * runs + run``; of
    patterns, all are samples.

    Attributes:
        position: (batch * runs,): where each run is, in units of lanes.
        sample, weight: (U, 16): of each lane, and what its outputs count in the mean.
        events, first_event: See ``trajectory_kernels.py``.
        stores, first_store: The same.
    """

    position: Array
    sample: Array
    weight: Array
    events: Array
    first_event: Array
    stores: Array
    first_store: Array

    @property
    def depth(self) -> int:
        """How many lanes' states are kept at a time, per unit."""
        return int(np.diff(self.first_store).max(initial=0))


@dataclass(frozen=True, eq=False)
class TrajectoryPlan:
    """A noisy program and what is measured, ready for the kernels.

    Attributes:
        plan: Of the blocks; what it says of shared matrices is empty.
        noisy: The blocks with their branches.
        constants: (outputs,): what the identity adds to each output; its expectation value is
            known, and so not left to chance.
    """

    plan: Plan
    noisy: NoisySchedule
    constants: NDArray[np.float64]

    @property
    def rows(self) -> int:
        """Amplitudes of a state."""
        return self.plan.operations.rows

    @cached_property
    def errors(self) -> Errors:
        """What can happen at each place."""
        return Errors.make([found.probabilities for found in self.noisy.places])

    @property
    def no_error(self) -> float:
        """The probability ``p0`` of the most probable branch everywhere."""
        return self.errors.none

    @cached_property
    def _branch_factors(self) -> list[tuple[int, BranchFactor]]:
        return [(f, x) for f, x in enumerate(self.noisy.factors) if isinstance(x, BranchFactor)]

    @cached_property
    def _operators(self) -> tuple[Array, Array, Array, Array, Array]:
        """All errors: (M, 16) row by row, their inverses, and their conditions.

        Then the factors (places, P) that a place has, or -1, and the first operator of each factor.
        """
        used = [0] * len(self.noisy.places)
        for _, factor in self._branch_factors:
            used[factor.place] += 1
        factor_of = np.full((len(used), max(used, default=0)), -1)
        first = np.zeros(len(self.noisy.factors), np.int64)
        found: list[Array] = [np.zeros((0, 16), complex)]
        back: list[Array] = [found[0]]
        worst: list[Array] = [np.zeros(0)]
        known: dict[tuple[bytes, int], int] = {}
        count = 0
        for f, factor in self._branch_factors:
            used[factor.place] -= 1
            factor_of[factor.place, used[factor.place]] = f
            operators = factor.operators
            key = operators.tobytes(), operators.shape[1]
            if key not in known:
                known[key] = count
                condition = conditions(operators)
                inverse = np.eye(operators.shape[1], dtype=complex)[None].repeat(len(operators), 0)
                well = condition <= WORST
                inverse[well] = np.linalg.inv(operators[well])
                for rows, matrices in ((found, operators), (back, inverse)):
                    flat = matrices.reshape(len(matrices), -1)
                    rows.append(np.pad(flat, ((0, 0), (0, 16 - flat.shape[1]))))
                worst.append(condition)
                count += len(operators)
            first[f] = known[key]
        return np.concatenate(found), np.concatenate(back), np.concatenate(worst), factor_of, first

    @cached_property
    def blocks(self) -> tuple[Array, ...]:
        """``groups, pairs, table, plain, operators``."""
        own = self.plan.schedule.own
        plain = np.zeros(len(own.table), bool)
        for f, factor in self._branch_factors:
            plain[f] = factor.plain
        idle = np.array([plain[a:b].all() for a, b, _ in own.groups], dtype=np.int64)
        groups = np.ascontiguousarray(np.column_stack([own.groups, idle]))
        return groups, own.pairs, own.table, plain, self._operators[0]

    @cached_property
    def undone(self) -> tuple[Array, Array]:
        """``table, operators`` of the inverses; the identity where the state is kept."""
        table = self.plan.schedule.own.table.conj()
        for f, factor in enumerate(self.noisy.factors):
            dim = len(factor.generator)
            square = table[f, :, : dim * dim].reshape(3, dim, dim)
            table[f, :, : dim * dim] = square.transpose(0, 2, 1).reshape(3, -1)
        _, back, _, _, first = self._operators
        for f, _ in self._branch_factors:
            table[f, 0] = back[first[f]]
        return table, back

    @cached_property
    def angled(self) -> tuple[Array, Array, Array]:
        """``generator, trained, index``."""
        own = self.plan.schedule.own
        index = np.zeros(len(own.table), np.int64)
        for ours in (True, False):
            where = own.trained & (self._own_factor == ours)
            index[where] = np.arange(where.sum())
        return own.generator, own.trained, index

    @cached_property
    def _group_of(self) -> Array:
        """Block of each factor."""
        groups = self.plan.schedule.own.groups
        return np.repeat(np.arange(len(groups)), groups[:, 1] - groups[:, 0])

    @cached_property
    def _own_factor(self) -> Array:
        table = self.plan.operations.table
        matrices = table[table[:, KIND] <= TWO]
        own: Array = matrices[:, SOURCE] == OWN
        return own[self._group_of]

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of angles in blocks that all samples share, and in the samples' own."""
        trained, own = self.angled[1], self._own_factor
        return int((trained & ~own).sum()), int((trained & own).sum())

    @cached_property
    def longest(self) -> int:
        """The largest number of factors in a block."""
        groups = self.plan.schedule.own.groups
        return int((groups[:, 1] - groups[:, 0]).max(initial=0))

    def stop(self, inputs_wanted: bool) -> int:
        """How many operations at the beginning have no gradient that is wanted."""
        return self._stops[inputs_wanted]

    @cached_property
    def _stops(self) -> tuple[int, int]:
        """Without and with gradients of inputs."""
        return self._stop(False), self._stop(True)

    def _stop(self, inputs_wanted: bool) -> int:
        table = self.plan.operations.table
        wanted = table[:, TRAINED] == 1
        if len(self.plan.prepared[0]):
            return 0
        if not inputs_wanted:
            forms = self.plan.own_forms[0]
            weighted = np.zeros(len(self._group_of), bool)
            for f in range(len(weighted)):
                columns = forms.column[forms.first[f] : forms.first[f + 1]]
                weighted[f] = bool((columns >= self.plan.widths[0]).any())
            kept = np.zeros(len(table), bool)
            kept[table[:, KIND] <= TWO] = (
                np.bincount(self._group_of[weighted], minlength=self._size) > 0
            )
            wanted &= kept
        return int(wanted.argmax()) if wanted.any() else len(table)

    @property
    def _size(self) -> int:
        return len(self.plan.schedule.own.groups)

    @cached_property
    def _anchors(self) -> Array:
        """Blocks before which every lane's state is kept, lest rounding errors grow too large."""
        worst = np.zeros(self._size)
        _, _, condition, _, first = self._operators
        for f, _ in self._branch_factors:
            worst[self._group_of[f]] += np.log(condition[first[f]])
        found = []
        total = 0.0
        for g in reversed(range(self._size)):
            total += worst[g]
            if total > np.log(WORST):
                found.append(g)
                total = 0.0
        return np.array(found[::-1], dtype=np.int64)

    def lanes(self, batch: int, runs: int, seed: tuple[int, int, int]) -> Lanes:
        """Where the runs of a batch go; without noise there are none but those without errors."""
        runs = runs if self.no_error < 1 else 0
        drawn = self.errors.draw(batch, runs, seed)
        samples = np.repeat(np.arange(batch), runs)
        return self._place(drawn, samples, (1 - self.no_error) / max(1, runs), batch)

    def patterns(self, batch: int, seed: tuple[int, int, int], shared: bool) -> Lanes:
        """One run of each sample, drawn among all; all with the same errors if ``shared``."""
        drawn = self.errors.draw(1 if shared else batch, 1, seed, among_all=True)
        samples = np.arange(batch)
        if shared:
            count = len(drawn.run)
            drawn = Draws(
                samples.repeat(count), np.tile(drawn.place, batch), np.tile(drawn.branch, batch)
            )
        return self._place(drawn, samples, 1.0)

    def _place(self, drawn: Draws, samples: Array, share: float, without: int = 0) -> Lanes:
        """Lanes for ``without`` samples without errors, and then for runs.

        Args:
            drawn: The errors of the runs.
            samples: The sample of each run.
            share: What a run counts in its sample's mean.
            without: How many samples also have a lane without errors, which counts ``p0``.
        """
        clean, noisy = -(-without // LANES), -(-len(samples) // LANES)
        units = clean + noisy
        sample, weight = np.zeros(units * LANES, np.int64), np.zeros(units * LANES)
        sample[:without], weight[:without] = np.arange(without), self.no_error
        errors = slice(clean * LANES, clean * LANES + len(samples))
        # runs whose first errors are near each other go side by side: fewer blocks then differ
        earliest = np.full(len(samples), -1)
        with_error, begin = np.unique(drawn.run, return_index=True)
        earliest[with_error] = drawn.place[begin]
        order = np.argsort(earliest, kind="stable")
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        sample[errors], weight[errors] = samples[order], share
        operators, _, condition, factor_of, first = self._operators
        events: list[Array] = [np.zeros((0, 4), np.int64)]
        stores: list[Array] = [np.zeros((0, 3), np.int64)]
        unit, lane = clean + position[drawn.run] // LANES, position[drawn.run] % LANES
        for factor in factor_of[drawn.place].T:
            has = factor >= 0
            operator = first[factor] + drawn.branch
            # X on one of two qubits leaves the other as it is
            has[has] = (operators[operator[has]] != operators[first[factor[has]]]).any(axis=1)
            events.append(np.stack([unit, factor, lane, operator], axis=1)[has])
            has[has] = condition[operator[has]] > 1
            stores.append(np.stack([unit, self._group_of[factor * has], lane], axis=1)[has])
        every = np.meshgrid(np.arange(units), self._anchors, np.arange(LANES), indexing="ij")
        stores.append(np.stack([x.ravel() for x in every], axis=1))
        event, store = np.concatenate(events), np.unique(np.concatenate(stores), axis=0)
        event = event[np.lexsort((event[:, 2], event[:, 1], event[:, 0]))]
        bounds = np.arange(units + 1)
        return Lanes(
            clean * LANES + position,
            sample.reshape(-1, LANES),
            weight.reshape(-1, LANES),
            np.ascontiguousarray(event[:, 1:]),
            np.searchsorted(event[:, 0], bounds),
            np.ascontiguousarray(store[:, 1:]),
            np.searchsorted(store[:, 0], bounds),
        )


def trajectory_plan(noisy: NoisyProgram, observables: Observables) -> TrajectoryPlan:
    """The plan of a noisy program and observables on all of its qubits; kept with the program."""
    key = (trajectory_plan, observables)
    if key not in noisy.cache:
        blocks = noisy.cache.setdefault(noisy_schedule, None) or noisy_schedule(noisy)
        noisy.cache[noisy_schedule] = blocks
        identity = "I" * observables.num_qubits
        constants = np.zeros(observables.num_outputs)
        if observables.sums is not None:
            for k, terms in enumerate(observables.sums):
                constants[k] = sum(c for s, c in terms if s == identity)
            rest = tuple(tuple(t for t in terms if t[0] != identity) for terms in observables.sums)
            observables = replace(observables, sums=rest)
        plan = Plan(noisy.program, observables, blocks.schedule, on_samples(blocks.schedule))
        noisy.cache[key] = TrajectoryPlan(plan, blocks, constants)
    found: TrajectoryPlan = noisy.cache[key]
    return found
