"""Exact injection against sampled injection: accuracy, and the time to reach it.

Reads the folder of a finished ``nisqkit bench nat``, whose runs keep accuracy and seconds of every
epoch, and writes a Markdown table: python benchmarks/injection_kinds.py runs/nat > table.md
"""

import json
import sys
from pathlib import Path

import numpy as np

from nisqkit.qml.statistics import mean_interval

KINDS = ("exact", "gates-1", "gates")


def histories(folder: Path) -> list[list[dict[str, float]]]:
    """One list of epochs per seed."""
    return [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
        for run in sorted(folder.glob("seed*"))
    ]


def reached(history: list[dict[str, float]], accuracy: float) -> float:
    """Seconds of training until the validation accuracy on the device is first reached."""
    seconds = np.cumsum([epoch["seconds"] for epoch in history])
    first = [k for k, epoch in enumerate(history) if epoch["valid_accuracy"] >= accuracy]
    return float(seconds[first[0]]) if first else float("inf")


def main(folder: Path) -> None:
    """Print the table."""
    settings = json.loads((folder / "nat.json").read_text("utf-8"))
    print(
        "Time: seconds on one core until the validation accuracy on the device reaches 95 % of "
        "what exact injection ends with (mean over seeds), median over seeds; infinite where more "
        f"than half never do. {settings['study']['seeds']} seeds, {settings['date'][:10]}.\n"
    )
    print("| task, device | injection | s per epoch | test accuracy on the device | time |")
    print("| --- | --- | --- | --- | --- |")
    for task in settings["study"]["tasks"]:
        for device in settings["study"]["devices"]:
            where = folder / task / device
            ends = [h[-1]["valid_accuracy"] for h in histories(where / "exact")]
            goal = 0.95 * float(np.mean(ends))
            for kind in KINDS:
                found = histories(where / kind)
                each = np.median([epoch["seconds"] for h in found for epoch in h])
                times = [reached(history, goal) for history in found]
                accuracy = mean_interval(
                    [
                        run["device_accuracy"]
                        for run in settings["runs"]
                        if (run["task"], run["device"], run["technique"]) == (task, device, kind)
                    ]
                )
                print(
                    f"| {task}, {device} | {kind} | {each:.3f} | {100 * accuracy.mean:.1f} "
                    f"({100 * accuracy.low:.1f} to {100 * accuracy.high:.1f}) | "
                    f"{np.median(times):.1f} s to {100 * goal:.1f} % |"
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
