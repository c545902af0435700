"""Design spaces: the circuits that circuit search chooses among.

A design space is one large circuit of equal blocks, the SuperCircuit; its sub-circuits are what
masks leave of it. The six spaces here are those of Wang et al., QuantumNAS, HPCA 2022
(arXiv:2107.10845).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import pi
from typing import Any, TypeAlias

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Gate as QiskitGate
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import (
    CU3Gate,
    CXGate,
    CZGate,
    HGate,
    PhaseGate,
    RXGate,
    RXXGate,
    RYGate,
    RZGate,
    RZXGate,
    RZZGate,
    SGate,
    SwapGate,
    SXGate,
    TGate,
    U3Gate,
    UnitaryGate,
    XGate,
)

from nisqkit.circuits.ansatze import ring
from nisqkit.circuits.names import unknown
from nisqkit.search import Group, Int, Repeat, Space

SubCircuit: TypeAlias = Sequence[Mapping[str, int]]
"""A sub-circuit as plain JSON: for each of its blocks, how many gates each layer keeps."""

_SQRT_SWAP = [
    [1, 0, 0, 0],
    [0, 0.5 + 0.5j, 0.5 - 0.5j, 0],
    [0, 0.5 - 0.5j, 0.5 + 0.5j, 0],
    [0, 0, 0, 1],
]

_GATES: Mapping[str, tuple[type[QiskitGate], int]] = {
    "u3": (U3Gate, 3),
    "cu3": (CU3Gate, 3),
    "rx": (RXGate, 1),
    "ry": (RYGate, 1),
    "rz": (RZGate, 1),
    "p": (PhaseGate, 1),
    "rzz": (RZZGate, 1),
    "rzx": (RZXGate, 1),
    "rxx": (RXXGate, 1),
    "cx": (CXGate, 0),
    "cz": (CZGate, 0),
    "h": (HGate, 0),
    "s": (SGate, 0),
    "t": (TGate, 0),
    "x": (XGate, 0),
    "sx": (SXGate, 0),
    "swap": (SwapGate, 0),
}

# gates of one block in order: the name, and where they stand
_BLOCKS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "u3cu3": (("u3", "wires"), ("cu3", "ring")),
    "zzry": (("rzz", "ring"), ("ry", "wires")),
    "rxyz": (("rx", "wires"), ("ry", "wires"), ("rz", "wires"), ("cz", "brick")),
    "zxxx": (("rzx", "ring"), ("rxx", "ring")),
    # the eighth layer is H in the paper and T in its code
    "rxyz_u1_cu3": (
        ("rx", "wires"),
        ("s", "wires"),
        ("cx", "ring"),
        ("ry", "wires"),
        ("t", "wires"),
        ("swap", "ring"),
        ("rz", "wires"),
        ("h", "wires"),
        ("sqrt_swap", "ring"),
        ("p", "wires"),
        ("cu3", "ring"),
    ),
    "ibm_basis": (
        ("rz", "wires"),
        ("x", "wires"),
        ("rz", "wires"),
        ("sx", "wires"),
        ("rz", "wires"),
        ("cx", "ring"),
    ),
}
DESIGN_SPACES: Mapping[str, int] = {
    "u3cu3": 8,
    "zzry": 8,
    "rxyz": 8,
    "zxxx": 8,
    "rxyz_u1_cu3": 4,
    "ibm_basis": 20,
}
"""The six spaces, with the number of blocks of their SuperCircuits."""


@dataclass(frozen=True)
class Layer:
    """Equal gates on several places.

    Attributes:
        name: Of the layer, unique in a block: the gate, with a number where it comes again.
        gate: Name of the gate.
        places: Its qubits, in the order in which a sub-circuit keeps them.
        num_params: Angles of each gate.
    """

    name: str
    gate: str
    places: tuple[tuple[int, ...], ...]
    num_params: int


@dataclass(frozen=True)
class DesignSpace:
    """A family of circuits: the sub-circuits of one SuperCircuit.

    A sub-circuit has some of the first blocks, and of each layer in them the first gates (*front
    sampling*). `u3cu3` on 4 qubits with 8 blocks has 16 widths of 1 to 4 and the number of blocks.

    Args:
        name: One of `DESIGN_SPACES`.
        num_qubits: Number of qubits, at least 2.
        blocks: Blocks of the SuperCircuit; None: as in `DESIGN_SPACES`.
        arbitrary: Whether a layer keeps any of its gates instead of the first ones. Its number is
            then a bit mask, the first gate being the least significant bit: a much larger space.

    Raises:
        ValueError: An unknown name, less than 2 qubits or 1 block.

    Example:
        >>> design = DesignSpace("u3cu3", num_qubits=4)
        >>> design
        DesignSpace('u3cu3', 4 qubits, 8 blocks, 192 weights)
        >>> small = [{"u3": 4, "cu3": 2}, {"u3": 1, "cu3": 1}]
        >>> design.num_weights(small), design.subcircuit(small).count_ops()["cu3"]
        (24, 3)
    """

    name: str
    num_qubits: int
    blocks: int | None = None
    arbitrary: bool = False

    def __post_init__(self) -> None:
        if self.name not in DESIGN_SPACES:
            raise ValueError(unknown("design space", self.name, DESIGN_SPACES))
        if self.num_qubits < 2:
            raise ValueError(f"num_qubits={self.num_qubits} must be at least 2, for gates on two")
        if self.blocks is None:
            object.__setattr__(self, "blocks", DESIGN_SPACES[self.name])
        if self.num_blocks < 1:
            raise ValueError(f"blocks={self.blocks} must be at least 1")

    def __repr__(self) -> str:
        weights = self.num_weights(self.largest)
        kind = ", any gates of a layer" if self.arbitrary else ""
        return (
            f"DesignSpace({self.name!r}, {self.num_qubits} qubits, {self.num_blocks} blocks, "
            f"{weights} weights{kind})"
        )

    @property
    def num_blocks(self) -> int:
        """Blocks of the SuperCircuit."""
        assert self.blocks is not None
        return self.blocks

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of one block."""
        n = self.num_qubits
        places: dict[str, list[tuple[int, ...]]] = {
            "wires": [(q,) for q in range(n)],
            "ring": list(ring(n)),
            "brick": [(q, q + 1) for start in (0, 1) for q in range(start, n - 1, 2)],
        }
        found: list[Layer] = []
        seen: dict[str, int] = {}
        for gate, where in _BLOCKS[self.name]:
            seen[gate] = seen.get(gate, 0) + 1
            name = gate if seen[gate] == 1 else f"{gate}_{seen[gate]}"
            found.append(Layer(name, gate, tuple(places[where]), _num_params(gate)))
        return tuple(found)

    @cached_property
    def space(self) -> Space:
        """What can be chosen: blocks, and in each a number for every layer."""
        numbers: dict[str, Space] = {layer.name: Int(1, self._most(layer)) for layer in self.layers}
        return Repeat(Int(1, self.num_blocks), Group(numbers))

    def _most(self, layer: Layer) -> int:
        return 2 ** len(layer.places) - 1 if self.arbitrary else len(layer.places)

    @cached_property
    def largest(self) -> list[dict[str, int]]:
        """The SuperCircuit itself."""
        block = {layer.name: self._most(layer) for layer in self.layers}
        return [dict(block) for _ in range(self.num_blocks)]

    @cached_property
    def smallest(self) -> list[dict[str, int]]:
        """One block with one gate per layer."""
        return [{layer.name: 1 for layer in self.layers}]

    def circuit(self, name: str = "w") -> QuantumCircuit:
        """The SuperCircuit; its weights are a vector.

        Instruction k is entry k of `mask`.
        """
        circuit = QuantumCircuit(self.num_qubits)
        weights = iter(ParameterVector(name, self.num_weights(self.largest)))
        for gate, qubits, _ in self._positions():
            if gate == "prelude":  # the square root of H, up to a phase
                circuit.append(RYGate(pi / 4), qubits)
            else:
                circuit.append(
                    _made(gate, [next(weights) for _ in range(_num_params(gate))]), qubits
                )
        return circuit

    def mask(self, sub: SubCircuit) -> tuple[bool, ...]:
        """Which instructions of `circuit` a sub-circuit has.

        Raises:
            ValueError: It is none of this space.
        """
        self.space.check([dict(block) for block in sub])
        kept: list[bool] = []
        for _, _, place in self._positions():
            if place is None:
                kept.append(True)
                continue
            block, layer, position = place
            number = sub[block][layer.name] if block < len(sub) else 0
            kept.append(bool(number >> position & 1) if self.arbitrary else position < number)
        return tuple(kept)

    def weight_mask(self, sub: SubCircuit) -> tuple[bool, ...]:
        """Which weights of `circuit` a sub-circuit uses."""
        return tuple(
            keep
            for (gate, _, _), keep in zip(self._positions(), self.mask(sub), strict=True)
            for _ in range(_num_params(gate))
        )

    @cached_property
    def weights_of_gates(self) -> tuple[int, ...]:
        """How many weights each instruction of `circuit` has."""
        return tuple(_num_params(gate) for gate, _, _ in self._positions())

    def num_weights(self, sub: SubCircuit) -> int:
        """How many weights a sub-circuit has."""
        count = int.bit_count if self.arbitrary else int
        return sum(
            layer.num_params * count(block[layer.name]) for block in sub for layer in self.layers
        )

    def subcircuit(self, sub: SubCircuit, name: str = "w") -> QuantumCircuit:
        """A sub-circuit with a vector of its own weights.

        Raises:
            ValueError: It is none of this space.
        """
        return self.kept(self.mask(sub), name)

    def kept(self, mask: Sequence[bool], name: str = "w") -> QuantumCircuit:
        """As `subcircuit`, for any mask over the instructions of `circuit`."""
        positions = [p for p, keep in zip(self._positions(), mask, strict=True) if keep]
        circuit = QuantumCircuit(self.num_qubits)
        weights = iter(ParameterVector(name, sum(_num_params(gate) for gate, _, _ in positions)))
        for gate, qubits, _ in positions:
            if gate == "prelude":
                circuit.append(RYGate(pi / 4), qubits)
            else:
                circuit.append(
                    _made(gate, [next(weights) for _ in range(_num_params(gate))]), qubits
                )
        return circuit

    def human_mask(self, num_weights: int) -> tuple[bool, ...]:
        """The circuit that a person would draw: gates from the front until the weights are used up.

        Gates without weights come along with those before them, up to the next one that has some.

        Raises:
            ValueError: The SuperCircuit has fewer weights.

        Example:
            >>> design = DesignSpace("u3cu3", num_qubits=4)
            >>> sorted(design.kept(design.human_mask(36)).count_ops().items())
            [('cu3', 4), ('u3', 8)]
        """
        most = self.num_weights(self.largest)
        if not 1 <= num_weights <= most:
            raise ValueError(f"num_weights={num_weights}: {self!r} has from 1 to {most}")
        left = num_weights
        mask: list[bool] = []
        full = False
        for gate, _, _ in self._positions():
            needed = _num_params(gate)
            full = full or needed > left or (left == 0 and needed > 0)
            mask.append(not full)
            left -= 0 if full else needed
        return tuple(mask)

    def random(self, num_weights: int, rng: np.random.Generator) -> list[dict[str, int]]:
        """A random sub-circuit with this many weights, as near as one of 2,000 draws comes."""
        best: Any = None
        for _ in range(2000):
            drawn = self.space.sample(rng)
            apart = abs(self.num_weights(drawn) - num_weights)
            if best is None or apart < best[0]:
                best = apart, drawn
            if apart == 0:
                break
        return list(best[1])

    def _positions(self) -> list[tuple[str, tuple[int, ...], tuple[int, Layer, int] | None]]:
        """Every instruction of the SuperCircuit: gate, qubits, and (block, layer, position)."""
        found: list[tuple[str, tuple[int, ...], tuple[int, Layer, int] | None]] = []
        if self.name == "rxyz":
            found += [("prelude", (q,), None) for q in range(self.num_qubits)]
        for block in range(self.num_blocks):
            for layer in self.layers:
                for position, qubits in enumerate(layer.places):
                    found.append((layer.gate, qubits, (block, layer, position)))
        return found


def _num_params(gate: str) -> int:
    return _GATES[gate][1] if gate in _GATES else 0


def _made(gate: str, angles: Sequence[Any]) -> QiskitGate:
    if gate == "sqrt_swap":
        return UnitaryGate(_SQRT_SWAP, label="sqrt_swap")
    return _GATES[gate][0](*angles)
