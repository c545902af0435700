"""One random pattern of errors per sample: its mean is the channel's, whatever the strength."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from nisqkit.circuits import Observables, Task, encoder, lower, u3_cu3
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.hardware_backends.native.trajectory_draws import Errors
from nisqkit.noise import Device, NoiseModel

BELEM = Device.load("fake_belem")
PAULI = NoiseModel.from_device(BELEM, kind="pauli")
PROGRAM = lower(encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1)), inputs="x")
Z = Observables.parse(["IIIZ", "IIZI", "ZZII", "IXIY"], 4)
SAMPLES = 10_000


def run(backend: NoisyBackend, samples: int, step: int = 0, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Values, and the gradient of a fixed combination of their means."""
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 16, dtype=torch.float64, generator=random).expand(samples, 16).contiguous()
    w = torch.rand(len(PROGRAM.weights), dtype=torch.float64, generator=random).requires_grad_()
    values = backend.run([Task(PROGRAM, x, w, Z, seed=(seed, step, 0))])[0].values
    factors = torch.tensor([1.0, -2.0, 0.5, 1.0], dtype=torch.float64)
    (grad,) = torch.autograd.grad((values * factors).sum(dim=1).mean(), w)
    return values.detach(), grad


@pytest.mark.parametrize("ideal_encoder", [False, True])
@pytest.mark.parametrize("kind", ["pauli", "full"])
def test_the_mean_over_patterns_is_the_density_matrix(kind: str, ideal_encoder: bool) -> None:
    """10,000 patterns at 3 times the device's noise, 4 sigma; gradients by means of 10 batches."""
    noise = NoiseModel.from_device(BELEM, kind=kind).scale(3, clip=True)
    exact, gradient = run(NoisyBackend(noise, ideal_encoder=ideal_encoder), 1)
    backend = NoisyBackend(noise, method="patterns", ideal_encoder=ideal_encoder)
    runs = [run(backend, SAMPLES // 10, step) for step in range(10)]
    values = torch.cat([v for v, _ in runs])
    sigma = values.std(dim=0) / SAMPLES**0.5
    assert ((values.mean(dim=0) - exact[0]).abs() < 4 * sigma).all()
    gradients = torch.stack([g for _, g in runs])
    # t with 9 degrees of freedom: 7 is as rare as 4 sigma; the mean square is far sharper
    apart = (gradients.mean(dim=0) - gradient) / (gradients.std(dim=0) / 10**0.5)
    assert apart.abs().max() < 7
    assert (apart**2).mean() < 2  # 9/7 on average


def test_without_noise_there_is_one_pattern() -> None:
    none = NoisyBackend(PAULI.scale(0, readout=True), method="patterns")
    values, gradient = run(none, 20)
    exact, expected = run(NoisyBackend(PAULI.scale(0, readout=True)), 1)
    assert (values - exact).abs().max() < 1e-6
    assert (gradient - expected).abs().max() < 1e-6


def test_patterns_differ_by_sample_and_step_and_not_by_threads() -> None:
    one, two = (NoisyBackend(PAULI.scale(3), method="patterns", threads=t) for t in (1, 2))
    values, gradient = run(one, 50)
    assert len(values.unique(dim=0)) > 10
    assert not torch.equal(values, run(one, 50, step=1)[0])
    again, same = run(two, 50)
    assert torch.equal(values, again)
    assert torch.equal(gradient, same)


def test_a_shared_pattern_is_the_same_for_all_samples() -> None:
    backend = NoisyBackend(PAULI.scale(3), method="patterns", shared=True)
    steps = [run(backend, 20, step)[0] for step in range(20)]
    assert all(len(values.unique(dim=0)) == 1 for values in steps)
    assert len(torch.cat(steps).unique(dim=0)) > 5


def test_each_error_happens_as_often_as_the_model_says() -> None:
    places = [np.array([0.7, 0.2, 0.1]), np.array([1.0]), np.array([0.9, 0.04, 0.06])]
    runs = 50_000
    drawn = Errors.make(places).draw(runs, 1, (3, 4, 5), among_all=True)
    counts = Counter(zip(drawn.place.tolist(), drawn.branch.tolist(), strict=True))
    for place, probabilities in enumerate(places):
        for branch, p in enumerate(probabilities[1:], start=1):
            sigma = (runs * p * (1 - p)) ** 0.5
            assert abs(counts[place, branch] - runs * p) < 4 * sigma
    both = np.bincount(drawn.run, minlength=runs) == 2  # the places are independent
    assert abs(both.sum() - runs * 0.3 * 0.1) < 4 * (runs * 0.03 * 0.97) ** 0.5


def test_strengths_beyond_certainty_are_clipped_on_request() -> None:
    strong = PAULI.scale(1e4, clip=True)
    channel = strong.gates["sx", (0,)][0].channel.pauli_probabilities
    before = PAULI.gates["sx", (0,)][0].channel.pauli_probabilities
    assert channel is not None
    assert before is not None
    assert channel[1:].sum() == pytest.approx(1)
    np.testing.assert_allclose(channel[1:], before[1:] / before[1:].sum())  # relative sizes stay
    with pytest.raises(ValueError, match="which is more than 1; use a strength up to"):
        PAULI.scale(1e4)
    values, _ = run(NoisyBackend(strong, method="patterns"), 200)
    assert values.isfinite().all()


def test_shots_and_sharing_that_cannot_work_are_refused() -> None:
    task = Task(PROGRAM, torch.zeros(1, 16), torch.zeros(len(PROGRAM.weights)), Z, shots=10)
    with pytest.raises(ValueError, match=r"patterns \(4 qubits in use\) give values of random err"):
        NoisyBackend(PAULI, method="patterns").check(task)
    with pytest.raises(ValueError, match="shared=True goes with method='patterns'"):
        NoisyBackend(PAULI, shared=True)
