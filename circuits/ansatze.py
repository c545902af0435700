"""Ansatze: trainable circuits.

Each returns a `QuantumCircuit` whose parameters are the vector ``w``.
"""

from __future__ import annotations

from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import CU3Gate, U3Gate


def ring(num_qubits: int) -> list[tuple[int, int]]:
    """The pairs ``(0, 1), (1, 2), ..., (n - 1, 0)``; a single pair for two qubits, none for one.

    Example:
        >>> ring(3), ring(2), ring(1)
        ([(0, 1), (1, 2), (2, 0)], [(0, 1)], [])
    """
    if num_qubits < 3:
        return [(0, 1)][: num_qubits - 1]
    return [(q, (q + 1) % num_qubits) for q in range(num_qubits)]


def _check(what: str, num_qubits: int, depth: int) -> None:
    if num_qubits < 1 or depth < 1:
        raise ValueError(
            f"{what} needs at least 1 qubit and a depth of 1, got {num_qubits} and {depth}"
        )


def hardware_efficient(num_qubits: int, layers: int, *, name: str = "w") -> QuantumCircuit:
    """Layers of RY and RZ on every qubit and a ring of CX.

    Source: Kandala et al., Nature 549, 242 (2017). ``2 * num_qubits * layers`` weights.

    Example:
        >>> sorted(hardware_efficient(4, layers=2).count_ops().items())
        [('cx', 8), ('ry', 8), ('rz', 8)]
    """
    _check("hardware_efficient", num_qubits, layers)
    circuit = QuantumCircuit(num_qubits)
    w = iter(ParameterVector(name, 2 * num_qubits * layers))
    for _ in range(layers):
        for q in range(num_qubits):
            circuit.ry(next(w), q)
            circuit.rz(next(w), q)
        for a, b in ring(num_qubits):
            circuit.cx(a, b)
    return circuit


def strongly_entangling(num_qubits: int, layers: int, *, name: str = "w") -> QuantumCircuit:
    """Layers of RZ RY RZ on every qubit and CX from ``q`` to ``q + r``.

    The range grows by layer: ``r = layer mod (n - 1) + 1``. Source: Schuld et al., Phys. Rev. A
    101, 032308 (2020). ``3 * num_qubits * layers`` weights.

    Example:
        >>> sorted(strongly_entangling(3, layers=2).count_ops().items())
        [('cx', 6), ('ry', 6), ('rz', 12)]
    """
    _check("strongly_entangling", num_qubits, layers)
    circuit = QuantumCircuit(num_qubits)
    w = iter(ParameterVector(name, 3 * num_qubits * layers))
    for layer in range(layers):
        for q in range(num_qubits):
            circuit.rz(next(w), q)
            circuit.ry(next(w), q)
            circuit.rz(next(w), q)
        if num_qubits > 1:
            step = layer % (num_qubits - 1) + 1
            for q in range(num_qubits):
                circuit.cx(q, (q + step) % num_qubits)
    return circuit


def u3_cu3(
    num_qubits: int, blocks: int, *, name: str = "w", entangle: bool = True
) -> QuantumCircuit:
    """Blocks of U3 on every qubit and a ring of CU3: QuantumNAS's first design space.

    Source: Wang et al., QuantumNAS, HPCA 2022 (arXiv:2107.10845). ``6 * num_qubits * blocks``
    weights for three qubits or more.

    Args:
        num_qubits: Number of qubits.
        blocks: Number of blocks (two layers each).
        name: Name of the parameter vector.
        entangle: ``False`` leaves the CU3 ring out: the entanglement-free circuit to compare with.

    Example:
        >>> len(u3_cu3(4, blocks=8).parameters)
        192
    """
    _check("u3_cu3", num_qubits, blocks)
    pairs = ring(num_qubits) if entangle else []
    circuit = QuantumCircuit(num_qubits)
    w = iter(ParameterVector(name, 3 * (num_qubits + len(pairs)) * blocks))
    for _ in range(blocks):
        for q in range(num_qubits):
            circuit.append(U3Gate(next(w), next(w), next(w)), [q])
        for a, b in pairs:
            circuit.append(CU3Gate(next(w), next(w), next(w)), [a, b])
    return circuit


def mirrored(ansatz: QuantumCircuit) -> QuantumCircuit:
    """The ansatz followed by its inverse with weights of its own.

    The ``"identity-block"`` initialiser pairs the two halves' weights up.
    With equal weights in both halves the block is the identity, so that training starts away from
    barren plateaus (Grant et al., Quantum 3, 214, 2019). The second half's parameters are called
    ``<name>_mirror``.

    Raises:
        ValueError: The ansatz has parameters that are not elements of vectors.

    Example:
        >>> block = mirrored(hardware_efficient(2, layers=1))
        >>> sorted({p.name.split("[")[0] for p in block.parameters})
        ['w', 'w_mirror']
    """
    vectors = {}
    for p in ansatz.parameters:
        vector = getattr(p, "vector", None)
        if vector is None:
            raise ValueError(
                "mirrored needs parameters in ParameterVectors, "
                f"but {p.name!r} is a single parameter"
            )
        vectors[vector.name] = vector
    twins = {v.name: ParameterVector(f"{v.name}_mirror", len(v)) for v in vectors.values()}
    swap = {p: twins[p.vector.name][p.index] for p in ansatz.parameters}
    return ansatz.compose(ansatz.inverse().assign_parameters(swap))


ANSATZE = {
    "hardware-efficient": hardware_efficient,
    "strongly-entangling": strongly_entangling,
    "u3-cu3": u3_cu3,
}
"""Ansatze by name, each called with ``(num_qubits, depth)``."""
