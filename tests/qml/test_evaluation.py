import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn

from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.datasets import Split, load_dataset
from nisqkit.qml.evaluation import (
    calibrated,
    evaluate,
    evaluate_everywhere,
    limited,
    logits,
    noise_free,
    on_device,
)
from nisqkit.qml.models import classifier, with_backend
from nisqkit.qml.post_measurement_norm import freeze_statistics

DATA = load_dataset("digits4", seed=0)
MODEL = classifier(16, 4, depth=1, seed=0)


class Oracle(nn.Module):
    """Knows the class from the features, and is wrong on every third sample."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 5 * nn.functional.one_hot(x[:, 0].long(), 2).float()


def test_accuracy_and_loss_by_hand() -> None:
    labels = np.array([0, 1, 1, 0])
    split = Split(np.array([[0.0], [1.0], [0.0], [0.0]], np.float32), labels)
    result = evaluate(Oracle(), split, ("a", "b"))
    assert (result.correct, result.total) == (3, 4)
    assert result.confusion == ((2, 0), (1, 1))
    right, wrong = np.log1p(np.exp(-5)), np.log1p(np.exp(5))
    assert result.loss == pytest.approx((3 * right + wrong) / 4)


def test_batches_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(70, 16)
    whole = logits(MODEL, x)
    monkeypatch.setattr("nisqkit.qml.evaluation.BATCH", 32)
    torch.testing.assert_close(logits(MODEL, x), whole, atol=1e-6, rtol=0)  # another route
    assert torch.allclose(whole, MODEL(x))
    assert not whole.requires_grad


def test_dropout_is_off_and_the_mode_is_kept() -> None:
    model = nn.Sequential(nn.Linear(16, 4), nn.Dropout(0.5))
    model.train()
    x = torch.rand(8, 16)
    assert torch.equal(logits(model, x), model[0](x))
    assert model.training
    assert model[1].training


def test_devices_change_the_loss_a_little_and_shots_are_repeatable() -> None:
    devices = [Device.load("fake_santiago"), Device.load("fake_yorktown")]
    exact = list(evaluate_everywhere(MODEL, DATA, devices, limit=8))
    assert [r.condition for r in exact] == ["noise-free", "fake_santiago", "fake_yorktown"]
    clean, santiago, yorktown = (r.loss for r in exact)
    assert 0 < abs(santiago - clean) < 0.1
    assert 0 < abs(yorktown - clean) < 0.2
    first, second = (
        list(evaluate_everywhere(MODEL, DATA, devices[:1], shots=100, limit=8)) for _ in range(2)
    )
    assert first == second
    assert first[1].loss != santiago


def test_strong_noise_makes_outputs_small() -> None:
    x = torch.as_tensor(DATA.test.features[:4])
    noisy = with_backend(MODEL, "aer", noise=Device.load("fake_yorktown"))
    assert logits(noisy, x).abs().mean() < logits(MODEL, x).abs().mean()


def test_noise_free_means_exact_wherever_it_was_trained() -> None:
    noisy = with_backend(MODEL, "aer", noise=Device.load("fake_manila"), shots=10)
    x = torch.as_tensor(DATA.test.features[:4])
    assert torch.equal(logits(noise_free(noisy), x), logits(MODEL, x))
    assert noise_free(MODEL) is MODEL


def test_a_limit_takes_evenly_spaced_samples() -> None:
    (result,) = evaluate_everywhere(MODEL, DATA, limit=10)
    assert result.total == 10
    (result,) = evaluate_everywhere(MODEL, DATA, limit=10_000)
    assert result.total == len(DATA.test)
    with pytest.raises(ValueError, match="limit=0 must be at least 1"):
        list(evaluate_everywhere(MODEL, DATA, limit=0))


def test_a_model_without_a_circuit_has_no_devices() -> None:
    with pytest.raises(ValueError, match="has no QuantumLayer"):
        next(evaluate_everywhere(nn.Linear(16, 4), DATA, [Device.load("fake_manila")]))
    (result,) = evaluate_everywhere(nn.Linear(16, 4), DATA)
    assert result.condition == "noise-free"


def test_normalisation_takes_its_statistics_where_it_is_evaluated() -> None:
    data = load_dataset("digits2", seed=0)
    model = classifier(16, 2, depth=1, nodes=2, norm=True, seed=0)
    device = Device.load("fake_yorktown")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    results = list(evaluate_everywhere(model, data, [device], limit=6))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

    noisy = on_device(model, device)
    freeze_statistics(noisy, data.valid.features)
    clean = copy.deepcopy(model)
    freeze_statistics(clean, data.valid.features)
    assert (noisy[1].mean - clean[1].mean).abs().max() > 1e-3  # type: ignore[index, union-attr]
    split = limited(data.test, 6)
    assert results[0].loss == pytest.approx(evaluate(clean, split, data.class_names).loss)
    assert results[1].loss == pytest.approx(evaluate(noisy, split, data.class_names).loss)
    aer = list(evaluate_everywhere(model, data, [device], limit=6, backend="aer"))[1]
    assert aer.loss == pytest.approx(results[1].loss, abs=1e-5)


def test_a_layout_stays_on_its_device_and_injection_does_not() -> None:
    belem, lima = Device.load("fake_belem"), Device.load("fake_lima")
    model = classifier(16, 4, depth=1, noise=belem, layout=[4, 3, 1, 2], inject="gates", seed=0)
    assert on_device(model, belem)[0].execution.layout == (4, 3, 1, 2)  # type: ignore[index]
    elsewhere = on_device(model, lima)[0]  # type: ignore[index]
    assert elsewhere.execution.layout is None
    assert elsewhere.injection is None


def test_a_layout_belongs_to_the_device_also_as_a_noise_model() -> None:
    belem = Device.load("fake_belem")
    pauli = NoiseModel.from_device(belem, "pauli")
    model = classifier(16, 4, depth=1, noise=pauli, layout=[4, 3, 1, 2], seed=0)
    assert on_device(model, belem)[0].execution.layout == (4, 3, 1, 2)  # type: ignore[index]


class HoldsALock(nn.Module):
    """Cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.lock = nn.Linear(16, 4), threading.Lock()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with self.lock:
            return torch.Tensor(self.inner(x))


def test_only_models_that_are_normalised_are_copied() -> None:
    (result,) = evaluate_everywhere(HoldsALock(), DATA)
    assert result.total == len(DATA.test)
    assert calibrated(MODEL, DATA.valid) is MODEL
    network = classifier(16, 4, depth=1, nodes=2, norm=True, seed=0)
    ready = calibrated(network, DATA.valid)
    assert ready.get_buffer("1.known")
    assert not network.get_buffer("1.known")
