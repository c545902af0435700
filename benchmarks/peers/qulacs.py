"""Qulacs: no autograd and no batch; the chain rule and the loop over samples are written here."""

from __future__ import annotations

from typing import Any

import numpy as np
import qulacs
from numpy.typing import NDArray
from workloads import Data, Workload

Row = dict[int, float]


class Step:
    """Every gate is written in rotations, whose angles are linear in inputs and weights."""

    precision = "complex128"

    def __init__(self, workload: Workload, data: Data, threads: int) -> None:
        self.workload, self.data = workload, data
        self.circuit = qulacs.ParametricQuantumCircuit(workload.qubits)
        self.rows: list[Row] = []
        for gate in workload.gates:
            offset = workload.num_inputs if gate.source == "w" else 0
            self._add(gate.name, gate.qubits, [offset + k for k in gate.columns])
        self.linear = np.zeros((len(self.rows), workload.num_inputs + workload.num_weights))
        for k, row in enumerate(self.rows):
            for column, coefficient in row.items():
                self.linear[k, column] = coefficient
        self.state = qulacs.QuantumState(workload.qubits)
        self.observables = [self._z([(q, 1.0)]) for q in range(workload.qubits)]

    def _z(self, terms: list[tuple[int, float]]) -> Any:
        observable = qulacs.Observable(self.workload.qubits)
        for q, coefficient in terms:
            observable.add_operator(coefficient, f"Z {q}")
        return observable

    def _rotate(self, axis: str, qubit: int, row: Row) -> None:
        getattr(self.circuit, f"add_parametric_R{axis}_gate")(qubit, 0.0)
        self.rows.append({k: -v for k, v in row.items()})  # its rotations turn the other way

    def _add(self, name: str, qubits: tuple[int, ...], columns: list[int]) -> None:
        if name == "cx":
            self.circuit.add_CNOT_gate(*qubits)
        elif name in ("rx", "ry", "rz"):
            self._rotate(name[1].upper(), qubits[0], {columns[0]: 1})
        elif name == "u3":
            theta, phi, lam = columns
            for axis, column in (("Z", lam), ("Y", theta), ("Z", phi)):
                self._rotate(axis, qubits[0], {column: 1})
        else:
            (theta, phi, lam), (c, t) = columns, qubits
            self._rotate("Z", c, {lam: 0.5, phi: 0.5})
            self._rotate("Z", t, {lam: 0.5, phi: -0.5})
            self.circuit.add_CNOT_gate(c, t)
            self._rotate("Z", t, {lam: -0.5, phi: -0.5})
            self._rotate("Y", t, {theta: -0.5})
            self.circuit.add_CNOT_gate(c, t)
            self._rotate("Y", t, {theta: 0.5})
            self._rotate("Z", t, {phi: 1})

    def _angles(self) -> NDArray[np.float64]:
        nx = self.workload.num_inputs
        inputs, weights, _ = self.data
        return inputs @ self.linear[:, :nx].T + self.linear[:, nx:] @ weights

    def _sample(self, angles: NDArray[np.float64]) -> list[float]:
        for k, angle in enumerate(angles.tolist()):
            self.circuit.set_parameter(k, angle)
        self.state.set_zero_state()
        self.circuit.update_quantum_state(self.state)
        return [o.get_expectation_value(self.state) for o in self.observables]

    def forward(self) -> Any:
        """The outputs alone."""
        return np.array([self._sample(angles) for angles in self._angles()])

    def step(self) -> None:
        """One training step without the optimiser."""
        angles, target, nx = self._angles(), self.data.target, self.workload.num_inputs
        outputs, slopes = np.empty(target.shape), np.empty(angles.shape)
        for b, row in enumerate(angles):
            outputs[b] = self._sample(row)
            g = 2 * (outputs[b] - target[b]) / target.size
            slopes[b] = self.circuit.backprop(self._z(list(enumerate(g.tolist()))))
        found = slopes @ self.linear
        loss = np.mean((outputs - target) ** 2)
        self.found = [outputs, loss, found[:, nx:].sum(axis=0), found[:, :nx]]

    def release(self) -> None:
        """Nothing to let go of."""

    def result(self) -> list[Any]:
        """Outputs, loss, gradient of the weights, gradient of the inputs."""
        return self.found
