"""Structured pruning: whole outputs of layers go, and with them what follows from them.

Which other layers lose what is worked out by Torch-Pruning's dependency graph. It never sees a
circuit: left alone, it cuts the trained angles of a circuit that it finds behind a linear layer.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import floor
from typing import Any

import torch
from torch import Tensor, nn

from nisqkit.compression.circuit_guard import (
    CircuitRecord,
    check_circuits,
    evaluation,
    record_circuits,
)
from nisqkit.compression.layers import (
    Layer,
    check_share,
    compressible_layers,
    copied,
    find_layers,
    first_batch,
    kept_parts,
    replace_modules,
)
from nisqkit.search.module_calls import tensors_in

_FOLLOWS = (
    *(nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.PReLU),
    *(nn.modules.instancenorm._InstanceNorm, nn.Embedding),
)
"""Modules with parameters that lose what the layer before them loses."""


def prune_channels(
    model: nn.Module, ratios: Mapping[str, float], example: Any, keep: Sequence[str] = ()
) -> nn.Module:
    """A smaller copy of a model, in which layers have fewer outputs.

    Of a layer with ``n`` outputs those ``floor(ratio * n)`` go whose weights, and the weights of
    all that goes with them, have the smallest norm; at least one stays. What a model returns and
    what its circuits take stays as it is, and this is checked at the end. Train the copy
    afterwards.

    Args:
        model: it is left as it is.
        ratios: for layers by name, the share of their outputs that goes, in [0, 1). Layers whose
            outputs are added up share theirs: name one of them.
        example: an input of the model, to follow the data; a tuple for several arguments.
        keep: names of parts that stay as they are, with all that they take, as circuits do.

    Returns:
        The copy; its layers have fewer ``out_features`` or ``out_channels``.

    Raises:
        ValueError: unknown layers, ratios out of range, a layer that feeds a circuit or is the
            model's output, two ratios for layers that go together, or modules with parameters that
            cannot be pruned and are not in ``keep``.
        ImportError: Torch-Pruning is not installed.

    Source: Fang et al., DepGraph, CVPR 2023 (arXiv:2301.12900); magnitudes as in Li et al. 2017
    (arXiv:1608.08710).

    Example:
        >>> model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 2))
        >>> prune_channels(model, {"0": 0.7}, torch.zeros(1, 6))
        Sequential(
          (0): Linear(in_features=6, out_features=3, bias=True)
          (1): ReLU()
          (2): Linear(in_features=3, out_features=2, bias=True)
        )
    """
    wanted = {name: check_share(ratio, name) for name, ratio in ratios.items()}
    find_layers(model, wanted, "ratios")
    found = _Graph(model, example, keep)
    roots: dict[str, str] = {}
    for name in wanted:
        found.check_prunable(name)
        root = found.root(name)
        if root in roots and wanted[roots[root]] != wanted[name]:
            raise ValueError(
                f"{roots[root]!r} and {name!r} lose the same outputs, so they have one ratio: got "
                f"{wanted[roots[root]]} and {wanted[name]}"
            )
        roots.setdefault(root, name)
    for name in roots.values():
        found.prune(name, wanted[name])
    return found.finish()


def prunable_channels(model: nn.Module, example: Any, keep: Sequence[str] = ()) -> dict[str, int]:
    """Layers whose outputs can be pruned, by name, with how many they have.

    Of layers that lose the same outputs the first is listed. Those that feed a circuit or are the
    model's output are not.

    Example:
        >>> model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 2))
        >>> prunable_channels(model, torch.zeros(1, 6))
        {'0': 10}
    """
    found = _Graph(model, example, keep)
    counts = {}
    for name, layer in found.layers.items():
        if found.obstacle(name) is None and found.root(name) == name:
            counts[name] = _outputs(layer)
    return counts


class _Graph:
    """A copy of a model with placeholders instead of circuits, and what depends on what in it."""

    def __init__(self, model: nn.Module, example: Any, keep: Sequence[str]) -> None:
        tp = _torch_pruning()
        self.example = example
        self.model = copied(model)
        self.fixed = kept_parts(self.model)
        for name in keep:
            modules = dict(self.model.named_modules())
            if name not in modules:
                raise ValueError(f"keep names {name!r}, which is no part of the model")
            self.fixed[name] = modules[name]
        self.record: dict[str, CircuitRecord] = record_circuits(self.model, example)
        self.shapes = _output_shapes(self.model, example)
        self.frozen = [n for n, p in self.model.named_parameters() if not p.requires_grad]
        self.modes = {name: module.training for name, module in self.model.named_modules()}
        self.stand_ins = {name: _StandIn(part, name) for name, part in self.fixed.items()}
        with evaluation(self.model), _recording(self.fixed, self.stand_ins):
            self.model(*first_batch(example))
        self.model = replace_modules(self.model, dict(self.stand_ins))
        self._check_supported()
        self.layers: dict[str, Layer] = compressible_layers(self.model)
        self.model.requires_grad_(True)
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            graph = tp.DependencyGraph()
            self.graph: Any = graph.build_dependency(
                self.model,
                first_batch(example),
                customized_pruners={_StandIn: _pruner_of_stand_ins(tp)},
            )
        self.importance: Any = tp.importance.GroupMagnitudeImportance(p=2)

    def _check_supported(self) -> None:
        layers = set(compressible_layers(self.model).values())
        bad = []
        for name, module in self.model.named_modules():
            inside = any(name == kept or name.startswith(f"{kept}.") for kept in self.stand_ins)
            if inside or module in layers or isinstance(module, _FOLLOWS):
                continue
            if any(p is not None for p in module._parameters.values()) or (
                "parametrizations" in module._modules
            ):
                bad.append(f"{name!r} ({type(module).__name__})")
        for name, module in self.model.named_modules():
            grouped = isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1
            if grouped and module.groups != module.out_channels:
                bad.append(f"{name!r} (a convolution in {module.groups} groups)")
            if "parametrizations" in module._modules and module in layers:
                bad.append(f"{name!r} (with parametrizations)")
        if bad:
            raise ValueError(
                f"outputs cannot be pruned with these modules in the model: {', '.join(bad)}. "
                "Name them in keep= so that they stay as they are; prune before you quantize or "
                "mask weights"
            )

    def _group(self, name: str, which: Sequence[int] | None = None) -> Any:
        layer = self.layers[name]
        pruner = self.graph.get_pruner_of_module(layer)
        which = range(_outputs(layer)) if which is None else which
        return self.graph.get_pruning_group(layer, pruner.prune_out_channels, list(which))

    def obstacle(self, name: str) -> str | None:
        """Why the outputs of a layer must stay, or None."""
        if self.layers[name] not in self.graph.module2node:
            return "is not used with this example"
        for dependency, _ in self._group(name):
            target = dependency.target
            if isinstance(target.module, _StandIn):
                return (
                    f"feeds {target.module.name!r} ({target.module.kind}), whose interface must "
                    "stay as it is"
                )
            outward = self.graph.is_out_channel_pruning_fn(dependency.handler)
            if (outward and not target.outputs) or "Output" in type(target.module).__name__:
                return "is the model's output"
        return None

    def check_prunable(self, name: str) -> None:
        if (why := self.obstacle(name)) is not None:
            raise ValueError(f"{name!r} {why}: leave it out of the ratios")

    def root(self, name: str) -> str:
        """The first layer that loses the same outputs."""
        outward = {
            id(dependency.target.module)
            for dependency, _ in self._group(name)
            if self.graph.is_out_channel_pruning_fn(dependency.handler)
        }
        return next(n for n, layer in self.layers.items() if id(layer) in outward)

    def prune(self, name: str, ratio: float) -> None:
        count = min(
            floor(ratio * _outputs(self.layers[name]) + 1e-9), _outputs(self.layers[name]) - 1
        )
        if count == 0:
            return
        scores: Tensor = self.importance(self._group(name))
        which = scores.argsort(stable=True)[:count].sort().values.tolist()
        group = self._group(name, which)
        if not self.graph.check_pruning_group(group):
            raise ValueError(
                f"a ratio of {ratio} for {name!r} would remove a whole layer: lower it"
            )
        group.prune()

    def finish(self) -> nn.Module:
        """The pruned copy with its circuits, checked."""
        model = replace_modules(self.model, dict(self.fixed))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in self.frozen)
            parameter.grad = None
        for name, module in model.named_modules():
            module.training = self.modes[name]
        check_circuits(model, self.record, self.example)
        now = _output_shapes(model, self.example)
        assert now == self.shapes, f"the outputs were {self.shapes} and are {now}"
        return model


class _StandIn(nn.Module):
    """Takes the place of a part that is kept whole: one operation of the same shapes."""

    def __init__(self, part: nn.Module, name: str) -> None:
        super().__init__()
        self.name, self.kind = name, type(part).__name__
        self.shape = torch.Size(())
        self.width = 0

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        found: Tensor = _Opaque.apply(self.shape, *given)  # type: ignore[no-untyped-call]
        return found if given else found.requires_grad_()


class _Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shape: torch.Size, *given: Tensor) -> Tensor:
        ctx.given = [(x.shape, x.dtype) for x in given]
        return torch.zeros(shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *(torch.zeros(shape, dtype=dtype) for shape, dtype in ctx.given))


@contextmanager
def _recording(parts: Mapping[str, nn.Module], stand_ins: Mapping[str, _StandIn]) -> Iterator[None]:
    """Note in the placeholders what the parts take and return."""

    def hook(stand_in: _StandIn) -> Any:
        def note(_: nn.Module, args: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise ValueError(
                    f"{stand_in.name!r} ({stand_in.kind}) returns {type(output).__name__}; a part "
                    "that is kept must return one tensor"
                )
            stand_in.shape = output.shape
            stand_in.width = args[0].shape[-1] if args and isinstance(args[0], Tensor) else 0

        return note

    hooks = [part.register_forward_hook(hook(stand_ins[n])) for n, part in parts.items()]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


def _pruner_of_stand_ins(tp: Any) -> Any:
    """What Torch-Pruning asks of a module that it must never prune."""

    class Untouchable(tp.pruner.function.BasePruningFunc):  # type: ignore[misc]
        def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
            raise AssertionError("a circuit was about to be pruned")

        def prune_in_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
            raise AssertionError("a circuit was about to be pruned")

        def get_out_channels(self, layer: _StandIn) -> int:
            return layer.shape[-1]

        def get_in_channels(self, layer: _StandIn) -> int:
            return layer.width

    return Untouchable()


def _outputs(layer: Layer) -> int:
    return int(layer.weight.shape[0])


def _output_shapes(model: nn.Module, example: Any) -> list[torch.Size]:
    with evaluation(model):
        return [tensor.shape for tensor in tensors_in(model(*first_batch(example)))]


def _torch_pruning() -> Any:
    try:
        import torch_pruning
    except ImportError as error:
        raise ImportError(
            'pruning of outputs needs Torch-Pruning: pip install "nisqkit[compression]"'
        ) from error
    return torch_pruning
