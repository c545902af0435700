"""`NoisyProgram`: a program with its noise, checked once; the only noisy thing that engines run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nisqkit.circuits.names import unknown
from nisqkit.circuits.program import GateUse, Program

from .channels import Channel
from .confusion import Confusion

if TYPE_CHECKING:
    from .model import NoiseModel


@dataclass(frozen=True)
class NoiseUse:
    """A channel at one place of a program.

    Attributes:
        channel: The channel.
        qubits: Qubits of the program, in the channel's own order.
        cause: Where it comes from, with the qubits of the model: ``"cx 0-1"``, ``"T1 of 0"``.
    """

    channel: Channel
    qubits: tuple[int, ...]
    cause: str


@dataclass(frozen=True)
class NoisyProgram:
    """A program bound to a noise model by `NoiseModel.bind`. Hashable.

    Attributes:
        program: The program; its gates in order are the `GateUse` among the operations, without
            barriers.
        operations: What happens, in order.
        readout: Confusions on qubits of the program; a measured qubit without one is read right.
        measured: Logical qubit k is read on qubit ``measured[k]`` of the program.
        physical: For each qubit of the program, the model's (the device's) qubit.
        model: The noise model. Two programs with equal operations are equal, whatever their models.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from nisqkit.circuits import lower
        >>> from nisqkit.noise import NoiseModel
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.x(0)
        >>> flip = Channel.pauli({"X": 0.1})
        >>> model = NoiseModel("flips", {("x", (0,)): flip}, ideal={"measure"})
        >>> noisy = model.bind(lower(circuit))
        >>> noisy
        NoisyProgram(1 qubits, 1 gates, 1 channels, flips)
        >>> noisy.causes
        ('x 0',)
        >>> noisy.at_strength({"x 0": 0.5}).operations[1].channel
        Channel.pauli({'X': 0.05})
    """

    program: Program
    operations: tuple[GateUse | NoiseUse, ...]
    readout: tuple[Confusion, ...]
    measured: tuple[int, ...]
    physical: tuple[int, ...]
    model: NoiseModel = field(compare=False)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.program, self.operations, self.readout, self.measured, self.physical))

    def __getstate__(self) -> dict[str, object]:
        # without what is cached
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __repr__(self) -> str:
        channels = sum(isinstance(use, NoiseUse) for use in self.operations)
        return (
            f"NoisyProgram({self.num_qubits} qubits, {self.program.num_gates} gates, "
            f"{channels} channels, {self.model.name})"
        )

    @property
    def num_qubits(self) -> int:
        """Number of qubits of the program."""
        return self.program.num_qubits

    @cached_property
    def cache(self) -> dict[Any, Any]:
        """What engines have worked out for this object; it lives as long, and is not pickled."""
        return {}

    @cached_property
    def causes(self) -> tuple[str, ...]:
        """The distinct causes, in order of appearance; those of the readout last."""
        noises = (use.cause for use in self.operations if isinstance(use, NoiseUse))
        return tuple(dict.fromkeys([*noises, *map(self.readout_cause, self.readout)]))

    def readout_cause(self, confusion: Confusion) -> str:
        """The cause of one of the confusions of `readout`: ``"readout of 3"``."""
        return self._on_model(confusion).what

    def _on_model(self, confusion: Confusion) -> Confusion:
        return confusion.moved([self.physical[q] for q in confusion.qubits])

    def at_strength(
        self, strength: float | Mapping[str, float], readout: bool = True
    ) -> NoisyProgram:
        """The same program with its noise scaled, see `Channel.scaled` and `Confusion.scaled`.

        Args:
            strength: One number for everything, or a number for each of some `causes`; causes that
                are not named keep strength 1.
            readout: Whether one number scales the readout as well.

        Raises:
            ValueError: A cause that this program does not have, or a probability would leave
                [0, 1] (the message names the cause).
        """
        if isinstance(strength, Mapping):
            if strange := [cause for cause in strength if cause not in self.causes]:
                raise ValueError(unknown("cause", strange[0], self.causes))
            by_cause = {cause: float(strength.get(cause, 1.0)) for cause in self.causes}
        else:
            read = {self.readout_cause(c) for c in self.readout} if not readout else set()
            by_cause = {c: 1.0 if c in read else float(strength) for c in self.causes}
        scaled: dict[tuple[Channel, str], Channel] = {}
        operations: list[GateUse | NoiseUse] = []
        for use in self.operations:
            if isinstance(use, NoiseUse):
                key = use.channel, use.cause
                if key not in scaled:
                    try:
                        scaled[key] = use.channel.scaled(by_cause[use.cause])
                    except ValueError as error:
                        raise ValueError(f"{use.cause}: {error}") from error
                use = replace(use, channel=scaled[key])
            operations.append(use)
        confusions = tuple(
            # on the model's qubits while it is scaled, so that an error names those
            self._on_model(c).scaled(by_cause[self.readout_cause(c)]).moved(c.qubits)
            for c in self.readout
        )
        return replace(self, operations=tuple(operations), readout=confusions)
