"""Programs bound to a noise model: transpiled for its device if it has one, over the same weights.

What comes out takes the inputs and weights of the logical program, so that training trains those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nisqkit.circuits.angles import AngleMap, NonlinearMap
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.sampling import in_basis
from nisqkit.hardware_backends.slot_circuit import slot_angles
from nisqkit.hardware_backends.transpile import Transpiled, transpile_to
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.noise.noisy_program import NoisyProgram


@dataclass(frozen=True)
class Binder:
    """Binds programs to one noise model.

    Attributes:
        model: The noise model. With a device, programs are transpiled for it first.
        layout, optimization_level, seed: As in `transpile_to`.
        ideal_encoder: The gates before the first one that depends on a weight run as they stand,
            without noise, and only the others are transpiled, on the qubits where the whole circuit
            would be. Released QuantumNAT trains so.
    """

    model: NoiseModel
    layout: tuple[int, ...] | None = None
    optimization_level: int = 2
    seed: int = 0
    ideal_encoder: bool = False

    @classmethod
    def make(
        cls,
        noise: Device | NoiseModel,
        layout: Sequence[int] | None = None,
        optimization_level: int = 2,
        seed: int = 0,
        ideal_encoder: bool = False,
    ) -> Binder:
        """From what a user gives as ``noise``; a device has its full noise.

        Raises:
            TypeError: Neither a device nor a noise model.
            ValueError: A layout without a device.
        """
        if isinstance(noise, Device):
            noise = NoiseModel.from_device(noise)
        if not isinstance(noise, NoiseModel):
            raise TypeError(
                "noise is a Device (Device.load, Device.from_backend), a NoiseModel or None, "
                f"not {type(noise).__name__}"
            )
        if layout is not None and noise.device is None:
            raise ValueError(
                f"layout needs a device, and the noise model {noise.name!r} has none: give "
                "noise=Device.load(...), or leave layout out"
            )
        chosen = None if layout is None else tuple(layout)
        return cls(noise, chosen, optimization_level, seed, ideal_encoder)

    def transpile(self, program: Program, basis: str | None = None) -> Transpiled | None:
        """The program as the device gets it; None without a device.

        With a ``basis``, rotations into it come last. Every basis starts on the same qubits. An
        ideal encoder is transpiled with the rest here; `bind` leaves it out.
        """
        if self.model.device is None:
            return None

        def on_device(logical: Program, layout: tuple[int, ...] | None) -> Transpiled:
            assert self.model.device is not None
            return transpile_to(
                logical,
                self.model.device,
                layout=layout,
                optimization_level=self.optimization_level,
                seed=self.seed,
            )

        body = on_device(program, self.layout)
        rotated = None if basis is None else in_basis(program.by_slots, basis)
        if rotated is None or rotated == program.by_slots:
            return body
        return on_device(rotated, body.initial_layout)

    def bind(self, program: Program, basis: str | None = None) -> NoisyProgram:
        """The noisy program, with the inputs and weights of the logical one; kept with that.

        Raises:
            ValueError: As `transpile_to` and `NoiseModel.bind`; with an ideal encoder, a program
                that does not consist of an encoder and a trained part (see `split_encoder`).
        """
        key = "bound", self, basis
        if key not in program.cache:
            program.cache[key] = self._bind(program, basis)
        found: NoisyProgram = program.cache[key]
        return found

    def _bind(self, program: Program, basis: str | None) -> NoisyProgram:
        if self.ideal_encoder:
            return self._bind_trained_part(program, basis)
        transpiled = self.transpile(program, basis)
        if transpiled is None:
            return self.model.bind(program if basis is None else in_basis(program, basis))
        native = replace(transpiled.native, angle_map=_angle_map(program, transpiled.native))
        return self.model.bind(native, transpiled.measured, transpiled.active)

    def _bind_trained_part(self, program: Program, basis: str | None) -> NoisyProgram:
        encoder, trained = split_encoder(program)
        whole = self.transpile(program)
        if whole is None:
            bound = self.model.bind(trained if basis is None else in_basis(trained, basis))
            return _behind(encoder, bound, range(program.num_qubits), program)
        there = replace(self, layout=whole.initial_layout, ideal_encoder=False)
        transpiled = there.transpile(trained, basis)
        assert transpiled is not None
        native = replace(transpiled.native, angle_map=_angle_map(trained, transpiled.native))
        bound = self.model.bind(native, transpiled.measured, transpiled.active)
        places = [transpiled.active.index(q) for q in whole.initial_layout]
        return _behind(encoder, bound, places, program)

    def measurements(
        self, program: Program, observables: Observables
    ) -> list[tuple[NoisyProgram, Observables]]:
        """What to run for exact values, whose sum is the outputs.

        On a device each measurement basis is a circuit of its own, since the rotations into it are
        noisy too; on a model without a device they are exact, and one circuit does, unless qubits
        are read together: then what one of them shows depends on the basis of the other.
        """
        together = any(len(confusion.qubits) > 1 for confusion in self.model.readout)
        if observables.sums is None or not (self.model.device or together):
            return [(self.bind(program), observables)]
        n = observables.num_qubits
        parts = []
        for basis, members in observables.groups:
            strings = {observables.strings[k] for k in members}
            sums = tuple(
                # after the rotations every letter is read as Z
                tuple((_as_z(s), c) for s, c in terms if s in strings) or (("I" * n, 0.0),)
                for terms in observables.sums
            )
            parts.append((self.bind(program, basis), Observables(n, sums)))
        return parts


def split_encoder(program: Program) -> tuple[Program, Program]:
    """The gates before the first one that depends on a weight, and all others.

    Both have the inputs, weights and slots of the program.

    Raises:
        ValueError: No gate depends on a weight, a gate behind the first such gate depends on an
            input, or there is an amplitude input.

    Example:
        >>> from nisqkit.circuits import angle, hardware_efficient, lower
        >>> program = lower(angle(2).compose(hardware_efficient(2, layers=1)), inputs="x")
        >>> [part.num_gates for part in split_encoder(program)]
        [2, 5]
    """
    if program.prepare is not None:
        raise ValueError(
            "an ideal encoder consists of gates, and this circuit loads amplitudes: leave "
            "ideal_encoder out"
        )
    n, used = len(program.inputs), program.angle_map.dependencies
    trained = [any(p >= n for s in use.slots for p in used[s]) for use in program.gates]
    if not any(trained):
        raise ValueError(
            "ideal_encoder needs a trained part, and no gate of this circuit depends on a weight "
            "(in shifted copies, for parameter shift and SPSA, none does): leave it out"
        )
    first = trained.index(True)
    late = [u for u in program.gates[first:] if any(p < n for s in u.slots for p in used[s])]
    if late:
        raise ValueError(
            f"ideal_encoder needs all inputs before the first weight, but {late[0].name!r} on "
            f"qubits {late[0].qubits} depends on an input and comes after one: leave it out"
        )
    return (
        replace(program, gates=program.gates[:first]),
        replace(program, gates=program.gates[first:]),
    )


def _behind(
    encoder: Program, bound: NoisyProgram, places: Sequence[int], program: Program
) -> NoisyProgram:
    """A noisy program with exact gates before it, on the given qubits of its own."""
    after = bound.program.angle_map.num_slots
    gates = tuple(
        replace(
            use,
            qubits=tuple(places[q] for q in use.qubits),
            slots=tuple(after + s for s in use.slots),
        )
        for use in encoder.gates
    )
    whole = replace(
        bound.program,
        gates=gates + bound.program.gates,
        angle_map=bound.program.angle_map.beside(program.angle_map),
    )
    exact = tuple(use for use in gates if use.name != "barrier")
    return replace(bound, program=whole, operations=exact + bound.operations)


def _as_z(string: str) -> str:
    return "".join("I" if letter == "I" else "Z" for letter in string)


def _angle_map(program: Program, native: Program) -> AngleMap:
    """From the inputs and weights of the program to the angles of its native circuit."""
    first, second = program.angle_map, native.angle_map
    if first.nonlinear is None and program.prepare is None:
        return second.after(first)
    used = tuple(range(len(first.inputs) + len(first.weights)))
    slots = tuple(range(second.num_slots))
    function = _NativeAngles(program, native)
    key = f"native angles {hash(program)} {hash(native)}"
    nonlinear = NonlinearMap(slots, (used,) * len(slots), key, function)
    return AngleMap(first.inputs, first.weights, (0.0,) * len(slots), (), nonlinear)


@dataclass(frozen=True, eq=False)
class _NativeAngles:
    """Of a program with angles that are not affine, or an amplitude input."""

    program: Program
    native: Program

    def __call__(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """``(batch, num_inputs), (batch, num_weights) -> (batch, slots)``; weights are repeated."""
        angles = slot_angles(self.program, inputs, weights[0])
        return self.native.angle_map(angles, torch.zeros(0, dtype=angles.dtype))
