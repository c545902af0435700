"""Profiles of torch modules: one node per part, circuits and other parts by their own account."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nisqkit.search.activation_memory import LiveBytes, SavedBytes
from nisqkit.search.latency import latency_metric, seconds_of, torch_threads
from nisqkit.search.macs import MacCounter
from nisqkit.search.metric import Metric, whole
from nisqkit.search.module_calls import ModuleCalls, tensors_in, undisturbed
from nisqkit.search.profile import Kind, Profile
from nisqkit.search.weight_bytes import bits_of, weight_metrics

_BLANK_IF_ZERO = {
    *("parameters", "trainable_parameters", "weight_bytes", "macs", "nonzero_macs"),
    "saved_for_backward_bytes",
}


def module_profile(
    module: nn.Module,
    example: Any,
    *,
    name: str | None = None,
    bits: Mapping[str, int] | None = None,
    latency_runs: int = 0,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Profile:
    """Profile a module; see `nisqkit.search.profile.profile`, which calls this."""
    if example is None and not describes_itself(module):
        raise ValueError(
            f"MACs and activations of {type(module).__name__} depend on its input: pass an "
            "example with its batch dimension, such as torch.zeros(1, 16)"
        )
    args = example if isinstance(example, tuple) else () if example is None else (example,)
    walk = _Walk(module, args, bits_of(module, bits), dict(options or {}))
    if options and not walk.own_account:
        raise ValueError(
            f"{', '.join(options)} would change nothing: no part of {type(module).__name__} "
            "describes itself, as circuits do"
        )
    return walk.run(name or type(module).__name__, latency_runs, threads)


@contextmanager
def _decomposed() -> Iterator[None]:
    """Run attention and recurrent networks in operations that say what they multiply.

    The fast path of transformers and oneDNN's recurrent networks are one operation each.
    """
    fast, onednn = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(onednn)


def describes_itself(module: nn.Module) -> bool:
    """Whether a module has the method ``__profile__``; what is inside it is then its own affair."""
    return hasattr(type(module), "__profile__")


class _Walk:
    """What one module does on one example: measured part by part, then told as a tree."""

    def __init__(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        bits: dict[str, int],
        options: dict[str, Any],
    ) -> None:
        self.module, self.args, self.bits, self.options = module, args, bits, options
        self.parts = list(_parts(module))
        self.own_account = {part for part in self.parts if describes_itself(part)}
        self.weights = [*module.parameters(), *module.buffers()]
        self.macs: dict[nn.Module, tuple[float, float]] = {}
        self.unknown: dict[nn.Module, set[str]] = {}
        self.inputs: dict[nn.Module, list[Any]] = {}
        self.peaks: dict[nn.Module, int] = {}
        self.saved: dict[nn.Module, dict[int, int]] = {}
        self.latency: dict[nn.Module, Metric] = {}
        self.told = {module}

    def run(self, name: str, latency_runs: int, threads: int | None) -> Profile:
        used = 0
        if self.args:
            with undisturbed(self.module), torch_threads(threads) as used:
                self._count()
                self._keep()
                self._live()
                if latency_runs:
                    self._time(latency_runs)
        notes = []
        if self.latency:
            plural = "s" * (used > 1)
            notes.append(f"latency: median of {latency_runs} runs with {used} thread{plural}")
        if bits := sorted(set(self.bits.values())):
            notes.append(
                f"weight_bytes: some weights are packed in {', '.join(map(str, bits))} bits"
            )
        return self._node(self.module, name, "", notes)

    def _forward(self) -> Any:
        return self.module(*self.args)

    def _count(self) -> None:
        """MACs, and with what each part is called."""

        def enter(part: nn.Module, args: tuple[Any, ...]) -> None:
            self.inputs.setdefault(part, []).append(args)

        calls = ModuleCalls(self.parts, enter)

        def credit(macs: float, nonzero: float) -> None:
            part = calls.innermost
            before = self.macs.get(part, (0.0, 0.0))
            self.macs[part] = before[0] + macs, before[1] + nonzero

        def unknown(operation: str) -> None:
            self.unknown.setdefault(calls.innermost, set()).add(operation)

        counter = MacCounter(self.weights, credit, unknown)
        counter = MacCounter(self.weights, credit, unknown)
        with _decomposed(), torch.enable_grad(), calls.watched(), counter:
            self._forward()

    def _keep(self) -> None:
        calls = ModuleCalls(self.parts)

        def saved(address: int, size: int) -> None:
            for part in calls.running:
                self.saved.setdefault(part, {})[address] = size

        keeper = SavedBytes(self.weights, saved)
        with torch.enable_grad(), calls.watched(), keeper.hooks():
            self._forward()

    def _live(self) -> None:
        def changed(live: int) -> None:
            for part in calls.running:
                self.peaks[part] = max(self.peaks.get(part, 0), live)

        mode = LiveBytes(tensors_in(self.args), self.weights, changed)
        calls = ModuleCalls(self.parts, lambda *_: changed(mode.live))
        with torch.no_grad(), calls.watched(), mode:
            self._forward()

    def _time(self, runs: int) -> None:
        """The whole without hooks, then every part."""
        with torch.no_grad():
            found = seconds_of(self._forward, runs)
            self.latency[self.module] = latency_metric(found)
            spent: dict[nn.Module, list[float]] = {}
            started: list[float] = []

            def leave(part: nn.Module) -> None:
                spent[part][-1] += time.perf_counter() - started.pop()

            calls = ModuleCalls(
                self.parts[1:], lambda *_: started.append(time.perf_counter()), leave
            )

            def once() -> None:
                for part in self.parts[1:]:
                    spent.setdefault(part, []).append(0.0)
                self._forward()

            with calls.watched():
                seconds_of(once, runs)
        for part, times in spent.items():
            if part in self.inputs:
                self.latency[part] = latency_metric(times[-runs:])

    def _node(self, part: nn.Module, name: str, path: str, notes: list[str]) -> Profile:
        children = []
        if part not in self.own_account:
            for child, inner in part.named_children():
                if inner not in self.told:  # once, wherever else it stands
                    self.told.add(inner)
                    below = f"{path}.{child}" if path else child
                    children.append(self._node(inner, child, below, []))
        prefix = f"{path}." if path else ""
        bits = {k.removeprefix(prefix): b for k, b in self.bits.items() if k.startswith(prefix)}
        found = weight_metrics(part, bits)
        kind: Kind = getattr(part, "profile_kind", "classical")
        if part in self.own_account:
            own = self._own_account(part)
            kind, children, notes = own.kind, list(own.children), [*own.notes, *notes]
            found = {**own.metrics, **found}
        else:
            found |= self._macs_of(part, children, notes)
            if kinds := {child.kind for child in children}:
                kind = kinds.pop() if len(kinds) == 1 else "model"
        if part in self.inputs:
            found["peak_activation_bytes"] = Metric(self.peaks[part], "B", "max")
            saved = sum(self.saved.get(part, {}).values())
            found["saved_for_backward_bytes"] = Metric(saved, "B")
        elif self.args:
            notes.append("not called with this example")
        if part in self.latency:
            found["latency_seconds"] = self.latency[part]
        if path:  # what has no weights has no number of them; budgets ask the root
            found = {k: m for k, m in found.items() if m.value or k not in _BLANK_IF_ZERO}
        return Profile(name, kind, found, tuple(children), tuple(notes), type(part).__name__)

    def _macs_of(
        self, part: nn.Module, children: list[Profile], notes: list[str]
    ) -> dict[str, Metric]:
        """MACs of a part and all below; nothing where nothing is known."""
        found = {}
        unknown = sorted(self.unknown.get(part, ()))
        for k, name in enumerate(("macs", "nonzero_macs")):
            below = [totals[name] for child in children if name in (totals := child.totals())]
            own = self.macs.get(part)
            if own is not None or (part in self.inputs and not unknown and not below):
                value = 0.0 if own is None else own[k]
                below.append(Metric(int(value) if value.is_integer() else value))
            if below:
                found[name] = whole(below)
                if unknown:
                    found[name] = replace(found[name], source="estimated")
        if unknown:
            known = "a lower bound" if found else "not known"
            notes.append(f"macs are {known}: there is no formula for {', '.join(unknown)}")
        return found

    def _own_account(self, part: nn.Module) -> Profile:
        """What a part says of itself; of several calls, the parts are the calls."""
        calls = self.inputs.get(part, [])
        found: list[Profile] = []
        for args in calls or [()]:
            example = args[0] if args else None
            if isinstance(example, Tensor):
                example = example.detach().requires_grad_(example.requires_grad)
            describe: Any = part.__profile__
            found.append(describe(example, **self.options))
        if len(found) == 1:
            return found[0]
        parts = tuple(replace(one, name=f"call {k}") for k, one in enumerate(found, start=1))
        return Profile(found[0].name, found[0].kind, weight_metrics(part), parts)


def _parts(module: nn.Module) -> list[nn.Module]:
    """The module and all inside it, but nothing inside one that describes itself; each once."""
    found: list[nn.Module] = []

    def visit(part: nn.Module) -> None:
        if part not in found:
            found.append(part)
            if not describes_itself(part):
                for child in part.children():
                    visit(child)

    visit(module)
    return found
