"""How the kernels are compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# No fast-math: results must not depend on where a kernel is inlined. `vectors` writes out each
# multiply-add.
OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
"""Of functions that allocate arrays, and so count references."""

INNER: dict[str, Any] = {**OPTIONS, "_nrt": False}
"""Of functions that do not: counting, atomically, takes longer than a small operation."""

INLINE: dict[str, Any] = {**INNER, "forceinline": True}


@njit(**OPTIONS)
def rows_like(count, like):  # type: ignore[no-untyped-def]
    """``(count, 16)`` numbers from a cache line on: rows across two lines take longer."""
    raw = np.empty(16 * count + 16, like.dtype)
    skip = (-raw.ctypes.data % 64) // like.itemsize
    return raw[skip : skip + 16 * count].reshape(count, 16)
