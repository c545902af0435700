"""Kill a training run with SIGKILL ten times at random moments, resume it, and compare the weights.

Prints where each kill hit, how many steps had to be replayed, and whether the final weights are
those of a run that was never killed. Exit code 1 if they are not.

    python benchmarks/kill_resume.py [--kills 10] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from nisqkit.qml.checkpoint import load_checkpoint
from nisqkit.qml.run_folder import RunFolder

NISQKIT = [sys.executable, "-c", "from nisqkit.cli.main import app; app()"]
OPTIONS = ["--task", "digits4", "--depth", "4", "--epochs", "300", "--device", "fake_santiago"]
STEPS_PER_EPOCH = 16


def start(out: Path) -> subprocess.Popen[bytes]:
    """Start a run, or resume it if there is one."""
    resume = ["--resume"] if (out / "config.json").exists() else OPTIONS
    command = [*NISQKIT, "train", "--out", str(out), *resume]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def steps_saved(out: Path) -> int:
    """Steps that the run's checkpoint holds."""
    checkpoint = RunFolder(out).load()
    return 0 if checkpoint is None else checkpoint["epoch"] * STEPS_PER_EPOCH + checkpoint["step"]


def wait_for_training(process: subprocess.Popen[bytes], out: Path) -> None:
    """Return when the run does its first new step, or ends."""
    before = RunFolder(out).read_progress()[0]
    while process.poll() is None and RunFolder(out).read_progress()[0] <= before:
        time.sleep(0.001)


def same_weights(a: Path, b: Path) -> bool:
    """Whether all weights of two checkpoints agree in every bit."""
    first, second = (load_checkpoint(path / "checkpoint.pt") for path in (a, b))
    return all(
        first[part].keys() == second[part].keys()
        and all(torch.equal(first[part][k], second[part][k]) for k in first[part])
        for part in ("model", "best_weights")
    )


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        if start(whole).wait() != 0:
            return 1
        seconds = json.loads((whole / "report.json").read_text())["seconds"]
        print(f"never killed: {RunFolder(whole).read_progress()[0]} steps in {seconds:.1f} s")
        for number in range(1, options.kills + 1):
            process = start(killed)
            wait_for_training(process, killed)
            time.sleep(moments.uniform(0, 1.2 * seconds / options.kills))
            process.kill()
            process.wait()
            reached, saved = RunFolder(killed).read_progress()[0], steps_saved(killed)
            print(f"kill {number:2}: at step {reached:5}, to replay {reached - saved:3}")
        if start(killed).wait() != 0:
            return 1
        report = json.loads((killed / "report.json").read_text())
        done = RunFolder(killed).read_progress()[0]
        print(f"steps replayed: {report['replayed_steps']} of {done}")
        same = same_weights(whole, killed)
        print(f"final and best weights bit-identical: {'yes' if same else 'NO'}")
        return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
