"""A `Program` as a `qiskit.QuantumCircuit`: the way back from `lower`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from math import ceil, log2
from operator import add, mul
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterExpression, ParameterVector
from qiskit.circuit.library import Barrier, UnitaryGate

from nisqkit.circuits.amplitude import AmplitudeInput
from nisqkit.circuits.lower import gate_class
from nisqkit.circuits.program import GateUse, Program

if TYPE_CHECKING:
    import sympy

_FUNCTIONS = {
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "exp": "exp",
    "log": "log",
    "Abs": "abs",
    "sign": "sign",
}
"""Methods of Qiskit's expressions, by the names of SymPy's functions."""


def circuit_of(program: Program) -> QuantumCircuit:
    """A program as a circuit with named parameters; `lower` takes it back to an equal program.

    Names such as ``x[3]`` become elements of a `ParameterVector`, all others a `Parameter`. Inputs
    keep their order if `lower` is given ``inputs=program.inputs``. A parameter that no gate uses
    leaves no trace in a circuit, unless it is an element of a vector with another element in use.

    Raises:
        ValueError: An angle is a torch function that is not known as a formula (from a PennyLane
            function, say), which a circuit cannot carry.

    Example:
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from nisqkit.circuits.lower import lower
        >>> x = ParameterVector("x", 2)
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(2 * x[1] + 1, 0)
        >>> again = circuit_of(lower(circuit, inputs=x))
        >>> lower(again, inputs="x") == lower(circuit, inputs=x)
        True
    """
    parameters = named_parameters((*program.inputs, *program.weights))
    angles = _angles(program, parameters)
    circuit = QuantumCircuit(program.num_qubits)
    if program.prepare is not None:
        amplitudes = [angles[s] for s in program.prepare.slots]
        width = max(1, ceil(log2(len(amplitudes))))
        circuit.append(AmplitudeInput(amplitudes), program.prepare.qubits[:width])
    for use in program.gates:
        circuit.append(_gate(use, [angles[s] for s in use.slots]), use.qubits)
    return circuit


def named_parameters(
    names: Sequence[str], lengths: Mapping[str, int] | None = None
) -> list[Parameter]:
    """One parameter per name; names such as ``x[3]`` become elements of one vector per ``x``.

    Args:
        names: The names, in any order.
        lengths: Lengths of vectors by name; by default, just enough for the largest index.
    """
    found = [re.fullmatch(r"(.+)\[(\d+)\]", name, flags=re.DOTALL) for name in names]
    sizes = dict(lengths or {})
    for match in found:
        if match and (lengths is None or match[1] in lengths):
            sizes[match[1]] = max(sizes.get(match[1], 0), int(match[2]) + 1)
    vectors = {name: ParameterVector(name, size) for name, size in sizes.items()}
    return [
        vectors[match[1]][int(match[2])] if match and match[1] in vectors else Parameter(name)
        for name, match in zip(names, found, strict=True)
    ]


def _angles(program: Program, parameters: list[Parameter]) -> list[ParameterExpression | float]:
    """The expression of every slot."""
    angles: list[ParameterExpression | float] = list(program.angle_map.constants)
    for slot, parameter, coefficient in program.angle_map.terms:
        p = parameters[parameter]
        term = p if coefficient == 1 else coefficient * p
        so_far = angles[slot]
        angles[slot] = term if isinstance(so_far, float) and so_far == 0 else term + so_far
    nonlinear = program.angle_map.nonlinear
    if nonlinear is not None:
        from nisqkit.circuits.formulas import Formulas

        if not isinstance(nonlinear.function, Formulas):
            raise ValueError(
                f"the angles of slots {list(nonlinear.slots)} are a torch function, which a "
                "QuantumCircuit cannot carry; write these angles as formulas of qiskit Parameters, "
                "or compute them in a torch module before the layer"
            )
        symbols = {f"p{k}": p for k, p in enumerate(parameters)}
        for slot, formula in zip(nonlinear.slots, nonlinear.function.formulas, strict=True):
            angles[slot] = expression(formula, symbols)
    return angles


def expression(
    formula: sympy.Expr, symbols: Mapping[str, ParameterExpression]
) -> ParameterExpression | float:
    """A SymPy formula as a Qiskit expression.

    Raises:
        ValueError: A function that Qiskit does not have.

    Example:
        >>> import sympy
        >>> p = Parameter("p")
        >>> expression(sympy.sin(sympy.Symbol("p")) / 2, {"p": p}) == 0.5 * p.sin()
        True
    """
    if formula.is_Symbol:
        return symbols[formula.name]
    if formula.is_number:
        return float(formula)
    parts = [expression(part, symbols) for part in formula.args]
    if formula.is_Add or formula.is_Mul:
        return cast(ParameterExpression, reduce(add if formula.is_Add else mul, parts))
    if formula.is_Pow:
        return cast(ParameterExpression, parts[0] ** parts[1])
    name = formula.func.__name__
    if name not in _FUNCTIONS:
        raise ValueError(
            f"a QuantumCircuit cannot carry the function {formula.func} in {formula}: "
            f"use {', '.join(_FUNCTIONS.values())}"
        )
    return cast(ParameterExpression, getattr(parts[0], _FUNCTIONS[name])())


def _gate(use: GateUse, angles: list[ParameterExpression | float]) -> Any:
    label = use.tags[0] if len(use.tags) == 1 else None
    if use.name == "barrier":
        return Barrier(len(use.qubits), label=label)
    if use.name == "unitary":
        dim = 2 ** len(use.qubits)
        return UnitaryGate(np.array(use.matrix).reshape(dim, dim), label=label)
    return gate_class(use.name)(*angles, label=label)
