"""Differentiable choice: the genes of an elastic network as weights that gradients move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nisqkit.compression.calibration import is_batch_norm
from nisqkit.compression.elastic_layers import (
    WEIGHTED,
    depthwise,
    full_width,
    kernel_weight,
    run_layer,
)
from nisqkit.compression.elastic_net import ElasticNet

Shares = Mapping[str, Tensor]
"""For each gene by its path, such as ``"0.width"``, the shares of its options, which sum to 1."""


class DifferentiableChoice(nn.Module):
    """An elastic network whose candidate is chosen by gradient descent.

    Each gene has a vector of logits; the shares of its options are their softmax. Per layer the
    outputs of all options are mixed by these shares, as in DARTS. As the options share their
    weights, the mixture costs one pass of the largest network: widths become a mask on the
    channels, kernels a mixed kernel, depths a mixture of where a stage ends. With shares of 0 and 1
    it is exactly the candidate. In training mode with ``sampled=True`` the forward pass runs one
    drawn candidate and the backward pass has the gradients of the shares, as ProxylessNAS' binary
    gates do (straight-through Gumbel-softmax).

    Train the weights on one part of the data and ``choices()`` on another, with
    ``loss + price * table.expected(model.shares())`` to make it fast; then `best`.

    Source: Liu et al., DARTS, ICLR 2019 (arXiv:1806.09055); Cai et al., ProxylessNAS, ICLR 2019
    (arXiv:1812.00332).

    Args:
        net: The elastic network; its weights are used. Without BatchNorm in evaluation mode, whose
            statistics belong to one candidate.
        sampled: Whether training runs drawn candidates.
        temperature: Of the Gumbel-softmax; positive.
        seed: Of the draws.

    Raises:
        ValueError: A temperature that is not positive.

    Example:
        >>> net = ElasticNet(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
        ...                  widths={"0": [2, 4, 8]})
        >>> model = DifferentiableChoice(net)
        >>> model(torch.zeros(5, 4)).shape, model.shares()["0.width"]
        (torch.Size([5, 2]), tensor([0.3333, 0.3333, 0.3333], grad_fn=<SoftmaxBackward0>))
        >>> model.best()
        {'0': {'width': 2}}
    """

    def __init__(
        self, net: ElasticNet, *, sampled: bool = False, temperature: float = 1.0, seed: int = 0
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature={temperature} must be positive")
        self.net, self.sampled, self.temperature = net, sampled, temperature
        self.logits = nn.ParameterDict(
            {
                path.replace(".", "/"): nn.Parameter(torch.zeros(len(options)))
                for path, options in gene_options(net).items()
            }
        )
        self._random = torch.Generator().manual_seed(seed)

    def choices(self) -> Iterator[nn.Parameter]:
        """The logits: what an optimizer of the architecture trains."""
        yield from self.logits.values()

    def shares(self) -> dict[str, Tensor]:
        """For each gene by its path, the shares of its options."""
        return {key.replace("/", "."): logits.softmax(0) for key, logits in self.logits.items()}

    def best(self) -> Any:
        """The candidate of the largest shares."""
        paths = {path: int(share.argmax()) for path, share in self.shares().items()}
        return candidate_of(self.net, paths)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the mixture, or in training with ``sampled`` of a drawn candidate."""
        if self.training and self.sampled:
            return mixed(self.net, x, {p: self._drawn(s) for p, s in self.shares().items()})
        return mixed(self.net, x, self.shares())

    def _drawn(self, share: Tensor) -> Tensor:
        noise = torch.rand(share.shape, generator=self._random).to(share)
        soft = ((share.log() - (-noise.log()).log()) / self.temperature).softmax(0)
        hard = functional.one_hot(soft.argmax(), len(soft)).to(soft)
        return hard + soft - soft.detach()


def gene_options(net: ElasticNet) -> dict[str, list[int]]:
    """All genes of an elastic network: their paths and their options."""
    kinds = (("width", net.widths), ("kernel", net.kernels), ("depth", net.depths))
    return {f"{name}.{kind}": list(o) for kind, given in kinds for name, o in given.items()}


