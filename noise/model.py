"""`NoiseModel`: which channels follow each gate, how readout errs, and what waiting does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from nisqkit.circuits.gates import GATES
from nisqkit.circuits.program import Program

from .channels import Channel, total_ptm
from .confusion import Confusion as Confusion
from .device import Device
from .noisy_program import NoisyProgram
from .pauli_basis import infidelity
from .schedule import Idle as Idle
from .schedule import Use

if TYPE_CHECKING:
    import qiskit_aer.noise


@dataclass(frozen=True)
class Noise:
    """A channel that follows a gate.

    Attributes:
        channel: The channel.
        on: Positions of its qubits among the gate's: ``(1,)`` is the gate's second qubit.
        cause: What the error budget calls it; by default the gate and its qubits, ``"cx 0-1"``.
    """

    channel: Channel
    on: tuple[int, ...]
    cause: str = ""


NoiseLike: TypeAlias = Channel | Noise | Sequence[Channel | Noise]
"""A channel on all qubits of the gate, a `Noise`, or several of them in order."""


@dataclass(frozen=True, repr=False)
class NoiseModel:
    """Channels after gates, readout errors, and idle noise; from a device or by hand.

    `bind` joins it to a program, and fails if a gate or a measurement of the program is neither
    noisy nor said to be ideal.

    Attributes:
        name: For messages and records.
        gates: For each gate, a pair of its name and its qubits in order, the noise that follows it:
            a `Channel` on all of its qubits, a `Noise` or a sequence of them. Qubits ``()`` stand
            for all qubits that have no entry of their own.
        ideal: Gates that are exact: names (where `gates` has no entry), or pairs of a name and
            qubits. ``"measure"`` stands for readout without errors, ``"prepare"`` for an initial
            state that is loaded without noise.
        readout: A `Confusion` for each qubit or group of qubits.
        idle: Decoherence of waiting qubits, or None.
        device: The device that it describes, or None.
        kind: ``"full"`` and ``"pauli"`` are made by `from_device`; ``"custom"`` is anything else.
        date: When the numbers were measured.

    Raises:
        ValueError: A channel does not fit its gate, or two confusions share a qubit.

    Example:
        >>> model = NoiseModel(
        ...     "by hand",
        ...     {
        ...         ("cx", (0, 1)): Channel.depolarizing(0.02, num_qubits=2),
        ...         ("cx", ()): Channel.depolarizing(0.05, num_qubits=2),  # all other pairs
        ...         ("sx", ()): [Channel.relaxation(1e-3), Channel.pauli({"Z": 5e-4})],
        ...     },
        ...     ideal={"rz"},
        ...     readout=[Confusion.flips(None, read_1_after_0=0.01, read_0_after_1=0.03)],
        ... )
        >>> model
        NoiseModel('by hand', custom, cx 0.015 (1) and 0.038 (others), sx 0.00067 (all); \
exact: rz; readout 0.020 (all))
        >>> NoiseModel.from_device(Device.load("fake_santiago"))
        NoiseModel('fake_santiago', full, 2021-03-15, cx 0.0060 (8), id 0.00020 (5), \
reset 0.021 (5), sx 0.00020 (5), x 0.00020 (5); exact: rz (5); readout 0.014 (5))
    """

    name: str
    gates: Mapping[Use, tuple[Noise, ...]]
    ideal: frozenset[str | Use] = frozenset()
    readout: tuple[Confusion, ...] = ()
    idle: Idle | None = None
    device: Device | None = None
    kind: str = "custom"
    date: datetime | None = None

    if TYPE_CHECKING:  # what may be given is more than what is kept

        def __init__(
            self,
            name: str,
            gates: Mapping[Use, NoiseLike],
            ideal: Iterable[str | Use] = (),
            readout: Iterable[Confusion] = (),
            idle: Idle | None = None,
            device: Device | None = None,
            kind: str = "custom",
            date: datetime | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if self.kind not in ("full", "pauli", "custom"):
            raise ValueError(f"kind is {self.kind!r}: give 'full', 'pauli' or 'custom'")
        gates = {
            (name, tuple(qubits)): _noises(name, tuple(qubits), given)
            for (name, qubits), given in self.gates.items()
        }
        object.__setattr__(self, "gates", gates)
        object.__setattr__(self, "ideal", frozenset(self.ideal))
        object.__setattr__(self, "readout", tuple(self.readout))
        both = [u for u in gates if u in self.ideal or (not u[1] and u[0] in self.ideal)]
        if both:
            raise ValueError(
                f"{self.name} has noise for {both[0][0]} on {both[0][1] or 'any qubits'} and lists "
                f"it as ideal: leave it out of one of them"
            )
        seen: set[tuple[int, ...] | int] = set()
        for confusion in self.readout:
            for q in confusion.qubits or [()]:
                if q in seen:
                    raise ValueError(
                        f"{self.name} has two confusions for {'any qubit' if q == () else q}: "
                        f"give one, on all the qubits that are read together"
                    )
                seen.add(q)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # few values, as equality looks at the rest
        return hash((self.name, self.kind, frozenset(self.gates), self.ideal, self.readout))

    def __getstate__(self) -> dict[str, object]:
        # without what is cached: hashes of text differ from process to process
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_device(cls, device: Device, kind: str = "full", idle: bool = False) -> NoiseModel:
        """The noise of a device; see `nisqkit.noise.from_device`."""
        from .from_device import from_device

        return from_device(device, kind, idle)

    def noise_after(self, gate: str, qubits: tuple[int, ...]) -> tuple[Noise, ...] | None:
        """What follows a gate; ``()`` if it is exact, None if the model does not know it.

        Causes that were left open are filled in.
        """
        found = self.gates.get((gate, qubits))
        if found is None and (gate in self.ideal or (gate, qubits) in self.ideal):
            return ()
        if found is None:
            found = self.gates.get((gate, ()))
        if found is None or all(noise.cause for noise in found):
            return found
        cause = f"{gate} {'-'.join(map(str, qubits))}"
        return tuple(noise if noise.cause else replace(noise, cause=cause) for noise in found)

    def readout_of(self, qubits: Sequence[int]) -> tuple[Confusion, ...]:
        """The confusions of some qubits; qubits that are read without errors have none."""
        anyone = [c for c in self.readout if not c.qubits]
        own = [c for c in self.readout if set(c.qubits) & set(qubits)]
        rest = [q for q in qubits if not any(q in c.qubits for c in own)]
        return (*own, *(c.moved((q,)) for q in rest for c in anyone))

    def scale(self, strength: float, readout: bool = False, clip: bool = False) -> NoiseModel:
        """The model with all noise at another strength.

        Pauli channels have their probabilities multiplied. Where those of the errors would sum to
        more than 1 it is an error that names the gate, unless ``clip`` is given; nothing else is
        clipped but rounding (below 1e-10). Rates (depolarising, relaxation, dephasing) and times
        are multiplied, which is always possible. Dead gates of a device stay as they are, since
        nothing can use them.

        Args:
            strength: 0 leaves no noise at all, 1 leaves it as it is.
            readout: Whether to multiply the probabilities of wrong readouts too.
            clip: Whether a Pauli channel whose errors would sum to more than 1 is taken at the
                largest strength at which they sum to 1, so that their relative sizes are kept. The
                probabilities of wrong readouts are never clipped.

        Raises:
            ValueError: A probability would leave [0, 1], or the strength is negative.

        Example:
            >>> model = NoiseModel("flips", {("x", (0,)): Channel.pauli({"X": 0.4})})
            >>> model.scale(2).gates["x", (0,)][0].channel
            Channel.pauli({'X': 0.8})
            >>> model.scale(3)
            Traceback (most recent call last):
                ...
            ValueError: x on (0,) of flips: Pauli channel at strength 3: the probabilities of \
