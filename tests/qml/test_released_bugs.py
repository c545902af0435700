"""What the released code of QuantumNAT gets wrong, each as a test that ours does not.

Wang et al., QuantumNAT, DAC 2022 (arXiv:2110.11331). Its scripts never attach the noise model, its
quantisation loss has no gradient, noise of CX is lost, and more; every test names one of them.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from torch.nn.functional import cross_entropy

from nisqkit.circuits import angle, encoder, lower, u3_cu3
from nisqkit.hardware_backends.bound import Binder
from nisqkit.noise import Device, NoiseModel
from nisqkit.noise.noisy_program import NoiseUse
from nisqkit.qml import (
    InjectGates,
    PostMeasurementNorm,
    PostMeasurementQuantize,
    QuantumLayer,
    centroid_losses,
    classifier,
    freeze_statistics,
)

SANTIAGO = Device.load("fake_santiago")
X = torch.from_numpy(np.random.default_rng(0).uniform(0, 3, (12, 16)))
Y = torch.arange(12) % 4


def two_nodes(**options: object) -> torch.nn.Sequential:
    model = classifier(16, 4, depth=1, nodes=2, norm=True, quantize=5, seed=0, **options)  # type: ignore[arg-type]
    return model.double()


def test_the_centroid_loss_moves_the_weights() -> None:
    """Released: both of its sides carry the same gradient, and they cancel."""
    model = two_nodes()
    weights = next(model.parameters())  # of the first node
    with centroid_losses(model) as losses:
        model(X)
    (grad,) = torch.autograd.grad(losses[0], weights)
    assert grad.abs().max() > 1e-3

    # the released form: y - Q(y), where Q passes the gradient straight through
    y = model[1](model[0](X))
    released = ((y - model[2](y)) ** 2).mean()
    (none,) = torch.autograd.grad(released, weights)
    assert none.abs().max() < 1e-12


def test_the_noise_is_attached_while_training() -> None:
    """Released: the call that attaches the noise model is commented out."""
    layer = QuantumLayer(
        encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1)),
        inputs="x",
        noise=SANTIAGO,
        inject=InjectGates(factor=30.0, readout=False),
        seed=0,
    ).double()
    ideal = layer.with_backend("native")(X)
    assert (layer.train()(X) - ideal).abs().max() > 0.1
    assert (layer(X) - layer(X)).abs().max() > 0.1  # and drawn anew in each step


def test_every_native_gate_has_its_noise_and_cx_has_what_the_device_reports() -> None:
    """Released: with newer Aer versions the terms of CX are skipped, and with them most noise."""
    model = NoiseModel.from_device(SANTIAGO, kind="pauli")
    program = lower(encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=2)), inputs="x")
    noisy = Binder.make(model).bind(program)
    gates = Counter(use.name for use in noisy.program.gates if use.name in ("cx", "sx", "x"))
    assert gates["cx"] > 0
    assert sum(isinstance(use, NoiseUse) for use in noisy.operations) == gates.total()
    for use in noisy.operations:
        if isinstance(use, NoiseUse) and len(use.qubits) == 2:
            pair = tuple(noisy.physical[q] for q in use.qubits)
            calibration = SANTIAGO.gate("cx", pair) or SANTIAGO.gate("cx", pair[::-1])
            assert calibration is not None
            # average gate infidelity of a Pauli channel: sum of its errors times d / (d + 1)
            mixture = use.channel.pauli_probabilities
            assert mixture is not None
            assert (1 - mixture[0]) * 4 / 5 == pytest.approx(calibration.error, rel=1e-6)


def test_gates_and_pairs_without_noise_are_errors() -> None:
    """Released: u3 and cu3 run without noise, pairs without coupling take another pair's."""
    model = NoiseModel.from_device(SANTIAGO, kind="pauli")
    with pytest.raises(ValueError, match="cu3"):
        model.bind(lower(u3_cu3(2, blocks=1)))
    apart = QuantumCircuit(4)
    apart.cx(0, 3)
    with pytest.raises(ValueError, match=r"cx on \(0, 3\)"):
        model.bind(lower(apart))


def test_probabilities_times_the_noise_factor_stay_probabilities() -> None:
    """Released: probabilities times T can pass 1."""
    strong = NoiseModel.from_device(SANTIAGO, kind="pauli").scale(1e4, clip=True)
    for noises in strong.gates.values():
        for noise in noises:
            mixture = noise.channel.pauli_probabilities
            assert mixture is not None
            assert mixture.min() >= 0
            assert mixture.sum() == pytest.approx(1)


def test_evaluation_has_the_noise_of_gates_and_of_readout() -> None:
    """Released: in evaluation there is readout noise, but no gate noise."""
    circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))
    layer = QuantumLayer(circuit, inputs="x", noise=SANTIAGO, inject="gates", seed=0)
    layer = layer.double().eval()
    aer = layer.with_backend("aer", noise=SANTIAGO)
    assert torch.allclose(layer(X), aer(X), atol=1e-7)  # Aer drops branches below 1e-10


def test_readout_keeps_both_of_its_errors() -> None:
    """Released (and V2 fakes as such): one mean readout error per qubit."""
    binder = Binder.make(SANTIAGO, layout=[0])
    (confusion,) = binder.bind(lower(angle(1), inputs="x")).readout
    errors = SANTIAGO.readout[0]
    assert errors is not None
    read_1_after_0, read_0_after_1 = errors
    assert read_0_after_1 > 2 * read_1_after_0
    expected = [[1 - read_1_after_0, read_0_after_1], [read_1_after_0, 1 - read_0_after_1]]
    np.testing.assert_allclose(confusion.array, expected, atol=1e-12)


def test_the_last_node_is_neither_normalised_nor_quantised_and_nothing_is_affine() -> None:
    """Released example: a BatchNorm with trained scale and shift on the logits themselves."""
    model = two_nodes()
    kinds = [type(part) for part in model]
    last = max(k for k, kind in enumerate(kinds) if kind is QuantumLayer)
    assert kinds[:last] == [QuantumLayer, PostMeasurementNorm, PostMeasurementQuantize]
    assert PostMeasurementNorm not in kinds[last:]
    assert PostMeasurementQuantize not in kinds[last:]
    trained = {name.rsplit(".")[-1] for name, _ in model.named_parameters()}
    assert trained == {"weights"}


def test_quantisation_stays_in_evaluation() -> None:
    """Released example: the quantiser is taken off before the test."""
    model = two_nodes()
    freeze_statistics(model, X)
    model.eval()
    middle = model[2](model[1](model[0](X)))
    assert set(middle.detach().unique().tolist()) <= {-2.0, -1.0, 0.0, 1.0, 2.0}


def test_a_prediction_does_not_depend_on_the_other_test_samples() -> None:
    """Released: normalised with the statistics of the test batch, so one sample has no answer."""
    model = two_nodes().eval()
    freeze_statistics(model, X)
    together = model(X)
    one_by_one = torch.cat([model(x[None]) for x in X])
    assert torch.allclose(together, one_by_one, atol=1e-12)


def test_a_training_step_with_everything_on_lowers_its_loss() -> None:
    """All parts at once: injection, readout, normalisation, quantisation and its loss."""
    model = two_nodes(noise=SANTIAGO, inject="gates").train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    history = []
    for _ in range(15):
        optimizer.zero_grad()
        with centroid_losses(model) as losses:
            logits = model(X)
        loss = cross_entropy(logits, Y) + 0.1 * sum(losses)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        history.append(loss.item())
    assert np.mean(history[-3:]) < np.mean(history[:3])
