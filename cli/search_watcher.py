"""The progress of a search: a line for every stage, and a picture that is drawn anew."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.progress import Progress

from nisqkit.qml.fit import Watcher
from nisqkit.qml.nas_config import NasWatcher
from nisqkit.search import Study

_PICTURE_SECONDS = 3.0


class SearchWatcher(NasWatcher):
    """Shows a search on a progress display with the field ``numbers``.

    Args:
        progress: The display.
        picture: File of the picture.
    """

    def __init__(self, progress: Progress, picture: Path) -> None:
        self.progress, self.picture = progress, picture
        self.bar = progress.add_task("loading", total=None, numbers="")
        self.drawn = time.monotonic()

    def stage(self, text: str) -> None:
        """End a line, and begin another."""
        self.progress.update(self.bar, total=1, completed=1)
        self.bar = self.progress.add_task(text, total=None, numbers="")

    def training(self) -> Watcher:
        """Count epochs on the line of the stage."""
        return _Training(self)

    def searched(self, done: int, total: int, study: Study) -> None:
        """Count candidates, and draw from time to time."""
        self.progress.update(self.bar, total=total, completed=done)
        if time.monotonic() - self.drawn > _PICTURE_SECONDS and (front := study.front):
            name = "score" if "score" in front[0].metrics else "loss"
            best = min(one.metrics[name] for one in front)
            self.progress.update(self.bar, numbers=f"best {name} {best:.4f}")
            study.plot(self.picture)
            self.drawn = time.monotonic()


class _Training(Watcher):
    def __init__(self, shown: SearchWatcher) -> None:
        self.shown = shown

    def started(self, epochs: int, steps_per_epoch: int, steps_done: int, replayed: int) -> None:
        """Begin, or go on."""
        done = steps_done // steps_per_epoch
        self.shown.progress.update(self.shown.bar, total=epochs, completed=done)

    def epoch(self, record: dict[str, Any]) -> None:
        """Show the validation accuracy."""
        numbers = f"valid accuracy {record['valid_accuracy']:.1%}"
        bar = self.shown.bar
        self.shown.progress.update(bar, completed=record["epoch"], numbers=numbers)
