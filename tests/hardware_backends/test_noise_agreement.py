"""The same noise in all simulators: the native density matrix against Aer and PennyLane.

30 random circuits, transpiled for 6 devices, on 2 to 5 qubits, with full and with Pauli-twirled
noise, with readout errors that are equal for 0 and 1 and with ones that are not. For the full noise
of a device Aer builds its own noise model, and nothing is shared but the transpiled circuit.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.quantum_info import DensityMatrix, Operator, SuperOp
from torch import Tensor

from nisqkit.circuits import Observables, Program, Task, amplitude, angle, lower, u3_cu3
from nisqkit.circuits.lower import gate_class
from nisqkit.hardware_backends.aer import AerBackend
from nisqkit.hardware_backends.aer_noise import aer_noise_model
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.gradients import differentiable_slots, shifted_copies
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.native.density import density_values
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.hardware_backends.pennylane_noisy import PennyLaneNoisyBackend
from nisqkit.noise import Channel, Device, Noise, NoiseModel, confuse, through_readout
from nisqkit.qml import QuantumLayer

DEVICES = (
    "fake_santiago",
    "fake_belem",
    "fake_yorktown",
    "fake_lima",
    "fake_quito",
    "fake_jakarta",
)


@cache
def symmetric(device: Device) -> Device:
    """The device with the mean of both readout errors for both."""
    means = [sum(pair) / 2 for pair in device.readout if pair is not None]
    return replace(device, readout=tuple((mean, mean) for mean in means))


@dataclass(frozen=True)
class Case:
    """One of the 30."""

    number: int

    @property
    def num_qubits(self) -> int:
        return 2 + self.number % 4

    @property
    def kind(self) -> str:
        return ("full", "pauli")[self.number % 5 % 2]

    @property
    def device(self) -> Device:
        device = Device.load(DEVICES[self.number // 5])
        return symmetric(device) if self.number % 3 == 0 else device

    @property
    def noise(self) -> Device | NoiseModel:
        return self.device if self.kind == "full" else self.model

    @property
    def model(self) -> NoiseModel:
        return NoiseModel.from_device(self.device, self.kind)

    def task(self, observables: Observables | None = None, batch: int = 1) -> Task:
        program = program_of(self)
        random = np.random.default_rng(self.number)
        x, w = (
            torch.from_numpy(random.uniform(-1, 1, shape)).requires_grad_()
            for shape in ((batch, len(program.inputs)), len(program.weights))
        )
        return Task(program, x, w, observables or observables_of(self))

    def __repr__(self) -> str:
        width = f"{self.num_qubits} qubits"
        return f"{self.number}: {width}, {self.kind}, {DEVICES[self.number // 5]}"


@cache
def program_of(case: Case) -> Program:
    """Kept, and with it what it is bound to."""
    return lower(random_circuit(case.num_qubits, 8, seed=100 + case.number), inputs="x")


def observables_of(case: Case) -> Observables:
    """Four sums of Pauli strings in three bases, which have letters on some of the qubits."""
    rng = np.random.default_rng([case.number, 7])
    bases = rng.choice(list("XYZ"), (3, case.num_qubits))
    sums = []
    for k in range(4):
        masked = [np.where(rng.random(case.num_qubits) < 0.7, basis, "I") for basis in bases]
        terms = {"".join(string): float(rng.uniform(-1, 1)) for string in masked}
        sums.append(((str("".join(bases[k % 3])), 0.5), *terms.items()))
    return Observables(case.num_qubits, tuple(sums))


CASES = [Case(number) for number in range(30)]
every = pytest.mark.parametrize("case", CASES, ids=repr)


def mixed(values: Tensor) -> Tensor:
    """One number that depends on all outputs."""
    mix = torch.linspace(0.4, 1.6, values.numel(), dtype=values.dtype).reshape(values.shape)
    return (mix * values).sum()


def gradient(task: Task, execution: Execution) -> Tensor:
    values = execute([task], execution)[0].values
    found = torch.autograd.grad(mixed(values), [task.inputs, task.weights], materialize_grads=True)
    return torch.cat([part.flatten() for part in found])


def test_the_cases_are_what_they_should_be() -> None:
    assert {c.num_qubits for c in CASES} == {2, 3, 4, 5}
    for name in DEVICES:
        assert {c.kind for c in CASES if c.device.name == name} == {"full", "pauli"}
    for kind in ("full", "pauli"):
        assert {c.num_qubits for c in CASES if c.kind == kind} == {2, 3, 4, 5}
        equal = {all(p == q for p, q in c.device.readout) for c in CASES if c.kind == kind}  # type: ignore[misc]
        assert equal == {True, False}


@every
def test_values_and_probabilities_are_those_of_aer(case: Case) -> None:
    """To rounding where the channels are instructions, to 1e-7 with Aer's own noise model.

    See the next test for why not closer.
    """
    probs = Observables.parse("probs", case.num_qubits)
    tasks = [case.task(batch=2), case.task(probs, batch=2)]
    with torch.no_grad():
        found = NoisyBackend(case.noise).run(tasks)
        channels = AerBackend(case.model).run(tasks)
        clean = NativeBackend().run(tasks)
        own = AerBackend(case.device).run(tasks) if case.kind == "full" else channels
    for a, b, c, d in zip(found, channels, own, clean, strict=True):
        torch.testing.assert_close(a.values, b.values, rtol=0, atol=1e-12)
        torch.testing.assert_close(a.values, c.values, rtol=0, atol=1e-7)
        assert (a.values - d.values).abs().max() > 0.005


def test_aer_leaves_out_rare_branches_of_its_own_noise_models() -> None:
    """Errors below 1e-10 are missing, and nothing else is: so its probabilities sum to less."""
    device = Device.load("fake_santiago")
    program = lower(random_circuit(4, 10, seed=0), inputs="x")
    x = torch.full((1, len(program.inputs)), 0.3, dtype=torch.float64)
    w = torch.full((len(program.weights),), 0.7, dtype=torch.float64)
    task = Task(program, x, w, Observables.parse("probs", 4))
    native, aer = NoisyBackend(device), AerBackend(device).run([task])[0].values
    noisy = native.binder.bind(program)
    angles = noisy.program.angles(x, w)[0].tolist()
    errors = aer_noise_model(device)._local_quantum_errors

    def evolved(least: float) -> Tensor:
        state = DensityMatrix.from_label("0" * noisy.num_qubits)
        for use in noisy.program.gates:
            gate = gate_class(use.name)(*(angles[s] for s in use.slots))
            state = state.evolve(Operator(gate), list(use.qubits))
            on = tuple(noisy.physical[q] for q in use.qubits)
            if (error := errors.get(use.name, {}).get(on)) is not None:
                kept = (
                    p * SuperOp(circuit).data
                    for circuit, p in zip(error.circuits, error.probabilities, strict=True)
                    if p >= least
                )
                state = state.evolve(SuperOp(sum(kept)), list(use.qubits))
        return confuse(torch.from_numpy(np.real(np.diag(state.data)).copy())[None], noisy)

    torch.testing.assert_close(evolved(0.0), native.run([task])[0].values, rtol=0, atol=1e-13)
    torch.testing.assert_close(evolved(1e-10), aer, rtol=0, atol=1e-13)
    assert 1e-9 < 1 - float(aer.sum()) < 1e-7


@every
def test_gradients_are_finite_differences_of_aer(case: Case) -> None:
    task = case.task()
    found = gradient(task, Execution(NoisyBackend(case.noise)))
    step = 1e-4
    x, w = task.inputs.detach(), task.weights.detach()
    tasks = []
    for k in range(x.numel() + w.numel()):
        for sign in (1, -1):
            both = torch.cat([x.flatten(), w])
            both[k] += sign * step
            moved, weights = both[: x.numel()].reshape(x.shape), both[x.numel() :]
            tasks.append(replace(task, inputs=moved, weights=weights))
    values = [mixed(result.values) for result in AerBackend(case.noise).run(tasks)]
    slopes = [(up - down) / (2 * step) for up, down in zip(values[::2], values[1::2], strict=True)]
    torch.testing.assert_close(found, torch.stack(slopes), rtol=0, atol=1e-4)
    assert found.abs().max() > 0.01


@every
def test_gradients_are_parameter_shifts_of_native_angles(case: Case) -> None:
    """Each angle of the transpiled circuit is shifted, and the chain rule does the rest.

    Shifting the angles of the logical circuit would not be exact: where a logical gate is several
    rotations with noise between them, such as ``cu3``, its shift rule holds without noise only.
    """
    task = case.task()
    backend = NoisyBackend(case.noise)
    wanted = torch.zeros(task.inputs.numel() + task.weights.numel(), dtype=torch.float64)
    mix = torch.linspace(0.4, 1.6, task.observables.num_outputs, dtype=torch.float64)
    for noisy, observables in backend.binder.measurements(task.program, task.observables):
        angles = noisy.program.angles(task.inputs, task.weights)
        slots = differentiable_slots(noisy.program, inputs=True, weights=True)
        copies = shifted_copies(noisy.program, angles.detach(), slots)
        values = density_values(
            replace(noisy, program=noisy.program.by_slots),
            copies.rows,
            torch.zeros(0, dtype=torch.float64),
            through_readout(observables, noisy),
            workers=1,
        )
        slope = torch.zeros_like(angles)
        for slot, coefficient, value in zip(
            copies.slots, copies.coefficients, values.reshape(-1, 1, len(mix)), strict=True
        ):
            slope[:, slot] += coefficient * (value @ mix)
        parts = torch.autograd.grad(
            (slope * angles).sum(), [task.inputs, task.weights], materialize_grads=True
        )
        wanted += torch.cat([part.flatten() for part in parts])
    found = gradient(task, Execution(backend))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", CASES[::4], ids=repr)
def test_pennylane_agrees_in_values_probabilities_and_gradients(case: Case) -> None:
    for observables in (None, Observables.parse("probs", case.num_qubits)):
        task = case.task(observables, batch=2)
        native, mixed_states = NoisyBackend(case.noise), PennyLaneNoisyBackend(case.noise)
        values = [backend.run([task])[0].values.detach() for backend in (native, mixed_states)]
        torch.testing.assert_close(*values, rtol=0, atol=1e-12)
        slopes = [gradient(task, Execution(backend)) for backend in (native, mixed_states)]
        torch.testing.assert_close(*slopes, rtol=0, atol=1e-11)


@pytest.mark.parametrize("case", CASES[::3], ids=repr)
def test_strength_0_is_no_noise(case: Case) -> None:
    """With readout; without it, only readout errors are left."""
    task = case.task()
    silent = NoisyBackend(case.model.scale(0, readout=True))
    clean = NativeBackend().run([task])[0].values
    torch.testing.assert_close(silent.run([task])[0].values, clean, rtol=0, atol=1e-12)
    found, wanted = (gradient(task, Execution(b)) for b in (silent, "native"))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    probs = replace(task, observables=Observables.parse("probs", case.num_qubits))
    reading = NoisyBackend(case.model.scale(0))
    noisy = reading.binder.bind(task.program)
    table = silent.run([probs])[0].values.detach().numpy().reshape([2] * case.num_qubits)
    for confusion in noisy.readout:
        axis = case.num_qubits - 1 - noisy.measured.index(confusion.qubits[0])
        table = np.moveaxis(np.tensordot(confusion.array, table, axes=(1, axis)), 0, axis)
    assert reading.run([probs])[0].values.detach().numpy().ravel() == pytest.approx(
        table.ravel(), abs=1e-12
    )


def with_gates(device: Device, error: float, duration: float) -> Device:
    """The device with its errors or durations of real gates times a number."""
    gates = tuple(
        g._replace(error=g.error and error * g.error, duration=g.duration and duration * g.duration)
        for g in device.gates
    )
    return replace(device, gates=gates)


def compare(native: NoiseModel, aer: Device | NoiseModel, tolerance: float) -> None:
    """On the same qubits: Qiskit's choice would depend on the calibration."""
    task = CASES[1].task()
    found = NoisyBackend(native, layout=[0, 1, 3]).run([task])[0].values
    wanted = AerBackend(aer, layout=[0, 1, 3]).run([task])[0].values
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)
    once = AerBackend(native.device, layout=[0, 1, 3]).run([task])[0].values
    assert (found - once).abs().max() > 1e-3


