"""Aer's values against density matrices evolved by hand, and its shots against the exact values."""

import copy
import pickle
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from qiskit import QuantumCircuit, transpile
from qiskit.quantum_info import DensityMatrix, Operator, SparsePauliOp, Statevector, SuperOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise.device.models import basic_device_gate_errors

from nisqkit.circuits import Observables, Program, Task, lower, u3_cu3
from nisqkit.hardware_backends import aer
from nisqkit.hardware_backends.aer import AerBackend
from nisqkit.hardware_backends.aer_noise import aer_noise_model
from nisqkit.hardware_backends.conformance import random_circuit, random_observables
from nisqkit.hardware_backends.registry import get_backend
from nisqkit.hardware_backends.sampling import in_basis, measurement_bases
from nisqkit.hardware_backends.transpile import Transpiled, transpile_to
from nisqkit.noise import Device

SANTIAGO = Device.load("fake_santiago")
# Aer leaves out branches of an error that are rarer than 1e-10, which changes values of the real
# Santiago by some 1e-8; with errors 20 times as large there are none
POOR = replace(
    SANTIAGO,
    gates=tuple(g._replace(error=g.error and 20 * g.error) for g in SANTIAGO.gates),
    t1=tuple(t and t / 20 for t in SANTIAGO.t1),
    t2=tuple(t and t / 20 for t in SANTIAGO.t2),
)
DOUBLE = torch.float64


def task(seed: int, num_qubits: int = 3, batch: int = 2, observables: object = None) -> Task:
    program = lower(random_circuit(num_qubits, 12, seed), inputs="x").by_slots
    random = torch.Generator().manual_seed(seed)
    inputs = torch.rand(batch, len(program.inputs), generator=random, dtype=DOUBLE) * 6 - 3
    if observables is None:
        parsed = random_observables(num_qubits, seed)
    else:
        parsed = Observables.parse(observables, num_qubits)
    return Task(program, inputs, inputs.new_zeros(0), parsed)


def fixed(circuit: QuantumCircuit, observables: object = None, batch: int = 1) -> Task:
    parsed = Observables.parse(observables, circuit.num_qubits)
    return Task(
        lower(circuit), torch.zeros(batch, 0, dtype=DOUBLE), torch.zeros(0, dtype=DOUBLE), parsed
    )


def silent(device: Device) -> Device:
    """The device without any error."""
    gates = tuple(g._replace(error=0.0, duration=0.0) for g in device.gates)
    return replace(device, gates=gates, readout=((0.0, 0.0),) * device.num_qubits)


@cache
def errors_of(device: Device) -> dict[tuple[str, tuple[int, ...]], SuperOp]:
    errors = basic_device_gate_errors(target=device.target())
    return {(name, tuple(qubits)): SuperOp(error) for name, qubits, error in errors}


def evolved(found: Transpiled, values: NDArray) -> DensityMatrix:
    """The noisy state of the active qubits: each gate, then its error, as super-operators."""
    errors = errors_of(found.reduced_device)
    circuit = found.reduced
    bound = {p: v for p, v in zip(found.slots, values, strict=True) if p in circuit.parameters}
    state = DensityMatrix.from_label("0" * circuit.num_qubits)
    noisy = 0
    for instruction in circuit.assign_parameters(bound).data:
        qubits = tuple(circuit.find_bit(q).index for q in instruction.qubits)
        state = state.evolve(Operator(instruction.operation), qubits)
        if (instruction.name, qubits) in errors:
            state = state.evolve(errors[instruction.name, qubits], qubits)
            noisy += 1
    assert noisy > 10
    return state


def read(found: Transpiled, true: NDArray) -> NDArray:
    """What is read from these probabilities, bit by bit."""
    n = len(found.layout)
    result = np.zeros(2**n)
    for outcome, index in product(range(2**n), repeat=2):
        chance = true[index]
        for logical, physical in enumerate(found.layout):
            pair = found.device.readout[physical]
            assert pair is not None
            read_1_after_0, read_0_after_1 = pair
            bit, was = (outcome >> logical) & 1, (index >> logical) & 1
            wrong = read_0_after_1 if was else read_1_after_0
            chance = chance * (wrong if bit != was else 1 - wrong)
        result[outcome] += chance
    return result


