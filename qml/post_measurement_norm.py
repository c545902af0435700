"""Post-measurement normalisation: what a device's noise does to outcomes is mostly affine."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nisqkit.circuits.names import unknown

STATISTICS = ("batch", "frozen", "running")
"""Where the mean and the variance come from in evaluation mode."""


class PostMeasurementNorm(nn.Module):
    """Normalise each output over the samples: ``(y - mean) / sqrt(var + eps)``.

    Device noise maps an expectation value to about ``a y + b``, with ``a`` and ``b`` that hardly
    depend on the sample. Normalisation removes both, so that the next node of a network sees
    angles as without noise. ``(..., num_outputs) -> (..., num_outputs)``; the mean and the (biased)
    variance of each output go over all leading dimensions. No parameters are trained.

    In training mode the statistics are always those of the batch, and gradients flow through them.
    In evaluation mode they are what ``statistics`` says:

    - ``"frozen"``: measured once by `freeze_statistics`, on the device that is evaluated. An
      output does not depend on the samples beside it, and one alone is fine. They belong to the
      weights and the device that they were measured with: freeze again after either changes.
    - ``"batch"``: of the batch that is evaluated, as published.
    - ``"running"``: the average over training batches, where a new one weighs ``momentum``. They
      hold the noise of training, not that of another device.

    How well ``a y + b`` is undone depends on ``eps``: the result differs from that for ``y`` by a
    factor of ``sqrt((var + eps) / (var + eps / a**2))``, about ``1 - eps / (2 a**2 var)``. With a
    standard deviation of 0.1 and ``a = 0.1`` that is 5 % for the published ``eps = 1e-5``, and 5e-7
    for the default, which still keeps a constant output near 0.

    Source: Wang et al., QuantumNAT, DAC 2022 (arXiv:2110.11331), there with ``statistics="batch"``
    and ``eps=1e-5``.

    Args:
        num_outputs: number of columns.
        statistics: ``"frozen"``, ``"batch"`` or ``"running"``; what evaluation uses.
        eps: keeps the division finite where an output does not vary.
        momentum: weight of the newest batch with ``"running"``.

    Attributes:
        mean: (num_outputs,), what ``"frozen"`` and ``"running"`` subtract.
        var: (num_outputs,), the variance that belongs to it.
        known: whether the two were set.

    Raises:
        ValueError: a bad option; in ``forward`` a wrong width, a batch of one sample where the
            batch's statistics are used, or statistics that nobody has measured.

    Example:
        >>> norm = PostMeasurementNorm(1)
        >>> y = torch.tensor([[-0.3], [0.1], [0.5]])
        >>> torch.allclose(norm(0.2 * y + 0.4), norm(y), atol=1e-6)
        True
    """

    mean: Tensor
    var: Tensor
    known: Tensor

    def __init__(
        self,
        num_outputs: int,
        statistics: str = "frozen",
        eps: float = 1e-10,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if num_outputs < 1:
            raise ValueError(f"num_outputs must be at least 1, got {num_outputs}")
        if statistics not in STATISTICS:
            raise ValueError(unknown("statistics", statistics, STATISTICS))
        if not eps > 0:
            raise ValueError(f"eps must be positive, got {eps}: an output may be constant")
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be in (0, 1], got {momentum}")
        self.num_outputs, self.statistics = num_outputs, statistics
        self.eps, self.momentum = eps, momentum
        self.register_buffer("mean", torch.zeros(num_outputs))
        self.register_buffer("var", torch.ones(num_outputs))
        self.register_buffer("known", torch.tensor(False))

    def forward(self, y: Tensor) -> Tensor:
        """Normalise: ``(..., num_outputs) -> (..., num_outputs)``."""
        if y.dim() == 0 or y.shape[-1] != self.num_outputs:
            raise ValueError(
                f"y has shape {tuple(y.shape)}, "
                f"but the last dimension must be the {self.num_outputs} outputs"
            )
        if self.training or self.statistics == "batch":
            mean, var = self._measure(y)
            if self.statistics == "running":
                self._average(mean.detach(), var.detach())
        elif self.known:
            mean, var = self.mean, self.var
        else:
            raise ValueError(self._unknown())
        return (y - mean) / (var + self.eps).sqrt()

    def _measure(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance per output over all samples."""
        rows = y.reshape(-1, self.num_outputs)
        if len(rows) < 2:
            if self.training:
                advice = "train on batches of 2 or more (a DataLoader has drop_last=True)"
            elif self.statistics == "batch":
                advice = "pass 2 samples or more, or use statistics='frozen' or 'running'"
            else:
                advice = "freeze on 2 samples or more, such as all validation data"
            raise ValueError(f"the batch has {len(rows)} samples, too few for a variance: {advice}")
        var, mean = torch.var_mean(rows, dim=0, correction=0)
        return mean, var

    def _average(self, mean: Tensor, var: Tensor) -> None:
        # The first batch counts in full: averaged with 0 and 1, it would take tens of batches to
        # forget where these started.
        weight = self.momentum if self.known else 1.0
        self.mean.lerp_(mean.to(self.mean), weight)
        self.var.lerp_(var.to(self.var), weight)
        self.known.fill_(True)

    def _freeze(self, y: Tensor) -> None:
        mean, var = self._measure(y)
        self.mean.copy_(mean)
        self.var.copy_(var)
        self.known.fill_(True)

    def _unknown(self) -> str:
        if self.statistics == "frozen":
            return (
                "statistics='frozen', but none were measured: call freeze_statistics(model, "
                "features) with validation data on the model as it is evaluated, or use 'batch'"
            )
        return (
            "statistics='running', but no batch was seen: call the model in training mode first, "
            "or use 'frozen' or 'batch'"
        )

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        text = f"{self.num_outputs}, statistics={self.statistics!r}, eps={self.eps:g}"
        return f"{text}, momentum={self.momentum:g}" if self.statistics == "running" else text


def frozen_norms(model: nn.Module) -> list[PostMeasurementNorm]:
    """The normalisations of a model whose statistics `freeze_statistics` measures."""
    found = (m for m in model.modules() if isinstance(m, PostMeasurementNorm))
    return [norm for norm in found if norm.statistics == "frozen"]


def freeze_statistics(model: nn.Module, features: Tensor | NDArray[Any]) -> None:
    """Measure the statistics of every frozen `PostMeasurementNorm` on these samples.

    The model runs once, in evaluation mode and without gradients, on all samples together; each
    norm takes the mean and the variance of what arrives there and passes on what it normalises with
    them. Call it on the copy of a model that runs on the device: then these are the device's
    statistics. A model without such norms does not run at all.

    Args:
        model: any module; it keeps its mode.
        features: (samples, ...), what the model takes. All validation data, as a rule: test data
            are not to be seen before they are evaluated.

    Raises:
        ValueError: a single sample, or one norm in two places of the model.

    Example:
        >>> norm = PostMeasurementNorm(2).eval()
        >>> freeze_statistics(norm, torch.tensor([[0.0, 0.2], [1.0, 0.6]]))
        >>> norm(torch.tensor([0.5, 0.6]))
        tensor([0.0000, 1.0000])
    """
    norms = frozen_norms(model)
    if not norms:
        return
    features = torch.as_tensor(features)
    measured: set[nn.Module] = set()

    def measure(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, PostMeasurementNorm)
        if norm in measured:
            raise ValueError(
                "a PostMeasurementNorm is used in two places of the model, where outputs differ: "
                "give each place its own"
            )
        measured.add(norm)
        norm._freeze(args[0])

    modes = [(module, module.training) for module in model.modules()]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    try:
        model.eval()
        with torch.no_grad():
            model(features)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
