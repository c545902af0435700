"""Vector operations on rows of 16 lanes, as LLVM code for Numba.

Numba's own vectoriser gives up on loops that read and write many rows, since it cannot know that
they are different. These functions say so by construction: each loads its rows into registers,
computes, and stores. LLVM maps them to what the machine has (tried: AVX-512 and AVX2).

Every multiply-add is written out as one rounding, and nothing else is fused or reordered: results
do not depend on where a kernel is inlined or how wide the machine's vectors are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import factorial, pi
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import extending, types
from numba.core import cgutils

LANES = 16
"""Values per row: one AVX-512 register of float32."""


class _Vectors:
    """Writes vector code for one call: loads, stores and complex arithmetic."""

    def __init__(self, context: Any, builder: Any, array_type: Any) -> None:
        self.context, self.builder = context, builder
        self.dtype = array_type.dtype
        self.scalar = context.get_value_type(array_type.dtype)
        self.vector = ir.VectorType(self.scalar, LANES)
        self.align = array_type.dtype.bitwidth // 8
        suffix = "f32" if array_type.dtype.bitwidth == 32 else "f64"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        name = f"llvm.fma.v{LANES}{suffix}"
        self._fma = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, kind, name
        )

    def row(self, array_type: Any, array: Any, index: Any) -> Any:
        """Pointer to a row of a contiguous ``(rows, 16)`` array."""
        data = self.context.make_array(array_type)(self.context, self.builder, array).data
        offset = self.builder.mul(index, ir.Constant(index.type, LANES))
        return self.builder.bitcast(self.builder.gep(data, [offset]), self.vector.as_pointer())

    def load(self, pointer: Any) -> Any:
        value = self.builder.load(pointer)
        value.align = self.align
        return value

    def store(self, value: Any, pointer: Any) -> None:
        self.builder.store(value, pointer).align = self.align

    def splat(self, value: Any, kind: Any = None) -> Any:
        """The same number in every lane, cast from the Numba type ``kind``."""
        if kind is not None:
            value = self.context.cast(self.builder, value, kind, self.dtype)
        zero = ir.Constant(ir.IntType(32), 0)
        one = self.builder.insert_element(ir.Constant(self.vector, ir.Undefined), value, zero)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self.builder.shuffle_vector(one, one, mask)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.builder.call(self._fma, [a, b, c])

    def neg(self, a: Any) -> Any:
        return self.builder.fneg(a)

    def mul(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b)

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b)

    def sum(self, a: Any) -> Any:
        """Over the lanes, always in the same order."""
        width = LANES
        while width > 1:
            width //= 2
            kind = ir.VectorType(ir.IntType(32), width)
            masks = [ir.Constant(kind, list(range(at, at + width))) for at in (0, width)]
            a = self.add(*(self.builder.shuffle_vector(a, a, mask) for mask in masks))
        return self.builder.extract_element(a, ir.Constant(ir.IntType(32), 0))

    def dot(self, us: Sequence[tuple[Any, Any]], xs: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
        """Complex ``sum_k u_k x_k``, as two chains of multiply-adds."""
        (ur, ui), (xr, xi) = us[0], xs[0]
        re, im = self.mul(self.neg(ui), xi), self.mul(ui, xr)
        re, im = self.fma(ur, xr, re), self.fma(ur, xi, im)
        for (ur, ui), (xr, xi) in zip(us[1:], xs[1:], strict=True):
            re = self.fma(ur, xr, self.fma(self.neg(ui), xi, re))
            im = self.fma(ur, xi, self.fma(ui, xr, im))
        return re, im


def intrinsic(function: Callable[..., Any]) -> Any:
    """Numba's decorator; its type would ask callers for the typing context."""
    return extending.intrinsic(function)


def _intrinsic(write: Callable[..., None]) -> Any:
    """An intrinsic without a result, from ``write(v, arguments, their types)``.

    The first argument sets the dtype.
    """

    def typed(typing_context, *args):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            write(_Vectors(context, builder, signature.args[0]), arguments, signature.args)
            return context.get_dummy_value()

        return types.void(*args), generate

    return typed


