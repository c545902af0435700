import pickle

import numpy as np
import pytest
from qiskit import QuantumCircuit

from nisqkit.circuits import lower
from nisqkit.noise import Channel, Confusion, Device, NoiseModel, NoiseUse, NoisyProgram


@pytest.fixture
def noisy() -> NoisyProgram:
    circuit = QuantumCircuit(2)
    circuit.sx(0)
    circuit.cx(0, 1)
    circuit.rz(0.3, 1)
    model = NoiseModel.from_device(Device.load("fake_santiago"))
    return model.bind(lower(circuit), measured=[1, 0], physical=[3, 2])


def channels(noisy: NoisyProgram) -> dict[str, list[Channel]]:
    found: dict[str, list[Channel]] = {}
    for use in noisy.operations:
        if isinstance(use, NoiseUse):
            found.setdefault(use.cause, []).append(use.channel)
    return found


def test_causes(noisy: NoisyProgram) -> None:
    assert noisy.causes == (
        "sx 3",
        "T1 of 3",
        "T2 of 3",
        "cx 3-2",
        "T1 of 2",
        "T2 of 2",
        "readout of 2",
        "readout of 3",
    )
    assert repr(noisy) == "NoisyProgram(2 qubits, 3 gates, 8 channels, fake_santiago)"


def test_one_strength_for_all(noisy: NoisyProgram) -> None:
    half = noisy.at_strength(0.5)
    before, after = channels(noisy), channels(half)
    assert after == {cause: [c.scaled(0.5) for c in found] for cause, found in before.items()}
    assert half.readout == tuple(c.scaled(0.5) for c in noisy.readout)
    assert noisy.at_strength(0.5, readout=False).readout == noisy.readout
    assert noisy.at_strength(1.0) == noisy
    silent = noisy.at_strength(0.0)
    assert all(c.is_identity for found in channels(silent).values() for c in found)
    assert all(np.array_equal(c.array, np.eye(2)) for c in silent.readout)


def test_a_strength_for_each_cause(noisy: NoisyProgram) -> None:
    changed = noisy.at_strength({"T1 of 3": 2.0, "readout of 2": 0.0})
    before, after = channels(noisy), channels(changed)
    for cause, found in before.items():
        factor = 2.0 if cause == "T1 of 3" else 1.0
        assert after[cause] == [c.scaled(factor) for c in found]
    by_qubit = {c.qubits: c for c in changed.readout}
    assert np.array_equal(by_qubit[1,].array, np.eye(2))  # device qubit 2
    assert by_qubit[0,] in noisy.readout


def test_causes_that_are_not_there_are_refused(noisy: NoisyProgram) -> None:
    with pytest.raises(ValueError, match="unknown cause 'readout 2'; did you mean 'readout of 2'"):
        noisy.at_strength({"readout 2": 0.0})
    with pytest.raises(ValueError, match="readout of 2 at strength"):
        noisy.at_strength({"readout of 2": 1000.0})
    flips = NoiseModel("flips", {("x", ()): Channel.pauli({"X": 0.4})}, ["measure"])
    circuit = QuantumCircuit(1)
    circuit.x(0)
    with pytest.raises(ValueError, match=r"^x 0: Pauli channel at strength 3"):
        flips.bind(lower(circuit)).at_strength(3)


def test_noisy_programs_are_values(noisy: NoisyProgram) -> None:
    noisy.cache["something"] = 1
    again = pickle.loads(pickle.dumps(noisy))
    assert again == noisy and hash(again) == hash(noisy)
    assert again.cache == {}
    assert noisy != noisy.at_strength(0.5)
    assert noisy.at_strength(1.0).cache == {}


def test_correlated_readout_has_one_cause() -> None:
    pair = Confusion((5, 2), np.eye(4))
    model = NoiseModel("pair", {}, readout=[pair])
    noisy = model.bind(lower(QuantumCircuit(2)), physical=[2, 5])
    assert noisy.readout[0].qubits == (1, 0)
    assert noisy.causes == ("readout of 5-2",)
