"""Gaussian injection: distributions, what is measured, and the readout of a device."""

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from scipy.stats import kstest
from torch import Tensor

from nisqkit.circuits import angle, u3_cu3
from nisqkit.circuits.gates import GATES
from nisqkit.noise import Channel, Confusion, Device, NoiseModel
from nisqkit.qml import InjectAngles, InjectExact, InjectOutcomes, QuantumLayer
from nisqkit.qml.injection import Injection

BELEM = Device.load("fake_belem")
CIRCUIT = angle(2).compose(u3_cu3(2, blocks=1))


def layer_of(inject: Injection, **options: object) -> QuantumLayer:
    settings: dict[str, object] = {"init": "uniform", "seed": 3}
    return QuantumLayer(CIRCUIT, "x", inject=inject, **settings | options).double()  # type: ignore[arg-type]


def rows(batch: int = 4) -> Tensor:
    random = torch.Generator().manual_seed(batch)
    return torch.rand(batch, 2, generator=random, dtype=torch.float64) * 2 - 1


def rotation(inject: Injection) -> QuantumLayer:
    """<Z> = cos(w) of one qubit at w = pi/2, where it is -sin of what is added to w."""
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("w"), 0)
    start = torch.tensor([torch.pi / 2], dtype=torch.float64)
    layer = QuantumLayer(circuit, init=start, inject=inject, seed=5).double()
    with torch.no_grad():
        layer.weights.copy_(start)
    return layer


def test_outcomes_are_normal_and_independent() -> None:
    """Of samples, outputs and steps."""
    layer, x = layer_of(InjectOutcomes(factor=2.0, std=0.05, mean=-0.3)), rows(500)
    with torch.no_grad():
        clean = layer.eval()(x)
        layer.train()
        added = torch.stack([layer(x) - clean for _ in range(4)]).numpy()
    assert kstest(added.ravel(), "norm", (-0.3, 0.1)).pvalue > 1e-3
    for axis in range(3):
        a, b = (np.take(added, k, axis).ravel() for k in (0, 1))
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / len(a) ** 0.5


def test_the_mean_is_0_where_only_std_is_given_and_is_not_scaled() -> None:
    x = rows()
    clean = layer_of(InjectOutcomes(std=0.0)).eval()(x)
    torch.testing.assert_close(layer_of(InjectOutcomes(std=0.0))(x), clean)
    moved = layer_of(InjectOutcomes(factor=0.0, std=1.0, mean=0.25))(x)
    torch.testing.assert_close(moved, clean + 0.25)


