"""Files that a crash cannot break: atomic writes, and checkpoints in a versioned format.

A file is written under a temporary name in the same folder, forced to disk, then renamed over the
old one, and the folder is forced to disk too. Renaming is atomic, so at any moment, kill -9 and
power loss included, the name holds the whole old or the whole new file. This is why no second
checkpoint is kept.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

FORMAT = "nisqkit.checkpoint"
VERSION = 1


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that its name never holds half of it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / "numbers.txt"
        ...     write_atomic(file, b"1 2 3")
        ...     file.read_bytes()
        b'1 2 3'
    """
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    if os.name != "nt":  # Windows cannot open folders, and renames durably by itself
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint: a dictionary of tensors and plain Python values.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / "checkpoint.pt"
        ...     save_checkpoint(file, {"epoch": 3, "weights": torch.zeros(2)})
        ...     load_checkpoint(file)["epoch"]
        3
    """
    header = {"format": FORMAT, "version": VERSION, "nisqkit": version("nisqkit")}
    buffer = io.BytesIO()
    torch.save(header | content, buffer)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are loaded, no code is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, not a checkpoint, or of another format version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is damaged or no checkpoint of nisqkit: give a run's folder, or the "
            "checkpoint.pt in it; a damaged one can only be taken from a backup, or trained again"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        # torch advises to load what it refuses with its checks turned off, which would run code.
        refused = isinstance(error, pickle.UnpicklingError) or not str(error)
        reason = type(error).__name__ if refused else str(error).splitlines()[0]
        raise ValueError(
            f"{path} is damaged or no checkpoint of nisqkit ({reason}); take it from a backup, or "
            "train again into another folder"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a PyTorch file, but no checkpoint of nisqkit: it lacks the mark "
            f"format={FORMAT!r}"
        )
    if content.get("version") != VERSION:
        raise ValueError(
            f"{path} has checkpoint format version {content.get('version')!r} (written by nisqkit "
            f"{content.get('nisqkit')}), but this nisqkit {version('nisqkit')} reads version "
            f"{VERSION}: use the nisqkit that wrote it, or train again"
        )
    return content