errors sum to 1.2, which is more than 1; use a strength up to 2.5
            >>> model.scale(3, clip=True).gates["x", (0,)][0].channel
            Channel.pauli({'X': 1})
        """
        gates: dict[Use, NoiseLike] = {}
        for (gate, qubits), noises in self.gates.items():
            calibration = self.device and self.device.gate(gate, qubits)
            if calibration and calibration.is_dead:
                gates[gate, qubits] = noises
                continue
            try:
                gates[gate, qubits] = [
                    replace(noise, channel=noise.channel.scaled(strength, clip)) for noise in noises
                ]
            except ValueError as error:
                where = qubits or "any qubits"
                raise ValueError(f"{gate} on {where} of {self.name}: {error}") from error
        return NoiseModel(
            f"{self.name} x{strength:g}",
            gates,
            self.ideal,
            [c.scaled(strength) for c in self.readout] if readout else self.readout,
            self.idle and replace(self.idle, strength=self.idle.strength * strength),
            self.device,
            self.kind,
            self.date,
        )

    def bind(
        self,
        program: Program,
        measured: Sequence[int] | None = None,
        physical: Sequence[int] | None = None,
    ) -> NoisyProgram:
        """Join the noise to a program; see `nisqkit.noise.binding`.

        The result is kept with the program (`Program.cache`).

        Args:
            program: The program. For a device, one of its native gates.
            measured: The qubit of the program that each logical qubit is read on; by default all
                qubits in order.
            physical: The model's qubit for each qubit of the program; by default the same.
        """
        from .binding import bind

        measured = range(program.num_qubits) if measured is None else measured
        physical = range(program.num_qubits) if physical is None else physical
        key = "noisy", self, tuple(measured), tuple(physical)
        if key not in program.cache:
            program.cache[key] = bind(self, program, tuple(measured), tuple(physical))
        found: NoisyProgram = program.cache[key]
        return found

    @classmethod
    def from_aer(
        cls, model: qiskit_aer.noise.NoiseModel, ideal: Iterable[str] | None = None
    ) -> NoiseModel:
        """From a Qiskit Aer noise model; see `nisqkit.noise.aer_io`."""
        from .aer_io import from_aer

        return from_aer(model, ideal)

    def to_aer(self) -> qiskit_aer.noise.NoiseModel:
        """The same as a Qiskit Aer noise model; see `nisqkit.noise.aer_io`."""
        from .aer_io import to_aer

        return to_aer(self)

    @classmethod
    def from_pennylane(
        cls,
        model: Any,
        num_qubits: int,
        ideal: Iterable[str] = (),
        readout: Iterable[Confusion] = (),
    ) -> NoiseModel:
        """From a PennyLane noise model; see `nisqkit.noise.pennylane_io`."""
        from .pennylane_io import from_pennylane

        return from_pennylane(model, num_qubits, ideal, readout)

    def to_pennylane(self) -> Any:
        """The same as a PennyLane `qp.NoiseModel`; see `nisqkit.noise.pennylane_io`."""
        from .pennylane_io import to_pennylane

        return to_pennylane(self)

    def to_json(self) -> str:
        """The model as JSON text, with the version of the format in it."""
        from .model_json import to_json

        return to_json(self)

    @classmethod
    def from_json(cls, text: str) -> NoiseModel:
        """Read a model from the text of `to_json`; see `nisqkit.noise.model_json`."""
        from .model_json import from_json

        return from_json(text)

    def __repr__(self) -> str:
        parts = [repr(self.name), self.kind]
        if self.date is not None:
            parts.append(self.date.date().isoformat())
        names = dict.fromkeys(name for name, _ in sorted(self.gates, key=lambda use: use[0]))
        parts += [f"{name} {self._errors(name)}" for name in names]
        exact: dict[str, int | None] = {}
        for entry in sorted(self.ideal, key=str):
            if isinstance(entry, str):
                exact[entry] = None
            elif (count := exact.get(entry[0], 0)) is not None:
                exact[entry[0]] = count + 1
        ends = []
        if exact:
            listed = (
                name if count is None else f"{name} ({count})" for name, count in exact.items()
            )
            ends.append(f"exact: {', '.join(listed)}")
        if self.readout:
            own = [c.mean_error for c in self.readout if c.qubits]
            rest = [c.mean_error for c in self.readout if not c.qubits]
            ends.append(f"readout {_listed(own, rest)}")
        if self.idle is not None:
            ends.append("idle time")
        return f"NoiseModel({'; '.join([', '.join(parts), *ends])})"

    def _errors(self, name: str) -> str:
        """Mean infidelity of a gate, and on how many qubits; dead gates are left out."""
        own: list[float] = []
        rest: list[float] = []
        for (gate, qubits), noises in self.gates.items():
            calibration = self.device and self.device.gate(gate, qubits)
            if gate == name and not (calibration and calibration.is_dead):
                (own if qubits else rest).append(_infidelity(gate, qubits, noises))
        return _listed(own, rest)


def _listed(own: list[float], rest: list[float]) -> str:
    """``0.0060 (8) and 0.010 (others)``: the mean of each list, and for how many it stands."""
    parts = []
    if own:
        parts.append(f"{_short(sum(own) / len(own))} ({len(own)})")
    if rest:
        parts.append(f"{_short(rest[0])} ({'others' if own else 'all'})")
    return " and ".join(parts) or "dead"


def _short(value: float) -> str:
    return f"{value:#.2g}" if value else "0"


def _infidelity(gate: str, qubits: tuple[int, ...], noises: tuple[Noise, ...]) -> float:
    if not noises:
        return 0.0
    width = len(qubits) or max(GATES[gate].num_qubits if gate in GATES else 0, _reach(noises))
    return infidelity(total_ptm([(noise.channel, noise.on) for noise in noises], width))


def _reach(noises: tuple[Noise, ...]) -> int:
    return 1 + max((q for noise in noises for q in noise.on), default=0)


def _noises(gate: str, qubits: tuple[int, ...], given: Any) -> tuple[Noise, ...]:
    """Read what follows a gate, and check that it fits."""
    items = [given] if isinstance(given, (Channel, Noise)) else list(given)
    width = len(qubits) or (GATES[gate].num_qubits if gate in GATES else None)
    where = f"the noise of {gate} on {qubits or 'any qubits'}"
    found = []
    for item in items:
        if isinstance(item, Channel):
            if width is not None and item.num_qubits != width:
                raise ValueError(
                    f"{where} is a channel on {item.num_qubits} qubit"
                    f"{'s' * (item.num_qubits > 1)}, and the gate has {width}: say on which of "
                    f"them it acts with Noise(channel, on=(0,))"
                )
            item = Noise(item, tuple(range(item.num_qubits)))
        elif not isinstance(item, Noise):
            raise TypeError(f"{where} is a {type(item).__name__}: give a Channel or a Noise")
        on = tuple(item.on)
        inside = len(set(on)) == len(on) and all(q >= 0 for q in on)
        if not inside or len(on) != item.channel.num_qubits or (width and max(on) >= width):
            raise ValueError(
                f"{where} acts on positions {on}: give {item.channel.num_qubits} distinct "
                f"positions" + (f" between 0 and {width - 1}" if width else "")
            )
        found.append(replace(item, on=on) if on != item.on else item)
    return tuple(found)
