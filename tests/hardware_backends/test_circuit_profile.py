"""Profiles of circuits against Qiskit's counts, and against training steps that are counted."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit_ibm_runtime.fake_provider import FakeBelemV2

from nisqkit.circuits import Observables, Task, amplitude, angle, hardware_efficient, lower, u3_cu3
from nisqkit.hardware_backends import Execution, execute
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.circuit_profile import executions, profile_circuit
from nisqkit.hardware_backends.gradients import SPSA
from nisqkit.hardware_backends.sampling import measurement_bases
from nisqkit.hardware_backends.transpile import Transpiled, transpile_to
from nisqkit.noise import Device
from nisqkit.noise.mitigation import ZNE
from nisqkit.search.profile import Profile

BELEM = Device.load("fake_belem")
CIRCUITS = [
    angle(4).compose(u3_cu3(4, blocks=2)),
    angle(3).compose(hardware_efficient(3, layers=2)),
    amplitude(4).compose(hardware_efficient(2, layers=1)),
]
IDS = ["u3 cu3", "ry rz", "amplitudes"]


def values(found: Profile, *names: str) -> list[float]:
    return [found.total(name).value for name in names]


# --- size and errors, as Qiskit says them ---


@pytest.mark.parametrize("circuit", CIRCUITS[:2], ids=IDS[:2])
def test_counts_before_transpiling_are_qiskits(circuit: QuantumCircuit) -> None:
    found = profile_circuit(circuit, inputs="x").flat()
    counts = circuit.count_ops()
    assert {k: v for k, v in found.items() if k.startswith("gates.")} == {
        f"gates.{name}": count for name, count in counts.items()
    }
    assert found["qubits"] == circuit.num_qubits
    assert found["depth"] == circuit.depth()
    assert found["two_qubit_gates"] == circuit.num_nonlocal_gates()
    assert found["one_qubit_gates"] == circuit.size() - circuit.num_nonlocal_gates()
    assert "success_probability" not in found
    assert "duration_seconds" not in found


@pytest.mark.parametrize("circuit", CIRCUITS, ids=IDS)
def test_on_a_device_they_are_those_of_the_native_circuit(circuit: QuantumCircuit) -> None:
    profile = profile_circuit(circuit, BELEM, inputs="x")
    found = profile.flat()
    native = transpile_to(lower(circuit, "x"), BELEM)
    target = FakeBelemV2().target
    counts = native.circuit.count_ops()
    assert {k: v for k, v in found.items() if k.startswith("gates.")} == {
        f"gates.{name}": count for name, count in counts.items()
    }
    assert found["depth"] == native.circuit.depth()
    assert found["two_qubit_depth"] == native.circuit.depth(lambda i: i.operation.num_qubits == 2)
    assert found["two_qubit_gates"] == counts["cx"]
    assert found["virtual_gates"] == counts["rz"]
    assert found["qubits"] == circuit.num_qubits
    assert found["physical_qubits"] == len(native.active)
    bound = native.circuit.assign_parameters(np.zeros(native.circuit.num_parameters))
    reads = [target["measure"][(q,)] for q in native.layout]
    seconds = bound.estimate_duration(target, unit="s") + max(r.duration for r in reads)
    assert found["duration_seconds"] == pytest.approx(seconds)
    success = np.prod([1 - read.error for read in reads])
    for use in native.circuit.data:
        qubits = tuple(native.circuit.find_bit(q).index for q in use.qubits)
        success *= 1 - (target[use.name][qubits].error or 0)
    assert found["success_probability"] == pytest.approx(success)
    metric = profile.total("success_probability")
    assert (metric.source, metric.date) == ("calibrated", BELEM.date.date().isoformat())  # type: ignore[union-attr]
    before = profile_circuit(circuit, inputs="x").flat()
    assert found["logical.depth"] == before["depth"]
    assert found["logical.two_qubit_gates"] == before["two_qubit_gates"]


def test_barriers_are_no_gates_and_measurements_at_the_end_are_left_out() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.barrier()
    circuit.cx(0, 1)
    plain = profile_circuit(circuit).flat()
    circuit.measure_all()
    assert profile_circuit(circuit).flat() == plain
    assert plain["gates.h"] == plain["gates.cx"] == plain["two_qubit_depth"] == 1
    assert "gates.barrier" not in plain


def test_what_a_device_does_not_say_is_left_out_and_said() -> None:
    gates = tuple(g._replace(duration=None) if g.gate == "sx" else g for g in BELEM.gates)
    silent = replace(BELEM, gates=gates, readout=(None,) * 5)
    found = profile_circuit(hardware_efficient(3, 1), silent)
    assert {"duration_seconds", "success_probability"}.isdisjoint(found.flat())
    assert "duration_seconds is not known: fake_belem lacks some durations" in found.notes
    assert "success_probability is not known: fake_belem lacks errors of measure" in found.notes
    # and the price is that of the quick form
    assert found.total("qpu_seconds_per_forward").value == pytest.approx(2 + 0.00035 * 4096)


# --- executions, counted in real training steps ---


class Counting(Backend):
    """Runs nothing, and counts circuits: samples times bases."""

    name = "counting"

    def __init__(self, device: Device | None = None) -> None:
        self.device, self.count = device, 0

    def transpile(self, program: object) -> Transpiled | None:
        return None if self.device is None else transpile_to(program, self.device)  # type: ignore[arg-type]

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        for task in tasks:
            self.count += task.batch * len(measurement_bases(task.observables))
        return [Result(torch.zeros(task.batch, task.observables.num_outputs)) for task in tasks]


def counted(
    circuit: QuantumCircuit,
    observables: Observables,
    method: str | SPSA,
    *,
    batch: int = 1,
    inputs: bool = False,
    weights: bool = True,
    device: Device | None = None,
) -> int:
    program, backend = lower(circuit, "x"), Counting(device)
    x = torch.ones(batch, len(program.inputs), requires_grad=inputs)
    w = torch.ones(len(program.weights), requires_grad=weights)
    execute([Task(program, x, w, observables)], Execution(backend, diff_method=method))
    return backend.count


@pytest.mark.parametrize("device", [None, BELEM], ids=["ideal", "device"])
@pytest.mark.parametrize("inputs", [False, True], ids=["", "encoder upstream"])
@pytest.mark.parametrize("circuit", CIRCUITS, ids=IDS)
def test_executions_are_those_of_a_training_step(
    circuit: QuantumCircuit, inputs: bool, device: Device | None
) -> None:
    observables = Observables.parse(
        ["Z" * circuit.num_qubits, "X" * circuit.num_qubits], circuit.num_qubits
    )
    found = profile_circuit(
        circuit,
        device,
        inputs="x",
        observables=observables,
        batch=3,
        train_inputs=inputs,
        spsa_samples=2,
    )
    run = {"batch": 3, "inputs": inputs, "device": device}
    shift = counted(circuit, observables, "parameter-shift", **run)  # type: ignore[arg-type]
    spsa = counted(circuit, observables, SPSA(samples=2), **run)  # type: ignore[arg-type]
    forward = counted(circuit, observables, "spsa", batch=3, weights=False)
    assert forward == 6
    assert values(
        found,
        "executions_per_step.parameter_shift",
        "executions_per_step.spsa",
        "executions_per_step.adjoint",
        "executions_per_forward",
    ) == [shift, spsa, forward, forward]


def test_the_hidden_cost_of_a_trained_encoder() -> None:
    circuit = angle(4).compose(hardware_efficient(4, layers=3))
    plain = profile_circuit(circuit, inputs="x", batch=64)
    hidden = profile_circuit(circuit, inputs="x", batch=64, train_inputs=True)
    name = "executions_per_step.parameter_shift"
    # 24 weights; 4 encoding gates of one input each: two copies for each
    assert values(plain, name) == [64 * (1 + 2 * 24)]
    assert values(hidden, name) == [64 * (1 + 2 * 24 + 2 * 4)]
    assert values(hidden, "executions_per_forward") == values(plain, "executions_per_forward")


def test_controlled_gates_need_four_copies_and_repeated_weights_more() -> None:
    w = ParameterVector("w", 1)
    circuit = QuantumCircuit(2)
    circuit.ry(w[0], 0)
    circuit.cry(w[0], 0, 1)
    z = Observables.parse(None, 2)
    assert executions(lower(circuit), z).parameter_shift == 1 + 2 + 4
    assert executions(lower(circuit), z, weights=False).parameter_shift == 1
    assert executions(lower(circuit), z, weights=False).spsa == 1


def test_mitigation_multiplies_and_is_an_estimate() -> None:
    circuit = hardware_efficient(2, layers=1)
    plain = profile_circuit(circuit)
    zne = profile_circuit(circuit, mitigation=ZNE(scale_factors=(1, 3, 5)))
    for name in ("executions_per_forward", "executions_per_step.parameter_shift"):
        assert zne.total(name).value == 3 * plain.total(name).value
        assert (plain.total(name).source, zne.total(name).source) == ("exact", "estimated")


# --- QPU time and price ---


def test_qpu_time_and_price_of_the_reference_example() -> None:
    circuit = angle(4).compose(hardware_efficient(4, layers=3))
    found = profile_circuit(
        circuit, inputs="x", batch=64, shots=1000, train_inputs=True, steps_per_epoch=10
    )
    seconds = 2 + 0.00035 * 57 * 64 * 1000
    shift = "per_step.parameter_shift"
    assert values(found, f"qpu_seconds_{shift}", f"price_usd_{shift}") == pytest.approx(
        [seconds, seconds * 1.6]
    )
    assert found.total("qpu_seconds_per_epoch.spsa").value == pytest.approx(
        10 * (2 + 0.00035 * 3 * 64 * 1000)
    )
    assert found.total(f"price_usd_{shift}").date == "2026-05-25"
    assert not any("adjoint" in name and "qpu" in name for name in found.flat())
    assert profile_circuit(circuit, inputs="x", plan="open").total(f"price_usd_{shift}").value == 0


def test_on_a_device_the_length_of_the_circuit_counts() -> None:
    found = profile_circuit(hardware_efficient(3, 1), BELEM, shots=100, rep_delay=50e-6)
    layout = transpile_to(lower(hardware_efficient(3, 1)), BELEM).layout
    target = FakeBelemV2().target
    reset = max((target["reset"][(q,)].duration for q in layout) if "reset" in target else [0.0])
    length = found.total("duration_seconds").value + reset
    seconds = 2 + 100 * (length + 50e-6)
    assert found.total("qpu_seconds_per_forward").value == pytest.approx(seconds)


# --- simulation ---


def test_simulation_takes_the_states() -> None:
    # forward states and their co-states, of 16 samples at least
    for qubits, batch in ((6, 16), (6, 64), (10, 16)):
        found = profile_circuit(hardware_efficient(qubits, 2), batch=batch)
        states = 2**qubits * 8 * batch
        assert states <= found.total("simulation_bytes").value <= 4 * states
        double = profile_circuit(hardware_efficient(qubits, 2), batch=batch, double=True)
        assert double.total("simulation_bytes").value == 2 * found.total("simulation_bytes").value
    assert found.total("simulation_seconds_per_step").source == "estimated"


def test_bad_calls_are_refused() -> None:
    circuit = hardware_efficient(2, 1)
    with pytest.raises(TypeError, match="takes a QuantumCircuit or a Program, not str"):
        profile_circuit("h 0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layout says where on a device: give device"):
        profile_circuit(circuit, layout=[0, 1])
    for name in ("batch", "shots", "steps_per_epoch"):
        with pytest.raises(ValueError, match=f"{name} is 0: give 1 or more"):
            profile_circuit(circuit, **{name: 0})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown plan 'opne'; did you mean 'open'"):
        profile_circuit(circuit, plan="opne")
    with pytest.raises(ValueError, match="a Program knows its inputs"):
        profile_circuit(lower(circuit), inputs="x")
    with pytest.raises(ValueError, match="rep_delay needs the length of the circuit"):
        profile_circuit(circuit, rep_delay=1e-4)
    with pytest.raises(ValueError, match="SPSA needs at least 1 sample"):
        profile_circuit(circuit, spsa_samples=0)
    with pytest.raises(ValueError, match="8 qubits and fake_belem has 5"):
        profile_circuit(hardware_efficient(8, 1), BELEM)
