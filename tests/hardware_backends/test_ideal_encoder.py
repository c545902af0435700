"""Exact encoders in front of a noisy, transpiled circuit: where they sit, and what is refused."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import Operator
from qiskit_aer import AerSimulator
from torch import Tensor

from nisqkit.circuits import Observables, Program, Task, amplitude, angle, encoder, lower, u3_cu3
from nisqkit.circuits.program import GateUse
from nisqkit.hardware_backends.aer_noise import aer_noise_model
from nisqkit.hardware_backends.bound import Binder, after_encoder
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.hardware_backends.transpile import transpile_to
from nisqkit.noise import Channel, Confusion, Device, NoiseModel
from nisqkit.noise.noisy_program import NoiseUse
from nisqkit.qml import QuantumLayer

SANTIAGO = Device.load("fake_santiago")
STRONG = NoiseModel.from_device(SANTIAGO).scale(15)
BELEM = Device.load("fake_belem")
OWN = NoiseModel(
    "own",
    {
        ("u3", ()): Channel.depolarizing(0.02),
        ("cu3", ()): Channel.pauli({"XY": 0.05, "IZ": 0.02}),
        ("ry", ()): Channel.relaxation(0.05),
        ("rx", ()): Channel.relaxation(0.05),
        ("cx", ()): Channel.depolarizing(0.05, 2),
    },
    {"prepare", "h", "swap"},
    [Confusion.flips(None, read_1_after_0=0.01, read_0_after_1=0.04)],
)


def routed() -> QuantumCircuit:
    """What a line of qubits cannot do without swaps, and swaps that Qiskit only keeps in mind."""
    w = ParameterVector("w", 6)
    circuit = QuantumCircuit(4)
    circuit.ry(w[0], 0)
    circuit.swap(0, 3)
    circuit.cx(0, 2)
    circuit.rx(w[1], 3)
    circuit.cx(1, 3)
    circuit.ry(w[2] + w[3], 1)
    circuit.swap(1, 2)
    circuit.cx(2, 0)
    circuit.ry(w[4] + w[5], 2)
    return circuit


def formulas() -> QuantumCircuit:
    x, w = ParameterVector("x", 3), ParameterVector("w", 3)
    circuit = QuantumCircuit(3)
    for q in range(3):
        circuit.rx(x[q] * x[(q + 1) % 3], q)
    circuit.cx(0, 2)
    circuit.ry(w[0].sin() + w[1], 1)
    circuit.cx(0, 1)
    circuit.ry(2 * w[2] * w[1], 0)
    return circuit


def entangling() -> QuantumCircuit:
    circuit = angle(4)
    circuit.h(2)
    circuit.cx(0, 3)
    circuit.barrier()
    return circuit.compose(routed())


PROGRAMS: dict[str, Program] = {
    "qnat": lower(encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1)), "x"),
    "routed": lower(angle(4).compose(routed()), "x"),
    "entangling": lower(entangling(), "x"),
    "amplitude": lower(amplitude(6).compose(u3_cu3(3, blocks=1)), "x"),
    "formulas": lower(formulas(), "x"),
}


def task_for(name: str, observables: Observables | None = None, batch: int = 2) -> Task:
    program = PROGRAMS[name]
    random = np.random.default_rng(1)
    x, w = (
        torch.from_numpy(random.uniform(0.1, 1.5, shape)).requires_grad_()
        for shape in ((batch, len(program.inputs)), len(program.weights))
    )
    n = program.num_qubits
    return Task(program, x, w, observables or Observables.parse(None, n))


@pytest.mark.parametrize("layout", [None, [3, 1, 2, 4]])
@pytest.mark.parametrize("name", ["qnat", "routed", "entangling"])
def test_it_is_the_circuit_that_aer_gets_by_hand(name: str, layout: list[int] | None) -> None:
    """The encoder as one unitary without noise, and then the transpiled rest, all on BELEM."""
    task = task_for(name, Observables.parse("probs", 4), batch=1)
    program = task.program
    backend = NoisyBackend(BELEM, layout=layout, ideal_encoder=True)
    values = backend.run([task])[0].values.detach()[0].numpy()

    split = program.num_gates - after_encoder(program).num_gates
    angles = program.angles(task.inputs, task.weights)[0].detach()
    exact = QuantumCircuit(4)
    for use in [g for g in program.gates if g.name != "barrier"][:split]:
        matrix = use.gate.matrix(angles[list(use.slots)][None])[0].numpy()
        exact.append(UnitaryGate(matrix), use.qubits)
    start = transpile_to(program, BELEM, layout=layout).initial_layout
    rest = transpile_to(after_encoder(program), BELEM, layout=start)
    assert backend.transpile(program) is rest and rest.initial_layout == start
    circuit = QuantumCircuit(5)
    circuit.append(UnitaryGate(Operator(exact), label="encoder"), start)
    native = rest.circuit.assign_parameters(
        {
            p: float(a)
            for p, a in zip(rest.slots, angles, strict=True)
            if p in rest.circuit.parameters
        }
    )
    circuit.compose(native, inplace=True)
    circuit.save_probabilities(list(rest.layout))
    simulator = AerSimulator(method="density_matrix", noise_model=aer_noise_model(BELEM))
    table = simulator.run(circuit).result().data()["probabilities"].reshape([2] * 4)
    for q, physical in enumerate(rest.layout):
        one, zero = BELEM.readout[physical] or (0.0, 0.0)
        matrix = np.array([[1 - one, zero], [one, 1 - zero]])
        table = np.moveaxis(np.tensordot(matrix, table, axes=(1, 3 - q)), 0, 3 - q)
    assert values == pytest.approx(table.ravel(), abs=1e-7)
    noisy = NoisyBackend(BELEM, layout=layout).run([task])[0].values.detach()[0].numpy()
    assert abs(values - noisy).max() > 1e-4


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("name", PROGRAMS)
def test_without_noise_it_is_the_circuit(name: str, level: int) -> None:
    """So nothing is lost between the encoder's qubits and where the rest starts."""
    task = task_for(name)
    n = task.program.num_qubits
    task = replace(task, observables=Observables.parse(["Z" * n, "X" + "Y" * (n - 1)], n))
    silent = NoiseModel.from_device(SANTIAGO).scale(0, readout=True)
    backend = NoisyBackend(silent, optimization_level=level, ideal_encoder=True)
    for found, wanted in zip(_with_gradients(task, backend), _with_gradients(task), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


def _with_gradients(task: Task, backend: NoisyBackend | None = None) -> list[Tensor]:
    values = execute([task], Execution(backend or NativeBackend()))[0].values
    mix = torch.linspace(0.4, 1.6, values.numel(), dtype=values.dtype).reshape(values.shape)
    return [
        values.detach(),
        *torch.autograd.grad((mix * values).sum(), [task.inputs, task.weights]),
    ]


@pytest.mark.parametrize("noise", [OWN, SANTIAGO], ids=["model", "device"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_are_finite_differences(name: str, noise: Device | NoiseModel) -> None:
    task = task_for(name, batch=1)
    execution = Execution(NoisyBackend(noise, ideal_encoder=True))

    def values(x: Tensor, w: Tensor) -> Tensor:
        return execute([replace(task, inputs=x, weights=w)], execution)[0].values

    assert torch.autograd.gradcheck(values, (task.inputs, task.weights), atol=1e-7, fast_mode=True)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [OWN, STRONG], ids=["model", "device"])
@pytest.mark.parametrize("method", ["trajectories", "patterns"])
@pytest.mark.parametrize("name", ["qnat", "amplitude", "formulas"])
def test_all_methods_agree(name: str, method: str, noise: Device | NoiseModel) -> None:
    task = task_for(name, batch=1)
    exact = NoisyBackend(noise, ideal_encoder=True).run([task])[0].values.detach()
    many = replace(task, inputs=task.inputs.detach().expand(2000, -1))
    backend = NoisyBackend(noise, method=method, runs=2, ideal_encoder=True)
    found = backend.run([many])[0].values.detach()
    error = found.std(dim=0) / 2000**0.5
    assert ((found.mean(dim=0) - exact[0]).abs() < 4 * error + 1e-9).all()


def test_the_encoder_has_no_noise_and_the_rest_has_all_of_its() -> None:
    program = PROGRAMS["qnat"]
    whole = NoisyBackend(SANTIAGO, ideal_encoder=True).binder
    operations = whole.bind(program).operations
    assert not any(isinstance(use, NoiseUse) for use in operations[:16])
    rest = Binder.make(SANTIAGO, whole.transpile(program).initial_layout)  # type: ignore[union-attr]
    tail = rest.bind(after_encoder(program)).operations
    noises = [use for use in operations if isinstance(use, NoiseUse)]
    assert noises == [use for use in tail if isinstance(use, NoiseUse)]
    own = Binder.make(OWN, ideal_encoder=True).bind(PROGRAMS["routed"])
    wanted = Binder.make(OWN).bind(after_encoder(PROGRAMS["routed"]))
    first = PROGRAMS["routed"].angle_map.num_slots
    assert own.operations[4:] == tuple(
        replace(use, slots=tuple(first + s for s in use.slots)) if isinstance(use, GateUse) else use
        for use in wanted.operations
    )


def test_training_and_evaluation_sit_on_the_same_qubits() -> None:
    """Also where a layout for the rest alone would be another one."""
    circuit = QuantumCircuit(3)
    x, w = ParameterVector("x", 3), ParameterVector("w", 2)
    for q in range(3):
        circuit.rx(x[q], q)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    circuit.ry(w[0], 0)
    circuit.cx(0, 2)
    circuit.ry(w[1], 2)
    layer = QuantumLayer(circuit, inputs="x", noise=BELEM)
    ideal = layer.with_backend(NoisyBackend(BELEM, ideal_encoder=True))
    assert ideal.transpiled.initial_layout == layer.transpiled.initial_layout


def test_bound_programs_are_kept_and_pickled() -> None:
    binder = Binder.make(SANTIAGO, ideal_encoder=True)
    assert pickle.loads(pickle.dumps(binder)) == binder
    for name, program in PROGRAMS.items():
        noisy = binder.bind(program)
        assert binder.bind(program) is noisy
        assert noisy is not Binder.make(SANTIAGO).bind(program)
        assert (noisy.program.inputs, noisy.program.weights) == (program.inputs, program.weights)
        task = task_for(name)
        again = pickle.loads(pickle.dumps(noisy))
        angles = (n.program.angles(task.inputs, task.weights) for n in (again, noisy))
        assert torch.equal(*angles)


def test_affine_angles_stay_affine() -> None:
    """Engines compute those faster."""
    noisy = Binder.make(SANTIAGO, ideal_encoder=True).bind(PROGRAMS["qnat"])
    assert noisy.program.angle_map.nonlinear is None


def test_a_circuit_without_an_encoder_is_the_noisy_circuit() -> None:
    program = lower(u3_cu3(3, blocks=1))
    w = torch.linspace(-1, 1, len(program.weights), dtype=torch.float64)
    task = Task(program, w.new_zeros(1, 0), w, Observables.parse(None, 3))
    found, wanted = (
        NoisyBackend(SANTIAGO, ideal_encoder=ideal).run([task])[0].values for ideal in (True, False)
    )
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="has idle noise, but an ideal encoder takes no time"):
        NoisyBackend(NoiseModel.from_device(SANTIAGO, idle=True), ideal_encoder=True)
    backend = NoisyBackend(SANTIAGO, ideal_encoder=True)
    with pytest.raises(ValueError, match=r"and none does \(parameter shift and SPSA replace"):
        QuantumLayer(angle(2), inputs="x", backend=backend)
    circuit = angle(2).compose(u3_cu3(2, blocks=1))
    circuit.rx(ParameterVector("x", 3)[2], 1)
    with pytest.raises(ValueError, match=r"rx on \(1,\) depends on an input: put the gates that"):
        QuantumLayer(circuit, inputs=["x[0]", "x[1]", "x[2]"], backend=backend)
    trained = lower(amplitude(4, name="w").compose(u3_cu3(2, blocks=1, name="v")))
    with pytest.raises(ValueError, match="the amplitudes that are loaded depend on a weight"):
        after_encoder(trained)
    for method in ("parameter-shift", "spsa"):
        layer = QuantumLayer(
            angle(2).compose(u3_cu3(2, blocks=1)), inputs="x", backend=backend, diff_method=method
        )
        with pytest.raises(ValueError, match="or use diff_method='auto'"):
            layer(torch.zeros(1, 2))