def test_measured_moments_are_those_of_the_devices_error() -> None:
    """On the first training batch; Aer is what the device returns."""
    layer = layer_of(InjectOutcomes(), noise=BELEM, layout=[0, 1])
    x = rows(20)
    with torch.no_grad():
        aer = layer.with_backend("aer", noise=BELEM, layout=[0, 1])(x)
        error = (aer - layer.with_backend("reference")(x)).numpy()
    layer.eval()(x)
    assert not layer.get_buffer("outcome_known")
    layer.train()(x)
    mean, std = layer.get_buffer("outcome_mean").clone(), layer.get_buffer("outcome_std").clone()
    np.testing.assert_allclose(mean.numpy(), error.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(std.numpy(), error.std(axis=0), atol=1e-6)
    assert bool((std > 1e-3).all())
    layer(rows(7))
    assert mean.equal(layer.get_buffer("outcome_mean"))
    assert std.equal(layer.get_buffer("outcome_std"))
    with torch.no_grad():
        clean = layer.with_backend("reference")(x[:1])
        scores = ((layer(x[:1].repeat(2000, 1)) - clean - mean) / std).numpy()
    for column in scores.T:
        assert kstest(column, "norm").pvalue > 1e-3


def test_what_was_measured_goes_with_the_layer() -> None:
    layer = layer_of(InjectOutcomes(), noise=BELEM)
    layer(rows(20))
    other = layer_of(InjectOutcomes(), noise=BELEM)
    other.load_state_dict(layer.state_dict())
    assert other.get_buffer("outcome_std").equal(layer.get_buffer("outcome_std"))
    for without in (layer.with_backend("native"), layer_of(InjectOutcomes(std=0.1))):
        assert list(without.state_dict()) == ["weights", "calls"]
    assert "outcome_std" in layer.state_dict()
    again = layer.with_backend("native", noise=BELEM, inject="outcomes")
    assert not again.get_buffer("outcome_known")


def test_a_first_batch_of_one_has_no_spread() -> None:
    layer = layer_of(InjectOutcomes(), noise=BELEM)
    with pytest.raises(ValueError, match=r"first training batch has 1 samples.* at least 2, or"):
        layer(rows(1))
    layer(rows(2))
    layer(rows(1))


def test_angles_are_normal_with_one_draw_per_step() -> None:
    layer = rotation(InjectAngles(factor=2.0, std=0.1))
    with torch.no_grad():
        added = [-float(torch.asin(layer())) for _ in range(1000)]
    assert kstest(added, "norm", (0.0, 0.2)).pvalue > 1e-3
    assert abs(np.corrcoef(added[1:], added[:-1])[0, 1]) < 4 / len(added) ** 0.5
    batch = layer_of(InjectAngles(std=0.5))(rows(1).repeat(50, 1))
    torch.testing.assert_close(batch, batch[:1].expand(50, 2), atol=1e-12, rtol=0)


def test_each_weight_has_an_angle_of_its_own() -> None:
    circuit = QuantumCircuit(2)
    for q in range(2):
        circuit.ry(Parameter(f"w{q}"), q)
    layer = QuantumLayer(circuit, init=torch.zeros(2), inject=InjectAngles(std=0.3), seed=1)
    y = torch.stack([layer() for _ in range(300)]).detach()
    assert abs(np.corrcoef(y.T.numpy())[0, 1]) < 4 / 300**0.5


def test_factor_0_leaves_the_weights_alone() -> None:
    layer, x = layer_of(InjectAngles(factor=0.0)), rows()
    assert layer(x).equal(layer.with_backend("native")(x))


@pytest.mark.parametrize("observables", [None, "probs", ["XY", "ZI", "IX"]])
@pytest.mark.parametrize("layout", [[3, 1], None])
def test_readout_is_the_devices(observables: object, layout: list[int] | None) -> None:
    """As in the density engine with gates that have no noise."""
    options = {"noise": BELEM, "layout": layout, "observables": observables}
    x = rows()
    angles = layer_of(InjectAngles(factor=0.0), **options)(x)
    exact = layer_of(InjectExact(factor=0.0), **options)(x)
    torch.testing.assert_close(angles, exact, atol=1e-6, rtol=0)
    unread = layer_of(InjectAngles(factor=0.0, readout=False), **options)
    assert unread(x).equal(unread.with_backend("native")(x))
    assert bool((unread(x) - angles).abs().max() > 1e-3)


def test_readout_in_closed_form_where_the_circuit_needs_routing() -> None:
    """Qubit 0 starts on 3 and 1 on 0; they are read where the swaps leave them."""
    layer, x = layer_of(InjectAngles(factor=0.0), noise=BELEM, layout=[3, 0]), rows()
    z = layer.with_backend("reference")(x)
    physical = layer.transpiled.layout
    assert physical != (3, 0)
    for q in range(2):
        pair = BELEM.readout[physical[q]]
        assert pair is not None
        wanted = (1 - pair[0] - pair[1]) * z[:, q] + (pair[1] - pair[0])
        torch.testing.assert_close(layer(x)[:, q], wanted, atol=1e-9, rtol=0)


def test_qubits_that_are_read_together() -> None:
    matrix = [[0.9, 0.1, 0.0, 0.2], [0.05, 0.8, 0.1, 0.1], [0.05, 0, 0.9, 0.0], [0, 0.1, 0, 0.7]]
    model = NoiseModel(
        "together",
        {("cu3", ()): Channel.depolarizing(0.1, 2)},
        ideal=[*set(GATES) - {"cu3"}],
        readout=[Confusion((0, 1), matrix)],
    )
    x = rows()
    probabilities = layer_of(InjectAngles(factor=0.0), noise=model, observables="probs")
    clean = probabilities.with_backend("reference")(x).detach().numpy()
    read = clean @ np.array(matrix).T
    np.testing.assert_allclose(probabilities(x).detach().numpy(), read, atol=1e-9)
    layer = layer_of(InjectAngles(factor=0.0), noise=model)
    signs = np.array([[1, 1], [-1, 1], [1, -1], [-1, -1]])
    np.testing.assert_allclose(layer(x).detach().numpy(), read @ signs, atol=1e-9)


def test_what_is_refused() -> None:
    message = r"inject=InjectOutcomes needs noise.*; or give InjectOutcomes\(std=...\)"
    with pytest.raises(ValueError, match=message):
        layer_of(InjectOutcomes())
    with pytest.raises(ValueError, match=r"mean=0.1 is given without std: give both, or leave bot"):
        InjectOutcomes(mean=0.1)
    with pytest.raises(ValueError, match="mean is nan: give a finite number"):
        InjectOutcomes(std=0.1, mean=float("nan"))
    for wrong in (InjectOutcomes, InjectAngles):
        with pytest.raises(ValueError, match=r"std is -1: give a finite number, 0 or more"):
            wrong(std=-1)
