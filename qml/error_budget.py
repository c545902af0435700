"""The error budget: how much loss and accuracy each physical cause of noise costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.strengths import Loss, NoisyModel

NODES = 8
"""Of the Gauss-Legendre rule; exact for polynomials of degree 15 in the strength."""

LARGEST = 8
"""For how many causes, the largest, the accuracy without them is computed."""

Progress = Callable[[float], None]
"""Told how much is done, from 0 to 1."""


@dataclass(frozen=True)
class Part:
    """What one cause costs.

    Attributes:
        cause: ``"cx 0-1"``, ``"T1 of 0"``, ``"readout of 0"``, ``"idle of 0"``, on physical qubits;
            with several quantum layers, the layer's name and a colon are in front.
        loss: Its part of the noisy minus the noise-free loss; negative if it helps.
        share: ``loss`` as a share of that difference; NaN if there is none.
        accuracy_without: The accuracy when this cause alone is switched off; None if it was not
            computed, which is done for the largest causes only, and with class labels.

    Example:
        >>> part = Part("cx 0-1", loss=0.02, share=0.5)
        >>> part.kind, part.qubits
        ('gates', (0, 1))
    """

    cause: str
    loss: float
    share: float
    accuracy_without: float | None = None

    @property
    def kind(self) -> str:
        """``"gates"``, ``"T1"``, ``"T2"``, ``"readout"``, ``"idle"``, or the cause itself."""
        found = _read(self.cause)
        return found[0] if found else self.cause

    @property
    def qubits(self) -> tuple[int, ...]:
        """The physical qubits, sorted; ``()`` for causes that were named otherwise."""
        found = _read(self.cause)
        return found[1] if found else ()


def _read(cause: str) -> tuple[str, tuple[int, ...]] | None:
    own = cause.rpartition(": ")[2]
    found = re.fullmatch(r"(?:(T1|T2|readout|idle) of|\w+) (\d+(?:-\d+)*)", own)
    if found is None:
        return None
    return found[1] or "gates", tuple(sorted(map(int, found[2].split("-"))))


@dataclass(frozen=True, repr=False)
class ErrorBudget:
    """How much loss each cause of noise costs; ``str(budget)`` is a table.

    Attributes:
        parts: One for each cause, the largest first.
        noise_free_loss: The loss without any noise.
        noisy_loss: The loss with all noise.
        residual: Sum of all parts, minus ``noisy_loss - noise_free_loss``: the error of the
            integration.
        noise_free_accuracy: With class labels; else None.
        noisy_accuracy: With class labels; else None.
        num_samples: How many samples it was made from.
        noise: The noise model, with its name, date and device.
        layouts: For each quantum layer by name, the physical qubit that each logical qubit starts
            on; empty without a device.
        unit: Of the losses: ``"nats"`` for the cross entropy; ``""`` for other losses.
    """

    parts: tuple[Part, ...]
    noise_free_loss: float
    noisy_loss: float
    residual: float
    noise_free_accuracy: float | None
    noisy_accuracy: float | None
    num_samples: int
    noise: NoiseModel
    layouts: tuple[tuple[str, tuple[int, ...]], ...] = ()
    unit: str = ""

    @property
    def title(self) -> str:
        """The name of the device or noise model, with the date of its calibration."""
        date = f" of {self.noise.date:%Y-%m-%d}" if self.noise.date else ""
        idle = ", with idle time" if self.noise.idle is not None else ""
        return f"{self.noise.name}{date}{idle}"

    def by_kind(self) -> dict[str, float]:
        """The loss by kind of cause: gates, T1, T2, readout, idle; the largest first."""
        total: dict[str, float] = {}
        for part in self.parts:
            total[part.kind] = total.get(part.kind, 0.0) + part.loss
        return dict(sorted(total.items(), key=lambda item: -abs(item[1])))

    def by_place(self) -> dict[tuple[int, ...], float]:
        """The loss by physical qubit, ``(0,)``, or edge, ``(0, 1)``; the largest first.

        Edges have what comes from gates on both of its qubits, in either direction; relaxation and
        dephasing during these are the qubits' own.
        """
        total: dict[tuple[int, ...], float] = {}
        for part in self.parts:
            total[part.qubits] = total.get(part.qubits, 0.0) + part.loss
        return dict(sorted(total.items(), key=lambda item: -abs(item[1])))

    def __repr__(self) -> str:
        return (
            f"ErrorBudget({self.title}, {len(self.parts)} causes, loss "
            f"{self.noise_free_loss:.4f} -> {self.noisy_loss:.4f}, residual {self.residual:.1e})"
        )

    def __str__(self) -> str:
        width = max([len(part.cause) for part in self.parts] + [len("cause")])
        lines = [
            f"{self.title}, {self.num_samples} samples",
            f"loss {self.noise_free_loss:.4f} noise-free, {self.noisy_loss:.4f} noisy"
            f"{accuracies(self.noise_free_accuracy, self.noisy_accuracy)}",
            f"{'cause':<{width}}     loss   share  accuracy without it",
        ]
        for part in self.parts:
            without = points(part.accuracy_without, self.noisy_accuracy)
            line = f"{part.cause:<{width}}  {part.loss:+.4f}  {percent(part.share):>6}  {without}"
            lines.append(line.rstrip())
        kinds = ", ".join(f"{kind} {loss:+.4f}" for kind, loss in self.by_kind().items())
        return "\n".join([*lines, f"by kind: {kinds}", f"residual {self.residual:+.1e}"])


def accuracies(noise_free: float | None, noisy: float | None) -> str:
    """The end of a sentence about accuracies; empty without them."""
    if noise_free is None or noisy is None:
        return ""
    return f"; accuracy {100 * noise_free:.1f} % noise-free, {100 * noisy:.1f} % noisy"


def points(accuracy: float | None, reference: float | None) -> str:
    """A difference of accuracies: ``"+1.2 points"``.

    Example:
        >>> points(0.912, 0.9)
        '+1.2 points'
    """
    if accuracy is None or reference is None:
        return ""
    return f"{100 * (accuracy - reference):+.1f} points"


def percent(share: float) -> str:
    """A share in percent; a dash for NaN."""
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"


def error_budget(
    model: nn.Module,
    x: Tensor | None,
    y: Tensor,
    loss: Loss | None = None,
    *,
    noise: Device | NoiseModel | None = None,
    layout: Sequence[int] | None = None,
    idle: bool = False,
    progress: Progress | None = None,
) -> ErrorBudget:
    r"""Attribute the loss that noise costs to its physical causes.

    With :math:`L(T_1, T_2, \dots)` the loss when the channels and confusions of each cause have
    their own strength (`Channel.scaled`, `Confusion.scaled`), the part of cause c is

    .. math:: \int_0^1 \frac{\partial L}{\partial T_c}(T, \dots, T)\, dT,

    so that all parts sum to the noisy minus the noise-free loss. It is the integrated gradient
    (Sundararajan, Taly, Yan, ICML 2017, arXiv:1703.01365) along the strength of the noise: causes
    that matter only together share what they cost. Derivatives are exact, from one backward pass at
    each node of a Gauss-Legendre rule. Values are exact too (density matrices, float64), in
    evaluation mode and without shots.

    Accuracy has no derivative. So for the largest causes the accuracy is computed again without
    that cause alone, which does not sum to anything.

    Args:
        model: A `QuantumLayer`, or a module with some; what is classical in it stays.
        x: Inputs, shape ``(samples, ...)``; ``None`` for a layer without inputs.
        y: Class labels (integers, shape ``(samples,)``), or targets in the shape of the outputs.
        loss: ``(outputs, y) -> one number``; by default the cross entropy in nats for class labels,
            and else the mean squared error.
        noise: A device (its full noise) or a noise model; ``None`` for what the layers have.
        layout: Physical qubits of the logical ones; ``None`` lets Qiskit choose.
        idle: Whether qubits that wait decohere too; only for devices.
        progress: Told how much is done.

    Raises:
        ValueError: The model has no quantum layer or no noise, ``y`` does not fit, more than 8
            qubits are in use, or an error is so large that it has no rate.

    Example:
        >>> import torch
        >>> from nisqkit.circuits import angle, hardware_efficient
        >>> from nisqkit.qml import QuantumLayer
        >>> circuit = angle(2).compose(hardware_efficient(2, layers=1))
        >>> layer = QuantumLayer(circuit, inputs="x", seed=0)
        >>> x, y = torch.linspace(-1, 1, 20).reshape(10, 2), torch.arange(10) % 2
        >>> budget = error_budget(layer, x, y, noise=Device.load("fake_santiago"))
        >>> sorted(budget.by_kind())
        ['T1', 'T2', 'gates', 'readout']
        >>> abs(budget.residual) < 1e-9
        True
    """
    told = progress or (lambda done: None)
    noisy = NoisyModel(model, x, y, noise=noise, loss=loss, layout=layout, idle=idle)
    steps = NODES + 2 + (min(LARGEST, len(noisy.causes)) if noisy.labelled else 0)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    found = np.zeros(len(noisy.causes))
    for k, (node, weight) in enumerate(zip(nodes, weights, strict=True)):
        found += weight / 2 * np.array(noisy.slopes((node + 1) / 2))
        told((k + 1) / steps)
    noise_free, full = noisy.score(dict.fromkeys(noisy.causes, 0.0)), noisy.score()
    told((NODES + 2) / steps)

    order = sorted(range(len(found)), key=lambda k: -abs(found[k]))
    parts = []
    change = full.loss - noise_free.loss
    for rank, k in enumerate(order):
        without = None
        if noisy.labelled and rank < LARGEST:
            without = noisy.score({noisy.causes[k]: 0.0}).accuracy
            told((NODES + 3 + rank) / steps)
        share = float(found[k] / change) if change else float("nan")
        parts.append(Part(noisy.causes[k], float(found[k]), share, without))
    return ErrorBudget(
        tuple(parts),
        noise_free.loss,
        full.loss,
        float(found.sum()) - change,
        noise_free.accuracy,
        full.accuracy,
        len(noisy.y),
        noisy.noise,
        tuple(noisy.layouts.items()),
        "nats" if noisy.labelled and loss is None else "",
    )
