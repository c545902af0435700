"""How long the layers of an elastic network take on this machine, measured, and their sums."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from nisqkit.compression.differentiable_choice import Shares, gene_options
from nisqkit.compression.elastic_layers import WEIGHTED, depthwise, full_width, slice_layer
from nisqkit.compression.elastic_net import ElasticNet, Genes
from nisqkit.search.latency import latency_metric, seconds_of, torch_threads

_FORMAT = {"format": "nisqkit.latency_table", "version": 1}


@dataclass(frozen=True)
class LatencyTable:
    """Seconds of every layer in every form that it can have, and so of every candidate.

    A layer's time depends on how many channels arrive, how many leave and on its kernel; a
    candidate takes the sum over its layers. What stands between layers (Python, caches) is not in
    it, so that it ranks candidates better than it predicts their times.

    Attributes:
        entries: Per layer by its name, ``(arriving, width, kernel)`` as text to median seconds;
            0 stands for what does not vary.
        space: Fingerprint of the space.
        machine: What it was measured on: processor, system, torch, threads, date, and the shape of
            the example.
    """

    entries: Mapping[str, Mapping[str, float]]
    space: str
    machine: Mapping[str, Any]

    def seconds(self, net: ElasticNet, candidate: Genes) -> float:
        """Of a candidate.

        Raises:
            ValueError: A candidate, or a network, of another space.
        """
        self._check(net)
        net.__space__().check(candidate, "candidate")
        total, before = 0.0, ""
        widths: dict[str, int] = {}
        for path, layer, width, kernel in net.steps(candidate):
            total += self.entries[path][_key(widths.get(before, 0), width or 0, kernel or 0)]
            if type(layer) in WEIGHTED and not depthwise(layer):
                before, widths[path] = path, width or 0
        return total

    def expected(self, net: ElasticNet, shares: Shares) -> Tensor:
        """The mean over candidates whose genes are drawn independently with these shares.

        A scalar, differentiable in the shares: the latency term of a differentiable choice.
        """
        self._check(net)
        options = gene_options(net)
        one = next(iter(shares.values())).new_ones(())

        def visit(path: str, module: nn.Module, there: Tensor, arriving: Arrivals) -> Any:
            """Expected seconds, and with which probability which channels leave."""
            if isinstance(module, nn.Sequential):
                return _stage(path, module, there, arriving)
            widths = options.get(f"{path}.width", [0])
            kernels = options.get(f"{path}.kernel", [0])
            of_width = shares[f"{path}.width"] if path in net.widths else one[None]
            of_kernel = shares[f"{path}.kernel"] if path in net.kernels else one[None]
            total = 0 * one
            for (channels, p), (w, width), (k, kernel) in product(
                arriving.items(), enumerate(widths), enumerate(kernels)
            ):
                seconds = self.entries[path][_key(channels, width, kernel)]
                total = total + seconds * p * of_width[w] * of_kernel[k]
            if type(module) in WEIGHTED and not depthwise(module):
                arriving = {width: of_width[w] for w, width in enumerate(widths)}
            return there * total, arriving

        def _stage(path: str, stage: nn.Sequential, there: Tensor, arriving: Arrivals) -> Any:
            depths = net.depths.get(path, [len(stage)])
            of_depth = shares[f"{path}.depth"] if path in net.depths else one[None]
            leaving: Arrivals = {}
            total = 0 * one
            for k, (name, child) in enumerate([*stage._modules.items(), ("", None)]):
                if k in depths:
                    for channels, p in arriving.items():
                        share = of_depth[depths.index(k)] * p
                        leaving[channels] = leaving.get(channels, 0 * one) + share
                if child is not None:
                    deeper = [of_depth[d] for d, depth in enumerate(depths) if depth > k]
                    runs = torch.stack(deeper).sum() if deeper else 0 * one
                    inner = f"{path}.{name}".lstrip(".")
                    seconds, arriving = visit(inner, child, there * runs, arriving)
                    total = total + seconds
            return total, leaving

        found: Tensor = visit("", net.model, one, {0: one})[0]
        return found

    def _check(self, net: ElasticNet) -> None:
        if net.__space__().fingerprint() != self.space:
            raise ValueError(
                f"this table is of the space {self.space!r}, not of that of this network "
                f"({net.__space__().fingerprint()!r}): measure one for it"
            )

    def to_json(self) -> str:
        """JSON text; `from_json` reads it back."""
        return json.dumps(_FORMAT | asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> LatencyTable:
        """Read what `to_json` has written.

        Raises:
            ValueError: Not such text, or of another version.
        """
        try:
            found = json.loads(text)
            head = {key: found.pop(key, None) for key in _FORMAT}
        except (json.JSONDecodeError, AttributeError) as error:
            raise ValueError(f"this is no latency table in JSON: {error}") from error
        if head != _FORMAT:
            raise ValueError(f"this is {head}, and not {_FORMAT}: measure the table again")
        return cls(**found)


Arrivals = dict[int, Tensor]


def measure_latency(
    net: ElasticNet, example: Tensor, *, runs: int = 20, threads: int = 1
) -> LatencyTable:
    """Time every layer of an elastic network in every form, on this machine.

    Each is extracted and run alone, in evaluation mode and without gradients, on inputs of the
    sizes that it gets in the network; after a fifth as many runs to warm up, the median counts.

    Args:
        net: The network.
        example: Its input, with the batch dimension.
        runs: How often each form runs, 3 or more.
        threads: Number of torch's threads.

    Raises:
        ValueError: Fewer than 3 runs, or no thread.

    Example:
        >>> net = ElasticNet(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
        ...                  widths={"0": [2, 8]})
        >>> table = measure_latency(net, torch.zeros(1, 4), runs=3)
        >>> sorted(table.entries["2"])  # arriving, leaving, kernel
        ['2,0,0', '8,0,0']
        >>> table.seconds(net, {"0": {"width": 2}}) > 0
        True
    """
    entries: dict[str, dict[str, float]] = {}
    with torch_threads(threads), torch.no_grad():
        for path, layer, x, feeds in _largest_inputs(net, example):
            entries[path] = {}
            widths, kernels = net.widths.get(path, [None]), net.kernels.get(path, [None])
            for channels, width, kernel in product(feeds, widths, kernels):
                full, active = feeds[channels]
                dim = -1 if isinstance(layer, nn.Linear) else 1
                part = x.narrow(dim, 0, x.shape[dim] * active // full).contiguous()
                sliced = slice_layer(
                    layer, part.shape[dim], width, kernel, net.transforms(path)
                ).eval()
                seconds = seconds_of(lambda layer=sliced, part=part: layer(part), runs)  # type: ignore[misc]
                key = _key(channels, width or 0, kernel or 0)
                entries[path][key] = latency_metric(seconds).value
    machine = {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "torch": torch.__version__,
        "threads": threads,
        "runs": runs,
        "example": list(example.shape),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    return LatencyTable(entries, net.__space__().fingerprint(), machine)


def _largest_inputs(
    net: ElasticNet, example: Tensor
) -> Iterator[tuple[str, nn.Module, Tensor, dict[int, tuple[int, int]]]]:
    """Each layer with its input in the largest network, and what may arrive.

    That is from the table's number of arriving channels to (all channels, active ones).
    """
    was = {module: module.training for module in net.modules()}
    net.eval()
    try:

        def visit(path: str, module: nn.Module, x: Tensor, feeds: set[str]) -> Any:
            if isinstance(module, nn.Sequential):
                depths = net.depths.get(path, [len(module)])
                leaving: set[str] = set()
                for k, (name, child) in enumerate([*module._modules.items(), ("", None)]):
                    leaving |= feeds if k in depths else set()
                    if child is not None:
                        inner = f"{path}.{name}".lstrip(".")
                        x, feeds = yield from visit(inner, child, x, feeds)
                return x, leaving
            arriving: dict[int, tuple[int, int]] = {}
            for feed in sorted(feeds):
                if feed in net.widths:
                    full = full_width(net.layer(feed))
                    arriving |= {width: (full, width) for width in net.widths[feed]}
                else:
                    arriving[0] = (1, 1)
            yield path, module, x, arriving
            if type(module) in WEIGHTED and not depthwise(module):
                feeds = {path}
            return module(x), feeds

        yield from visit("", net.model, example, {""})
    finally:
        for module, training in was.items():
            module.training = training


def _key(arriving: int, width: int, kernel: int) -> str:
    return f"{arriving},{width},{kernel}"


def _processor() -> str:
    """Its name, where the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
