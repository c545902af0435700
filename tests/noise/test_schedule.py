import math

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Delay
from qiskit.transpiler import PassManager
from qiskit.transpiler.passes import ALAPScheduleAnalysis, PadDelay

from nisqkit.circuits import amplitude, lower
from nisqkit.noise import Channel, Device, Idle
from nisqkit.noise.schedule import idle_gaps


def random_native_circuit(device: Device, seed: int) -> QuantumCircuit:
    generator = np.random.default_rng(seed)
    circuit = QuantumCircuit(device.num_qubits)
    for _ in range(30):
        kind = generator.integers(4)
        if kind == 0:
            circuit.cx(*device.coupling[generator.integers(len(device.coupling))])
        elif kind == 1:
            circuit.sx(int(generator.integers(device.num_qubits)))
        elif kind == 2:
            circuit.rz(0.1, int(generator.integers(device.num_qubits)))
        else:
            circuit.x(int(generator.integers(device.num_qubits)))
    return circuit


@pytest.mark.parametrize("seed", range(5))
def test_waiting_times_are_those_of_qiskits_alap_schedule(seed: int) -> None:
    device = Device.load("fake_santiago")
    target = device.target()
    circuit = random_native_circuit(device, seed)
    program = lower(circuit)
    durations = [device.gate(u.name, u.qubits).duration or 0.0 for u in program.gates]  # type: ignore[union-attr]
    ours = [0.0] * device.num_qubits
    for _, q, time in idle_gaps(program, durations):
        ours[q] += time

    padded = PassManager([ALAPScheduleAnalysis(target=target), PadDelay(target=target)]).run(
        transpile(circuit, target=target, optimization_level=0)
    )
    assert target.dt is not None
    theirs = [0.0] * device.num_qubits
    started = [False] * device.num_qubits
    for instruction in padded.data:
        for q in (padded.find_bit(qubit).index for qubit in instruction.qubits):
            if not isinstance(instruction.operation, Delay):
                started[q] = True
            elif started[q]:
                theirs[q] += instruction.operation.duration * target.dt
    assert any(time > 1e-7 for time in theirs)
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_a_qubit_waits_for_its_partner() -> None:
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    circuit.x(0)
    circuit.cx(0, 2)
    circuit.cx(2, 1)
    durations = [5.0, 1.0, 5.0, 7.0]
    # qubit 1 waits for x and cx; qubit 0 has nothing to do at the end, and does it late
    assert idle_gaps(lower(circuit), durations) == [(0, 1, 6.0), (2, 0, 7.0)]


def test_barriers_hold_gates_back() -> None:
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.barrier()
    circuit.cx(0, 1)
    circuit.x(0)
    circuit.barrier()
    circuit.x(1)
    circuit.x(1)
    gates = [1.0, 0.0, 5.0, 1.0, 0.0, 1.0, 1.0]
    gaps = idle_gaps(lower(circuit), gates)
    assert gaps == [(2, 1, 1.0), (4, 0, 2.0)]  # qubit 1 starts after the first barrier


def test_a_loaded_state_waits_too() -> None:
    circuit = amplitude(4)
    circuit.x(0)
    circuit.cx(0, 1)
    assert idle_gaps(lower(circuit, inputs="x"), [1.0, 5.0]) == [(-1, 1, 1.0)]


def test_the_same_durations_in_another_order_leave_no_gap() -> None:
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    for q, gates in enumerate((("x", "sx", "h"), ("h", "x", "sx"))):
        for name in gates:
            getattr(circuit, name)(q)
    circuit.cx(0, 1)
    times = {"x": 0.1, "sx": 0.2, "h": 0.3, "cx": 0.0}
    program = lower(circuit)
    durations = [times[use.name] for use in program.gates]
    assert (0.3 + 0.2) + 0.1 != (0.2 + 0.1) + 0.3
    assert idle_gaps(program, durations) == []


def test_idle_channels() -> None:
    idle = Idle(((50e-6, 40e-6), None, (50e-6, math.inf)), {})
    relaxed, dephased = idle.channels(0, 2e-6)
    together = relaxed.compose(dephased).ptm
    assert together[1, 1] == pytest.approx(math.exp(-2 / 40))
    assert together[3, 3] == pytest.approx(math.exp(-2 / 50))
    assert [c.kind for c in idle.channels(2, 1e-6)] == ["relaxation"]  # T2 is cut at 2 T1
    assert [idle.knows(q) for q in range(4)] == [True, False, True, False]

    (twirl,) = Idle(idle.times, {}, twirled=True).channels(0, 2e-6)
    assert twirl.parameters == pytest.approx(relaxed.compose(dephased).twirled().parameters)
    (alone,) = Idle(idle.times, {}, twirled=True).channels(2, 1e-6)
    assert alone.kind == "pauli"
    twice = Idle(idle.times, {}, strength=2.0).channels(0, 1e-6)
    assert [c.parameters[0] for c in twice] == pytest.approx(
        [relaxed.parameters[0], dephased.parameters[0]]
    )
    assert Idle(((math.inf, math.inf),), {}, twirled=True).channels(0, 1.0) == ()
    assert isinstance(twirl, Channel)
    assert hash(idle) == hash(Idle(idle.times, {}))


def test_times_that_are_none_are_refused() -> None:
    for times in ((0.0, 1.0), (1.0, math.nan), (-1.0, 1.0)):
        with pytest.raises(ValueError, match=r"T1 and T2 of qubit 1 are .*: give positive seconds"):
            Idle((None, times), {})
    for seconds in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"the duration of x on \(0,\) is .*: give seconds"):
            Idle((), {("x", (0,)): seconds})
