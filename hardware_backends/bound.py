"""Programs bound to a noise model: transpiled for its device if it has one, over the same weights.

What comes out takes the inputs and weights of the logical program, so that training trains those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from nisqkit.circuits.angles import AngleMap, NonlinearMap
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import GateUse, Program
from nisqkit.circuits.task import Placement, Task
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
        ideal_encoder: Whether the encoder (the gates before the first one that depends on a weight,
            and an amplitude input) is exact: it runs as it stands, and what comes after it is
            transpiled on its own, so that nothing merges across. Without a layout, it sits on the
            qubits that the whole circuit would start on. That is how QuantumNAT trains (Wang et
            al., DAC 2022, arXiv:2110.11331).
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
            ValueError: A layout without a device, or idle noise with an ideal encoder.
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
        if ideal_encoder and noise.idle is not None:
            raise ValueError(
                f"{noise.name} has idle noise, but an ideal encoder takes no time in which its "
                "qubits could wait for each other: leave ideal_encoder out, or use idle=False"
            )
        chosen = None if layout is None else tuple(layout)
        return cls(noise, chosen, optimization_level, seed, ideal_encoder)

    def transpile(self, program: Program, basis: str | None = None) -> Transpiled | None:
        """The program as the device gets it; None without a device.

        With an ideal encoder: what comes after it. With a ``basis``, rotations into it come last.
        Every basis starts on the same qubits.
        """
        if self.model.device is None:
            return None
        layout = self.layout

        def on_device(logical: Program, layout: tuple[int, ...] | None) -> Transpiled:
            assert self.model.device is not None
            return transpile_to(
                logical,
                self.model.device,
                layout=layout,
                optimization_level=self.optimization_level,
                seed=self.seed,
            )

        if self.ideal_encoder:
            if layout is None:
                layout = on_device(program, None).initial_layout
            program = after_encoder(program)
        body = on_device(program, layout)
        rotated = None if basis is None else in_basis(program.by_slots, basis)
        if rotated is None or rotated == program.by_slots:
            return body
        return on_device(rotated, body.initial_layout)

    def bind_task(self, task: Task, basis: str | None = None) -> NoisyProgram:
        """`bind` for the program of a task, which may be placed already."""
        if task.placement is None:
            return self.bind(task.program, basis)
        return self.model.bind(task.program, task.placement.measured, task.placement.physical)

    def scaled(self, strength: float) -> Binder:
        """The same with the noise at another strength, readout aside."""
        return replace(self, model=_scaled(self.model, strength))

    def bind(self, program: Program, basis: str | None = None) -> NoisyProgram:
        """The noisy program, with the inputs and weights of the logical one; kept with that.

        Raises:
            ValueError: As `transpile_to`, `NoiseModel.bind`, and `after_encoder` if the encoder is
                ideal.
        """
        key = "bound", self, basis
        if key not in program.cache:
            program.cache[key] = self._bind(program, basis)
        found: NoisyProgram = program.cache[key]
        return found

    def _bind(self, program: Program, basis: str | None) -> NoisyProgram:
        noisy_part = after_encoder(program) if self.ideal_encoder else program
        transpiled = self.transpile(program, basis)
        if transpiled is None:
            rotated = noisy_part if basis is None else in_basis(noisy_part, basis)
            noisy = self.model.bind(rotated)
            starts = tuple(range(program.num_qubits))
        else:
            native = replace(transpiled.native, angle_map=_angle_map(noisy_part, transpiled.native))
            noisy = self.model.bind(native, transpiled.measured, transpiled.active)
            starts = tuple(transpiled.active.index(q) for q in transpiled.initial_layout)
        return _behind(program, noisy, starts) if self.ideal_encoder else noisy

    def placed(self, task: Task) -> list[Task]:
        """The task as circuits of the device, one per measurement basis; their values sum to its.

        Without a device it is the task itself.
        """
        if self.model.device is None or task.placement is not None:
            return [task]
        found = []
        for noisy, observables in self.measurements(task.program, task.observables):
            placement = Placement(noisy.physical, noisy.measured)
            part = replace(
                task, program=noisy.program, observables=observables, placement=placement
            )
            found.append(part)
        return found

    def measure(self, task: Task) -> list[tuple[NoisyProgram, Observables]]:
        """`measurements` of a task, which may be placed already."""
        if task.placement is None:
            return self.measurements(task.program, task.observables)
        return [(self.bind_task(task), task.observables)]

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


@lru_cache(maxsize=64)
def _scaled(model: NoiseModel, strength: float) -> NoiseModel:
    return model.scale(strength)


def after_encoder(program: Program) -> Program:
    """The gates from the first one on that depends on a weight, without the encoder before them.

    The angle map is shared, so that inputs and weights stay those of the program.

    Raises:
        ValueError: No gate depends on a weight, one of those after it depends on an input, or an
            amplitude depends on a weight.

    Example:
        >>> from nisqkit.circuits import angle, lower, u3_cu3
        >>> program = lower(angle(2).compose(u3_cu3(2, blocks=1)), inputs="x")
        >>> [use.name for use in after_encoder(program).gates]
        ['u3', 'u3', 'cu3']
    """
    first_weight = len(program.inputs)
    uses = [[program.angle_map.dependencies[s] for s in use.slots] for use in program.gates]
    trained = [any(p >= first_weight for slot in use for p in slot) for use in uses]
    if True not in trained:
        raise ValueError(
            "an ideal encoder ends before the first gate that depends on a weight, and none does "
            "(parameter shift and SPSA replace weights by angles): leave ideal_encoder out, or use "
            "diff_method='auto'"
        )
    start = trained.index(True)
    for use, used in zip(program.gates[start:], uses[start:], strict=True):
        if any(p < first_weight for slot in used for p in slot):
            raise ValueError(
                f"an ideal encoder ends before the first gate that depends on a weight, but after "
                f"that {use.name} on {use.qubits} depends on an input: put the gates that depend "
                f"on inputs first, or leave ideal_encoder out"
            )
    if program.prepare is not None and any(
        p >= first_weight for s in program.prepare.slots for p in program.angle_map.dependencies[s]
    ):
        raise ValueError(
            "the amplitudes that are loaded depend on a weight, so they are no encoder that could "
            "be ideal: leave ideal_encoder out"
        )
    return replace(program, gates=program.gates[start:], prepare=None)


def _behind(program: Program, noisy: NoisyProgram, starts: tuple[int, ...]) -> NoisyProgram:
    """The noisy part of a program behind its encoder.

    Args:
        program: The whole program.
        noisy: What comes after the encoder, over the same inputs and weights.
        starts: The qubit of the noisy part that each qubit of the program starts on.
    """
    encoder = program.gates[: len(program.gates) - len(after_encoder(program).gates)]
    first = program.angle_map.num_slots
    head = [replace(use, qubits=tuple(starts[q] for q in use.qubits)) for use in encoder]
    operations = (
        *(use for use in head if use.name != "barrier"),
        *(
            replace(use, slots=tuple(first + s for s in use.slots))
            if isinstance(use, GateUse)
            else use
            for use in noisy.operations
        ),
    )
    prepare = program.prepare and replace(
        program.prepare, qubits=tuple(starts[q] for q in program.prepare.qubits)
    )
    whole = Program(
        noisy.num_qubits,
        tuple(use for use in operations if isinstance(use, GateUse)),
        _joined(program.angle_map, noisy.program.angle_map),
        prepare,
    )
    return replace(noisy, program=whole, operations=operations)


def _joined(one: AngleMap, two: AngleMap) -> AngleMap:
    """The slots of two maps over the same inputs and weights, those of the second one last."""
    n = one.num_slots
    parts = [(0, one.nonlinear), (n, two.nonlinear)]
    nonlinear = None
    if found := [(shift, part) for shift, part in parts if part is not None]:
        nonlinear = NonlinearMap(
            tuple(shift + s for shift, part in found for s in part.slots),
            tuple(used for _, part in found for used in part.parameters),
            " and ".join(f"{part.key} from {shift}" for shift, part in found),
            _Together(tuple(part.function for _, part in found)),
        )
    return AngleMap(
        one.inputs,
        one.weights,
        one.constants + two.constants,
        one.terms + tuple((n + slot, p, c) for slot, p, c in two.terms),
        nonlinear,
    )


@dataclass(frozen=True, eq=False)
class _Together:
    """The values of several functions side by side."""

    functions: tuple[Callable[[Tensor, Tensor], Tensor], ...]

    def __call__(self, inputs: Tensor, weights: Tensor) -> Tensor:
        return torch.cat([function(inputs, weights) for function in self.functions], dim=-1)


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
