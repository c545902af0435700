"""Layers and circuits that compute with values of few bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from nisqkit.compression.fake_quantize import (
    round_values,
    round_weight,
    straight_through,
    value_range,
    weight_scales,
)
from nisqkit.compression.layers import Layer
from nisqkit.compression.masks import mask_of

if TYPE_CHECKING:
    from nisqkit.compression.quantize import QuantizePolicy

_MOMENTUM = 0.1  # of running ranges, as in torch's own observers and batch normalisation


class Range(nn.Module):
    """Rounds what passes to a grid of a few bits, over a range that calibration has found.

    In training it follows the range of the batches, as a running mean, where the policy trains.
    """

    low: Tensor
    high: Tensor

    def __init__(self, bits: int, policy: QuantizePolicy) -> None:
        super().__init__()
        self.num_bits, self.policy = bits, policy
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def calibrate(self, values: Tensor) -> None:
        """Set the range from values."""
        low, high = value_range(
            values, self.num_bits, self.policy.range_method, self.policy.percentile
        )
        self.low.fill_(low)
        self.high.fill_(high)

    def forward(self, x: Tensor) -> Tensor:
        """Round."""
        if self.training and self.policy.mode == "qat":
            method = "minmax" if self.policy.range_method == "mse" else self.policy.range_method
            low, high = value_range(x, self.num_bits, method, self.policy.percentile)
            if self.policy.range_method != "mse":  # a search at every step would cost too much
                self.low.lerp_(self.low.new_tensor(low), _MOMENTUM)
                self.high.lerp_(self.high.new_tensor(high), _MOMENTUM)
        return round_values(x, self.low.to(x.dtype), self.high.to(x.dtype), self.num_bits)

    def extra_repr(self) -> str:
        """What `print(model)` shows: what it is, and not what it has learned."""
        return f"bits={self.num_bits}"


class QuantizedLayer(nn.Module):
    """A linear layer or convolution with rounded weights, and inputs if ``activations`` is set.

    The layer inside keeps its weights as floats, so that it can be trained; what a packed file
    holds, and what `nisqkit.search.profile` counts, are ``bits`` per weight, a scale per output (or
    one for all), two ends of the range of the inputs, and the bias as it is.

    Args:
        layer: what to compute; it becomes ``layer`` inside.
        weight_bits: 1 to 8, or 32 for weights as they are.
        activation_bits: of the inputs, 1 to 8, or 32 for inputs as they are.
        policy: everything else.
    """

    scales: Tensor | None

    def __init__(
        self, layer: Layer, weight_bits: int, activation_bits: int, policy: QuantizePolicy
    ) -> None:
        super().__init__()
        self.layer, self.weight_bits, self.policy = layer, weight_bits, policy
        self.activations = None if activation_bits == 32 else Range(activation_bits, policy)
        self.register_buffer("scales", None if weight_bits == 32 else self._new_scales())

    @property
    def bits(self) -> Mapping[str, int]:
        """Bits per element of what is packed."""
        if self.weight_bits == 32:
            return {}
        masked = mask_of(self.layer) is not None
        name = "parametrizations.weight.original" if masked else "weight"
        return {f"layer.{name}": self.weight_bits}

    def _new_scales(self) -> Tensor:
        policy = self.policy
        return weight_scales(
            self.layer.weight,
            self.weight_bits,
            policy.range_method,
            policy.per_channel,
            policy.percentile,
        )

    @property
    def weight(self) -> Tensor:
        """The rounded weights."""
        if self.scales is None:
            return self.layer.weight
        weight = self.layer.weight
        rounded = round_weight(weight, self.scales, self.weight_bits)
        mask = mask_of(self.layer)
        return rounded if mask is None else rounded * mask.mask  # one bit has no zero

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output from rounded inputs and weights."""
        if self.training and self.policy.mode == "qat" and self.scales is not None:
            self.scales.copy_(self._new_scales())
        if self.activations is not None:
            x = self.activations(x)
        return apply_layer(self.layer, x, self.weight)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"weight_bits={self.weight_bits}"


def apply_layer(layer: Layer, x: Tensor, weight: Tensor) -> Tensor:
    """What a layer computes, with another weight."""
    if isinstance(layer, nn.Linear):
        return functional.linear(x, weight, layer.bias)
    found: Tensor = layer._conv_forward(x, weight, layer.bias)
    return found


class QuantizedCircuit(nn.Module):
    """A circuit with rounded rotation angles and rounded measured values.

    An angle becomes the nearest multiple of ``period / 2**bits`` of its period, so that its index
    takes ``bits``, whatever the angle is. In training the gradient passes straight through.

    Args:
        circuit: a module with a parameter ``weights``; it stays as it is.
        angle_bits: 1 to 8, or 32 for angles as they are.
        measurement_bits: of the outputs, 1 to 8, or 32 for outputs as they are.
        periods: of each angle, in radians; see `nisqkit.compression.angles.angle_periods`.
        policy: everything else.
    """

    def __init__(
        self,
        circuit: nn.Module,
        angle_bits: int,
        measurement_bits: int,
        periods: Tensor | None,
        policy: QuantizePolicy,
    ) -> None:
        super().__init__()
        self.circuit, self.angle_bits = circuit, angle_bits
        self.periods = periods  # follows from the circuit, so it is not stored
        self.measured = None if measurement_bits == 32 else Range(measurement_bits, policy)

    @property
    def bits(self) -> Mapping[str, int]:
        """Bits per element of what is packed."""
        return {} if self.periods is None else {"circuit.weights": self.angle_bits}

    @property
    def weights(self) -> Tensor:
        """The rounded angles, in radians, from 0 to their period."""
        weights = self.circuit.weights
        assert isinstance(weights, Tensor)
        if self.periods is None:
            return weights
        steps = (self.periods / 2**self.angle_bits).to(weights)
        index = (weights / steps).round().remainder(2**self.angle_bits)
        return straight_through(weights, index * steps)

    def forward(self, *args: Any) -> Tensor:
        """The circuit's outputs."""
        if self.periods is None:
            y: Tensor = self.circuit(*args)
        else:
            y = functional_call(self.circuit, {"weights": self.weights}, args)
        if self.measured is not None:
            y = self.measured(y)
        return y
