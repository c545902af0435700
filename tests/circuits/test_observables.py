"""Observables: what is read from the user's list, as matrices of Qiskit, and measurement groups."""

import copy
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit.quantum_info import Pauli, SparsePauliOp, random_pauli_list

from nisqkit.circuits import Observables
from nisqkit.circuits.observables import ObservableLike


def matrices(observables: Observables) -> NDArray[np.complex128]:
    """One matrix per output, from the coefficients and Qiskit's matrices of the strings."""
    paulis = [Pauli(string).to_matrix() for string in observables.strings]
    sums = np.tensordot(observables.coefficients, np.array(paulis), 1)
    return np.asarray(sums, dtype=np.complex128)


def test_default_is_z_on_each_qubit_in_order() -> None:
    observables = Observables.parse(None, 3)
    diagonals = matrices(observables).diagonal(axis1=1, axis2=2)
    for q in range(3):
        bits = np.arange(8) >> q & 1
        assert_allclose(diagonals[q], 1 - 2 * bits)


@pytest.mark.parametrize(
    "given", ["XYZ", Pauli("XYZ"), Pauli("-XYZ"), SparsePauliOp(["XYZ", "IIY"], [0.5, -2])], ids=str
)
def test_one_observable_is_a_list_of_one(given: ObservableLike) -> None:
    observables = Observables.parse(given, 3)
    expected = SparsePauliOp(given).to_matrix()
    assert observables.num_outputs == 1
    assert_allclose(matrices(observables)[0], expected)


def test_sums_keep_their_matrices() -> None:
    """Also with terms that occur twice in a sum or in several sums."""
    rng = np.random.default_rng(0)
    given: list[SparsePauliOp] = []
    for seed in range(5):
        labels = random_pauli_list(3, 4, seed=seed, phase=False).to_labels()
        given.append(SparsePauliOp([*labels, labels[0], "XYZ"], rng.normal(size=6)))
    observables = Observables.parse(given, 3)
    assert len(observables.strings) == len(set(observables.strings))
    assert observables.coefficients.shape == (5, len(observables.strings))
    assert_allclose(matrices(observables), [op.to_matrix() for op in given], atol=1e-14)


def test_a_string_that_is_listed_twice_counts_twice() -> None:
    observables = Observables(1, ((("Z", 1.0), ("X", 2.0), ("Z", 0.5)),))
    assert observables.strings == ("Z", "X")
    assert observables.coefficients.tolist() == [[1.5, 2.0]]


def test_small_coefficients_are_kept() -> None:
    observables = Observables.parse(SparsePauliOp(["ZZ", "XX"], [1e-9, 3e-15]), 2)
    assert observables.sums == ((("ZZ", 1e-9), ("XX", 3e-15)),)


def test_a_sum_that_cancels_is_zero() -> None:
    observables = Observables.parse([SparsePauliOp(["ZZ", "ZZ"], [1, -1]), "XI"], 2)
    assert_allclose(matrices(observables)[0], np.zeros((4, 4)))


def test_probabilities() -> None:
    observables = Observables.parse("probs", 3)
    assert observables.sums is None
    assert observables.num_outputs == 8
    assert observables.strings == observables.groups == ()


def test_commuting_strings_share_a_group() -> None:
    assert Observables.parse(["ZI", "IZ", "ZZ", "II"], 2).groups == (("ZZ", (0, 1, 2, 3)),)
    assert Observables.parse(["XX", "YY", "ZZ", "IZ"], 2).groups == (
        ("XX", (0,)),
        ("YY", (1,)),
        ("ZZ", (2, 3)),
    )
    # XX and ZZ commute, but no product of one-qubit bases measures both
    assert len(Observables.parse(["IX", "ZI", "ZX", "XX"], 2).groups) == 2


@pytest.mark.parametrize("seed", range(4))
def test_groups_cover_every_string_once(seed: int) -> None:
    labels = random_pauli_list(4, 30, seed=seed, phase=False).to_labels()
    observables = Observables.parse(labels, 4)
    members = [m for _, group in observables.groups for m in group]
    assert sorted(members) == list(range(len(observables.strings)))
    assert len(observables.groups) < len(observables.strings)
    for basis, group in observables.groups:
        for m in group:
            pairs = zip(basis, observables.strings[m], strict=True)
            assert all(own in ("I", letter) for letter, own in pairs)


def test_equal_observables_are_one_key() -> None:
    one = Observables.parse(["XY", SparsePauliOp("ZI", 0.5)], 2)
    assert one.coefficients.shape == (2, 2)
    for other in (
        Observables.parse([Pauli("XY"), SparsePauliOp("ZI", 0.5)], 2),
        copy.deepcopy(one),
        pickle.loads(pickle.dumps(one)),
    ):
        assert one == other
        assert hash(one) == hash(other)
    assert one != Observables.parse(["XY", SparsePauliOp("ZI", 0.25)], 2)
    assert Observables.parse("probs", 2) != Observables.parse(None, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "observables is empty: give at least one, or None for Z on each qubit"),
        ("", "'' is not a Pauli string"),
        ("xz", "'xz' is not a Pauli string: use the letters I, X, Y, Z, or 'probs'"),
        (["ZZ", "probs"], "'probs' is not a Pauli string"),
        ("-ZZ", "'-ZZ' is not a Pauli string"),
        ("Z", "'Z' acts on 1 qubits, but the circuit has 2"),
        (["ZZ", Pauli("XYZ")], "'XYZ' acts on 3 qubits, but the circuit has 2"),
        (SparsePauliOp(["ZZ"], [1j]), r"not Hermitian: 'ZZ' has the coefficient 1j"),
        (Pauli("iXX"), "not Hermitian: 'XX' has the coefficient 1j; coefficients must be real"),
        (SparsePauliOp(["XX", "ZZ"], [1e9, 1e-3j]), "not Hermitian: 'ZZ'"),
    ],
    ids=str,
)
def test_wrong_values(given: Sequence[ObservableLike], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Observables.parse(given, 2)


@pytest.mark.parametrize("given", [3, [3], [["ZZ"]], np.eye(4), [None]], ids=str)
def test_wrong_types(given: list[str]) -> None:
    with pytest.raises(TypeError, match="Pauli string, a Pauli or a SparsePauliOp, not "):
        Observables.parse(given, 2)


def test_rounding_in_a_coefficient_is_not_an_error() -> None:
    op = SparsePauliOp(["XX", "ZZ"], [1.5 + 1e-17j, -2.0])
    assert Observables.parse(op, 2).sums == ((("XX", 1.5), ("ZZ", -2.0)),)
