import os
from pathlib import Path

import pytest
import torch

from nisqkit.qml import checkpoint as module
from nisqkit.qml.checkpoint import load_checkpoint, save_checkpoint, write_atomic


def test_content_comes_back_bit_for_bit(tmp_path: Path) -> None:
    weights = torch.randn(5, dtype=torch.float64)
    content = {"weights": weights, "loss": 0.1 + 0.2, "history": [{"epoch": 1}], "step": 3}
    save_checkpoint(tmp_path / "a.pt", content)
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert torch.equal(loaded["weights"], weights)
    assert {k: loaded[k] for k in ("loss", "history", "step")} == {
        k: content[k] for k in ("loss", "history", "step")
    }


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError("no space left on device")

    file = tmp_path / "a.txt"
    write_atomic(file, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_atomic(file, b"new")
    assert file.read_bytes() == b"old"


def test_data_are_on_disk_before_the_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b))[1])
    write_atomic(tmp_path / "a.txt", b"new")
    assert order == ["fsync", "replace", "fsync"]  # the file, the name, the folder
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*a\.pt"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("kept", [0, 100, -50])
def test_a_damaged_checkpoint(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "a.pt"
    save_checkpoint(file, {"weights": torch.zeros(100)})
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"a\.pt is damaged or no checkpoint of nisqkit"):
        load_checkpoint(file)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"format": module.FORMAT, "trap": Trap(tmp_path / "sprung")}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="damaged or no checkpoint") as refused:
        load_checkpoint(tmp_path / "a.pt")
    assert "weights_only" not in str(refused.value)
    assert not (tmp_path / "sprung").exists()


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_file_of_pytorch_that_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="no checkpoint of nisqkit: it lacks the mark"):
        load_checkpoint(tmp_path / "a.pt")


def test_another_format_version_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERSION", 7)
    save_checkpoint(tmp_path / "a.pt", {})
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"format version 7 .* reads version 1"):
        load_checkpoint(tmp_path / "a.pt")
