"""OpenQASM 3 text and back, with the names and the roles of the parameters.

OpenQASM 3 (https://openqasm.com) has ``input float`` parameters and formulas, but its identifiers
cannot spell ``x[0]``, and it does not know which parameters are features and which are trained. Our
text says both in comments at its top, which other readers skip::

    // nisqkit: input x[0] of 3 = x_0
    // nisqkit: weight theta = theta

A line gives the role, the name, the length of the vector if it is an element of one, and the
identifier. Text without such comments keeps its own names, and all its parameters are weights
unless they are named as inputs.

The text is read by ``qiskit-qasm3-import``. That package refuses functions and powers in angles,
and it assigns the arguments of gate definitions in alphabetical order; both are mended here.
"""

from __future__ import annotations

import contextlib
import io
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterExpression
from qiskit.circuit.exceptions import CircuitError
from qiskit.quantum_info import Operator

from nisqkit.circuits.gates import GATES
from nisqkit.circuits.lower import gate_class
from nisqkit.circuits.qasm_writer import to_qasm3 as to_qasm3
from nisqkit.circuits.to_qiskit import named_parameters

_FUNCTIONS = {
    **{f: f for f in ("sin", "cos", "tan", "arcsin", "arccos", "arctan", "exp", "log", "sqrt")},
    **{"asin": "arcsin", "acos": "arccos", "atan": "arctan", "abs": "abs"},  # Qiskit writes these
}
_CONSTANTS = {"pi": math.pi, "π": math.pi, "tau": math.tau, "τ": math.tau, "euler": math.e}
_CONSTANTS["ℇ"] = math.e
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}


def from_qasm3(text: str) -> tuple[QuantumCircuit, tuple[str, ...]]:
    """OpenQASM 3 text as a circuit, and the names of its inputs for `lower`.

    Text of `to_qasm3` gets its names, vectors and inputs back. Other text names no inputs.

    Args:
        text: Gates, barriers, resets and measurements, with ``input float`` or ``input angle``
            parameters. Angles may use arithmetic, powers and functions.

    Raises:
        ValueError: Malformed text, OpenQASM 2, a statement that a circuit cannot carry, or a
            damaged comment line of ours.
        ImportError: ``qiskit-qasm3-import`` is not installed.

    Example:
        >>> text = "OPENQASM 3.0; input float a; qubit[2] q; U(sin(a) / 2, 0, 0) q[1];"
        >>> circuit, inputs = from_qasm3(text)
        >>> circuit.num_qubits, [p.name for p in circuit.parameters], inputs
        (2, ['a'], ())
    """
    try:
        import openqasm3
        import qiskit_qasm3_import
    except ModuleNotFoundError as error:
        raise ImportError(
            'reading OpenQASM 3 needs an extra; run: pip install "nisqkit[qasm]"'
        ) from error
    if not text.strip():
        raise ValueError("the OpenQASM 3 text is empty")
    if re.fullmatch(r"\S+\.(qasm|inc|txt)", text.strip(), flags=re.IGNORECASE):
        raise ValueError(f"{text!r} looks like a path: read the file first, and give its text")
    if re.search(r"^\s*OPENQASM\s+2", text, flags=re.MULTILINE):
        raise ValueError("this is OpenQASM 2 text: read it with qiskit.qasm2.loads")
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            tree = openqasm3.parse(text)
    except openqasm3.parser.QASM3ParsingError as error:
        reason = str(error) or complaints.getvalue().strip() or _place(error.__cause__)
        raise ValueError(f"this is not OpenQASM 3 text: {reason}") from error
    parameters, inputs = _roles(text, _declared(tree))
    angles = _take_angles(tree, parameters)
    try:
        circuit = _with_known_gates(qiskit_qasm3_import.convert(tree))
    except qiskit_qasm3_import.ConversionError as error:
        raise ValueError(f"cannot read this OpenQASM 3 text: line {error}") from error
    except (CircuitError, IndexError, TypeError, ValueError) as error:  # of its gates and registers
        raise ValueError(f"cannot read this OpenQASM 3 text: {error}") from error
    circuit.assign_parameters(angles, inplace=True)
    for unused in set(parameters.values()) - set(circuit.parameters):
        circuit.global_phase += 0 * unused  # as Qiskit does, so that the circuit has the parameter
    return circuit, inputs


