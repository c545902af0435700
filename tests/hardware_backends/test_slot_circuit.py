"""Slot circuits: every gate is what the gate table says, in native gates too."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from qiskit.quantum_info import Operator, Statevector, random_unitary

from nisqkit.circuits import Program, amplitude, lower, u3_cu3
from nisqkit.circuits.angles import AngleMap
from nisqkit.circuits.gates import GATES, gate
from nisqkit.circuits.program import GateUse
from nisqkit.hardware_backends.slot_circuit import slot_angles, slot_circuit

NATIVE = {"rz", "sx", "x", "cx"}


def single(name: str, qubits: tuple[int, ...], matrix: NDArray | None = None) -> Program:
    entries = None if matrix is None else tuple(complex(v) for v in matrix.ravel())
    count = gate(name, entries).num_params
    use = GateUse(name, qubits, tuple(range(count)), entries)
    return Program(2, (use,), AngleMap.identity(count))


def unitary(program: Program, angles: NDArray, *, native: bool) -> NDArray:
    circuit, slots = slot_circuit(program, native=native)
    assert circuit.global_phase == 0
    if native:
        assert set(circuit.count_ops()) <= NATIVE
    return Operator(circuit.assign_parameters(dict(zip(slots, angles, strict=True)))).data


def embedded(matrix: NDArray, qubits: tuple[int, ...]) -> NDArray:
    """The matrix of a gate on these of two qubits, from its definition on basis states."""
    full = np.zeros((4, 4), dtype=complex)
    for column in range(4):
        inside = sum(((column >> q) & 1) << k for k, q in enumerate(qubits))
        rest = column & ~sum(1 << q for q in qubits)
        for row, value in enumerate(matrix[:, inside]):
            full[rest | sum(((row >> k) & 1) << q for k, q in enumerate(qubits)), column] = value
    return full


def same_up_to_phase(a: NDArray, b: NDArray) -> bool:
    return abs(abs(np.trace(a.conj().T @ b)) / len(a) - 1) < 1e-12


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("native", [False, True])
def test_every_gate_is_its_matrix_up_to_a_phase(name: str, native: bool) -> None:
    rng = np.random.default_rng(3)
    for qubits in ((0, 1), (1, 0)):
        on = qubits[: GATES[name].num_qubits]
        for _ in range(3):
            angles = rng.uniform(-7, 7, GATES[name].num_params)
            wanted = embedded(GATES[name].matrix(torch.tensor(angles)).numpy(), on)
            assert same_up_to_phase(unitary(single(name, on), angles, native=native), wanted)


@pytest.mark.parametrize("qubits", [(0,), (1,), (0, 1), (1, 0)])
@pytest.mark.parametrize("native", [False, True])
def test_fixed_unitaries(qubits: tuple[int, ...], native: bool) -> None:
    matrix = random_unitary(2 ** len(qubits), seed=5).data
    found = unitary(single("unitary", qubits, matrix), np.zeros(0), native=native)
    assert same_up_to_phase(found, embedded(matrix, qubits))


def test_native_angles_are_affine_in_the_slots() -> None:
    program = lower(u3_cu3(3, blocks=2), inputs=None)
    circuit, slots = slot_circuit(program, native=True)
    assert lower(circuit, inputs=slots).angle_map.nonlinear is None


def test_keep_leaves_the_named_gates_alone() -> None:
    program = lower(u3_cu3(2, blocks=1))
    assert set(slot_circuit(program, keep={"u3"})[0].count_ops()) == {"u3", "rz", "sx", "cx"}
    assert set(slot_circuit(program)[0].count_ops()) == {"u3", "cu3"}


def test_amplitudes_are_prepared_by_gates() -> None:
    program = lower(amplitude(7), inputs="x")
    x = torch.tensor([[0.3, -1.0, 0.0, 2.0, -0.5, 0.1, 0.7]], dtype=torch.float64)
    circuit, slots = slot_circuit(program, native=True)
    values = slot_angles(program, x, x.new_zeros(0))
    assert values.shape == (1, len(slots))
    bound = {
        p: v for p, v in zip(slots, values[0].tolist(), strict=True) if p in circuit.parameters
    }
    wanted = np.append(x[0] / x.norm(), 0)
    overlap = np.vdot(wanted, Statevector(circuit.assign_parameters(bound)).data)
    assert abs(overlap) == pytest.approx(1, abs=1e-12)
