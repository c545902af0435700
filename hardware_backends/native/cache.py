"""Whether Numba can keep compiled kernels from one process to the next."""

from __future__ import annotations

import warnings

from numba import njit


def can_cache() -> bool:
    """Whether there is a folder for compiled kernels; warns if there is none.

    Numba takes the first folder that it may write to: ``NUMBA_CACHE_DIR``, ``__pycache__`` beside
    the kernels, the user's cache folder. Where it finds none, in a read-only container say, it
    refuses to declare cached kernels at all, and nothing that imports them could be imported.

    Example:
        >>> options = {"nogil": True, "cache": can_cache()}
    """
    try:
        njit(cache=True)(_nothing)
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
        warnings.warn(
            "Numba finds no folder to keep compiled kernels in, so every process compiles those of "
            "the native engine anew when it first uses them: set NUMBA_CACHE_DIR to a folder that "
            "can be written to",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def _nothing() -> None:
    """Declared, never compiled; it stands beside the kernels, as its place decides."""
