"""Shots: bases, unbiased means, calibrated standard errors, and keys that decide every draw."""

import tracemalloc

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit.library import Initialize
from qiskit.quantum_info import Pauli, SparsePauliOp, Statevector, random_statevector

from nisqkit.circuits import Observables, Program, lower
from nisqkit.hardware_backends.reference import final_state
from nisqkit.hardware_backends.sampling import (
    draw,
    estimate,
    generator,
    in_basis,
    measurement_bases,
    scores,
    signs,
)

SUMS = [
    SparsePauliOp(["XYZ", "ZIX", "IIZ"], [0.7, -1.2, 0.4]),
    SparsePauliOp(["YYI", "IZI", "III"], [1.0, 0.5, 0.3]),
    SparsePauliOp(["IIX"], [2.0]),
]
OBSERVABLES = Observables.parse(SUMS, 3)
STATE = random_statevector(8, seed=11)


def prepared() -> Program:
    """A program of fixed gates that prepares `STATE`."""
    circuit = QuantumCircuit(3)
    circuit.append(Initialize(STATE).gates_to_uncompute().inverse(), [0, 1, 2])
    return lower(circuit)


def probabilities(program: Program) -> NDArray[np.float64]:
    """Shape ``(1, 2**n)``."""
    empty = torch.zeros(1, 0, dtype=torch.float64)
    state = final_state(program, program.angles(empty, empty[0]))
    return (state.flatten(1).abs() ** 2).numpy()


def in_all_bases(observables: Observables) -> list[NDArray[np.float64]]:
    return [probabilities(in_basis(prepared(), b)) for b in measurement_bases(observables)]


@pytest.mark.parametrize("string", ["X", "Y", "Z", "XYZ", "YXI", "IIY", "ZYX", "III"])
def test_a_string_is_the_parity_in_its_own_basis(string: str) -> None:
    string = string.rjust(3, "I")
    rotated = probabilities(in_basis(prepared(), string))
    expected = STATE.expectation_value(Pauli(string)).real
    assert_allclose(rotated @ signs([string])[0], [expected], atol=1e-12)


def test_signs_are_the_diagonal_of_z_strings() -> None:
    strings = ["IZZ", "ZII", "XIY"]
    diagonals = [
        Pauli(s.replace("X", "Z").replace("Y", "Z")).to_matrix().diagonal() for s in strings
    ]
    assert_allclose(signs(strings), np.real(diagonals))


def test_scores_and_probabilities_make_the_expectation_values() -> None:
    pairs = zip(in_all_bases(OBSERVABLES), scores(OBSERVABLES), strict=True)
    values = sum(rows @ score.T for rows, score in pairs)
    assert_allclose(values, [[STATE.expectation_value(op).real for op in SUMS]], atol=1e-12)


def test_bases_cover_every_string() -> None:
    assert measurement_bases(Observables.parse("probs", 2)) == ["ZZ"]
    assert measurement_bases(Observables.parse(["XI", "IY", "ZZ"], 2)) == ["XY", "ZZ"]
    (only,) = measurement_bases(Observables.parse("II", 2))
    assert only == "II"  # I counts as Z


@pytest.mark.parametrize("shots", [25, 400])
def test_means_are_unbiased_and_errors_calibrated(shots: int) -> None:
    """4000 samples of one state: their mean, and their scatter against the reported errors."""
    repeats = 4000
    rows = [np.repeat(p, repeats, axis=0) for p in in_all_bases(OBSERVABLES)]
    result = estimate(draw(rows, shots, (5, shots, 0)), OBSERVABLES, torch.float64)
    assert result.std is not None
    values, std = result.values.numpy(), result.std.numpy()
    exact = [STATE.expectation_value(op).real for op in SUMS]
    scatter = values.std(axis=0, ddof=1)
    assert np.all(np.abs(values.mean(axis=0) - exact) < 4 * scatter / np.sqrt(repeats))
    # the relative error of a variance from N samples is sqrt(2 / N) = 2.2 %, here four of them
    assert_allclose((std**2).mean(axis=0) / scatter**2, 1, atol=4 * np.sqrt(2 / repeats))


def test_errors_know_covariances() -> None:
    """In a Bell state Z0 and Z1 agree: their sum scatters twice as much as one, not sqrt(2)."""
    observables = Observables.parse(["IZ", "ZI", SparsePauliOp(["IZ", "ZI"], [1, 1]), "ZZ"], 2)
    result = estimate([np.array([[30, 0, 0, 70]])], observables, torch.float64)
    assert result.std is not None
    one = np.sqrt((1 - 0.4**2) / 99)
    assert_allclose(result.values, [[-0.4, -0.4, -0.8, 1]])
    assert_allclose(result.std, [[one, one, 2 * one, 0]], atol=1e-12)


def test_errors_of_different_groups_add_in_quadrature() -> None:
    observables = Observables.parse(SparsePauliOp(["X", "Z"], [3, 4]), 1)
    counts = [np.array([[50, 50]]), np.array([[50, 50]])]
    result = estimate(counts, observables, torch.float64)
    assert result.std is not None
    assert_allclose(result.values, [[0]])
    assert_allclose(result.std, [[5 / np.sqrt(99)]])


