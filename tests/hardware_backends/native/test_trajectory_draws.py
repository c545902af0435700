"""Which errors happen: exact probabilities, from a generator that is keyed and counter-based."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from nisqkit.hardware_backends.native.trajectory_draws import Draws, Errors, philox, uniforms

PLACES = [
    np.array([0.8, 0.15, 0.05]),
    np.array([1.0]),  # nothing can happen
    np.array([0.9, 0.1]),
    np.array([0.7, 0.1, 0.0, 0.2]),
]


def patterns(drawn: Draws, count: int, places: int) -> NDArray[np.int64]:
    """Branch of every run and place."""
    found = np.zeros((count, places), np.int64)
    found[drawn.run, drawn.place] = drawn.branch
    return found


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # known answers of the Random123 library
        ("00000000 00000000 00000000 00000000", "00000000 00000000",
         "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
         "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)  # fmt: skip
def test_philox_has_the_published_answers(counter: str, key: str, words: str) -> None:
    k, m = (int(w, 16) for w in key.split())
    found = philox([np.array([int(w, 16)], np.uint64) for w in counter.split()], (k, m))
    assert [f"{int(w[0]):08x}" for w in found] == words.split()


def test_numbers_are_uniform_and_independent_of_each_other() -> None:
    sample, run = (x.ravel() for x in np.mgrid[:100, :100])
    numbers = [x for k in range(2) for x in uniforms(2**64 - 3, sample, run, k)]
    for x in numbers:
        assert x.min() >= 0 and x.max() < 1
        counts, _ = np.histogram(x, bins=20, range=(0, 1))
        chi2 = ((counts - 500) ** 2 / 500).sum()
        assert chi2 < 19 + 4 * np.sqrt(2 * 19)  # 4 sigma
    correlations = np.corrcoef(numbers)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(10_000)
    assert np.unique(numbers[0]).size == 10_000


def test_every_pattern_has_its_probability_given_an_error() -> None:
    errors = Errors.make(PLACES)
    assert_allclose(errors.none, 0.8 * 0.9 * 0.7)
    batch, runs = 40, 1000
    found = patterns(errors.draw(batch, runs, (1, 2, 3)), batch * runs, len(PLACES))
    assert found.any(axis=1).all()
    seen = {tuple(p): n for p, n in zip(*np.unique(found, axis=0, return_counts=True), strict=True)}
    for pattern in itertools.product(*(range(len(p)) for p in PLACES)):
        chance = np.prod([p[k] for p, k in zip(PLACES, pattern, strict=True)])
        chance = chance / (1 - errors.none) if any(pattern) else 0.0
        expected, count = batch * runs * chance, seen.get(pattern, 0)
        assert abs(count - expected) <= 4 * np.sqrt(expected * (1 - chance)), pattern


def test_every_pattern_has_its_probability_among_all() -> None:
    errors, batch, runs = Errors.make(PLACES), 1000, 40
    found = patterns(errors.draw(batch, runs, (1, 2, 3), among_all=True), batch * runs, len(PLACES))
    seen = {tuple(p): n for p, n in zip(*np.unique(found, axis=0, return_counts=True), strict=True)}
    for pattern in itertools.product(*(range(len(p)) for p in PLACES)):
        chance = np.prod([p[k] for p, k in zip(PLACES, pattern, strict=True)])
        expected, count = batch * runs * chance, seen.get(pattern, 0)
        assert abs(count - expected) <= 4 * np.sqrt(expected * (1 - chance)), pattern


def test_rare_errors_do_not_take_many_runs() -> None:
    errors = Errors.make([np.array([1 - 1e-9, 1e-9])] * 50)
    drawn = errors.draw(1, 200, (0, 0, 0))
    assert drawn.run.tolist() == list(range(200))  # one error in each
    assert len(set(drawn.place)) > 40


def test_certain_errors_and_many_places() -> None:
    drawn = Errors.make([np.array([0.5, 0.5])] * 300).draw(2, 20, (0, 0, 0))
    count = np.bincount(drawn.run)
    assert abs(count.mean() - 150) < 4 * np.sqrt(300 / 4 / 40)


def test_draws_depend_on_seed_sample_and_run_alone() -> None:
    errors = Errors.make(PLACES)
    full = patterns(errors.draw(7, 30, (5, 6, 7)), 210, 4).reshape(7, 30, 4)
    part = patterns(errors.draw(3, 11, (5, 6, 7)), 33, 4).reshape(3, 11, 4)
    assert (full[:3, :11] == part).all()
    assert (full[0] != full[1]).any() and (full[:, 0] != full[:, 1]).any()
    every = patterns(errors.draw(7, 30, (5, 6, 7), among_all=True), 210, 4).reshape(7, 30, 4)
    some = patterns(errors.draw(3, 11, (5, 6, 7), among_all=True), 33, 4).reshape(3, 11, 4)
    assert (every[:3, :11] == some).all()
    for seed in ((5, 6, 8), (5, 7, 7), (6, 6, 7), (2**63, 6, 7)):
        assert (patterns(errors.draw(7, 30, seed), 210, 4).reshape(7, 30, 4) != full).any(), seed


def test_errors_come_in_order() -> None:
    drawn = Errors.make(PLACES).draw(5, 50, (0, 0, 0))
    assert (np.diff(drawn.run * 4 + drawn.place) > 0).all()


def test_without_noise_or_runs_nothing_is_drawn() -> None:
    none = Errors.make([np.array([1.0])])
    assert none.none == 1.0
    assert len(none.draw(3, 4, (0, 0, 0)).run) == 0
    assert Errors.make([]).none == 1.0
    assert len(Errors.make([]).draw(3, 4, (0, 0, 0)).run) == 0
    assert len(Errors.make(PLACES).draw(0, 4, (0, 0, 0)).run) == 0
    rare = Errors.make([np.array([1 - 1e-9, 1e-9])])
    assert len(rare.draw(3, 4, (0, 0, 0), among_all=True).run) == 0
    assert len(none.draw(3, 4, (0, 0, 0), among_all=True).run) == 0
