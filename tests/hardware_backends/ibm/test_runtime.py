"""Both generations of the runtime's primitives, on circuits of a whole machine."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from qiskit_aer import AerSimulator

from nisqkit.circuits import Observables
from nisqkit.hardware_backends import Execution, execute
from nisqkit.hardware_backends.conformance import random_task
from nisqkit.hardware_backends.ibm import IBMBackend
from nisqkit.hardware_backends.ibm.job import Job, pack_found, unpack_found
from nisqkit.hardware_backends.ibm.pubs import call_rows, task_results
from nisqkit.hardware_backends.ibm.runtime import primitive, read_pubs, run_options, run_pubs


@pytest.mark.parametrize("generation", ["client", "server"])
@pytest.mark.parametrize("kind", ["sampler", "estimator"])
def test_circuits_of_the_whole_machine(generation: str, kind: str) -> None:
    """Layout, bit order and bindings: a noise-free machine of 5 qubits gives exact values."""
    options = {"resilience_level": 0} if kind == "estimator" else {}
    backend = IBMBackend("fake_manila", layout=[4, 2, 3], options=options)
    task = replace(random_task(3, seed=8, batch=3), shots=4000)
    with torch.no_grad():
        (job,), _ = backend.jobs([task])
        job = Job.from_bytes(job.to_bytes())  # as the ledger keeps it
        assert job.kind == kind
        runner = primitive(
            kind, AerSimulator(), run_options(job.options, None, 7), generation=generation
        )
        import warnings

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*no effect in local testing mode")
            result = run_pubs(runner, job, backend.device.num_qubits).result()
        found = unpack_found(pack_found(read_pubs(result, job)))
        (value,) = task_results([task], call_rows([task], kind == "estimator"), found)
        (exact,) = execute([replace(task, shots=None)], Execution("native"))
    assert value.std is not None
    # the estimator's error is that of its bases drawn apart; both are near sqrt(terms / shots)
    assert ((value.values - exact.values).abs() / value.std.clamp_min(0.005)).max() < 4.5
    assert value.std.max() < 0.05


def test_tags_and_seeds_go_into_the_options() -> None:
    given: dict[str, Any] = {"environment": {"job_tags": ["mine"]}, "twirling": {}}
    found = run_options(given, "nisqkit-1", 5)
    assert found["environment"]["job_tags"] == ["mine", "nisqkit-1", "nisqkit"]
    assert found["simulator"] == {"seed_simulator": 5}
    assert given == {"environment": {"job_tags": ["mine"]}, "twirling": {}}
    for generation in ("client", "server"):  # both take them
        options = primitive("sampler", AerSimulator(), found, generation).options
        assert options.environment.job_tags == ["mine", "nisqkit-1", "nisqkit"]


def test_ibms_own_options_reach_the_primitive() -> None:
    given = {
        "dynamical_decoupling": {"enable": True, "sequence_type": "XY4"},
        "twirling": {"enable_gates": True},
        "resilience_level": 2,
        "resilience": {"zne_mitigation": True, "zne": {"noise_factors": [1, 3]}},
        "max_execution_time": 30,
    }
    for generation in ("client", "server"):
        options = primitive("estimator", AerSimulator(), given, generation).options
        assert options.dynamical_decoupling.sequence_type == "XY4"
        assert options.resilience_level == 2
        assert list(options.resilience.zne.noise_factors) == [1, 3]
        assert options.max_execution_time == 30


def test_probabilities_have_qubit_0_last() -> None:
    task = replace(
        random_task(2, seed=3, batch=2), shots=20_000, observables=Observables.parse("probs", 2)
    )
    with torch.no_grad():
        (found,) = IBMBackend("fake_manila").run([task])
        (exact,) = execute([replace(task, shots=None)], Execution("native"))
    np.testing.assert_allclose(found.values.sum(dim=1), 1, atol=1e-12)
    assert (found.values - exact.values).abs().max() < 0.08  # the noise of manila
