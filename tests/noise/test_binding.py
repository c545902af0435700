import math
from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit

from nisqkit.circuits import amplitude, lower, u3_cu3
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.transpile import transpile_to
from nisqkit.noise import Channel, Confusion, Device, Idle, Noise, NoiseModel, NoiseUse

FLIP = Channel.pauli({"X": 0.1})
PAIR = Channel.depolarizing(0.02, num_qubits=2)


@pytest.fixture
def santiago() -> Device:
    return Device.load("fake_santiago")


def native(*gates: tuple[str, tuple[int, ...]], width: int = 2) -> Program:
    circuit = QuantumCircuit(width)
    for name, qubits in gates:
        getattr(circuit, name)(*([0.3] if name in ("rz", "u1") else []), *qubits)
    return lower(circuit)


def test_noise_follows_its_gate(santiago: Device) -> None:
    model = NoiseModel.from_device(santiago)
    program = native(("rz", (0,)), ("cx", (1, 0)), ("sx", (1,)))
    noisy = model.bind(program, measured=[1, 0], physical=[3, 2])
    uses = list(noisy.operations)
    assert [u for u in uses if isinstance(u, GateUse)] == list(program.gates)
    assert [u.name for u in uses[:2] if isinstance(u, GateUse)] == ["rz", "cx"]
    after_cx = uses[2:7]
    assert [(u.qubits, u.cause) for u in after_cx if isinstance(u, NoiseUse)] == [
        ((1, 0), "cx 2-3"),
        ((1,), "T1 of 2"),
        ((1,), "T2 of 2"),
        ((0,), "T1 of 3"),
        ((0,), "T2 of 3"),
    ]
    assert noisy.measured == (1, 0) and noisy.physical == (3, 2)
    # qubit 1 of the program is 2 of the device, and 0 is 3
    assert {c.qubits: c.matrix[1][0] for c in noisy.readout} == {
        (1,): santiago.readout[2][0],  # type: ignore[index]
        (0,): santiago.readout[3][0],  # type: ignore[index]
    }
    assert noisy.model is model


def test_a_transpiled_program_is_covered(santiago: Device) -> None:
    found = transpile_to(lower(u3_cu3(4, blocks=2)), santiago)
    noisy = NoiseModel.from_device(santiago).bind(found.native, found.measured, found.active)
    gates = [u for u in noisy.operations if isinstance(u, GateUse)]
    assert gates == [u for u in found.native.gates if u.name != "barrier"]
    assert noisy.num_qubits == found.native.num_qubits
    assert {c.qubits[0] for c in noisy.readout} == set(found.measured)


def test_old_devices_and_many_qubits() -> None:
    for name, layout in (("fake_almaden", [0, 1, 2]), ("fake_brisbane", [4, 3, 2])):
        device = Device.load(name)
        found = transpile_to(lower(u3_cu3(3, blocks=1)), device, layout=layout)
        model = NoiseModel.from_device(device, "pauli")
        noisy = model.bind(found.native, found.measured, found.active)
        assert noisy.physical == found.active
        edges = {c.split()[1] for c in noisy.causes if c.startswith(("cx", "ecr"))}
        assert edges <= {"-".join(map(str, pair)) for pair in device.coupling}


def test_the_result_is_kept_with_the_program(santiago: Device) -> None:
    program = native(("sx", (0,)))
    noisy = NoiseModel.from_device(santiago).bind(program)
    assert NoiseModel.from_device(santiago).bind(program) is noisy  # an equal model
    assert NoiseModel.from_device(santiago, "pauli").bind(program) is not noisy
    assert NoiseModel.from_device(santiago).bind(program, physical=[1, 0]) is not noisy