def test_twice_the_strength_is_half_of_t1_and_t2() -> None:
    """On a device whose gates only take time."""
    device = with_gates(Device.load("fake_belem"), error=0, duration=3)
    faster = replace(
        device, t1=tuple(t and t / 2 for t in device.t1), t2=tuple(t and t / 2 for t in device.t2)
    )
    compare(NoiseModel.from_device(device).scale(2), faster, 1e-7)


def test_twice_the_strength_is_depolarising_twice() -> None:
    """On a device whose gates take no time, ``1 - p`` is squared, and errors are p (d - 1) / d."""
    device = with_gates(Device.load("fake_belem"), error=1, duration=0)
    gates = []
    for g in device.gates:
        d = 2 ** len(g.qubits)
        p = (g.error or 0.0) * d / (d - 1)
        gates.append(g._replace(error=g.error and (1 - (1 - p) ** 2) * (d - 1) / d))
    compare(NoiseModel.from_device(device).scale(2), replace(device, gates=tuple(gates)), 1e-7)


def test_twice_the_strength_of_pauli_noise_is_twice_the_probabilities() -> None:
    model = NoiseModel.from_device(Device.load("fake_belem"), kind="pauli")
    doubled = {}
    for use, noises in model.gates.items():
        (noise,) = noises
        first, *errors = noise.channel.parameters
        twice = (first - sum(errors), *(2 * p for p in errors))
        channel = Channel(noise.channel.num_qubits, "pauli", twice)
        doubled[use] = [Noise(channel, noise.on)]
    by_hand = NoiseModel("twice", doubled, model.ideal, model.readout, device=model.device)
    compare(model.scale(2), by_hand, 1e-12)
    with pytest.raises(ValueError, match=r"is more than 1; use a strength up to"):
        model.scale(1000)


@pytest.mark.parametrize("kind", ["full", "pauli"])
@pytest.mark.parametrize("start", [angle(3), amplitude(8)])
def test_parameter_shift_knows_the_noise_inside_a_gate(start: QuantumCircuit, kind: str) -> None:
    """A cu3 and an amplitude input become several rotations, with noise between them."""
    noise = NoiseModel.from_device(Device.load("fake_yorktown"), kind)
    circuit = start.compose(u3_cu3(3, blocks=1))
    gradients = []
    for method in ("adjoint", "parameter-shift"):
        layer = QuantumLayer(circuit, inputs="x", noise=noise, diff_method=method, seed=0).double()
        size = 2 * len(layer.program.inputs)
        x = torch.linspace(-1, 1.3, size, dtype=torch.float64).reshape(2, -1).requires_grad_()
        layer(x).pow(2).sum().backward()
        gradients.append((x.grad, layer.weights.grad))
    for ours, shifted in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, shifted, rtol=0, atol=1e-10)
