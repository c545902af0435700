"""Quantization: weights, activations, rotation angles and measured values of few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nisqkit.compression.angles import periods_of
from nisqkit.compression.circuit_guard import evaluation, watched
from nisqkit.compression.fake_quantize import METHODS, RangeMethod
from nisqkit.compression.gptq import gptq_round
from nisqkit.compression.layers import (
    batches,
    by_layer,
    compressible_layers,
    copied,
    find_layers,
    group_of,
    kept_parts,
    replace_modules,
)
from nisqkit.compression.masks import mask_of
from nisqkit.compression.quantized_layer import QuantizedCircuit, QuantizedLayer
from nisqkit.search.base import Space
from nisqkit.search.containers import Group
from nisqkit.search.leaves import Ordered
from nisqkit.search.names import nearest

_LAYER = ("weight_bits", "activation_bits")
_CIRCUIT = ("angle_bits", "measurement_bits")


@dataclass(frozen=True)
class QuantizePolicy:
    """How many bits everything has, and how they are used.

    Bits are 1 to 8, or 32 for "as it is". One bit is the sign, times a scale.

    Attributes:
        weight_bits: of all layers that ``layers`` does not name.
        activation_bits: of the inputs of these layers.
        layers: ``(weight bits, activation bits)`` for layers by name.
        angle_bits: of the rotation angles of all circuits that ``circuits`` does not name.
        measurement_bits: of what these circuits return.
        circuits: ``(angle bits, measurement bits)`` for circuits by name.
        mode: ``"ptq"`` after training: nothing changes afterwards. ``"qat"``: scales and ranges
            follow while the model is trained, and gradients pass straight through.
        range_method: how the range of a grid is found: ``"minmax"`` covers everything,
            ``"percentile"`` all but outliers, ``"mse"`` what leaves the least squared error.
        percentile: for that method, in (50, 100].
        per_channel: a scale for each output of a layer; otherwise one for all.
        rounding: ``"nearest"``, or ``"gptq"`` for the weights of linear layers.

    Source: Jacob et al. 2018 (arXiv:1712.05877) for the grids.

    Raises:
        ValueError: bits or options out of range.

    Example:
        >>> QuantizePolicy(weight_bits=9)
        Traceback (most recent call last):
        ...
        ValueError: weight_bits must be a whole number from 1 to 8, or 32 for none, got 9
    """

    weight_bits: int = 8
    activation_bits: int = 32
    layers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    angle_bits: int = 32
    measurement_bits: int = 32
    circuits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    mode: Literal["ptq", "qat"] = "ptq"
    range_method: RangeMethod = "minmax"
    percentile: float = 99.9
    per_channel: bool = True
    rounding: Literal["nearest", "gptq"] = "nearest"

    def __post_init__(self) -> None:
        for name in (*_LAYER, *_CIRCUIT):
            _check_bits(getattr(self, name), name)
        named = (("layers", self.layers, _LAYER), ("circuits", self.circuits, _CIRCUIT))
        for what, pairs, names in named:
            for layer, pair in pairs.items():
                if not isinstance(pair, tuple | list) or len(pair) != 2:
                    raise ValueError(f"{what}[{layer!r}] must be a pair of {names}, got {pair!r}")
                for name, bits in zip(names, pair, strict=True):
                    _check_bits(bits, f"{name} of {layer!r}")
        if self.mode not in ("ptq", "qat"):
            raise ValueError(f"mode must be 'ptq' or 'qat', got {self.mode!r}")
        if self.range_method not in METHODS:
            raise ValueError(f"range_method must be one of {METHODS}, got {self.range_method!r}")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile must be in (50, 100], got {self.percentile}")
        if self.rounding not in ("nearest", "gptq"):
            raise ValueError(f"rounding must be 'nearest' or 'gptq', got {self.rounding!r}")
        if self.rounding == "gptq" and self.mode == "qat":
            raise ValueError("gptq rounds once, after training: use it with mode='ptq'")

    @classmethod
    def of(cls, bits: Mapping[str, Any], **options: Any) -> QuantizePolicy:
        """The policy of a candidate of `bits_space`, or of pairs of bits by layer name.

        Args:
            bits: ``(weight bits, activation bits)`` per layer name, or a candidate. Layers that are
                not named stay as they are.
            options: ``mode=`` and the others that are not bits.

        Raises:
            ValueError: as the class.
            TypeError: no mapping.

        Example:
            >>> QuantizePolicy.of({"0": (4, 8)}, mode="qat").layers
            {'0': (4, 8)}
        """
        if not isinstance(bits, Mapping):
            raise TypeError(
                f"policy must be a QuantizePolicy or a mapping of layer names, got {bits!r:.60}"
            )
        layers, circuits = {}, {}
        for name, value in by_layer(bits, _LAYER, _CIRCUIT).items():
            if isinstance(value, Mapping) and set(value) == set(_CIRCUIT):
                circuits[name] = (value["angle_bits"], value["measurement_bits"])
            elif isinstance(value, Mapping):
                layers[name] = (value["weight_bits"], value["activation_bits"])
            else:
                layers[name] = value
        return cls(weight_bits=32, layers=layers, circuits=circuits, **options)


def quantize(
    model: nn.Module, policy: QuantizePolicy | Mapping[str, Any], calibrate: Any = None
) -> nn.Module:
    """A copy of a model with weights, activations, angles and outcomes of few bits.

    Values are still floats, of a grid, so the copy runs and trains everywhere. What a packed file
    takes is in ``weight_bytes`` of `nisqkit.search.profile`. Circuits that no bits are given for
    stay as they are. With ``mode="qat"`` train the copy afterwards.

    Args:
        model: it is left as it is.
        policy: a `QuantizePolicy`; or ``(weight bits, activation bits)`` per layer name, layers
            that are not named staying as they are; or a candidate of `bits_space`.
        calibrate: inputs of the model, to find the ranges of activations and measured values (and
            for GPTQ): a tensor, or an iterable of batches such as a `DataLoader`.

    Raises:
        ValueError: unknown layers, bits out of range, or no calibration data where it is needed.
        TypeError: a policy of another kind.

    Example:
        >>> from nisqkit.search.profile import profile
        >>> net = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> small = quantize(net, {"0": (4, 8), "2": (8, 32)}, calibrate=torch.rand(32, 16))
        >>> profile(net, torch.zeros(1, 16)).total("weight_bytes").value
        616
        >>> profile(small, torch.zeros(1, 16)).total("weight_bytes").value
        168
    """
    if not isinstance(policy, QuantizePolicy):
        policy = QuantizePolicy.of(policy)
    _check_names(model, policy)
    found = copied(model)
    layers = _bits_of_layers(found, policy)
    circuits = _bits_of_circuits(found, policy)
    parts = {name: found.get_submodule(name) for name in (*layers, *circuits)}
    gptq = {
        name
        for name, (bits, _) in layers.items()
        if policy.rounding == "gptq" and bits != 32 and isinstance(parts[name], nn.Linear)
    }
    needs = [name for name, (_, bits) in (layers | circuits).items() if bits != 32 or name in gptq]
    seen = _watch(found, {name: parts[name] for name in needs}, calibrate)
    new: dict[str, nn.Module] = {}
    for name, (bits, activations) in layers.items():
        layer = QuantizedLayer(parts[name], bits, activations, policy)  # type: ignore[arg-type]
        inputs = [args[0] for args, _ in seen.get(name, ())]
        if layer.activations is not None:
            layer.activations.calibrate(torch.cat([x.flatten() for x in inputs]))
        if name in gptq:
            _round_by_gptq(layer, torch.cat([x.flatten(0, -2) for x in inputs]))
        new[name] = layer
    for name, (bits, measured) in circuits.items():
        periods = None if bits == 32 else periods_of(parts[name], name)
        circuit = QuantizedCircuit(parts[name], bits, measured, periods, policy)
        if circuit.measured is not None:
            circuit.measured.calibrate(torch.cat([y.flatten() for _, y in seen[name]]))
        new[name] = circuit
    for name, module in new.items():
        module.train(parts[name].training)
    return replace_modules(found, new)


def bits_space(
    model: nn.Module,
    *,
    weight_bits: Sequence[int] = (2, 3, 4, 6, 8),
    activation_bits: Sequence[int] = (4, 6, 8, 32),
    angle_bits: Sequence[int] = (),
    measurement_bits: Sequence[int] = (),
) -> Group:
    """The space of bits per layer and per circuit, for a search under a budget of bytes.

    Candidates are nested as the layers' names are; `quantize` takes them as they are. Circuits vary
    where there are bits for angles and measured values.

    Source: HAQ, Wang et al., CVPR 2019 (arXiv:1811.08886), whose agent any search here replaces.

    Raises:
        ValueError: bits out of range, or no layer.

    Example:
        >>> space = bits_space(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), activation_bits=[32])
        >>> space.size()
        5
    """
    for name, options in (
        ("weight_bits", weight_bits),
        ("activation_bits", activation_bits),
        ("angle_bits", angle_bits),
        ("measurement_bits", measurement_bits),
    ):
        for bits in options:
            _check_bits(bits, name)
    layer = Group(
        {"weight_bits": Ordered(weight_bits), "activation_bits": Ordered(activation_bits)}
    )
    spaces: dict[str, Space] = dict.fromkeys(compressible_layers(model), layer)
    if angle_bits or measurement_bits:
        circuit = Group(
            {
                "angle_bits": Ordered(angle_bits or (32,)),
                "measurement_bits": Ordered(measurement_bits or (32,)),
            }
        )
        spaces |= dict.fromkeys(kept_parts(model), circuit)
    return group_of(spaces)


def _check_names(model: nn.Module, policy: QuantizePolicy) -> None:
    find_layers(model, policy.layers, "the policy")
    circuits = kept_parts(model)
    for name in policy.circuits:
        if name not in circuits:
            raise ValueError(
                f"the policy names the circuit {name!r}, which is none{nearest(name, circuits)}"
            )


def _bits_of_layers(model: nn.Module, policy: QuantizePolicy) -> dict[str, tuple[int, int]]:
    default = policy.weight_bits, policy.activation_bits
    found = {name: policy.layers.get(name, default) for name in compressible_layers(model)}
    found = {name: (w, a) for name, (w, a) in found.items() if (w, a) != (32, 32)}
    for name in found:
        parent = name.rpartition(".")[0]
        if name and isinstance(model.get_submodule(parent), QuantizedLayer):
            raise ValueError(
                f"{parent!r} is quantized already: quantize the model as it was before"
            )
    return found


def _bits_of_circuits(model: nn.Module, policy: QuantizePolicy) -> dict[str, tuple[int, int]]:
    default = policy.angle_bits, policy.measurement_bits
    found = {name: policy.circuits.get(name, default) for name in kept_parts(model)}
    return {name: (w, a) for name, (w, a) in found.items() if (w, a) != (32, 32)}


def _watch(
    model: nn.Module, parts: Mapping[str, nn.Module], data: Any
) -> dict[str, list[tuple[Any, Any]]]:
    """What some parts are called with, and return, on calibration data."""
    calls: dict[str, list[tuple[Any, Any]]] = {name: [] for name in parts}
    if not parts:
        return calls
    if data is None:
        raise ValueError(
            f"{next(iter(parts))!r} needs calibration data: pass calibrate=inputs of the model, or "
            "give activations and measured values 32 bits (and no GPTQ)"
        )
    with evaluation(model), watched(parts, calls):
        for args in batches(data):
            model(*args)
    for name, found in calls.items():
        if not found:
            raise ValueError(
                f"{name!r} was not called with the calibration data, so its range is not known: "
                "leave it out of the policy"
            )
    return calls


def _round_by_gptq(layer: QuantizedLayer, inputs: Tensor) -> None:
    assert layer.scales is not None
    mask = mask_of(layer.layer)
    with torch.no_grad():
        weight = gptq_round(
            layer.layer.weight,
            inputs,
            layer.scales,
            layer.weight_bits,
            mask=None if mask is None else mask.mask,
        )
        if mask is None:
            layer.layer.weight.copy_(weight)
        else:  # through the parametrization
            setattr(layer.layer, "weight", weight)  # noqa: B010 - its type is a tensor's


def _check_bits(bits: Any, name: str) -> None:
    if isinstance(bits, bool) or not isinstance(bits, int) or not (1 <= bits <= 8 or bits == 32):
        raise ValueError(f"{name} must be a whole number from 1 to 8, or 32 for none, got {bits!r}")