def by_hand(of: Task, device: Device, layout: list[int] | None) -> NDArray:
    """Noisy values of a task, from density matrices and explicit readout."""
    body = transpile_to(of.program, device, layout=layout)
    rows = []
    for values in of.inputs.numpy():
        outputs = np.zeros(of.observables.num_outputs)
        for group, basis in enumerate(measurement_bases(of.observables)):
            rotated: Program = in_basis(of.program, basis)
            found = transpile_to(rotated, device, layout=body.initial_layout)
            true = evolved(found, values).probabilities(list(found.measured))
            seen = read(found, true)
            if of.observables.sums is None:
                outputs = seen
                continue
            for member in of.observables.groups[group][1]:
                string = of.observables.strings[member]
                mask = sum(1 << q for q, letter in enumerate(string[::-1]) if letter != "I")
                parity = [(-1) ** (k & mask).bit_count() for k in range(len(seen))]
                outputs += of.observables.coefficients[:, member] * (seen @ parity)
        rows.append(outputs)
    return np.array(rows)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_values_without_noise(seed: int, dtype: torch.dtype) -> None:
    num_qubits = seed + 1
    circuit = random_circuit(num_qubits, 30, seed)
    program = lower(circuit, inputs="x")
    inputs, weights = torch.linspace(-2, 2, 6).reshape(2, 3), torch.linspace(0.3, 1, 4)
    observables = random_observables(num_qubits, seed)
    width = len(program.inputs)
    of = Task(
        program, inputs[:, :width].to(dtype), weights[: len(program.weights)].to(dtype), observables
    )
    result = AerBackend().run([of])[0]
    assert result.values.dtype == dtype
    assert result.std is None
    named = {p.name: p for p in circuit.parameters}
    for row, values in zip(of.inputs, result.values, strict=True):
        point = dict(zip(program.inputs, row.tolist(), strict=True))
        point |= dict(zip(program.weights, of.weights.tolist(), strict=True))
        state = Statevector(
            circuit.assign_parameters({named[k]: v for k, v in point.items() if k in named})
        )
        wanted = [
            state.expectation_value(SparsePauliOp.from_list(list(terms))).real
            for terms in observables.sums or ()
        ]
        tolerance = 1e-11 if dtype == torch.float64 else 2e-5
        assert values.tolist() == pytest.approx(wanted, abs=tolerance)


@pytest.mark.parametrize(
    ("device", "seed", "layout", "observables", "tolerance"),
    [
        (POOR, 0, None, None, 1e-9),
        (POOR, 1, [2, 1, 3], ["XZI", "YIX", "IXX"], 1e-9),
        (POOR, 2, [4, 0, 2], ["ZYX"], 1e-9),
        (POOR, 3, [0, 4, 3], "probs", 1e-9),
        (POOR, 4, None, [SparsePauliOp(["YIY", "III", "XZX"], [0.5, 2.0, -1.0]), "IIZ"], 1e-9),
        (SANTIAGO, 5, [2, 1, 3], None, 1e-7),
    ],
)
def test_noisy_values_are_those_of_a_density_matrix_with_readout_errors(
    device: Device, seed: int, layout: list[int] | None, observables: object, tolerance: float
) -> None:
    of = task(seed, observables=observables or ["IIZ", "IZI", "ZIY"])
    found = AerBackend(device, layout=layout).run([of])[0].values
    assert found.numpy() == pytest.approx(by_hand(of, device, layout), abs=tolerance)
    clean = AerBackend().run([of])[0].values
    assert (found - clean).abs().max() > 0.01


def test_readout_errors_are_those_of_the_qubit_and_of_the_value() -> None:
    chances = ((0.01, 0.2), (0.03, 0.1), (0.0, 0.0), (0.3, 0.0), (0.0, 0.4))
    device = replace(silent(SANTIAGO), readout=chances)
    circuit = QuantumCircuit(2)
    circuit.x(1)
    found = AerBackend(device, layout=[3, 1]).run([fixed(circuit)])[0].values
    assert found.tolist() == [pytest.approx([1 - 2 * 0.3, -1 + 2 * 0.1])]
    found = AerBackend(device, layout=[1, 4]).run([fixed(circuit, "probs")])[0].values
    wanted = [0.97 * 0.4, 0.03 * 0.4, 0.97 * 0.6, 0.03 * 0.6]
    assert found.tolist() == [pytest.approx(wanted)]


