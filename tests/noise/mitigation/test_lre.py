"""Layerwise Richardson extrapolation: exact for polynomials, and what Mitiq computes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit

from nisqkit.circuits import Observables, Task, encoder, lower, u3_cu3
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.noise import Channel, Device, NoiseModel
from nisqkit.noise.mitigation import ZNE, LayerwiseRichardson, ReadoutMitigation
from nisqkit.noise.mitigation.lre import extrapolation_weights
from nisqkit.qml import QuantumLayer

BELEM = Device.load("fake_belem")
CIRCUIT = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))


@pytest.mark.parametrize(("degree", "num_chunks", "multiplier"), [(1, 4, 1), (2, 3, 1), (3, 2, 2)])
def test_polynomials_are_extrapolated_exactly(
    degree: int, num_chunks: int, multiplier: int
) -> None:
    folds, weights = extrapolation_weights(degree, num_chunks, multiplier)
    random = np.random.default_rng(0)
    slope = random.normal(size=num_chunks)
    scales = 1 + 2 * np.array(folds)
    values = (0.7 + scales @ slope) ** degree  # total degree as stated, 0.7 ** degree at 0
    assert np.dot(weights, values) == pytest.approx(0.7**degree, abs=1e-9)


def test_one_chunk_is_zne() -> None:
    layer = QuantumLayer(CIRCUIT, "x", noise=BELEM, seed=0).double()
    x = torch.rand(2, 16, dtype=torch.float64)
    with torch.no_grad():
        one = layer.with_backend(
            "native", noise=BELEM, mitigation=LayerwiseRichardson(degree=2, num_chunks=1)
        )(x)
        two = layer.with_backend("native", noise=BELEM, mitigation=ZNE((1, 3, 5)))(x)
    assert torch.allclose(one, two, atol=1e-10)


@pytest.mark.parametrize(("degree", "num_chunks"), [(1, 3), (2, 2)])
def test_equal_to_mitiq(degree: int, num_chunks: int) -> None:
    with warnings.catch_warnings(action="ignore"):
        from mitiq import lre
        from mitiq.zne.scaling import fold_global
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.rx(0.4, 1)
    circuit.cx(0, 1)
    circuit.ry(0.3, 0)
    names = ("h", "cx", "rx", "ry", "u3", "u", "x", "z", "y", "id", "s", "sdg", "u2", "u1", "p")
    gates = {(n, ()): Channel.depolarizing(0.02, 2 if n == "cx" else 1) for n in names}
    model = NoiseModel("by hand", gates, {"rz", "measure"})
    z, none = Observables.parse("ZZ", 2), torch.zeros(1, 0, dtype=torch.float64)

    def executor(bound):  # type: ignore[no-untyped-def] # Mitiq reads annotations, if any
        task = Task(lower(bound), none, none[0], z)
        return execute([task], Execution(noise=model))[0].values.item()

    with warnings.catch_warnings(action="ignore"):
        theirs = lre.execute_with_lre(
            circuit,
            executor,
            degree=degree,
            fold_multiplier=1,
            folding_method=fold_global,
            num_chunks=num_chunks,
        )
    task = Task(lower(circuit), none, none[0], z)
    ours = LayerwiseRichardson(degree, num_chunks)
    found = execute([task], Execution(noise=model, mitigation=ours))[0].values
    assert found.item() == pytest.approx(theirs, abs=1e-8)


def test_on_a_device_with_gradients() -> None:
    """Nearer to the truth than ZNE of the same degree, and differentiable."""
    layer = QuantumLayer(CIRCUIT, "x", noise=BELEM, init="uniform", seed=0).double()
    x = torch.rand(2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ideal = layer.with_backend("native")(x)

    def error(mitigation: list[object]) -> float:
        return (
            (layer.with_backend("native", noise=BELEM, mitigation=mitigation)(x) - ideal)  # type: ignore[arg-type]
            .abs()
            .mean()
            .item()
        )

    lre = LayerwiseRichardson(degree=1, num_chunks=2)
    assert error([lre, ReadoutMitigation()]) < error([ReadoutMitigation()]) / 4
    mitigated = layer.with_backend("native", noise=BELEM, mitigation=[lre])
    (grad,) = torch.autograd.grad(mitigated(x).sum(), layer.weights)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            layer.weights[3] += sign * 1e-5
            values.append(mitigated(x).sum().item())
            layer.weights[3] -= sign * 1e-5
    assert grad[3].item() == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-5)


def test_the_standard_error_is_that_of_repetitions() -> None:
    """The stated one against the spread of 200 samples of the same circuit; 4 sigma of a spread."""
    layer = QuantumLayer(
        CIRCUIT, "x", noise=BELEM, shots=500, mitigation=LayerwiseRichardson(), seed=0
    )
    result = layer.estimate(torch.full((200, 16), 0.4))
    assert result.std is not None
    spread = result.values.std(dim=0)
    stated = result.std.mean(dim=0)
    assert ((spread / stated - 1).abs() < 4 / (2 * 199) ** 0.5).all()


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="degree=0 must be at least 1"):
        LayerwiseRichardson(degree=0)
    with pytest.raises(ValueError, match="layers, which cannot be 1000 chunks"):
        QuantumLayer(CIRCUIT, "x", noise=BELEM, mitigation=LayerwiseRichardson(1, 1000), seed=0)
