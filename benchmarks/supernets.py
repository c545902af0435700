"""What supernets and update policies are worth: digits, a small elastic MLP and CNN, five seeds.

Writes supernets.json and supernets.md into the folder that is given:
python benchmarks/supernets.py benchmarks/results/DATE
"""

import copy
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nisqkit.circuits import angle, hardware_efficient
from nisqkit.compression import ElasticNet, rank_fidelity
from nisqkit.compression.differentiable_choice import DifferentiableChoice
from nisqkit.compression.latency_table import measure_latency
from nisqkit.compression.patches import Patched
from nisqkit.compression.shrinking import train_supernet
from nisqkit.compression.supernet import largest, sample, smallest
from nisqkit.compression.update_policy import (
    UpdatePolicy,
    angles,
    bias_only,
    everything,
    last_only,
    layers,
    update_costs,
)
from nisqkit.qml import QuantumLayer
from nisqkit.qml.statistics import mean_interval
from nisqkit.search.latency import seconds_of
from nisqkit.search.profile import profile

SEEDS = range(5)
EPOCHS = 12
CANDIDATES = 10
BATCH = 32
RATE = 1e-2


def digits(images: bool) -> tuple[Tensor, ...]:
    """Training, validation and test parts of the 1,797 digits of 8 x 8 pixels."""
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32) / 16 - 0.5
    x, x_test, y, y_test = train_test_split(x, y, test_size=500, random_state=0, stratify=y)
    x, x_valid, y, y_valid = train_test_split(x, y, test_size=297, random_state=0, stratify=y)
    shape = (-1, 1, 8, 8) if images else (-1, 64)
    parts = (x, y, x_valid, y_valid, x_test, y_test)
    return tuple(
        torch.from_numpy(p).reshape(shape) if p.ndim == 2 else torch.from_numpy(p) for p in parts
    )


def mlp(seed: int) -> ElasticNet:
    """Widths 2 to 32, depth 1 to 3."""
    torch.manual_seed(seed)
    stage = nn.Sequential(*(nn.Sequential(nn.Linear(32, 32), nn.ReLU()) for _ in range(2)))
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), stage, nn.Linear(32, 10))
    options = [4, 8, 16, 32]
    return ElasticNet(
        model,
        widths={"0": [2, *options], "2.0.0": options, "2.1.0": options},
        depths={"2": [0, 1, 2]},
    )


