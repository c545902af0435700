"""Qiskit's, Aer's and backends' V2 primitives give the values of the circuit, or say why not."""

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit.transpiler import CouplingMap
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler

from nisqkit.circuits import Observables, Task, amplitude, lower, u3_cu3
from nisqkit.hardware_backends.aer import AerBackend
from nisqkit.hardware_backends.aer_noise import aer_noise_model
from nisqkit.hardware_backends.conformance import check_values_and_gradients, random_circuit
from nisqkit.hardware_backends.qiskit_primitives import (
    EstimatorBackend,
    SamplerBackend,
    primitive_backend,
)
from nisqkit.noise import Device

SANTIAGO = Device.load("fake_santiago")
UNREAD = replace(SANTIAGO, readout=((0.0, 0.0),) * 5)  # gates are noisy, readout is not
OBSERVABLES = ["IZZ", "ZII", SparsePauliOp(["XIZ", "III", "YYI"], [1.0, 0.5, -2.0])]


def task(seed: int, observables: Any = None, **options: Any) -> Task:
    program = lower(random_circuit(3, 12, seed), inputs="x")
    inputs = torch.linspace(-2, 3, 6, dtype=torch.float64).reshape(2, 3)
    weights = torch.linspace(0.2, 1.4, 4, dtype=torch.float64)
    return Task(
        program,
        inputs[:, : len(program.inputs)],
        weights[: len(program.weights)],
        Observables.parse(observables or OBSERVABLES, 3),
        **options,
    )


def exact(of: Task) -> np.ndarray:
    """Values from Qiskit's own state vector of the circuit that the task was made from."""
    seed = SEEDS[of.program]
    circuit = random_circuit(3, 12, seed)
    rows = []
    for x in of.inputs.tolist():
        names = dict(zip(of.program.inputs, x, strict=True))
        names |= dict(zip(of.program.weights, of.weights.tolist(), strict=True))
        state = Statevector(
            circuit.assign_parameters({p: names[p.name] for p in circuit.parameters})
        )
        if of.observables.sums is None:
            rows.append(state.probabilities())
            continue
        operators = [SparsePauliOp.from_list(list(terms)) for terms in of.observables.sums]
        rows.append([state.expectation_value(op).real for op in operators])
    return np.array(rows)


SEEDS = {task(seed).program: seed for seed in range(10)}


def noisy_simulator(device: Device, **options: Any) -> AerSimulator:
    return AerSimulator(noise_model=aer_noise_model(device), **options)


def fixed(circuit: QuantumCircuit, observables: Any, batch: int, shots: int | None = None) -> Task:
    parsed = Observables.parse(observables, circuit.num_qubits)
    return Task(lower(circuit), torch.zeros(batch, 0), torch.zeros(0), parsed, shots)


@pytest.mark.parametrize("estimator", [StatevectorEstimator(), AerEstimator()])
def test_exact_estimators(estimator: Any) -> None:
    backend = EstimatorBackend(estimator)
    assert backend.exact
    tasks = [task(seed) for seed in range(4)]
    for of, result in zip(tasks, backend.run(tasks), strict=True):
        assert result.std is None
        assert result.values.numpy() == pytest.approx(exact(of), abs=1e-10)


def test_an_exact_estimator_conforms() -> None:
    check_values_and_gradients(EstimatorBackend(StatevectorEstimator()))


def test_controlled_rotations_keep_their_angles_on_aer() -> None:
    # Aer's primitives leave out the angles of crx, cp, cu3, ... when they bind parameters
    program = lower(u3_cu3(3, blocks=1))
    weights = torch.linspace(0.3, 2.5, len(program.weights), dtype=torch.float64)
    of = Task(program, weights.new_zeros(1, 0), weights, Observables.parse(None, 3))
    wanted = EstimatorBackend(StatevectorEstimator()).run([of])[0].values
    assert EstimatorBackend(AerEstimator()).run([of])[0].values.numpy() == pytest.approx(
        wanted.numpy()
    )


@pytest.mark.parametrize(
    "primitive",
    [
        StatevectorEstimator(seed=1),
        AerEstimator(options={"run_options": {"seed_simulator": 1}}),
        BackendEstimatorV2(backend=AerSimulator(), options={"seed_simulator": 1}),
        StatevectorSampler(seed=1),
        AerSampler(seed=1),
        BackendSamplerV2(backend=AerSimulator(), options={"seed_simulator": 1}),
    ],
    ids=lambda p: f"{type(p).__module__.split('.')[0]}-{type(p).__name__}",
)
def test_shots_scatter_around_the_exact_values(primitive: Any) -> None:
    backend = primitive_backend(primitive)
    tasks = [task(seed, shots=4000) for seed in range(3)]
    for of, result in zip(tasks, backend.run(tasks), strict=True):
        assert result.std is not None
        score = (result.values.numpy() - exact(of)) / result.std.numpy()
        assert np.abs(score).max() < 4
        assert 0.2 < (score**2).mean() < 3


