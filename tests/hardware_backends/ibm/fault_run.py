"""Trains under random faults, in processes that are really killed; prints what came of it as JSON.

    python fault_run.py FOLDER FAULTS[:BROKEN] ...

It imports everything once and forks a child for each attempt. A child trains, or goes on training,
until a fault ends it or it is through; the next one resumes. Runs follow each other until all
faults are used up. Two kinds of wrong bookkeeping can be asked for, to see that they are found out:
``forgetful``, a ledger that does not note that it is sending, and ``impatient``, a runner that
takes a job for unsent if it is not listed at once.
"""

import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from stand_in import StandIn, paid, stand_in_service
from torch import nn

from nisqkit.circuits import angle, hardware_efficient
from nisqkit.hardware_backends.ibm import IBMBackend, Ledger
from nisqkit.hardware_backends.ibm.runner import JobLost, Patience
from nisqkit.noise import Device
from nisqkit.qml import QuantumLayer
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.datasets import Dataset, Split
from nisqkit.qml.fit import fit
from nisqkit.qml.run_folder import RunFolder

CONFIG = TrainConfig(
    task="digits2", epochs=4, batch_size=4, lr=0.1, checkpoint_every_steps=3, seed=0
)
PATIENCE = Patience(settle=0.4, give_up=20.0, first=0.004, longest=0.02)
DEVICE = Device.load("fake_manila")
KILLS = ("before submit", "after submit", "state", "result", "any time")
ERRORS = ("submit-unheard", "submit-unanswered", "state-unheard", "result-unanswered")
LOSSES = ("failed", "cancelled")
LOST, FULL = 3, 4


def data():
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, (20, 2)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(np.int64)
    train, valid, test = (Split(x[a:b], y[a:b]) for a, b in ((0, 12), (12, 16), (16, 20)))
    return Dataset("made up", ("a", "b"), (2,), train, valid, test, {})


class ForgetfulLedger(Ledger):
    """One that forgets that it was sending."""

    def sending(self, entry):
        pass


def build(folder, socket, again=False, moment=lambda where: None, broken=""):
    backend = IBMBackend(
        "ibm_stand_in",
        run="training",
        ledger=(ForgetfulLedger if broken == "forgetful" else Ledger)(folder / "ibm.sqlite"),
        again=again,
        patience=replace(PATIENCE, settle=0) if broken == "impatient" else PATIENCE,
        service=(StandIn(socket, moment), DEVICE),
    )
    circuit = angle(2).compose(hardware_efficient(2, layers=1))
    return QuantumLayer(circuit, inputs="x", backend=backend, shots=64, seed=1)


def child(folder, socket, again, fault, number, broken):
    """What a forked process does; never returns."""
    code = 1
    try:
        left = number

        def moment(where):
            nonlocal left
            if where == fault:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        if fault == "full disk":
            file = folder / "ibm.sqlite"
            limit = 4096 * number + (file.stat().st_size if file.exists() else 0)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        layer = build(folder, socket, again, moment, broken)
        fit(nn.Sequential(layer), data(), CONFIG, folder=RunFolder(folder / "run"))
        (folder / "weights").write_bytes(layer.weights.detach().numpy().tobytes())
        code = 0
    except JobLost:
        code = LOST
    except OSError:
        code = FULL
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def one_run(folder, dice, faults, used, broken):
    """Train to the end with up to so many faults; returns how many are left."""
    (folder / "run").mkdir(parents=True)
    again = False

    def happened(fault, times=1):
        used[fault] = used.get(fault, 0) + times

    with stand_in_service(folder, list_delay=0.1) as service:
        while True:
            before = sum(used.values())
            fault, number = dice.choice((*KILLS, *KILLS, "full disk")), dice.randint(1, 4)
            of_service = {e: dice.randint(1, 2) for e in dice.sample(ERRORS, 2)}
            if dice.random() < 0.3:
                of_service[dice.choice(LOSSES)] = 1
            if faults <= 0:
                fault, of_service = "none", {}
            service.ask("plan", **of_service)
            process = os.fork()
            if process == 0:
                child(folder, service.path, again, fault, number, broken)
            if fault == "any time":
                time.sleep(dice.uniform(0, 0.25))
                os.kill(process, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if code in (-signal.SIGKILL, FULL):
                happened(fault)
            left = service.ask("plan")
            for kind, times in of_service.items():
                happened(kind, times - left.get(kind, 0))
            faults -= sum(used.values()) - before
            again = code == LOST
            if code in (0, 1):
                return faults


def trial(folder, faults, broken):
    dice = random.Random(1)
    used, runs = {}, []
    while not runs or (faults > 0 and runs[-1]["weights"]):
        place = folder / f"{len(runs)}"
        faults = one_run(place, dice, faults, used, broken)
        weights = place / "weights"
        bills = Counter(paid(place))
        runs.append({"weights": weights.exists() and weights.read_bytes().hex(), "bills": bills})
    return {"faults": used, "runs": runs}


def main(folder, *trials):
    torch.set_num_threads(1)
    # what is imported and transpiled here, no forked process does again
    layer = build(folder, folder / "none")
    layer.plan(4)
    torch.optim.Adam(layer.parameters()).step()
    found = {}
    for given in trials:
        faults, _, broken = given.partition(":")
        found[given] = trial(folder / given, int(faults), broken)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
