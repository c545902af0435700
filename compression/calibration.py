"""Statistics of normalisations, measured anew: BatchNorm's and those after a measurement."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def measure_statistics(model: nn.Module, data: Tensor) -> int:
    """Set every norm's statistics to those of what arrives there, and say how many norms there are.

    The model runs once, in evaluation mode and without gradients, on all samples together; each
    norm measures what arrives and passes on what it normalises with that, so that deeper norms see
    what they will see in evaluation. That is done for

    - BatchNorm with running statistics: mean and unbiased variance, as torch's own training keeps;
    - post-measurement normalisation, known by its ``statistics="frozen"`` with the buffers
      ``mean``, ``var`` (biased, as it normalises with in training) and ``known``.

    Args:
        model: Any module; it keeps its mode, and is not run without a norm.
        data: (samples, ...), what it takes.

    Raises:
        ValueError: A norm that sees fewer than 2 values per channel, or that is called twice.

    Example:
        >>> net = nn.Sequential(nn.BatchNorm1d(1, eps=0)).eval()
        >>> measure_statistics(net, torch.tensor([[1.0], [3.0]]))
        1
        >>> net[0].running_mean, net[0].running_var
        (tensor([2.]), tensor([2.]))
    """
    norms = [m for m in model.modules() if is_batch_norm(m) or _is_post_measurement(m)]
    if not norms:
        return 0
    seen: set[nn.Module] = set()

    def measure(norm: Any, args: tuple[Tensor, ...]) -> None:
        if norm in seen:
            raise ValueError(
                f"a {type(norm).__name__} is called twice in one pass, where its inputs differ: "
                "give each place a norm of its own"
            )
        seen.add(norm)
        set_statistics(norm, args[0])

    modes = [(module, module.training) for module in model.modules()]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    try:
        model.eval()
        with torch.no_grad():
            model(data)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    return len(norms)


def set_statistics(norm: Any, x: Tensor) -> None:
    """Measure one norm's statistics on its input; where it has more channels, of the first ones."""
    batch_norm = is_batch_norm(norm)
    rows = x.movedim(1, -1) if batch_norm else x
    rows = rows.reshape(-1, rows.shape[-1])
    if len(rows) < 2:
        raise ValueError(
            f"a {type(norm).__name__} saw {len(rows)} value per channel, too few for a variance: "
            "calibrate on 2 samples or more, such as all validation data"
        )
    var, mean = torch.var_mean(rows.detach(), dim=0, correction=1 if batch_norm else 0)
    channels = rows.shape[1]
    if batch_norm:
        norm.running_mean[:channels] = mean
        norm.running_var[:channels] = var
        norm.num_batches_tracked.fill_(1)
    else:
        norm.mean[:channels] = mean
        norm.var[:channels] = var
        norm.known.fill_(True)


def is_batch_norm(module: nn.Module) -> bool:
    """Whether it is a BatchNorm that keeps running statistics."""
    return isinstance(module, _BatchNorm) and module.track_running_stats


def _is_post_measurement(module: nn.Module) -> bool:
    # by its looks, since it lives in a folder above this one
    buffers = {"mean", "var", "known"}
    return getattr(module, "statistics", None) == "frozen" and buffers <= module._buffers.keys()