def cnn(seed: int) -> ElasticNet:
    """Widths, kernels 3 and 5, and a block that may be left out, with BatchNorm."""
    torch.manual_seed(seed)

    def block(*sizes: int) -> nn.Sequential:
        conv = nn.Conv2d(*sizes, padding=sizes[2] // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(sizes[1]), nn.ReLU())

    model = nn.Sequential(
        block(1, 8, 5),
        nn.MaxPool2d(2),
        nn.Sequential(block(8, 8, 3), block(8, 8, 3)),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    return ElasticNet(
        model,
        widths={"0.0": [1, 2, 4, 8], "2.0.0": [2, 4, 8], "2.1.0": [2, 4, 8]},
        kernels={"0.0": [1, 3, 5], "2.0.0": [1, 3]},
        depths={"2": [1, 2]},
    )


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of right answers, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int, seed: int) -> None:
    """As `train_supernet` trains, one network."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=RATE)
    steps = epochs * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        for batch in torch.split(torch.from_numpy(rng.permutation(len(x))), BATCH):
            optimizer.zero_grad()
            cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()


def supernet_runs(make: Any, images: bool) -> dict[str, Any]:
    """Per seed: accuracies of the same sub-networks, inherited and from scratch, and choices."""
    x, y, x_valid, y_valid, x_test, y_test = digits(images)
    space, rng = make(0).__space__(), np.random.default_rng(1)
    candidates = [largest(space), smallest(space)]
    while len(candidates) < CANDIDATES:
        candidate = sample(space, rng)
        if candidate not in candidates:
            candidates.append(candidate)
    table = measure_latency(make(0), x[:1], runs=30)
    found: dict[str, Any] = {"size": space.size(), "candidates": candidates, "seeds": []}
    for seed in SEEDS:
        net, run = make(seed), {"inherited": [], "uncalibrated": [], "scratch": []}
        start = time.perf_counter()
        train_supernet(net, x, y, epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE, seed=seed)
        run["supernet_seconds"] = time.perf_counter() - start
        start = time.perf_counter()
        for candidate in candidates:
            alone = net.extract(candidate, inherit=False, seed=seed).train()
            train(alone, x, y, EPOCHS, seed)
            run["scratch"].append(accuracy(alone, x_test, y_test))
        run["scratch_seconds"] = time.perf_counter() - start
        net.calibrate(largest(space), x)  # statistics of the largest, for all: the usual mistake
        for candidate in candidates:
            net.set_active(candidate)
            net._calibrated = space.key(candidate)
            run["uncalibrated"].append(accuracy(net, x_test, y_test))
        for candidate in candidates:
            net.calibrate(candidate, x)
            run["inherited"].append(accuracy(net, x_test, y_test))
        run["choice"] = [
            choose(net, table, price, x, x_valid, y_valid, x_test, y_test, seed)
            for price in (0.0, 0.005, 0.02)
        ]
        found["seeds"].append(run)
    found["latency"] = latency(make(0), table, candidates, x[:1])
    return found


def choose(
    net: ElasticNet,
    table: Any,
    price: float,
    x: Tensor,
    x_valid: Tensor,
    y_valid: Tensor,
    x_test: Tensor,
    y_test: Tensor,
    seed: int,
) -> dict[str, float]:
    """Gradient descent on the logits, on validation data, with a price per microsecond."""
    model = DifferentiableChoice(net, seed=seed).train()
    optimizer = torch.optim.Adam(model.choices(), lr=0.1)
    for _ in range(80):
        optimizer.zero_grad()
        loss = cross_entropy(model(x_valid), y_valid)
        (loss + price * 1e6 * table.expected(net, model.shares())).backward()
        optimizer.step()
    best = model.best()
    net.calibrate(best, x)
    return {
        "price": price,
        "microseconds": 1e6 * table.seconds(net, best),
        "parameters": net.active_parameters,
        "accuracy": accuracy(net, x_test, y_test),
    }


def latency(net: ElasticNet, table: Any, candidates: Sequence[Any], x: Tensor) -> dict[str, Any]:
    """The table's sums against candidates that really run alone."""
    real = []
    for candidate in candidates:
        alone = net.extract(candidate, inherit=False).eval()
        with torch.no_grad():
            real.append(float(np.median(seconds_of(lambda alone=alone: alone(x), 100))))
    sums = [table.seconds(net, candidate) for candidate in candidates]
    return {"sums": sums, "measured": real, "machine": dict(table.machine)}


def policies() -> list[dict[str, Any]]:
    """A CNN that learned digits meets images in negative: what adapts it, and what that costs."""
    x, y, _, _, x_test, y_test = digits(images=True)
    named = {
        "nothing": lambda model: UpdatePolicy(),
        "biases": bias_only,
        "last layer": last_only,
        "biases and last layer": lambda model: bias_only(model) | last_only(model),
        "first layer": lambda model: layers(model, "0.0", "0.1"),
        "everything": everything,
    }
    found, learned = [], []
    for seed in SEEDS:
        learned.append(cnn(seed).model.train())
        train(learned[-1], x, y, EPOCHS, seed)
    for name, make in named.items():
        accuracies, costs = [], None
        for seed in SEEDS:
            model = copy.deepcopy(learned[seed])
            before = accuracy(model, -x_test, y_test)
            policy = make(model)
            model.eval()  # statistics of normalisation stay, as on a device
            with policy.applied(model):
                if policy.tensors:
                    train(model, -x[:256], y[:256], 10, seed)
                accuracies.append({"before": before, "after": accuracy(model, -x_test, y_test)})
            if costs is None:
                costs = update_costs(model, x[:BATCH], policy)
                usual = update_costs(model, x[:BATCH], policy, memory=False)
        found.append(
            {
                "policy": name,
                "trained": costs.trained,
                "saved_bytes": costs.saved_bytes,
                "saved_bytes_torch": usual.saved_bytes,
                "accuracy": accuracies,
            }
        )
    return found


def executions() -> list[dict[str, Any]]:
    """A hybrid model: circuits per training step, and what autograd keeps of the classical half."""
    circuit = QuantumLayer(angle(4).compose(hardware_efficient(4, layers=3)), inputs="x", seed=0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4), circuit, nn.Linear(4, 10))
    half = range(0, 24, 2)
    named = {
        "everything": everything(model),
        "biases, all angles": bias_only(model) | layers(model, "3"),
        "circuit and head": layers(model, "3", "4"),
        "half of the angles, head": angles(model, "3.weights", list(half)) | layers(model, "4"),
        "head": layers(model, "4"),
    }
    x = torch.zeros(BATCH, 64)
    found = []
    for name, policy in named.items():
        costs = update_costs(model, x, policy)
        found.append(
            {
                "policy": name,
                "trained": costs.trained,
                "executions": costs.executions,
                "saved_bytes": costs.saved_bytes,
            }
        )
    return found


