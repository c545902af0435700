"""Pauli transfer matrices from the kernels against products in NumPy, and finite differences."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from nisqkit.circuits import Observables, lower
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.lower import gate_class
from nisqkit.circuits.program import GateUse
from nisqkit.hardware_backends.native.density_matrices import parameter_gradients, shared_matrices
from nisqkit.hardware_backends.native.density_plan import DensityPlan
from nisqkit.hardware_backends.native.density_run import DensityRun
from nisqkit.hardware_backends.native.density_schedule import ONE
from nisqkit.noise import Channel, NoiseModel, NoiseUse, NoisyProgram

Array = NDArray[Any]

NAMES = sorted(name for name, gate in GATES.items() if gate.num_params)


def every_gate(inputs: bool) -> DensityPlan:
    """Each gate with angles, followed by channels; and twenty equal runs, more than 16 lanes."""
    circuit = QuantumCircuit(2)
    w = ParameterVector("w", 4)
    for k, name in enumerate(NAMES):
        angles = [w[(k + j) % 4] * (0.5 + j) + 0.1 for j in range(GATES[name].num_params)]
        circuit.append(gate_class(name)(*angles), list(range(GATES[name].num_qubits)))
        circuit.cx(0, 1)
    for k in range(20):
        circuit.rz(w[k % 4] + 0.1 * k, 0)
        circuit.sx(0)
        circuit.cx(0, 1)
    program = lower(circuit, inputs="w" if inputs else None)
    operations: list[GateUse | NoiseUse] = []
    for k, use in enumerate(program.gates):
        channels = [Channel.relaxation(0.01 * (1 + k % 5)), Channel.dephasing(0.02)]
        operations.append(use)
        operations += [NoiseUse(c, (q,), "wait") for c in channels for q in use.qubits[:1]]
    noisy = NoisyProgram(program, tuple(operations), (), (0, 1), (0, 1), NoiseModel("none", {}))
    return DensityPlan(noisy, Observables.parse(None, 2))


def expected(plan: DensityPlan, values: Array) -> Array:
    """Rows of all shared matrices but their first rows, by the definition of the factors."""
    slots = np.array(plan.angle_map.constants)
    for slot, parameter, coefficient in plan.angle_map.terms:
        slots[slot] += coefficient * values[parameter]
    out = np.zeros(plan.num_rows[0])
    for block, begin in plan.shared_rows.items():
        total = np.eye(4 if block.kind == ONE else 16)
        for factor in block.factors:
            a = factor.frequency * (slots[factor.slot] if factor.slot >= 0 else 0)
            waves = [1, np.cos(a), np.sin(a), np.cos(2 * a), np.sin(2 * a)]
            total = np.tensordot(waves[: len(factor.coefficients)], factor.coefficients, 1) @ total
        entries = total[1:].ravel()
        out[begin : begin + len(entries)] = entries
    return out


def built(plan: DensityPlan, values: Array) -> Array:
    out = np.empty((plan.num_rows[0], 16), values.dtype)
    shared_matrices(
        0, values, plan.shared.forms.terms, plan.shared.tables, plan.static(values.dtype)[0],
        np.cumsum([0, *plan.shared.memory]), plan.shared_places[0], out,
    )  # fmt: skip
    return out


VALUES = np.array([0.7, -1.3, 2.1, 0.4])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_built_matrices(dtype: Any) -> None:
    plan = every_gate(inputs=False)
    out = built(plan, VALUES.astype(dtype))
    want = np.repeat(expected(plan, VALUES)[:, None], 16, axis=1)
    assert_allclose(out, want, atol=1e-5 if dtype == np.float32 else 1e-13)


def test_gradients_are_finite_differences() -> None:
    plan = every_gate(inputs=False)
    by_matrix = np.random.default_rng(0).normal(size=plan.num_rows[0])
    # only what has an angle has a place for its derivative
    total = np.zeros(plan.num_places)
    for block, place in plan.places.items():
        size, begin = (12 if block.kind == ONE else 240), plan.shared_rows[block]
        total[place : place + size] = by_matrix[begin : begin + size]
    found, none = np.zeros(4), np.zeros((0, 0))
    parameter_gradients(
        VALUES, plan.shared.forms.terms, plan.shared.forms.used, plan.shared.tables,
        plan.static(np.float64)[0], np.cumsum([0, *plan.shared.memory]), plan.shared_places[1],
        total, plan.own.forms.terms, plan.own.forms.used, none, np.zeros((1, 0)), found,
    )  # fmt: skip
    step = 1e-6
    for k in range(4):
        change = step * np.eye(4)[k]
        slope = (expected(plan, VALUES + change) - expected(plan, VALUES - change)) / (2 * step)
        assert abs(found[k] - by_matrix @ slope) < 1e-7


def test_own_matrices_are_the_shared_ones() -> None:
    # the same circuit with its weights as inputs that are equal for all samples
    shared, own = every_gate(inputs=False), every_gate(inputs=True)
    none, start = np.zeros((20, 0)), np.zeros((20, 0))
    one = DensityRun(shared, none, VALUES, start, workers=1)
    two = DensityRun(own, np.tile(VALUES, (20, 1)), np.zeros(0), start, workers=1)
    assert_allclose(one.forward(), two.forward(), atol=1e-14)
    grad = np.random.default_rng(1).normal(size=(20, 2))
    assert_allclose(one.backward(grad)[1], two.backward(grad)[0].sum(axis=0), atol=1e-13)
