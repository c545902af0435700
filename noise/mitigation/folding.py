"""Folding: a circuit that does the same with more gates, and so with more noise.

A gate G becomes ``G (G^-1 G)^k``, which has ``2 k + 1`` times its noise. It is done on programs,
whose angles are symbols: once per structure, whatever the number of samples, and with inverses that
consist of the gate itself and rz (`nisqkit.circuits.inverse`), so that a device's circuit stays
one, on the same qubits.

Source: Giurgica-Tiron et al., Digital zero noise extrapolation, QCE 2020 (arXiv:2005.10921).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nisqkit.circuits.inverse import inverse
from nisqkit.circuits.names import unknown
from nisqkit.circuits.program import GateUse, Program

from .layers import chunks, layers_of

METHODS = ("global", "gates")


def fold(
    program: Program,
    scale: float,
    method: str = "global",
    gates: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
) -> Program:
    """The same circuit with its gates repeated, about ``scale`` times as many.

    Odd scales are reached exactly: ``3`` is ``G G^-1 G`` everywhere. In between, a part of the
    circuit is folded once more: its end for ``"global"``, evenly spread gates for ``"gates"``, such
    that the number of two-qubit gates (of all gates, where there are none) is as near to the scale
    as it can be; `folded_scale` says how near. The initial amplitudes of `Program.prepare` are
    loaded once.

    The result is kept with the program (`Program.cache`).

    Args:
        program: The circuit. Its qubits, inputs and weights stay what they are.
        scale: At least 1, which is the circuit itself.
        method: ``"global"`` folds the circuit as a whole, ``"gates"`` each gate on its own.
        gates: With ``"gates"``: names of the gates to fold; ``None`` for all. The scale is that of
            their number.
        layers: With ``"gates"``: numbers of the layers to fold (`layers_of`, from 0); ``None`` for
            all.

    Raises:
        ValueError: A scale below 1, an unknown method, names or layers with ``"global"``, names of
            gates or numbers of layers that the circuit does not have, or no gate of these names in
            these layers.

    Example:
        >>> from nisqkit.circuits import hardware_efficient, lower
        >>> program = lower(hardware_efficient(2, layers=1))
        >>> [use.name for use in program.gates]
        ['ry', 'rz', 'ry', 'rz', 'cx']
        >>> folded = fold(program, 3, "gates", gates=["cx"])
        >>> [use.name for use in folded.gates]
        ['ry', 'rz', 'ry', 'rz', 'cx', 'cx', 'cx']
        >>> fold(program, 3).num_gates
        15
    """
    names = None if gates is None else tuple(gates)
    numbers = None if layers is None else tuple(layers)
    _check(program, scale, method, names, numbers)
    if scale == 1:
        return program
    key = fold, float(scale), method, names, numbers
    if key not in program.cache:
        program.cache[key] = _fold(program, float(scale), method, names, numbers)
    found: Program = program.cache[key]
    return found


def fold_chunks(program: Program, folds: Sequence[int]) -> Program:
    """The same circuit with each of its `chunks` C as ``C (C^-1 C)^k``; kept with the program.

    Args:
        program: The circuit.
        folds: k of each chunk; its length is the number of chunks.

    Raises:
        ValueError: As `chunks`.

    Example:
        >>> from nisqkit.circuits import hardware_efficient, lower
        >>> program = lower(hardware_efficient(3, layers=1))
        >>> [use.name for use in fold_chunks(program, [0, 1]).gates][6:]
        ['cx', 'cx', 'cx', 'cx', 'cx', 'cx', 'cx']
    """
    key = fold_chunks, tuple(folds)
    if key not in program.cache:
        writer = _Writer(program)
        for chunk, number in zip(chunks(program, len(folds)), folds, strict=True):
            writer.forward(chunk)
            for _ in range(number):
                writer.backward(chunk)
                writer.forward(chunk)
        program.cache[key] = writer.done()
    found: Program = program.cache[key]
    return found


def folded_scale(program: Program, folded: Program, gates: Sequence[str] | None = None) -> float:
    """How many times as many gates the folded circuit has.

    Two-qubit gates are counted, or those named by ``gates``; all gates where there are none.

    Example:
        >>> from nisqkit.circuits import hardware_efficient, lower
        >>> program = lower(hardware_efficient(3, layers=1))  # 3 CX
        >>> round(folded_scale(program, fold(program, 2, "gates")), 3)
        2.333
    """
    names = None if gates is None else tuple(gates)
    counted = _counted(_chosen(program, names, None), names)
    kinds = {(use.name, len(use.qubits)) for use in counted}
    after = sum((use.name, len(use.qubits)) in kinds for use in folded.gates)
    return after / len(counted) if counted else 1.0


def _check(
    program: Program,
    scale: float,
    method: str,
    names: tuple[str, ...] | None,
    numbers: tuple[int, ...] | None,
) -> None:
    if method not in METHODS:
        raise ValueError(unknown("folding", method, METHODS))
    if not 1 <= scale < np.inf:
        raise ValueError(
            f"scale is {scale}: give a number of at least 1; folding only adds noise, and 1 is the "
            "circuit itself"
        )
    given = {"gates": names, "layers": numbers}
    for word, chosen in given.items():
        if chosen is not None and method == "global":
            raise ValueError(
                f"{word}={list(chosen)} goes with folding='gates': 'global' folds the whole circuit"
            )
    present = {use.name for use in program.gates}
    if missing := [name for name in names or () if name not in present]:
        raise ValueError(unknown("gate of the circuit", missing[0], sorted(present)))
    if numbers is None:
        return
    depth = len(layers_of(program))
    if strange := [number for number in numbers if not 0 <= number < depth]:
        raise ValueError(
            f"layers={list(numbers)} has {strange[0]}, and the circuit has the layers 0 to "
            f"{depth - 1}"
        )
    if not _chosen(program, names, numbers):
        raise ValueError(f"there are no gates {list(names or ())} in the layers {list(numbers)}")


def _chosen(
    program: Program, names: tuple[str, ...] | None, numbers: tuple[int, ...] | None
) -> list[GateUse]:
    """The gates with these names, in these layers."""
    uses = program.gates
    if numbers is not None:
        every = layers_of(program)
        inside = {id(use) for number in numbers for use in every[number]}
        uses = tuple(use for use in uses if id(use) in inside)
    return [use for use in uses if use.name != "barrier" and (names is None or use.name in names)]


def _counted(uses: list[GateUse], names: tuple[str, ...] | None) -> list[GateUse]:
    """The gates whose number is scaled."""
    if names is not None:
        return uses
    return [use for use in uses if len(use.qubits) > 1] or uses


def _fold(
    program: Program,
    scale: float,
    method: str,
    names: tuple[str, ...] | None,
    numbers: tuple[int, ...] | None,
) -> Program:
    writer = _Writer(program)
    chosen = _chosen(program, names, numbers)
    folded = {id(use) for use in chosen}
    counted = {id(use) for use in _counted(chosen, names)}
    whole, part = divmod((scale - 1) / 2, 1)
    extra = round(part * len(counted))  # counted gates that are folded once more
    if method == "global":
        uses = list(program.gates)
        last = _ending(uses, counted, extra)
        for _ in range(int(whole)):
            writer.forward(uses)
            writer.backward(uses)
        writer.forward(uses)
        writer.backward(uses[last:])
        writer.forward(uses[last:])
        return writer.done()
    number = 0  # of counted gates so far
    for use in program.gates:
        if id(use) in folded:
            # spread evenly over the counted gates; the others go with the next one of these
            share = extra / max(1, len(counted))
            more = int((number + 1) * share) - int(number * share)
            number += id(use) in counted
            for _ in range(int(whole) + more):
                writer.forward([use])
                writer.backward([use])
        writer.forward([use])
    return writer.done()


def _ending(uses: list[GateUse], counted: set[int], extra: int) -> int:
    """Where the last ``extra`` counted gates begin."""
    if extra == 0:
        return len(uses)
    places = [k for k, use in enumerate(uses) if id(use) in counted]
    return places[-extra]


class _Writer:
    """Writes gates of a program, forwards and backwards; every use has angles of its own."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.gates: list[GateUse] = []
        self.copies: list[tuple[int, float, float]] = []
        self.written: set[int] = set()

    def forward(self, uses: Sequence[GateUse]) -> None:
        """The gates as they are."""
        for use in uses:
            if use.name == "barrier":
                self.gates.append(use)
                continue
            slots = use.slots
            if id(use) in self.written:  # a shift of one slot must move one gate only
                slots = tuple(self._slot(slot, 1.0, 0.0) for slot in use.slots)
            self.written.add(id(use))
            self.gates.append(replace(use, slots=slots))

    def backward(self, uses: Sequence[GateUse]) -> None:
        """The gates undone, the last one first."""
        for use in reversed(uses):
            if use.name == "barrier":
                continue
            for part in inverse(use):
                slots = tuple(
                    self._slot(use.slots[k] if factor else 0, factor, constant)
                    for k, factor, constant in part.angles
                )
                self.gates.append(
                    GateUse(part.name, part.qubits, slots, part.matrix, use.group, use.tags)
                )

    def _slot(self, source: int, factor: float, constant: float) -> int:
        self.copies.append((source, factor, constant))
        return self.program.angle_map.num_slots + len(self.copies) - 1

    def done(self) -> Program:
        """The program of what was written."""
        angles = self.program.angle_map.extended(self.copies)
        return replace(self.program, gates=tuple(self.gates), angle_map=angles)
