"""Noisy programs as blocks: noise is fused, and costs nothing where there is no error."""

from collections.abc import Sequence

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from nisqkit.circuits import lower
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.native.schedule import CX, ONE, TWO, Block, schedule
from nisqkit.hardware_backends.native.trajectory_schedule import BranchFactor, noisy_schedule
from nisqkit.noise.channels import Channel
from nisqkit.noise.model import NoiseModel
from nisqkit.noise.noisy_program import NoiseUse, NoisyProgram

DEVICE = [Channel.relaxation(0.01), Channel.dephasing(0.01)]
GENERAL = Channel.relaxation(0.1).compose(Channel.from_ptm(np.diag([1, 0.9, 0.9, 1.0])))


def after_gates(
    program: Program, one: Sequence[Channel] = (), two: Sequence[Channel] = ()
) -> NoisyProgram:
    """After each gate ``two`` on its two qubits, then ``one`` on each of its qubits."""
    operations: list[GateUse | NoiseUse] = []
    for use in program.gates:
        operations.append(use)
        if len(use.qubits) == 2:
            operations += [NoiseUse(c, use.qubits, use.name) for c in two]
        operations += [NoiseUse(c, (q,), use.name) for q in use.qubits for c in one]
    every = tuple(range(program.num_qubits))
    return NoisyProgram(program, tuple(operations), (), every, every, NoiseModel("test", {}))


def ring(num_qubits: int) -> Program:
    w = ParameterVector("w", 6 * num_qubits)
    circuit = QuantumCircuit(num_qubits)
    k = 0
    for _ in range(2):
        for q in range(num_qubits):
            for name in ("rz", "sx", "rz", "sx", "rz"):
                if name == "sx":
                    circuit.sx(q)
                else:
                    circuit.rz(w[k], q)
                    k += 1
        for q in range(num_qubits):
            circuit.cx(q, (q + 1) % num_qubits)
    return lower(circuit)


def idle(block: Block) -> bool:
    return all(isinstance(f, BranchFactor) and f.plain for f in block.factors)


def matrices(blocks: Sequence[Block]) -> list[tuple[int, tuple[int, ...]]]:
    return [(b.kind, b.qubits) for b in blocks if b.kind in (ONE, TWO) and not idle(b)]


def test_pauli_errors_add_no_matrix() -> None:
    """Even on two qubits, and between two CX."""
    program = ring(4)
    noise = [Channel.pauli({"X": 0.01})], [Channel.depolarizing(0.1, 2)]
    noisy = noisy_schedule(after_gates(program, *noise)).schedule.blocks
    clean = schedule(program).blocks
    assert matrices(noisy) == matrices(clean)
    assert [b.qubits for b in noisy if b.kind == CX] == [b.qubits for b in clean if b.kind == CX]


def test_decay_passes_a_control() -> None:
    """Only after the ring's last CX is there something between a CX and the next target."""
    program = ring(4)
    noisy = noisy_schedule(after_gates(program, DEVICE, [Channel.depolarizing(0.1, 2)]))
    extra = len(matrices(noisy.schedule.blocks)) - len(matrices(schedule(program).blocks))
    # per ring: qubit 0 before the last CX; at the end of the circuit: every qubit
    assert extra == 2 * 1 + 4


def test_noise_joins_the_gate_on_two_qubits_before_it() -> None:
    circuit = QuantumCircuit(2)
    circuit.rzz(0.3, 0, 1)
    circuit.cx(0, 1)
    noisy = noisy_schedule(after_gates(lower(circuit), DEVICE, [Channel.depolarizing(0.1, 2)]))
    assert matrices(noisy.schedule.blocks)[0] == (TWO, (0, 1))
    assert len(noisy.schedule.blocks[0].factors) == 1 + 2 + 4


def test_a_general_channel_on_two_qubits_is_one_matrix() -> None:
    channel = Channel.from_ptm(0.9 * np.eye(16) + 0.1 * Channel.relaxation(0.5).tensor(GENERAL).ptm)
    for qubits in ((0, 1), (1, 0)):
        circuit = QuantumCircuit(2)
        circuit.h(0)
        circuit.cx(*qubits)
        circuit.h(1)
        noisy = noisy_schedule(after_gates(lower(circuit), [], [channel]))
        kinds = [b.kind for b in noisy.schedule.blocks]
        assert kinds == [ONE, CX, TWO, ONE]


@pytest.mark.parametrize("seed", range(5))
def test_angles_of_inputs_and_of_weights_are_never_in_one_block(seed: int) -> None:
    program = lower(random_circuit(3, 20, seed), inputs="x")
    batched = set(program.angle_map.batched_slots)
    noisy = noisy_schedule(after_gates(program, DEVICE, [Channel.depolarizing(0.1, 2)]))
    gates_of = {s: use for use in program.gates for s in use.slots}
    for block in noisy.schedule.blocks:
        slots = {f.slot for f in block.factors if f.slot >= 0}
        whose = {bool(batched.intersection(gates_of[s].slots)) for s in slots}
        assert whose <= {block.own}


def test_places_are_the_channels_in_order() -> None:
    program = ring(3)
    noisy = after_gates(program, DEVICE, [Channel.depolarizing(0.1, 2)])
    found = noisy_schedule(noisy)
    channels = [use for use in noisy.operations if isinstance(use, NoiseUse)]
    assert len(found.places) == len(channels)
    places = {f.place for f in found.factors if isinstance(f, BranchFactor)}
    assert places == set(range(len(channels)))
