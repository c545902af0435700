"""Runs of noisy programs: segments, memory, and many tiles."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from nisqkit.circuits import Observables, lower
from nisqkit.circuits.program import GateUse
from nisqkit.hardware_backends.native import density_run
from nisqkit.hardware_backends.native.density_plan import DensityPlan
from nisqkit.hardware_backends.native.density_run import DensityRun, most_kept, run_bytes, segments
from nisqkit.noise import Channel, NoiseModel, NoiseUse, NoisyProgram


def small_plan(layers: int = 3) -> DensityPlan:
    circuit = QuantumCircuit(2)
    x, w = ParameterVector("x", 2), ParameterVector("w", 2 * layers)
    for k in range(layers):
        for q in range(2):
            circuit.rx(x[q], q)
            circuit.rz(w[2 * k + q], q)
        circuit.cx(0, 1)
    program = lower(circuit, inputs="x")
    operations: list[GateUse | NoiseUse] = []
    for use in program.gates:
        operations += [use, NoiseUse(Channel.dephasing(0.05), use.qubits[:1], "wait")]
    none = NoiseModel("none", {})
    noisy = NoisyProgram(program, tuple(operations), (), (0, 1), (0, 1), none)
    return DensityPlan(noisy, Observables.parse(None, 2))


@pytest.mark.parametrize("count", [0, 1, 2, 9, 100, 333])
def test_segments(count: int) -> None:
    trained = np.zeros(3 * count + 2, dtype=np.int64)
    trained[1::3] = 1
    trained[3 * count :] = 0
    for limit in (0, 3, 8, 25, 60, 1000):
        cuts = segments(trained, state_bytes=100, workers=2, limit=200 * limit)
        assert (cuts[0], cuts[-1]) == (0, len(trained))
        assert all(a < b for a, b in pairwise(cuts))
        marks = len(cuts) - 2
        kept = marks + most_kept(trained, cuts)
        if kept > limit and count:  # then nothing fits, and it takes about the least memory
            assert kept <= 2 * np.ceil(np.sqrt(count))
        if limit >= count:
            assert marks == 0


def test_bytes_grow_with_what_is_kept() -> None:
    plan = small_plan()
    whole = run_bytes(plan, 16, 4, 1, 2**28)
    assert run_bytes(plan, 16, 8, 1, 2**28) > 1.5 * whole
    assert run_bytes(plan, 16, 4, 1, 1) < whole
    assert run_bytes(plan, 160, 4, 2, 2**28) > 1.5 * whole
    assert run_bytes(plan, 16, 4, 2, 2**28) == whole  # one tile takes one thread


def test_many_tiles_are_summed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small_plan()
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(100, 2)), rng.normal(size=6)
    grad, start = rng.normal(size=(100, 2)), np.zeros((100, 0))
    together = DensityRun(plan, x, w, start, workers=1)
    expected = (together.forward(), *together.backward(grad))
    for at_once in (1, 3):
        monkeypatch.setattr(density_run, "TILES_AT_ONCE", at_once)
        run = DensityRun(plan, x, w, start, workers=2)
        for one, two in zip((run.forward(), *run.backward(grad)), expected, strict=True):
            assert_array_equal(one, two)


def test_weights_gather_all_samples() -> None:
    plan = small_plan()
    rng = np.random.default_rng(0)
    x, w, grad = rng.normal(size=(40, 2)), rng.normal(size=6), rng.normal(size=(40, 2))
    none = np.zeros((40, 0))
    whole = DensityRun(plan, x, w, none, workers=1).backward(grad)[1]
    parts = [
        DensityRun(plan, x[a:b], w, none[a:b], workers=1).backward(grad[a:b])[1]
        for a, b in ((0, 7), (7, 40))
    ]
    assert_allclose(parts[0] + parts[1], whole, atol=1e-13)
