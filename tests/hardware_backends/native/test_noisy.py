"""The noisy native backend, as layers use it."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit_ibm_runtime.fake_provider import FakeSantiagoV2 as FakeSantiago
from torch import Tensor

from nisqkit.circuits import Observables, Program, Task, amplitude, angle, lower, u3_cu3
from nisqkit.circuits.gates import GATES
from nisqkit.hardware_backends import memory
from nisqkit.hardware_backends.conformance import (
    CHECKS,
    random_circuit,
    random_observables,
    random_task,
)
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.native.noisy import DENSITY_QUBITS, NoisyBackend
from nisqkit.noise import Channel, Confusion, Device, NoiseModel
from nisqkit.qml import QuantumLayer

SANTIAGO = Device.load("fake_santiago")
SILENT = NoiseModel("silent", {}, [*GATES, "unitary", "prepare", "measure"])
NOISY = NoiseModel(
    "by hand",
    {
        (name, ()): Channel.depolarizing(0.02, 2)
        if gate.num_qubits == 2
        else [Channel.relaxation(0.03), Channel.pauli({"Y": 0.01, "Z": 0.02})]
        for name, gate in GATES.items()
    },
    ["unitary", "prepare"],
    [Confusion.flips(None, read_1_after_0=0.02, read_0_after_1=0.07)],
)


def layer_of(num_qubits: int, noise: Device | NoiseModel = NOISY, **options) -> QuantumLayer:  # type: ignore[no-untyped-def]
    circuit = angle(num_qubits).compose(u3_cu3(num_qubits, blocks=1))
    options.setdefault("observables", None)
    return QuantumLayer(circuit, inputs="x", noise=noise, seed=3, init="uniform", **options)


def inputs_for(num_qubits: int, batch: int = 3, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(batch, num_qubits, generator=random) * 2 - 1


def gradients(task: Task, backend: NoisyBackend) -> list[Tensor]:
    values = execute([task], Execution(backend))[0].values
    mix = torch.linspace(0.5, 1.5, values.numel(), dtype=values.dtype).reshape(values.shape)
    found = torch.autograd.grad((mix * values).sum(), [task.inputs, task.weights])
    return [values.detach(), *found]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_without_noise_it_conforms(check) -> None:  # type: ignore[no-untyped-def]
    """To the test of all backends, on a model that knows every gate as exact."""
    check(NoisyBackend(SILENT))


def test_width_picks_the_method_and_repr_says_which() -> None:
    assert "noise=by hand, density matrix" in repr(layer_of(DENSITY_QUBITS))
    wide = layer_of(DENSITY_QUBITS + 1)
    assert "noise=by hand, trajectories, 32 runs" in repr(wide)
    on_device = layer_of(2, SANTIAGO, shots=100)
    assert "noise=fake_santiago of 2021-03-15, density matrix, shots=100" in repr(on_device)
    program = lower(angle(2), "x")
    for method in ("density", "trajectories", "patterns"):
        assert NoisyBackend(SANTIAGO, method=method).method_for(program) == method
    for shared, wanted in ((False, "an error pattern per sample"), (True, "per batch")):
        backend = NoisyBackend(SANTIAGO, method="patterns", shared=shared)
        assert backend.describe(program).endswith(wanted)
    assert "density matrix, ideal encoder" in repr(
        layer_of(2).with_backend(NoisyBackend(SANTIAGO, ideal_encoder=True))
    )
    assert (
        NoisyBackend(SANTIAGO, runs=5, method="trajectories").describe(program).endswith(" 5 runs")
    )


def test_the_width_is_that_of_the_qubits_in_use() -> None:
    """Two qubits far apart need those between them."""
    guadalupe = Device.load("fake_guadalupe")
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    near, far = (NoisyBackend(guadalupe, layout=layout) for layout in ([0, 1], [0, 15]))
    program = lower(circuit)
    assert near.method_for(program) == "density"
    assert far.binder.bind(program).num_qubits > 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["density", "trajectories", "patterns"])
def test_threads_change_no_bit(method: str, dtype: torch.dtype) -> None:
    task = random_task(3, seed=4, batch=37, dtype=dtype)
    one, two = (
        gradients(task, NoisyBackend(NOISY, method=method, runs=4, threads=k)) for k in (1, 2)
    )
    for a, b in zip(one, two, strict=True):
        assert a.dtype == dtype
        assert torch.equal(a, b)


@pytest.mark.parametrize("noise", [NOISY, SANTIAGO], ids=["model", "device"])
@pytest.mark.parametrize("method", ["density", "trajectories", "patterns"])
def test_single_precision(method: str, noise: Device | NoiseModel) -> None:
    double = random_task(3, seed=5)
    single = random_task(3, seed=5, dtype=torch.float32)
    backend = NoisyBackend(noise, method=method, runs=4)
    for a, b in zip(gradients(single, backend), gradients(double, backend), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=0, atol=2e-5)


@pytest.mark.parametrize("observables", [["XIZ", "IYY", "ZII"], "probs"], ids=["sums", "probs"])
@pytest.mark.parametrize("noise", [NOISY, SANTIAGO], ids=["model", "device"])
def test_shots_scatter_around_the_exact_values(
    noise: Device | NoiseModel, observables: list[str] | str
) -> None:
    task = random_task(3, seed=6)
    task = replace(
        task,
        inputs=task.inputs[:1].detach().expand(150, -1),
        weights=task.weights.detach(),
        observables=Observables.parse(observables, 3),
    )
    backend = NoisyBackend(noise)
    exact = backend.run([task])[0].values
    found = backend.run([replace(task, shots=200, seed=(5, 0, 0))])[0]
    assert found.std is not None
    # means over all samples, whose errors are those of 150 * 200 shots
    error = found.std.pow(2).mean(dim=0).sqrt() / 150**0.5
    assert ((found.values.mean(dim=0) - exact[0]).abs() < 4.5 * error + 1e-12).all()
    usual = error > 0.015 / 150**0.5  # not those that are seen once or never
    score = ((found.values - exact) / found.std)[:, usual].pow(2).mean()
    assert 0.8 < score < 1.25


def test_shots_follow_from_the_seed_and_the_place_in_the_batch() -> None:
    backend, task = NoisyBackend(SANTIAGO), random_task(2, seed=7, batch=4)
    task = replace(task, shots=50, seed=(1, 2, 3))
    first = backend.run([task])[0].values
    assert torch.equal(first, backend.run([task])[0].values)
    assert torch.equal(first[:2], backend.run([replace(task, inputs=task.inputs[:2])])[0].values)
    assert not torch.equal(first, backend.run([replace(task, seed=(1, 3, 3))])[0].values)


def test_correlated_readout_is_the_same_in_values_and_shots() -> None:
    """What a qubit reads depends on the basis of the one it is read with."""
    matrix = (
        (0.7, 0.2, 0.0, 0.0),
        (0.1, 0.8, 0.0, 0.1),
        (0.2, 0.0, 0.6, 0.0),
        (0.0, 0.0, 0.4, 0.9),
    )
    model = replace(SILENT, ideal=SILENT.ideal - {"measure"}, readout=(Confusion((0, 1), matrix),))
    task = random_task(2, seed=8)
    task = replace(
        task, observables=Observables.parse(["XI", "XY", "IZ"], 2), inputs=task.inputs[:1]
    )
    backend = NoisyBackend(model)
    exact = backend.run([task])[0].values.detach()
    found = backend.run([replace(task, shots=400_000)])[0]
    assert found.std is not None
    assert ((found.values - exact).abs() < 4.5 * found.std).all()


def test_trajectories_draw_anew_in_each_call_and_the_same_for_a_seed() -> None:
    x = inputs_for(8)
    layer, again = layer_of(8), layer_of(8)
    first, second = layer(x), layer(x)
    assert not torch.equal(first, second)
    assert int(layer.calls) == 2
    assert torch.equal(again(x), first)
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(x), layer(x))
    exact = layer_of(2)
    assert torch.equal(exact(x[:, :2]), exact(x[:, :2]))
    assert int(exact.calls) == 0


@pytest.mark.parametrize("shared", [False, True])
def test_patterns_are_drawn_anew_in_each_call_and_the_same_for_a_seed(shared: bool) -> None:
    x = inputs_for(3, batch=20)
    layer = layer_of(3).with_backend(NoisyBackend(NOISY, method="patterns", shared=shared))
    again = copy.deepcopy(layer)
    found = [layer.estimate(x) for _ in range(10)]
    assert all(result.std is None for result in found)
    assert len({tuple(result.values.flatten().tolist()) for result in found}) > 3
    assert int(layer.calls) == 10
    assert torch.equal(again(x), found[0].values)
    again.load_state_dict(layer.state_dict())
    assert torch.equal(pickle.loads(pickle.dumps(again))(x), layer(x))


def test_trajectories_return_their_standard_error() -> None:
    """Means over many calls scatter around the exact value as `std` says."""
    x = inputs_for(3, batch=2).double()
    exact = layer_of(3).double()
    layer = exact.with_backend(NoisyBackend(NOISY, method="trajectories", runs=6))
    assert exact.estimate(x).std is None
    found = [layer.estimate(x) for _ in range(150)]
    values = torch.stack([f.values for f in found]).detach()
    std = torch.stack([f.std for f in found if f.std is not None])
    assert std.shape == values.shape
    error = std.pow(2).mean(dim=0).sqrt()
    assert ((values.mean(dim=0) - exact(x)).abs() < 4.5 * error / 150**0.5).all()
    assert 0.75 < float((values.std(dim=0) / error).pow(2).mean()) < 1.3


def test_trajectories_of_probabilities() -> None:
    task = replace(random_task(2, seed=9), observables=Observables.parse("probs", 2))
    exact = NoisyBackend(SANTIAGO).run([task])[0].values
    found = NoisyBackend(SANTIAGO, method="trajectories", runs=400).run([task])[0]
    assert found.std is not None and found.std.shape == found.values.shape
    assert ((found.values - exact).abs() < 4.5 * found.std).all()


def test_weights_stay_logical_and_backends_share_them() -> None:
    layer = layer_of(3, SANTIAGO)
    plain = QuantumLayer(angle(3).compose(u3_cu3(3, blocks=1)), inputs="x")
    assert layer.program.weights == plain.program.weights
    assert layer.weights.shape == plain.weights.shape
    other = plain.with_backend("native", noise=SANTIAGO)
    assert other.weights is plain.weights
    other(inputs_for(3)).sum().backward()
    assert plain.weights.grad is not None and plain.weights.grad.shape == plain.weights.shape


@pytest.mark.parametrize("layout", [[4, 3, 2], [1, 2, 3]])
def test_the_layout_is_kept(layout: list[int]) -> None:
    circuit = angle(3).compose(u3_cu3(3, blocks=1))
    layer = QuantumLayer(circuit, inputs="x", backend=NoisyBackend(SANTIAGO, layout=layout))
    assert layer.transpiled.initial_layout == tuple(layout)
    noisy = layer.backend.binder.bind(layer.program)  # type: ignore[attr-defined]
    assert [noisy.physical[q] for q in noisy.measured] == list(layer.transpiled.layout)
    with pytest.raises(ValueError, match="backend 'native' has no device"):
        _ = layer_of(2).transpiled


def programs() -> dict[str, Program]:
    loaded = amplitude(6)
    loaded.cx(0, 1)
    loaded.ry(Parameter("w"), 2)
    x, w = ParameterVector("x", 2), ParameterVector("w", 2)
    formula = QuantumCircuit(2)
    formula.rx(x[0] * x[1], 0)
    formula.ry((w[0] * x[1]).sin() + w[1], 1)
    formula.cx(0, 1)
    formula.rx(w[1] * w[0], 1)
    return {"amplitude": lower(loaded, "x"), "nonlinear": lower(formula, "x")}


@pytest.mark.parametrize("kind", ["amplitude", "nonlinear"])
@pytest.mark.parametrize("noise", [NOISY, SANTIAGO], ids=["model", "device"])
def test_amplitude_inputs_and_formulas(noise: Device | NoiseModel, kind: str) -> None:
    """Gradients to inputs and weights are finite differences of the values."""
    program, backend = programs()[kind], NoisyBackend(noise)
    random = torch.Generator().manual_seed(1)
    x = torch.rand(2, len(program.inputs), generator=random, dtype=torch.float64) + 0.1
    w = torch.rand(len(program.weights), generator=random, dtype=torch.float64)
    observables = random_observables(program.num_qubits, 2)

    def values(x: Tensor, w: Tensor) -> Tensor:
        return execute([Task(program, x, w, observables)], Execution(backend))[0].values

    assert torch.autograd.gradcheck(values, (x.requires_grad_(), w.requires_grad_()), atol=1e-7)


def test_copies_and_pickles_of_layers_run() -> None:
    for layer in (layer_of(3, SANTIAGO), layer_of(8)):
        x = inputs_for(len(layer.program.inputs))
        layer(x)
        copies = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
        wanted = layer(x)
        for other in copies:
            assert torch.equal(other(x), wanted)
            assert repr(other) == repr(layer)


def test_empty_batches_and_layers_without_inputs() -> None:
    assert layer_of(2, SANTIAGO)(torch.zeros(0, 2)).shape == (0, 2)
    assert layer_of(8)(torch.zeros(0, 8)).shape == (0, 8)
    layer = QuantumLayer(u3_cu3(2, blocks=1), noise=SANTIAGO)
    assert layer().shape == (2,)


def test_readout_errors_are_those_of_the_qubit() -> None:
    """Santiago's qubit 0 keeps its own P(1|0) and P(0|1), and expectation values show them."""
    read_1_after_0, read_0_after_1 = SANTIAGO.readout[0] or (0.0, 0.0)
    reported = FakeSantiago().properties().qubit_property(0)
    assert read_1_after_0 == pytest.approx(reported["prob_meas1_prep0"][0], abs=1e-12)
    assert read_0_after_1 == pytest.approx(reported["prob_meas0_prep1"][0], abs=1e-12)
    assert abs(read_0_after_1 - read_1_after_0) > 0.01
    silent = tuple(g._replace(error=0.0, duration=0.0) for g in SANTIAGO.gates)
    device = replace(SANTIAGO, gates=silent)
    for noise in (device, NoiseModel.from_device(device, "pauli")):
        for x, wanted in ((0.0, 1 - 2 * read_1_after_0), (np.pi, 2 * read_0_after_1 - 1)):
            layer = QuantumLayer(
                angle(1), inputs="x", backend=NoisyBackend(noise, layout=[0])
            ).double()
            found = layer(torch.tensor([[x]], dtype=torch.float64)).detach()
            assert float(found) == pytest.approx(wanted, abs=1e-12)
    silent_but_read = NoisyBackend(NoiseModel.from_device(SANTIAGO).scale(0, readout=True))
    task = random_task(2, seed=1)
    clean = NativeBackend().run([task])[0].values
    torch.testing.assert_close(silent_but_read.run([task])[0].values, clean, rtol=0, atol=1e-12)


