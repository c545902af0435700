"""Where runs go, and which states are kept."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from nisqkit.circuits import Observables, lower
from nisqkit.circuits.program import GateUse
from nisqkit.hardware_backends.native.trajectory_plan import TrajectoryPlan, trajectory_plan
from nisqkit.noise.channels import Channel
from nisqkit.noise.model import NoiseModel
from nisqkit.noise.noisy_program import NoiseUse, NoisyProgram


def noisy_layers(channel: Channel, layers: int = 3) -> NoisyProgram:
    """Inputs first, then layers of weights and CX, with the channel after each gate's qubits."""
    x, w = ParameterVector("x", 3), ParameterVector("w", 3 * layers)
    circuit = QuantumCircuit(3)
    for q in range(3):
        circuit.ry(x[q], q)
    for layer in range(layers):
        for q in range(3):
            circuit.ry(w[3 * layer + q], q)
        circuit.cx(0, 1)
        circuit.cx(2, 1)
    program = lower(circuit, inputs="x")
    operations: list[GateUse | NoiseUse] = []
    for use in program.gates:
        operations.append(use)
        operations += [NoiseUse(channel, (q,), use.name) for q in use.qubits]
    return NoisyProgram(program, tuple(operations), (), (0, 1, 2), (0, 1, 2), NoiseModel("t", {}))


def plan(channel: Channel, layers: int = 3) -> TrajectoryPlan:
    return trajectory_plan(noisy_layers(channel, layers), Observables.parse(None, 3))


@pytest.mark.parametrize(("batch", "runs"), [(1, 1), (17, 3), (16, 16), (0, 5)])
def test_every_run_has_a_lane_and_its_weight(batch: int, runs: int) -> None:
    made = plan(Channel.pauli({"X": 0.01}))
    lanes = made.lanes(batch, runs, (0, 0, 0))
    assert len(set(lanes.position)) == batch * runs
    assert (lanes.sample.ravel()[lanes.position] == np.repeat(np.arange(batch), runs)).all()
    total = np.zeros(batch)
    np.add.at(total, lanes.sample.ravel()[lanes.weight.ravel() > 0], lanes.weight[lanes.weight > 0])
    np.testing.assert_allclose(total, 1)
    used = np.zeros(lanes.sample.size, bool)
    used[:batch] = used[lanes.position] = True
    assert (lanes.weight.ravel()[~used] == 0).all()
    hit = np.repeat(np.arange(len(lanes.sample)), np.diff(lanes.first_event)) * 16
    assert set(hit + lanes.events[:, 1]) == set(lanes.position)  # every run has an error


def test_without_noise_there_are_no_runs() -> None:
    made = plan(Channel.depolarizing(0.0))
    assert made.no_error == 1.0
    assert len(made.lanes(17, 100, (0, 0, 0)).sample) == 2


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 16, 37])
def test_a_pattern_is_one_lane_of_each_sample(batch: int, shared: bool) -> None:
    made = plan(Channel.pauli({"X": 0.05}))
    lanes = made.patterns(batch, (0, 0, 0), shared)
    assert lanes.sample.shape == (-(-batch // 16), 16)
    assert (lanes.sample.ravel()[lanes.position] == np.arange(batch)).all()
    assert (lanes.weight.ravel()[lanes.position] == 1).all()
    assert lanes.weight.sum() == batch
    units = np.repeat(np.arange(len(lanes.sample)), np.diff(lanes.first_event))
    at = 16 * units + lanes.events[:, 1]
    assert set(at) <= set(lanes.position)
    found = [{tuple(e) for e in lanes.events[at == lane][:, [0, 2]]} for lane in lanes.position]
    if batch > 1:  # of some two errors in each run
        assert all(found[0] == other for other in found) == shared


def test_runs_with_the_same_errors_go_side_by_side() -> None:
    made = plan(Channel.pauli({"X": 1e-4}), layers=10)
    lanes = made.lanes(8, 64, (0, 0, 0))
    factors = [
        set(lanes.events[a:b, 0])
        for a, b in zip(lanes.first_event[1:-1], lanes.first_event[2:], strict=True)
    ]
    assert np.mean([len(f) for f in factors]) < 8  # of 16 runs with one error each


def test_states_are_kept_before_errors_that_are_not_unitary_only() -> None:
    for channel, kept in (
        (Channel.pauli({"X": 0.1, "Y": 0.1}), False),
        (Channel.dephasing(0.2), False),
        (Channel.relaxation(0.05), True),
    ):
        lanes = plan(channel, layers=1).lanes(16, 4, (0, 0, 0))
        assert (lanes.depth > 0) == kept
        assert len(lanes.stores) <= len(lanes.events)


def test_states_are_kept_before_noise_amplifies_rounding_errors_too_much() -> None:
    lanes = plan(Channel.relaxation(0.05), layers=40).lanes(1, 1, (0, 0, 0))
    first = lanes.stores[: lanes.first_store[1]]  # of the run without errors
    anchors = np.unique(first[:, 0])
    assert (np.unique(first[:, 1]) == np.arange(16)).all()
    gates = 3 + 40 * 7
    assert 0 < len(anchors) <= np.ceil(gates * np.log(0.95) / -2 / np.log(8))


def test_what_needs_no_gradient_is_not_run_backwards() -> None:
    made = plan(Channel.pauli({"X": 0.01}))
    assert made.stop(inputs_wanted=True) == 0
    assert made.stop(inputs_wanted=False) == 3


def test_the_identity_is_a_constant() -> None:
    sums = ((("III", 0.5), ("IZI", 1.0), ("III", 0.25)), (("XII", 1.0),))
    made = trajectory_plan(noisy_layers(Channel.dephasing(0.1)), Observables(3, sums))
    assert made.constants.tolist() == [0.75, 0.0]
    assert made.plan.observables.strings == ("IZI", "XII")


def test_plans_are_kept_with_the_program() -> None:
    noisy = noisy_layers(Channel.dephasing(0.1))
    observables = Observables.parse(None, 3)
    first = trajectory_plan(noisy, observables)
    assert trajectory_plan(noisy, observables) is first
    other = trajectory_plan(noisy, Observables(3, None))
    assert other is not first and other.noisy is first.noisy