def test_idle_noise_stands_where_a_qubit_waits(santiago: Device) -> None:
    model = NoiseModel.from_device(santiago, idle=True)
    program = native(("cx", (0, 1)), ("sx", (0,)), ("sx", (0,)), ("cx", (0, 1)))
    noisy = model.bind(program)
    idle = [
        (k, u)
        for k, u in enumerate(noisy.operations)
        if isinstance(u, NoiseUse) and u.cause == "idle of 1"
    ]
    assert [u.channel.kind for _, u in idle] == ["relaxation", "dephasing"]
    wait = 2 * santiago.gate("sx", (0,)).duration  # type: ignore[union-attr,operator]
    assert idle[0][1].channel.parameters[0] == pytest.approx(1 - math.exp(-wait / santiago.t1[1]))  # type: ignore[operator]
    gates = [k for k, u in enumerate(noisy.operations) if isinstance(u, GateUse)]
    assert gates[0] < idle[0][0] < idle[1][0] < gates[1]
    assert noisy.causes.index("idle of 1") > 0
    silent = model.scale(0).bind(program)
    assert all(u.channel.is_identity for u in silent.operations if isinstance(u, NoiseUse))
    twirled = NoiseModel.from_device(santiago, "pauli", idle=True).bind(program)
    assert [
        u.channel.kind
        for u in twirled.operations
        if isinstance(u, NoiseUse) and u.cause == "idle of 1"
    ] == ["pauli"]


def test_barriers_are_dropped_but_hold_gates_back(santiago: Device) -> None:
    circuit = QuantumCircuit(2)
    circuit.sx(0)
    circuit.sx(1)
    circuit.barrier()
    circuit.sx(0)
    circuit.barrier()
    circuit.sx(1)
    noisy = NoiseModel.from_device(santiago, idle=True).bind(lower(circuit))
    gates = [u.name for u in noisy.operations if isinstance(u, GateUse)]
    assert gates == ["sx"] * 4
    assert {"idle of 0", "idle of 1"} <= set(noisy.causes)


def test_a_loaded_state_waits_before_its_first_gate() -> None:
    circuit = amplitude(4)
    circuit.x(0)
    circuit.cx(0, 1)
    model = NoiseModel(
        "tiny",
        {("x", ()): FLIP, ("cx", ()): PAIR},
        ["measure", "prepare"],
        idle=Idle(((1.0, 1.0),) * 2, {("x", (0,)): 1.0, ("cx", (0, 1)): 5.0}),
    )
    noisy = model.bind(lower(circuit, inputs="x"))
    first = noisy.operations[0]
    assert isinstance(first, NoiseUse)
    assert first.cause == "idle of 1"


def test_rotations_into_a_measurement_basis() -> None:
    program = native(("x", (0,)), width=1)
    turned = replace(program, gates=(*program.gates, GateUse("h", (0,), tags=("basis",))))
    by_hand = NoiseModel("tiny", {("x", ()): FLIP, ("h", (0,)): FLIP}, ["measure"])
    assert sum(isinstance(u, NoiseUse) for u in by_hand.bind(turned).operations) == 1
    with pytest.raises(ValueError, match=r"h on \(0,\): not a gate of fake_santiago"):
        NoiseModel.from_device(Device.load("fake_santiago")).bind(turned)


def test_what_is_not_covered_is_listed(santiago: Device) -> None:
    model = NoiseModel.from_device(santiago)
    program = native(("cz", (0, 1)), ("sx", (0,)), ("h", (1,)), ("h", (1,)), ("rz", (0,)))
    with pytest.raises(
        ValueError,
        match=r"(?s)^1 of 5 gates would be noisy on fake_santiago and 1 are virtual; not covered:"
        r"\n  cz on \(0, 1\): not a gate of fake_santiago .*\n  h on \(1,\), 2 times: not a gate",
    ):
        model.bind(program)
    with pytest.raises(ValueError, match=r"cx on \(0, 2\): .* not on these qubits in this order"):
        model.bind(native(("cx", (0, 1))), physical=[0, 2])


def test_missing_calibrations_and_dead_edges(santiago: Device) -> None:
    program = native(("cx", (0, 1)))
    manhattan = Device.load("fake_manhattan")
    with pytest.raises(ValueError, match="its error is 1, it does not work"):
        NoiseModel.from_device(manhattan).bind(program, physical=manhattan.dead_edges[0])
    no_t1 = replace(santiago, t1=(None, *santiago.t1[1:]))
    with pytest.raises(ValueError, match="T1 or T2 of qubit 0 is not known"):
        NoiseModel.from_device(no_t1).bind(program)
    blind = replace(santiago, readout=(None, *santiago.readout[1:]))
    with pytest.raises(ValueError, match=r"measure on \(0,\): fake_santiago has no readout error"):
        NoiseModel.from_device(blind).bind(program)
    NoiseModel.from_device(blind).bind(program, measured=[1])
    gates = tuple(g._replace(error=None) if g.gate == "cx" else g for g in santiago.gates)
    with pytest.raises(ValueError, match=r"cx on \(0, 1\): not calibrated \(error None"):
        NoiseModel.from_device(replace(santiago, gates=gates)).bind(program)


