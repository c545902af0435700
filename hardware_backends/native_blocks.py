"""Circuits of a device put together from ready-made pieces, one per gate and place.

Transpiling every sub-circuit of a search would take longer than simulating it. So each gate is
transpiled once for each place that it can have on the device, and a circuit is a list of such
blocks, with swaps along fixed paths where two qubits are not coupled. Transpiling the whole circuit
can do better (gates cancel across blocks, and swaps are placed with foresight): it is done for the
circuits that a search ends with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from nisqkit.circuits.angles import AngleMap
from nisqkit.circuits.program import GateUse, Program
from nisqkit.circuits.task import Placement
from nisqkit.hardware_backends.transpile import transpile_to
from nisqkit.noise.device import Device


@dataclass(frozen=True)
class NativeGate:
    """One gate of a block.

    Attributes:
        name: Its name.
        on: Its qubits, as positions among those of the block.
        angles: For each of its angles ``(constant, ((k, factor), ...))``: a constant and factors of
            the angles of the gate that the block stands for.
    """

    name: str
    on: tuple[int, ...]
    angles: tuple[tuple[float, tuple[tuple[int, float], ...]], ...] = ()


Block = tuple[NativeGate, ...]


@dataclass(frozen=True)
class Piece:
    """A block at its place in a circuit.

    Attributes:
        block: Its gates.
        physical: The device's qubits that it is on, in the order of the gate's.
        use: The gate that it stands for; None for a swap that routing has put in.
    """

    block: Block
    physical: tuple[int, ...]
    use: GateUse | None


@dataclass(frozen=True)
class Routed:
    """A circuit as pieces.

    Attributes:
        pieces: In order.
        layout: The device's qubit on which each logical qubit ends: it is measured there.
    """

    pieces: tuple[Piece, ...]
    layout: tuple[int, ...]

    @cached_property
    def active(self) -> tuple[int, ...]:
        """The device's qubits in use, sorted."""
        return tuple(sorted({q for p in self.pieces for q in p.physical}.union(self.layout)))


