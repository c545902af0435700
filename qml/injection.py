"""Noise injection: what noise a layer trains with, where that is not what its device returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from nisqkit.circuits.names import unknown
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Result
from nisqkit.hardware_backends.execute import Execution
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.gaussian_injection import InjectAngles as InjectAngles
from nisqkit.qml.gaussian_injection import InjectOutcomes as InjectOutcomes
from nisqkit.qml.injection_base import Injection as Injection
from nisqkit.qml.injection_base import State, noise_of

if TYPE_CHECKING:
    from nisqkit.hardware_backends.native.noisy import NoisyBackend

InjectionLike: TypeAlias = Injection | str | None
"""What may be given as ``inject=``: an `Injection`, the name of one, or None."""


@dataclass(frozen=True)
class _OnDevice(Injection):
    """An injection that runs on a noisy backend of its own."""

    kind: str = "full"
    ideal_encoder: bool = False
    readout: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("full", "pauli"):
            raise ValueError(f"kind is {self.kind!r}: give 'full' or 'pauli'")

    def options(self) -> dict[str, Any]:
        """What else `NoisyBackend` is given."""
        return {}

    def backend(self, execution: Execution) -> NoisyBackend:
        """The backend of training passes; the same object at each call."""
        return _backend(self, noise_of(execution, self), execution.layout)

    def check(self, task: Task, execution: Execution) -> None:
        """See `Injection.check`."""
        super().check(task, execution)
        self.backend(execution).check(task)

    def run(self, task: Task, execution: Execution, state: State) -> Result:
        """See `Injection.run`."""
        return self.backend(execution).run([task])[0]


@dataclass(frozen=True)
class InjectGates(_OnDevice):
    """Random errors in the gates: one pattern of them per sample and step.

    Each error of the device's noise model happens with ``factor`` times its probability, where that
    is possible, and else with the largest possible one. On average over the patterns, values and
    gradients are those of the noise model at this strength.

    Attributes:
        kind: ``"pauli"``: only Pauli errors, the twirl of the device's noise. ``"full"``: with
            relaxation as it is. What each is, is said at `NoiseModel.from_device`.
        ideal_encoder: Whether gates before the first one that depends on a weight are exact, as in
            QuantumNAT; see `NoisyBackend`.
        readout: Whether qubits are read with the device's readout errors, which the factor does not
            change.
        shared: Whether all samples of a batch have the same pattern, as in QuantumNAT. The gradient
            of a step is then noisier, and no faster.

    Raises:
        ValueError: A factor that is negative or not finite, or another kind. As part of a layer:
            no noise, and what `NoisyBackend` refuses.

    Example:
        >>> import torch
        >>> from nisqkit.circuits import angle, hardware_efficient
        >>> from nisqkit.qml import QuantumLayer
        >>> circuit, belem = angle(2).compose(hardware_efficient(2, 1)), Device.load("fake_belem")
        >>> layer = QuantumLayer(circuit, "x", noise=belem, inject=InjectGates(1.5), seed=0)
        >>> x = torch.zeros(1000, 2)
        >>> layer.train()(x).equal(layer.train()(x)), layer.eval()(x).equal(layer.eval()(x))
        (False, True)
    """

    kind: str = "pauli"
    shared: bool = False

    def options(self) -> dict[str, Any]:
        """See the class."""
        return {"method": "patterns", "shared": self.shared}


@dataclass(frozen=True)
class InjectExact(_OnDevice):
    """The average over all error patterns, computed exactly: nothing is drawn.

    It is what the device returns, up to the factor: density matrices up to 7 qubits of the device
    in use, and beyond that means over random errors.

    Attributes:
        kind: ``"full"`` or ``"pauli"``, see `InjectGates`.
        ideal_encoder: See `InjectGates`.
        readout: See `InjectGates`.

    Raises:
        ValueError: See `InjectGates`.

    Example:
        >>> import torch
        >>> from nisqkit.circuits import hardware_efficient
        >>> from nisqkit.qml import QuantumLayer
        >>> belem = Device.load("fake_belem")
        >>> layer = QuantumLayer(hardware_efficient(2, 1), noise=belem, inject="exact", seed=0)
        >>> torch.equal(layer.train()(), layer.eval()())
        True
    """

    def random(self, program: Program, execution: Execution) -> bool:
        """See `Injection.random`; circuits that are too wide for density matrices are sampled."""
        return self.backend(execution).random(program, None)


INJECTIONS: Mapping[str, type[Injection]] = {
    "gates": InjectGates,
    "exact": InjectExact,
    "outcomes": InjectOutcomes,
    "angles": InjectAngles,
}
"""Kinds of injection by the name that `QuantumLayer` takes."""


def read_injection(given: InjectionLike) -> Injection | None:
    """An injection from what may be given as ``inject=``.

    Raises:
        ValueError: An unknown name.
        TypeError: Neither a name nor an injection.

    Example:
        >>> read_injection("outcomes")
        InjectOutcomes(factor=1.0, std=None, mean=None)
    """
    if given is None or isinstance(given, Injection):
        return given
    if not isinstance(given, str):
        raise TypeError(
            f"inject is an Injection such as InjectGates(), the name of one or None, not {given!r}"
        )
    if given not in INJECTIONS:
        raise ValueError(unknown("inject", given, INJECTIONS))
    return INJECTIONS[given]()


@lru_cache(maxsize=256)
def _backend(
    injection: _OnDevice,
    noise: Device | NoiseModel,
    layout: tuple[int, ...] | None,
) -> NoisyBackend:
    # imports and declares the kernels of both noisy engines
    from nisqkit.hardware_backends.native.noisy import NoisyBackend

    if isinstance(noise, Device):
        model = NoiseModel.from_device(noise, injection.kind)
    else:
        model = _twirled(noise) if injection.kind == "pauli" else noise
    if injection.factor != 1:  # an equal model shares what was worked out for evaluation
        model = model.scale(injection.factor, clip=True)
    if not injection.readout:
        model = replace(model, readout=(), ideal=model.ideal | {"measure"})
    return NoisyBackend(
        model, layout=layout, ideal_encoder=injection.ideal_encoder, **injection.options()
    )


def _twirled(model: NoiseModel) -> NoiseModel:
    """The same with each channel's Pauli twirl in its place."""
    if model.kind == "pauli":
        return model
    gates = {
        use: tuple(replace(noise, channel=noise.channel.twirled()) for noise in noises)
        for use, noises in model.gates.items()
    }
    idle = model.idle and replace(model.idle, twirled=True)
    return replace(model, gates=gates, idle=idle, kind="custom")
