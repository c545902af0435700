"""Which errors happen in which run: drawn before any state is computed.

A circuit has *places*, one per channel, at which something else than the most probable branch
happens with probability e. That nothing happens anywhere has the known probability ``p0 = prod(1 -
e)``: this pattern is computed once, and all runs are drawn from the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nisqkit.hardware_backends.sampling import generator

_STREAM = 2**63
"""Of the random numbers of trajectories, where `sampling.generator` takes a measurement group."""

_AHEAD = 4
"""How many errors' random numbers are made in one go: for few runs, a call is what costs."""

_FIVE, _SIX = np.uint64(5), np.uint64(6)
"""Bits that two words have beyond the 53 of a float64."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Errors of runs, in the order of ``sample * runs + run``, and then of places.

    Attributes:
        run: (E,): ``sample * runs + run`` of each error.
        place: (E,).
        branch: (E,): which branch it is, from 1.
    """

    run: NDArray[np.int64]
    place: NDArray[np.int64]
    branch: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Errors:
    """What can happen at the places of a circuit.

    Attributes:
        places: (J,): those at which something can.
        hazard: (J,): a run is without an error up to and including a place with probability
            ``exp(-hazard)``.
        chances: (J, B): of the branches 1, 2, ..., given that it is none before; the last is
            infinite, so that one is taken whatever the rounding.

    Example:
        >>> errors = Errors.make([np.array([0.5, 0.5]), np.array([0.8, 0.1, 0.1])])
        >>> round(errors.none, 12)
        0.4
        >>> drawn = errors.draw(batch=1, runs=3, seed=(0, 0, 0))
        >>> np.unique(drawn.run).tolist()  # every run has an error
        [0, 1, 2]
    """

    places: NDArray[np.int64]
    hazard: NDArray[np.float64]
    chances: NDArray[np.float64]

    @classmethod
    def make(cls, probabilities: Sequence[NDArray[np.float64]]) -> Errors:
        """From the probabilities of each place's branches, the most probable one first."""
        errors = np.array([p[1:].sum() for p in probabilities])
        (places,) = np.nonzero(errors)
        width = max((len(probabilities[j]) - 1 for j in places), default=1)
        chances = np.full((len(places), width), np.inf)
        for row, j in zip(chances, places, strict=True):
            given = np.cumsum(probabilities[j][1:]) / errors[j]
            row[: len(given) - 1] = given[:-1]
        return cls(places, -np.cumsum(np.log1p(-errors[places])), chances)

    @property
    def none(self) -> float:
        """The probability ``p0`` that nothing happens at any place."""
        return float(np.exp(-self.hazard[-1])) if len(self.places) else 1.0

    def draw(
        self, batch: int, runs: int, seed: tuple[int, int, int], among_all: bool = False
    ) -> Draws:
        """The errors of each run, given that it has one or more, or among all patterns.

        The first error of a run that has one is where ``exp(-hazard)`` passes a uniform number
        between 1 and ``p0``; each next one (among all patterns, the first one too) where it passes
        a uniform number between its present value and 0. So a run takes two random numbers per
        error, not one per place.

        Args:
            batch: Number of samples.
            runs: Number of runs of each sample.
            seed: As in `sampling.generator`.
            among_all: Whether a run may have no error; it then does with probability ``p0``.
        """
        nothing = np.zeros(0, np.int64)
        if not len(self.places) or not batch * runs:
            return Draws(nothing, nothing, nothing)
        key = int(generator(seed, 0, _STREAM).integers(2**64, dtype=np.uint64))
        active = np.arange(batch * runs)
        found: list[tuple[NDArray[np.int64], ...]] = []
        passed = np.zeros(len(active))
        row: NDArray[np.int64] = active
        ahead: tuple[NDArray[np.float64], ...] = ()
        while len(active):
            number = len(found) % _AHEAD
            if number == 0:
                numbers = np.arange(len(found), len(found) + _AHEAD)
                ahead = uniforms(key, active[:, None] // runs, active[:, None] % runs, numbers)
                row = np.arange(len(active))
            uniform, choice = (made[row, number] for made in ahead)
            if found or among_all:
                level = passed - np.log1p(-uniform)
                at = np.searchsorted(self.hazard, level, side="right")
                going = at < len(self.places)
                active, row, choice, at = active[going], row[going], choice[going], at[going]
            else:
                level = -np.log1p(np.expm1(-self.hazard[-1]) * uniform)
                at = np.searchsorted(self.hazard, level, side="right")
                at = np.minimum(at, len(self.places) - 1)  # rounding
            branch = 1 + (choice[:, None] >= self.chances[at]).sum(axis=1)
            found.append((active, self.places[at], branch))
            passed = self.hazard[at]
        run, place, branch = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((place, run))
        return Draws(run[order], place[order], branch[order])


def uniforms(
    key: int, sample: NDArray[np.int64], run: NDArray[np.int64], number: NDArray[np.int64] | int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two random numbers in [0, 1) for each pair (sample, run), the ``number``-th ones.

    They depend on nothing else, so that any sample and run can be drawn alone. Arguments are
    broadcast.
    """
    counter = np.broadcast_arrays(sample, run, number, 0)
    words = philox([c.astype(np.uint64) for c in counter], (key & 0xFFFFFFFF, key >> 32))
    bits = [w.astype(np.float64) for w in (words[0] >> _FIVE, words[1] >> _SIX)]
    more = [w.astype(np.float64) for w in (words[2] >> _FIVE, words[3] >> _SIX)]
    return (bits[0] * 2.0**26 + bits[1]) * 2.0**-53, (more[0] * 2.0**26 + more[1]) * 2.0**-53


def philox(counter: Sequence[NDArray[np.uint64]], key: tuple[int, int]) -> list[NDArray[np.uint64]]:
    """Philox4x32-10 (Salmon et al., SC 2011): four random words from four words of a counter.

    Words are 32 bits wide, in arrays of 64-bit integers that hold their products.
    """
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, b, c, d = counter
    k, m = key
    for _ in range(10):
        x, y = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b = (y >> half) ^ b ^ np.uint64(k), y & low
        c, d = (x >> half) ^ d ^ np.uint64(m), x & low
        k, m = (k + 0x9E3779B9) & 0xFFFFFFFF, (m + 0xBB67AE85) & 0xFFFFFFFF
    return [a, b, c, d]
