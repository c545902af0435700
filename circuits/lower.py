"""Lower a `qiskit.QuantumCircuit` into a `Program`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterExpression, ParameterVector, ParameterVectorElement
from qiskit.circuit.controlflow import ControlFlowOp
from qiskit.circuit.library import (
    CU1Gate,
    CU3Gate,
    U1Gate,
    U2Gate,
    U3Gate,
    get_standard_gate_name_mapping,
)

from nisqkit.circuits.amplitude import AmplitudeInput
from nisqkit.circuits.angles import AngleMap, NonlinearMap
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.names import natural_key, unknown
from nisqkit.circuits.program import GateUse, Prepare, Program

InputsLike: TypeAlias = (
    ParameterVector | Parameter | str | Sequence[Parameter | ParameterVector | str] | None
)
"""What may be given as ``inputs=``: a vector, parameters, or their names.

A vector's name means all its elements.
"""

_LEGACY = {"u1": U1Gate, "u2": U2Gate, "u3": U3Gate, "cu1": CU1Gate, "cu3": CU3Gate}
_CLASSES: dict[str, Any] = {
    name: _LEGACY.get(name) or get_standard_gate_name_mapping()[name].base_class for name in GATES
}


def gate_class(name: str) -> Any:
    """Qiskit's class of a gate of the table."""
    return _CLASSES[name]


def lower(circuit: QuantumCircuit, inputs: InputsLike = None) -> Program:
    """Lower a circuit to a program.

    Native gates become records; every other gate is decomposed by its Qiskit definition.

    Args:
        circuit: Any circuit of unitary gates with free parameters; measurements at its end are
            dropped. Barriers are kept, since they change what a device gets, except at the end.
            Angles may be any real expression of the parameters.
        inputs: Which parameters are inputs, in the order of the columns of ``x``. All others are
            weights, in natural order (``w[2]`` before ``w[10]``).

    Raises:
        ValueError: Unknown, repeated or missing parameters, or an instruction that cannot be
            differentiated (measurement in the middle, reset, control flow, an opaque gate).
        TypeError: ``circuit`` or ``inputs`` of another type.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> a, b = Parameter("a"), Parameter("b")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(2 * a + b, 0)
        >>> program = lower(circuit, inputs=[a])
        >>> program.inputs, program.weights, program.angle_map.terms
        (('a',), ('b',), ((0, 0, 2.0), (0, 1, 1.0)))
    """
    if not isinstance(circuit, QuantumCircuit):
        raise TypeError(f"lower takes a qiskit.QuantumCircuit, not {type(circuit).__name__}")
    input_parameters = resolve_inputs(circuit, inputs)
    chosen = set(input_parameters)
    weight_parameters = sorted(
        (p for p in circuit.parameters if p not in chosen), key=_parameter_key
    )
    lowering = _Lowering(circuit, [*input_parameters, *weight_parameters])
    lowering.run()
    nonlinear = lowering.nonlinear_map(len(input_parameters))
    angle_map = AngleMap(
        tuple(p.name for p in input_parameters),
        tuple(p.name for p in weight_parameters),
        tuple(lowering.constants),
        tuple(lowering.terms),
        nonlinear,
    )
    if lowering.prepare is not None:
        batched = set(lowering.prepare.slots) & set(angle_map.batched_slots)
        if batched and len(batched) < len(lowering.prepare.slots):
            raise ValueError(
                "the amplitudes of an AmplitudeInput must all be inputs or all be weights, "
                "not a mixture (numbers count as weights)"
            )
    return Program(circuit.num_qubits, tuple(lowering.gates), angle_map, lowering.prepare)


