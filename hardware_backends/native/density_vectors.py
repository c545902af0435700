"""Vector operations on Pauli vectors, rows of 16 lanes, as LLVM code for Numba.

As in ``vectors.py``: rows are read before any is written, every multiply-add is one rounding, and
nothing is reordered. The Pauli vector of ``n`` qubits is ``4**n`` rows; qubit ``q`` is the digit
at the bits ``2 q`` and ``2 q + 1`` of the row (I, X, Y, Z = 0, 1, 2, 3). A *group* is the rows that
differ in the digits of an operation's qubits alone.

Matrices are given as rows too, one per entry, without the matrix's first row, which is
``(1, 0, ..., 0)`` as traces are preserved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils

from nisqkit.hardware_backends.native.vectors import _intrinsic, _Vectors, intrinsic

NO_DIGIT = 60
"""In place of a second digit's bit: higher than any row."""


def _base(b: Any, group: Any, bits: Sequence[Any]) -> Any:
    """The row of a group on which its digits are zero; ``bits`` in ascending order."""
    one, two = ir.Constant(group.type, 1), ir.Constant(group.type, 2)
    row = group
    for bit in bits:
        low = b.sub(b.shl(one, bit), one)
        row = b.or_(b.shl(b.and_(row, b.not_(low)), two), b.and_(row, low))
    return row


def _sorted(b: Any, one: Any, two: Any) -> tuple[Any, Any]:
    less = b.icmp_signed("<", one, two)
    return b.select(less, one, two), b.select(less, two, one)


def _digits(b: Any, first: Any, second: Any) -> list[Any]:
    """How far the 16 rows of a group on two qubits are from its base."""
    kind = first.type
    ones = [b.shl(ir.Constant(kind, d), first) for d in range(4)]
    twos = [b.shl(ir.Constant(kind, d), second) for d in range(4)]
    return [b.add(one, two) for two in twos for one in ones]


def _numbers(v: _Vectors, t: Any, array: Any, row: Any, width: int) -> list[Any]:
    """A row of an integer array with ``width`` columns."""
    data = v.context.make_array(t)(v.context, v.builder, array).data
    first = v.builder.mul(row, ir.Constant(row.type, width))
    places = [v.builder.add(first, ir.Constant(first.type, k)) for k in range(width)]
    return [v.builder.load(v.builder.gep(data, [place])) for place in places]


def _entry(v: _Vectors, t: Any, array: Any, at: Any, entry: int) -> Any:
    return v.load(v.row(t, array, v.builder.add(at, ir.Constant(at.type, entry))))


def _product(v: _Vectors, columns: Sequence[tuple[Any, Any]], start: Any = None) -> Any:
    """``start + sum_k u_k x_k``, one multiply-add after the other."""
    for u, x in columns:
        start = v.mul(u, x) if start is None else v.fma(u, x, start)
    return start


def _turn(transposed: bool) -> Any:
    def write(v: _Vectors, a: Any, t: Any) -> None:
        b, bit = v.builder, a[3]
        m = [[_entry(v, t[4], a[4], a[5], 4 * r + c) for c in range(4)] for r in range(3)]
        steps = [b.shl(ir.Constant(bit.type, d), bit) for d in range(4)]
        with cgutils.for_range(b, a[2]) as loop:
            base = _base(b, loop.index, [bit])
            rows = [b.add(base, step) for step in steps]
            x = [v.load(v.row(t[1], a[1], row)) for row in rows]
            if transposed:
                z = [
                    _product(v, [(m[r][c], x[r + 1]) for r in range(3)], None if c else x[0])
                    for c in range(4)
                ]
            else:
                z = [x[0]] + [_product(v, list(zip(m[r], x, strict=True))) for r in range(3)]
            for value, row in zip(z, rows, strict=True):
                v.store(value, v.row(t[0], a[0], row))

    return _intrinsic(write)