@pytest.mark.parametrize("layout", [None, [0, 1, 2], [4, 0, 2], [2, 3, 1]])
def test_a_silent_device_gives_the_logical_values_in_any_layout(layout: list[int] | None) -> None:
    tasks = [task(seed) for seed in range(3)] + [task(3, observables="probs")]
    noisy = AerBackend(silent(SANTIAGO), layout=layout).run(tasks)
    clean = AerBackend().run(tasks)
    for a, b in zip(noisy, clean, strict=True):
        assert a.values.numpy() == pytest.approx(b.values.numpy(), abs=1e-10)


def test_qubit_zero_is_the_least_significant_bit() -> None:
    circuit = QuantumCircuit(3)
    circuit.x(0)
    assert AerBackend().run([fixed(circuit, "probs")])[0].values.argmax() == 1
    noisy = AerBackend(SANTIAGO, layout=[3, 1, 2])
    assert noisy.run([fixed(circuit, "probs")])[0].values.argmax() == 1
    assert noisy.run([replace(fixed(circuit, "probs"), shots=100)])[0].values.argmax() == 1


def test_only_the_active_qubits_of_a_wide_device_are_simulated() -> None:
    montreal = Device.load("fake_montreal")
    of = task(5)
    found = AerBackend(montreal, layout=[12, 13, 14]).run([of])[0].values
    small = AerBackend(montreal.reduced(range(8, 20)), layout=[4, 5, 6]).run([of])[0].values
    assert found.numpy() == pytest.approx(small.numpy(), abs=0.05)
    assert (found - AerBackend().run([of])[0].values).abs().max() > 0.01


@pytest.mark.parametrize(("method", "batch"), [("automatic", 100), ("statevector", 20)])
def test_shots_scatter_around_the_exact_values_as_std_says(method: str, batch: int) -> None:
    of = task(6, observables=["IZZ", "ZII", SparsePauliOp(["XIZ", "IYI", "XYI"], [1, 0.5, 2])])
    of = replace(of, inputs=of.inputs[:1].expand(batch, -1))
    exact = AerBackend(SANTIAGO, layout=[2, 1, 3]).run([of])[0].values
    backend = AerBackend(SANTIAGO, layout=[2, 1, 3], method=method)
    result = backend.run([replace(of, shots=100, seed=(4, 0, 1))])[0]
    assert result.std is not None
    score = (result.values - exact) / result.std
    assert score.abs().max() < 4.5
    spread = 6 * (2 / score.numel()) ** 0.5
    assert 1 - spread < score.pow(2).mean() < 1 + spread
    # the mean of all samples is as good as all their shots together
    assert (score.mean(dim=0).abs() < 4 / batch**0.5).all()


def test_observables_of_a_group_share_their_bitstrings() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    total = SparsePauliOp(["ZI", "IZ"], [1.0, 1.0])
    result = AerBackend().run([replace(fixed(circuit, ["ZI", "IZ", total, "ZZ"]), shots=4000)])[0]
    values, std = result.values[0], result.std
    assert std is not None
    assert values[0] == values[1]
    assert values[3] == 1
    # Z + Z is 2 or -2: its variance is 4, not the 2 of independent bits
    assert std[0].tolist() == pytest.approx([4000**-0.5] * 2 + [2 * 4000**-0.5, 0], rel=0.01)


@pytest.mark.parametrize(
    "options", [{}, {"noise": SANTIAGO}, {"noise": SANTIAGO, "method": "statevector"}]
)
def test_shots_depend_on_the_seed_and_the_place_in_the_batch_alone(options: dict) -> None:
    backend, of = AerBackend(**options), replace(task(7, 2, batch=3), shots=50, seed=(1, 2, 3))
    alone = backend.run([replace(of, inputs=of.inputs[:2])])[0].values
    _, together = backend.run([replace(task(8, 2), shots=20), of])
    assert torch.equal(together.values[:2], alone)
    other = backend.run([replace(of, seed=(1, 3, 3))])[0].values
    assert not torch.equal(other, together.values)


def test_large_batches_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task(1, batch=7), task(2, batch=5, observables=["ZZZ", "XXI"]), task(3, 2, batch=1)]
    whole = AerBackend(SANTIAGO).run(tasks)
    monkeypatch.setattr(aer, "_GATES_PER_RUN", 250)
    for a, b in zip(whole, AerBackend(SANTIAGO).run(tasks), strict=True):
        assert torch.equal(a.values, b.values)


