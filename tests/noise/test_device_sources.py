import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from qiskit.circuit import Measure, Parameter
from qiskit.circuit.library import RZGate, XGate
from qiskit.providers import BackendV2, Options
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import InstructionProperties, QubitProperties, Target
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime.fake_provider import FakeFractionalBackend, FakeSantiagoV2

from nisqkit.noise import Device, available_devices

# Machines of the QuantumNAS, QuantumNAT and QOC papers: qubits, mean CX error, its last digit.
MACHINES = [
    ("fake_yorktown", 5, 0.0230, 1e-4),
    ("fake_belem", 5, 0.0140, 1e-4),
    ("fake_santiago", 5, 0.0060, 1e-4),
    ("fake_quito", 5, 0.0354, 1e-4),
    ("fake_athens", 5, 0.0156, 1e-4),
    ("fake_lima", 5, 0.0111, 1e-4),
    ("fake_rome", 5, 0.0102, 1e-4),
    ("fake_bogota", 5, 0.0284, 1e-4),
    ("fake_melbourne", 15, 0.0317, 1e-4),
    ("fake_casablanca", 7, 0.0127, 1e-4),
    ("fake_guadalupe", 16, 0.0108, 1e-4),
    ("fake_montreal", 27, 0.0102, 1e-4),
    ("fake_toronto", 27, 0.0208, 1e-4),
    ("fake_paris", 27, 0.0157, 1e-4),
    ("fake_manhattan", 65, 0.317, 1e-3),
    ("fake_jakarta", 7, 0.0092, 1e-4),
    ("fake_manila", 5, 0.0100, 1e-4),
    ("fake_lagos", 7, 0.0146, 1e-4),
]


@pytest.mark.parametrize(("name", "num_qubits", "mean_cx", "digit"), MACHINES)
def test_the_machines_of_the_papers(
    name: str, num_qubits: int, mean_cx: float, digit: float
) -> None:
    device = Device.load(name)
    errors = [gate.error for gate in device.gates if gate.gate == "cx"]
    assert device.name == name
    assert device.num_qubits == num_qubits
    assert sum(e for e in errors if e is not None) / len(errors) == pytest.approx(
        mean_cx, abs=0.51 * digit
    )


def snapshot_files(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two files that IBM publishes for a machine, read without any of IBM's code."""
    spec = find_spec("qiskit_ibm_runtime")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "fake_provider" / "backends" / name
    conf = json.loads((folder / f"conf_{name}.json").read_text())
    return conf, json.loads((folder / f"props_{name}.json").read_text())


@pytest.mark.parametrize("name", ["santiago", "manila", "brisbane", "manhattan"])
def test_a_snapshot_says_what_the_published_files_say(name: str) -> None:
    conf, props = snapshot_files(name)
    device = Device.load(f"fake_{name}")
    to_si = {"us": 1e-6, "ns": 1e-9, "GHz": 1e9, "": 1.0}
    for q, entries in enumerate(props["qubits"]):
        value = {e["name"]: e["value"] * to_si[e["unit"]] for e in entries if e["unit"] in to_si}
        assert device.t1[q] == pytest.approx(value["T1"])
        assert device.t2[q] == pytest.approx(value["T2"])
        assert device.frequency[q] == pytest.approx(value["frequency"])
        assert device.readout_duration[q] == pytest.approx(value["readout_length"])
        assert device.readout[q] == (value["prob_meas1_prep0"], value["prob_meas0_prep1"])
    for entry in props["gates"]:
        gate = device.gate(entry["gate"], entry["qubits"])
        assert gate is not None
        value = {e["name"]: e["value"] * to_si[e["unit"]] for e in entry["parameters"]}
        assert gate.error == value.get("gate_error")
        assert gate.duration == pytest.approx(value["gate_length"])
    assert set(device.coupling) == {tuple(pair) for pair in conf["coupling_map"]}
    assert device.date is not None
    assert device.date.tzinfo is not None
    assert device.symmetric_readout == ()


def test_santiago_keeps_two_different_readout_errors() -> None:
    device = Device.load("fake_santiago")
    assert device.readout[0] == pytest.approx((0.0064, 0.0202))
    # the backend itself only says the mean
    assert FakeSantiagoV2().target["measure"][(0,)].error == pytest.approx((0.0064 + 0.0202) / 2)


def test_rz_is_virtual_and_missing_errors_stay_missing() -> None:
    device = Device.load("fake_santiago")
    rz, reset = device.gate("rz", (3,)), device.gate("reset", (3,))
    assert rz is not None
    assert rz.is_virtual
    assert reset is not None
    assert reset.error is None
    assert Device.load("fake_kingston").t1[146] is None


@pytest.mark.filterwarnings("ignore:Properties of fake_nighthawk")
def test_every_snapshot_loads_and_survives_json() -> None:
    names = available_devices()
    assert len(names) > 60
    for name in names:
        device = Device.load(name)
        assert Device.load(name) is device
        assert Device.from_json(device.to_json()) == device


def test_dead_edges_are_kept_and_flagged() -> None:
    device = Device.load("fake_manhattan")
    assert len(device.dead_edges) == 44
    assert set(device.dead_edges) < set(device.coupling)
    assert "44 of 144 edges dead" in repr(device)


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"'santiago', did you mean 'fake_santiago'.*available_devices"
    ):
        Device.load("santiago")