def test_parameter_shift_is_the_same_gradient() -> None:
    task = random_task(3, seed=12)
    found = gradients(task, NoisyBackend(SANTIAGO))
    shifted = execute([task], Execution(NoisyBackend(SANTIAGO), diff_method="parameter-shift"))
    values = shifted[0].values
    mix = torch.linspace(0.5, 1.5, values.numel(), dtype=values.dtype).reshape(values.shape)
    right = torch.autograd.grad((mix * values).sum(), [task.inputs, task.weights])
    for a, b in zip(found[1:], right, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_tasks_keep_their_order() -> None:
    tasks = [random_task(n, seed=n, batch=n) for n in (3, 1, 2)]
    backend = NoisyBackend(SANTIAGO)
    for task, found in zip(tasks, backend.run(tasks), strict=True):
        assert torch.equal(found.values, backend.run([task])[0].values)
    assert backend.run([]) == []


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="method is 'exact': give one of 'auto', 'density', 'traj"):
        NoisyBackend(SANTIAGO, method="exact")
    with pytest.raises(ValueError, match="shared=True is for method='patterns', not 'auto': leave"):
        NoisyBackend(SANTIAGO, shared=True)
    with pytest.raises(ValueError, match="runs is 1: give at least 2"):
        NoisyBackend(SANTIAGO, runs=1)
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        NoisyBackend(SANTIAGO, threads=0)
    with pytest.raises(TypeError, match=r"noise is a Device .*, not str"):
        NoisyBackend("fake_santiago")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layout needs a device"):
        NoisyBackend(NOISY, layout=[0])