@pytest.mark.parametrize("layout", [None, [2, 1, 3], [4, 0, 2]])
@pytest.mark.parametrize("kind", [BackendEstimatorV2, BackendSamplerV2, AerSampler])
def test_noisy_primitives_agree_with_density_matrices(kind: Any, layout: list[int] | None) -> None:
    simulator = noisy_simulator(SANTIAGO)
    if kind is AerSampler:
        primitive = AerSampler.from_backend(simulator, seed=5)
    else:
        primitive = kind(backend=simulator, options={"seed_simulator": 5})
    backend = primitive_backend(primitive, device=SANTIAGO, layout=layout)
    tasks = [task(4, shots=4000), task(5, ["ZZI", "IIZ"], shots=4000)]
    wanted = AerBackend(SANTIAGO, layout=layout).run([replace(t, shots=None) for t in tasks])
    for result, right in zip(backend.run(tasks), wanted, strict=True):
        assert result.std is not None
        assert ((result.values - right.values).abs() < 4 * result.std).all()


def test_an_exact_noisy_estimator_agrees_with_density_matrices() -> None:
    estimator = AerEstimator.from_backend(
        AerSimulator(
            noise_model=aer_noise_model(replace(UNREAD, readout=(None,) * 5)),
            method="density_matrix",
        )
    )
    backend = EstimatorBackend(estimator, device=UNREAD, layout=[3, 1, 2])
    of = task(
        6, ["IIZ", "IZI", "ZIZ"]
    )  # other bases are rotated by noisy gates in `AerBackend` only
    wanted = AerBackend(UNREAD, layout=[3, 1, 2]).run([of])[0].values
    assert backend.run([of])[0].values.numpy() == pytest.approx(wanted.numpy(), abs=1e-9)
    assert np.abs(wanted.numpy() - exact(of)).max() > 0.01


@pytest.mark.parametrize("kind", [BackendEstimatorV2, BackendSamplerV2])
def test_circuits_are_transpiled_for_a_backend_with_a_target(kind: Any) -> None:
    line = GenericBackendV2(6, coupling_map=CouplingMap.from_line(6), seed=3)
    backend = primitive_backend(kind(backend=line, options={"seed_simulator": 2}), layout=[4, 2, 1])
    assert backend.device is not None and backend.device.num_qubits == 6
    program = task(7).program
    found = backend.transpile(program)
    assert found is not None
    assert found.initial_layout == (4, 2, 1)
    result = backend.run([task(7, shots=4000)])[0]
    # the generic backend is a little noisy
    assert np.abs(result.values.numpy() - exact(task(7))).max() < 0.4
    assert primitive_backend(StatevectorSampler()).transpile(program) is None


@pytest.mark.parametrize("primitive", [StatevectorSampler(seed=2), AerSampler(seed=2)])
def test_probabilities_of_a_sampler(primitive: Any) -> None:
    of = task(8, "probs", shots=4000)
    result = SamplerBackend(primitive).run([of])[0]
    assert result.values.sum(dim=1).tolist() == pytest.approx([1, 1])
    assert np.abs(result.values.numpy() - exact(of)).max() < 4 * 0.5 / 4000**0.5
    wide = QuantumCircuit(9)
    wide.x(0)
    wide.x(8)
    found = SamplerBackend(primitive).run([fixed(wide, "probs", 1, shots=10)])[0].values
    assert found[0, 0b100000001] == 1


def test_observables_of_a_group_share_their_bitstrings() -> None:
    circuit = QuantumCircuit(10)
    circuit.h(2)
    circuit.cx(2, 9)
    first, last = "I" * 7 + "ZII", "Z" + "I" * 9
    total = SparsePauliOp([first, last])
    both = "Z" + "I" * 6 + "ZII"
    of = fixed(circuit, [first, last, total, both], 1, shots=4000)
    result = SamplerBackend(StatevectorSampler(seed=3)).run([of])[0]
    assert result.std is not None
    assert result.values[0, 0] == result.values[0, 1]
    assert result.values[0, 3] == 1
    expected = [4000**-0.5, 4000**-0.5, 2 * 4000**-0.5, 0]
    assert result.std[0].tolist() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    "primitive",
    [
        StatevectorEstimator(seed=1),
        AerEstimator(options={"run_options": {"seed_simulator": 1}}),
        StatevectorSampler(seed=1),
        AerSampler(seed=1),
        BackendSamplerV2(backend=GenericBackendV2(3, seed=1), options={"seed_simulator": 1}),
    ],
    ids=lambda p: f"{type(p).__module__.split('.')[0]}-{type(p).__name__}",
)
def test_a_batch_of_a_circuit_without_parameters(primitive: Any) -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    result = primitive_backend(primitive).run([fixed(circuit, ["XX", "II", "ZI"], 3, shots=900)])[0]
    wanted = np.tile([1.0, 1.0, 0.0], (3, 1))
    assert result.values.numpy() == pytest.approx(wanted, abs=0.15)


class Counting(StatevectorSampler):
    """Notes the number of PUBs of every call."""

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.calls: list[int] = []

    def run(self, pubs: Any, *, shots: int | None = None) -> Any:
        pubs = list(pubs)
        self.calls.append(len(pubs))
        return super().run(pubs, shots=shots)


