"""Encoders: circuits that load features.

Each returns a `QuantumCircuit` whose parameters are the vector ``x``.
"""

from __future__ import annotations

from math import pi

from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from nisqkit.circuits.amplitude import AmplitudeInput
from nisqkit.circuits.names import unknown

LAYERED = {
    "4x4_ryzxy": (4, "ry rz rx ry", 16),
    "6x6_ryzxy": (10, "ry rz rx ry", 36),
    "10_ryzx": (4, "ry rz rx", 10),
    "4_ry": (4, "ry", 4),
}
"""Encoders by name: qubits, rotations of the successive layers, features.

Source: Wang et al., QuantumNAS, HPCA 2022.
"""


def angle(
    num_qubits: int, num_features: int | None = None, *, gates: str = "ry", name: str = "x"
) -> QuantumCircuit:
    """Angle encoding: each feature is the angle (radians) of one rotation.

    Feature ``i`` acts on qubit ``i mod num_qubits``.

    Args:
        num_qubits: Number of qubits.
        num_features: Number of features; default one per qubit.
        gates: The rotation of each successive layer, such as ``"ry rz rx"``, repeated as often as
            needed.
        name: Name of the parameter vector.

    Raises:
        ValueError: No qubits or features, or a gate that is not a rotation.

    Example:
        >>> print(angle(2, 4, gates="ry rz").draw("text"))
             ┌──────────┐┌──────────┐
        q_0: ┤ Ry(x[0]) ├┤ Rz(x[2]) ├
             ├──────────┤├──────────┤
        q_1: ┤ Ry(x[1]) ├┤ Rz(x[3]) ├
             └──────────┘└──────────┘
    """
    count = num_qubits if num_features is None else num_features
    if num_qubits < 1 or count < 1:
        raise ValueError(
            f"an encoder needs at least 1 qubit and 1 feature, got {num_qubits} and {count}"
        )
    layers = gates.split()
    if not layers:
        raise ValueError(f"gates must name at least one rotation, such as 'ry', got {gates!r}")
    for g in layers:
        if g not in ("rx", "ry", "rz", "p"):
            raise ValueError(unknown("rotation", g, ("rx", "ry", "rz", "p")))
    circuit, x = QuantumCircuit(num_qubits), ParameterVector(name, count)
    for i, parameter in enumerate(x):
        getattr(circuit, layers[(i // num_qubits) % len(layers)])(parameter, i % num_qubits)
    return circuit


def encoder(kind: str, name: str = "x") -> QuantumCircuit:
    """An encoder by its published name, such as ``"4x4_ryzxy"``: 16 features on 4 qubits.

    Source: Wang et al., QuantumNAS, HPCA 2022 (arXiv:2107.10845); see `LAYERED` for all of them.

    Raises:
        ValueError: Unknown name.

    Example:
        >>> circuit = encoder("10_ryzx")
        >>> circuit.num_qubits, len(circuit.parameters)
        (4, 10)
    """
    if kind not in LAYERED:
        raise ValueError(unknown("encoder", kind, LAYERED))
    num_qubits, gates, num_features = LAYERED[kind]
    return angle(num_qubits, num_features, gates=gates, name=name)


def zz_feature_map(num_qubits: int, reps: int = 2, *, name: str = "x") -> QuantumCircuit:
    """The ZZ feature map.

    ``H``, ``P(2 x_i)``, and for each pair ``CX P(2 (pi - x_i)(pi - x_j)) CX``, repeated.
    Source: Havlicek et al., Nature 567, 209 (2019); all pairs entangled.

    Example:
        >>> zz_feature_map(3, reps=1).count_ops()["cx"]
        6
    """
    if num_qubits < 1 or reps < 1:
        raise ValueError(
            f"zz_feature_map needs at least 1 qubit and 1 repetition, got {num_qubits} and {reps}"
        )
    circuit, x = QuantumCircuit(num_qubits), ParameterVector(name, num_qubits)
    for _ in range(reps):
        for q in range(num_qubits):
            circuit.h(q)
            circuit.p(2 * x[q], q)
        for a in range(num_qubits):
            for b in range(a + 1, num_qubits):
                circuit.cx(a, b)
                circuit.p(2 * (pi - x[a]) * (pi - x[b]), b)
                circuit.cx(a, b)
    return circuit


def amplitude(num_features: int, *, name: str = "x") -> QuantumCircuit:
    """Amplitude encoding: features are the amplitudes of the initial state, normalised.

    Feature ``i`` is the amplitude of basis state ``i`` (qubit 0 least significant) of
    ``ceil(log2(num_features))`` qubits; missing ones are zero. Real amplitudes; a sample of zeros
    is an error.

    Example:
        >>> amplitude(16).num_qubits
        4
    """
    if num_features < 1:
        raise ValueError(f"amplitude needs at least 1 feature, got {num_features}")
    gate = AmplitudeInput(list(ParameterVector(name, num_features)))
    circuit = QuantumCircuit(gate.num_qubits)
    circuit.append(gate, range(gate.num_qubits))
    return circuit
