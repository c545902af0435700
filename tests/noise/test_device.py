import math
import pickle
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.quantum_info import Operator

from nisqkit.noise import Device, GateCalibration


def make_device(**changes: Any) -> Device:
    """A line of three qubits; cx works in one direction, the second pair is dead."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "gates": [
            ("sx", (1,), 2e-4, 30e-9),
            ("sx", (0,), 1e-4, 30e-9),
            ("sx", (2,), 3e-4, 30e-9),
            *(("rz", (q,), 0.0, 0.0) for q in range(3)),
            ("cx", (0, 1), 6e-3, 400e-9),
            ("cx", (1, 2), 1.0, 400e-9),
        ],
        "t1": [100e-6, 50e-6, None],
        "t2": [80e-6, math.inf, 70e-6],
        "readout": [(0.01, 0.03), (0.02, 0.05), None],
        "date": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "dt": 0.5e-9,
    }
    return Device(**fields | changes)


def test_fields_are_normalised_so_that_equal_devices_are_equal() -> None:
    device = make_device()
    assert device == make_device(gates=reversed(device.gates))
    assert hash(device) == hash(make_device())
    assert device != make_device(readout=[(0.03, 0.01), (0.02, 0.05), None])
    assert device.frequency == device.readout_duration == (None, None, None)


def test_a_device_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        make_device().name = "other"  # type: ignore[misc]


def test_lookups() -> None:
    device = make_device()
    assert device.num_qubits == 3
    assert device.native_gates == ("cx", "rz", "sx")
    assert device.coupling == ((0, 1), (1, 2))
    assert device.dead_edges == ((1, 2),)
    assert device.gate("cx", [0, 1]) == GateCalibration("cx", (0, 1), 6e-3, 400e-9)
    assert device.gate("cx", (1, 0)) is None


def test_virtual_gates_have_no_error_and_no_duration() -> None:
    gates = [("rz", (0,), 0.0, 0.0), ("x", (0,), 0.0, 1e-8), ("y", (0,), 0.0, None)]
    device = make_device(gates=gates)
    assert [gate.gate for gate in device.gates if gate.is_virtual] == ["rz"]


def test_json_and_pickle_round_trips() -> None:
    for device in (make_device(), make_device(date=None, symmetric_readout=[1])):
        assert Device.from_json(device.to_json()) == device
        assert pickle.loads(pickle.dumps(device)) == device
    assert "Infinity" not in make_device().to_json()  # which strict JSON readers refuse


def test_reduced_renumbers_everything() -> None:
    device = make_device(symmetric_readout=[1], frequency=[5e9, 4e9, None])
    part = device.reduced([1, 0])
    assert part.name == "tiny[1,0]"
    assert part.coupling == ((1, 0),)
    assert part.gate("cx", (1, 0)) == ("cx", (1, 0), 6e-3, 400e-9)
    assert part.gate("sx", (0,)) == ("sx", (0,), 2e-4, 30e-9)
    assert part.t1 == (50e-6, 100e-6)
    assert part.t2 == (math.inf, 80e-6)
    assert part.readout == ((0.02, 0.05), (0.01, 0.03))
    assert part.frequency == (4e9, 5e9)
    assert part.symmetric_readout == (0,)
    assert (part.date, part.dt) == (device.date, device.dt)
    assert replace(device.reduced([0, 1, 2]), name="tiny") == device


@pytest.mark.parametrize("qubits", [[], [0, 0], [3], [-1]])
def test_reduced_refuses_qubits_that_are_not_there(qubits: list[int]) -> None:
    with pytest.raises(ValueError, match=r"reduced\(.*\) on tiny: .* between 0 and 2"):
        make_device().reduced(qubits)


def test_target_carries_the_calibration() -> None:
    target = make_device(readout_duration=[1e-6, None, None]).target()
    assert target.num_qubits == 3
    assert target.dt == 0.5e-9
    assert target["cx"][(0, 1)].error == 6e-3
    assert target["sx"][(1,)].duration == 30e-9
    assert target["measure"][(0,)].error == pytest.approx(0.02)
    assert target["measure"][(0,)].duration == 1e-6
    assert target["measure"][(2,)].error is None
    assert target.qubit_properties[0].t1 == 100e-6
    assert target.qubit_properties[2].t1 is None


def test_target_leaves_dead_edges_out_unless_told() -> None:
    device = make_device()
    assert list(device.target()["cx"]) == [(0, 1)]
    assert set(device.target(dead_edges=True)["cx"]) == {(0, 1), (1, 2)}


def test_a_device_from_json_transpiles_the_same() -> None:
    device = Device.load("fake_guadalupe")
    copy = Device.from_json(device.to_json())
    circuit = QuantumCircuit(4)
    circuit.h(0)
    for q in (1, 2, 3):
        circuit.cx(0, q)
        circuit.ry(0.1 * q, q)
    first, second = (
        transpile(circuit, target=d.target(), seed_transpiler=5) for d in (device, copy)
    )
    assert first == second
    assert set(first.count_ops()) <= {"cx", "rz", "sx", "x"}
    back = transpile(circuit, target=device.reduced([0, 1, 2, 3]).target(), seed_transpiler=5)
    assert Operator.from_circuit(back).equiv(Operator(circuit))


def test_transpiling_avoids_the_dead_edges_of_manhattan() -> None:
    device = Device.load("fake_manhattan")
    circuit = QuantumCircuit(6)
    for q in range(5):
        circuit.cx(q, q + 1)
    circuit.cx(5, 0)
    native = transpile(circuit, target=device.target(), seed_transpiler=1, optimization_level=1)
    used = {
        tuple(native.find_bit(q).index for q in i.qubits) for i in native.get_instructions("cx")
    }
    assert used <= set(device.coupling) - set(device.dead_edges)


def test_repr_says_what_matters() -> None:
    text = repr(make_device(symmetric_readout=[0]))
    assert text == (
        "Device('tiny', 3 qubits, 2026-01-31, mean errors: cx 0.0060, sx 0.00020, readout 0.028, "
        "1 of 2 edges dead, symmetric readout on 1 qubits)"
    )
    assert "undated" in repr(make_device(date=None))


def test_summary_has_a_line_per_gate_and_per_qubit() -> None:
    lines = make_device(symmetric_readout=[1]).summary().splitlines()
    assert lines[0] == "tiny: 3 qubits, 2026-01-31 12:00 UTC, written by hand"
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:] if line}
    assert rows["cx"] == ["2", "1", "0.0060", "0.0060", "0.0060", "400"]
    assert rows["rz"] == ["3", "0", "0", "0", "0", "0", "virtual"]
    assert rows["sx"] == ["3", "0", "0.00020", "0.00010", "0.00030", "30"]
    assert rows["0"] == ["100.0", "80.0", "0.0100", "0.0300"]
    assert rows["1"][:4] == ["50.0", "inf", "0.0200", "0.0500"]
    assert " ".join(rows["1"][4:]) == "only the mean readout error is known"
    assert rows["2"] == ["?", "70.0", "?", "?"]


NAN = math.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t1": [1e-4, NAN, 1e-4]}, "t1 on qubit 1 of tiny is nan: give a number above 0"),
        ({"t1": [1e-4, 0.0, 1e-4]}, "t1 on qubit 1 of tiny is 0.0"),
        ({"t2": [-1e-4, None, 1e-4]}, "t2 on qubit 0 of tiny is -0.0001"),
        ({"frequency": [5e9, None, NAN]}, "frequency on qubit 2 of tiny is nan"),
        ({"readout": [(0.1, NAN), None, None]}, r"P\(0\|1\) on qubit 0 of tiny is nan"),
        ({"readout": [(1.1, 0.0), None, None]}, r"P\(1\|0\) on qubit 0 .* between 0 and 1"),
        (
            {"readout": [(0.1, None), None, None]},
            r"readout on qubit 0 .* give the pair \(P\(1\|0\)",
        ),
        ({"readout_duration": [-1.0, None, None]}, "readout_duration on qubit 0 .* 0 or more"),
        ({"gates": [("cx", (0, 1), NAN, 1e-7)]}, r"error of cx on \(0, 1\) of tiny is nan"),
        ({"gates": [("cx", (0, 1), 1.5, 1e-7)]}, r"error of cx on \(0, 1\) .* between 0 and 1"),
        ({"gates": [("x", (0,), 0.1, math.inf)]}, r"duration of x on \(0,\) of tiny is inf"),
        ({"gates": [("cx", (0, 3), 0.1, 1e-7)]}, r"cx on \(0, 3\): .* between 0 and 2"),
        ({"gates": [("cx", (1, 1), 0.1, 1e-7)]}, r"cx on \(1, 1\): .* must be distinct"),
        ({"gates": [("x", (0,), 0.1, 0.0)] * 2}, r"x on \(0,\) twice"),
        ({"t2": [1e-4]}, "tiny has 3 qubits .* but 1 entries in t2"),
        ({"date": datetime(2026, 1, 31)}, "date of tiny .* without a time zone"),
    ],
)
def test_values_that_are_no_calibration_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_device(**changes)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nisqkit.device", "other", "not a device: expected JSON with"),
        ('"version": 1', '"version": 99', "format version 99, this nisqkit reads version 1"),
        ('"dt"', '"tick"', r"missing or unknown fields \['dt', 'tick'\]"),
        ("0.03", "NaN", r"P\(0\|1\) on qubit 0 of tiny is nan"),
    ],
)
def test_json_that_is_no_device_is_refused(old: str, new: str, message: str) -> None:
    text = make_device().to_json()
    assert old in text
    with pytest.raises(ValueError, match=message):
        Device.from_json(text.replace(old, new))
    with pytest.raises(ValueError, match="not a device"):
        Device.from_json("[1, 2]")


def test_a_gate_that_qiskit_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="tiny has the gate 'zap', which is not one of Qiskit's"):
        make_device(gates=[("zap", (0,), 0.1, 1e-8)]).target()
