"""Probabilistic error cancellation has no bias under Pauli noise: exactly, and in samples."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit

from nisqkit.circuits import Observables, Task, encoder, lower, u3_cu3
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.noise import Channel, Device, NoiseModel
from nisqkit.noise.mitigation import PEC, ZNE
from nisqkit.noise.mitigation.pec import _inserted, _weights, cancelled, inverse_weights, overhead
from nisqkit.qml import QuantumLayer

NONE = torch.zeros(1, 0, dtype=torch.float64)
MODEL = NoiseModel(
    "pauli",
    {
        ("sx", ()): Channel.pauli({"X": 0.03, "Z": 0.02}),
        ("x", ()): Channel.pauli({"Y": 0.04, "Z": 0.01}),  # that of what PEC inserts
        ("cx", ()): Channel.pauli({"XI": 0.05, "ZZ": 0.03, "IY": 0.02}),
    },
    {"rz", "measure"},
)
BELEM = Device.load("fake_belem")


def small() -> Task:
    circuit = QuantumCircuit(2)
    circuit.sx(0)
    circuit.rz(0.7, 0)
    circuit.cx(0, 1)
    circuit.rz(0.4, 1)
    return Task(lower(circuit), NONE, NONE[0], Observables.parse(["ZZ", "XI", "YX", "IY"], 2))


def test_the_sum_over_all_patterns_is_the_noise_free_value() -> None:
    """All 4 x 16 patterns with their weights: no bias, to 1e-10, noisy Paulis included."""
    task = small()
    weights = _weights(task, MODEL)
    total = torch.zeros(1, 4, dtype=torch.float64)
    for pattern in itertools.product(*(range(1 if w is None else len(w)) for w in weights)):
        program = _inserted(task.program, pattern, old=False)
        values = execute([Task(program, NONE, NONE[0], task.observables)], Execution(noise=MODEL))
        factor = np.prod(
            [1.0 if w is None else w[p] for w, p in zip(weights, pattern, strict=True)]
        )
        total += float(factor) * values[0].values
    ideal = execute([task], Execution())[0].values
    noisy = execute([task], Execution(noise=MODEL))[0].values
    assert (total - ideal).abs().max() < 1e-10
    assert (noisy - ideal).abs().max() > 0.05


def test_samples_have_no_bias_on_a_device() -> None:
    """2,000 patterns on the Pauli noise of a device, without readout errors; 4 sigma."""
    circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))
    x = torch.rand(2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pauli = NoiseModel.from_device(BELEM, kind="pauli")
    model = NoiseModel("belem", pauli.gates, pauli.ideal | {"measure"}, device=BELEM, kind="pauli")
    layer = QuantumLayer(circuit, "x", noise=model, mitigation=PEC(400), init="uniform", seed=0)
    layer = layer.double()
    result = layer.estimate(x)
    ideal = layer.with_backend("native")(x)
    assert result.std is not None
    assert ((result.values - ideal).abs() < 4 * result.std).all()
    raw = (layer.with_backend("native", noise=model)(x) - ideal).abs().mean()
    assert (result.values - ideal).abs().mean() < raw
    again = layer.estimate(x)
    assert torch.equal(again.values, result.values)  # the seed decides


def test_the_limit_of_many_patterns_has_no_bias_under_pauli_noise() -> None:
    """Exactly, where samples show it within their errors; of full noise it is what samples give."""
    circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))
    x = torch.rand(2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for kind in ("pauli", "full"):
        whole = NoiseModel.from_device(BELEM, kind=kind)
        model = NoiseModel("belem", whole.gates, whole.ideal | {"measure"}, device=BELEM)
        layer = QuantumLayer(circuit, "x", noise=model, init="uniform", seed=0).double()
        with torch.no_grad():
            ideal = layer.with_backend("native")(x)
            (placed,) = layer.backend.binder.placed(layer._task(x))  # type: ignore[attr-defined]
            limit = layer.with_backend("native", noise=cancelled([placed], model))(x)
            bias = (limit - ideal).abs().max()
            assert bias < 1e-10 if kind == "pauli" else 0.01 < bias < 0.1
            sampled = layer.with_backend("native", noise=model, mitigation=PEC(400)).estimate(x)
        assert sampled.std is not None
        assert ((sampled.values - limit).abs() < 4 * sampled.std).all()


def test_shots_are_divided_and_the_error_says_so() -> None:
    task = small()
    sampled = Task(task.program, NONE, NONE[0], task.observables, shots=40_000, seed=(1, 2, 3))
    found = execute([sampled], Execution(noise=MODEL, mitigation=PEC(200)))[0]
    ideal = execute([task], Execution())[0].values
    assert found.std is not None
    assert ((found.values - ideal).abs() < 4 * found.std).all()


def test_gradients_flow() -> None:
    circuit = encoder("4_ry").compose(u3_cu3(4, blocks=1))
    layer = QuantumLayer(circuit, "x", noise=BELEM, mitigation=PEC(10), seed=0).double()
    x = torch.rand(2, 4, dtype=torch.float64)
    (grad,) = torch.autograd.grad(layer(x).sum(), layer.weights)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            layer.weights[3] += sign * 1e-5
            values.append(layer(x).sum().item())
            layer.weights[3] -= sign * 1e-5
    assert grad[3].item() == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-5)


@pytest.mark.parametrize("qubits", [1, 2])
def test_weights_are_those_of_mitiq_for_depolarising_noise(qubits: int) -> None:
    with warnings.catch_warnings(action="ignore"):
        from mitiq.pec import represent_operation_with_global_depolarizing_noise
    level = 0.05
    circuit = QuantumCircuit(qubits)
    circuit.x(0) if qubits == 1 else circuit.cx(0, 1)
    with warnings.catch_warnings(action="ignore"):
        theirs = represent_operation_with_global_depolarizing_noise(circuit, level)
    channel = Channel.depolarizing(level * 4**qubits / (4**qubits - 1), qubits)
    ours = inverse_weights(channel.ptm, [np.ones(4)] * qubits)
    np.testing.assert_allclose(sorted(ours), sorted(theirs.coeffs), atol=1e-10)


def test_the_overhead_is_the_product_of_the_norms() -> None:
    weights = [w for w in _weights(small(), MODEL) if w is not None]
    assert len(weights) == 2
    expected = np.prod([np.abs(w).sum() for w in weights])
    assert overhead(small(), MODEL) == pytest.approx(expected)
    assert expected > 1.2


def test_what_cannot_be_cancelled_is_found_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="this backend has none that is known"):
        execute([small()], Execution(mitigation=PEC()))
    gone = NoiseModel("gone", {("cx", ()): Channel.depolarizing(1.0, 2)}, ["sx", "rz", "measure"])
    with pytest.raises(ValueError, match=r"the noise of cx on \(0, 1\) cannot be undone"):
        execute([small()], Execution(noise=gone, mitigation=PEC()))
    idle = NoiseModel.from_device(BELEM, idle=True)
    with pytest.raises(ValueError, match="fake_belem has idle noise as well"):
        execute([small()], Execution(noise=idle, mitigation=PEC()))
    few = Task(small().program, NONE, NONE[0], small().observables, shots=10)
    with pytest.raises(ValueError, match="shots=10 cannot be divided among 100 patterns"):
        execute([few], Execution(noise=MODEL, mitigation=PEC()))
    with pytest.raises(ValueError, match="num=1 must be at least 2"):
        PEC(1)
    with pytest.raises(ValueError, match="has ZNE and PEC, which both estimate values"):
        Execution(noise=MODEL, mitigation=[ZNE(), PEC()])


def test_equal_to_mitiq_within_their_errors() -> None:
    """The same depolarising noise by both: estimates differ by less than 4 sigma of both."""
    with warnings.catch_warnings(action="ignore"):
        from mitiq import pec
        from mitiq.pec.representations import (
            represent_operation_with_local_depolarizing_noise as represent,
        )
    circuit = QuantumCircuit(2)
    circuit.rx(0.4, 0)
    circuit.cx(0, 1)
    circuit.rx(0.3, 1)
    circuit.cx(0, 1)
    level = 0.04
    local = Channel.depolarizing(level * 4 / 3)
    pauli = np.diag(local.ptm)
    both = Channel.from_ptm(np.diag(np.kron(pauli, pauli)))
    model = NoiseModel(
        "local",
        {("cx", ()): both},
        {"rx", "x", "y", "z", "id", "rz", "u3", "u", "measure"},
    )
    z = Observables.parse("ZZ", 2)

    def executor(bound):  # type: ignore[no-untyped-def] # Mitiq reads annotations, if any
        task = Task(lower(bound), NONE, NONE[0], z)
        return execute([task], Execution(noise=model))[0].values.item()

    gate = QuantumCircuit(2)
    gate.cx(0, 1)
    with warnings.catch_warnings(action="ignore"):
        theirs, data = pec.execute_with_pec(
            circuit,
            executor,
            representations=[represent(gate, level)],
            num_samples=300,
            random_state=0,
            full_output=True,
        )
    task = Task(lower(circuit), NONE, NONE[0], z)
    ours = execute([task], Execution(noise=model, mitigation=PEC(300)))[0]
    ideal = execute([task], Execution())[0].values.item()
    assert ours.std is not None
    assert abs(executor(circuit) - ideal) > 0.1
    sigma = (ours.std.item() ** 2 + data["pec_error"] ** 2) ** 0.5
    assert sigma < 0.12
    assert abs(ours.values.item() - theirs) < 4 * sigma
