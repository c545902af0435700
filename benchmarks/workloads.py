"""What is timed: circuits as plain lists of gates, and their data.

Every peer builds its circuit from the same list. The weights are one vector, in the order in which
the gates use them; so are the inputs of a sample. The outputs are Z on each qubit, the loss is
``mean((outputs - target)**2)``.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FAMILIES = ("u3_cu3", "hardware_efficient")
ENCODER = ("ry", "rz", "rx", "ry")
"""Layers of the encoder ``4x4_ryzxy``, for ``u3_cu3``; the other family has one RY per qubit."""


class Gate(NamedTuple):
    """A gate: ``rx``, ``ry``, ``rz``; ``u3``, ``cu3`` (theta, phi, lambda); or ``cx``.

    ``source`` says where its angles come from: ``"x"`` (inputs), ``"w"`` (weights) or ``""``.
    """

    name: str
    qubits: tuple[int, ...]
    source: str = ""
    columns: tuple[int, ...] = ()


class Data(NamedTuple):
    """Inputs ``(batch, num_inputs)``, weights ``(num_weights,)``, target ``(batch, qubits)``."""

    inputs: NDArray[np.float32]
    weights: NDArray[np.float32]
    target: NDArray[np.float32]


@dataclass(frozen=True)
class Workload:
    """One training step to be timed.

    Attributes:
        family: One of `FAMILIES`. ``u3_cu3``: U3 on every qubit and a ring of CU3 per layer, after
            16 inputs on 4 qubits. ``hardware_efficient``: RY and RZ on every qubit and a ring of CX
            per layer, after one RY per qubit.
        qubits, layers, batch: Sizes.
    """

    family: str
    qubits: int
    layers: int
    batch: int

    @property
    def key(self) -> str:
        """A name for files and tables."""
        return f"{self.family}-{self.qubits}q-{self.layers}l-{self.batch}b"

    @property
    def title(self) -> str:
        """One line for people."""
        layer = "U3, CU3 ring" if self.family == "u3_cu3" else "RY RZ, CX ring"
        layers = "1 layer" if self.layers == 1 else f"{self.layers} layers"
        return f"{self.qubits} qubits, {layers} of {layer}, batch {self.batch}"

    @property
    def gates(self) -> list[Gate]:
        """The circuit."""
        n = self.qubits
        encoder = ENCODER if self.family == "u3_cu3" else ("ry",)
        gates = [
            Gate(name, (q,), "x", (n * k + q,)) for k, name in enumerate(encoder) for q in range(n)
        ]
        used = 0

        def weights(count: int) -> tuple[int, ...]:
            nonlocal used
            used += count
            return tuple(range(used - count, used))

        ring = [(q, (q + 1) % n) for q in range(n)]
        for _ in range(self.layers):
            if self.family == "u3_cu3":
                gates += [Gate("u3", (q,), "w", weights(3)) for q in range(n)]
                gates += [Gate("cu3", pair, "w", weights(3)) for pair in ring]
            else:
                for q in range(n):
                    gates.append(Gate("ry", (q,), "w", weights(1)))
                    gates.append(Gate("rz", (q,), "w", weights(1)))
                gates += [Gate("cx", pair) for pair in ring]
        return gates

    @property
    def num_inputs(self) -> int:
        """Features of a sample."""
        return self.qubits * (len(ENCODER) if self.family == "u3_cu3" else 1)

    @property
    def num_weights(self) -> int:
        """Trained angles."""
        return self.qubits * self.layers * (6 if self.family == "u3_cu3" else 2)

    def data(self) -> Data:
        """The numbers, the same in every process."""
        import numpy as np

        random = np.random.default_rng(zlib.crc32(self.key.encode()))
        shapes: list[tuple[int, ...]] = [(self.batch, self.num_inputs), (self.num_weights,)]
        shapes.append((self.batch, self.qubits))
        ranges = (2.5, 3.0, 1.0)
        x, w, target = (
            random.uniform(-r, r, s).astype("float32") for r, s in zip(ranges, shapes, strict=True)
        )
        return Data(x, w, target)

    def as_dict(self) -> dict[str, str | int]:
        """For JSON; ``Workload(**d)`` reads it."""
        return asdict(self)


WORKLOADS = {
    "W1": Workload("u3_cu3", 4, 8, 64),
    "W1b": Workload("u3_cu3", 4, 8, 256),
    "W2": Workload("hardware_efficient", 8, 6, 64),
    "W3": Workload("hardware_efficient", 12, 6, 32),
    "W4": Workload("hardware_efficient", 16, 4, 8),
    "W5": Workload("hardware_efficient", 20, 4, 1),
}
"""The six training steps that libraries are compared on."""

SCALING = {
    "qubits": [Workload("hardware_efficient", n, 4, 1) for n in range(4, 25, 2)],
    "qubits-batch16": [Workload("hardware_efficient", n, 4, 16) for n in range(4, 19, 2)],
    "batch": [Workload("hardware_efficient", 8, 6, 2**k) for k in range(11)],
    "depth": [Workload("hardware_efficient", 12, 2**k, 32) for k in range(7)],
}
"""The series in which one size grows."""

MEMORY = {
    "12 qubits, batch 32": [Workload("hardware_efficient", 12, 2**k, 32) for k in range(1, 6)],
    "18 qubits, batch 1": [Workload("hardware_efficient", 18, 2**k, 1) for k in range(1, 6)],
}
"""The series in which peak memory is measured."""