def resolve_inputs(circuit: QuantumCircuit, inputs: InputsLike) -> list[Parameter]:
    """The input parameters of a circuit in the order of the columns of ``x``; see `lower`."""
    if inputs is None:
        return []
    if not isinstance(inputs, (str, Parameter, ParameterVector, Iterable)):
        raise TypeError(
            f"inputs={inputs!r} says nothing about a Qiskit circuit: give the ParameterVector, "
            "Parameters or their names (a number of features is for PennyLane functions)"
        )
    given: list[Any] = (
        [inputs] if isinstance(inputs, (str, Parameter, ParameterVector)) else list(inputs)
    )
    by_name = {p.name: p for p in circuit.parameters}
    vectors: dict[str, ParameterVector] = {
        p.vector.name: p.vector for p in circuit.parameters if isinstance(p, ParameterVectorElement)
    }
    known = {
        *vectors,
        *(name for name, p in by_name.items() if not isinstance(p, ParameterVectorElement)),
    }
    result: list[Parameter] = []
    for item in given:
        if isinstance(item, ParameterVector):
            if not any(p in circuit.parameters for p in item):
                if item.name in vectors:
                    raise ValueError(_same_name(item.name))
                raise ValueError(unknown("parameter of the circuit in inputs=:", item.name, known))
            result += list(item)
        elif isinstance(item, str) and item in vectors:
            result += list(vectors[item])
        elif isinstance(item, (str, Parameter)):
            name = item if isinstance(item, str) else item.name
            if isinstance(item, Parameter) and by_name.get(name, item) != item:
                raise ValueError(_same_name(name))
            vector = getattr(getattr(item, "vector", None), "name", None)
            if name not in by_name and vector in vectors:
                raise ValueError(
                    f"{name!r} is not used in the circuit: to have a column of x for every element "
                    f"of its vector, pass the vector itself or its name {vector!r}"
                )
            if name not in by_name:
                raise ValueError(unknown("parameter of the circuit in inputs=:", name, known))
            result.append(by_name[name])
        else:
            raise TypeError(
                "inputs takes a ParameterVector, Parameters or their names, "
                f"not {type(item).__name__}"
            )
    repeated = {p.name for k, p in enumerate(result) if p in result[:k]}
    if repeated:
        raise ValueError(
            f"inputs lists {', '.join(sorted(repeated))} more than once; list each input once"
        )
    return result


def _same_name(name: str) -> str:
    return (
        f"inputs holds another object of the same name {name!r} as a parameter of the circuit: "
        f"pass the circuit's own, or the string {name!r}"
    )


def _parameter_key(parameter: Parameter) -> tuple[object, int]:
    if isinstance(parameter, ParameterVectorElement):
        return natural_key(parameter.vector.name), parameter.index
    return natural_key(parameter.name), 0