def _apply(v: _Vectors, rows: list[tuple[Any, Any]], matrix: list[tuple[Any, Any]]) -> None:
    """``x <- U x`` on rows given as (pointer to real part, pointer to imaginary part)."""
    size = len(rows)
    xs = [(v.load(re), v.load(im)) for re, im in rows]
    for r, (re, im) in enumerate(rows):
        real, imag = v.dot(matrix[size * r : size * (r + 1)], xs)
        v.store(real, re)
        v.store(imag, im)


def _pointers(
    v: _Vectors, args: Any, kinds: Any, indices: Sequence[int], at: int = 0
) -> list[tuple[Any, Any]]:
    return [
        (v.row(kinds[at], args[at], args[i]), v.row(kinds[at + 1], args[at + 1], args[i]))
        for i in indices
    ]


def _splats(v: _Vectors, numbers: Any, count: int) -> list[tuple[Any, Any]]:
    """Entries of a matrix given as a tuple: all real parts, then all imaginary parts."""
    values = [v.splat(v.builder.extract_value(numbers, k)) for k in range(2 * count)]
    return list(zip(values[:count], values[count:], strict=True))


def _lane_entries(
    v: _Vectors, args: Any, kinds: Any, at: int, first: Any, count: int
) -> list[tuple[Any, Any]]:
    """Entries of a matrix given as rows ``first, first + 1, ...`` of two arrays."""
    entries = []
    for e in range(count):
        index = v.builder.add(first, ir.Constant(first.type, e))
        entries.append(
            (
                v.load(v.row(kinds[at], args[at], index)),
                v.load(v.row(kinds[at + 1], args[at + 1], index)),
            )
        )
    return entries


@intrinsic
def pair(tc, re, im, i, j, u):  # type: ignore[no-untyped-def]
    """Rows ``i, j`` times a 2x2 matrix, the same for all lanes: 4 real and 4 imaginary parts."""
    return _intrinsic(
        lambda v, a, k: _apply(v, _pointers(v, a, k, (2, 3)), _splats(v, a[4], 4))
    )(tc, re, im, i, j, u)  # fmt: skip


@intrinsic
def pair_lanes(tc, re, im, i, j, u_re, u_im, first):  # type: ignore[no-untyped-def]
    """Rows ``i, j`` times a 2x2 matrix per lane: rows ``first ... first + 3`` of ``u``."""
    return _intrinsic(
        lambda v, a, k: _apply(v, _pointers(v, a, k, (2, 3)), _lane_entries(v, a, k, 4, a[6], 4))
    )(tc, re, im, i, j, u_re, u_im, first)  # fmt: skip


@intrinsic
def quad(tc, re, im, i, j, k, m, u, at):  # type: ignore[no-untyped-def]
    """Four rows times a 4x4 matrix, the same for all lanes.

    Row ``at`` of ``u`` is the 16 real parts and then the 16 imaginary parts. They are read again
    for each call: the registers would not hold them beside the rows.
    """

    def write(v: _Vectors, a: Any, t: Any) -> None:
        data = v.context.make_array(t[6])(v.context, v.builder, a[6]).data
        first = v.builder.mul(a[7], ir.Constant(a[7].type, 32))
        places = [v.builder.add(first, ir.Constant(first.type, e)) for e in range(32)]
        numbers = [v.splat(v.builder.load(v.builder.gep(data, [e]))) for e in places]
        matrix = list(zip(numbers[:16], numbers[16:], strict=True))
        _apply(v, _pointers(v, a, t, (2, 3, 4, 5)), matrix)

    return _intrinsic(write)(tc, re, im, i, j, k, m, u, at)


@intrinsic
def quad_lanes(tc, re, im, i, j, k, m, u_re, u_im, first):  # type: ignore[no-untyped-def]
    """Four rows times a 4x4 matrix per lane: rows ``first ... first + 15`` of ``u``."""
    return _intrinsic(
        lambda v, a, t: _apply(
            v, _pointers(v, a, t, (2, 3, 4, 5)), _lane_entries(v, a, t, 6, a[8], 16)
        )
    )(tc, re, im, i, j, k, m, u_re, u_im, first)  # fmt: skip


