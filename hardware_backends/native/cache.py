"""Whether Numba can keep compiled kernels from one process to the next, and which are current."""

from __future__ import annotations

import hashlib
import warnings
from contextlib import suppress
from pathlib import Path

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
        kept = njit(cache=True)(_nothing)
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
    place = kept._cache.cache_path  # type: ignore[attr-defined] # Numba has no public way to ask
    drop_stale(Path(place), Path(__file__).parent)
    return True


def drop_stale(folder: Path, sources: Path) -> None:
    """Delete compiled kernels of other sources.

    Numba looks at the file of a kernel alone, not at those that it calls: after an update that
    changed only these, it would load code which takes other arguments, and crash.

    Args:
        folder: Where compiled kernels are kept.
        sources: Folder of the kernels' source files.
    """
    digest = hashlib.sha256()
    for file in sorted(sources.glob("*.py")):
        digest.update(file.read_bytes())
    stamp, now = folder / "kernels.stamp", digest.hexdigest()
    with suppress(OSError):  # another process may be doing the same
        if stamp.is_file() and stamp.read_text("utf-8") == now:
            return
        for old in folder.glob("*.nb[ic]"):
            old.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        stamp.write_text(now, "utf-8")


def _nothing() -> None:
    """Declared, never compiled; it stands beside the kernels, as its place decides."""
