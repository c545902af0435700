"""Training in processes that are really killed, at chosen moments, and resumed."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nisqkit.qml.checkpoint import load_checkpoint
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.datasets import load_dataset
from nisqkit.qml.training import train

# A process that forks one child after another. Each child trains until it kills itself, at the
# moment that its line names; forking saves importing everything again for each of them.
pytestmark = pytest.mark.slow

CHILD = """
import os, signal, sys
from pathlib import Path
import torch
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.fit import Watcher
from nisqkit.qml.models import quantum_layers
from nisqkit.qml.training import build_model, load_data, train

out, config = Path(sys.argv[1]), TrainConfig.from_json(sys.argv[2])

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

class KillAt(Watcher):
    left = 0
    def step(self, loss):
        self.left -= 1
        if self.left == 0:
            kill()

def child(moment, number):
    watcher, replace, fsync = KillAt(), os.replace, os.fsync
    def counted(done):
        nonlocal number
        number -= 1
        if number == 0:
            done()
            kill()
    if moment == "step":
        watcher.left = number
    elif moment == "torn file":  # half of a new checkpoint is on disk, under its temporary name
        def torn(file):
            if os.readlink(f"/proc/self/fd/{file}").endswith("checkpoint.pt.tmp"):
                counted(lambda: os.ftruncate(file, os.fstat(file).st_size // 2))
            fsync(file)
        os.fsync = torn
    elif moment in ("before rename", "after rename"):
        def renamed(old, new):
            if str(new).endswith("checkpoint.pt"):
                counted(lambda: moment == "after rename" and replace(old, new))
            replace(old, new)
        os.replace = renamed
    train(config, out=out, resume=(out / "config.json").exists(), watcher=watcher)

# Imports scikit-learn and what optimisers need and loads the compiled kernels once for all
# children; one sample runs in this thread, so that there is no other thread to lose by forking.
data = load_data(config)
model = build_model(config, data.num_features, data.num_classes)
torch.optim.Adam(model.parameters())
for layer in quantum_layers(model).values():
    x = torch.zeros(1, len(layer.program.inputs))
    layer(x).sum().backward()
    layer.eval()(x)
for line in sys.stdin:
    moment, number = line.strip().split(",")
    pid = os.fork()
    if pid == 0:
        child(moment, int(number))
        os._exit(0)
    print(-os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


CONFIG = TrainConfig(depth=1, epochs=4, batch_size=64, lr=0.05, checkpoint_every_steps=3)


@pytest.fixture(params=["noise-free", "noise-aware"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> TrainConfig:
    """Both have 8 steps per epoch."""
    if request.param == "noise-free":
        return CONFIG
    digits, arrays = load_dataset("digits2"), {}
    for name, count in (("train", 40), ("valid", 10), ("test", 10)):
        part = getattr(digits, name)
        arrays[f"x_{name}"], arrays[f"y_{name}"] = part.features[:count], part.labels[:count]
    np.savez(tmp_path / "few.npz", **arrays)
    return replace(
        CONFIG,
        data=str(tmp_path / "few.npz"),
        batch_size=5,
        nodes=2,
        norm=True,
        quantize=5,
        noise="gates",
        noise_schedule="linear",
        devices=("fake_belem",),
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork and /proc")
def test_kill_9_at_any_moment_changes_no_bit(config: TrainConfig, tmp_path: Path) -> None:
    kills = [
        ("step", 2),  # before there is any checkpoint
        ("torn file", 1),  # at step 3
        ("before rename", 2),  # at step 6
        ("after rename", 2),  # from step 3 on: at step 8, the first epoch's end
        ("step", 5),  # at step 13, two after the checkpoint of step 11
        ("torn file", 3),
        ("step", 9),
    ]
    lines = [f"{moment},{number}" for moment, number in [*kills, ("never", 0)]]
    out = tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(out), config.to_json()],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    exits = [int(line) for line in done.stdout.split()]
    assert exits == [signal.SIGKILL] * len(kills) + [0], done.stderr

    expected = train(config, out=tmp_path / "whole")
    killed, whole = (load_checkpoint(d / "checkpoint.pt") for d in (out, tmp_path / "whole"))
    for part in ("model", "best_weights"):
        assert killed[part].keys() == whole[part].keys()
        assert all(torch.equal(killed[part][k], whole[part][k]) for k in whole[part])
    epochs = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [{**e, "seconds": 0} for e in epochs] == [{**e, "seconds": 0} for e in expected.history]
    report = json.loads((out / "report.json").read_text())
    assert report["test"] == json.loads(json.dumps(expected.report["test"]))
    assert report["replayed_steps"] > 0
    assert expected.replayed_steps == 0
    assert [f.name for f in out.iterdir() if f.suffix == ".tmp"] == []