def test_loading_is_taking_a_snapshot_of_the_fake_backend() -> None:
    assert Device.from_backend(FakeSantiagoV2()) == Device.load("fake_santiago")


def test_aer_with_a_target_has_only_the_mean_readout_error() -> None:
    truth = Device.load("fake_santiago")
    device = Device.from_backend(AerSimulator.from_backend(FakeSantiagoV2()))
    assert device.gates == truth.gates
    assert device.t1 == truth.t1
    assert device.readout[0] == pytest.approx((0.0133, 0.0133))
    assert device.symmetric_readout == (0, 1, 2, 3, 4)
    assert device.date is None
    assert "undated" in repr(device)
    assert "symmetric readout on 5 qubits" in repr(device)


def test_a_generic_backend() -> None:
    device = Device.from_backend(GenericBackendV2(4, basis_gates=["rz", "sx", "cz"], seed=3))
    assert {"cz", "rz", "sx"} <= set(device.native_gates) <= {"cz", "id", "reset", "rz", "sx"}
    assert device.num_qubits == 4
    assert device.dt is not None


class HandMadeBackend(BackendV2):
    """A backend that is nothing but a target."""

    def __init__(self, target: Target) -> None:
        super().__init__(name="hand_made")
        self._target = target

    @property
    def target(self) -> Any:
        return self._target

    @property
    def max_circuits(self) -> None:
        return None

    @classmethod
    def _default_options(cls) -> Any:
        return Options()

    def run(self, run_input: object, **options: object) -> Any:
        raise NotImplementedError


class AsymmetricMeasure(InstructionProperties):
    """As some vendors do: both readout errors as attributes of the target's measurement."""

    prob_meas1_prep0 = 0.01
    prob_meas0_prep1 = 0.04


def test_two_readout_errors_in_the_target_are_used() -> None:
    target = Target(num_qubits=3, qubit_properties=[QubitProperties(t1=1e-4, t2=1e-4)] * 3)
    target.add_instruction(XGate(), {(0,): InstructionProperties(error=0.01), (1,): None})
    target.add_instruction(RZGate(Parameter("t")))  # on every qubit, without a calibration
    measure = {(0,): AsymmetricMeasure(error=0.025), (1,): InstructionProperties(error=0.02)}
    target.add_instruction(Measure(), measure)
    device = Device.from_backend(HandMadeBackend(target))
    assert device.readout == ((0.01, 0.04), (0.02, 0.02), None)
    assert device.symmetric_readout == (1,)
    assert device.gates == (("x", (0,), 0.01, None), ("x", (1,), None, None))


def test_gates_for_some_angles_only_are_left_out() -> None:
    backend = FakeFractionalBackend()
    assert backend.target.gate_has_angle_bounds("rzz")
    device = Device.from_backend(backend)
    assert "rx" in device.native_gates
    assert "rzz" not in device.native_gates


def test_what_is_no_backend_is_refused() -> None:
    with pytest.raises(TypeError, match=r"takes a qiskit BackendV2, got str.*use Device.load"):
        Device.from_backend("fake_santiago")


def test_a_simulator_without_calibration_is_refused() -> None:
    with pytest.raises(ValueError, match="aer_simulator does not say which gates it has"):
        Device.from_backend(AerSimulator())


def test_nan_in_a_backend_is_refused() -> None:
    target = Target(num_qubits=1, qubit_properties=[QubitProperties(t1=1e-4, t2=1e-4)])
    target.add_instruction(XGate(), {(0,): InstructionProperties(error=float("nan"))})
    with pytest.raises(ValueError, match=r"error of x on \(0,\) of hand_made is nan"):
        Device.from_backend(HandMadeBackend(target))


def test_far_names_and_objects_are_no_devices() -> None:
    with pytest.raises(ValueError, match=r"no device named 'fake_rueschlikon'; nisqkit\.noise"):
        Device.load("fake_rueschlikon")
    for given in (None, GenericBackendV2(2, seed=1)):
        with pytest.raises(TypeError, match=r"takes the name .*use Device\.from_backend"):
            Device.load(given)  # type: ignore[arg-type]