@intrinsic
def turn(tc, z, x, groups, bit, m, at):  # type: ignore[no-untyped-def]
    """``z = M x`` on the digit at ``bit``: the 3x4 matrix in rows ``at ... at + 11`` of ``m``."""
    return _turn(False)(tc, z, x, groups, bit, m, at)


@intrinsic
def turn_back(tc, z, x, groups, bit, m, at):  # type: ignore[no-untyped-def]
    """`turn` with the transpose of the matrix."""
    return _turn(True)(tc, z, x, groups, bit, m, at)


def _join(transposed: bool) -> Any:
    def write(v: _Vectors, a: Any, t: Any) -> None:
        b = v.builder
        digits, bits = _digits(b, a[3], a[4]), _sorted(b, a[3], a[4])
        with cgutils.for_range(b, a[2]) as loop:
            base = _base(b, loop.index, bits)
            rows = [b.add(base, digit) for digit in digits]
            x = [v.load(v.row(t[1], a[1], row)) for row in rows]
            for k, row in enumerate(rows):
                if transposed:
                    columns = [(_entry(v, t[5], a[5], a[6], 16 * r + k), r + 1) for r in range(15)]
                    value = _product(v, [(m, x[r]) for m, r in columns], None if k else x[0])
                elif k:
                    columns = [(_entry(v, t[5], a[5], a[6], 16 * k - 16 + c), c) for c in range(16)]
                    value = _product(v, [(m, x[c]) for m, c in columns])
                else:
                    value = x[0]
                v.store(value, v.row(t[0], a[0], row))

    return _intrinsic(write)


@intrinsic
def join(tc, z, x, groups, first, second, m, at):  # type: ignore[no-untyped-def]
    """``z = M x`` on two digits: the 15x16 matrix in rows ``at ... at + 239`` of ``m``."""
    return _join(False)(tc, z, x, groups, first, second, m, at)


@intrinsic
def join_back(tc, z, x, groups, first, second, m, at):  # type: ignore[no-untyped-def]
    """`join` with the transpose of the matrix."""
    return _join(True)(tc, z, x, groups, first, second, m, at)


def _move(transposed: bool) -> Any:
    def write(v: _Vectors, a: Any, t: Any) -> None:
        b = v.builder
        targets, bits = _digits(b, a[3], a[4]), _sorted(b, a[3], a[4])
        sources = _numbers(v, t[5], a[5], a[6], 16)
        if transposed:
            targets, sources = sources, targets
        scales = [_entry(v, t[7], a[7], a[8], k) for k in range(15)]
        with cgutils.for_range(b, a[2]) as loop:
            base = _base(b, loop.index, bits)
            x = [v.load(v.row(t[1], a[1], b.add(base, source))) for source in sources]
            x = [x[0], *(v.mul(scale, row) for scale, row in zip(scales, x[1:], strict=True))]
            for row, target in zip(x, targets, strict=True):
                v.store(row, v.row(t[0], a[0], b.add(base, target)))

    return _intrinsic(write)


@intrinsic
def move(tc, z, x, groups, first, second, sources, k, scales, at):  # type: ignore[no-untyped-def]
    """``z[j] = scale[j] x[source[j]]`` on two digits.

    Row ``k`` of ``sources`` (K, 16) says how far each source is from the group's base; the scales
    of all but the first are rows ``at ... at + 14`` of ``scales``.
    """
    return _move(False)(tc, z, x, groups, first, second, sources, k, scales, at)


@intrinsic
def move_back(tc, z, x, groups, first, second, sources, k, scales, at):  # type: ignore[no-untyped-def]
    """`move` with the transpose of the matrix."""
    return _move(True)(tc, z, x, groups, first, second, sources, k, scales, at)


def _sums(v: _Vectors, count: int) -> list[Any]:
    zero = ir.Constant(v.vector, None)
    return [cgutils.alloca_once_value(v.builder, zero) for _ in range(count)]  # type: ignore[no-untyped-call]