def test_errors_of_probabilities_are_binomial() -> None:
    result = estimate([np.array([[10, 0, 30, 60]])], Observables.parse("probs", 2), torch.float32)
    assert result.std is not None
    p = np.array([[0.1, 0, 0.3, 0.6]])
    assert result.values.dtype == result.std.dtype == torch.float32
    assert_allclose(result.values, p, rtol=1e-6)
    assert_allclose(result.std, np.sqrt(p * (1 - p) / 99), rtol=1e-6)


def test_one_shot_is_one_bitstring() -> None:
    observables = Observables.parse(None, 3)
    counts = draw([np.full((200, 8), 1 / 8)], 1, (0, 0, 0))
    assert np.all(counts[0].sum(axis=1) == 1)
    result = estimate(counts, observables, torch.float64)
    assert set(result.values.flatten().tolist()) == {-1, 1}


def test_counts_follow_the_probabilities() -> None:
    """Chi-square of a million shots."""
    p = STATE.probabilities()
    (counts,) = draw([p[None]], 1_000_000, (1, 0, 0))
    assert counts.sum() == 1_000_000
    chi_square = ((counts[0] - 1e6 * p) ** 2 / (1e6 * p)).sum()
    assert chi_square < 24.3  # 7 degrees of freedom: 0.1 %


def test_rounded_probabilities_are_normalised() -> None:
    rows = np.array([[0.5000001, -1e-9, 0.5000001, 0.0]])
    (counts,) = draw([rows], 1000, (0, 0, 0))
    assert counts.sum() == 1000
    assert counts[0, 1] == counts[0, 3] == 0


def test_a_sample_does_not_depend_on_its_batch() -> None:
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(8), size=(2, 5))
    seed = (3, 1, 4)
    together = draw(list(rows), 100, seed)
    for size in (1, 3):
        part = draw(list(rows[:, :size]), 100, seed)
        for all_counts, some_counts in zip(together, part, strict=True):
            assert np.array_equal(all_counts[:size], some_counts)
    observables = Observables.parse([SparsePauliOp(["XZZ", "ZZI"], [0.3, 0.7]), "XIZ"], 3)
    whole = estimate(together, observables, torch.float64)
    first = estimate([c[:1] for c in together], observables, torch.float64)
    assert whole.std is not None and first.std is not None
    assert torch.equal(whole.values[:1], first.values)
    assert torch.equal(whole.std[:1], first.std)


def test_every_part_of_the_key_counts() -> None:
    keys = [((0, 0, 0), 0, 0), ((1, 0, 0), 0, 0), ((0, 1, 0), 0, 0), ((0, 0, 1), 0, 0)]
    keys += [((0, 0, 0), 1, 0), ((0, 0, 0), 0, 1), ((-1, 0, 0), 0, 0), ((2**63, 0, 0), 0, 0)]
    streams = [tuple(generator(*key).integers(2**62, size=4).tolist()) for key in keys]
    assert len(set(streams)) == len(keys)
    assert streams == [tuple(generator(*key).integers(2**62, size=4).tolist()) for key in keys]


def test_streams_of_neighbours_are_independent() -> None:
    """Correlations between samples, groups, steps and tasks vanish: 1 / sqrt(N) = 0.01."""
    size = 10_000
    base = generator((7, 7, 7), 7, 7).normal(size=size)
    keys = [((8, 7, 7), 7, 7), ((7, 8, 7), 7, 7), ((7, 7, 8), 7, 7), ((7, 7, 7), 8, 7)]
    for key in [*keys, ((7, 7, 7), 7, 8)]:
        other = generator(*key).normal(size=size)
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.045


def test_samples_of_equal_states_differ() -> None:
    (counts,) = draw([np.full((50, 4), 0.25)], 1000, (0, 0, 0))
    assert len({tuple(row) for row in counts.tolist()}) == 50


@pytest.mark.parametrize("given", ["probs", "XZ"])
def test_empty_batch(given: str) -> None:
    observables = Observables.parse(given, 2)
    counts = draw([np.zeros((0, 4))], 10, (0, 0, 0))
    result = estimate(counts, observables, torch.float32)
    assert result.std is not None
    assert result.values.shape == result.std.shape == (0, observables.num_outputs)


def test_probabilities_of_many_qubits_need_no_square_matrix() -> None:
    counts = np.full((1, 2**12), 3)
    peaks = []
    for _ in range(3):  # other threads of the process may allocate meanwhile
        tracemalloc.start()
        estimate([counts], Observables.parse("probs", 12), torch.float32)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert min(peaks) < 2**21  # a 4096 x 4096 identity takes 2**27 bytes


def test_expectation_values_from_shots_of_a_whole_circuit() -> None:
    """A GHZ state: XXX is 1 and ZZI is 1 in every single shot, IIZ is as often 1 as -1."""
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    program, observables = lower(circuit), Observables.parse(["XXX", "ZZI", "IIZ", "YYX"], 3)
    rows = [probabilities(in_basis(program, basis)) for basis in measurement_bases(observables)]
    result = estimate(draw(rows, 400, (2, 0, 0)), observables, torch.float64)
    right = [Statevector(circuit).expectation_value(Pauli(s)).real for s in ("XXX", "ZZI", "YYX")]
    assert result.std is not None
    assert_allclose(result.values[0, [0, 1, 3]], right, atol=1e-12)
    assert_allclose(result.std[0], [0, 0, 0.05, 0], atol=5e-4)
    assert abs(float(result.values[0, 2])) < 0.25
