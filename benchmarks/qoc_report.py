"""The table and the picture of qoc.py."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nisqkit.qml.plots import save_figure
from nisqkit.qml.statistics import mean_interval

COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#999999", "#D55E00", "#009E73", "#CC79A7", "#000000")
MARKERS = "os^vDPX*"


def of(lines: Sequence[Mapping[str, Any]], task: str, arm: str) -> list[Mapping[str, Any]]:
    """The runs of an arm, one per seed, in the order of seeds."""
    found = [line for line in lines if (line["task"], line["arm"]) == (task, arm)]
    return sorted(found, key=lambda line: line["seed"])


def percent(values: Sequence[float]) -> str:
    """Mean and Student's 95 % interval."""
    mean, low, high = mean_interval([100 * value for value in values])
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def report(
    about: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], titles: Mapping[str, str]
) -> str:
    """A table per task."""
    seeds = 1 + max(line["seed"] for line in lines)
    parts = [
        "# Gradient pruning: accuracy against the number of circuits",
        "",
        f"Trained and tested on the full noise of {about['device']} (calibrated "
        f"{(about['calibrated'] or '')[:10]}) with {about['shots']} shots per circuit, by "
        f"parameter shift; {seeds} seeds, which decide split, initial weights, batches and draws; "
        "mean and Student's 95 % interval, accuracies in percent. Differences are paired by seed; "
        "in bold where their interval does not hold 0, which chance alone brings about in one of "
        "20. Adam from a learning rate of 0.3 by a cosine to 0, weight decay 1e-4; pruning with "
        f"windows of 1 and 2 steps, ratio 0.5, floor 0.01. {about['date'][:10]}.",
    ]
    for task in about["tasks"]:
        name = task["name"]
        if not (runs := of(lines, name, "none")):
            continue
        train, test = of(lines, name, "classical")[0]["samples"]
        parts += [
            "",
            f"## {name}",
            "",
            f"{train} training and {test} test samples, {runs[0]['weights']} weights "
            f"({task['space']}, {task['blocks']} blocks), batches of {task['batch']}, "
            f"{task['epochs']} epochs.",
            "",
            "| | circuits | accuracy | minus nothing pruned | minus 2/3 of the epochs "
            "| tested noise-free |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for key, title in titles.items():
            found = of(lines, name, key)
            accuracies = [line["accuracy"] for line in found]
            apart = [_difference(found, of(lines, name, other)) for other in ("none", "short")]
            free = percent([line["noise_free_accuracy"] for line in found])
            circuits = f"{found[0]['executions']:,}"
            parts.append(
                f"| {title} | {circuits} | {percent(accuracies)} | {' | '.join(apart)} | {free} |"
            )
        for fit in of(lines, name, "classical")[0]["accuracies"]:
            values = [line["accuracies"][fit] for line in of(lines, name, "classical")]
            parts.append(f"| {fit} | | {percent(values)} | | | |")
        budget = of(lines, name, "grows")[0]["budget"]
        share = np.mean([line["floor_share"] for line in of(lines, name, "specified")])
        parts += [
            "",
            f"Growing shots: {budget[0]} to {budget[1]}, on average {about['shots']} per step. "
            f"At the end of probabilistic pruning the floor has {100 * share:.0f} % of all "
            "probability: that much of a draw does not depend on the gradients.",
        ]
    return "\n".join(parts) + "\n"


def _difference(found: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> str:
    if found is other or [f["arm"] for f in found] == [o["arm"] for o in other]:
        return ""
    pairs = zip(found, other, strict=True)
    values = [100 * (one["accuracy"] - two["accuracy"]) for one, two in pairs]
    mean, low, high = mean_interval(values)
    text = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
    return text if low <= 0 <= high else f"**{text}**"


def picture(lines: Sequence[Mapping[str, Any]], titles: Mapping[str, str], path: Path) -> None:
    """Accuracy on the device over circuits run so far, with intervals at the end."""
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    figure = Figure(figsize=(5.2 * len(tasks), 4.6), layout="constrained")
    grid = figure.subplots(1, len(tasks), squeeze=False)[0]
    for ax, task in zip(grid, tasks, strict=True):
        arms = [key for key in titles if key != "simulated"]
        for k, key in enumerate(arms):
            curves = np.array([line["curve"] for line in of(lines, task, key)])
            x, y = curves[0, :, 0] / 1000, 100 * curves[:, :, 2].mean(axis=0)
            mean, low, high = mean_interval(100 * curves[:, -1, 2])
            ax.plot(x, y, color=COLOURS[k], linewidth=1.3, alpha=0.8)
            ax.errorbar(
                x[-1] * (1 + (0.02 * (k - 4) if key != "none" else 0)),  # beside each other
                mean,
                [[mean - low], [high - mean]],
                fmt=MARKERS[k],
                color=COLOURS[k],
                capsize=3,
                label=titles[key],
            )
        simulated = 100 * np.mean([line["accuracy"] for line in of(lines, task, "simulated")])
        ax.axhline(simulated, color="#595959", linestyle=":", label=titles["simulated"])
        ax.set_title(task, fontsize=10)
        ax.set_xlabel("circuits run in training (thousands)")
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    grid[0].set_ylabel("test accuracy on the device (%)")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    save_figure(figure, path)