def test_what_idle_noise_needs(santiago: Device) -> None:
    gates = tuple(g._replace(duration=None) if g.gate == "sx" else g for g in santiago.gates)
    timeless = replace(santiago, gates=gates)
    program = native(("cx", (0, 1)), ("sx", (0,)), ("cx", (0, 1)))
    NoiseModel.from_device(timeless).bind(program)
    with pytest.raises(ValueError, match=r"sx on \(0,\): its duration is not known, which idle"):
        NoiseModel.from_device(timeless, idle=True).bind(program)
    durations = {("cx", (0, 1)): 5.0, ("x", (0,)): 1.0}
    model = NoiseModel(
        "tiny", {("cx", ()): PAIR, ("x", ()): FLIP}, ["measure"], idle=Idle((None,) * 2, durations)
    )
    model.bind(native(("cx", (0, 1))))  # nobody waits
    waits = native(("cx", (0, 1)), ("x", (0,)), ("cx", (0, 1)))
    with pytest.raises(ValueError, match=r"idle on \(1,\): it waits, and T1 or T2 of qubit 1"):
        model.bind(waits)


def test_a_model_for_other_gates() -> None:
    model = NoiseModel("mine", {("cz", ()): PAIR, ("x", (1,)): FLIP}, ["rz", "measure"])
    with pytest.raises(
        ValueError,
        match=r"(?s)cx on \(0, 1\): mine has no noise for it \(it has cz, x\): add it to `gates`"
        r".*x on \(0,\): mine has noise for x, but not on these qubits .* key \('x', \(\)\)",
    ):
        model.bind(native(("cx", (0, 1)), ("x", (0,)), ("rz", (0,))))
    with pytest.raises(ValueError, match=r"no noise for it \(it has none\)"):
        NoiseModel("empty", {}, ["measure"]).bind(native(("x", (0,))))


def test_readout_must_be_known_or_said_to_be_right() -> None:
    program = native(("x", (0,)))
    gates = {("x", ()): Noise(FLIP, (0,))}
    with pytest.raises(
        ValueError, match=r"measure on \(0,\): mine has no readout error .* 'measure' to"
    ):
        NoiseModel("mine", gates).bind(program)
    NoiseModel("mine", gates, ["measure"]).bind(program)
    NoiseModel("mine", gates, [("measure", (0,))]).bind(program, measured=[0])
    pair = Confusion((0, 1), np.eye(4))
    both = NoiseModel("mine", gates, readout=[pair])
    assert both.bind(program, physical=[1, 0]).readout[0].qubits == (1, 0)
    with pytest.raises(ValueError, match="together with that of qubit 1 only, which is not meas"):
        both.bind(program, measured=[0])


def test_a_loaded_state_must_be_said_to_be_free_of_noise(santiago: Device) -> None:
    program = lower(amplitude(2), inputs="x")
    with pytest.raises(ValueError, match=r"prepare on \(0,\): amplitudes are loaded without gates"):
        NoiseModel.from_device(santiago).bind(program)
    assert NoiseModel("mine", {}, ["measure", "prepare"]).bind(program).operations == ()


def test_qubits_that_do_not_fit(santiago: Device) -> None:
    model, program = NoiseModel.from_device(santiago), native(("sx", (0,)))
    for measured in ([0, 0], [2], []):
        with pytest.raises(
            ValueError, match="give one or more distinct qubits of the program, bet"
        ):
            model.bind(program, measured=measured)
    for physical in ([0], [0, 0], [0, 5], [-1, 0]):
        with pytest.raises(ValueError, match=r"physical is .* of fake_santiago between 0 and 4"):
            model.bind(program, physical=physical)
    by_hand = NoiseModel("mine", {("sx", ()): FLIP}, ["measure"])
    by_hand.bind(program, physical=[7, 3])
    with pytest.raises(ValueError, match="one distinct qubit of mine for each of the 2 qubits"):
        by_hand.bind(program, physical=[7, 7])