class NativeBlocks:
    """Blocks of a device, made when they are first needed, and circuits put together from them.

    Args:
        device: The device; gates with error 1 are not used.

    Example:
        >>> from nisqkit.circuits import lower, u3_cu3
        >>> blocks = NativeBlocks(Device.load("fake_santiago"))
        >>> routed = blocks.route(lower(u3_cu3(3, blocks=1)), layout=(0, 1, 2))
        >>> blocks.counts(routed)["two_qubit_gates"], routed.layout  # a swap for 2 and 0
        (9.0, (0, 2, 1))
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._known: dict[tuple[object, ...], Block] = {}
        self.cache: dict[Any, Any] = {}  # what others work out for these blocks
        self._paths: dict[tuple[int, int], tuple[int, ...]] = {}
        self._neighbours = _neighbours(device)

    def block(self, use: GateUse, physical: Sequence[int]) -> Block:
        """The gates of the device that do what a gate does, on some of its qubits.

        Raises:
            ValueError: The qubits are not coupled, or dead.
        """
        key = use.name, use.matrix, tuple(physical)
        if key not in self._known:
            self._known[key] = self._made(use, tuple(physical))
        return self._known[key]

    def _made(self, use: GateUse, physical: tuple[int, ...]) -> Block:
        number = len(use.slots)
        alone = replace(use, qubits=tuple(range(len(physical))), slots=tuple(range(number)))
        program = Program(len(physical), (alone,), AngleMap.identity(number))
        # a higher level would take a swap for a change of names
        found = transpile_to(program, self.device, layout=physical, optimization_level=1)
        native, active = found.native, found.active
        place = [physical.index(q) for q in active]
        terms: list[list[tuple[int, float]]] = [[] for _ in range(native.angle_map.num_slots)]
        for slot, parameter, factor in native.angle_map.terms:
            terms[slot].append((parameter, factor))
        constants = native.angle_map.constants
        return tuple(
            NativeGate(
                gate.name,
                tuple(place[q] for q in gate.qubits),
                tuple((constants[s], tuple(terms[s])) for s in gate.slots),
            )
            for gate in native.gates
            if gate.name != "barrier"
        )

    def route(self, program: Program, layout: Sequence[int]) -> Routed:
        """Put a circuit together.

        Where the qubits of a gate are not coupled, the first one is swapped along the path of
        smallest total error, the one with smaller numbers if two are equal.

        Args:
            program: The logical circuit.
            layout: The device's qubit for each logical one.

        Raises:
            ValueError: No path between two qubits, an amplitude input, or gates on three qubits.
        """
        if program.prepare is not None:
            raise ValueError("blocks cannot load amplitudes: use gates, or transpile the circuit")
        at = list(layout)
        pieces: list[Piece] = []
        for use in program.gates:
            if use.name == "barrier":
                continue
            if len(use.qubits) == 2:
                a, b = use.qubits
                path = self._path(at[a], at[b])
                for here, there in pairwise(path[:-1]):
                    swap = GateUse("swap", (0, 1))
                    pieces.append(Piece(self.block(swap, (here, there)), (here, there), None))
                    at = [there if q == here else here if q == there else q for q in at]
            elif len(use.qubits) > 2:
                raise ValueError(f"blocks have one or two qubits, and {use.name} has more")
            physical = tuple(at[q] for q in use.qubits)
            pieces.append(Piece(self.block(use, physical), physical, use))
        return Routed(tuple(pieces), tuple(at))

    def _path(self, start: int, end: int) -> tuple[int, ...]:
        if (start, end) not in self._paths:
            self._paths[start, end] = _shortest(self._neighbours, start, end, self.device.name)
        return self._paths[start, end]

    def counts(self, routed: Routed) -> dict[str, float]:
        """What a circuit costs on the device, without simulating it.

        Returns:
            ``one_qubit_gates`` (without virtual ones), ``two_qubit_gates``, ``depth`` of both,
            ``duration_seconds`` of the gates, and ``success_probability``: the product of
            ``1 - error`` over gates and readout, which leaves out that errors can cancel.
        """
        one = two = 0
        success = 1.0
        depth: dict[int, int] = dict.fromkeys(routed.active, 0)
        clock: dict[int, float] = dict.fromkeys(routed.active, 0.0)
        for piece in routed.pieces:
            for gate in piece.block:
                qubits = tuple(piece.physical[k] for k in gate.on)
                calibration = self.device.gate(gate.name, qubits)
                if calibration is not None and calibration.is_virtual:
                    continue
                one, two = one + (len(qubits) == 1), two + (len(qubits) == 2)
                if calibration is not None:
                    success *= 1 - (calibration.error or 0.0)
                level = 1 + max(depth[q] for q in qubits)
                took = 0.0 if calibration is None else calibration.duration or 0.0
                end = took + max(clock[q] for q in qubits)
                for q in qubits:
                    depth[q], clock[q] = level, end
        for q in routed.layout:
            readout = self.device.readout[q]
            success *= 1.0 if readout is None else 1 - (readout[0] + readout[1]) / 2
        return {
            "one_qubit_gates": float(one),
            "two_qubit_gates": float(two),
            "depth": float(max(depth.values(), default=0)),
            "duration_seconds": max(clock.values(), default=0.0),
            "success_probability": success,
        }

    def program(self, logical: Program, routed: Routed) -> tuple[Program, Placement]:
        """The circuit as a program of the device, over the same inputs and weights.

        Returns:
            The program, and where it sits; together a task that no backend transpiles again.
        """
        position = {q: k for k, q in enumerate(routed.active)}
        gates: list[GateUse] = []
        sums: list[tuple[tuple[tuple[int, float], ...], float]] = []
        first = logical.angle_map.num_slots
        for piece in routed.pieces:
            slots = () if piece.use is None else piece.use.slots
            for gate in piece.block:
                own = []
                for constant, terms in gate.angles:
                    own.append(first + len(sums))
                    sums.append((tuple((slots[k], f) for k, f in terms), constant))
                on = tuple(position[piece.physical[k]] for k in gate.on)
                gates.append(GateUse(gate.name, on, tuple(own)))
        angle_map = _with_sums(logical.angle_map, sums)
        placed = Program(len(routed.active), tuple(gates), angle_map)
        measured = tuple(position[q] for q in routed.layout)
        return placed, Placement(routed.active, measured)


def _with_sums(
    angles: AngleMap, sums: Sequence[tuple[tuple[tuple[int, float], ...], float]]
) -> AngleMap:
    """More slots: each a constant and factors of the slots that there are."""
    assert angles.nonlinear is None, "blocks are for affine angles"
    by_slot: list[list[tuple[int, float]]] = [[] for _ in angles.constants]
    for slot, parameter, factor in angles.terms:
        by_slot[slot].append((parameter, factor))
    constants, terms = list(angles.constants), list(angles.terms)
    for parts, constant in sums:
        new = len(constants)
        total: dict[int, float] = {}
        for slot, factor in parts:
            constant += factor * angles.constants[slot]
            for parameter, inner in by_slot[slot]:
                total[parameter] = total.get(parameter, 0.0) + factor * inner
        constants.append(constant)
        terms += [(new, parameter, factor) for parameter, factor in total.items() if factor]
    return AngleMap(angles.inputs, angles.weights, tuple(constants), tuple(terms))


def _neighbours(device: Device) -> Mapping[int, Mapping[int, float]]:
    """For each qubit those that it is coupled to, with the smaller error of both directions."""
    found: dict[int, dict[int, float]] = {q: {} for q in range(device.num_qubits)}
    for a, b in device.coupling:
        errors = [
            gate.error
            for gate in device.gates
            if gate.qubits == (a, b) and not gate.is_dead and gate.error is not None
        ]
        for error in errors:
            for x, y in ((a, b), (b, a)):
                found[x][y] = min(error, found[x].get(y, 1.0))
    return found


def _shortest(
    neighbours: Mapping[int, Mapping[int, float]], start: int, end: int, name: str
) -> tuple[int, ...]:
    """The path with the fewest steps, of these the one with the smallest total error."""
    found: list[tuple[float, tuple[int, ...]]] = []
    queue: deque[tuple[float, tuple[int, ...]]] = deque([(0.0, (start,))])
    while queue:
        total, path = queue.popleft()
        if found and len(path) >= len(found[0][1]):
            break
        for nearby, error in neighbours[path[-1]].items():
            if nearby == end:
                found.append((total + error, (*path, end)))
            elif nearby not in path:
                queue.append((total + error, (*path, nearby)))
    if not found:
        raise ValueError(
            f"qubits {start} and {end} of {name} are not connected by edges that work: choose "
            "another layout"
        )
    return min(found)[1]
