"""The folder of a training run: its files, who may write into it, and how it is read again."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nisqkit.qml.checkpoint import load_checkpoint, save_checkpoint, write_atomic
from nisqkit.qml.config import TrainConfig

PACKAGES = ("nisqkit", "torch", "qiskit", "qiskit-aer", "numpy", "numba")


def runs_below(path: Path) -> list[str]:
    """The runs of several seeds in a folder, or of a demonstration, relative to the folder."""
    found = [f for pattern in ("seed*", "*/seed*") for f in path.glob(pattern)]
    return sorted(str(f.relative_to(path)) for f in found if RunFolder(f).holds_run)


class RunFolder:
    """One run's files: config, checkpoint, metrics, report and pictures.

    All are written atomically, and ``metrics.jsonl`` is always rewritten from the checkpoint's own
    record, so that it never has a line twice or half of one. ``progress.txt`` alone is written in
    place: it counts the steps done, which after a kill says how many must be replayed.

    Args:
        path: the folder; nothing is created yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def config_file(self) -> Path:
        """What was run: config, versions, dataset, devices, date."""
        return self.path / "config.json"

    @property
    def checkpoint_file(self) -> Path:
        """Where training stands."""
        return self.path / "checkpoint.pt"

    @property
    def report_file(self) -> Path:
        """What came out."""
        return self.path / "report.json"

    @property
    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return self.config_file.exists() or self.checkpoint_file.exists()

    @property
    def finished(self) -> bool:
        """Whether the run here has its report."""
        return self.report_file.exists()

    def config(self) -> TrainConfig:
        """The config of the run in this folder.

        Raises:
            FileNotFoundError: there is none.
            ValueError: ``config.json`` is damaged.
        """
        if not self.config_file.is_file():
            raise FileNotFoundError(
                f"there is no run in {self.path} (no config.json); a run's folder is what "
                "`nisqkit train --out` wrote"
            )
        try:
            return TrainConfig.from_dict(json.loads(self.config_file.read_text("utf-8"))["config"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{self.config_file} is damaged ({error}); train again into another folder"
            ) from error

    def check(self, config: TrainConfig, resume: bool) -> None:
        """Say whether a run with this config may start or resume here; nothing is written.

        Raises:
            ValueError: the folder holds another run or other files, or a run with another config.
            FileNotFoundError: there is nothing to resume.
        """
        if not resume:
            if self.holds_run:
                raise ValueError(
                    f"{self.path} already holds a run: continue it with --resume (resume=True), or "
                    "choose another folder with --out"
                )
            # A run that was killed while it wrote its first file leaves a temporary one.
            if self.path.is_dir() and any(f.suffix != ".tmp" for f in self.path.iterdir()):
                raise ValueError(f"{self.path} holds other files: choose an empty or a new folder")
            for path in (self.path, *self.path.parents):
                if path.exists() and not path.is_dir():
                    raise ValueError(f"{path} is a file: choose a folder")
            return
        if not self.holds_run:
            if inner := runs_below(self.path):
                raise FileNotFoundError(
                    f"there is no run in {self.path} itself to resume, but in its subfolders "
                    f"{', '.join(inner)}: resume all seeds with --seeds N, N as before, or one of "
                    f"them with --out {self.path / inner[0]}"
                )
            raise FileNotFoundError(
                f"there is no run in {self.path} to resume: leave out --resume (resume=True) to "
                "start one"
            )
        if different := config.differences(self.config()):
            raise ValueError(
                f"the run in {self.path} has another config; different are: "
                f"{', '.join(different)}. Resume it with its own config, or choose another "
                "folder with --out"
            )

    def start(self, config: TrainConfig, record: dict[str, Any]) -> None:
        """Create the folder, and write what is about to be run."""
        self.path.mkdir(parents=True, exist_ok=True)
        content = {
            "config": config.to_dict(),
            "versions": {name: version(name) for name in PACKAGES}
            | {"python": platform.python_version()},
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.write_json(self.config_file, content | record)

    def write_json(self, path: Path, content: object) -> None:
        """Write a file of JSON that people can read."""
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomic(path, f"{text}\n".encode())

    def save(self, content: dict[str, Any]) -> None:
        """Write the checkpoint, then ``metrics.jsonl`` from its history."""
        save_checkpoint(self.checkpoint_file, content)
        self.write_metrics(content["history"])

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """Write one line of JSON per finished epoch."""
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in history)
        write_atomic(self.path / "metrics.jsonl", lines.encode())

    def load(self) -> dict[str, Any] | None:
        """The checkpoint; None if the run was stopped before its first one.

        Raises:
            FileNotFoundError: it was deleted.
            ValueError: it is damaged.
        """
        if self.checkpoint_file.exists():
            return load_checkpoint(self.checkpoint_file)
        metrics = self.path / "metrics.jsonl"
        # Both are written after a checkpoint only.
        if self.finished or (metrics.exists() and metrics.stat().st_size):
            raise FileNotFoundError(
                f"{self.checkpoint_file} is gone, though this run had one: put it back from a "
                "backup, or train again into another folder"
            )
        return None

    def read_progress(self) -> tuple[int, int]:
        """Steps reached before the run was stopped, and steps replayed in all resumes so far."""
        path = self.path / "progress.txt"
        numbers = path.read_text("ascii").split() if path.exists() else []
        # The file is empty if the run was stopped right after creating it.
        return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else (0, 0)

    def write_progress(self, steps: int, replayed: int) -> None:
        """Record the steps reached: one small write in place, which survives kill -9."""
        file = os.open(self.path / "progress.txt", os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.write(file, f"{steps:12d} {replayed:12d}\n".encode())
        finally:
            os.close(file)