def test_tasks_that_cannot_run() -> None:
    backend, task = NoisyBackend(SANTIAGO), random_task(2, seed=0)
    with pytest.raises(ValueError, match=r"computes in float32 or float64, not in torch\.float16"):
        backend.check(replace(task, inputs=task.inputs.half()))
    with pytest.raises(ValueError, match="runs on the CPU, but the inputs are on meta"):
        backend.check(replace(task, inputs=task.inputs.to("meta")))
    with pytest.raises(ValueError, match="circuit has 6 qubits and fake_santiago has 5"):
        backend.check(random_task(6, seed=0))
    with pytest.raises(ValueError, match="flips has no noise for it"):
        NoisyBackend(NoiseModel("flips", {}, ["x", "measure"])).check(task)
    patterns = NoisyBackend(SANTIAGO, method="patterns")
    with pytest.raises(ValueError, match=r"patterns \(2 qubits in use\) give values of random err"):
        patterns.check(replace(task, shots=10))
    with pytest.raises(ValueError, match="circuit has 6 qubits and fake_santiago has 5"):
        patterns.check(random_task(6, seed=0))
    wide = layer_of(DENSITY_QUBITS + 1)
    with pytest.raises(
        ValueError, match=r"trajectories \(8 qubits in use\) give means .* not shot"
    ):
        layer_of(DENSITY_QUBITS + 1, shots=10)
    with pytest.raises(ValueError, match="means with a standard error, not shots: leave shots out"):
        wide.with_backend("native", noise=NOISY, shots=10)


def test_memory_is_checked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**29)
    backend = NoisyBackend(NOISY, method="density")
    task = random_task(4, seed=0)
    backend.check(task)
    program = lower(random_circuit(12, 12, seed=0), "x")
    wide = Task(
        program,
        torch.zeros(16, len(program.inputs), dtype=torch.float64),
        torch.zeros(len(program.weights), dtype=torch.float64),
        Observables.parse(None, 12),
    )
    with pytest.raises(ValueError, match="a density matrix of 12 qubits"):
        backend.check(wide)