def test_all_tasks_are_one_call() -> None:
    sampler = Counting()
    tasks = [task(1, ["ZZZ", "XII", "IIZ"], shots=10), task(2, "probs", shots=20)]
    SamplerBackend(sampler).run(tasks)
    assert sampler.calls == [3]  # a PUB per measurement basis: Z and X, and Z
    assert SamplerBackend(sampler).run([]) == EstimatorBackend(StatevectorEstimator()).run([]) == []


def test_amplitude_input_and_dtype() -> None:
    circuit = amplitude(6)
    circuit.ry(0.4, 1)
    x = torch.tensor([[0.1, 2.0, -0.3, 0.4, 1.0, -0.6]])
    of = Task(
        lower(circuit, inputs="x"), x, torch.zeros(0), Observables.parse(["IXZ", "ZYY", "ZII"], 3)
    )
    found = EstimatorBackend(AerEstimator()).run([of])[0].values
    assert found.dtype == torch.float32
    state = Statevector(np.append(x[0].numpy() / x.norm().item(), [0, 0]).astype(complex))
    rotation = QuantumCircuit(3)
    rotation.ry(0.4, 1)
    state = state.evolve(rotation)
    wanted = [state.expectation_value(SparsePauliOp(s)).real for s in ("IXZ", "ZYY", "ZII")]
    assert found[0].tolist() == pytest.approx(wanted, abs=1e-5)


def test_copies_and_pickles_run() -> None:
    simulator = noisy_simulator(SANTIAGO)
    for backend in (
        EstimatorBackend(StatevectorEstimator()),
        SamplerBackend(AerSampler.from_backend(simulator), device=SANTIAGO),
    ):
        for other in (copy.deepcopy(backend), pickle.loads(pickle.dumps(backend))):
            assert other.run([task(1, shots=50)])[0].values.shape == (2, 3)


def test_what_is_no_primitive() -> None:
    with pytest.raises(
        TypeError, match=r"a primitive is a Qiskit V2 estimator or sampler .* not str"
    ):
        primitive_backend("sampler")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes a V2 estimator, not StatevectorSampler"):
        EstimatorBackend(StatevectorSampler())
    with pytest.raises(TypeError, match="takes a V2 sampler, not StatevectorEstimator"):
        SamplerBackend(StatevectorEstimator())


def test_nothing_pretends_to_be_exact() -> None:
    with pytest.raises(ValueError, match="a sampler has no exact values: give shots"):
        SamplerBackend(StatevectorSampler()).run([task(0)])
    backend = EstimatorBackend(BackendEstimatorV2(backend=AerSimulator()))
    assert not backend.exact
    with pytest.raises(
        ValueError, match="BackendEstimatorV2 estimates from shots and has no exact"
    ):
        backend.run([task(0)])
    with pytest.raises(ValueError, match="an estimator has no probabilities"):
        EstimatorBackend(StatevectorEstimator()).check(task(0, "probs"))
    for other in (SamplerBackend(StatevectorSampler()), EstimatorBackend(StatevectorEstimator())):
        with pytest.raises(ValueError, match="shots is -1: give a positive number"):
            other.check(task(0, shots=-1))


def test_lost_noise_is_an_error() -> None:
    with pytest.raises(ValueError, match="ignores the readout errors of its noise model"):
        EstimatorBackend(AerEstimator.from_backend(noisy_simulator(SANTIAGO)), device=SANTIAGO)
    silent_readout = aer_noise_model(replace(SANTIAGO, readout=(None,) * 5))
    trajectories = AerEstimator(options={"backend_options": {"noise_model": silent_readout}})
    with pytest.raises(ValueError, match="averages over a fixed number of random runs"):
        EstimatorBackend(trajectories, device=SANTIAGO)
    with pytest.raises(ValueError, match="has a noise model, but does not say which gates"):
        SamplerBackend(AerSampler.from_backend(noisy_simulator(SANTIAGO)))
    other = Device.load("fake_essex")  # has u2 where Santiago has sx
    mixed = SamplerBackend(AerSampler.from_backend(noisy_simulator(SANTIAGO)), device=other)
    with pytest.raises(ValueError, match="noise model has no noise for u2 of fake_essex"):
        mixed.check(task(0, shots=10))


def test_devices_and_layouts_are_checked() -> None:
    with pytest.raises(ValueError, match="layout needs a device"):
        SamplerBackend(StatevectorSampler(), layout=[0, 1, 2])
    backend = SamplerBackend(StatevectorSampler(), device=SANTIAGO, layout=[0, 1])
    with pytest.raises(ValueError, match=r"layout \[0, 1\] has 2 entries"):
        backend.check(task(0, shots=10))


@pytest.mark.parametrize("primitive", [StatevectorEstimator(), StatevectorSampler()])
def test_states_that_do_not_fit_are_refused(primitive: object) -> None:
    program = lower(QuantumCircuit(45))
    empty = torch.zeros(1, 0)
    task = Task(program, empty, empty[0], Observables.parse("Z" * 45, 45), shots=10)
    with pytest.raises(ValueError, match="a state of 45 qubits"):
        primitive_backend(primitive).check(task)
