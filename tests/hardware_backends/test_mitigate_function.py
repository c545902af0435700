"""Mitigation of a function: the circuits that it gets, and what is made of its values."""

from __future__ import annotations

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import DensityMatrix, Operator, Pauli
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error

from nisqkit.hardware_backends import mitigate
from nisqkit.noise.mitigation import ZNE, PauliTwirling, ReadoutMitigation
from nisqkit.noise.mitigation.extrapolation import linear_weights


def circuit() -> QuantumCircuit:
    made = QuantumCircuit(2)
    for q, angle in ((0, 0.4), (1, 0.9)):
        made.sx(q)
        made.rz(angle, q)
        made.sx(q)
        made.cx(0, 1)
    return made


def aer(circuits: list[QuantumCircuit]) -> list[float]:
    """<ZI> with depolarising noise, by Aer."""
    noise = NoiseModel(basis_gates=["sx", "x", "rz", "cx"])
    noise.add_all_qubit_quantum_error(depolarizing_error(0.01, 1), ["sx", "x"])
    noise.add_all_qubit_quantum_error(depolarizing_error(0.03, 2), ["cx"])
    values = []
    for one in circuits:
        saved = one.copy()
        saved.save_density_matrix()  # type: ignore[attr-defined]
        state = AerSimulator(method="density_matrix", noise_model=noise).run(saved).result()
        values.append(state.data()["density_matrix"].expectation_value(Pauli("ZI")).real)
    return values


def test_it_comes_nearer_to_the_noise_free_value() -> None:
    exact = DensityMatrix(circuit()).expectation_value(Pauli("ZI")).real
    raw = abs(aer([circuit()])[0] - exact)
    assert abs(mitigate(aer, ZNE())(circuit()) - exact) < 0.1 * raw
    both = mitigate(aer, [PauliTwirling(4), ZNE(folding="gates")])
    assert abs(both(circuit()) - exact) < 0.5 * raw


def test_the_function_gets_all_circuits_in_one_call_and_they_are_the_same() -> None:
    calls: list[list[QuantumCircuit]] = []

    def remember(circuits: list[QuantumCircuit]) -> list[float]:
        calls.append(circuits)
        return [float(k) for k in range(len(circuits))]

    found = mitigate(remember, ZNE((1, 3, 5)))(circuit())
    assert found == pytest.approx(linear_weights((1, 3, 5), "richardson") @ [0, 1, 2])
    ((first, second, third),) = calls
    assert [c.count_ops()["cx"] for c in (first, second, third)] == [2, 6, 10]
    for folded in (second, third):
        assert Operator(folded).equiv(Operator(circuit()))
        assert not folded.parameters


def test_bad_input() -> None:
    free = QuantumCircuit(1)
    free.rx(Parameter("angle"), 0)
    with pytest.raises(ValueError, match=r"the circuit has free parameters \(angle\): bind them"):
        mitigate(aer, ZNE())(free)
    with pytest.raises(ValueError, match="this backend has none that is known"):
        mitigate(aer, ReadoutMitigation())(circuit())
    with pytest.raises(ValueError, match="returned 1 values for 3 circuits"):
        mitigate(lambda circuits: [0.0], ZNE())(circuit())
    measured = QuantumCircuit(1, 1)
    measured.measure(0, 0)
    measured.sx(0)
    with pytest.raises(ValueError, match="measure"):
        mitigate(aer, ZNE())(measured)