def _place(error: BaseException | None) -> str:
    """Where the parser gave up, when it does not say so itself."""
    inner = error.args[0] if error is not None and error.args else error
    token = getattr(inner, "offendingToken", None)
    if token is None:
        return "the parser does not say where it fails"
    return f"line {token.line}:{token.column} unexpected {token.text!r}"


def _renamer(names: Mapping[str, str]) -> Any:
    from openqasm3 import ast, visitor

    class Rename(visitor.QASMVisitor[None]):
        def visit_Identifier(self, node: ast.Identifier) -> None:
            node.name = names.get(node.name, node.name)

    return Rename()


def _declared(tree: Any) -> list[str]:
    """Identifiers of the real-valued inputs."""
    from openqasm3 import ast

    return [
        s.identifier.name
        for s in tree.statements
        if isinstance(s, ast.IODeclaration) and isinstance(s.type, (ast.FloatType, ast.AngleType))
    ]


def _roles(text: str, declared: list[str]) -> tuple[dict[str, Parameter], tuple[str, ...]]:
    """The parameter of every identifier, and the names of the inputs, from our comments."""
    found: dict[str, tuple[str, str]] = {}
    lengths: dict[str, int] = {}
    for line in re.findall(r"^// nisqkit: (.*)$", text, flags=re.MULTILINE):
        match = re.fullmatch(r"(input|weight) (.+?)(?: of (\d+))? = (\w+)", line.strip())
        index = match and re.fullmatch(r"(.+)\[(\d+)\]", match[2])
        bad = match is None or match[4] not in declared or match[4] in found
        if not bad and match and match[3]:
            bad = not index or int(index[2]) >= int(match[3])
        if bad or match is None:
            raise ValueError(
                f"damaged comment in OpenQASM 3 text: '// nisqkit: {line}'; it must name a "
                "declared input once, as '// nisqkit: input x[0] of 3 = x_0', or be removed"
            )
        found[match[4]] = (match[1], match[2])
        if match[3] and index:
            lengths[index[1]] = int(match[3])
    names = [found[identifier][1] if identifier in found else identifier for identifier in declared]
    parameters = dict(zip(declared, named_parameters(names, lengths), strict=True))
    return parameters, tuple(name for role, name in found.values() if role == "input")


def _take_angles(tree: Any, parameters: Mapping[str, Parameter]) -> dict[str, ParameterExpression]:
    """Replace the angles of the gates by numbers or fresh inputs; return what these stand for.

    Also rename the arguments of gate definitions, since the importer assigns them in alphabetical
    order.
    """
    from openqasm3 import ast

    known: dict[str, Any] = {**_CONSTANTS, **parameters}
    taken: dict[str, ParameterExpression] = {}
    kept = []
    for statement in tree.statements:
        if isinstance(statement, ast.IODeclaration) and statement.identifier.name in parameters:
            continue
        if isinstance(statement, ast.ConstantDeclaration) and isinstance(
            statement.type, (ast.FloatType, ast.AngleType)
        ):
            known[statement.identifier.name] = _evaluate(statement.init_expression, known)
            continue
        if isinstance(statement, ast.QuantumGateDefinition):
            order = {a.name: f"angle_{k:04d}" for k, a in enumerate(statement.arguments)}
            for line in statement.body:
                for argument in getattr(line, "arguments", ()):
                    _renamer(order).visit(argument)
            statement.arguments = [ast.Identifier(name) for name in order.values()]
        if isinstance(statement, ast.QuantumGate):
            for k, argument in enumerate(statement.arguments):
                value = _evaluate(argument, known)
                if isinstance(value, ParameterExpression) and _varies(value):
                    name = f"nisqkit_angle_{len(taken)}"
                    taken[name] = value
                    statement.arguments[k] = ast.Identifier(name)
                else:
                    statement.arguments[k] = _literal(float(value))
        kept.append(statement)
    kind = ast.IOKeyword["input"]
    fresh = [ast.IODeclaration(kind, ast.FloatType(None), ast.Identifier(n)) for n in taken]
    tree.statements = [*fresh, *kept]
    return taken


