"""Readout mitigation is the exact inverse, Mitiq's, and works on 20 bits."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from nisqkit.circuits import Observables, Task, angle, encoder, lower, u3_cu3
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.noise import Confusion, Device, NoiseModel
from nisqkit.noise.mitigation import ReadoutMitigation
from nisqkit.noise.mitigation.unfolding import (
    Readout,
    bayes,
    expectations,
    inverse_observables,
    nearest_distribution,
    through,
    undone,
)
from nisqkit.qml import QuantumLayer

RANDOM = np.random.default_rng(4)
GROUP = Confusion(
    (0, 2),
    (
        (0.9, 0.1, 0.05, 0.0),
        (0.04, 0.85, 0.0, 0.1),
        (0.06, 0.0, 0.9, 0.05),
        (0.0, 0.05, 0.05, 0.85),
    ),
)
FLIPS = Confusion.flips(1, read_1_after_0=0.02, read_0_after_1=0.08)
CORRELATED = NoiseModel("read", {}, ["ry", "x", "prepare"], [GROUP, FLIPS])
READOUT: list[Readout] = [((0, 2), np.array(GROUP.matrix)), ((1,), np.array(FLIPS.matrix))]
BELEM = Device.load("fake_belem")
CIRCUIT = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))
X = torch.rand(3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def dense() -> np.ndarray:
    """The 8 x 8 confusion matrix of `READOUT`, entry by entry."""
    matrix = np.zeros((8, 8))
    for read in range(8):
        for there in range(8):
            pair = [(b & 1) + 2 * (b >> 2 & 1) for b in (read, there)]
            alone = [b >> 1 & 1 for b in (read, there)]
            matrix[read, there] = READOUT[0][1][*pair] * READOUT[1][1][*alone]
    return matrix


def distributions(rows: int = 5) -> Tensor:
    return torch.from_numpy(RANDOM.dirichlet(np.ones(8), rows))


def test_matrices_on_groups_are_the_dense_matrix() -> None:
    p = distributions()
    np.testing.assert_allclose(through(p, READOUT), p.numpy() @ dense().T, atol=1e-14)
    np.testing.assert_allclose(undone(through(p, READOUT), READOUT), p, atol=1e-12)


def test_inverted_observables_read_the_true_values() -> None:
    p = distributions()
    z = Observables.parse(["IIZ", "ZIZ", "ZZZ", "IZI"], 3)
    inverted = inverse_observables(z, READOUT)
    read = expectations(through(p, READOUT), inverted)
    np.testing.assert_allclose(read, expectations(p, z), atol=1e-12)


def test_the_nearest_distribution_is_that_of_mitiq() -> None:
    with warnings.catch_warnings(action="ignore"):
        from mitiq.rem.inverse_confusion_matrix import closest_positive_distribution
    for _ in range(10):
        values = RANDOM.normal(0.125, 0.2, 8)
        values += (1 - values.sum()) / 8
        found = nearest_distribution(torch.from_numpy(values[None]))[0].numpy()
        theirs = closest_positive_distribution(values)  # by a numerical optimiser
        np.testing.assert_allclose(found, theirs, atol=1e-3)
        assert ((found - values) ** 2).sum() <= ((theirs - values) ** 2).sum() + 1e-9
        assert found.sum() == pytest.approx(1)


def test_bayes_goes_to_the_truth() -> None:
    p = distributions()
    errors = [(bayes(through(p, READOUT), READOUT, n) - p).abs().max() for n in (3, 30, 3000)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-4


@pytest.mark.parametrize("method", ["inverse", "least-squares", "bayes"])
@pytest.mark.parametrize("observables", [None, "probs", ["ZIZ", "IZI"]])
def test_exact_values_become_those_of_a_perfect_readout(method: str, observables: object) -> None:
    program = lower(angle(3), "x")
    x = torch.from_numpy(RANDOM.uniform(0, 3, (4, 3)))
    task = Task(program, x, x.new_zeros(0), Observables.parse(observables, 3))  # type: ignore[arg-type]
    mitigation = ReadoutMitigation(method, iterations=2000)
    found = execute([task], Execution(noise=CORRELATED, mitigation=mitigation))[0].values
    perfect = execute([task], Execution())[0].values
    raw = execute([task], Execution(noise=CORRELATED))[0].values
    assert (found - perfect).abs().max() < (1e-3 if method == "bayes" else 1e-10)
    assert (raw - perfect).abs().max() > 1e-2


def test_on_a_device_only_the_noise_of_gates_is_left() -> None:
    for observables in (None, ["XIIZ", "IYZI"]):
        layer = QuantumLayer(
            CIRCUIT, "x", observables, noise=BELEM, init="uniform", seed=0
        ).double()
        perfect = replace(
            NoiseModel.from_device(BELEM),
            readout=(),
            ideal=NoiseModel.from_device(BELEM).ideal | {"measure"},
        )
        for backend in ("native", "aer"):
            found = layer.with_backend(backend, noise=BELEM, mitigation=ReadoutMitigation())(X)
            wanted = layer.with_backend("native", noise=perfect)(X)
            assert torch.allclose(found, wanted, atol=1e-7)


def test_values_are_those_of_mitiq() -> None:
    with warnings.catch_warnings(action="ignore"):
        from mitiq import MeasurementResult, Observable, PauliString
        from mitiq.rem import execute_with_rem, generate_tensored_inverse_confusion_matrix
    from qiskit import QuantumCircuit

    flips = [Confusion.flips(q, read_1_after_0=0.05, read_0_after_1=0.05) for q in range(2)]
    model = NoiseModel("read", {}, ["ry", "cx"], flips)
    circuit = QuantumCircuit(2)
    circuit.ry(0.7, 0)
    circuit.cx(0, 1)
    none = torch.zeros(1, 0, dtype=torch.float64)
    probs = Task(lower(circuit), none, none[0], Observables.parse("probs", 2))
    read = execute([probs], Execution(noise=model))[0].values[0]
    shots = 100_000
    counts = (read * shots).round().int().tolist()
    bits = [[k & 1, k >> 1] for k in range(4) for _ in range(counts[k])]

    def executor(_):  # type: ignore[no-untyped-def]
        return MeasurementResult(bits)

    with warnings.catch_warnings(action="ignore"):
        matrix = generate_tensored_inverse_confusion_matrix(2, [m.array for m in flips])
        z = Observable(PauliString("ZZ"))
        executor.__annotations__["return"] = MeasurementResult
        theirs = execute_with_rem(circuit, executor, z, inverse_confusion_matrix=matrix)
    task = replace(probs, observables=Observables.parse("ZZ", 2))
    # Mitiq draws as many shots from the mitigated distribution: 4 sigma of these
    for method in ("inverse", "least-squares"):
        mitigation = ReadoutMitigation(method)
        ours = execute([task], Execution(noise=model, mitigation=mitigation))[0].values.item()
        assert abs(ours - np.real(theirs)) < 4 / shots**0.5


@pytest.mark.parametrize("correlated", [(), [(0, 2)]])
def test_calibration_finds_the_confusions(correlated: list[tuple[int, int]]) -> None:
    model = CORRELATED if correlated else replace(CORRELATED, readout=(FLIPS.moved((0,)), FLIPS))
    model = replace(model, ideal=model.ideal | {"measure"}) if not correlated else model
    program = lower(angle(3), "x")
    x = torch.from_numpy(RANDOM.uniform(0, 3, (4, 3)))
    task = Task(program, x, x.new_zeros(0), Observables.parse(["ZZZ", "IZZ"], 3))
    measured = ReadoutMitigation(source="calibration", correlated=correlated)
    found = execute([task], Execution(noise=model, mitigation=measured))[0].values
    assert torch.allclose(found, execute([task], Execution())[0].values, atol=1e-10)
    assert len(measured._kept) == 1
    execute([task], Execution(noise=model, mitigation=measured))
    assert len(measured._kept) == 1  # once is enough


def test_shots_stay_unbiased_and_say_how_sure_they_are() -> None:
    layer = QuantumLayer(CIRCUIT, "x", noise=BELEM, seed=0, mitigation=ReadoutMitigation()).double()
    sampled = layer.with_backend("native", noise=BELEM, shots=4000, mitigation=ReadoutMitigation())
    result = sampled.estimate(X)
    plain = layer.with_backend("native", noise=BELEM, shots=4000).estimate(X)
    assert result.std is not None
    assert plain.std is not None
    assert ((result.values - layer(X)).abs() < 4 * result.std).all()
    assert (result.std > plain.std).all()


def test_gradients_are_those_of_finite_differences() -> None:
    for method in ("inverse", "least-squares", "bayes"):
        mitigation = ReadoutMitigation(method)
        layer = QuantumLayer(CIRCUIT, "x", noise=BELEM, seed=0, mitigation=mitigation).double()
        (grad,) = torch.autograd.grad(layer(X).sum(), layer.weights)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                layer.weights[4] += sign * 1e-5
                values.append(layer(X).sum().item())
                layer.weights[4] -= sign * 1e-5
        assert grad[4].item() == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-5)


def test_twenty_bits_take_no_matrix() -> None:
    readout = [((q,), np.array([[0.98, 0.05], [0.02, 0.95]])) for q in range(20)]
    p = torch.zeros(1, 2**20, dtype=torch.float64)
    p[0, [0, -1, 12345]] = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    start = time.perf_counter()
    read = through(p, readout)
    assert torch.allclose(undone(read, readout), p, atol=1e-10)
    assert torch.allclose(nearest_distribution(undone(read, readout)), p, atol=1e-10)
    assert (bayes(read, readout, 5).sum() - 1).abs() < 1e-9
    assert time.perf_counter() - start < 60  # a dense matrix would be 8 TB


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "inverze"}, "did you mean 'inverse'"),
        ({"source": "devise"}, "did you mean 'device'"),
        ({"correlated": [(0, 1)]}, "correlated and shots go with source='calibration'"),
        ({"source": "calibration", "correlated": [(0, 1), (1, 2)]}, "lists qubit 1 twice"),
        ({"iterations": 0}, "iterations=0 must be at least 1"),
    ],
)
def test_options_that_cannot_work(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReadoutMitigation(**options)  # type: ignore[arg-type]


def test_what_cannot_be_undone_is_found_before_anything_runs() -> None:
    blind = Confusion.flips(1, read_1_after_0=0.5, read_0_after_1=0.5)
    model = NoiseModel("blind", {}, ["ry", "measure"], [blind])
    circuit = angle(2)
    with pytest.raises(ValueError, match="the readout of qubit 1 cannot be undone"):
        QuantumLayer(circuit, "x", noise=model, mitigation=ReadoutMitigation())
    with pytest.raises(ValueError, match="this backend has none that is known"):
        QuantumLayer(circuit, "x", mitigation=ReadoutMitigation())
    wide = NoiseModel(
        "wide", {}, ["ry"], [Confusion.flips(None, read_1_after_0=0.01, read_0_after_1=0.02)]
    )
    with pytest.raises(
        ValueError, match=r"a product of 11 operators, whose inverse would be 2\*\*11"
    ):
        QuantumLayer(angle(11), "x", "Z" * 11, noise=wide, mitigation=ReadoutMitigation())
    with pytest.raises(ValueError, match="works on the outcomes of measuring Z, and an observable"):
        QuantumLayer(angle(2), "x", "XZ", noise=wide, mitigation=ReadoutMitigation("least-squares"))
    far = ReadoutMitigation(source="calibration", correlated=[(0, 7)])
    with pytest.raises(ValueError, match="correlated has qubit 7, and 2 are measured"):
        QuantumLayer(angle(2), "x", noise=wide, mitigation=far)
