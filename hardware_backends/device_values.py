"""Noisy values of many sub-circuits at once, exactly, without transpiling or simulating each.

Observables are carried backwards through the circuit (Heisenberg picture) as real Pauli vectors: a
handful of them, instead of one state per sample. Every gate is the Pauli transfer matrix of its
native block with the device's noise. With the weights fixed, as in a search that inherits them from
a SuperCircuit, these matrices are the same in every sub-circuit, and are made once per gate and
place. The encoder's gates act on one qubit each, so that its states are products, made once per
qubit and place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import GateUse, Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.native_blocks import Block, NativeBlocks, Piece, Routed
from nisqkit.noise.channels import total_ptm
from nisqkit.noise.model import NoiseModel
from nisqkit.noise.pauli_basis import paulis

FloatArray = NDArray[np.float64]
WIDEST = 7
"""Most qubits in use for which values are computed so."""


class DeviceValues:
    """Noisy values of sub-circuits of one program, for fixed inputs and weights.

    Args:
        program: The SuperCircuit with its encoder; a sub-circuit is a mask over its groups.
        noise: Noise of a device, without idle noise.
        inputs: Shape ``(samples, num_inputs)``.
        weights: Shape ``(num_weights,)``; they count as constants.
        observables: What to measure. Bases other than Z are measured as on a device: each by a
            circuit of its own, with noisy rotations at its end.
        blocks: Blocks of the device, to share them; made if left out.

    Raises:
        ValueError: Noise without a device or with idle noise, or all probabilities as observables.

    Example:
        >>> from nisqkit.circuits import angle, lower, u3_cu3
        >>> from nisqkit.noise import Device
        >>> program = lower(angle(2).compose(u3_cu3(2, blocks=2)), inputs="x")
        >>> model = NoiseModel.from_device(Device.load("fake_santiago"))
        >>> weights = torch.linspace(-1, 1, len(program.weights))
        >>> values = DeviceValues(program, model, torch.rand(5, 2), weights)
        >>> masks = [[True] * program.num_groups, [True] * 5 + [False] * 3]
        >>> [tuple(v.shape) for v in values.of(masks, layouts=[(0, 1), (3, 2)])]
        [(5, 2), (5, 2)]
    """

    def __init__(
        self,
        program: Program,
        noise: NoiseModel,
        inputs: Tensor,
        weights: Tensor,
        observables: Observables | None = None,
        blocks: NativeBlocks | None = None,
    ) -> None:
        if noise.device is None:
            raise ValueError(
                f"{noise.name} is no noise of a device: use NoiseModel.from_device(...)"
            )
        if noise.idle is not None:
            raise ValueError(
                f"{noise.name} has idle noise, which depends on the whole circuit: use "
                "NoiseModel.from_device(device), without idle=True"
            )
        self.program, self.noise = program, noise
        self.inputs, self.weights = inputs, weights
        self.observables = observables or Observables.parse(None, program.num_qubits)
        if self.observables.sums is None:
            raise ValueError("observables are Pauli strings or sums of them here, not 'probs'")
        self.blocks = blocks or NativeBlocks(noise.device)
        with torch.no_grad():
            self.angles: FloatArray = program.angles(inputs, weights).double().numpy()
        batched = set(program.angle_map.batched_slots)
        self._encoding = [bool(batched.intersection(use.slots)) for use in program.gates]
        self._place = {id(use): k for k, use in enumerate(program.gates)}
        self._matrices: dict[tuple[int, tuple[int, ...]], FloatArray] = {}
        self._states: dict[tuple[tuple[int, ...], int], FloatArray] = {}
        # what depends on the noise alone is shared by all that share the blocks
        known = self.blocks.cache.setdefault(noise, ({}, {}))
        self._constant: dict[tuple[str, tuple[int, ...]], FloatArray] = known[0]
        self._noises: dict[tuple[str, tuple[int, ...]], FloatArray | None] = known[1]

    def of(self, masks: Sequence[Sequence[bool]], layouts: Sequence[Sequence[int]]) -> list[Tensor]:
        """Values of sub-circuits, each ``(samples, num_outputs)``.

        Args:
            masks: As for `Program.select`.
            layouts: For each mask, the device's qubit of every logical one.
        """
        return [
            self.of_routed(self.blocks.route(self.program.select(mask), layout))
            for mask, layout in zip(masks, layouts, strict=True)
        ]

    def of_routed(self, routed: Routed) -> Tensor:
        """Values of a sub-circuit that `blocks` has routed."""
        encoder = self._encoder(routed)
        if encoder is None or len(routed.active) > WIDEST:
            return self._slowly(routed)
        states, rest = encoder
        vectors: FloatArray = np.zeros(0)
        for k, (basis, members) in enumerate(self.observables.groups):
            measured = self._observed(routed, members)
            for piece in reversed(self._rotations(basis, routed)):
                measured = self._before(piece, measured, routed)
            vectors = measured if k == 0 else vectors + measured
        for piece in reversed(rest):
            vectors = self._before(piece, vectors, routed)
        return torch.tensor(self._contracted(vectors, states, routed), dtype=self.inputs.dtype)

    def _before(self, piece: Piece, vectors: FloatArray, routed: Routed) -> FloatArray:
        axes = [routed.active.index(q) for q in piece.physical]
        return _backwards(vectors, self._matrix(piece), axes)

    def _rotations(self, basis: str, routed: Routed) -> list[Piece]:
        """The gates that turn a measurement basis to Z."""
        found = []
        for q, letter in enumerate(reversed(basis)):
            for name in {"X": ("h",), "Y": ("sdg", "h")}.get(letter, ()):
                use, physical = GateUse(name, (q,), tags=("basis",)), (routed.layout[q],)
                found.append(Piece(self.blocks.block(use, physical), physical, use))
        return found

    def _encoder(self, routed: Routed) -> tuple[dict[int, FloatArray], list[Piece]] | None:
        """States of the qubits after the encoder, and the pieces that follow.

        The encoder is what comes first and acts on single qubits; None if inputs are elsewhere too.
        """
        chains: dict[int, list[Piece]] = {q: [] for q in routed.active}
        rest: list[Piece] = []
        touched: set[int] = set()
        for piece in routed.pieces:
            qubit, *others = piece.physical
            encoding = piece.use is not None and self._encoding[self._place[id(piece.use)]]
            if not encoding:
                touched.update(piece.physical)
                rest.append(piece)
            elif others or qubit in touched:
                return None
            else:
                chains[qubit].append(piece)
        return {q: self._state(q, chain) for q, chain in chains.items()}, rest

    def _state(self, physical: int, chain: Sequence[Piece]) -> FloatArray:
        """Pauli vectors of one qubit after its part of the encoder, ``(samples, 4)``."""
        uses = tuple(self._place[id(piece.use)] for piece in chain)
        key = uses, physical
        if key not in self._states:
            state: FloatArray = np.zeros((len(self.angles), 4, 1))
            state[:, [0, 3]] = 1.0
            for piece in chain:
                assert piece.use is not None
                matrices = self._of_block(
                    piece.block, self.angles[:, piece.use.slots], piece.physical
                )
                state = matrices @ state
            self._states[key] = state[:, :, 0]
        return self._states[key]

    def _matrix(self, piece: Piece) -> FloatArray:
        """The Pauli transfer matrix of a piece; of all gates of its kind, made together."""
        if piece.use is None or id(piece.use) not in self._place:  # a swap, or a rotation
            named = "swap" if piece.use is None else piece.use.name, piece.physical
            if named not in self._constant:
                none = np.zeros((1, 0))
                self._constant[named] = self._of_block(piece.block, none, piece.physical)[0]
            return self._constant[named]
        key = self._place[id(piece.use)], piece.physical
        if key not in self._matrices:
            alike = [
                k
                for k, use in enumerate(self.program.gates)
                if (use.name, use.matrix) == (piece.use.name, piece.use.matrix)
                and not self._encoding[k]
            ]
            slots = np.array([self.program.gates[k].slots for k in alike], dtype=int)
            angles = self.angles[0][slots] if slots.size else np.zeros((len(alike), 0))
            made = self._of_block(piece.block, angles, piece.physical)
            for k, matrix in zip(alike, made, strict=True):
                self._matrices[k, piece.physical] = matrix
        return self._matrices[key]

    def _of_block(self, block: Block, angles: FloatArray, physical: Sequence[int]) -> FloatArray:
        """Matrices of a block with its noise, for rows of angles: ``(rows, 4**k, 4**k)``."""
        k = len(physical)
        total = np.broadcast_to(np.eye(4**k), (len(angles), 4**k, 4**k))
        for gate in block:
            columns = [
                constant + sum(factor * angles[:, n] for n, factor in terms) + np.zeros(len(angles))
                for constant, terms in gate.angles
            ]
            values = np.stack(columns, axis=1) if columns else np.zeros((1, 0))
            record = GateUse(gate.name, gate.on).gate
            own = ptm_of_unitary(record.matrix(torch.from_numpy(values)).numpy())
            noise = self._noise(gate.name, tuple(physical[n] for n in gate.on))
            if noise is not None:
                own = noise @ own
            if gate.on != tuple(range(k)):
                own = _embedded(own, gate.on, k)
            total = own @ total
        return np.ascontiguousarray(total)

    def _noise(self, name: str, physical: tuple[int, ...]) -> FloatArray | None:
        key = name, physical
        if key not in self._noises:
            found = self.noise.noise_after(name, physical)
            if found is None:
                raise ValueError(f"{self.noise.name} has no noise for {name} on {physical}")
            parts = [(noise.channel, noise.on) for noise in found]
            self._noises[key] = np.asarray(total_ptm(parts, len(physical))) if parts else None
        return self._noises[key]

    def _observed(self, routed: Routed, members: Sequence[int]) -> FloatArray:
        """Strings of one basis before readout: one axis of 4 per active qubit, one of outputs."""
        width, outputs = len(routed.active), self.observables.num_outputs
        found = np.zeros((4,) * width + (outputs,))
        strings = self.observables.strings
        for k in members:
            column, string = self.observables.coefficients[:, k], strings[k]
            term = np.ones((1,) * width)
            read = {routed.layout[q] for q, letter in enumerate(reversed(string)) if letter != "I"}
            for axis, q in enumerate(routed.active):
                row = self._read(q) if q in read else np.array([1.0, 0, 0, 0])
                term = term * row.reshape((1,) * axis + (4,) + (1,) * (width - 1 - axis))
            found += term[..., None] * column
        return found

    def _read(self, physical: int) -> FloatArray:
        """Z of a qubit as its readout shows it: an offset, and a factor of Z."""
        (confusion, *_) = [*self.noise.readout_of([physical]), None]
        if confusion is None:
            return np.array([0.0, 0, 0, 1.0])
        if len(confusion.qubits) > 1:
            raise ValueError("readout errors that qubits have together are not supported here")
        matrix = np.asarray(confusion.matrix)
        zero, one = matrix[0, 0] - matrix[1, 0], matrix[0, 1] - matrix[1, 1]
        return np.array([(zero + one) / 2, 0, 0, (zero - one) / 2])

    def _contracted(
        self, vectors: FloatArray, states: dict[int, FloatArray], routed: Routed
    ) -> FloatArray:
        """The vectors on the states of the encoder, ``(samples, outputs)``."""
        samples = len(self.angles)
        left = vectors.reshape(1, -1)
        for q in routed.active:
            rows = left.reshape(len(left), 4, -1)
            if len(left) == 1:
                left = states[q] @ rows[0]
            else:
                left = np.einsum("si,sir->sr", states[q], rows)
        return np.broadcast_to(left, (samples, left.shape[1]))

    def _slowly(self, routed: Routed) -> Tensor:
        """The same by the density engine: for wide circuits, and encoders that entangle."""
        tasks = []
        for basis, members in self.observables.groups:
            pieces = (*routed.pieces, *self._rotations(basis, routed))
            program, placement = self.blocks.program(self.program, replace(routed, pieces=pieces))
            measured = _as_z(self.observables, members)
            tasks.append(Task(program, self.inputs, self.weights, measured, placement=placement))
        with torch.no_grad():
            results = execute(tasks, Execution(noise=self.noise))
        return torch.stack([result.values for result in results]).sum(dim=0)


def _as_z(observables: Observables, members: Sequence[int]) -> Observables:
    """Some of the strings with Z for every letter, as they are read after rotations."""
    assert observables.sums is not None
    n = observables.num_qubits
    kept = {observables.strings[k] for k in members}
    sums = tuple(
        tuple((re.sub("[XY]", "Z", s), c) for s, c in terms if s in kept) or (("I" * n, 0.0),)
        for terms in observables.sums
    )
    return Observables(n, sums)


def ptm_of_unitary(unitaries: NDArray[np.complex128]) -> FloatArray:
    """Pauli transfer matrices of unitaries.

    Args:
        unitaries: Shape ``(..., 2**k, 2**k)``, the first qubit least significant.

    Returns:
        Shape ``(..., 4**k, 4**k)``; entry ``[i, j]`` is ``tr(P_i U P_j U^+) / 2**k``.
    """
    dim = unitaries.shape[-1]
    every = paulis(dim.bit_length() - 1)
    moved = unitaries[..., None, :, :] @ every @ unitaries.conj().swapaxes(-1, -2)[..., None, :, :]
    # tr(P_i M_j) as a product of flattened matrices
    flat = every.swapaxes(-1, -2).reshape(len(every), -1)
    found = moved.reshape(*moved.shape[:-2], -1) @ flat.T
    return np.ascontiguousarray(found.real.swapaxes(-1, -2)) / dim


def _embedded(matrices: FloatArray, on: Sequence[int], num_qubits: int) -> FloatArray:
    """Matrices on one qubit, or on two in another order, as ones on two."""
    if len(on) == 1:
        shape = (*matrices.shape[:-2], 16, 16)
        pattern = "...ij,kl->...kilj" if on[0] == 0 else "...ij,kl->...ikjl"
        return np.asarray(np.einsum(pattern, matrices, np.eye(4)).reshape(shape), np.float64)
    assert tuple(on) == (1, 0) and num_qubits == 2
    split = matrices.reshape(*matrices.shape[:-2], 4, 4, 4, 4)
    return split.swapaxes(-4, -3).swapaxes(-2, -1).reshape(matrices.shape)


def _backwards(vectors: FloatArray, matrix: FloatArray, axes: Sequence[int]) -> FloatArray:
    """Observables before a gate: the transposed matrix on the axes of its qubits."""
    # the first qubit is the least significant digit of a row
    there = list(reversed(axes))
    split = matrix.reshape((4,) * (2 * len(axes)))
    moved = np.tensordot(split, vectors, axes=(list(range(len(axes))), there))
    return np.asarray(np.moveaxis(moved, list(range(len(axes))), there), np.float64)
