"""Schedules of noisy programs against Qiskit's channels and the matrices that they stand for."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import PTM, Operator, random_unitary

from nisqkit.circuits import lower
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.native.density_schedule import (
    MOVE,
    ONE,
    TWO,
    DensityBlock,
    density_schedule,
    move_of,
    move_slopes,
    transfer_matrix,
)
from nisqkit.noise import Channel, NoiseModel, NoiseUse, NoisyProgram
from nisqkit.noise.pauli_basis import FloatArray

NO_MODEL = NoiseModel("none", {})


def noisy(program: Program, *channels: tuple[int, Channel, tuple[int, ...]]) -> NoisyProgram:
    """Channels after the gates with the given numbers; their causes are ``0, 1, ...``."""
    operations: list[GateUse | NoiseUse] = []
    for k, use in enumerate(program.gates):
        operations.append(use)
        operations += [
            NoiseUse(channel, qubits, str(cause))
            for cause, (after, channel, qubits) in enumerate(channels)
            if after == k
        ]
    every = tuple(range(program.num_qubits))
    return NoisyProgram(program, tuple(operations), (), every, every, NO_MODEL)


def matrix_of(block: DensityBlock, angles: dict[int, float]) -> FloatArray:
    """The block's matrix by the definition of its factors."""
    total = np.eye(len(block.factors[0].coefficients[0]))
    for factor in block.factors:
        a = factor.frequency * angles.get(factor.slot, 0.0)
        waves = [1, np.cos(a), np.sin(a), np.cos(2 * a), np.sin(2 * a)]
        total = np.tensordot(waves[: len(factor.coefficients)], factor.coefficients, 1) @ total
    return total


@pytest.mark.parametrize("num_qubits", [1, 2])
def test_transfer_matrix_is_qiskits(num_qubits: int) -> None:
    unitary = random_unitary(2**num_qubits, seed=5)
    assert_allclose(transfer_matrix(unitary.data), PTM(unitary).data.real, atol=1e-14)


@pytest.mark.parametrize("name", sorted(GATES))
def test_every_gate(name: str) -> None:
    gate = GATES[name]
    slots = tuple(range(gate.num_params))
    angles = torch.tensor([0.7, -1.9, 2.4, 0.3], dtype=torch.float64)[: gate.num_params]
    circuit = QuantumCircuit(2)
    for p in ParameterVector("w", max(1, gate.num_params)):
        circuit.rx(p, 0)
    use = GateUse(name, tuple(range(gate.num_qubits)), slots)
    program = Program(2, (use,), lower(circuit).angle_map)
    expected = transfer_matrix(gate.matrix(angles).numpy())
    blocks = density_schedule(noisy(program)).blocks
    if name == "id":
        assert not blocks
        return
    (block,) = blocks
    assert_allclose(matrix_of(block, dict(enumerate(angles.tolist()))), expected, atol=1e-14)
    signed_permutation = (np.abs(expected) > 0.5).sum(axis=1).max() == 1 and not slots
    clifford = signed_permutation and np.allclose(np.abs(expected).max(axis=1), 1)
    kind = ONE if gate.num_qubits == 1 else MOVE if clifford else TWO
    assert block.kind == kind
    if kind == MOVE:
        sources, scales = move_of(block)
        moved = np.zeros((16, 16))
        moved[range(16), sources] = scales
        assert_allclose(moved, expected, atol=1e-14)


