"""What every peer must agree with: outputs and gradients in complex128 with NumPy.

Adjoint differentiation, gate by gate, with derivatives of the gates' matrices written out. Slow,
obvious, and shares no code with any peer. `self_check` compares it with Qiskit and with finite
differences.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from workloads import Data, Gate, Workload

Array = NDArray[Any]
CACHE = Path(__file__).parent / ".cache"
AFFORDABLE = 2e7
"""Gates times amplitudes."""


class Reference(NamedTuple):
    """Outputs ``(batch, qubits)``, loss, and the loss's gradients; float64."""

    outputs: Array
    loss: Array
    weights: Array
    inputs: Array


def matrices(gate: Gate, angles: Array) -> tuple[Array, list[Array]]:
    """``(..., 2, 2)`` matrix of the gate (of its target, if it is controlled), and its derivatives.

    ``angles`` is ``(..., number of angles)``.
    """
    if gate.name == "cx":
        return np.array([[0, 1], [1, 0]], complex), []
    t = angles[..., 0]
    c, s, zero = np.cos(t / 2), np.sin(t / 2), np.zeros_like(t)

    def matrix(*rows: Any) -> Array:
        return np.stack(rows, -1).reshape(*t.shape, 2, 2).astype(complex)

    if gate.name == "rx":
        return matrix(c, -1j * s, -1j * s, c), [matrix(-s, -1j * c, -1j * c, -s) / 2]
    if gate.name == "ry":
        return matrix(c, -s, s, c), [matrix(-s, -c, c, -s) / 2]
    if gate.name == "rz":
        e = np.exp(-0.5j * t)
        return matrix(e, zero, zero, e.conj()), [0.5j * matrix(-e, zero, zero, e.conj())]
    assert gate.name in ("u3", "cu3")
    a, b = np.exp(1j * angles[..., 1]), np.exp(1j * angles[..., 2])
    return matrix(c, -b * s, a * s, a * b * c), [
        matrix(-s, -b * c, a * c, -a * b * s) / 2,
        1j * matrix(zero, zero, a * s, a * b * c),
        1j * matrix(zero, -b * s, zero, a * b * c),
    ]


def _target(state: Array, gate: Gate, qubits: int) -> Array:
    """A view ``(batch, 2, ...)`` of the amplitudes that the gate acts on, target axis second."""
    tensor = state.reshape(len(state), *(2,) * qubits)
    tensor = np.moveaxis(tensor, 1 + gate.qubits[-1], 1)
    if len(gate.qubits) == 2:
        control, target = gate.qubits
        tensor = tensor[(slice(None), slice(None), *_index(control, target, qubits))]
    return tensor


def _index(control: int, target: int, qubits: int) -> list[slice | int]:
    rest = [q for q in range(qubits) if q != target]
    return [1 if q == control else slice(None) for q in rest]


def _product(matrix: Array, x: Array) -> Array:
    """The matrix, shared or per sample, on the second axis."""
    m = matrix.reshape(*(matrix.shape[:-2] or (1,)), 2, 2, *(1,) * (x.ndim - 2))
    return np.stack([m[:, r, 0] * x[:, 0] + m[:, r, 1] * x[:, 1] for r in (0, 1)], axis=1)


def _dagger(matrix: Array) -> Array:
    return matrix.conj().swapaxes(-1, -2)


def _angles(gate: Gate, data: Data) -> Array:
    columns = list(gate.columns)
    source = data.inputs[:, columns] if gate.source == "x" else data.weights[columns]
    return source.astype(float)


def _signs(qubits: int) -> Array:
    """``(qubits, 2**qubits)``: Z of each qubit on each basis state."""
    states = np.arange(2**qubits)
    return np.stack([1.0 - 2.0 * ((states >> (qubits - 1 - q)) & 1) for q in range(qubits)])


