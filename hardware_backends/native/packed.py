"""Many arrays in one buffer: a call then takes a few arguments instead of dozens.

A *layout* (n, 3) says of each array where it begins, and its rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.np.arrayobj import populate_array
from numpy.typing import NDArray

from nisqkit.hardware_backends.native.compiling import OPTIONS
from nisqkit.hardware_backends.native.vectors import intrinsic

CACHE_LINE = 64
"""Bytes. Rows across two lines take longer, so that every array begins with a line."""

Array = NDArray[Any]


def layout(shapes: Sequence[tuple[int, int]]) -> tuple[NDArray[np.int64], int]:
    """Where arrays of these shapes go in one buffer, and how many numbers it must hold."""
    rows = []
    begin = 0
    for height, width in shapes:
        rows.append((begin, height, width))
        begin += -(-height * width // 16) * 16
    return np.array(rows, dtype=np.int64).reshape(-1, 3), begin + CACHE_LINE // 4


def pack(
    arrays: Sequence[Array],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """A layout, and buffers that hold the integers and the real numbers (complex ones as pairs)."""
    tables = []
    for array in arrays:
        whole = np.ascontiguousarray(array)
        real = whole.view(np.float64) if np.iscomplexobj(whole) else whole
        tables.append(real.reshape(len(real), real.size // max(1, len(real))))
    where, size = layout([(len(t), t.shape[1]) for t in tables])
    ints, floats = np.zeros(size, np.int64), np.zeros(size)
    for (begin, height, width), t in zip(where, tables, strict=True):
        buffer = floats if t.dtype == np.float64 else ints
        buffer[begin : begin + height * width] = t.ravel()
    return where, ints, floats


def _view(dtype: Any, ndim: int) -> Any:
    """Writes a contiguous array with ``ndim`` axes into a buffer; Numba's `reshape` takes longer.

    The function takes a buffer with one axis, where the array begins in it, and its shape.
    """

    def typed(typing_context, buffer, begin, shape):  # type: ignore[no-untyped-def]
        kind = types.Array(buffer.dtype if dtype is None else dtype, ndim, "C")

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            whole = context.make_array(buffer)(context, builder, arguments[0])
            data = builder.gep(whole.data, [arguments[1]])
            size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
            lengths = cgutils.unpack_tuple(  # type: ignore[no-untyped-call]
                builder, arguments[2], ndim
            )
            step = ir.Constant(ir.IntType(64), size)
            strides: list[Any] = []
            for length in reversed(lengths):
                strides.insert(0, step)
                step = builder.mul(step, length)
            array = context.make_array(kind)(context, builder)
            populate_array(  # type: ignore[no-untyped-call]
                array,
                data=builder.bitcast(data, context.get_data_type(kind.dtype).as_pointer()),
                shape=lengths,
                strides=strides,
                itemsize=size,
                meminfo=whole.meminfo,
            )
            value = array._getvalue()
            return impl_ret_borrowed(context, builder, kind, value)  # type: ignore[no-untyped-call]

        return kind(buffer, begin, shape), generate

    return intrinsic(typed)


view1, view2, view3, view4, view5 = (_view(None, n) for n in range(1, 6))
complex2, complex3 = _view(types.complex128, 2), _view(types.complex128, 3)


@njit(**OPTIONS)
def rows_like(count, like):  # type: ignore[no-untyped-def]
    """``(count, 16)`` numbers from a cache line on: rows across two lines take longer."""
    raw = np.empty(16 * count + 16, like.dtype)
    return view2(raw, (-raw.ctypes.data % 64) // like.itemsize, (count, 16))


@njit(**OPTIONS)
def from_cache_line(buffer):  # type: ignore[no-untyped-def]
    """The part of a buffer that begins with a cache line."""
    skip = (-buffer.ctypes.data % 64) // buffer.itemsize
    return view1(buffer, skip, (len(buffer) - skip,))


@njit(**OPTIONS)
def table(buffer, where, k):  # type: ignore[no-untyped-def]
    """Array ``k`` of a buffer, with two axes."""
    return view2(buffer, where[k, 0], (where[k, 1], where[k, 2]))


@njit(**OPTIONS)
def line(buffer, where, k):  # type: ignore[no-untyped-def]
    """Array ``k`` of a buffer, with one axis."""
    return view1(buffer, where[k, 0], (where[k, 1] * where[k, 2],))
