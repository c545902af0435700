"""Parameters of a module, and the bytes that they take when they are packed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from nisqkit.search.metric import Metric, unknown


def weight_metrics(module: nn.Module, bits: Mapping[str, int] | None = None) -> dict[str, Metric]:
    """``parameters``, ``trainable_parameters`` and ``weight_bytes`` of a module.

    ``weight_bytes`` is what a packed file must hold: the sum over parameters and persistent buffers
    (shared ones once) of ``ceil(elements * bits / 8)``. It is not the size of a `state_dict`, in
    which integers of 2 bits take 8 or 32. Scales and zero points count as what they are, buffers or
    parameters.

    Args:
        module: The module.
        bits: Bits per element of parameters and buffers, by their names; by default those of the
            dtype. Each module inside may say its own, by its own names, in an attribute ``bits``
            (a mapping); what is given here wins.

    Raises:
        ValueError: A name that the module does not have, or bits that are no whole number from 0 to
            64.

    Example:
        >>> net = nn.Linear(10, 3)
        >>> weight_metrics(net)["weight_bytes"].value
        132
        >>> weight_metrics(net, {"weight": 4})["weight_bytes"].value
        27
    """
    chosen = bits_of(module, bits)
    parameters = list(module.parameters())
    packed = sum(
        -(-tensor.numel() * chosen.get(name, 8 * tensor.element_size()) // 8)
        for name, tensor in stored_tensors(module).items()
    )
    return {
        "parameters": Metric(sum(p.numel() for p in parameters)),
        "trainable_parameters": Metric(sum(p.numel() for p in parameters if p.requires_grad)),
        "weight_bytes": Metric(packed, "B", source="analytic" if chosen else "exact"),
    }


def bits_of(module: nn.Module, bits: Mapping[str, int] | None = None) -> dict[str, int]:
    """Bits per element where the dtype does not say them, by full name; see `weight_metrics`."""
    found: dict[str, int] = {}
    for path, part in module.named_modules():
        own = getattr(part, "bits", None)
        if isinstance(own, Mapping):
            _check(own, set(_names(part)), f"{type(part).__name__}.bits")
            found |= {f"{path}.{name}" if path else name: int(b) for name, b in own.items()}
    if bits is not None:
        _check(bits, set(_names(module)), "bits")
        found |= bits
    # of a shared tensor, the name that it is counted under
    stored, by_tensor = stored_tensors(module), dict[int, int]()
    everywhere = dict(_named(module))
    for name, count in found.items():
        by_tensor[id(everywhere[name])] = count
    return {name: by_tensor[id(t)] for name, t in stored.items() if id(t) in by_tensor}


def stored_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by full name, shared ones once."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in _named(module):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor
    return found


def _named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, part in module.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        for name, parameter in part._parameters.items():
            if parameter is not None:
                yield prefix + name, parameter
        for name, buffer in part._buffers.items():
            if buffer is not None and name not in part._non_persistent_buffers_set:
                yield prefix + name, buffer


def _names(module: nn.Module) -> list[str]:
    return [name for name, _ in _named(module)]


def _check(bits: Mapping[str, int], known: set[str], where: str) -> None:
    for name, count in bits.items():
        if name not in known:
            raise ValueError(f"{where}: {unknown('parameter', name, sorted(known))}")
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 64:
            raise ValueError(
                f"{where} gives {name!r} {count!r} bits: give a whole number from 0 to 64"
            )