class _Lowering:
    """The walk over a circuit: collects gates and the expression of every slot."""

    def __init__(self, circuit: QuantumCircuit, parameters: list[Parameter]) -> None:
        self.circuit = circuit
        self.parameters = parameters
        self.position = {p: k for k, p in enumerate(parameters)}
        self.gates: list[GateUse] = []
        self.prepare: Prepare | None = None
        self.constants: list[float] = []
        self.terms: list[tuple[int, int, float]] = []
        self.nonlinear: list[tuple[int, ParameterExpression]] = []
        self.measured: dict[int, str] = {}

    def run(self) -> None:
        index = {qubit: k for k, qubit in enumerate(self.circuit.qubits)}
        for group, instruction in enumerate(self.circuit.data):
            operation = instruction.operation
            qubits = tuple(index[q] for q in instruction.qubits)
            if operation.name == "barrier":
                self.add(operation, qubits, group, ())
                continue
            if operation.name == "measure":
                self.measured[qubits[0]] = "measurement"
                continue
            for q in qubits:
                if q in self.measured:
                    raise ValueError(
                        f"instruction {operation.name!r} acts on qubit {q} after its measurement: "
                        "a circuit with mid-circuit measurement cannot be differentiated; "
                        "measure at the end only"
                    )
            label = getattr(operation, "label", None)
            self.add(operation, qubits, group, (label,) if label else ())
        while self.gates and self.gates[-1].name == "barrier":  # nothing to keep apart
            self.gates.pop()

    def add(
        self, operation: Any, qubits: tuple[int, ...], group: int, tags: tuple[str, ...]
    ) -> None:
        name = operation.name
        if isinstance(operation, AmplitudeInput):
            self.add_prepare(operation, qubits)
        elif isinstance(operation, ControlFlowOp) or name in ("reset", "measure", "delay", "store"):
            what = "control flow" if isinstance(operation, ControlFlowOp) else f"{name!r}"
            hint = "; to load amplitudes, use nisqkit.circuits.amplitude" * (name == "reset")
            raise ValueError(
                f"{what} at instruction {group} cannot be differentiated: a circuit for a "
                f"QuantumLayer holds unitary gates, with measurements only at its end{hint}"
            )
        elif name in GATES and operation.base_class is _CLASSES[name]:
            slots = tuple(self.slot(p) for p in operation.params)
            self.gates.append(GateUse(name, qubits, slots, None, group, tags))
        elif name == "unitary" and len(qubits) <= 2:
            matrix = tuple(complex(v) for v in np.asarray(operation.params[0]).ravel())
            self.gates.append(GateUse(name, qubits, (), matrix, group, tags))
        elif name == "barrier":
            self.gates.append(GateUse(name, qubits, (), None, group, tags))
        elif name != "global_phase":
            definition = operation.definition
            if definition is None:
                raise ValueError(
                    f"gate {name!r} at instruction {group} is opaque: it is not in the gate table "
                    "and has no definition to decompose; give it a definition or use gates of "
                    "Qiskit's circuit library"
                )
            inner = {qubit: qubits[k] for k, qubit in enumerate(definition.qubits)}
            for instruction in definition.data:
                self.add(
                    instruction.operation, tuple(inner[q] for q in instruction.qubits), group, tags
                )

    def add_prepare(self, operation: AmplitudeInput, qubits: tuple[int, ...]) -> None:
        used = {q for g in self.gates if g.name != "barrier" for q in g.qubits}
        if self.prepare is not None or used & set(qubits):
            raise ValueError(
                "AmplitudeInput prepares the initial state: it must come once, "
                "and before every gate on its qubits"
            )
        self.prepare = Prepare(qubits, tuple(self.slot(p) for p in operation.params))

    def slot(self, value: Any) -> int:
        """A new slot for one angle, a number or a `ParameterExpression`."""
        slot = len(self.constants)
        self.constants.append(0.0)
        if not isinstance(value, ParameterExpression) or not value.parameters:
            number = complex(value)
            if abs(number.imag) > 1e-12 or not np.isfinite(number.real):
                raise ValueError(f"angle {value} is not a finite real number")
            self.constants[slot] = number.real
            return slot
        missing = [p.name for p in value.parameters if p not in self.position]
        if missing:
            raise ValueError(
                f"parameter {missing[0]!r} occurs in a gate's definition "
                "but not in the circuit's parameters"
            )
        try:
            slopes = {p: value.gradient(p) for p in value.parameters}
        except RuntimeError:  # Qiskit cannot differentiate sign(); torch can
            slopes = None
        if slopes is None or any(
            isinstance(s, ParameterExpression) and s.parameters for s in slopes.values()
        ):
            self.nonlinear.append((slot, value))
            return slot
        for p, slope in sorted(slopes.items(), key=lambda item: self.position[item[0]]):
            self.terms.append((slot, self.position[p], _real(slope, value)))
        self.constants[slot] = _real(value.bind(dict.fromkeys(value.parameters, 0.0)), value)
        return slot

    def nonlinear_map(self, num_inputs: int) -> NonlinearMap | None:
        if not self.nonlinear:
            return None
        slots = tuple(slot for slot, _ in self.nonlinear)
        used = tuple(
            tuple(sorted(self.position[p] for p in expression.parameters))
            for _, expression in self.nonlinear
        )
        # SymPy takes a while to import, and most circuits have no such angle
        from nisqkit.circuits.formulas import Formulas

        found = Formulas.from_qiskit([e for _, e in self.nonlinear], self.parameters)
        return NonlinearMap(slots, used, f"{num_inputs}: {found.key}", found)


def _real(value: Any, expression: ParameterExpression) -> float:
    number = complex(value)
    if abs(number.imag) > 1e-12 or not np.isfinite(number.real):
        raise ValueError(f"angle {expression} is not a finite real number")
    return number.real
