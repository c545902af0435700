import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.quantum_info import DensityMatrix, SparsePauliOp, Statevector, random_density_matrix
from qiskit_aer import AerSimulator

from nisqkit.circuits import Observables, lower
from nisqkit.noise import Confusion, NoiseModel, NoisyProgram, confuse, through_readout

RNG = np.random.default_rng(4)


def random_confusion(qubits: tuple[int, ...], seed: int) -> Confusion:
    size = 2 ** len(qubits)
    noise = np.random.default_rng(seed).dirichlet(np.ones(size), size).T
    matrix = 0.8 * np.eye(size) + 0.2 * noise
    return Confusion(qubits, tuple(map(tuple, matrix)))


def bound(width: int, measured: list[int], readout: list[Confusion]) -> NoisyProgram:
    model = NoiseModel("readout", {}, ["measure"], readout)
    return model.bind(lower(QuantumCircuit(width)), measured=measured)


def read_one_by_one(
    probabilities: np.ndarray, width: int, measured: list[int], readout: list[Confusion]
) -> np.ndarray:
    """What is read, from every pair of what is there and what is read."""
    found = np.zeros(2 ** len(measured))
    for there, p in enumerate(probabilities):
        for read in range(2**width):
            chance = 1.0
            for q in range(width):
                if not any(q in c.qubits for c in readout):
                    chance *= float((there >> q & 1) == (read >> q & 1))
            for c in readout:
                prepared = sum((there >> q & 1) << k for k, q in enumerate(c.qubits))
                seen = sum((read >> q & 1) << k for k, q in enumerate(c.qubits))
                chance *= c.matrix[seen][prepared]
            found[sum((read >> q & 1) << k for k, q in enumerate(measured))] += p * chance
    return found


CASES = [
    (2, [0, 1], [random_confusion((0,), 1), random_confusion((1,), 2)]),
    (3, [2, 0, 1], [random_confusion((1,), 3)]),
    (3, [2, 0], [random_confusion((0,), 4), random_confusion((2,), 5)]),
    (3, [1, 2, 0], [random_confusion((2, 0), 6), random_confusion((1,), 7)]),
    (4, [3, 0, 2], [random_confusion((0, 3, 2), 8)]),
]


@pytest.mark.parametrize(("width", "measured", "readout"), CASES)
def test_probabilities_are_those_of_reading_one_by_one(
    width: int, measured: list[int], readout: list[Confusion]
) -> None:
    noisy = bound(width, measured, readout)
    table = RNG.dirichlet(np.ones(2**width), 3)
    found = confuse(torch.tensor(table), noisy)
    wanted = [read_one_by_one(row, width, measured, readout) for row in table]
    assert np.allclose(found, wanted, atol=1e-14)
    assert found.dtype == torch.float64
    assert confuse(torch.tensor(table, dtype=torch.float32), noisy).dtype == torch.float32


@pytest.mark.parametrize(("width", "measured", "readout"), CASES)
def test_observables_are_those_of_rotated_and_read_circuits(
    width: int, measured: list[int], readout: list[Confusion]
) -> None:
    noisy = bound(width, measured, readout)
    state = random_density_matrix(2**width, seed=width)
    strings = ["".join(RNG.choice(list("IXYZ"), len(measured))) for _ in range(6)]
    strings += ["Z" * len(measured), "I" * len(measured), "I" * (len(measured) - 1) + "Z"]
    seen = through_readout(Observables.parse(strings, len(measured)), noisy)
    assert seen.num_qubits == width
    assert seen.sums is not None
    for string, terms in zip(strings, seen.sums, strict=True):
        turns = QuantumCircuit(width)
        for k, letter in enumerate(reversed(string)):
            if letter == "Y":
                turns.sdg(measured[k])
            if letter in "XY":
                turns.h(measured[k])
        there = DensityMatrix(state).evolve(turns).probabilities()
        read = read_one_by_one(there, width, measured, readout)
        signs = [
            (-1) ** sum(i >> k & 1 for k, letter in enumerate(reversed(string)) if letter != "I")
            for i in range(len(read))
        ]
        value = state.expectation_value(SparsePauliOp.from_list(list(terms))).real
        assert value == pytest.approx(read @ signs, abs=1e-13)


def test_sums_are_merged() -> None:
    flips = Confusion.flips(0, read_1_after_0=0.1, read_0_after_1=0.3)
    noisy = bound(2, [1, 0], [flips])  # logical qubit 1 is on qubit 0
    given = Observables.parse([SparsePauliOp(["ZI", "IZ", "XX"], [2.0, 1.0, 0.5])], 2)
    sums = through_readout(given, noisy).sums
    assert sums is not None
    assert dict(sums[0]) == pytest.approx(
        {"II": 2 * 0.2, "IZ": 2 * 0.6, "ZI": 1.0, "XI": 0.5 * 0.2, "XX": 0.5 * 0.6}
    )


def test_without_errors_observables_only_move() -> None:
    noisy = bound(3, [2, 0], [random_confusion((2,), 3), random_confusion((0,), 3)])
    seen = through_readout(Observables.parse(["XZ"], 2), noisy.at_strength(0))
    assert seen.sums == ((("ZIX", 1.0),),)
    assert through_readout(Observables(2, None), noisy) == Observables(3, None)


def test_a_useless_readout_leaves_zero() -> None:
    noisy = bound(1, [0], [Confusion.flips(0, read_1_after_0=0.5, read_0_after_1=0.5)])
    assert through_readout(Observables.parse("X", 1), noisy).sums == ((("I", 0.0),),)


def test_probabilities_have_gradients() -> None:
    width, measured, readout = CASES[3]
    noisy = bound(width, measured, readout)
    table = torch.rand(2, 2**width, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: confuse(t, noisy), table)


def test_aer_reads_the_same() -> None:
    readout = [random_confusion((q,), 6 + q) for q in range(3)]
    circuit = QuantumCircuit(3)
    circuit.ry(0.7, 0)
    circuit.ry(1.1, 1)
    circuit.cx(0, 2)
    there = Statevector(circuit).probabilities()
    measured = circuit.copy()
    measured.measure_all()
    model = NoiseModel("readout", {}, ["ry", "cx", "measure"], readout)
    shots = 200_000
    counts = (
        AerSimulator(noise_model=model.to_aer(), seed_simulator=3)
        .run(measured, shots=shots)
        .result()
        .get_counts()
    )
    noisy = model.bind(lower(circuit), measured=[0, 1, 2])
    wanted = confuse(torch.tensor(there[None]), noisy)[0].numpy()
    found = np.array([counts.get(f"{i:03b}", 0) for i in range(8)]) / shots
    sigma = np.sqrt(wanted * (1 - wanted) / shots)
    assert (np.abs(found - wanted) < 4 * sigma).all()


def test_bad_widths() -> None:
    noisy = bound(2, [1], [])
    with pytest.raises(ValueError, match="observables are on 2 qubits, and the program measures 1"):
        through_readout(Observables.parse("ZZ", 2), noisy)
    with pytest.raises(
        ValueError, match="probabilities have 2 columns: give all 4 of the 2 qubits"
    ):
        confuse(torch.ones(1, 2), noisy)


def test_an_empty_batch_stays_empty() -> None:
    noisy = bound(3, [2, 0], [random_confusion((0, 2), 1)])
    assert confuse(torch.zeros(0, 8), noisy).shape == (0, 4)
