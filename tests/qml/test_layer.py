"""QuantumLayer as a torch module: shapes, gradients, saving, sharing, and its errors."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp, Statevector
from torch import nn

from nisqkit.circuits import angle, encoder, hardware_efficient, lower, u3_cu3, zz_feature_map
from nisqkit.hardware_backends.gradients import SPSA
from nisqkit.noise import Device
from nisqkit.qml import QuantumLayer

H2 = SparsePauliOp(
    ["II", "IZ", "ZI", "ZZ", "XX"],
    [
        -1.052373245772859,
        0.39793742484318045,
        -0.39793742484318045,
        -0.01128010425623538,
        0.18093119978423156,
    ],
)


def small(**options: object) -> QuantumLayer:
    """Three qubits, three inputs, six weights."""
    circuit = angle(3).compose(hardware_efficient(3, layers=1))
    settings: dict[str, object] = {"inputs": "x", "init": "uniform", "seed": 1} | options
    return QuantumLayer(circuit, **settings).double()  # type: ignore[arg-type]


def test_outputs_are_qiskits_expectation_values() -> None:
    circuit = angle(3).compose(hardware_efficient(3, layers=2))
    observables = ["XYZ", SparsePauliOp(["IIZ", "ZXI"], [0.3, -2.0])]
    layer = QuantumLayer(circuit, "x", observables, init="uniform", seed=0).double()
    x = torch.rand(4, 3, dtype=torch.float64)
    with torch.no_grad():
        y = layer(x)
    named = dict(zip(layer.program.weights, layer.weights.tolist(), strict=True))
    for row, found in zip(x, y, strict=True):
        values = named | {f"x[{k}]": float(v) for k, v in enumerate(row)}
        state = Statevector(
            circuit.assign_parameters({p: values[p.name] for p in circuit.parameters})
        )
        for k, observable in enumerate(observables):
            right = state.expectation_value(SparsePauliOp(observable)).real
            assert float(found[k]) == pytest.approx(right, abs=1e-12)


def test_default_output_k_is_z_of_qubit_k() -> None:
    circuit = QuantumCircuit(3)
    for q, a in enumerate((0.1, 0.7, 1.9)):
        circuit.ry(a, q)
    y = QuantumLayer(circuit).double()()
    np.testing.assert_allclose(y.detach().numpy(), np.cos([0.1, 0.7, 1.9]), atol=1e-7)


def test_probabilities_are_in_qiskits_order() -> None:
    circuit = angle(3)
    circuit.cx(0, 2)
    y = QuantumLayer(circuit, "x", "probs").double()(torch.tensor([0.2, 0.9, 2.0]))
    bound = circuit.assign_parameters([0.2, 0.9, 2.0])
    np.testing.assert_allclose(y.detach().numpy(), Statevector(bound).probabilities(), atol=1e-7)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (5, 3), (2, 4, 3), (0, 3)])
def test_leading_dimensions_are_kept(shape: tuple[int, ...]) -> None:
    layer, x = small(), torch.rand(shape, dtype=torch.float64)
    y = layer(x)
    assert y.shape == (*shape[:-1], 3)
    for flat, row in zip(y.reshape(-1, 3), x.reshape(-1, 3), strict=True):
        torch.testing.assert_close(flat, layer(row))


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_gradcheck(backend: str) -> None:
    layer = small(backend=backend)
    x = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)

    def function(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weights": weights}, (x,))

    weights = layer.weights.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(function, (x, weights))
    assert torch.autograd.gradgradcheck(function, (x, weights))


def test_dtype_follows_torch() -> None:
    layer = QuantumLayer(angle(2).compose(hardware_efficient(2, 1)), "x", seed=0)
    assert layer(torch.rand(1, 2, dtype=torch.float64)).dtype == torch.float32
    assert layer.double()(torch.rand(1, 2)).dtype == torch.float64
    assert layer.float()(torch.ones(1, 2, dtype=torch.int64)).dtype == torch.float32


def test_trains_in_a_sequential_with_an_optimiser() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), small(), nn.Linear(3, 1)).double()
    x = torch.rand(32, 2, dtype=torch.float64)
    target = x.prod(dim=1, keepdim=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in model.parameters())


def test_vqe_of_h2_reaches_the_ground_energy() -> None:
    """-1.8572750 Hartree: the smallest eigenvalue, also computed by NumPy."""
    layer = QuantumLayer(hardware_efficient(2, 2), observables=H2, seed=1).double()
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        layer().sum().backward()
        optimiser.step()
    energy = float(layer().detach())
    assert energy == pytest.approx(-1.8572750, abs=1e-6)
    assert energy >= np.linalg.eigvalsh(H2.to_matrix())[0] - 1e-12


def test_state_dict_round_trip(tmp_path: Path) -> None:
    one, other = small(seed=1), small(seed=2)
    torch.save(one.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    x = torch.rand(2, 3, dtype=torch.float64)
    assert torch.equal(one(x), other(x))


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("options", [{}, {"shots": 50}, {"backend": "reference"}])
def test_copies_are_equal_and_independent(
    copier: Callable[[QuantumLayer], QuantumLayer], options: dict[str, object]
) -> None:
    layer = small(**options)
    twin = copier(layer)
    x = torch.rand(2, 3, dtype=torch.float64)
    assert torch.equal(layer(x), twin(x))
    with torch.no_grad():
        twin.weights.add_(1)
    assert not torch.equal(layer(x), twin(x))


def test_copies_of_a_non_affine_circuit() -> None:
    layer = QuantumLayer(zz_feature_map(2), "x")
    assert torch.equal(pickle.loads(pickle.dumps(layer))(torch.ones(2)), layer(torch.ones(2)))


def test_with_backend_shares_the_weights() -> None:
    layer = small()
    other = layer.with_backend("reference", shots=20)
    assert other.weights is layer.weights
    other(torch.rand(1, 3)).sum().backward()
    assert layer.weights.grad is not None
    layer.weights.data += 1.0
    assert torch.equal(other.weights, layer.weights)
    assert layer.shots is None
    assert layer.backend.name == "native"


def test_seeded_layers_are_equal() -> None:
    assert torch.equal(small(seed=3).weights, small(seed=3).weights)
    torch.manual_seed(5)
    one = QuantumLayer(hardware_efficient(2, 1))
    torch.manual_seed(5)
    assert torch.equal(one.weights, QuantumLayer(hardware_efficient(2, 1)).weights)


def test_shots_differ_from_call_to_call_and_resume() -> None:
    layer, x = small(shots=30), torch.rand(4, 3, dtype=torch.float64)
    first = layer(x)
    state = copy.deepcopy(layer.state_dict())
    second = layer(x)
    assert not torch.equal(first, second)
    resumed = small(shots=30)
    resumed.load_state_dict(state)
    assert torch.equal(resumed(x), second)


def test_estimate_returns_standard_errors() -> None:
    layer = small(shots=1000)
    result = layer.estimate(torch.rand(2, 5, 3, dtype=torch.float64))
    assert result.std is not None
    assert result.std.shape == (2, 5, 3)
    bound = torch.sqrt((1 - result.values**2) / 999)
    torch.testing.assert_close(result.std, bound, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["parameter-shift", "spsa", SPSA(samples=2)])
def test_every_method_trains_the_layer_before(method: str | SPSA) -> None:
    front = nn.Linear(2, 3).double()
    layer = small(diff_method=method)
    layer(front(torch.rand(4, 2, dtype=torch.float64))).sum().backward()
    assert front.weight.grad is not None
    assert bool((front.weight.grad != 0).all())


def test_noise_changes_the_outputs_and_shows_in_repr() -> None:
    device = Device.load("fake_yorktown")
    layer = small()
    noisy = layer.with_backend("aer", noise=device)
    x = torch.rand(2, 3, dtype=torch.float64)
    gap = (noisy(x) - layer(x)).abs()
    assert bool((gap > 1e-3).any())
    assert bool((gap < 0.6).all())
    assert "noise=fake_yorktown of 2021-03-15" in repr(noisy)
    assert len(noisy.transpiled.layout) == 3


def test_layout_is_where_the_circuit_sits() -> None:
    device, x = Device.load("fake_belem"), torch.rand(2, 3, dtype=torch.float64)
    layer = small(noise=device, layout=[4, 3, 1])
    assert layer.transpiled.initial_layout == (4, 3, 1)
    assert "layout=[4, 3, 1]" in repr(layer)
    with torch.no_grad():
        for backend in ("aer", "native"):
            moved = small().with_backend(backend, noise=device, layout=[4, 3, 1])
            torch.testing.assert_close(layer(x), moved(x), atol=1e-6, rtol=0)
        elsewhere = layer.with_backend("native", noise=device, layout=[0, 1, 2])
        assert (layer(x) - elsewhere(x)).abs().max() > 1e-4
    with pytest.raises(ValueError, match=r"layout=\[0, 1, 2\] needs a device"):
        small(layout=[0, 1, 2])


@pytest.mark.slow
def test_data_parallel_training_averages_gradients(tmp_path: Path) -> None:
    script = Path(__file__).with_name("ddp_script.py")
    command = [sys.executable, str(script), str(tmp_path / "rendezvous")]
    subprocess.run(command, check=True, timeout=120)


def test_draw_shows_the_circuit() -> None:
    assert "Ry(x[0])" in str(small().draw())
    with_program = QuantumLayer(lower(angle(1), "x"))
    assert "Ry(x[0])" in str(with_program.draw())


def test_bad_calls() -> None:
    layer = small()
    with pytest.raises(
        ValueError, match=r"x has shape \(2, 5\), but the last dimension must be the"
    ):
        layer(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"x holds nan in sample 1, feature 2 \('x\[2\]'\)"):
        layer(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, float("nan")]]))
    with pytest.raises(ValueError, match="x holds inf in sample 0, feature 0"):
        layer(torch.tensor([[float("inf"), 0.0, 0.0]]))
    with pytest.raises(ValueError, match=r"this layer has 3 inputs: call layer\(x\)"):
        layer()
    with pytest.raises(TypeError, match=r"layer\(x\) takes a torch.Tensor, not list"):
        layer([[0.0, 0.0, 0.0]])
    with torch.no_grad():
        layer.weights[2] = float("nan")
    with pytest.raises(ValueError, match=r"weight 'w\[2\]' is nan; weights must be finite"):
        layer(torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "natve"}, "unknown backend 'natve'; did you mean 'native'"),
        ({"backend": "pennylane:defalt.qubit"}, "defalt.qubit"),
        ({"observables": ["ZZ"]}, "observable 'ZZ' acts on 2 qubits, but the circuit has 3"),
        ({"observables": SparsePauliOp("ZZZ", 1j)}, "observable is not Hermitian"),
        ({"observables": "ZAZ"}, "observable 'ZAZ' is not a Pauli string"),
        ({"observables": []}, "observables is empty"),
        ({"shots": 0}, "shots must be a positive integer"),
        ({"shots": 10.5}, "shots must be a positive integer"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"init": "zeros"}, "unknown init 'zeros'"),
        ({"init": torch.zeros(2)}, r"init has shape \(2,\), but the circuit has 6 weights"),
        ({"init": torch.full((6,), torch.inf)}, "init holds NaN or infinite values"),
        ({"diff_method": "shift"}, "unknown diff_method 'shift'"),
        ({"inputs": "y"}, "unknown parameter of the circuit in inputs=: 'y'"),
        (
            {"noise": Device.load("fake_santiago"), "backend": "reference"},
            "backend 'reference' does not simulate device noise",
        ),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_circuits_that_are_too_wide() -> None:
    with pytest.raises(ValueError, match=r"a state of 45 qubits for this batch takes .* GiB"):
        QuantumLayer(hardware_efficient(45, 1))
    with pytest.raises(ValueError, match=r"6 qubits.* 5"):
        QuantumLayer(hardware_efficient(6, 1), backend="aer", noise=Device.load("fake_santiago"))


def test_native_needs_the_cpu() -> None:
    with pytest.raises(
        ValueError, match="the native engine runs on the CPU, but the inputs are on"
    ):
        small().to("meta")(torch.zeros(1, 3, device="meta"))


def test_zero_weights_and_empty_circuits() -> None:
    y = QuantumLayer(angle(2), "x")(torch.zeros(3, 2, requires_grad=True))
    y.sum().backward()
    empty = QuantumLayer(QuantumCircuit(2))
    assert torch.equal(empty(), torch.ones(2))
    assert QuantumLayer(encoder("4_ry").compose(u3_cu3(4, 1)), "x")(torch.zeros(4)).shape == (4,)


def test_unused_parameters_of_a_vector_are_features_without_effect() -> None:
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    layer = QuantumLayer(circuit, inputs=["a"])
    x = torch.tensor([[0.3]], requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [[-np.sin(0.3)]], atol=1e-6)


def test_explain_tells_how_a_batch_is_run() -> None:
    """Six lines, for the batch, dtype and route in question; nothing is run."""
    layer = small()
    lines = layer.explain().splitlines()
    names = ["route", "gates", "multiply-adds", "state", "predicted"]
    assert [line.split()[0] for line in lines[1:]] == names
    assert lines[0] == f"{layer.program} on the native engine, batch 64, torch.float64"
    assert "unitary: lanes are 16 samples, what follows 3 operations is one" in lines[1]
    assert "batch 5, torch.float32" in layer.float().explain(batch=5)
    wide = QuantumLayer(hardware_efficient(18, layers=1), seed=0)
    assert "amplitudes: lanes are 16 amplitudes, in 2 passes" in wide.explain(batch=1)
    sampled = small(shots=10)
    sampled.explain()
    assert int(sampled.calls) == 0


def test_explain_needs_a_backend_that_can() -> None:
    message = "backend 'reference' does not explain itself; 'native' does"
    with pytest.raises(ValueError, match=message):
        small(backend="reference").explain()


def test_only_real_inputs() -> None:
    with pytest.raises(TypeError, match=r"takes real inputs, not torch\.complex64"):
        small()(torch.zeros(1, 3, dtype=torch.complex64))


@pytest.mark.parametrize("seed", [1.7, True, "1"])
def test_seeds_are_integers(seed: object) -> None:
    with pytest.raises(TypeError, match="seed must be an integer or None"):
        small(seed=seed)


def test_numpy_seeds_are_integers() -> None:
    assert small(seed=np.int64(3)).seed == 3
