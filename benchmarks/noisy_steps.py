"""Training steps with device noise: the native engine beside PennyLane's default.mixed and Aer.

    python benchmarks/noisy_steps.py [--quick] [--out FOLDER]

The same circuit, noise and batch for all; values and gradients are compared before anything is
timed. Steps are taken in turns in one process; medians. Writes ``noise.json``, ``noise.md`` and
``noise.png``.
"""

from __future__ import annotations

import datetime as dt
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import pennylane as qp
import torch
import typer
from machine import machine
from matplotlib.figure import Figure
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from store import RESULTS
from tables import number, table
from torch import Tensor

from nisqkit.circuits import angle, encoder, u3_cu3
from nisqkit.circuits.observables import Observables
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.hardware_backends.native.trajectories import trajectory_variances
from nisqkit.noise import Device
from nisqkit.noise.pennylane_io import pennylane_operations
from nisqkit.noise.readout import through_readout
from nisqkit.qml import QuantumLayer

Json = dict[str, Any]
DEVICE = "fake_santiago"
BATCH = 64
SHIFTED = 2
"""Samples of Aer's steps, which are scaled to `BATCH`: its time is that of as many circuits."""
WIDE_DEVICE = "fake_guadalupe"


def layer_of(**options: Any) -> QuantumLayer:
    """4 qubits, 16 inputs, 4 blocks of U3 and a CU3 ring."""
    circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=4))
    return QuantumLayer(circuit, inputs="x", seed=0, **options)


def chain(qubits: int, layers: int) -> QuantumCircuit:
    """RY and RZ on each qubit, and CX along a row, which most devices run without SWAP."""
    circuit, weights = angle(qubits), ParameterVector("w", 2 * qubits * layers)
    for layer in range(layers):
        for q in range(qubits):
            k = 2 * (qubits * layer + q)
            circuit.ry(weights[k], q)
            circuit.rz(weights[k + 1], q)
        for q in range(qubits - 1):
            circuit.cx(q, q + 1)
    return circuit


def step(model: Callable[[Tensor], Tensor], x: Tensor, weights: Tensor) -> Tensor:
    """Forward, loss, backward; the outputs. Gradients of inputs and weights."""
    x.grad = weights.grad = None
    outputs = model(x)
    (outputs**2).mean().backward()
    return outputs.detach()


def mixed(layer: QuantumLayer, device: Device) -> Callable[[Tensor], Tensor]:
    """The same circuit and channels on ``default.mixed``, differentiated by backpropagation."""
    noisy = Binder.make(device).bind(layer.program)
    strings = through_readout(layer.observables, noisy)
    wires = noisy.num_qubits
    device_mixed = qp.device("default.mixed", wires=wires)

    @qp.qnode(device_mixed, interface="torch", diff_method="backprop")
    def circuit(angles: Tensor) -> Any:
        with qp.QueuingManager.stop_recording():
            operations = pennylane_operations(noisy, list(angles.unbind(-1)))
        for operation in operations:
            qp.apply(operation)
        return [qp.expval(qp.PauliZ(q)) for q in noisy.measured]

    matrix = torch.zeros(len(noisy.measured), len(noisy.measured), dtype=torch.float64)
    offset = torch.zeros(len(noisy.measured), dtype=torch.float64)
    for k, terms in enumerate(strings.sums or ()):
        for string, coefficient in terms:
            if set(string) == {"I"}:
                offset[k] += coefficient
            else:
                q = wires - 1 - string.index("Z")
                matrix[k, noisy.measured.index(q)] += coefficient

    def run(x: Tensor) -> Tensor:
        angles = noisy.program.angles(x, layer.weights).double()
        return torch.stack(circuit(angles), dim=-1) @ matrix.T + offset

    return run