def _overlaps(v: _Vectors, a: Any, t: Any, size: int, per_lane: bool) -> None:
    """Arguments: x_re, x_im, y_re, y_im; groups; bits; masks v, w of each qubit; then the result.

    The sums stay in registers over all groups, for two rows of the matrix at a time. They are added
    to m_re, m_im from a row on (``per_lane``), or their sums over the lanes fill an array.
    """
    b = v.builder
    qubits = size // 2
    count, bits, masks = a[4], a[5 : 5 + qubits], a[5 + qubits : 5 + 3 * qubits]
    at = 5 + 3 * qubits
    zero = ir.Constant(v.vector, None)
    for rows in ((0, 1), (2, 3))[:qubits]:
        sums = {
            (r, c, part): cgutils.alloca_once_value(b, zero)  # type: ignore[no-untyped-call]
            for r in rows
            for c in range(size)
            for part in (0, 1)
        }
        with cgutils.for_range(b, count) as loop:
            index = [_first_row(b, loop.index, bits, masks)]
            for mask in masks[::2]:
                index += [b.xor(i, mask) for i in index]
            xs = {r: [v.load(v.row(t[k], a[k], index[r])) for k in (0, 1)] for r in rows}
            for c in range(size):
                yr, yi = (v.load(v.row(t[k], a[k], index[c])) for k in (2, 3))
                for r, (xr, xi) in xs.items():
                    re, im = sums[r, c, 0], sums[r, c, 1]
                    b.store(v.fma(xr, yr, v.fma(xi, yi, b.load(re))), re)
                    b.store(v.fma(xr, yi, v.fma(v.neg(xi), yr, b.load(im))), im)
        for (r, c, part), total in sums.items():
            entry = r * size + c
            if per_lane:
                row = b.add(a[at + 2], ir.Constant(a[at + 2].type, entry))
                target = v.row(t[at + part], a[at + part], row)
                v.store(v.add(v.load(target), b.load(total)), target)
            else:
                data = v.context.make_array(t[at])(v.context, b, a[at]).data
                place = ir.Constant(a[4].type, entry + part * size * size)
                b.store(v.sum(b.load(total)), b.gep(data, [place]))


def _first_row(b: Any, group: Any, bits: Sequence[Any], masks: Sequence[Any]) -> Any:
    """The row of a group on which its qubits are zero; ``bits`` in ascending order."""
    one = ir.Constant(group.type, 1)
    start = group
    for bit in bits:
        low = b.sub(b.shl(one, bit), one)
        start = b.or_(b.shl(b.and_(start, b.not_(low)), one), b.and_(start, low))
    row = start
    for v, w in zip(masks[::2], masks[1::2], strict=True):
        parity = b.and_(b.ctpop(b.and_(start, w)), one)
        row = b.xor(row, b.mul(v, parity))
    return row


@intrinsic
def pair_overlaps(tc, x_re, x_im, y_re, y_im, groups, p, v, w, m_re, m_im, first):  # type: ignore[no-untyped-def]
    """``m[first + 2 r + c] += sum conj(x_r) y_c`` over all pairs of rows."""
    return _intrinsic(lambda u, a, t: _overlaps(u, a, t, 2, True))(
        tc, x_re, x_im, y_re, y_im, groups, p, v, w, m_re, m_im, first
    )


@intrinsic
def pair_overlap_sums(tc, x_re, x_im, y_re, y_im, groups, p, v, w, out):  # type: ignore[no-untyped-def]
    """The same, summed over the lanes: ``out`` is 4 real and 4 imaginary parts."""
    return _intrinsic(lambda u, a, t: _overlaps(u, a, t, 2, False))(
        tc, x_re, x_im, y_re, y_im, groups, p, v, w, out
    )


