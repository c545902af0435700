"""Training of supernets: the sandwich rule, and progressive shrinking."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from nisqkit.compression.distillation import distillation_loss
from nisqkit.compression.supernet import build, checked, largest, outputs_of, sample

PHASES: tuple[tuple[str, ...], ...] = (
    (),
    ("kernel",),
    ("kernel", "depth"),
    ("kernel", "depth", "width"),
)
"""Progressive shrinking: which genes are free in each phase; the others are at their largest."""

Loss = Callable[[Tensor, Tensor], Tensor]
Free = Collection[str] | None


def sandwich_step(
    supernet: nn.Module,
    x: Tensor,
    y: Tensor,
    rng: Generator,
    *,
    free: Free = None,
    random: int = 2,
    weight: float = 1.0,
    loss: Loss = functional.cross_entropy,
) -> float:
    """Add the gradients of one step: the largest candidate, the smallest, and random ones.

    The largest learns from the labels, all others from its outputs (in-place distillation). The
    gradients of all candidates are summed, one candidate in memory at a time.

    Source: Yu and Huang, Universally Slimmable Networks, ICCV 2019 (arXiv:1903.05134).

    Args:
        supernet: A `Supernet`, in training mode as a rule. Its parameters' ``.grad`` is added to.
        x: (samples, ...), its inputs.
        y: (samples,), the classes.
        rng: Draws the random candidates.
        free: Names of the genes that vary, such as ``("width",)``; the others are largest. None:
            all.
        random: How many random candidates.
        weight: Share of the largest candidate's outputs in what the others learn from; the rest is
            the labels'.
        loss: Of outputs and labels.

    Returns:
        The loss of the largest candidate.

    Raises:
        TypeError: No supernet, or genes without an order.
        ValueError: A negative number of random candidates.

    Example:
        >>> from nisqkit.compression import ElasticNet
        >>> net = ElasticNet(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
        ...                  widths={"0": [2, 4, 8]})
        >>> labels = torch.tensor([0, 1, 1])
        >>> value = sandwich_step(net, torch.ones(3, 4), labels, np.random.default_rng(0))
        >>> net.model[0].weight.grad.shape
        torch.Size([8, 4])
    """
    if random < 0:
        raise ValueError(f"random={random}: give 0 random candidates or more")
    space = checked(supernet).__space__()
    outputs = outputs_of(supernet, largest(space), x)
    value = loss(outputs, y)
    value.backward()  # type: ignore[no-untyped-call]
    teacher = outputs.detach()
    students = [_smallest(space, free)] + [sample(space, rng, free) for _ in range(random)]
    for candidate in students:
        found = outputs_of(supernet, candidate, x)
        part = distillation_loss(found, teacher, y, weight=weight, temperature=1.0)
        part.backward()  # type: ignore[no-untyped-call]
    return float(value.detach())


def _smallest(space: Any, free: Free) -> Any:
    def choose(name: str, gene: Any) -> Any:
        return gene.options[0 if free is None or name in free else -1]

    return build(space, choose)


def train_supernet(
    supernet: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    phases: Sequence[Free] = PHASES,
    batch_size: int = 32,
    learning_rate: float = 1e-2,
    random: int = 2,
    seed: int = 0,
) -> list[float]:
    """Train all candidates of a supernet by the sandwich rule, with Adam.

    First the largest candidate alone, then kernels, depths and widths become free. The last phase,
    which trains all, has half of the epochs, and the others share the rest. A phase that would free
    no gene of this space is left out. Use ``phases=[None]`` for a space with other names, such as
    that of a SuperCircuit: all genes are free from the start.

    Source: Cai et al., Once-for-All, ICLR 2020 (arXiv:1908.09791).

    Args:
        supernet: A `Supernet`; it is left in training mode.
        x: (samples, ...), all training inputs.
        y: (samples,), the classes.
        epochs: In all.
        phases: Names of the free genes in each phase, None for all.
        batch_size: Samples per step; a last batch of a single sample is left out.
        learning_rate: Adam's; it falls to 0 as a half cosine.
        random: As in `sandwich_step`.
        seed: Of the order of the samples and of the candidates.

    Returns:
        The mean loss of the largest candidate in each epoch.

    Raises:
        TypeError: No supernet.
        ValueError: No epochs, fewer epochs than phases, or labels that do not fit.
    """
    space = checked(supernet).__space__()
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"{len(x)} samples and {len(y)} labels: give 2 or more, and one of each")
    if not phases:
        raise ValueError("phases is empty: use [None] to train all genes from the start")
    names = _gene_names(space)
    kept: list[Free] = []
    for free in phases:
        now = None if free is None else sorted(names & set(free))
        if now not in kept:
            kept.append(now)
    if epochs < len(kept):
        raise ValueError(f"epochs={epochs} is less than the {len(kept)} phases {kept}")
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(supernet.parameters(), lr=learning_rate)
    steps = epochs * -(-len(x) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    supernet.train()
    losses = []
    for free in _schedule(epochs, kept):
        order = torch.from_numpy(rng.permutation(len(x)))
        values = []
        for batch in torch.split(order, batch_size):
            if len(batch) > 1:
                optimizer.zero_grad()
                values.append(
                    sandwich_step(supernet, x[batch], y[batch], rng, free=free, random=random)
                )
                optimizer.step()
            schedule.step()
        losses.append(sum(values) / len(values))
    return losses


def _schedule(epochs: int, phases: Sequence[Free]) -> list[Free]:
    """Which genes are free in each epoch."""
    *first, last = phases
    rest = epochs // 2 if first else 0
    counts = [max(1, rest // len(first) + (k < rest % len(first))) for k in range(len(first))]
    found = [free for free, count in zip(first, counts, strict=True) for _ in range(count)]
    return found + [last] * (epochs - len(found))


def _gene_names(space: Any) -> set[str]:
    """Names of all genes of the largest candidate, which has them all as a rule."""
    found: set[str] = set()

    def note(name: str, gene: Any) -> Any:
        found.add(name)
        return gene.options[-1]

    build(space, note)
    return found
