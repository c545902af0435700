"""Models and data that several tests compress."""

from typing import Any

import torch
from torch import Tensor, nn

from nisqkit.circuits import angle, hardware_efficient
from nisqkit.qml import QuantumLayer
from nisqkit.qml.datasets import load_dataset


def circuit(seed: int = 0, **options: Any) -> QuantumLayer:
    return QuantumLayer(
        angle(4).compose(hardware_efficient(4, 2)), inputs="x", seed=seed, **options
    )


def hybrid(seed: int = 0, channels: int = 8, classes: int = 4) -> nn.Sequential:
    """CNN -> circuit -> head, for images of 4 x 4."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(channels * 16, 20),
        nn.ReLU(),
        nn.Linear(20, 4),
        circuit(seed),
        nn.Linear(4, classes),
    )


def images(count: int = 5, side: int = 4, seed: int = 1) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed))


def digits4() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels to train with, and those to test with."""
    data = load_dataset("digits4")
    parts = []
    for split in (data.train, data.test):
        parts.append(torch.tensor(split.features).float().reshape(-1, 1, 4, 4) / torch.pi)
        parts.append(torch.tensor(split.labels).long())
    return parts[0], parts[1], parts[2], parts[3]


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int, lr: float = 0.01) -> nn.Module:
    """Adam with a cosine, in batches of 32, the same ones every time."""
    random = torch.Generator().manual_seed(0)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=random).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        schedule.step()
    return model.eval()


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((model.eval()(x).argmax(1) == y).float().mean())
