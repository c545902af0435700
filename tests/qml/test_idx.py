"""IDX files are read as their header says, and damaged ones are refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nisqkit.qml.idx import read_idx

VALUES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)


def idx_bytes(values: NDArray[Any]) -> bytes:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.tobytes()


def test_plain_and_gzip_files_hold_the_same_values(tmp_path: Path) -> None:
    plain, packed, unpacked_by_browser = (tmp_path / name for name in ("a", "b.gz", "c.gz"))
    plain.write_bytes(idx_bytes(VALUES))
    packed.write_bytes(gzip.compress(idx_bytes(VALUES)))
    unpacked_by_browser.write_bytes(idx_bytes(VALUES))
    for path in (plain, packed, unpacked_by_browser):
        np.testing.assert_array_equal(read_idx(path, dimensions=3), VALUES)


def test_values_may_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(idx_bytes(VALUES))
    read_idx(tmp_path / "a", dimensions=3)[0, 0, 0] = 9


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx_bytes(VALUES))[:-9])
    with pytest.raises(ValueError, match=r"a\.gz is damaged or truncated gzip data"):
        read_idx(tmp_path / "a.gz", dimensions=3)


@pytest.mark.parametrize("position", range(10, 40))
def test_any_flipped_byte_in_gzip_data_is_refused(tmp_path: Path, position: int) -> None:
    data = bytearray(gzip.compress(idx_bytes(VALUES), mtime=0))
    data[position] ^= 0xFF
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(ValueError, match="damaged or truncated gzip data"):
        read_idx(tmp_path / "a.gz", dimensions=3)


@pytest.mark.parametrize("start", [b"<html>", b"", b"\0\0", b"\0\0\x0d\x03"])
def test_wrong_magic_number_is_refused(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a").write_bytes(start)
    with pytest.raises(ValueError, match=f"0x{start[:4].hex()}, expected 0x00000803"):
        read_idx(tmp_path / "a", dimensions=3)


def test_labels_in_place_of_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(idx_bytes(np.zeros(5, np.uint8)))
    with pytest.raises(ValueError, match="0x00000801, expected 0x00000803; images and labels may"):
        read_idx(tmp_path / "a", dimensions=3)


def test_truncated_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(idx_bytes(VALUES)[:10])
    with pytest.raises(ValueError, match="truncated inside its header: 16 bytes expected, 10"):
        read_idx(tmp_path / "a", dimensions=3)


@pytest.mark.parametrize(("change", "found"), [(-1, 39), (2, 42)])
def test_wrong_length_is_refused(tmp_path: Path, change: int, found: int) -> None:
    data = idx_bytes(VALUES)
    (tmp_path / "a").write_bytes(data[:change] if change < 0 else data + bytes(change))
    with pytest.raises(ValueError, match=f"4 x 2 x 3 values, so 40 bytes are expected, {found}"):
        read_idx(tmp_path / "a", dimensions=3)


def test_sizes_that_overflow_64_bits_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3))
    expected = 16 + (2**32 - 1) ** 3
    with pytest.raises(ValueError, match=f"so {expected} bytes are expected, 16 found"):
        read_idx(tmp_path / "a", dimensions=3)