def candidate_of(net: ElasticNet, places: Mapping[str, int]) -> Any:
    """The candidate with the option at this place of each gene."""
    options = gene_options(net)
    found: dict[str, Any] = {}
    for path, place in places.items():
        *stages, kind = path.split(".")
        home = found
        for stage in stages:
            home = home.setdefault(stage, {})
        home[kind] = options[path][place]
    repaired = net.__space__().repair(found)
    net.__space__().check(repaired)
    return repaired


def mixed(net: ElasticNet, x: Tensor, shares: Shares) -> Tensor:
    """Outputs of an elastic network in which each gene is a mixture of its options.

    Args:
        net: The network.
        x: Its input.
        shares: For every gene its shares, by its path.

    Raises:
        ValueError: Shares of other genes than the network has, or of other numbers of options;
            BatchNorm in evaluation mode.
    """
    options = gene_options(net)
    if any(is_batch_norm(m) and not m.training for m in net.modules()):
        raise ValueError(
            "BatchNorm's statistics belong to one candidate, and a mixture is none: keep training "
            "mode, or take best() and calibrate it"
        )
    for path in {**options, **shares}:
        given = len(shares[path]) if path in shares else 0
        if path not in options or given != len(options[path]):
            raise ValueError(
                f"the gene {path!r} has {len(options.get(path, ()))} options in the network and "
                f"{given} shares"
            )

    def visit(path: str, module: nn.Module, x: Tensor, mask: Tensor | None) -> Any:
        """Output and what share of each of its channels is there; None: all are."""
        if not isinstance(module, nn.Sequential):
            return _layer(net, path, module, x, mask, shares)
        depths = net.depths.get(path)
        exits = [(x, mask)]
        for name, child in module._modules.items():
            assert child is not None
            exits.append(visit(f"{path}.{name}".lstrip("."), child, *exits[-1]))
        if depths is None:
            return exits[-1]
        of_depth = shares[f"{path}.depth"]
        ends = [_masked(*exits[depth]) for depth in depths]
        total = torch.stack([s * end for s, end in zip(of_depth, ends, strict=True)]).sum(0)
        there = [exits[depth][1] for depth in depths]
        if all(end is None for end in there):
            return total, None
        # what is not there in any of the ends stays away, whatever the next layers add to it
        width = max(len(end) for end in there if end is not None)
        full = of_depth.new_ones(width)
        masks = [full if end is None else end for end in there]
        some = torch.stack([s * mask for s, mask in zip(of_depth, masks, strict=True)]).sum(0) > 0
        return total, some.to(total)

    return _masked(*visit("", net.model, x, None))


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return x
    if x.dim() == 4:
        return x * mask[:, None, None]
    return x * mask.repeat_interleave(x.shape[-1] // len(mask))  # flattened images have several


def _layer(
    net: ElasticNet, path: str, layer: nn.Module, x: Tensor, mask: Tensor | None, shares: Shares
) -> tuple[Tensor, Tensor | None]:
    if type(layer) not in WEIGHTED:
        return run_layer(layer, x, None, None, {}), mask
    if not depthwise(layer):  # where channels meet, absent ones must be zero
        x = _masked(x, mask)
    if path in net.kernels:
        assert isinstance(layer, nn.Conv2d)
        transforms, size = net.transforms(path), layer.kernel_size[0]
        parts = []
        for share, kernel in zip(shares[f"{path}.kernel"], net.kernels[path], strict=True):
            pad = (size - kernel) // 2
            weight = kernel_weight(layer, kernel, transforms)
            parts.append(share * functional.pad(weight, (pad,) * 4))
        weight = torch.stack(parts).sum(0)
        x = functional.conv2d(
            x, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups
        )
    else:
        x = run_layer(layer, x, None, None, {})
    if depthwise(layer):
        return x, mask
    if path not in net.widths:
        return x, None
    ends = torch.tensor(net.widths[path])
    there = (torch.arange(full_width(layer)) < ends[:, None]).to(x)
    return x, shares[f"{path}.width"].to(x) @ there
