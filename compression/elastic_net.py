"""`ElasticNet`: a supernet of MLPs or CNNs whose widths, depths and kernel sizes vary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nisqkit.compression.calibration import is_batch_norm, set_statistics
from nisqkit.compression.elastic_layers import (
    NORMS,
    WEIGHTED,
    check_layer,
    depthwise,
    full_width,
    input_width,
    run_layer,
    slice_layer,
)
from nisqkit.compression.supernet import evaluating, largest
from nisqkit.search import Group, Ordered, Space, When
from nisqkit.search.names import nearest

Genes = Mapping[str, Any]
Options = Mapping[str, Sequence[int]]


class ElasticNet(nn.Module):
    """A sequential network that is many smaller ones, which share its weights.

    A narrower layer is the first channels of the wider one, a smaller kernel the middle of the
    larger one times a trained matrix (which begins as 1), a shorter stage its first blocks. Nothing
    is copied: sub-networks run on views of the weights, and gradients outside the active slice are
    exactly zero.

    The candidate names layers as the model does and is nested as it is:
    ``{"0": {"width": 8}, "2": {"depth": 1, "0": {...}}}``. Blocks that the depth leaves out are not
    in it.

    Statistics of BatchNorm belong to one candidate. In training mode each batch is normalised with
    its own; evaluation needs `calibrate` once for every candidate and after all training.

    Source: Cai et al., Once-for-All, ICLR 2020 (arXiv:1908.09791).

    Args:
        model: The largest network; its weights are used, not copied. Layers may stand in nested
            ``Sequential`` modules: the stages and blocks.
        widths: Output channels that a ``Linear`` or ``Conv2d`` may have, by its name, such as
            ``{"0": [8, 16, 32]}``; the largest must be those that it has.
        kernels: Odd kernel sizes of a ``Conv2d``, by its name.
        depths: How many of its first blocks a nested ``Sequential`` may run, by its name.

    Raises:
        ValueError: Names that are not in the model, sizes out of range, layers that cannot be
            sliced, or blocks that do not fit behind each other.

    Example:
        >>> net = ElasticNet(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
        ...                  widths={"0": [2, 4, 8]})
        >>> net.__space__().size(), net.active_parameters
        (3, 58)
        >>> net.set_active({"0": {"width": 2}}).active_parameters
        16
        >>> net.extract({"0": {"width": 2}})
        Sequential(
          (0): Linear(in_features=4, out_features=2, bias=True)
          (1): ReLU()
          (2): Linear(in_features=2, out_features=2, bias=True)
        )
    """

    def __init__(
        self,
        model: nn.Sequential,
        *,
        widths: Options | None = None,
        kernels: Options | None = None,
        depths: Options | None = None,
    ) -> None:
        super().__init__()
        if type(model) is not nn.Sequential:
            raise ValueError(
                f"ElasticNet takes an nn.Sequential, not {type(model).__name__}: its layers must "
                "run one behind the other, so that their slices fit"
            )
        self.model = model
        self.widths = {name: sorted(options) for name, options in (widths or {}).items()}
        self.kernels = {name: sorted(options) for name, options in (kernels or {}).items()}
        self.depths = {name: sorted(options) for name, options in (depths or {}).items()}
        self._check_options()
        self.feeds: dict[str, set[str]] = {}
        """For each layer with channels, the layers whose channels may arrive there."""
        self._check_last(self._connect("", model, {""}))
        space = self._space_of("", model)
        if space is None:
            raise ValueError("nothing is elastic: give widths, kernels or depths")
        self._space = space
        self._transforms = nn.ParameterDict()
        for name, sizes in self.kernels.items():
            for size in sizes[:-1]:
                matrix = torch.eye(size**2).to(self.layer(name).weight)
                self._transforms[_transform(name, size)] = nn.Parameter(matrix)
        self.active: Any = largest(space)
        self._calibrated: str | None = space.key(self.active)

    # --- what may be asked for ---

    def _check_options(self) -> None:
        modules = dict(self.model.named_modules())
        kinds: tuple[tuple[str, Options, tuple[type, ...]], ...] = (
            ("widths", self.widths, WEIGHTED),
            ("kernels", self.kernels, (nn.Conv2d,)),
            ("depths", self.depths, (nn.Sequential,)),
        )
        for kind, given, types in kinds:
            fitting = [name for name, module in modules.items() if name and type(module) in types]
            for name, options in given.items():
                if name not in fitting:
                    what = " or ".join(t.__name__ for t in types)
                    raise ValueError(
                        f"{kind} names {name!r}, which is no {what} in it{nearest(name, fitting)}"
                    )
                self._check_sizes(kind, name, modules[name], options)

    @staticmethod
    def _check_sizes(kind: str, name: str, module: nn.Module, options: Sequence[int]) -> None:
        if kind == "widths":
            low, high = 1, full_width(module)
            if depthwise(module):
                raise ValueError(
                    f"widths names {name!r}, a depthwise convolution, which has as many channels "
                    "as arrive: give the widths of the layer before it"
                )
        elif kind == "kernels":
            assert isinstance(module, nn.Conv2d)
            low, high = 1, module.kernel_size[0]
            pads = tuple(d * (high // 2) for d in module.dilation)
            square = module.kernel_size[0] == module.kernel_size[1]
            if not square or high % 2 == 0 or module.padding != pads:
                raise ValueError(
                    f"kernels names {name!r}, with kernel {module.kernel_size} and padding "
                    f"{module.padding}: it must be square, odd and padded by half of it, so that "
                    "smaller ones give the same image"
                )
        else:
            assert isinstance(module, nn.Sequential)
            low, high = 0, len(module)
        odd = " odd" if kind == "kernels" else ""
        whole = all(type(size) is int and low <= size <= high for size in options)
        if not whole or not options or options[-1] != high or len(set(options)) < len(options):
            raise ValueError(
                f"{kind} of {name!r} are {list(options)}, but must be different{odd} integers from "
                f"{low} to {high}, and {high}, what it has, one of them"
            )
        if kind == "kernels" and any(size % 2 == 0 for size in options):
            raise ValueError(f"kernels of {name!r} are {list(options)}, but must be odd")

    def _connect(self, path: str, module: nn.Module, before: set[str]) -> set[str]:
        """Who makes the channels behind a module, given who makes those before it; '': nobody."""
        if type(module) is nn.Sequential:
            exits = set(before) if 0 in self.depths.get(path, ()) else set()
            for k, (name, child) in enumerate(module._modules.items(), start=1):
                assert child is not None
                before = self._connect(f"{path}.{name}".lstrip("."), child, before)
                exits |= before if k in self.depths.get(path, ()) else set()
            return exits if path in self.depths else before
        check_layer(path, module)
        if type(module) not in (*WEIGHTED, *NORMS):
            return before
        if path in self.feeds or any(module is self.layer(other) for other in self.feeds):
            raise ValueError(
                f"the {type(module).__name__} at {path!r} stands in two places: slices of them "
                "may differ, so give each place its own"
            )
        self.feeds[path] = before
        for feed in sorted(before - {""}):
            full = full_width(self.layer(feed))
            flat = isinstance(module, nn.Linear | nn.BatchNorm1d)
            if input_width(module) % full or (not flat and input_width(module) != full):
                raise ValueError(
                    f"{path!r} takes {input_width(module)} channels, but {feed!r}, which may stand "
                    f"before it, makes {full}: blocks that may be left out keep the width"
                )
        return {path} if type(module) in WEIGHTED and not depthwise(module) else before

    def _check_last(self, last: set[str]) -> None:
        for name in sorted(last & set(self.widths)):
            raise ValueError(
                f"widths names {name!r}, whose channels are the outputs: leave it out, or put a "
                "layer behind it"
            )

    def _space_of(self, path: str, module: nn.Module) -> Group | None:
        members: dict[str, Space | When] = {}
        for kind, given in (
            ("depth", self.depths),
            ("width", self.widths),
            ("kernel", self.kernels),
        ):
            if path in given:
                members[kind] = Ordered(given[path])
        if isinstance(module, nn.Sequential):
            for k, (name, child) in enumerate(module._modules.items()):
                assert child is not None
                inner = self._space_of(f"{path}.{name}".lstrip("."), child)
                if inner is None:
                    continue
                if name in members:
                    raise ValueError(f"a block of {path!r} is named {name!r}: choose another name")
                deeper = [depth for depth in self.depths.get(path, ()) if depth > k]
                always = len(deeper) == len(self.depths.get(path, ()))
                members[name] = inner if always else When("depth", equals=deeper, space=inner)
        return Group(members) if members else None

    # --- the protocol ---

    def __space__(self) -> Space:
        """Widths, kernels and depths, nested as the model is."""
        return self._space

    def set_active(self, candidate: Genes) -> ElasticNet:
        """Run this candidate from now on.

        Raises:
            ValueError: It is none of the space.
        """
        self._space.check(candidate, "candidate")
        self.active = candidate
        return self

    @property
    def active_parameters(self) -> int:
        """Parameters of the active candidate, as `extract` would give it."""
        return sum(p.numel() for p in self._sliced(self.active).parameters())

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the active candidate.

        Raises:
            ValueError: In evaluation, if its statistics were never measured.
        """
        if self.training:
            self._calibrated = None  # the weights are about to change
        elif self._norms and self._calibrated != self._space.key(self.active):
            raise ValueError(
                "BatchNorm's statistics are not those of the active candidate and its weights: "
                "call calibrate(candidate, data) with training inputs first"
            )
        for path, layer, width, kernel in self.steps(self.active):
            x = run_layer(layer, x, width, kernel, self.transforms(path))
        return x

    def of(self, candidate: Genes, x: Tensor) -> Tensor:
        """Outputs of one candidate, whatever is active."""
        kept = self.active
        try:
            return self.set_active(candidate)(x)  # type: ignore[no-any-return]
        finally:
            self.active = kept

    def calibrate(self, candidate: Genes, data: Tensor) -> None:
        """Make the candidate active, and measure its statistics on these samples.

        Each BatchNorm takes mean and unbiased variance of what arrives there when all samples run
        at once, and those before it are done.

        Args:
            candidate: Of the space.
            data: (samples, ...), 2 samples or more.
        """
        self.set_active(candidate)
        with evaluating(self), torch.no_grad():
            for path, layer, width, kernel in self.steps(candidate):
                if is_batch_norm(layer):
                    set_statistics(layer, data)
                data = run_layer(layer, data, width, kernel, self.transforms(path))
        self._calibrated = self._space.key(candidate)

    def extract(self, candidate: Genes, *, inherit: bool = True, seed: int = 0) -> nn.Sequential:
        """A candidate as a network of its own, with the names of the model.

        Args:
            candidate: Of the space.
            inherit: Whether it has copies of the weights here, or fresh ones.
            seed: Of fresh weights.

        Raises:
            ValueError: It is none of the space, or its BatchNorm statistics were never measured.
        """
        self._space.check(candidate, "candidate")
        if inherit and self._norms and self._calibrated != self._space.key(candidate):
            raise ValueError(
                "BatchNorm's statistics are not those of this candidate and its weights: call "
                "calibrate(candidate, data) before extract"
            )
        found = self._sliced(candidate)
        if not inherit:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                for module in found.modules():
                    if type(module) in (*WEIGHTED, *NORMS):
                        module.reset_parameters()  # type: ignore[operator]
        return found.train(self.training)

    def get_extra_state(self) -> str | None:
        """For which candidate the statistics are; part of the ``state_dict``."""
        return self._calibrated

    def set_extra_state(self, state: str | None) -> None:
        """Take over what `get_extra_state` said."""
        self._calibrated = state

    # --- how it runs ---

    def layer(self, path: str) -> Any:
        """A layer of the model by its name."""
        return self.model.get_submodule(path)

    @property
    def _norms(self) -> bool:
        return any(is_batch_norm(module) for module in self.model.modules())

    def transforms(self, path: str) -> dict[int, Tensor]:
        """The matrices of smaller kernels of a layer, by size."""
        sizes = self.kernels.get(path, [])[:-1]
        return {size: self._transforms[_transform(path, size)] for size in sizes}

    def steps(self, candidate: Genes) -> Iterator[tuple[str, nn.Module, int | None, int | None]]:
        """The layers that a candidate runs, in order: path, layer, width and kernel, None: full."""

        def visit(
            path: str, module: nn.Module, genes: Genes
        ) -> Iterator[tuple[str, nn.Module, int | None, int | None]]:
            if not isinstance(module, nn.Sequential):
                yield path, module, genes.get("width"), genes.get("kernel")
                return
            for name, child in list(module._modules.items())[: genes.get("depth")]:
                assert child is not None
                yield from visit(f"{path}.{name}".lstrip("."), child, genes.get(name, {}))

        return visit("", self.model, candidate)

    def _sliced(self, candidate: Genes) -> nn.Sequential:
        found = nn.Sequential()
        share: tuple[int, int] = (1, 1)  # of the channels that arrive, active ones of how many
        for path, layer, width, kernel in self.steps(candidate):
            channels = 0
            if path in self.feeds:
                channels = input_width(layer) * share[0] // share[1]
            sliced = slice_layer(layer, channels, width, kernel, self.transforms(path))
            if type(layer) in WEIGHTED and not depthwise(layer):
                share = (width or full_width(layer), full_width(layer))
            *stages, name = path.split(".")
            home: Any = found
            for stage in stages:
                if stage not in home._modules:
                    home.add_module(stage, nn.Sequential())
                home = home._modules[stage]
            home.add_module(name, sliced)
        return found


def _transform(path: str, size: int) -> str:
    return f"{path.replace('.', '/')}/{size}"  # names of parameters have no dots