@intrinsic
def quad_overlaps(tc, x_re, x_im, y_re, y_im, groups, low, high, v1, w1, v2, w2, m_re, m_im, first):  # type: ignore[no-untyped-def]
    """``m[first + 4 r + c] += sum conj(x_r) y_c`` over all groups of four rows.

    ``low < high`` are the bits of `rows.P1` and `rows.P2`.
    """
    return _intrinsic(lambda u, a, t: _overlaps(u, a, t, 4, True))(
        tc, x_re, x_im, y_re, y_im, groups, low, high, v1, w1, v2, w2, m_re, m_im, first
    )


@intrinsic
def quad_overlap_sums(tc, x_re, x_im, y_re, y_im, groups, low, high, v1, w1, v2, w2, out):  # type: ignore[no-untyped-def]
    """The same, summed over the lanes: ``out`` is 16 real and 16 imaginary parts."""
    return _intrinsic(lambda u, a, t: _overlaps(u, a, t, 4, False))(
        tc, x_re, x_im, y_re, y_im, groups, low, high, v1, w1, v2, w2, out
    )


def _mix(transpose: bool, conjugate: bool) -> Any:
    def write(v: _Vectors, a: Any, t: Any) -> None:
        entries = _lane_entries(v, a, t, 4, ir.Constant(a[2].type, 0), 4)
        if transpose:
            entries[1], entries[2] = entries[2], entries[1]
        if conjugate:
            entries = [(re, v.neg(im)) for re, im in entries]
        _apply(v, _pointers(v, a, t, (2, 3)), entries)

    return _intrinsic(write)


@intrinsic
def mix(tc, re, im, i, j, f_re, f_im):  # type: ignore[no-untyped-def]
    """Rows ``(i, j)`` times the 2x2 matrix per lane in the first four rows of ``f``."""
    return _mix(False, False)(tc, re, im, i, j, f_re, f_im)


@intrinsic
def mix_transposed(tc, re, im, i, j, f_re, f_im):  # type: ignore[no-untyped-def]
    """`mix` with the transpose of the matrix."""
    return _mix(True, False)(tc, re, im, i, j, f_re, f_im)


@intrinsic
def mix_adjoint(tc, re, im, i, j, f_re, f_im):  # type: ignore[no-untyped-def]
    """`mix` with the conjugate transpose of the matrix."""
    return _mix(True, True)(tc, re, im, i, j, f_re, f_im)


@intrinsic
def wave(tc, z, k, c0, c1, c2, cos, sin, f):  # type: ignore[no-untyped-def]
    """``z[k] = c0 + c1 cos[f] + c2 sin[f]``, lane by lane."""

    def write(v: _Vectors, a: Any, t: Any) -> None:
        c0, c1, c2 = (v.splat(a[n], t[n]) for n in (2, 3, 4))
        cos, sin = v.load(v.row(t[5], a[5], a[7])), v.load(v.row(t[6], a[6], a[7]))
        v.store(v.fma(c1, cos, v.fma(c2, sin, c0)), v.row(t[0], a[0], a[1]))

    return _intrinsic(write)(tc, z, k, c0, c1, c2, cos, sin, f)


def _multiply_add(v: _Vectors, a: Any, t: Any, conjugate: bool) -> None:
    (z,), (x,), (y,) = (_pointers(v, a, t, (at + 2,), at=at) for at in (0, 3, 6))
    zr, zi, xr, xi, yr, yi = (v.load(p) for p in (*z, *x, *y))
    if conjugate:
        yi = v.neg(yi)
    v.store(v.fma(xr, yr, v.fma(v.neg(xi), yi, zr)), z[0])
    v.store(v.fma(xr, yi, v.fma(xi, yr, zi)), z[1])


@intrinsic
def multiply_add(tc, z_re, z_im, k, x_re, x_im, i, y_re, y_im, j):  # type: ignore[no-untyped-def]
    """``z[k] += x[i] * y[j]``, lane by lane."""
    return _intrinsic(lambda v, a, t: _multiply_add(v, a, t, False))(
        tc, z_re, z_im, k, x_re, x_im, i, y_re, y_im, j
    )