def test_circuits_without_parameters_and_observables_without_qubits() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(1)
    of = fixed(circuit, ["XI", "II"], batch=3)
    assert AerBackend().run([of, of])[1].values.numpy() == pytest.approx(np.ones((3, 2)))
    identity = AerBackend(SANTIAGO).run([fixed(circuit, "II")])[0].values
    assert identity.tolist() == [pytest.approx([1.0])]
    assert AerBackend().run([]) == []
    for noise in (None, SANTIAGO):
        empty = replace(of, inputs=of.inputs[:0])
        assert AerBackend(noise).run([empty])[0].values.shape == (0, 2)


def test_copies_and_pickles_run() -> None:
    backend, of = AerBackend(SANTIAGO, layout=[1, 2, 3]), task(9)
    wanted = backend.run([of])[0].values
    for other in (copy.deepcopy(backend), pickle.loads(pickle.dumps(backend))):
        assert torch.equal(other.run([of])[0].values, wanted)
    assert repr(backend) == "AerBackend(fake_santiago, method='automatic')"


def test_transpile_is_what_runs() -> None:
    program = lower(u3_cu3(3, blocks=1))
    found = AerBackend(SANTIAGO, layout=[4, 3, 2]).transpile(program)
    assert found is not None
    assert found.initial_layout == (4, 3, 2)
    assert AerBackend().transpile(program) is None


def test_errors() -> None:
    with pytest.raises(TypeError, match=r"noise is a Device .*, a NoiseModel or None, not str"):
        AerBackend("fake_santiago")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="method is 'tensor_network': give one of 'automatic'"):
        AerBackend(method="tensor_network")
    with pytest.raises(ValueError, match="layout needs a device"):
        AerBackend(layout=[0, 1])
    with pytest.raises(ValueError, match="shots is 0: give a positive number"):
        AerBackend().run([replace(task(0), shots=0)])
    with pytest.raises(ValueError, match="runs shot by shot, so it has no exact values"):
        AerBackend(SANTIAGO, method="statevector").run([task(0)])
    with pytest.raises(ValueError, match="circuit has 6 qubits and fake_santiago has 5"):
        AerBackend(SANTIAGO).check(task(0, 6))
    with pytest.raises(ValueError, match="a state of 40 qubits"):
        AerBackend().check(fixed(QuantumCircuit(40)))


def test_missing_calibrations_are_errors() -> None:
    unread = replace(SANTIAGO, readout=(None, *SANTIAGO.readout[1:]))
    with pytest.raises(ValueError, match="has no readout error for this qubit"):
        AerBackend(unread, layout=[0, 1, 2]).check(task(0))
    uncalibrated = tuple(g._replace(error=None) if g.gate == "sx" else g for g in SANTIAGO.gates)
    with pytest.raises(ValueError, match=r"sx on .* not calibrated"):
        AerBackend(replace(SANTIAGO, gates=uncalibrated)).check(task(0))


def test_barriers_stay_and_keep_their_gates_noisy() -> None:
    device = Device.load("fake_lima")
    circuit = QuantumCircuit(2)
    for _ in range(30):
        circuit.ry(0.7, 0)
        circuit.barrier()
        circuit.ry(-0.7, 0)
        circuit.barrier()
        circuit.cx(0, 1)
        circuit.barrier(0, 1)
        circuit.cx(0, 1)
    backend = AerBackend(device, layout=[1, 3], optimization_level=2)
    found = backend.run([fixed(circuit, "probs")])[0].values[0]
    body = transpile(circuit, target=device.target(), initial_layout=[1, 3], optimization_level=2)
    assert body.count_ops()["sx"] == 120
    body.save_probabilities([1, 3])
    simulator = AerSimulator(method="density_matrix", noise_model=aer_noise_model(device))
    data = simulator.run(body).result().data(0)["probabilities"].reshape(2, 2)
    for axis, qubit in ((1, 1), (0, 3)):
        up, down = device.readout[qubit] or (0.0, 0.0)
        confusion = np.array([[1 - up, down], [up, 1 - down]])
        data = np.moveaxis(np.tensordot(confusion, data, axes=(1, axis)), 0, axis)
    assert found.numpy() == pytest.approx(data.ravel(), abs=1e-6)

    plain = QuantumCircuit(2)
    for instruction in circuit.data:
        if instruction.name != "barrier":
            plain.append(instruction)
    cancelled = backend.run([fixed(plain, "probs")])[0].values[0]
    assert found[0] < cancelled[0] - 0.02
    for exact in ("native", "reference", "aer", "pennylane:default.qubit"):
        one, other = (get_backend(exact).run([fixed(c)])[0].values for c in (circuit, plain))
        assert torch.allclose(one, other, atol=1e-12), exact
