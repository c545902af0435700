"""Matrices of the torch engine: all of a program's at once, in a number of calls that stays small.

Angles become factors, factors become the matrices of blocks, and these the matrices of windows.
Each stage picks its numbers from the one before (so a matrix on one qubit becomes one on four), and
multiplies all products of the same size and length together, as a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nisqkit.hardware_backends.native.schedule import CX, CZ, Block
from nisqkit.hardware_backends.torch_windows import Window

Index = NDArray[np.int64]

ZERO, UNIT, MINUS = -3, -2, -1
"""Numbers that can be picked without being computed; they stand behind those that are."""


class Constants:
    """Arrays as tensors: made once for each device and dtype, and never by a step."""

    def __init__(self, **arrays: NDArray[Any]) -> None:
        self._arrays = arrays
        self._made: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}

    def on(self, like: Tensor) -> dict[str, Tensor]:
        """All arrays on the device of a tensor; in its precision, unless they are integers."""
        dtype = like.dtype.to_real()
        key = (like.device, dtype)
        if key not in self._made:
            kinds = {"i": torch.int64, "f": dtype, "c": dtype.to_complex()}
            with torch.inference_mode(False):  # what is cached must serve autograd later
                self._made[key] = {
                    name: torch.tensor(array, dtype=kinds[array.dtype.kind], device=like.device)
                    for name, array in self._arrays.items()
                }
        return self._made[key]


class _Pick(torch.autograd.Function):
    """``numbers[..., index]``; its gradient picks too: sums in a fixed order, without atomics."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, extra: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.inverse = inverse
        rows = extra.expand(*numbers.shape[:-1], -1)
        return torch.cat([numbers, rows], dim=-1).index_select(-1, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inverse = ctx.inverse
        padded = torch.nn.functional.pad(grads[0], (0, 1))
        picked = padded.index_select(-1, inverse.flatten())
        return picked.reshape(*padded.shape[:-1], *inverse.shape).sum(-1), None, None, None


def _inverse(index: Index, count: int) -> Index:
    """For each of ``count`` numbers the places that pick it, filled up with ``len(index)``."""
    order = np.argsort(index, kind="stable")
    order = order[index[order] < count]
    picked = index[order]
    uses = np.bincount(picked, minlength=count)
    first = np.cumsum(uses) - uses
    table = np.full((count, max(1, uses.max(initial=0))), len(index))
    table[picked, np.arange(len(picked)) - first[picked]] = order
    return table


class Picker:
    """Picks from computed numbers and from `ZERO`, `UNIT`, `MINUS`, which are negative indices."""

    def __init__(self, index: Index, count: int) -> None:
        index = np.where(index < 0, count + 3 + index, index)
        self._constants = Constants(
            extra=np.array([0.0, 1.0, -1.0]), index=index, inverse=_inverse(index, count)
        )

    def __call__(self, numbers: Tensor) -> Tensor:
        """From shape ``(..., count)`` to ``(..., len(index))``."""
        made = self._constants.on(numbers)
        extra = made["extra"].to(numbers.dtype)
        picked: Tensor = _Pick.apply(numbers, extra, made["index"], made["inverse"])  # type: ignore[no-untyped-call]
        return picked


class _Group(NamedTuple):
    """Products of ``2**levels`` matrices ``(dim, dim)`` each, and where their numbers lie."""

    first: int
    last: int
    products: int
    levels: int
    dim: int


class Products:
    """Products of matrices whose entries are picked from a list of numbers.

    Args:
        products: For each product, the index of every entry of each of its matrices, the first one
            applied first; see `Picker`.
        count: How many numbers there are to pick from.

    Attributes:
        places: Group and row of each product.
        starts: Where each product begins when all are written one after another.
        size: Length of all products together.
    """

    def __init__(self, products: Sequence[Sequence[Index]], count: int) -> None:
        members: dict[tuple[int, int], list[int]] = {}
        for k, length in enumerate(_padded_lengths(products)):
            members.setdefault((len(products[k][0]), length), []).append(k)
        self._groups: list[_Group] = []
        self.places = [(0, 0)] * len(products)
        self.starts = [0] * len(products)
        self.size = 0
        parts: list[Index] = []
        first = 0
        for number, ((dim, length), found) in enumerate(members.items()):
            for row, k in enumerate(found):
                self.places[k], self.starts[k] = (number, row), self.size
                self.size += dim * dim
                parts += products[k]
                parts += [diagonal(dim)] * (length - len(products[k]))
            last = first + len(found) * length * dim * dim
            self._groups.append(_Group(first, last, len(found), length.bit_length() - 1, dim))
            first = last
        self._picker = Picker(np.concatenate([np.zeros(0, np.int64), *map(np.ravel, parts)]), count)

    def __call__(self, numbers: Tensor) -> list[Tensor]:
        """For each group its products, ``(..., products, dim, dim)``."""
        picked, found = self._picker(numbers), []
        lead = numbers.shape[:-1]
        for first, last, count, levels, dim in self._groups:
            matrices = lead.numel() * count << levels
            product = picked[..., first:last].reshape(matrices, dim, dim)
            for _ in range(levels):
                even, odd = product.view(len(product) // 2, 2, dim, dim).unbind(1)
                product = torch.bmm(odd, even)
            found.append(product.view(*lead, count, dim, dim))
        return found


def _padded_lengths(products: Sequence[Sequence[Index]]) -> list[int]:
    """A power of two for each product; the same for all of one size, if few are much shorter."""
    lengths = [1 << (len(matrices) - 1).bit_length() for matrices in products]
    for dim in {len(matrices[0]) for matrices in products}:
        same = [k for k, matrices in enumerate(products) if len(matrices[0]) == dim]
        longest = max(lengths[k] for k in same)
        if longest * len(same) <= 4 * sum(lengths[k] for k in same):
            for k in same:
                lengths[k] = longest
    return lengths


def diagonal(dim: int) -> Index:
    """The identity, as indices for `Picker`."""
    return np.where(np.eye(dim, dtype=bool), UNIT, ZERO)


def _block_factors(block: Block, number: int, width: int) -> list[Index]:
    """A block's factors as matrices of its size; the first one's entries begin at ``number``."""
    matrices = []
    for k, factor in enumerate(block.factors):
        start, dim = (number + k) * width, 2 ** len(block.qubits)
        matrix = diagonal(dim)
        for rows in factor.pairs:
            matrix[np.ix_(rows, rows)] = start + np.arange(4).reshape(2, 2)
        matrices.append(matrix if factor.pairs else start + np.arange(dim * dim).reshape(dim, dim))
    return matrices


_CX = np.where(np.eye(4, dtype=bool)[[0, 3, 2, 1]], UNIT, ZERO)
_CZ = np.where(np.diag([0, 0, 0, 1]).astype(bool), MINUS, diagonal(4))


def _widened(block: Block, start: int | None, window: Window) -> Index:
    """A block as a matrix on the window's qubits; its entries begin at ``start``."""
    small = 2 ** len(block.qubits)
    if start is None:
        entries = {CX: _CX, CZ: _CZ}[block.kind]
    else:
        entries = start + np.arange(small * small).reshape(small, small)
    states = np.arange(2 ** len(window.qubits))
    bits = [len(window.qubits) - 1 - window.qubits.index(q) for q in block.qubits]
    inside = np.zeros_like(states)
    for k, bit in enumerate(bits):
        inside |= ((states >> bit) & 1) << k
    outside = states & ~sum(1 << bit for bit in bits)
    same = outside[:, None] == outside[None, :]
    return np.where(same, entries[inside[:, None], inside[None, :]], ZERO)


class Matrices:
    """The matrices of some windows as a function of angles.

    Args:
        windows: Windows that share their matrices, or of which each sample has its own.
        slots: The program's slots whose angles are given, in this order.

    Attributes:
        places: Group and row of each window's matrix.
        num_groups: Number of groups.
    """

    def __init__(self, windows: Sequence[Window], slots: Sequence[int]) -> None:
        blocks = [b for w in windows for b in w.blocks if b.kind not in (CX, CZ)]
        factors = [f for b in blocks for f in b.factors]
        width = max((f.matrices[0].size for f in factors), default=4)
        table = np.zeros((3, len(factors), width), complex)
        for k, factor in enumerate(factors):
            for c, matrix in enumerate(factor.matrices):
                table[c, k, : matrix.size] = matrix.ravel()
        column = {slot: k for k, slot in enumerate(slots)}
        self._constants = Constants(
            c0=table[0],
            c1=table[1],
            c2=table[2],
            frequency=np.array([f.frequency for f in factors], dtype=float),
        )
        picked = [column[f.slot] if f.slot >= 0 else ZERO for f in factors]
        self._angles = Picker(np.array(picked, dtype=np.int64), len(slots))
        number, products = 0, []
        for block in blocks:
            products.append(_block_factors(block, number, width))
            number += len(block.factors)
        self._blocks = Products(products, len(factors) * width)
        start = {id(b): s for b, s in zip(blocks, self._blocks.starts, strict=True)}
        wide = [[_widened(b, start.get(id(b)), w) for b in w.blocks] for w in windows]
        self._windows = Products(wide, self._blocks.size)
        self.places = self._windows.places
        self.num_groups = len({group for group, _ in self.places})

    def __call__(self, angles: Tensor) -> list[Tensor]:
        """From angles ``(..., len(slots))`` to groups of matrices ``(..., windows, dim, dim)``."""
        if not self.places:
            return []
        made = self._constants.on(angles)
        waves = made["frequency"] * self._angles(angles)
        cos, sin = waves.cos()[..., None], waves.sin()[..., None]
        factors = (made["c0"] + cos * made["c1"] + sin * made["c2"]).flatten(-2)
        blocks = self._blocks(factors)
        numbers = [matrices.flatten(-3) for matrices in blocks]
        return self._windows(torch.cat(numbers, dim=-1) if numbers else factors)