@intrinsic
def multiply_add_conjugate(tc, z_re, z_im, k, x_re, x_im, i, y_re, y_im, j):  # type: ignore[no-untyped-def]
    """``z[k] += x[i] * conj(y[j])``, lane by lane."""
    return _intrinsic(lambda v, a, t: _multiply_add(v, a, t, True))(
        tc, z_re, z_im, k, x_re, x_im, i, y_re, y_im, j
    )


@intrinsic
def scaled_add(tc, z, k, number, x, i):  # type: ignore[no-untyped-def]
    """``z[k] += number * x[i]``, lane by lane."""

    def write(v: _Vectors, a: Any, t: Any) -> None:
        target = v.row(t[0], a[0], a[1])
        x = v.load(v.row(t[3], a[3], a[4]))
        v.store(v.fma(v.splat(a[2], t[2]), x, v.load(target)), target)

    return _intrinsic(write)(tc, z, k, number, x, i)


@intrinsic
def product_add(tc, z, k, number, x, i, y, j):  # type: ignore[no-untyped-def]
    """``z[k] += number * x[i] * y[j]``, lane by lane."""

    def write(v: _Vectors, a: Any, t: Any) -> None:
        target = v.row(t[0], a[0], a[1])
        x, y = v.load(v.row(t[3], a[3], a[4])), v.load(v.row(t[5], a[5], a[6]))
        v.store(v.fma(v.mul(v.splat(a[2], t[2]), x), y, v.load(target)), target)

    return _intrinsic(write)(tc, z, k, number, x, i, y, j)


@intrinsic
def dense_quad(tc, z_re, z_im, i, x_re, x_im, count, a_re, a_im):  # type: ignore[no-untyped-def]
    """``z[i + r] = sum_j a[i + r, j] x[j]`` for four rows; ``a`` has ``count`` columns."""

    def write(v: _Vectors, a: Any, t: Any) -> None:
        b, whole = v.builder, a[2].type
        zero = ir.Constant(v.vector, None)
        rows = [b.add(a[2], ir.Constant(whole, r)) for r in range(4)]
        sums = [[cgutils.alloca_once_value(b, zero) for _ in range(2)] for _ in rows]  # type: ignore[no-untyped-call]
        entries = [v.context.make_array(t[k])(v.context, b, a[k]).data for k in (6, 7)]
        with cgutils.for_range(b, a[5]) as loop:
            xr, xi = (v.load(v.row(t[k], a[k], loop.index)) for k in (3, 4))
            for row, (re, im) in zip(rows, sums, strict=True):
                place = [b.add(b.mul(row, a[5]), loop.index)]
                ur, ui = (v.splat(b.load(b.gep(data, place))) for data in entries)
                b.store(v.fma(ur, xr, v.fma(v.neg(ui), xi, b.load(re))), re)
                b.store(v.fma(ur, xi, v.fma(ui, xr, b.load(im))), im)
        for row, (re, im) in zip(rows, sums, strict=True):
            v.store(b.load(re), v.row(t[0], a[0], row))
            v.store(b.load(im), v.row(t[1], a[1], row))

    return _intrinsic(write)(tc, z_re, z_im, i, x_re, x_im, count, a_re, a_im)


