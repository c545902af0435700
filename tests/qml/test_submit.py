from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nisqkit.circuits import angle, hardware_efficient
from nisqkit.compression.quantize import QuantizePolicy, quantize
from nisqkit.hardware_backends.ibm import IBMBackend
from nisqkit.qml import QuantumLayer
from nisqkit.qml.datasets import Dataset, Split
from nisqkit.qml.models import classifier
from nisqkit.qml.submit import (
    evaluate_on_hardware,
    mitigation_stack,
    plan_evaluation,
)


def dataset(size: int = 24) -> Dataset:
    random = np.random.default_rng(0)
    x = random.uniform(-1.5, 1.5, (size, 2)).astype(np.float32)
    split = Split(x, (x[:, 0] > x[:, 1]).astype(np.int64))
    return Dataset("made up", ("a", "b"), (2,), split, split, split, {})


def model() -> nn.Module:
    circuit = angle(2).compose(hardware_efficient(2, layers=1))
    layer = QuantumLayer(circuit, inputs="x", seed=2)
    return nn.Sequential(layer, nn.Linear(2, 2))


def test_mitigation_brings_values_nearer() -> None:
    torch.manual_seed(0)
    found = {}
    for names in ([], ["readout"]):
        backend = IBMBackend("fake_manila")
        found[len(names)] = evaluate_on_hardware(
            model(), dataset(), backend, mitigation_stack(names), shots=20_000
        )
    raw, mitigated = found[0], found[1]
    assert mitigated.error < 0.6 * raw.error
    # shots alone: at most 1 / sqrt(shots), and less where a value is near 1
    assert 0 < raw.std < 20_000**-0.5 * 1.05
    assert raw.evaluation.total == 24 and raw.evaluation.shots == 20_000


def test_a_quantized_circuit_is_sent_with_its_rounded_angles() -> None:
    """With one bit of angle, the machine's values are those of the rounded circuit."""
    torch.manual_seed(0)
    rounded = quantize(model(), QuantizePolicy(weight_bits=32, angle_bits=1))
    found = evaluate_on_hardware(rounded, dataset(), IBMBackend("fake_manila"), shots=20_000)
    whole = evaluate_on_hardware(model(), dataset(), IBMBackend("fake_manila"), shots=20_000)
    assert found.error < 0.1 and whole.error < 0.1  # against their own noise-free values
    assert abs(found.evaluation.loss - whole.evaluation.loss) > 0.02


def test_the_interval_from_shots() -> None:
    """With few shots the accuracy moves, with many it stands; both contain what was found."""
    torch.manual_seed(0)
    wide = evaluate_on_hardware(model(), dataset(), IBMBackend("fake_manila"), shots=4)
    narrow = evaluate_on_hardware(model(), dataset(), IBMBackend("fake_manila"), shots=50_000)
    low, high = wide.shot_interval
    assert high - low > 0.08
    assert narrow.shot_interval[1] - narrow.shot_interval[0] < high - low
    assert narrow.shot_interval[0] <= narrow.evaluation.accuracy <= narrow.shot_interval[1]


def test_the_plan_is_what_is_then_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    from nisqkit.hardware_backends.ibm import backend as module

    sent: list[Any] = []
    run_local = module.run_local
    monkeypatch.setattr(
        module, "run_local", lambda job, *rest: sent.append(job) or run_local(job, *rest)
    )
    backend = IBMBackend("fake_manila")
    stacks = [mitigation_stack([]), mitigation_stack(["readout-calibrated"])]
    plan = plan_evaluation(model(), dataset(), backend, stacks, shots=100, limit=5)
    assert sent == []
    for stack in stacks:
        evaluate_on_hardware(model(), dataset(), backend, stack, shots=100, limit=5)
    assert (plan.jobs, plan.pubs) == (len(sent), sum(len(job.pubs) for job in sent))
    assert plan.executions == sum(job.executions for job in sent) == 100 * (5 + 2 + 5)


def test_normalised_models_take_statistics_from_the_simulated_machine() -> None:
    torch.manual_seed(0)
    normed = classifier(2, 2, depth=1, qubits=2, nodes=2, norm=True, seed=0)
    backend = IBMBackend("fake_manila")
    plan = plan_evaluation(normed, dataset(), backend, [()], shots=1000)
    assert plan.jobs == 2  # one per circuit, none for the statistics
    found = evaluate_on_hardware(normed, dataset(), backend, shots=1000)
    assert found.evaluation.total == 24


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown mitigation 'redout'; did you mean 'readout'"):
        mitigation_stack(["redout"])
    with pytest.raises(ValueError, match="has no QuantumLayer, so there is nothing to run on"):
        evaluate_on_hardware(nn.Linear(2, 2), dataset(), IBMBackend("fake_manila"), shots=10)