@intrinsic
def overlaps(tc, y, at, width, c, x, groups, low, high, c1, c2, c3, x0, x1, x2, x3):  # type: ignore[no-untyped-def]
    """``y[at + width i + j] = sum c[c_i] x[x_j]`` over all groups, lane by lane.

    ``c_i, x_j`` are how far the rows are from a group's base, ``low < high`` the bits of its
    digits.
    """

    def write(v: _Vectors, a: Any, t: Any) -> None:
        b = v.builder
        sums = _sums(v, 12)
        with cgutils.for_range(b, a[5]) as loop:
            base = _base(b, loop.index, a[6:8])
            cs = [v.load(v.row(t[3], a[3], b.add(base, step))) for step in a[8:11]]
            xs = [v.load(v.row(t[4], a[4], b.add(base, step))) for step in a[11:15]]
            for k, total in enumerate(sums):
                b.store(v.fma(cs[k // 4], xs[k % 4], b.load(total)), total)
        for k, total in enumerate(sums):
            row = b.add(b.add(a[1], b.mul(a[2], ir.Constant(a[2].type, k // 4))), _int(a[1], k % 4))
            v.store(b.load(total), v.row(t[0], a[0], row))

    return _intrinsic(write)(
        tc, y, at, width, c, x, groups, low, high, c1, c2, c3, x0, x1, x2, x3
    )  # fmt: skip


def _int(like: Any, value: int) -> Any:
    return ir.Constant(like.type, value)


@intrinsic
def move_overlaps(tc, y, at, c, x, groups, first, second, sources, k):  # type: ignore[no-untyped-def]
    """``y[at + j - 1] = sum c[j] x[source[j]]`` over all groups; see `move`."""

    def write(v: _Vectors, a: Any, t: Any) -> None:
        b = v.builder
        targets, bits = _digits(b, a[5], a[6])[1:], _sorted(b, a[5], a[6])
        sources = _numbers(v, t[7], a[7], a[8], 16)[1:]
        sums = _sums(v, 15)
        with cgutils.for_range(b, a[4]) as loop:
            base = _base(b, loop.index, bits)
            for total, target, source in zip(sums, targets, sources, strict=True):
                one = v.load(v.row(t[2], a[2], b.add(base, target)))
                two = v.load(v.row(t[3], a[3], b.add(base, source)))
                b.store(v.fma(one, two, b.load(total)), total)
        for j, total in enumerate(sums):
            v.store(b.load(total), v.row(t[0], a[0], b.add(a[1], _int(a[1], j))))

    return _intrinsic(write)(tc, y, at, c, x, groups, first, second, sources, k)


@intrinsic
def add_product(tc, z, k, x, i, y, j):  # type: ignore[no-untyped-def]
    """``z[k] += x[i] * y[j]``, lane by lane."""

    def write(v: _Vectors, a: Any, t: Any) -> None:
        target = v.row(t[0], a[0], a[1])
        x, y = v.load(v.row(t[2], a[2], a[3])), v.load(v.row(t[4], a[4], a[5]))
        v.store(v.fma(x, y, v.load(target)), target)

    return _intrinsic(write)(tc, z, k, x, i, y, j)


@intrinsic
def fill(tc, z, k, number):  # type: ignore[no-untyped-def]
    """``z[k] = number`` in all lanes."""

    def write(v: _Vectors, a: Any, t: Any) -> None:
        v.store(v.splat(a[2], t[2]), v.row(t[0], a[0], a[1]))

    return _intrinsic(write)(tc, z, k, number)


@intrinsic
def lane_sum(tc, z, k, total, at):  # type: ignore[no-untyped-def]
    """``total[at] = sum of row k of z``, always in the same order."""

    def write(v: _Vectors, a: Any, t: Any) -> None:
        value = v.sum(v.load(v.row(t[0], a[0], a[1])))
        value = v.context.cast(v.builder, value, v.dtype, t[2].dtype)
        data = v.context.make_array(t[2])(v.context, v.builder, a[2]).data
        v.builder.store(value, v.builder.gep(data, [a[3]]))

    return _intrinsic(write)(tc, z, k, total, at)
