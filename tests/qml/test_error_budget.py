"""The error budget against the layers' own losses: what it says must add up."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nisqkit.circuits import angle, hardware_efficient, strongly_entangling, u3_cu3
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.noise import Channel, Confusion, Device, NoiseModel
from nisqkit.qml import QuantumLayer, classifier
from nisqkit.qml.error_budget import ErrorBudget, Part, error_budget
from nisqkit.qml.models import with_backend

ANSATZE = (u3_cu3, hardware_efficient, strongly_entangling)


def samples(num_inputs: int, num_classes: int, batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(batch, num_inputs, generator=generator, dtype=torch.float64) - 1
    return x, torch.randint(num_classes, (batch,), generator=generator)


def check_sum(budget: ErrorBudget, model: nn.Module, x: Tensor, y: Tensor) -> None:
    """The parts sum to the difference of two models' losses: with the noise, and without any."""
    noise: Any = budget.noise
    noisy = with_backend(model, "native", noise=noise).double()
    exact = with_backend(model, "native").double()
    with torch.no_grad():
        after, before = (float(cross_entropy(m(x), y)) for m in (noisy, exact))
        right = float((noisy(x).argmax(1) == y).double().mean())
    total = sum(part.loss for part in budget.parts)
    assert total == pytest.approx(after - before, rel=1e-6)  # asked for is 1 %
    assert budget.residual == pytest.approx(total - (after - before), abs=1e-9)
    assert (budget.noise_free_loss, budget.noisy_loss) == pytest.approx((before, after), abs=1e-9)
    assert budget.noisy_accuracy == right
    assert sum(part.share for part in budget.parts) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    ("device", "num_qubits", "kind"),
    [
        ("fake_belem", 2, "full"),
        ("fake_yorktown", 3, "full"),
        ("fake_santiago", 4, "pauli"),
        ("fake_melbourne", 2, "full"),
        ("fake_jakarta", 4, "idle"),
        ("fake_quito", 3, "pauli"),
    ],
)
def test_the_parts_sum_to_what_noise_costs(device: str, num_qubits: int, kind: str) -> None:
    ansatz = ANSATZE[num_qubits - 2]
    circuit = angle(num_qubits).compose(ansatz(num_qubits, 2))
    layer = QuantumLayer(circuit, inputs="x", init="uniform", seed=num_qubits)
    x, y = samples(num_qubits, num_qubits, 12)
    noise = NoiseModel.from_device(
        Device.load(device), kind="pauli" if kind == "pauli" else "full", idle=kind == "idle"
    )
    check_sum(layer.error_budget(x, y, noise=noise), layer, x, y)


