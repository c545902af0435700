"""Compiled kernels are dropped when any source of theirs has changed, and only then."""

from __future__ import annotations

from pathlib import Path

from nisqkit.hardware_backends.native.cache import drop_stale


def test_kernels_of_other_sources_are_dropped(tmp_path: Path) -> None:
    sources, folder = tmp_path / "sources", tmp_path / "cache"
    sources.mkdir()
    (sources / "outer.py").write_text("1")
    (sources / "inner.py").write_text("1")
    drop_stale(folder, sources)  # makes the folder
    kernels = [folder / "outer.f-1.py311.nbi", folder / "outer.f-1.py311.1.nbc"]
    for kernel in kernels:
        kernel.write_text("machine code")
    drop_stale(folder, sources)
    assert all(kernel.exists() for kernel in kernels)
    (sources / "inner.py").write_text("2")  # Numba itself would not look at it
    (folder / "outer.cpython-311.pyc").write_text("not Numba's")
    drop_stale(folder, sources)
    assert not any(kernel.exists() for kernel in kernels)
    assert (folder / "outer.cpython-311.pyc").exists()
