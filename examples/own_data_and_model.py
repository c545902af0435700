"""Your own data and your own model, trained with checkpoints, from Python.

The same from the shell:

    nisqkit train --data moons.npz --model own_model.py:build --epochs 60 --out runs/moons
    nisqkit predict runs/moons --data new.csv
"""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import make_moons

from nisqkit.qml import TrainConfig, load_run, train
from nisqkit.qml.runs import predict

OWN_MODEL = """
from torch import nn
from nisqkit.circuits import angle, hardware_efficient
from nisqkit.qml import QuantumLayer

def build(num_features, num_classes):
    # A classical layer chooses the angles, a circuit of three qubits does the rest.
    circuit = angle(3).compose(hardware_efficient(3, layers=4))
    return nn.Sequential(
        nn.Linear(num_features, 3),
        QuantumLayer(circuit, inputs="x"),
        nn.Linear(3, num_classes),
    )
"""

with tempfile.TemporaryDirectory() as folder:
    data, model, out = (
        Path(folder) / "moons.npz",
        Path(folder) / "own_model.py",
        Path(folder) / "run",
    )
    points, labels = make_moons(400, noise=0.15, random_state=0)
    np.savez(data, features=points, labels=np.where(labels == 0, "upper", "lower"))
    model.write_text(OWN_MODEL)

    config = TrainConfig(data=str(data), model=f"{model}:build", epochs=60, batch_size=16, lr=0.1)
    result = train(config, out=out, baselines=True)
    for test in result.report["test"]:
        print(f"test accuracy {test['accuracy']:.1%} of {test['total']} samples")
    for fit in result.report["baselines"]:
        print(f"  {fit['name']}: {fit['test_accuracy']:.1%}")

    # A trained run can be used again anywhere.
    run = load_run(out)
    points = np.array([[0, 1], [1, -0.5]], np.float32)
    classes, probabilities = predict(run, points)
    for point, name, row in zip(points, classes, probabilities, strict=True):
        shares = ", ".join(f"{c} {p:.0%}" for c, p in zip(run.class_names, row, strict=True))
        print(f"{point} is {name} ({shares})")
