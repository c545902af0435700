from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from qiskit import QuantumCircuit

from nisqkit.circuits import Observables, Task, angle, hardware_efficient, lower
from nisqkit.hardware_backends import Execution, check_backend, execute
from nisqkit.hardware_backends.conformance import random_task
from nisqkit.hardware_backends.ibm import IBMBackend
from nisqkit.hardware_backends.ibm.limits import Limits
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.noise import Device
from nisqkit.noise.mitigation import ZNE, PauliTwirling, ReadoutMitigation
from nisqkit.qml import QuantumLayer

CIRCUIT = angle(2).compose(hardware_efficient(2, layers=1))


def gaps(found: Any, exact: Any) -> torch.Tensor:
    """How many standard errors values are away from exact ones."""
    return ((found.values - exact.values) / found.std).abs().detach()


def test_it_is_a_backend() -> None:
    # it only samples, and with noise, so of the conformance test the contract alone applies
    from nisqkit.hardware_backends.conformance import check_contract

    check_contract(IBMBackend("fake_manila"))
    assert callable(check_backend)


@pytest.mark.parametrize("name", ["fake_manila", "fake_fez", "fake_torino"])
def test_values_are_those_of_the_density_engine(name: str) -> None:
    tasks = [replace(random_task(n, seed=n, batch=4), shots=4000) for n in (1, 2, 3)]
    with torch.no_grad():
        found = IBMBackend(name).run(tasks)
        exact = NoisyBackend(Device.load(name)).run([replace(t, shots=None) for t in tasks])
    scores = torch.cat([gaps(a, b).flatten() for a, b in zip(found, exact, strict=True)])
    assert scores.numel() == 48
    # of 48 normal scores one is above 4 in 300 tries; their mean square has the width 0.2
    assert scores.max() < 4
    assert 0.4 < scores.square().mean() < 1.8


def test_the_older_primitives_give_the_same() -> None:
    task = replace(random_task(2, seed=5, batch=3), shots=4000)
    with torch.no_grad():
        (found,) = IBMBackend("fake_manila", generation="server").run([task])
        (exact,) = NoisyBackend(Device.load("fake_manila")).run([replace(task, shots=None)])
    assert gaps(found, exact).max() < 4


def test_the_estimator_is_used_for_resilience_options() -> None:
    x = torch.tensor([[0.3, -0.7], [1.0, 0.2]])
    program = lower(CIRCUIT, inputs="x")
    weights = torch.linspace(-1, 1, len(program.weights))
    observables = Observables.parse(["ZI", "XX", "IY"], 2)
    task = Task(program, x, weights, observables, shots=20_000)
    plain = IBMBackend("fake_manila", options={"resilience_level": 0})
    assert plain.kind == "estimator"
    (found,) = plain.run([task])
    (exact,) = NoisyBackend(Device.load("fake_manila")).run([replace(task, shots=None)])
    assert gaps(found, exact).max() < 4
    # IBM's own readout mitigation acts in local mode, too: the values are nearer to noise-free ones
    (mitigated,) = IBMBackend("fake_manila", options={"resilience_level": 1}).run([task])
    (ideal,) = execute([replace(task, shots=None)], Execution("native"))
    before, after = ((r.values - ideal.values).abs().mean() for r in (found, mitigated))
    assert after < 0.6 * before


def test_twirling_is_passed_on() -> None:
    task = replace(random_task(2, seed=6, batch=2), shots=4096)
    options = {"twirling": {"enable_gates": True, "num_randomizations": 32}}
    with torch.no_grad():
        (found,) = IBMBackend("fake_manila", options=options).run([task])
        (exact,) = NoisyBackend(Device.load("fake_manila")).run([replace(task, shots=None)])
    # twirling changes the noise, of some 2 percent, and nothing else
    assert (found.values - exact.values).abs().max() < 0.1


def test_our_own_mitigation_acts_in_local_mode() -> None:
    x = torch.tensor([[0.4, -0.9], [0.8, 0.1]])
    layer = QuantumLayer(CIRCUIT, inputs="x", seed=3)
    ideal = layer(x)
    errors = {}
    for name, stack in {
        "raw": [],
        "readout": [ReadoutMitigation()],
        "calibrated": [ReadoutMitigation(source="calibration")],
        "all": [PauliTwirling(4), ReadoutMitigation(method="bayes"), ZNE(extrapolation="linear")],
    }.items():
        moved = layer.with_backend("ibm:fake_manila", shots=10_000, mitigation=stack)
        errors[name] = float((moved(x) - ideal).abs().mean().detach())
    assert errors["readout"] < 0.5 * errors["raw"]
    assert errors["calibrated"] < 0.5 * errors["raw"]
    assert errors["all"] < 0.7 * errors["raw"]


def test_a_training_step_is_one_job_and_one_pub() -> None:
    # PennyLane's qiskit.remote sends 36 jobs for it: 4 samples times 1 + 2 * 4 circuits
    layer = QuantumLayer(CIRCUIT, inputs="x", backend="ibm:fake_fez", shots=100, seed=0)
    assert len(layer.weights) == 4
    x = torch.rand(4, 2, generator=torch.Generator().manual_seed(0))
    plan = layer.plan(x)
    assert (plan.jobs, plan.pubs, plan.circuits) == (1, 1, 36)
    layer(x).sum().backward()
    assert layer.weights.grad is not None and layer.weights.grad.abs().sum() > 0


