"""Dynamical decoupling turns slow errors around, in the time that there is, and changes nothing."""

from __future__ import annotations

import pytest
import torch
from qiskit import QuantumCircuit

from nisqkit.circuits import Observables, Task, encoder, lower, u3_cu3
from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.noise import Channel, Device, NoiseModel
from nisqkit.noise.mitigation import ZNE, DynamicalDecoupling, PauliTwirling, ReadoutMitigation
from nisqkit.noise.mitigation.ddd import SEQUENCES, decoupled
from nisqkit.noise.schedule import idle_gaps
from nisqkit.qml import QuantumLayer

BELEM = Device.load("fake_belem")
IDLE = NoiseModel.from_device(BELEM, idle=True)
CIRCUIT = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))
NONE = torch.zeros(1, 0, dtype=torch.float64)


def waiting(length: int) -> Task:
    """Qubit 1 is in the state + and waits for qubit 0."""
    circuit = QuantumCircuit(2)
    circuit.h(1)
    circuit.cx(0, 1)
    for _ in range(length):
        circuit.x(0)
    circuit.cx(0, 1)
    circuit.h(1)
    return Task(lower(circuit), NONE, NONE[0], Observables.parse("ZI", 2))


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_frequency_shift_is_refocused(sequence: str) -> None:
    """Every id turns the qubit by 0.1 rad about Z; without pulses that would be seen."""
    turn = QuantumCircuit(1)
    turn.rz(0.1, 0)
    from qiskit.quantum_info import Operator

    channel = Channel.kraus([Operator(turn).data])
    model = NoiseModel("drift", {("id", ()): channel}, {"h", "cx", "x", "rz", "measure"})
    pulses = len(SEQUENCES[sequence])
    task = waiting(6 * pulses + pulses)  # half, whole, ..., half spacings of 6 id
    with_pulses = decoupled(task, None, sequence)
    ids = sum(use.name == "id" for use in with_pulses.gates)
    assert ids == 6 * pulses
    found = execute([task], Execution(noise=model, mitigation=DynamicalDecoupling(sequence)))[0]
    assert found.values.item() == pytest.approx(1, abs=1e-10)
    bare = QuantumCircuit(2)
    bare.h(1)
    for _ in range(ids):
        bare.id(1)
    bare.h(1)
    drifted = Task(lower(bare), NONE, NONE[0], task.observables)
    assert execute([drifted], Execution(noise=model))[0].values.item() < 0.9


def duration(program: Program, physical: tuple[int, ...]) -> float:
    """Seconds until the measurement, as late as possible."""
    assert IDLE.idle is not None
    free = [0.0] * program.num_qubits
    for use in program.gates:
        took = 0.0
        if use.name != "barrier":
            took = IDLE.idle.durations[use.name, tuple(physical[q] for q in use.qubits)]
        end = max(free[q] for q in use.qubits) + took
        for q in use.qubits:
            free[q] = end
    return max(free)


def idle(program: Program, physical: tuple[int, ...]) -> float:
    """Seconds that all qubits wait, together."""
    assert IDLE.idle is not None
    known = IDLE.idle.durations
    times = [known[u.name, tuple(physical[q] for q in u.qubits)] for u in program.gates]
    return sum(time for _, _, time in idle_gaps(program, times))


def placed() -> Task:
    program = lower(CIRCUIT, inputs="x")
    x = torch.rand(2, 16, dtype=torch.float64)
    weights = torch.rand(len(program.weights), dtype=torch.float64)
    task = Task(program, x, weights, Observables.parse(None, 4))
    (found,) = NoisyBackend(IDLE).binder.placed(task)
    return found


@pytest.mark.parametrize("sequence", ["xx", "xy4"])
def test_on_a_device_pulses_fill_the_waiting_time_and_change_nothing(sequence: str) -> None:
    task = placed()
    assert task.placement is not None and IDLE.idle is not None
    program = decoupled(task, IDLE, sequence)
    assert program is decoupled(task, IDLE, sequence)  # once per structure
    assert sum("ddd" in use.tags for use in program.gates) > 4
    assert {use.name for use in program.gates} <= set(BELEM.native_gates)
    physical = task.placement.physical
    assert duration(program, physical) == pytest.approx(duration(task.program, physical))
    assert idle(program, physical) < 0.5 * idle(task.program, physical)
    z = Observables.parse(None, program.num_qubits)
    one, two = (
        execute([Task(p, task.inputs, task.weights, z)], Execution("reference"))[0].values
        for p in (task.program, program)
    )
    assert (one - two).abs().max() < 1e-10


def test_in_a_stack_with_gradients() -> None:
    stack = [PauliTwirling(2), DynamicalDecoupling(), ZNE((1, 3)), ReadoutMitigation()]
    layer = QuantumLayer(CIRCUIT, "x", noise=IDLE, mitigation=stack, seed=0)
    layer(torch.rand(2, 16)).sum().backward()
    assert layer.weights.grad is not None and layer.weights.grad.abs().max() > 0


def test_short_gaps_stay_empty() -> None:
    task = waiting(3)
    assert decoupled(task, None, "xx").gates == task.program.gates


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"unknown sequence 'xy5'\. Known: xx, xy4, xy8, yy"):
        DynamicalDecoupling("xy5")
    with pytest.raises(ValueError, match="on fake_belem waiting qubits have no errors"):
        QuantumLayer(CIRCUIT, "x", noise=BELEM, mitigation=DynamicalDecoupling(), seed=0)
