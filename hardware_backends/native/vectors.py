"""Vector operations on rows of 16 lanes, as LLVM code for Numba.

Numba's own vectoriser gives up on loops that read and write many rows, since it cannot know that
they are different. These functions say so by construction: each loads its rows into registers,
computes, and stores. They compile to AVX-512, AVX2 or NEON alike, whatever the machine has.

Every multiply-add is written out as one rounding, and nothing else is fused or reordered: results
do not depend on where a kernel is inlined or how wide the machine's vectors are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
def quad(tc, re, im, i, j, k, m, u):  # type: ignore[no-untyped-def]
    """Four rows times a 4x4 matrix, the same for all lanes: 16 real and 16 imaginary parts."""
    return _intrinsic(
        lambda v, a, t: _apply(v, _pointers(v, a, t, (2, 3, 4, 5)), _splats(v, a[6], 16))
    )(tc, re, im, i, j, k, m, u)  # fmt: skip


@intrinsic
def quad_lanes(tc, re, im, i, j, k, m, u_re, u_im, first):  # type: ignore[no-untyped-def]
    """Four rows times a 4x4 matrix per lane: rows ``first ... first + 15`` of ``u``."""
    return _intrinsic(
        lambda v, a, t: _apply(
            v, _pointers(v, a, t, (2, 3, 4, 5)), _lane_entries(v, a, t, 6, a[8], 16)
        )
    )(tc, re, im, i, j, k, m, u_re, u_im, first)  # fmt: skip


def _overlap(v: _Vectors, a: Any, t: Any, count: int) -> None:
    """Arguments: x_re, x_im, y_re, y_im, the rows, then m_re, m_im and its first row."""
    rows = range(4, 4 + count)
    xs = [(v.load(p), v.load(q)) for p, q in _pointers(v, a, t, rows)]
    ys = [(v.load(p), v.load(q)) for p, q in _pointers(v, a, t, rows, at=2)]
    at = 4 + count
    for r, (xr, xi) in enumerate(xs):
        for c, (yr, yi) in enumerate(ys):
            first = a[at + 2]
            index = v.builder.add(first, ir.Constant(first.type, r * count + c))
            re, im = v.row(t[at], a[at], index), v.row(t[at + 1], a[at + 1], index)
            v.store(v.fma(xr, yr, v.fma(xi, yi, v.load(re))), re)
            v.store(v.fma(xr, yi, v.fma(v.neg(xi), yr, v.load(im))), im)


@intrinsic
def pair_overlap(tc, x_re, x_im, y_re, y_im, i, j, m_re, m_im, first):  # type: ignore[no-untyped-def]
    """``m[first + 2 r + c] += conj(x_r) y_c`` for rows ``i, j``."""
    return _intrinsic(lambda v, a, t: _overlap(v, a, t, 2))(
        tc, x_re, x_im, y_re, y_im, i, j, m_re, m_im, first
    )


@intrinsic
def quad_overlap(tc, x_re, x_im, y_re, y_im, i, j, k, m, m_re, m_im, first):  # type: ignore[no-untyped-def]
    """``m[first + 4 r + c] += conj(x_r) y_c`` for four rows."""
    return _intrinsic(lambda v, a, t: _overlap(v, a, t, 4))(
        tc, x_re, x_im, y_re, y_im, i, j, k, m, m_re, m_im, first
    )


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
def swap(tc, z, i, j):  # type: ignore[no-untyped-def]
    """Exchange rows ``i`` and ``j``."""

    def write(v: _Vectors, a: Any, t: Any) -> None:
        one, two = v.row(t[0], a[0], a[1]), v.row(t[0], a[0], a[2])
        x, y = v.load(one), v.load(two)
        v.store(y, one)
        v.store(x, two)

    return _intrinsic(write)(tc, z, i, j)


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