def test_gradients_are_those_of_the_noisy_engine() -> None:
    x = torch.rand(3, 2, generator=torch.Generator().manual_seed(1))
    layer = QuantumLayer(CIRCUIT, inputs="x", seed=0)
    exact = layer.with_backend("native", noise=Device.load("fake_manila"))
    exact(x).sum().backward()
    assert layer.weights.grad is not None
    wanted = layer.weights.grad
    layer.weights.grad = None
    layer.with_backend("ibm:fake_manila", shots=20_000)(x).sum().backward()
    # each of 3 samples x 2 outputs adds half a difference of two values with errors below 0.007
    assert layer.weights.grad is not None
    assert (layer.weights.grad - wanted).abs().max() < 4 * 0.0071 * (6 / 2) ** 0.5


def test_a_circuit_without_parameters_keeps_its_batch() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    task = Task(
        lower(circuit), torch.zeros(3, 0), torch.zeros(0), Observables.parse("ZZ", 2), shots=500
    )
    (found,) = IBMBackend("fake_manila").run([task])
    assert found.values.shape == (3, 1) and found.values.min() > 0.7
    assert len(set(found.values[:, 0].tolist())) > 1  # drawn apart


def test_calls_are_divided_at_the_limits() -> None:
    task = replace(random_task(2, seed=2, batch=10), shots=100)
    whole = IBMBackend("fake_manila")
    small = IBMBackend("fake_manila", limits=Limits(executions=700))
    with torch.no_grad():
        jobs, _ = small.jobs([task])
        assert all(job.executions <= 700 for job in jobs)
        assert sum(job.executions for job in jobs) == whole.jobs([task])[0][0].executions
        (found,) = small.run([task])
        (exact,) = NoisyBackend(Device.load("fake_manila")).run([replace(task, shots=None)])
    assert found.values.shape == (10, 4)
    assert gaps(found, exact).max() < 5  # 100 shots have tails


def test_different_shots_are_different_jobs() -> None:
    one = replace(random_task(2, seed=2, batch=2), shots=100)
    jobs, _ = IBMBackend("fake_manila").jobs([one, replace(one, shots=200)])
    assert [job.shots for job in jobs] == [100, 200]


def test_the_same_seed_gives_the_same_shots() -> None:
    task = replace(random_task(2, seed=2, batch=2), shots=200, seed=(1, 2, 3))
    with torch.no_grad():
        first, again, other = (
            IBMBackend("fake_manila").run([t])[0].values
            for t in (task, task, replace(task, seed=(1, 3, 3)))
        )
    assert torch.equal(first, again) and not torch.equal(first, other)


def task_of(width: int, shots: int | None = 100) -> Task:
    x = torch.zeros(1, width)
    z = Observables.parse(None, width)
    return Task(lower(angle(width), inputs="x"), x, torch.zeros(0), z, shots)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shots": None}, "only samples: give shots=, for example shots=4096"),
        ({"shots": 0}, "shots is 0: give a positive number"),
        ({"shots": 10_000_001}, "a job takes 10000000 executions: use fewer"),
        ({"noise_scale": 3.0}, "cannot run at 3 times its noise: fold gates instead"),
    ],
)
def test_tasks_that_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IBMBackend("fake_manila").run([replace(task_of(2), **change)])


def test_more_qubits_than_the_machine_has() -> None:
    with pytest.raises(ValueError, match="the circuit has 6 qubits and fake_manila has 5"):
        IBMBackend("fake_manila").check(task_of(6))


def test_more_qubits_than_local_mode_simulates() -> None:
    with pytest.raises(ValueError, match=r"simulates the 25 qubits .* and can do 24"):
        IBMBackend("fake_fez").check(task_of(25))


def test_probabilities_of_an_estimator() -> None:
    task = replace(task_of(2), observables=Observables.parse("probs", 2))
    with pytest.raises(ValueError, match="estimator's, and that has no probabilities"):
        IBMBackend("fake_manila", options={"resilience_level": 1}).run([task])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"twirlin": {}}, "does not take these options: .*twirlin"),
        ({"twirling": {"enable_gates": "perhaps"}}, "does not take these options"),
        ({"default_shots": 3}, "options has 'default_shots': leave it out, shots= says how many"),
        ({"environment": {"private": True}}, "a result can be read only once"),
        ({"execution": {"meas_type": "kerneled"}}, "nisqkit reads bits"),
        ({"dynamical_decoupling": {"enable": True}}, "decoupling would show nothing"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IBMBackend("fake_manila", options=options)


def test_names_that_are_unknown() -> None:
    with pytest.raises(ValueError, match="unknown backend 'ibm:fake_manla'; did you mean 'ibm:"):
        IBMBackend("ibm:fake_manla")
    with pytest.raises(ValueError, match="unknown mode 'bach'; did you mean 'batch'"):
        IBMBackend("fake_manila", mode="bach")
    with pytest.raises(ValueError, match="max_qpu_seconds is 0: give more than 0"):
        IBMBackend("fake_manila", max_qpu_seconds=0)
    with pytest.raises(ValueError, match="unknown generation 'old'"):
        IBMBackend("fake_manila", generation="old", options={"twirling": {}})


def test_a_layer_survives_pickle_and_copies(tmp_path: Path) -> None:
    import copy
    import pickle

    layer = QuantumLayer(CIRCUIT, inputs="x", backend="ibm:fake_manila", shots=50, seed=0)
    layer(torch.zeros(1, 2))
    other = pickle.loads(pickle.dumps(layer))
    assert repr(other.backend) == repr(layer.backend)  # the same run
    assert torch.equal(copy.deepcopy(layer)(torch.zeros(1, 2)), other(torch.zeros(1, 2)))
