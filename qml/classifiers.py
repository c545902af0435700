"""The standard circuit classifiers: an encoder and an ansatz, in one node or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from torch import Tensor, nn

from nisqkit.circuits.ansatze import ANSATZE, u3_cu3
from nisqkit.circuits.encoders import LAYERED, angle, encoder
from nisqkit.circuits.names import unknown
from nisqkit.circuits.subcircuit_text import subcircuit_from_text
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.injection import Injection
from nisqkit.qml.layer import QuantumLayer
from nisqkit.qml.native_layer import native_layer
from nisqkit.qml.post_measurement_norm import PostMeasurementNorm
from nisqkit.qml.post_measurement_quantize import PostMeasurementQuantize

CIRCUITS: Mapping[str, Any] = {
    **ANSATZE,
    "u3": partial(u3_cu3, entangle=False),
}
"""Ansatze by name, called with ``(num_qubits, depth)``; ``u3`` has no entangling gates."""

ENCODERS = {16: "4x4_ryzxy", 36: "6x6_ryzxy", 10: "10_ryzx"}
"""The published encoder for a number of features."""


class GroupSum(nn.Module):
    """Sum equal groups of neighbouring outputs: the parameter-free head of QuantumNAT.

    ``(..., num_outputs) -> (..., num_classes)``: class k is the sum of outputs
    ``k n .. (k + 1) n - 1`` with ``n = num_outputs / num_classes``. Four qubits give two classes as
    the sums of qubits (0, 1) and (2, 3), and four classes as they are.

    Source: Wang et al., QuantumNAT, DAC 2022 (arXiv:2110.11331).

    Args:
        num_outputs: number of columns that come in.
        num_classes: number of columns that go out.

    Raises:
        ValueError: the outputs do not divide into equal groups.

    Example:
        >>> import torch
        >>> GroupSum(4, 2)(torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
        tensor([[0.3000, 0.7000]])
    """

    def __init__(self, num_outputs: int, num_classes: int) -> None:
        super().__init__()
        if num_classes < 1 or num_outputs % num_classes or num_outputs < num_classes:
            fitting = max(num_classes, 1) * max(1, -(-num_outputs // max(num_classes, 1)))
            raise ValueError(
                f"{num_outputs} outputs (one per qubit) do not divide into equal groups for "
                f"{num_classes} classes: use a multiple of {num_classes} qubits, such as "
                f"{fitting} (--qubits {fitting})"
            )
        self.num_outputs, self.num_classes = num_outputs, num_classes

    def forward(self, outputs: Tensor) -> Tensor:
        """Sum the groups."""
        if outputs.shape[-1] != self.num_outputs:
            raise ValueError(f"got {outputs.shape[-1]} outputs, expected {self.num_outputs}")
        return outputs.reshape(*outputs.shape[:-1], self.num_classes, -1).sum(-1)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"{self.num_outputs} -> {self.num_classes}"


def classifier_circuit(
    num_features: int,
    num_classes: int,
    ansatz: str = "u3-cu3",
    depth: int = 2,
    *,
    qubits: int | None = None,
    subcircuit: str | None = None,
) -> QuantumCircuit:
    """The encoder for this number of features, followed by the ansatz.

    With `qubits` the features are angle-encoded on that many qubits (RY, RZ, RX, RY in turn).
    Without, 16, 36 and 10 features take the published encoders ``4x4_ryzxy``, ``6x6_ryzxy`` and
    ``10_ryzx`` if their qubits divide into groups for the classes; everything else is angle-encoded
    on the smallest multiple of the number of classes that is at least 4.

    A `subcircuit` (see `nisqkit.circuits.subcircuit_text`) comes in the place of the ansatz.

    Raises:
        ValueError: an unknown ansatz, fewer than two classes, or a sub-circuit of another width.

    Example:
        >>> circuit = classifier_circuit(16, 4, "u3-cu3", depth=1)
        >>> circuit.num_qubits, len(circuit.parameters)
        (4, 40)
    """
    if ansatz not in CIRCUITS:
        raise ValueError(unknown("circuit", ansatz, CIRCUITS))
    if num_classes < 2:
        raise ValueError(f"a classifier needs at least 2 classes, got {num_classes}")
    front = classifier_encoder(num_features, num_classes, qubits)
    return front.compose(_ansatz(front.num_qubits, ansatz, depth, subcircuit))


def classifier_encoder(
    num_features: int, num_classes: int, qubits: int | None = None
) -> QuantumCircuit:
    """The encoder of `classifier_circuit`.

    Example:
        >>> classifier_encoder(16, 4).num_qubits
        4
    """
    name = ENCODERS.get(num_features)
    if qubits is None and name is not None and LAYERED[name][0] % num_classes == 0:
        return encoder(name)
    width = qubits if qubits is not None else num_classes * -(-4 // num_classes)
    return angle(width, num_features, gates="ry rz rx ry")


def _ansatz(width: int, ansatz: str, depth: int, subcircuit: str | None) -> QuantumCircuit:
    if subcircuit is None:
        circuit: QuantumCircuit = CIRCUITS[ansatz](width, depth)
        return circuit
    design, mask = subcircuit_from_text(subcircuit)
    if design.num_qubits != width:
        raise ValueError(
            f"the sub-circuit has {design.num_qubits} qubits, but this task's encoder {width}: "
            f"give qubits={design.num_qubits}, or search on this task"
        )
    return design.kept(mask)


def classifier(
    num_features: int,
    num_classes: int,
    ansatz: str = "u3-cu3",
    depth: int = 2,
    *,
    qubits: int | None = None,
    nodes: int = 1,
    norm: bool = False,
    quantize: int | None = None,
    native: bool = False,
    subcircuit: str | None = None,
    backend: str = "native",
    noise: Device | NoiseModel | None = None,
    layout: Sequence[int] | None = None,
    inject: str | Injection | None = None,
    shots: int | None = None,
    seed: int | None = None,
) -> nn.Sequential:
    """Build a circuit that classifies: features in radians in, one logit per class out.

    It is a `QuantumLayer` (see `classifier_circuit`) with the expectation value of Z on every
    qubit, and `GroupSum` behind it. Train it with the cross entropy.

    With several nodes, the values measured by one are the angles of RY gates on the qubits of the
    next, as in QuantumNAT (Wang et al., DAC 2022, arXiv:2110.11331). Between nodes they can be
    normalised and quantised; the logits are neither.

    Args:
        num_features: number of features ``F``: ``(..., F) -> (..., num_classes)``.
        num_classes: number of classes.
        ansatz: one of `CIRCUITS`.
        depth: blocks or layers of the ansatz, in each node.
        qubits: number of qubits; None: see `classifier_circuit`.
        nodes: how many circuits, one behind the other.
        norm: put a `PostMeasurementNorm` behind every node but the last.
        quantize: put a `PostMeasurementQuantize` with this many levels there, too.
        native: train the angles of the transpiled circuits (`native_layer`); needs a device.
        subcircuit: in the place of the ansatz; see `classifier_circuit`.
        backend: as in `QuantumLayer`.
        noise: as in `QuantumLayer`.
        layout: as in `QuantumLayer`, for all nodes.
        inject: as in `QuantumLayer`.
        shots: as in `QuantumLayer`.
        seed: of the initial weights and the shots; each node has its own, made from this one.

    Raises:
        ValueError: an unknown name, qubits that do not divide into groups for the classes, no
            nodes, or normalisation or quantisation with a single one.

    Example:
        >>> import torch
        >>> model = classifier(16, 4, depth=1, seed=0)
        >>> model(torch.zeros(8, 16)).shape
        torch.Size([8, 4])
        >>> [type(part).__name__ for part in classifier(16, 4, nodes=2, norm=True, quantize=5)]
        ['QuantumLayer', 'PostMeasurementNorm', 'PostMeasurementQuantize', 'QuantumLayer', \
'GroupSum']
    """
    if nodes < 1:
        raise ValueError(f"nodes={nodes} must be at least 1")
    if nodes == 1 and (norm or quantize is not None):
        what = "norm" if norm else "quantize"
        raise ValueError(
            f"{what} acts between nodes, and there is one: give nodes=2 or more, or leave it out"
        )
    circuit = classifier_circuit(
        num_features, num_classes, ansatz, depth, qubits=qubits, subcircuit=subcircuit
    )
    width = circuit.num_qubits
    head = GroupSum(width, num_classes)
    parts: list[nn.Module] = []
    for node in range(nodes):
        if node > 0:
            circuit = angle(width).compose(_ansatz(width, ansatz, depth, subcircuit))
            if norm:
                parts.append(PostMeasurementNorm(width))
            if quantize is not None:
                parts.append(PostMeasurementQuantize(quantize))
        layer = QuantumLayer(
            circuit,
            inputs="x",
            backend=backend,
            noise=noise,
            layout=layout,
            inject=inject,
            shots=shots,
            seed=_seed_of(node, seed),
        )
        parts.append(native_layer(layer) if native else layer)
    return nn.Sequential(*parts, head)


def _seed_of(node: int, seed: int | None) -> int | None:
    """The seed of a node: ``seed + node`` would be that of another node of the next seed."""
    if seed is None or node == 0:
        return seed
    return int(np.random.SeedSequence((seed, node)).generate_state(1)[0])