def _varies(value: ParameterExpression) -> bool:
    """False for ``0 * a``, which Qiskit cannot assign to a parameter."""
    return bool(value.sympify().free_symbols)


def _literal(value: float) -> Any:
    from openqasm3 import ast

    number = ast.FloatLiteral(abs(value))
    return number if value >= 0 else ast.UnaryExpression(ast.UnaryOperator["-"], number)


def _evaluate(node: Any, known: Mapping[str, Any]) -> Any:
    """The value of an angle: a number, or an expression of the parameters."""
    from openqasm3 import ast

    if isinstance(node, (ast.FloatLiteral, ast.IntegerLiteral)):
        return node.value
    if isinstance(node, ast.Identifier) and node.name in known:
        return known[node.name]
    if isinstance(node, ast.UnaryExpression) and node.op.name == "-":
        return -1 * _evaluate(node.expression, known)
    if isinstance(node, ast.BinaryExpression) and node.op.name in _OPERATORS:
        left, right = _evaluate(node.lhs, known), _evaluate(node.rhs, known)
        if node.op.name == "/" and isinstance(left, int) and isinstance(right, int) and right:
            return int(left / right)  # the language divides integers as integers
        known_base = not isinstance(left, ParameterExpression) and left > 0
        if node.op.name == "**" and known_base and isinstance(right, ParameterExpression):
            scaled: Any = math.log(left) * right
            return scaled.exp()  # Qiskit cannot convert number ** parameter
        return _OPERATORS[node.op.name](left, right)
    if isinstance(node, ast.FunctionCall):
        name, arguments = node.name.name, [_evaluate(a, known) for a in node.arguments]
        if len(arguments) == 1 and name in _FUNCTIONS:
            return _call(_FUNCTIONS[name], arguments[0])
    import openqasm3

    raise ValueError(
        f"cannot read the angle {openqasm3.dumps(node)!r}: it may have numbers, constants, "
        f"parameters declared as 'input float', + - * / ** and {', '.join(_FUNCTIONS)}"
    )


def _call(name: str, argument: Any) -> Any:
    if name == "sqrt":
        return argument**0.5
    if isinstance(argument, ParameterExpression):
        return getattr(argument, name)()
    return float(getattr(np, name)(argument))


def _with_known_gates(circuit: QuantumCircuit) -> QuantumCircuit:
    """Gates that were defined in the text and do what the gate table says become Qiskit's own."""
    result = circuit.copy_empty_like()
    for instruction in circuit.data:
        gate = instruction.operation
        if gate.name in GATES and gate.base_class is not gate_class(gate.name) and _is_known(gate):
            instruction = instruction.replace(operation=gate_class(gate.name)(*gate.params))
        result.append(instruction)
    return result


def _is_known(gate: Any) -> bool:
    """Whether a gate equals the table's gate of its name at a generic point, up to a phase."""
    record = GATES[gate.name]
    if (gate.num_qubits, len(gate.params)) != (record.num_qubits, record.num_params):
        return False
    free = {p: 0.3 + 0.7 * k for k, p in enumerate(gate.definition.parameters)}
    angles = [
        float(a.bind(free, allow_unknown_parameters=True))
        if isinstance(a, ParameterExpression)
        else a
        for a in gate.params
    ]
    matrix = record.matrix(torch.tensor(angles, dtype=torch.float64)).numpy()
    return bool(Operator(gate.definition.assign_parameters(free)).equiv(matrix))
