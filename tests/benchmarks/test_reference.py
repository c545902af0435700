"""The values that peers must agree with, and the FLOPs that the roofline counts.

The benchmarks are scripts, so each test runs a few lines in their folder.
"""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str) -> str:
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, cwd=BENCHMARKS, capture_output=True, text=True, check=True, timeout=120
    ).stdout


def test_reference_agrees_with_qiskit_and_finite_differences() -> None:
    assert "gradient" in run("import reference; print(reference.self_check())")


def test_nisqkit_agrees_and_a_wrong_gradient_is_found() -> None:
    script = """
from compare import differences, disagreement
from peers.nisqkit_layer import Step
from reference import compute
from workloads import Workload
for workload in (Workload("u3_cu3", 4, 2, 5), Workload("hardware_efficient", 5, 2, 5)):
    data = workload.data()
    step = Step(workload, data, 1)
    step.step()
    found, expected = step.result(), compute(workload, data)
    assert disagreement(differences(found, expected), expected) is None
    found[2] = -found[2]
    print(disagreement(differences(found, expected), expected))
"""
    assert run(script).count("gradient of the weights off by") == 2


def test_flops_of_a_layer_of_rotations() -> None:
    # RY per input, then one layer of RY RZ (a complex 2x2 matrix) and CX, on 3 qubits. Per
    # amplitude: product state 2, gradients of the inputs 3 x 4, matrices 3 x (14 + 2 x 14 + 12),
    # Z and co-state 9.
    script = """
from flops import count
from workloads import Workload
found = count(Workload("hardware_efficient", 3, 1, 10))
print(found.per_amplitude, found.amplitudes)
"""
    assert run(script).split() == [str(2 + 3 * 4 + 3 * 54.0 + 9), "80"]
