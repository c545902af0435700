"""How the kernels are compiled."""

from __future__ import annotations

from typing import Any

from nisqkit.hardware_backends.native.cache import can_cache

# No fast-math: results must not depend on where a kernel is inlined. `vectors` writes out each
# multiply-add.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": can_cache(),
    "error_model": "numpy",
    "no_cfunc_wrapper": True,  # nobody calls them from C, and compiling takes long enough
}
"""Of functions that allocate arrays, and so count references."""

INNER: dict[str, Any] = {**OPTIONS, "_nrt": False}
"""Of functions that do not: counting, atomically, takes longer than a small operation."""

PART: dict[str, Any] = {**OPTIONS, "inline": "always"}
"""Of functions that are called once, or do next to nothing: the caller compiles them as its own."""

INLINE: dict[str, Any] = {**INNER, "forceinline": True}