def medians(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Milliseconds of each, in turns; quick ones are repeated within a turn."""
    for work in steps.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, work in steps.items():
            times, end = [], time.perf_counter() + 0.2
            while not times or time.perf_counter() < end:
                start = time.perf_counter()
                work()
                times.append(time.perf_counter() - start)
            found[name].append(statistics.median(times))
    return {name: 1e3 * statistics.median(values) for name, values in found.items()}


def beside_others(rounds: int) -> Json:
    """One training step on the device's full noise."""
    device = Device.load(DEVICE)
    ours = layer_of(noise=device)
    shifted = layer_of(noise=device, backend="aer", diff_method="parameter-shift")
    other = mixed(ours, device)
    x = torch.rand(BATCH, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    few = x.detach()[:SHIFTED].clone().requires_grad_()
    agreement = {}
    for name, model, weights, rows in (
        ("default.mixed", other, ours.weights, x),
        ("aer", shifted, shifted.weights, few),
    ):
        values = step(model, rows, weights)
        gradients = rows.grad, weights.grad
        own = rows.detach().clone().requires_grad_()
        expected = step(ours, own, ours.weights)
        pairs = [(values, expected), (gradients[0], own.grad), (gradients[1], ours.weights.grad)]
        worst = [float((a.double() - b.double()).abs().max()) for a, b in pairs]
        agreement[name] = dict(zip(("values", "inputs", "weights"), worst, strict=True))
        if max(worst) > 1e-4:
            raise AssertionError(f"{name} disagrees: {agreement[name]}")
    steps = {
        "nisqkit": lambda: step(ours, x, ours.weights),
        "default.mixed": lambda: step(other, x, ours.weights),
    }
    found = medians(steps, rounds)
    found["aer"] = medians({"aer": lambda: step(shifted, few, shifted.weights)}, 1)["aer"]
    found["aer"] *= BATCH / SHIFTED
    circuit = ours.transpiled.circuit
    return {
        "device": DEVICE,
        "gates": dict(circuit.count_ops()),
        "batch": BATCH,
        "aer_batch": SHIFTED,
        "agreement": agreement,
        "ms": found,
    }


def widths(rounds: int) -> list[Json]:
    """Density matrices of 2 to 8 qubits."""
    device, rows = Device.load(WIDE_DEVICE), []
    for n in range(2, 9):
        backend = NoisyBackend(device, method="density")
        layer = QuantumLayer(chain(n, 4), inputs="x", seed=0, backend=backend)
        x = torch.rand(16, n, requires_grad=True)
        work = {"step": lambda layer=layer, x=x: step(layer, x, layer.weights)}
        noisy = layer.backend.binder.bind(layer.program)
        found = medians(work, rounds if n < 7 else 1)["step"]
        rows.append({"qubits": n, "in_use": noisy.num_qubits, "batch": 16, "ms": found})
    return rows


def wide(rounds: int) -> list[Json]:
    """Trajectories at 8, 12 and 16 qubits, and what stratification gains there."""
    device, rows = Device.load(WIDE_DEVICE), []
    for n in (8, 12, 16):
        backend = NoisyBackend(device, method="trajectories", runs=32)
        layer = QuantumLayer(chain(n, 2), inputs="x", seed=0, backend=backend)
        x = torch.rand(4, n, requires_grad=True)
        work = {"step": lambda layer=layer, x=x: step(layer, x, layer.weights)}
        noisy = backend.binder.bind(layer.program)
        observables = through_readout(Observables.parse(None, n), noisy)
        variances = trajectory_variances(
            noisy, x.detach(), layer.weights.detach(), observables, 32, (0, 0, 0), 2
        )
        gain = float(variances.plain.sum() / variances.stratified.sum())
        rows.append(
            {
                "qubits": n,
                "in_use": noisy.num_qubits,
                "batch": 4,
                "runs": 32,
                "no_error": variances.no_error,
                "variance_ratio": gain,
                "std": float(variances.stratified.mean().sqrt()),
                "ms": medians(work, rounds if n < 16 else 1)["step"],
            }
        )
    return rows


def rare() -> list[Json]:
    """Variance with and without stratification, as errors become rare."""
    rows = []
    layer = layer_of()
    x = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    model = Binder.make(Device.load(DEVICE)).model
    for strength in (1.0, 0.3, 0.1, 0.03, 0.01):
        noisy = Binder.make(model.scale(strength)).bind(layer.program)
        observables = through_readout(layer.observables, noisy)
        found = trajectory_variances(
            noisy, x, layer.weights.detach(), observables, 64, (0, 0, 0), 2
        )
        rows.append(
            {
                "strength": strength,
                "no_error": found.no_error,
                "ratio": float(found.plain.sum() / found.stratified.sum()),
            }
        )
    return rows


def report(data: Json) -> str:
    """Markdown."""
    one = data["beside_others"]
    ms = one["ms"]
    parts = [
        f"# Noisy training steps, {data['date']}\n",
        f"{data['machine']['processor']} (family/model {data['machine']['family_model']}), "
        f"{data['machine']['cores']} cores, {data['machine']['system']}, "
        f"Python {data['machine']['python']}; float32 (default.mixed: complex128).\n",
        f"## Exact noise of {one['device']}, beside others\n",
        f"4 qubits, 16 inputs, 4 blocks of U3 and a CU3 ring, transpiled to "
        f"{', '.join(f'{v} {k}' for k, v in sorted(one['gates'].items()))}; batch {one['batch']}; "
        "forward, loss and backward, gradients of inputs and weights. Aer: parameter shift with "
        f"{one['aer_batch']} samples, scaled to {one['batch']}.\n",
        table(
            ["", "step, ms", "/ nisqkit", "largest difference: values, inputs, weights"],
            [
                [
                    name,
                    number(value),
                    number(value / ms["nisqkit"]),
                    ", ".join(f"{v:.0e}" for v in one["agreement"].get(name, {}).values()),
                ]
                for name, value in ms.items()
            ],
        ),
        f"\n## Density matrices by width\n\n4 layers of RY, RZ and a CX chain on {WIDE_DEVICE}, "
        "batch 16.\n",
        table(
            ["qubits", "in use on the device", "step, ms"],
            [[r["qubits"], r["in_use"], number(r["ms"])] for r in data["widths"]],
        ),
        f"\n## Trajectories\n\n2 layers of RY, RZ and a CX chain on {WIDE_DEVICE}, batch 4, 32 "
        "runs of each sample.\n",
        table(
            [
                "qubits", "in use", "step, ms", "P(no error)", "standard error",
                "variance without stratification / with",
            ],
            [
                [
                    r["qubits"], r["in_use"], number(r["ms"]), f"{r['no_error']:.2g}",
                    number(r["std"]), number(r["variance_ratio"]),
                ]
                for r in data["wide"]
            ],
        ),
        "\n## Rare errors\n\nThe circuit of the first table, its noise at other strengths, 64 "
        "runs: the variance of as many runs drawn among all, over that of the stratified mean.\n",
        table(
            ["strength", "P(no error)", "variance ratio"],
            [
                [f"{r['strength']:g}", f"{r['no_error']:.3f}", number(r["ratio"])]
                for r in data["rare"]
            ],
        ),
        "\n![noise](noise.png)\n",
    ]  # fmt: skip
    return "\n".join(parts)


def picture(data: Json) -> Figure:
    """Cost against qubits."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, label in (
        ("widths", "density matrices, 4 layers, batch 16"),
        ("wide", "trajectories, 2 layers, batch 4 x 32 runs"),
    ):
        points = data[name]
        axes.plot([p["qubits"] for p in points], [p["ms"] for p in points], "o-", label=label)
    axes.set_yscale("log")
    axes.set_xlabel("qubits of the circuit")
    axes.set_ylabel("training step, ms")
    axes.set_title(f"Training on the noise of {WIDE_DEVICE}")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def main(
    quick: Annotated[bool, typer.Option(help="Fewer rounds.")] = False,
    out: Annotated[Path | None, typer.Option(help="Default benchmarks/results/<date>.")] = None,
) -> None:
    """Measure, and write the results."""
    rounds = 1 if quick else 5
    folder = out or RESULTS / f"{dt.date.today():%Y-%m-%d}"
    data: Json = {"date": str(dt.date.today()), "machine": machine()}
    for name, measure in (
        ("beside_others", lambda: beside_others(rounds)),
        ("rare", rare),
        ("widths", lambda: widths(rounds)),
        ("wide", lambda: wide(rounds)),
    ):
        print(f"{name} ...", flush=True)
        data[name] = measure()
        print(data[name], flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "noise.json").write_text(json.dumps(data, indent=1) + "\n")
    (folder / "noise.md").write_text(report(data))
    with mpl.rc_context({"font.size": 9}):
        picture(data).savefig(folder / "noise.png", dpi=110, metadata={"Software": None})
    print(folder / "noise.md")


if __name__ == "__main__":
    typer.run(main)
