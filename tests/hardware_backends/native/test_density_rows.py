"""Tiles of Pauli vectors: initial states, measurements, and memory that does not change a bit."""

from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from nisqkit.circuits import Observables, lower
from nisqkit.circuits.program import GateUse
from nisqkit.hardware_backends.native import density_rows as rows
from nisqkit.hardware_backends.native.density_plan import DensityPlan
from nisqkit.hardware_backends.native.density_run import DensityRun
from nisqkit.noise import Channel, NoiseModel, NoiseUse, NoisyProgram

Array = NDArray[Any]


@njit
def measure(x, tile, where, coefficients, m, y):  # type: ignore[no-untyped-def]
    rows.measure(x, tile, (where, coefficients), m, y)


@njit
def measure_back(x, tile, where, coefficients, m, grad):  # type: ignore[no-untyped-def]
    rows.measure_back(x, tile, (where, coefficients), m, grad)


@njit
def begin_state(x, tile, starts, given):  # type: ignore[no-untyped-def]
    rows.begin_state(x, tile, starts, given)


def layered(num_qubits: int, observables: Observables) -> DensityPlan:
    """Matrices and moves, with channels of one and two qubits."""
    circuit = QuantumCircuit(num_qubits)
    x, w = ParameterVector("x", num_qubits), ParameterVector("w", 4 * num_qubits)
    for layer in range(4):
        for q in range(num_qubits):
            circuit.ry(x[q] if layer % 2 else w[4 * q + layer], q)
        for q in range(num_qubits - 1):
            circuit.cx(q, q + 1)
        circuit.rzx(w[layer], 0, num_qubits - 1)
    program = lower(circuit, inputs="x")
    operations: list[GateUse | NoiseUse] = []
    for use in program.gates:
        operations.append(use)
        operations.append(NoiseUse(Channel.relaxation(0.03), use.qubits[:1], "decay"))
        if len(use.qubits) == 2:
            operations.append(NoiseUse(Channel.depolarizing(0.02, 2), use.qubits, "pair"))
    every = tuple(range(num_qubits))
    noisy = NoisyProgram(program, tuple(operations), (), every, every, NoiseModel("none", {}))
    return DensityPlan(noisy, observables)


@pytest.mark.parametrize("probs", [True, False])
def test_measuring(probs: bool) -> None:
    plan = layered(2, Observables.parse("probs" if probs else ["XY", "IZ", "ZI"], 2))
    where, coefficients = plan.measured
    rng = np.random.default_rng(0)
    x, m = rng.normal(size=(16, 16)), np.empty((len(where) + 1, 16))
    y = np.full((20, plan.observables.num_outputs), np.nan)
    measure(x, 1, where, coefficients, m, y)  # the second tile has 4 samples
    assert np.isnan(y[:16]).all()
    ii, iz, zi, zz = x[[0, 3, 12, 15]]
    if probs:
        signs = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
        expected = signs @ np.stack([ii, iz, zi, zz]) / 4
    else:
        expected = np.stack([x[2 + 4 * 1], iz, zi])
    assert_allclose(y[16:], expected.T[:4], atol=1e-14)
    # the transpose: sum(grad * measure(x)) = sum(measure_back(grad) * x)
    grad, costate = rng.normal(size=y.shape), np.full_like(x, np.nan)
    measure_back(costate, 1, where, coefficients, m, grad)
    assert_allclose((costate * x).sum(), (grad[16:] * y[16:]).sum(), atol=1e-13)
    assert (costate[:, 4:] == 0).all()


def test_initial_states() -> None:
    plan = layered(2, Observables.parse(None, 2))
    x = np.full((16, 16), np.nan)
    begin_state(x, 0, plan.starts, np.zeros((20, 0)))
    assert np.flatnonzero(x[:, 7]).tolist() == [0, 3, 12, 15]
    assert set(x.ravel()) == {0.0, 1.0}
    given = np.random.default_rng(0).normal(size=(20, 16))
    begin_state(x, 1, plan.starts, given)
    assert_array_equal(x[:, :4], given[16:].T)
    assert (x[:, 4:] == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("wanted", [True, False])
def test_segments_do_not_change_a_bit(dtype: Any, wanted: bool) -> None:
    plan = layered(3, Observables.parse(["XYZ", "ZII", "IXI"], 3))
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(20, 3)).astype(dtype), rng.normal(size=plan.widths[1]).astype(dtype)
    grad, given = rng.normal(size=(20, 3)).astype(dtype), rng.normal(size=(20, 64)).astype(dtype)
    for start in (np.zeros((20, 0), dtype), given):
        found = []
        state = 64 * 16 * x.itemsize
        for limit in (2**28, 12 * state, 1):  # one segment, some, as little memory as possible
            run = DensityRun(plan, x, w, start, workers=1, limit=limit)
            found.append(run.backward(grad, inputs_wanted=wanted))
        for other in found[1:]:
            for one, two in zip(found[0], other, strict=True):
                assert_array_equal(one, two)
        assert np.abs(found[0][1]).max() > 1e-2


def test_derivatives_by_the_initial_state() -> None:
    plan = layered(2, Observables.parse(["XY", "ZI"], 2))
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(18, 2)), rng.normal(size=plan.widths[1])
    given, grad = rng.normal(size=(18, 16)), rng.normal(size=(18, 2))
    found = DensityRun(plan, x, w, given, workers=1).backward(grad)[2]
    # values are linear in the initial state
    values = DensityRun(plan, x, w, given, workers=1).forward()
    assert_allclose((found * given).sum(axis=1), (grad * values).sum(axis=1), atol=1e-13)
    change = rng.normal(size=given.shape)
    moved = DensityRun(plan, x, w, given + change, workers=1).forward() - values
    assert_allclose((found * change).sum(axis=1), (grad * moved).sum(axis=1), atol=1e-13)
