"""Read IDX files, the format of MNIST and Fashion-MNIST, and refuse damaged ones.

An IDX file is a big-endian header and then the values: two zero bytes, a byte for the type of the
values (8: unsigned bytes), a byte for the number of dimensions, then one 32-bit size per dimension
(http://yann.lecun.com/exdb/mnist/).
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_GZIP_START = b"\x1f\x8b"
_UNSIGNED_BYTE = 8


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzip.

    Whether the file is gzip is read from its first bytes and not from its name, since browsers
    unpack downloads and keep the name.

    Args:
        path: the file.
        dimensions: what the file must have: 3 for images, 1 for labels.

    Returns:
        Values 0..255, shape as in the header: ``(N, rows, columns)`` or ``(N,)``.

    Raises:
        ValueError: damaged gzip data, a wrong magic number, or another number of bytes than the
            header promises.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "labels"
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([7, 2, 1]))
        ...     read_idx(path, dimensions=1)
        array([7, 2, 1], dtype=uint8)
    """
    data = path.read_bytes()
    if data.startswith(_GZIP_START):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{path} is damaged or truncated gzip data ({error}); download it again"
            ) from error
    magic = bytes([0, 0, _UNSIGNED_BYTE, dimensions])
    if data[:4] != magic:
        raise ValueError(
            f"{path} is not an IDX file with {dimensions} dimension(s) of unsigned bytes: its "
            f"magic number is 0x{data[:4].hex()}, expected 0x{magic.hex()}; images and labels may "
            "be swapped, or the download returned a web page"
        )
    header = 4 + 4 * dimensions
    if len(data) < header:
        raise ValueError(
            f"{path} is truncated inside its header: {header} bytes expected, {len(data)} found; "
            "download it again"
        )
    shape = [int(size) for size in np.frombuffer(data, ">u4", count=dimensions, offset=4)]
    # math.prod works with Python integers: a damaged header can name sizes that overflow 64 bits.
    expected = header + math.prod(shape)
    if len(data) != expected:
        raise ValueError(
            f"{path} has the wrong length: its header says {' x '.join(map(str, shape))} values, "
            f"so {expected} bytes are expected, {len(data)} found; download it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()
