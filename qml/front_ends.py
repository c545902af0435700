"""Front ends: what may be given as a circuit, read into a `Program`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qiskit import QuantumCircuit

from nisqkit.circuits.lower import lower
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program


def read_circuit(
    circuit: Any, inputs: Any, weight_shapes: Mapping[str, tuple[int, ...]] | None
) -> tuple[QuantumCircuit | None, Program, Observables | None]:
    """The front ends: ``(circuit if there is one, program, measurements if it names them)``."""
    is_function = callable(circuit) or type(circuit).__module__.startswith("pennylane")
    if weight_shapes is not None and not is_function:
        raise ValueError(
            "weight_shapes is for PennyLane functions: the weights of this circuit are its "
            "parameters that are not inputs, so leave weight_shapes out"
        )
    if isinstance(circuit, QuantumCircuit):
        return circuit, lower(circuit, inputs), None
    if isinstance(circuit, Program):
        if inputs is not None:
            raise ValueError("a Program already says which parameters are inputs: leave inputs out")
        return None, circuit, None
    if isinstance(circuit, str):
        from nisqkit.circuits.qasm import from_qasm3

        parsed, names = from_qasm3(circuit)
        return parsed, lower(parsed, names if inputs is None else inputs), None
    if is_function:
        from nisqkit.circuits.pennylane_io import read_qnode

        if inputs is not None and not isinstance(inputs, int):
            raise TypeError(
                "for a PennyLane function, inputs is the number of features "
                "(the length of one sample)"
            )
        given = getattr(getattr(circuit, "shots", None), "total_shots", None)
        if given is not None:
            raise ValueError(
                f"the QNode or tape has shots={given}, which a layer does not read: leave them out "
                f"there and pass shots={given} to QuantumLayer"
            )
        program, observables = read_qnode(circuit, num_inputs=inputs, weight_shapes=weight_shapes)
        return None, program, observables
    raise TypeError(
        "circuit must be a qiskit.QuantumCircuit, OpenQASM 3 text, a Program, or a PennyLane "
        f"QNode, function or tape, not {type(circuit).__name__}"
    )
