"""Circuits as OpenQASM 3 text; the comments that keep names and roles are described in ``qasm.py``.

The text is not Qiskit's: its exporter rounds angles within 1e-9 of simple fractions of pi.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qiskit import QuantumCircuit
from qiskit.circuit import ParameterExpression, ParameterVectorElement
from qiskit.circuit.library import CCXGate, CSwapGate

from nisqkit.circuits.gates import GATES
from nisqkit.circuits.lower import InputsLike, gate_class, resolve_inputs
from nisqkit.circuits.names import natural_key

_STANDARD = """
    p x y z h s sdg t tdg sx rx ry rz id cx cy cz cp crx cry crz ch swap cu u1 u2 u3 ccx cswap
""".split()  # noqa: SIM905 - a list literal would take 27 lines
"""Gates of ``stdgates.inc``, by the names that Qiskit has for them too."""

_DEFINITIONS = {
    "sxdg": "sxdg a { h a; sdg a; h a; }",
    "r": "r(theta, phi) a { rz(-phi) a; rx(theta) a; rz(phi) a; }",
    "cs": "cs a, b { cp(pi / 2) a, b; }",
    "csdg": "csdg a, b { cp(-pi / 2) a, b; }",
    "csx": "csx a, b { h b; cp(pi / 2) a, b; h b; }",
    "cu1": "cu1(theta) a, b { cp(theta) a, b; }",
    "cu3": "cu3(theta, phi, lambda) a, b { cu(theta, phi, lambda, 0.0) a, b; }",
    "iswap": "iswap a, b { s a; s b; h a; cx a, b; cx b, a; h b; }",
    "dcx": "dcx a, b { cx a, b; cx b, a; }",
    "ecr": "ecr a, b { s a; sx b; cx a, b; x a; }",
    "rxx": "rxx(theta) a, b { h a; h b; cx a, b; rz(theta) b; cx a, b; h a; h b; }",
    "ryy": "ryy(theta) a, b { sx a; sx b; cx a, b; rz(theta) b; cx a, b; "
    "rx(-pi / 2) a; rx(-pi / 2) b; }",
    "rzz": "rzz(theta) a, b { cx a, b; rz(theta) b; cx a, b; }",
    "rzx": "rzx(theta) a, b { h b; cx a, b; rz(theta) b; cx a, b; h b; }",
    "xx_plus_yy": "xx_plus_yy(theta, beta) a, b "
    "{ rz(beta) a; rxx(theta / 2) a, b; ryy(theta / 2) a, b; rz(-beta) a; }",
    "xx_minus_yy": "xx_minus_yy(theta, beta) a, b "
    "{ rz(-beta) b; rxx(theta / 2) a, b; ryy(-theta / 2) a, b; rz(beta) b; }",
}
"""Gates of the gate table that ``stdgates.inc`` lacks, equal up to a global phase."""

_RESERVED = set(
    """OPENQASM include defcalgrammar def cal defcal gate extern box let break continue if else
    end return for while in switch case default nop input output const readonly mutable qreg qubit
    creg bool bit int uint float angle complex array void duration stretch gphase inv pow ctrl
    negctrl dim durationof delay reset measure barrier true false pi tau euler im arccos arcsin
    arctan ceiling cos exp floor log mod popcount real imag rotl rotr sin sizeof sqrt tan U CX
    phase cphase q c
    """.split()  # noqa: SIM905
) | {*_STANDARD, *_DEFINITIONS}

_WRITTEN = {
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "exp": "exp",
    "log": "log",
}
"""OpenQASM's functions, by the names of SymPy's."""


def to_qasm3(circuit: QuantumCircuit, inputs: InputsLike = None) -> str:
    """A circuit as OpenQASM 3 text that keeps the names of its parameters and which are inputs.

    Gates outside ``stdgates.inc`` and the gate table are written as the gates of their definition,
    ``unitary`` among them. Global phases are left out.

    Args:
        circuit: Gates, barriers, resets and measurements.
        inputs: Which parameters are inputs, as in `lower`.

    Raises:
        TypeError: Not a circuit; `circuit_of` makes one of a program.
        ValueError: What OpenQASM 3 cannot carry: an `AmplitudeInput`, control flow, a gate without
            a definition, an angle with a function that the language does not have.

    Example:
        >>> from qiskit.circuit import Parameter
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(2 * theta, 0)
        >>> print(to_qasm3(circuit))
        OPENQASM 3.0;
        // nisqkit: weight theta = theta
        include "stdgates.inc";
        input float[64] theta;
        qubit[1] q;
        rx(2.0 * theta) q[0];
        <BLANKLINE>
    """
    if not isinstance(circuit, QuantumCircuit):
        raise TypeError(
            f"to_qasm3 takes a qiskit.QuantumCircuit, not {type(circuit).__name__}: give the "
            "circuit itself, layer.circuit, or circuit_of(program)"
        )
    columns = resolve_inputs(circuit, inputs)
    rest = [p for p in circuit.parameters if p not in columns]
    rest.sort(key=lambda p: natural_key(p.name))
    identifiers: dict[str, str] = {}
    comments = []
    for role, parameters in (("input", columns), ("weight", rest)):
        for p in parameters:
            if "\n" in p.name:
                raise ValueError(f"the name of parameter {p.name!r} must be on one line")
            identifier = identifiers[p.name] = _identifier(p.name, set(identifiers.values()))
            length = f" of {len(p.vector)}" if isinstance(p, ParameterVectorElement) else ""
            comments.append(f"// nisqkit: {role} {p.name}{length} = {identifier}")
    lines: list[str] = []
    used: set[str] = set()
    for instruction in circuit.data:
        qubits = [circuit.find_bit(q).index for q in instruction.qubits]
        bits = [circuit.find_bit(c).index for c in instruction.clbits]
        _write(instruction.operation, qubits, bits, identifiers, lines, used)
    if used & {"xx_plus_yy", "xx_minus_yy"}:
        used |= {"rxx", "ryy"}
    return "\n".join(
        [
            "OPENQASM 3.0;",
            *comments,
            'include "stdgates.inc";',
            *(f"input float[64] {identifier};" for identifier in identifiers.values()),
            *(f"gate {text}" for name, text in _DEFINITIONS.items() if name in used),
            *([f"bit[{circuit.num_clbits}] c;"] if circuit.num_clbits else []),
            f"qubit[{circuit.num_qubits}] q;",
            *lines,
            "",
        ]
    )


def _identifier(name: str, taken: set[str]) -> str:
    """An OpenQASM identifier for a parameter: its name where possible."""
    identifier = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    if name.startswith("_") or not re.match(r"[A-Za-z]", identifier):
        identifier = f"p_{identifier}"
    while identifier in taken | _RESERVED:
        identifier += "_"
    return identifier


def _write(
    operation: Any,
    qubits: list[int],
    bits: list[int],
    identifiers: Mapping[str, str],
    lines: list[str],
    used: set[str],
) -> None:
    """Append the lines of one instruction, and the names of the gates that they need."""
    name = operation.name
    on = ", ".join(f"q[{q}]" for q in qubits)
    if name == "measure":
        lines.append(f"c[{bits[0]}] = measure {on};")
    elif name in ("barrier", "reset"):
        lines.append(f"{name} {on};")
    elif _is_known(operation):
        angles = ", ".join(_text(p, identifiers) for p in operation.params)
        used.add(name)
        word = "U" if name == "u" else name
        lines.append(f"{word}({angles}) {on};" if angles else f"{word} {on};")
    elif name != "global_phase":
        definition = None if name == "amplitude" else getattr(operation, "definition", None)
        if definition is None or bits:
            raise ValueError(
                f"OpenQASM 3 cannot carry instruction {name!r}: only gates with a definition, "
                "barriers, resets and measurements (prepare amplitudes outside the text)"
            )
        for inner in definition.data:
            inner_qubits = [qubits[definition.find_bit(q).index] for q in inner.qubits]
            _write(inner.operation, inner_qubits, [], identifiers, lines, used)


def _is_known(operation: Any) -> bool:
    """Whether the text has a gate of this name that does the same."""
    if operation.name in GATES:
        return bool(operation.base_class is gate_class(operation.name))
    own = getattr(operation, "base_class", None)
    return own is not None and own is {"ccx": CCXGate, "cswap": CSwapGate}.get(operation.name)


def _text(angle: Any, identifiers: Mapping[str, str]) -> str:
    """An angle (number, expression) in OpenQASM; numbers keep all their digits."""
    if not isinstance(angle, ParameterExpression) or not angle.parameters:
        return repr(float(angle))
    formula = angle.sympify()
    if formula is NotImplemented:
        raise ValueError(
            f"Qiskit cannot convert the angle {angle}: write number ** parameter as "
            "(log(number) * parameter).exp()"
        )
    return _formula(formula, identifiers)


def _formula(formula: Any, identifiers: Mapping[str, str]) -> str:
    """A SymPy formula in OpenQASM."""
    if formula.is_Symbol:
        return identifiers[formula.name]
    if formula.is_number:
        return repr(float(formula))
    name = formula.func.__name__
    if name == "conjugate":  # parameters are real
        return _formula(formula.args[0], identifiers)
    parts = []
    for part in formula.args:
        text = _formula(part, identifiers)
        compound = part.is_Add or part.is_Mul or part.is_Pow or (formula.is_Pow and text[0] == "-")
        parts.append(f"({text})" if compound and not formula.is_Function else text)
    if formula.is_Add or formula.is_Mul:
        return (" + " if formula.is_Add else " * ").join(parts)
    if formula.is_Pow:
        return f"1.0 / {parts[0]}" if formula.exp == -1 else f"{parts[0]} ** {parts[1]}"
    if name == "Abs":
        return f"sqrt(({parts[0]}) ** 2.0)"
    if name not in _WRITTEN:
        raise ValueError(f"OpenQASM 3 has no function {formula.func}, needed for angle {formula}")
    return f"{_WRITTEN[name]}({parts[0]})"
