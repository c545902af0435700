"""Which modules are running, seen from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Enter = Callable[[nn.Module, tuple[Any, ...]], None]
Leave = Callable[[nn.Module], None]


class ModuleCalls:
    """The modules whose `forward` is running, the innermost one last.

    Only calls of the module itself are seen, as by all of torch's hooks: what calls
    ``part.forward(x)`` works on its own account.

    Args:
        modules: Which to watch.
        enter: Called with each module that begins, and its arguments.
        leave: Called with each module that ends.
    """

    def __init__(
        self, modules: Iterable[nn.Module], enter: Enter | None = None, leave: Leave | None = None
    ) -> None:
        self.modules, self.running = list(modules), list[nn.Module]()
        self._enter, self._leave = enter, leave

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch while the context is open."""
        with ExitStack() as hooks:
            for module in self.modules:
                before = module.register_forward_pre_hook(
                    self._before, prepend=True, with_kwargs=True
                )
                hooks.callback(before.remove)
                hooks.callback(module.register_forward_hook(self._after).remove)
            yield

    @property
    def innermost(self) -> nn.Module:
        """The module that works at present; the first one where that is none that is watched."""
        return self.running[-1] if self.running else self.modules[0]

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.running.append(module)
        if self._enter is not None:
            self._enter(module, (*args, *kwargs.values()))

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._leave is not None:
            self._leave(module)
        self.running.pop()


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Whatever runs in this context leaves buffers and torch's random numbers as they were."""
    kept = [(part, dict(part._buffers)) for part in module.modules()]
    values = {
        id(b): b.detach().clone() for _, buffers in kept for b in buffers.values() if b is not None
    }
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            with torch.no_grad():
                for part, buffers in kept:
                    part._buffers.clear()
                    part._buffers.update(buffers)
                    for buffer in buffers.values():
                        if buffer is not None:
                            buffer.copy_(values[id(buffer)])


def tensors_in(found: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
