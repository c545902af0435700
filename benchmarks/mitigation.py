"""What error mitigation is worth: random circuits on five devices, and training with it.

Writes mitigation.json and mitigation.md into the folder that is given:
python benchmarks/mitigation.py benchmarks/results/DATE
"""

import json
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from nisqkit.circuits import encoder, lower, u3_cu3
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.noise import Device, NoiseModel
from nisqkit.noise.mitigation import (
    PEC,
    ZNE,
    CliffordDataRegression,
    LayerwiseRichardson,
    Mitigator,
    ReadoutMitigation,
    stack_cost,
)
from nisqkit.qml import QuantumLayer, load_dataset
from nisqkit.qml.statistics import mean_interval

DEVICES = ("fake_santiago", "fake_belem", "fake_lima", "fake_quito", "fake_manila")
CIRCUITS = 20
SHOTS = 20_000
METHODS: dict[str, tuple[Mitigator, ...]] = {
    "raw": (),
    "ZNE, linear": (ZNE(extrapolation="linear"),),
    "ZNE, Richardson": (ZNE(),),
    "readout": (ReadoutMitigation(),),
    "ZNE, linear + readout": (ZNE(extrapolation="linear"), ReadoutMitigation()),
    "ZNE, Richardson + readout": (ZNE(), ReadoutMitigation()),
    "layerwise Richardson + readout": (LayerwiseRichardson(), ReadoutMitigation()),
    "Clifford data regression": (CliffordDataRegression(20),),
    "PEC + readout": (PEC(100), ReadoutMitigation()),
}


def task(seed: int, shots: int | None) -> Task:
    """A random circuit of 4 qubits, at random angles."""
    program = lower(random_circuit(4, 12, seed=seed))
    random = np.random.default_rng(seed)
    weights = torch.from_numpy(random.uniform(-np.pi, np.pi, len(program.weights)))
    observables = Observables.parse(None, 4)
    return Task(program, weights.new_zeros(1, 0), weights, observables, shots, (seed, 0, 0))


def errors(device: Device, kind: str, shots: int | None) -> dict[str, list[float]]:
    """Mean absolute error of the four values, per method and circuit."""
    model = NoiseModel.from_device(device, kind)
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    for seed in range(CIRCUITS):
        ideal = execute([task(seed, None)], Execution())[0].values
        for name, stack in METHODS.items():
            each = None if shots is None else int(shots / stack_cost(stack).shots)
            execution = Execution(noise=model, mitigation=stack)
            values = execute([task(seed, each)], execution)[0].values
            found[name].append(float((values - ideal).abs().mean()))
    return found


def training(seeds: Sequence[int]) -> dict[str, list[float]]:
    """Test accuracy on fake_belem of models trained with and without mitigation in the loop."""
    belem = Device.load("fake_belem")
    stack = (ZNE((1, 3), "linear"), ReadoutMitigation())
    circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=2))
    found: dict[str, list[float]] = {}
    for seed in seeds:
        data = load_dataset("digits4", seed=seed)
        x, y = data.train.tensors()
        x_test, y_test = data.test.tensors()
        trained: dict[str, dict[str, Any]] = {
            "noise-free": {},
            "noisy": {"noise": belem},
            "noisy, mitigated": {"noise": belem, "mitigation": stack},
        }
        for name, options in trained.items():
            layer = QuantumLayer(circuit, "x", seed=seed, **options)
            optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
            torch.manual_seed(seed)
            for _ in range(20):
                for rows in torch.randperm(len(x)).split(64):
                    optimizer.zero_grad()
                    cross_entropy(layer(x[rows]), y[rows]).backward()
                    optimizer.step()
            tested: dict[str, dict[str, Any]] = {
                "raw device": {"noise": belem},
                "mitigated device": {"noise": belem, "mitigation": stack},
            }
            for where, there in tested.items():
                with torch.no_grad():
                    guess = layer.with_backend("native", **there)(x_test).argmax(dim=1)
                key = f"trained {name}, tested on the {where}"
                found.setdefault(key, []).append(float((guess == y_test).float().mean()))
    return found


def row(name: str, cells: Sequence[Sequence[float]], write: Callable[[float], str]) -> str:
    """A row of Markdown: mean and interval of each cell."""
    texts = []
    for values in cells:
        mean, low, high = mean_interval(values)
        texts.append(f"{write(mean)} ({write(low)} to {write(high)})")
    return f"| {name} | {' | '.join(texts)} |"


def main(folder: Path) -> None:
    """Measure, and write."""
    torch.set_num_threads(1)
    devices = {name: Device.load(name) for name in DEVICES}
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("nisqkit", "torch", "qiskit", "numpy")}
        | {"python": platform.python_version()},
        "devices": {n: d.date.isoformat() if d.date else None for n, d in devices.items()},
        "circuits": CIRCUITS,
    }
    lines = [
        "# Error mitigation on simulated devices",
        "",
        f"{CIRCUITS} random circuits of 4 qubits and 12 gates per device; mean absolute error of "
        "Z on each qubit against noise-free values, mean over circuits with Student's 95 % "
        f"interval, {results['date'][:10]}. ZNE folds the transpiled circuit as a whole by 1, 3, "
        "5; layerwise Richardson folds 4 chunks apart; regression has 20 training circuits; PEC "
        "draws 100 patterns. Bold: worse than raw.",
    ]
    for kind, shots in (("full", None), ("full", SHOTS), ("pauli", None)):
        how = "unlimited shots" if shots is None else f"{shots} shots in all for every method"
        noise = "full noise" if kind == "full" else "Pauli noise, for which PEC has no bias"
        lines += ["", f"## {noise}, {how}", "", f"| | {' | '.join(DEVICES)} |"]
        lines.append("| --- " * (len(DEVICES) + 1) + "|")
        found = {name: errors(device, kind, shots) for name, device in devices.items()}
        results[f"{kind}, {shots}"] = found
        for method in METHODS:
            text = row(method, [found[n][method] for n in DEVICES], lambda v: f"{v:.4f}")
            cells = text.split(" | ")
            for k, name in enumerate(DEVICES, start=1):
                if np.mean(found[name][method]) > np.mean(found[name]["raw"]):
                    cells[k] = f"**{cells[k].removesuffix(' |')}**" + " |" * cells[k].endswith(" |")
            lines.append(" | ".join(cells))
        print("\n".join(lines[-len(METHODS) - 4 :]), flush=True)
    results["training"] = training(range(5))
    lines += ["", "## Training with mitigation in the loop", ""]
    lines.append(
        "digits4 on fake_belem's full noise, U3 + CU3 of 2 blocks, 20 epochs, 5 seeds; test "
        "accuracy in percent. Mitigation: ZNE by 1 and 3, linear, and readout."
    )
    lines += ["", "| | accuracy |", "| --- | --- |"]
    lines += [
        row(name, [values], lambda v: f"{100 * v:.1f}")
        for name, values in results["training"].items()
    ]
    (folder / "mitigation.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    (folder / "mitigation.md").write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines[-8:]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