@intrinsic
def sincos(tc, cos, sin, k, angles, j):  # type: ignore[no-untyped-def]
    """``cos[k], sin[k]`` of the float64 angles in row ``j``, to 2e-16 up to a million radians.

    Multiples of pi / 2 are taken off in two steps (Cody and Waite 1980); Taylor series of degree 16
    and 15 do for what is left, between -pi / 4 and pi / 4.
    """

    def write(v: _Vectors, a: Any, t: Any) -> None:
        w = _Vectors(v.context, v.builder, t[3])
        b = v.builder

        def number(value: float) -> Any:
            return ir.Constant(w.vector, [value] * LANES)

        def bits(value: int) -> Any:
            return ir.Constant(ir.VectorType(ir.IntType(64), LANES), [value] * LANES)

        x = w.load(w.row(t[3], a[3], a[4]))
        shift = number(1.5 * 2.0**52)  # adding it rounds to an integer, in the lowest bits
        shifted = w.fma(x, number(2 / pi), shift)
        turns = w.neg(b.fsub(shifted, shift))
        r = w.fma(turns, number(pi / 2), x)
        r = w.fma(turns, number(6.123233995736766e-17), r)  # pi / 2 less its double
        square = w.mul(r, r)
        odd, even = number(-1 / factorial(15)), number(1 / factorial(16))
        for n in range(13, 1, -2):
            odd = w.fma(odd, square, number((-1) ** (n // 2) / factorial(n)))
        for n in range(14, -1, -2):
            even = w.fma(even, square, number((-1) ** (n // 2) / factorial(n)))
        odd = w.fma(w.mul(odd, square), r, r)
        quadrant = b.bitcast(shifted, bits(0).type)
        turned = b.icmp_unsigned("!=", b.and_(quadrant, bits(1)), bits(0))
        for target, kind, at, first, second, offset in (
            (a[0], t[0], a[2], even, odd, 1),
            (a[1], t[1], a[2], odd, even, 0),
        ):
            half = b.and_(b.add(quadrant, bits(offset)), bits(2))
            sign = b.shl(half, bits(62))  # bit 1 to the sign's place
            value = b.bitcast(b.select(turned, second, first), sign.type)
            value = b.bitcast(b.xor(value, sign), w.vector)
            if v.dtype != w.dtype:
                value = b.fptrunc(value, v.vector)
            v.store(value, v.row(kind, target, at))

    return _intrinsic(write)(tc, cos, sin, k, angles, j)


@intrinsic
def swap(tc, z, i, j):  # type: ignore[no-untyped-def]
    """Exchange rows ``i`` and ``j``."""

    def write(v: _Vectors, a: Any, t: Any) -> None:
        one, two = v.row(t[0], a[0], a[1]), v.row(t[0], a[0], a[2])
        x, y = v.load(one), v.load(two)
        v.store(y, one)
        v.store(x, two)

    return _intrinsic(write)(tc, z, i, j)


@intrinsic
def copy(tc, z, k, x, i):  # type: ignore[no-untyped-def]
    """``z[k] = x[i]``."""

    def write(v: _Vectors, a: Any, t: Any) -> None:
        v.store(v.load(v.row(t[2], a[2], a[3])), v.row(t[0], a[0], a[1]))

    return _intrinsic(write)(tc, z, k, x, i)


@intrinsic
def transpose(tc, z, i, a, b, c, d):  # type: ignore[no-untyped-def]
    """Transpose 16 rows as a matrix: rows ``i`` plus any sum of ``a, b, c, d``, in order."""

    def write(v: _Vectors, args: Any, t: Any) -> None:
        index = [args[1]]
        for step in args[2:6]:
            index += [v.builder.add(i, step) for i in index]
        pointers = [v.row(t[0], args[0], i) for i in index]
        rows = [v.load(p) for p in pointers]
        lanes = range(LANES)
        kind = ir.VectorType(ir.IntType(32), LANES)
        for step in (1, 2, 4, 8):
            low = ir.Constant(kind, [n if not n & step else LANES + n - step for n in lanes])
            high = ir.Constant(kind, [n + step if not n & step else LANES + n for n in lanes])
            for r in lanes:
                if not r & step:
                    one, two = rows[r], rows[r + step]
                    rows[r] = v.builder.shuffle_vector(one, two, low)
                    rows[r + step] = v.builder.shuffle_vector(one, two, high)
        for value, pointer in zip(rows, pointers, strict=True):
            v.store(value, pointer)

    return _intrinsic(write)(tc, z, i, a, b, c, d)


@intrinsic
def negate(tc, z, i):  # type: ignore[no-untyped-def]
    """Flip the sign of row ``i``."""

    def write(v: _Vectors, a: Any, t: Any) -> None:
        row = v.row(t[0], a[0], a[1])
        v.store(v.neg(v.load(row)), row)

    return _intrinsic(write)(tc, z, i)


@intrinsic
def odd(tc, i):  # type: ignore[no-untyped-def]
    """1 if an integer has an odd number of ones, else 0."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.and_(builder.ctpop(arguments[0]), ir.Constant(arguments[0].type, 1))

    return i(i), generate
