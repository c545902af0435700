"""Memory of a forward pass: what is alive at a time, and what is kept for the backward pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode

from nisqkit.search.module_calls import tensors_in


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operations make, until the last tensor on them is gone.

    Storages are counted once, whatever views there are of them; memory that an operation takes
    inside itself is not seen. It agrees with ``torch.distributed._tools.mem_tracker.MemTracker``.

    Args:
        held: Tensors that are alive throughout and count, such as the example.
        ignored: Tensors that do not count: parameters and buffers.
        changed: Called with the bytes alive after each operation that made some.

    Example:
        >>> peaks = [0]
        >>> with LiveBytes([], [], peaks.append):
        ...     y = torch.ones(10).exp().exp()
        >>> max(peaks)  # two of them at a time
        80
    """

    def __init__(
        self, held: Iterable[Tensor], ignored: Iterable[Tensor], changed: Callable[[int], None]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live, self.changed = 0, changed
        self._seen: dict[int, weakref.ref[UntypedStorage]] = {}
        self._ignored = {t.untyped_storage()._cdata for t in ignored}
        self._held = list(held)
        for tensor in self._held:
            self._add(tensor)

    def _add(self, tensor: Tensor) -> bool:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._ignored or key in self._seen:
            return False

        def gone(_: object) -> None:
            self.live -= size
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, gone)
        self.live += size
        return True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        added = [self._add(tensor) for tensor in tensors_in(result)]
        if any(added):
            self.changed(self.live)
        return result


class SavedBytes:
    """What autograd keeps for the backward pass, each storage once.

    Args:
        ignored: Tensors that do not count, since they are there anyway: parameters and buffers.
        saved: Called with the address of a storage and its bytes; a storage may come again.

    Example:
        >>> x, found = torch.ones(10, requires_grad=True), {}
        >>> with SavedBytes([x], found.__setitem__).hooks():
        ...     y = x.exp().exp()
        >>> sum(found.values())  # the results of both
        80
    """

    def __init__(self, ignored: Iterable[Tensor], saved: Callable[[int, int], None]) -> None:
        self.saved = saved
        self._ignored = {t.untyped_storage()._cdata for t in ignored}
        self._kept: list[Tensor] = []  # so that no address is used again

    def hooks(self) -> Any:
        """The context in which to run the forward pass."""
        return torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._ignored:
            self._kept.append(tensor)
            self.saved(storage._cdata, storage.nbytes())
        return tensor
