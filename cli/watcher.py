"""The progress bar of a training run."""

from __future__ import annotations

from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nisqkit.cli.console import console
from nisqkit.qml.fit import Watcher


def progress_bar() -> Progress:
    """A bar that counts epochs, with the loss and the validation accuracy behind it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(),
        console=console,
    )


class ProgressWatcher(Watcher):
    """Draws a run's progress."""

    def __init__(self, progress: Progress, title: str) -> None:
        self.progress, self.title = progress, title
        self.valid = ""

    def started(self, epochs: int, steps_per_epoch: int, steps_done: int, replayed: int) -> None:
        """Begin, or go on."""
        if steps_done or replayed:
            epoch, step = divmod(steps_done, steps_per_epoch)
            console.print(
                f"{self.title}: resumed after epoch {epoch}, step {step} of {steps_per_epoch}; "
                f"steps done again since the last checkpoint: {replayed}",
                soft_wrap=True,
                highlight=False,
            )
        self.bar = self.progress.add_task(self.title, total=epochs, numbers="")
        self.progress.update(self.bar, completed=steps_done // steps_per_epoch)

    def step(self, loss: float) -> None:
        """Show the loss."""
        self.progress.update(self.bar, numbers=f"loss {loss:.4f}{self.valid}")

    def epoch(self, record: dict[str, Any]) -> None:
        """Show the validation accuracy."""
        self.valid = f", valid accuracy {record['valid_accuracy']:.1%}"
        numbers = f"loss {record['train_loss']:.4f}{self.valid}"
        self.progress.update(self.bar, completed=record["epoch"], numbers=numbers)

    def stage(self, text: str) -> None:
        """Say what is done now."""
        self.progress.update(self.bar, numbers=text)

    def finished(self, report: dict[str, Any]) -> None:
        """Show the test accuracy."""
        test = report["test"][0]
        self.progress.update(self.bar, numbers=f"test accuracy {test['accuracy']:.1%}")