def patches() -> list[dict[str, Any]]:
    """First layers of a small image network on 96 x 96 pixels."""
    torch.manual_seed(0)

    def conv(*sizes: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        layer = nn.Conv2d(*sizes, stride=stride, padding=sizes[2] // 2, groups=groups)
        return [layer, nn.ReLU6()]

    first = nn.Sequential(
        *conv(3, 16, 3, stride=2), *conv(16, 16, 3, groups=16), *conv(16, 48, 1),
        *conv(48, 48, 3, stride=2, groups=48), nn.Conv2d(48, 16, 1),
    ).eval()  # fmt: skip
    x, found = torch.randn(1, 3, 96, 96), []
    reference = first(x)
    for grid in ((1, 1), (2, 2), (3, 3), (4, 4), (6, 6)):
        patched = Patched(first, grid)
        measured = profile(patched, x)
        found.append(
            {
                "patches": list(grid),
                "peak_bytes": measured.total("peak_activation_bytes").value,
                "macs": measured.total("macs").value,
                "difference": float((patched(x) - reference).detach().abs().max()),
            }
        )
    return found


def text_of(results: dict[str, Any]) -> str:
    """The report as Markdown."""
    at = results["machine"]["processor"]
    out = [
        "# Supernets and tiny training",
        "",
        f"{results['date']}, {at}, one thread, torch {results['torch']}. Digits (8 x 8 pixels, 10 "
        f"classes): 1,000 to train, 297 for choices, 500 to test; {len(SEEDS)} seeds, {EPOCHS} "
        "epochs of Adam. Intervals are Student's, 95 %, over seeds.",
        "",
    ]
    for name, found in results["supernets"].items():
        out += supernet_text(name, found)
    out += [
        "## Update policies",
        "",
        f"The largest CNN, trained on digits, then adapted to negatives of 256 of them (10 epochs, "
        f"normalisation frozen). Bytes that autograd keeps for a batch of {BATCH}: with lean "
        "layers, and as torch itself keeps them.",
        "",
        "| trained | parameters | kept, lean | kept, torch | accuracy |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in results["policies"]:
        after = interval([run["after"] for run in row["accuracy"]])
        out.append(
            f"| {row['policy']} | {row['trained']:,} | {row['saved_bytes']:,} | "
            f"{row['saved_bytes_torch']:,} | {after} |"
        )
    out += [
        "",
        "A hybrid model (64 - 16 - 4 encoder, 4 qubits, 24 angles, head): circuits that a step of "
        f"batch {BATCH} runs by parameter shift, and bytes kept by the simulator and the layers.",
        "",
        "| trained | parameters | circuits | kept |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row in results["executions"]:
        out.append(
            f"| {row['policy']} | {row['trained']:,} | {row['executions']:,} | "
            f"{row['saved_bytes']:,} |"
        )
    out += [
        "",
        "## Patches",
        "",
        "Five convolutions on 3 x 96 x 96 pixels, one image.",
        "",
        "| patches | peak | multiply-adds | largest difference |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row in results["patches"]:
        share = row["macs"] / results["patches"][0]["macs"]
        out.append(
            f"| {row['patches'][0]} x {row['patches'][1]} | {row['peak_bytes']:,.0f} B | "
            f"{share:.2f} x | {row['difference']:.1e} |"
        )
    return "\n".join(out) + "\n"


def interval(values: Sequence[float]) -> str:
    """Mean and interval in percent."""
    mean, low, high = mean_interval(values)
    return f"{100 * mean:.1f} % ({100 * low:.1f} to {min(100, 100 * high):.1f})"


HEADS = {
    "scratch": "from scratch",
    "inherited": "inherited",
    "uncalibrated": "with the largest one's statistics",
}


def supernet_text(name: str, found: dict[str, Any]) -> list[str]:
    """The part of one network."""
    runs = found["seeds"]
    kinds = ["scratch", "inherited"]
    if any(run["inherited"] != run["uncalibrated"] for run in runs):
        kinds.append("uncalibrated")
    heads = [HEADS[kind] for kind in kinds]
    out = [
        f"## {name}, {found['size']} candidates",
        "",
        f"| sub-network | {' | '.join(heads)} |",
        f"| --- |{' ---: |' * len(kinds)}",
    ]
    for k in range(len(found["candidates"])):
        label = {0: "largest", 1: "smallest"}.get(k, f"random {k - 1}")
        cells = [interval([run[kind][k] for run in runs]) for kind in kinds]
        out.append(f"| {label} | {' | '.join(cells)} |")
    means = {kind: np.mean([run[kind] for run in runs], axis=0).tolist() for kind in HEADS}
    whole = rank_fidelity(means["inherited"], means["scratch"])
    wrong = rank_fidelity(means["uncalibrated"], means["scratch"])
    aside = (
        f"With the largest one's statistics {wrong.spearman:.2f} ({wrong.low:.2f} to "
        f"{wrong.high:.2f}). "
        if "uncalibrated" in kinds
        else ""
    )
    each = [rank_fidelity(run["inherited"], run["scratch"]).spearman for run in runs]
    mean, low, high = mean_interval(each)
    spent = [np.mean([run[f"{k}_seconds"] for run in runs]) for k in ("supernet", "scratch")]
    times = found["latency"]
    fast = rank_fidelity(times["sums"], times["measured"])
    ratio = np.median(np.array(times["measured"]) / np.array(times["sums"]))
    out += [
        "",
        f"Rank fidelity (Spearman): of the means over seeds {whole.spearman:.2f} (bootstrap "
        f"{whole.low:.2f} to {whole.high:.2f}, {whole.count} sub-networks); of single seeds "
        f"{mean:.2f} ({low:.2f} to {high:.2f}). {aside}Training took "
        f"{spent[0]:.1f} s for all {found['size']} together, {spent[1]:.1f} s for these "
        f"{whole.count} alone.",
        "",
        f"Latency table: its sums rank the {fast.count} sub-networks as they run alone with "
        f"{fast.spearman:.2f} ({fast.low:.2f} to {fast.high:.2f}); measured times are "
        f"{ratio:.2f} of the sums (median).",
        "",
        "| differentiable choice, price per microsecond | microseconds | parameters | accuracy |",
        "| --- | ---: | ---: | ---: |",
    ]
    for k, choice in enumerate(runs[0]["choice"]):
        rows = [run["choice"][k] for run in runs]
        out.append(
            f"| {choice['price']:g} | {np.mean([r['microseconds'] for r in rows]):.0f} | "
            f"{np.mean([r['parameters'] for r in rows]):,.0f} | "
            f"{interval([r['accuracy'] for r in rows])} |"
        )
    return [*out, ""]


def main() -> None:
    """Run everything."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    results = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "torch": version("torch"),
        "machine": machine(),
        "supernets": {"MLP": supernet_runs(mlp, False), "CNN": supernet_runs(cnn, True)},
        "policies": policies(),
        "executions": executions(),
        "patches": patches(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "supernets.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    (folder / "supernets.md").write_text(text_of(results), "utf-8")


if __name__ == "__main__":
    main()