def final_state(workload: Workload, data: Data) -> Array:
    """``(batch, 2**qubits)``; qubit 0 is the most significant bit."""
    state = np.zeros((len(data.inputs), 2**workload.qubits), complex)
    state[:, 0] = 1
    for gate in workload.gates:
        x = _target(state, gate, workload.qubits)
        x[:] = _product(matrices(gate, _angles(gate, data))[0], x)
    return state


def compute(workload: Workload, data: Data) -> Reference:
    """Outputs, loss and gradients."""
    signs = _signs(workload.qubits)
    state = final_state(workload, data)
    outputs = (abs(state) ** 2) @ signs.T
    slopes = 2 * (outputs - data.target) / data.target.size
    costate = (slopes @ signs) * state
    g_inputs, g_weights = np.zeros(data.inputs.shape), np.zeros(data.weights.shape)
    for gate in reversed(workload.gates):
        matrix, derivatives = matrices(gate, _angles(gate, data))
        x, y = (_target(s, gate, workload.qubits) for s in (state, costate))
        x[:] = _product(_dagger(matrix), x)
        for column, derivative in zip(gate.columns, derivatives, strict=True):
            rows = 2 * np.real(y.conj() * _product(derivative, x)).reshape(len(x), -1).sum(axis=1)
            if gate.source == "x":
                g_inputs[:, column] += rows
            else:
                g_weights[column] += rows.sum()
        y[:] = _product(_dagger(matrix), y)
    loss = np.mean((outputs - data.target) ** 2)
    return Reference(outputs, np.asarray(loss), g_weights, g_inputs)


def affordable(workload: Workload) -> bool:
    """Whether `compute` takes seconds rather than minutes."""
    return len(workload.gates) * workload.batch * (1 << workload.qubits) <= AFFORDABLE


def reference(workload: Workload) -> Reference:
    """`compute`, once per workload: the result is kept in a file."""
    path = CACHE / f"{workload.key}.npz"
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        result = compute(workload, workload.data())
        with tempfile.NamedTemporaryFile(dir=CACHE, suffix=".npz", delete=False) as file:
            np.savez(file, **result._asdict())
        Path(file.name).replace(path)
    with np.load(path) as stored:
        return Reference(**{k: stored[k] for k in Reference._fields})


def self_check() -> dict[str, float]:
    """Largest differences from Qiskit's state vectors and from finite differences, per family.

    Raises:
        AssertionError: They are not small.
    """
    from qiskit import QuantumCircuit
    from qiskit.circuit.library import CU3Gate, U3Gate
    from qiskit.quantum_info import Statevector

    found = {}
    for workload in (Workload("u3_cu3", 4, 2, 3), Workload("hardware_efficient", 5, 2, 3)):
        data = Data(*(a.astype(float) for a in workload.data()))
        circuit = QuantumCircuit(workload.qubits)
        for gate in workload.gates:
            angles = _angles(gate, data)
            values = (angles[0] if gate.source == "x" else angles).tolist()
            kinds = {"u3": U3Gate, "cu3": CU3Gate}
            if gate.name in kinds:
                circuit.append(kinds[gate.name](*values), gate.qubits)
            else:
                getattr(circuit, gate.name)(*values, *gate.qubits)
        expected = Statevector(circuit.reverse_bits()).data
        difference = abs(final_state(workload, data)[0] - expected).max()
        assert difference < 1e-12, (workload.key, difference)
        found[f"{workload.family}, state"] = float(difference)

        exact, worst, step = compute(workload, data), 0.0, 1e-5
        for name, gradient in (("weights", exact.weights), ("inputs", exact.inputs)):
            for index in np.ndindex(gradient.shape):
                losses = []
                for sign in (1, -1):
                    moved = getattr(data, name).copy()
                    moved[index] += sign * step
                    losses.append(compute(workload, data._replace(**{name: moved})).loss)
                slope = (losses[0] - losses[1]) / (2 * step)
                worst = max(worst, abs(slope - gradient[index]))
        assert worst < 1e-9, (workload.key, worst)
        found[f"{workload.family}, gradient"] = float(worst)
    return found