def test_they_sum_after_training_too() -> None:
    model = classifier(4, 2, "hardware-efficient", depth=2, seed=0)
    x, _ = samples(4, 2, 40)
    y = (x[:, 0] * x[:, 1] > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        cross_entropy(3 * model(x).double(), y).backward()
        optimizer.step()
    budget = error_budget(model, x, y, noise=Device.load("fake_yorktown"))
    check_sum(budget, model, x, y)
    assert budget.noisy_loss > budget.noise_free_loss
    assert budget.by_kind()["gates"] > 0


def test_it_is_the_closed_form_of_one_qubit() -> None:
    """<Z> after x, two channels and the readout: -e^(-aT) e^(-bT) (1 - c T), attributed by hand."""
    rate_a, rate_b, flip = 0.5, 0.2, 0.1
    model = NoiseModel(
        "by hand",
        {
            ("ry", (0,)): Channel.depolarizing(1 - math.exp(-rate_a)),
            ("rx", (0,)): Channel.depolarizing(1 - math.exp(-rate_b)),
        },
        readout=[Confusion.flips(0, read_1_after_0=flip / 2, read_0_after_1=flip / 2)],
    )
    circuit = angle(1).compose(angle(1, gates="rx", name="w"))
    layer = QuantumLayer(circuit, inputs="x", init=torch.zeros(1), noise=model)
    x = torch.tensor([[math.pi]], dtype=torch.float64)
    budget = layer.error_budget(x, torch.zeros(1, 1), lambda values, _: values.sum())
    t = np.linspace(0, 1, 200_001)
    decay, read = np.exp(-(rate_a + rate_b) * t), 1 - flip * t
    expected = {
        "ry 0": np.trapezoid(rate_a * decay * read, t),
        "rx 0": np.trapezoid(rate_b * decay * read, t),
        "readout of 0": np.trapezoid(flip * decay, t),
    }
    assert {part.cause: part.loss for part in budget.parts} == pytest.approx(expected, abs=1e-9)
    assert [part.cause for part in budget.parts] == sorted(expected, key=lambda c: -expected[c])
    assert budget.noise_free_loss == pytest.approx(-1)
    assert budget.noisy_accuracy is None
    assert all(part.accuracy_without is None for part in budget.parts)


def test_the_accuracy_without_a_cause() -> None:
    """By hand: the model bound with that qubit's readout left out."""
    device = Device.load("fake_yorktown")
    layer = QuantumLayer(angle(2).compose(u3_cu3(2, 1)), inputs="x", init="uniform", seed=3)
    x, y = samples(2, 2, 200)
    backend = NoisyBackend(device, layout=[0, 1])
    budget = error_budget(layer.with_backend(backend), x, y)
    part = next(p for p in budget.parts if p.cause == "readout of 0")
    full = NoiseModel.from_device(device)
    without = NoiseModel(
        "one readout is perfect",
        full.gates,
        {*full.ideal, ("measure", (0,))},
        [c for c in full.readout if c.qubits != (0,)],
        device=device,
    )
    other = layer.double().with_backend(NoisyBackend(without, layout=[0, 1]))
    assert part.accuracy_without == float((other(x).argmax(1) == y).double().mean())
    assert part.accuracy_without != budget.noisy_accuracy
    assert sum(p.accuracy_without is not None for p in budget.parts) == 8


def test_groups_and_text() -> None:
    device = Device.load("fake_santiago")
    model = NoiseModel.from_device(device)
    parts = (
        Part("cx 1-0", 0.3, 0.6, 0.9),
        Part("second: T1 of 1", 0.2, 0.4, 0.75),
        Part("cx 0-1", 0.1, 0.2),
        Part("readout of 0-1", -0.05, -0.1),
        Part("idle of 10", -0.05, -0.1),
        Part("sx 0", 0.0, 0.0),
        Part("cosmic rays", 0.0, 0.0),
    )
    budget = ErrorBudget(parts, 1.0, 1.5, 1e-12, 0.9, 0.8, 7, model)
    kinds = ["gates", "T1", "gates", "readout", "idle", "gates", "cosmic rays"]
    assert [part.kind for part in parts] == kinds
    assert budget.by_kind()["gates"] == pytest.approx(0.4)
    assert list(budget.by_kind())[:2] == ["gates", "T1"]
    assert [part.qubits for part in parts] == [(0, 1), (1,), (0, 1), (0, 1), (10,), (0,), ()]
    assert budget.by_place()[0, 1] == pytest.approx(0.35)
    text = str(budget).splitlines()
    assert text[0] == "fake_santiago of 2021-03-15, 7 samples"
    assert "accuracy 90.0 % noise-free, 80.0 % noisy" in text[1]
    assert text[3].split() == ["cx", "1-0", "+0.3000", "60.0", "%", "+10.0", "points"]
    assert text[-1] == "residual +1.0e-12"
    assert repr(budget).startswith("ErrorBudget(fake_santiago of 2021-03-15, 7 causes, loss 1.0000")


def test_progress_ends_at_one() -> None:
    layer = QuantumLayer(angle(2).compose(u3_cu3(2, 1)), inputs="x", seed=0)
    done: list[float] = []
    error_budget(layer, *samples(2, 2, 4), noise=Device.load("fake_belem"), progress=done.append)
    assert done == sorted(done)
    assert done[-1] == 1


def test_no_noise_at_all() -> None:
    exact = NoiseModel("exact", {}, ideal={"ry", "rz", "measure"})
    layer = QuantumLayer(hardware_efficient(1, 1), seed=0)
    budget = layer.error_budget(None, torch.zeros(1), noise=exact)
    assert (budget.parts, budget.residual) == ((), 0.0)
    assert budget.noisy_loss == budget.noise_free_loss
