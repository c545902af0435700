"""Qiskit circuits and observables for PennyLane.

The circuit is read gate by gate from the original `QuantumCircuit`, not from our lowered program:
PennyLane's own simulator on the result checks the lowering and the engines from the outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterExpression
from qiskit.quantum_info import Operator, SparsePauliOp
from torch import Tensor

from nisqkit.circuits.amplitude import AmplitudeInput
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.lower import InputsLike, gate_class, resolve_inputs
from nisqkit.circuits.names import natural_key
from nisqkit.circuits.observables import ObservableLike, Observables
from nisqkit.circuits.pennylane_gates import import_pennylane, operators


class QuantumFunction(Protocol):
    """A PennyLane quantum function that knows the names of its parameters."""

    inputs: tuple[str, ...]
    weights: tuple[str, ...]

    def __call__(self, inputs: Tensor, weights: Tensor) -> Any:
        """Queue the gates, and return the measurements if there are any."""


def to_pennylane(
    circuit: QuantumCircuit,
    inputs: InputsLike = None,
    *,
    observables: Sequence[ObservableLike] | ObservableLike | None = None,
) -> QuantumFunction:
    """A circuit as a PennyLane quantum function ``f(inputs, weights)`` of torch tensors.

    ``inputs`` has shape ``(num_inputs,)``, or ``(batch, num_inputs)`` for PennyLane's parameter
    broadcasting; ``weights`` has shape ``(num_weights,)``. Wire ``k`` is qubit ``k``. The names of
    the parameters, in the order of the entries, are in ``f.inputs`` and ``f.weights``;
    `from_pennylane` keeps them. Global phases, barriers and final measurements are left out.

    Args:
        circuit: Unitary gates, and an `AmplitudeInput` if there is one.
        inputs: Which parameters are inputs, as in `lower`.
        observables: What ``f`` returns, ready for a QNode: one observable or several (Pauli strings
            or `SparsePauliOp`), or ``"probs"``, with columns in Qiskit's order. By default it
            returns nothing.

    Raises:
        TypeError: Not a circuit; `circuit_of` makes one of a program.
        ValueError: Unknown parameters, or an instruction that is not a gate.
        ImportError: PennyLane is not installed.

    Example:
        >>> import pennylane as qp
        >>> from nisqkit.circuits import angle
        >>> function = to_pennylane(angle(2), inputs="x", observables=["ZI", "IZ"])
        >>> function.inputs, function.weights
        (('x[0]', 'x[1]'), ())
        >>> qnode = qp.QNode(function, qp.device("default.qubit"), interface="torch")
        >>> qnode(torch.tensor([0.4, 0.5]), torch.zeros(0))  # cos(0.5), cos(0.4)
        [tensor(0.8776, dtype=torch.float64), tensor(0.9211, dtype=torch.float64)]
    """
    if not isinstance(circuit, QuantumCircuit):
        raise TypeError(
            f"to_pennylane takes a qiskit.QuantumCircuit, not {type(circuit).__name__}: give the "
            "circuit itself, layer.circuit, or circuit_of(program)"
        )
    qp = import_pennylane()
    columns = resolve_inputs(circuit, inputs)
    rest = sorted(
        (p for p in circuit.parameters if p not in columns), key=lambda p: natural_key(p.name)
    )
    gates = _gates(circuit)
    formulas = _formulas([a for _, _, angles, _ in gates for a in angles], [*columns, *rest])
    measured = None
    if observables is not None:
        measured = Observables.parse(observables, circuit.num_qubits)

    def function(inputs: Tensor, weights: Tensor) -> Any:
        values = iter(formulas(inputs, weights))
        for name, wires, angles, matrix in gates:
            numbers = [next(values) for _ in angles]
            if name == "amplitude":
                _prepare(qp, numbers, wires)
            else:
                operators(name, wires, numbers, matrix)
        if measured is None:
            return None
        if measured.sums is None:
            return qp.probs(wires=range(circuit.num_qubits)[::-1])
        return [
            qp.expval(to_pennylane_observable(SparsePauliOp.from_list(terms)))
            for terms in measured.sums
        ]

    result = cast(QuantumFunction, function)
    result.inputs = tuple(p.name for p in columns)
    result.weights = tuple(p.name for p in rest)
    return result


def to_pennylane_observable(observable: SparsePauliOp | str) -> Any:
    """A Pauli string or sum, read right to left as in Qiskit, as a PennyLane observable.

    Wire ``k`` is qubit ``k``.

    Example:
        >>> to_pennylane_observable("XIZ")
        Z(0) @ X(2)
        >>> to_pennylane_observable(SparsePauliOp(["IX", "ZI"], [0.5, -2.0]))
        0.5 * X(0) + -2.0 * Z(1)
    """
    qp = import_pennylane()
    operator = SparsePauliOp(observable)
    words = []
    for string in operator.paulis.to_labels():
        factors = [getattr(qp, c)(q) for q, c in enumerate(reversed(string)) if c != "I"]
        words.append(
            qp.prod(*factors)
            if len(factors) > 1
            else factors[0]
            if factors
            else qp.I(range(len(string)))
        )
    coefficients = [float(c.real) if abs(c.imag) < 1e-12 else complex(c) for c in operator.coeffs]
    if len(words) == 1 and coefficients[0] == 1:
        return words[0]
    return qp.dot(coefficients, words)


_Gate = tuple[str, list[int], list[Any], "np.ndarray[Any, np.dtype[np.complex128]] | None"]


def _gates(circuit: QuantumCircuit) -> list[_Gate]:
    """The circuit as gates that `operators` knows, ``(name, wires, angles, matrix)``.

    Amplitudes come first.
    """
    result: list[_Gate] = []

    def add(operation: Any, wires: list[int]) -> None:
        name = operation.name
        if name in ("barrier", "measure", "global_phase"):
            return
        if isinstance(operation, AmplitudeInput):
            result.insert(0, ("amplitude", wires, list(operation.params), None))
        elif name in GATES and operation.base_class is gate_class(name):
            result.append((name, wires, list(operation.params), None))
        elif not any(
            isinstance(p, ParameterExpression) for p in operation.params
        ) and _is_small_gate(operation):
            result.append(("unitary", wires, [], Operator(operation).data))
        elif getattr(operation, "definition", None) is not None:
            definition = operation.definition
            for inner in definition.data:
                add(inner.operation, [wires[definition.find_bit(q).index] for q in inner.qubits])
        else:
            raise ValueError(
                f"instruction {name!r} is not a gate, and PennyLane's gates cannot stand for it"
            )

    for instruction in circuit.data:
        add(instruction.operation, [circuit.find_bit(q).index for q in instruction.qubits])
    return result


def _is_small_gate(operation: Any) -> bool:
    known = hasattr(operation, "__array__") or getattr(operation, "definition", None) is not None
    return known and operation.num_qubits <= 3 and not operation.num_clbits


def _formulas(
    angles: Sequence[Any], parameters: Sequence[Parameter]
) -> Callable[[Tensor, Tensor], list[Any]]:
    """All angles (numbers, expressions) as one torch function; numbers become tensors too."""
    from nisqkit.circuits.formulas import Formulas

    symbolic = [a for a in angles if isinstance(a, ParameterExpression) and a.parameters]
    compiled = Formulas.from_qiskit(symbolic, parameters) if symbolic else None

    def evaluate(inputs: Tensor, weights: Tensor) -> list[Any]:
        weights = weights.expand(*inputs.shape[:-1], -1)
        values = iter(() if compiled is None else compiled(inputs, weights).unbind(-1))
        return [
            next(values)
            if isinstance(a, ParameterExpression) and a.parameters
            else inputs.new_full(inputs.shape[:-1], float(a))  # U3 cannot mix numbers and tensors
            for a in angles
        ]

    return evaluate


def _prepare(qp: Any, amplitudes: list[Any], wires: list[int]) -> None:
    """Load normalised amplitudes; PennyLane takes the first wire as the most significant bit."""
    tensors = [torch.as_tensor(a, dtype=torch.float64) for a in amplitudes]
    zeros = [torch.zeros(())] * (2 ** len(wires) - len(tensors))
    parts = torch.broadcast_tensors(*tensors, *zeros)  # type: ignore[no-untyped-call]
    state = torch.stack(parts, dim=-1)
    qp.StatePrep(state / state.norm(dim=-1, keepdim=True), wires=wires[::-1])