def test_what_is_fused() -> None:
    circuit = QuantumCircuit(2)
    w = ParameterVector("w", 2)
    circuit.rz(w[0], 0)
    circuit.sx(0)
    circuit.cx(0, 1)
    circuit.rz(w[1], 1)
    circuit.cx(0, 1)
    decay = Channel.relaxation(0.1)
    found = density_schedule(
        noisy(
            lower(circuit),
            (1, decay, (0,)),
            (2, Channel.depolarizing(0.1, 2), (0, 1)),
            (2, decay, (1,)),
            (4, Channel.pauli({"XZ": 0.1}), (1, 0)),
        )
    )
    # a run with its relaxation; CX and depolarising; relaxation and rz; CX and a Pauli channel
    assert [b.kind for b in found.blocks] == [ONE, MOVE, ONE, MOVE]
    assert [b.qubits for b in found.blocks] == [(0,), (0, 1), (1,), (0, 1)]
    assert [b.slots for b in found.blocks] == [{0}, set(), {1}, set()]
    cx = PTM(Operator(QuantumCircuit(2).compose(_cx()))).data.real
    assert_allclose(
        matrix_of(found.blocks[1], {}), Channel.depolarizing(0.1, 2).ptm @ cx, atol=1e-14
    )
    # the channel's own order is (1, 0)
    flipped = Channel.pauli({"ZX": 0.1})
    assert_allclose(matrix_of(found.blocks[3], {}), flipped.ptm @ cx, atol=1e-14)


def _cx() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    return circuit


def test_gates_on_a_pair_join_in_any_order() -> None:
    circuit = QuantumCircuit(2)
    w = ParameterVector("w", 2)
    circuit.rzx(w[0], 0, 1)
    circuit.cry(w[1], 1, 0)
    circuit.cx(1, 0)
    (block,) = density_schedule(noisy(lower(circuit))).blocks
    assert block.kind == TWO
    values = [0.4, 1.3]
    operator = Operator(circuit.assign_parameters(values))
    assert_allclose(matrix_of(block, dict(enumerate(values))), PTM(operator).data.real, atol=1e-14)


def test_inputs_and_weights_on_a_pair_stay_apart() -> None:
    circuit = QuantumCircuit(2)
    circuit.rzz(ParameterVector("x", 1)[0], 0, 1)
    circuit.rxx(ParameterVector("w", 1)[0], 0, 1)
    found = density_schedule(noisy(lower(circuit, inputs="x")))
    assert [found.own(b) for b in found.blocks] == [True, False]


def test_strengths_are_slots() -> None:
    channel, t, step = Channel.depolarizing(0.2, 2), 0.6, 1e-6
    pauli = Channel.pauli({"XI": 0.1, "ZZ": 0.05})
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    program = noisy(lower(circuit), (0, channel, (0, 1)), (0, pauli, (0, 1)))
    (block,) = density_schedule(program, {"0": t}).blocks
    assert block.kind == MOVE
    cx = transfer_matrix(Operator(circuit).data)
    now = pauli.ptm @ channel.ptm_at(t) @ cx
    assert_allclose(matrix_of(block, {}), now, atol=1e-14)
    sources, scales = move_of(block)
    assert_allclose(now[range(16), sources], scales, atol=1e-14)
    by_slot = dict(move_slopes(block))
    assert sorted(by_slot) == [0, 1]
    change = (channel.ptm_at(t + step) - channel.ptm_at(t - step)) / (2 * step)
    assert_allclose(by_slot[0], (pauli.ptm @ change @ cx)[range(16), sources], atol=1e-9)
    other = (pauli.ptm - np.eye(16)) @ channel.ptm_at(t) @ cx
    assert_allclose(by_slot[1], other[range(16), sources], atol=1e-12)


def test_a_channel_that_mixes_rows_is_no_move() -> None:
    both = Channel.relaxation(0.1).tensor(Channel.relaxation(0.2))
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    program = noisy(lower(circuit), (0, both, (0, 1)))
    for strengths in (None, {"0": 0.0}, {"0": 1.0}):  # also where it is the identity
        (block,) = density_schedule(program, strengths).blocks
        assert block.kind == TWO
    dephased = noisy(lower(circuit), (0, Channel.depolarizing(1.0, 2), (0, 1)))
    (block,) = density_schedule(dephased).blocks
    assert_array_equal(matrix_of(block, {}), np.diag([1.0, *[0.0] * 15]))


def test_three_qubits_are_refused() -> None:
    crowd = noisy(lower(_three()), (0, Channel.depolarizing(0.1, 3), (0, 1, 2)))
    with pytest.raises(ValueError, match="channel for '0' acts on 3 qubits"):
        density_schedule(crowd)


def _three() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.x(0)
    return circuit
