"""PennyLane quantum functions as programs.

`from_pennylane` calls the function on torch tensors and decomposes what it queues into gates of the
gate table. The gates must be the same for every value of the parameters; the angles may be any
torch function of them, and become an `AngleMap` (see ``trace.py``), so that PennyLane is not needed
when the program runs. The structure is read at two generic points, and the angle map is compared
with the function at a point that it was not traced at: a function that leaves torch on the way
(NumPy on a parameter, an ``if`` on its value, random numbers) is an error and never a wrong number.

Wire ``k`` is qubit ``k`` (except where `read_qnode` keeps the columns of ``qp.probs``), and Pauli
strings are read right to left as in Qiskit. The way out is in
``pennylane_writer.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.pennylane_call import (
    Call,
    Shapes,
    resolve_arguments,
    to_tensor,
    trainable_angles,
)
from nisqkit.circuits.pennylane_gates import Step, import_pennylane, steps
from nisqkit.circuits.pennylane_writer import to_pennylane as to_pennylane
from nisqkit.circuits.pennylane_writer import to_pennylane_observable as to_pennylane_observable
from nisqkit.circuits.program import GateUse, Prepare, Program
from nisqkit.circuits.trace import angle_map_of, sample_point

_CHANGING = (
    "the structure depends on the values of the parameters: at two random points the quantum "
    "function gave different gates, matrices or observables; only angles may depend on parameters"
)


def from_pennylane(
    function: Any,
    *,
    num_inputs: int | None = None,
    weight_shapes: Shapes | None = None,
    inputs_argument: str = "inputs",
    num_qubits: int | None = None,
    wires: Sequence[Any] | None = None,
) -> Program:
    """A PennyLane QNode, quantum function or tape as a program.

    Args:
        function: A QNode or quantum function as for PennyLane's ``TorchLayer``: its argument
            ``inputs`` is one sample of shape ``(num_inputs,)``, every other argument without a
            default is a weight tensor. Or a tape (`qp.tape.QuantumScript`), whose trainable gate
            parameters become the weights ``weights[i]``; `tape_weights` has their values.
        num_inputs: Number of features; ``None`` if there is no such argument.
        weight_shapes: Shape of every weight argument. Entry ``i`` of the flattened argument ``a``
            is the weight ``a[i]``, and ``a`` itself if its shape is ``()``. Weights are in natural
            order of their names, as in `lower`. Functions from `to_pennylane` need neither and keep
            the names of their circuit.
        inputs_argument: Name of the argument for the inputs.
        num_qubits: Width; default the device's number of wires, or just enough for the largest.
        wires: The wire of each qubit; default the device's wires, or 0, 1, 2, ...

    Raises:
        ValueError: The gates depend on the values of the parameters; measurements in the middle,
            noise channels, operators without a decomposition; wrong arguments, shapes or wires.
        TypeError: Neither a function nor a tape.
        ImportError: PennyLane is not installed.

    Example:
        >>> import pennylane as qp
        >>> def function(inputs, weights):
        ...     qp.AngleEmbedding(inputs, wires=range(2))
        ...     qp.StronglyEntanglingLayers(weights, wires=range(2))
        >>> program = from_pennylane(function, num_inputs=2, weight_shapes={"weights": (1, 2, 3)})
        >>> program
        Program(2 qubits, 10 gates, 2 inputs, 6 weights)
        >>> program.inputs, program.weights[:2]
        (('inputs[0]', 'inputs[1]'), ('weights[0]', 'weights[1]'))
    """
    qp = import_pennylane()
    call = resolve_arguments(qp, function, num_inputs, weight_shapes, inputs_argument)
    return _read(qp, call, num_qubits, _device_wires(function) if wires is None else wires)[0]


def read_qnode(
    function: Any,
    *,
    num_inputs: int | None = None,
    weight_shapes: Shapes | None = None,
    inputs_argument: str = "inputs",
    num_qubits: int | None = None,
    wires: Sequence[Any] | None = None,
) -> tuple[Program, Observables | None]:
    """The program of a QNode, quantum function or tape, and what it measures.

    Arguments and errors are those of `from_pennylane` and `observables_of`; what is measured is
    ``None`` if there is no measurement. The number of shots is not read: a layer has its own.

    A QNode that returns ``qp.probs`` keeps its columns: unless ``wires`` is given, wire ``i`` of
    the ``n`` measured ones becomes qubit ``n - 1 - i``, since PennyLane takes the first wire as the
    most significant bit and Qiskit the last qubit.

    Example:
        >>> import pennylane as qp
        >>> @qp.qnode(qp.device("default.qubit", wires=2))
        ... def qnode(inputs):
        ...     qp.RX(2 * inputs[0], wires=1)
        ...     return qp.expval(qp.Z(0) @ qp.X(1))
        >>> read_qnode(qnode, num_inputs=1)[1].sums
        ((('XZ', 1.0),),)
    """
    qp = import_pennylane()
    call = resolve_arguments(qp, function, num_inputs, weight_shapes, inputs_argument)
    if wires is None:
        wires = _device_wires(function)
        tape = call.tape(*sample_point(len(call.inputs), len(call.weights), seed=1))
        if [type(m) for m in tape.measurements] == [qp.measurements.ProbabilityMP]:
            order = list(_wire_order(tape, num_qubits, wires))
            columns = tape.measurements[0].wires.tolist() or order
            if set(columns) == set(order):
                wires, num_qubits = columns[::-1], None
    return _read(qp, call, num_qubits, wires)


def _device_wires(function: Any) -> list[Any] | None:
    """The wires of a QNode's device, if it has any."""
    wires = getattr(getattr(function, "device", None), "wires", None)
    return wires.tolist() if wires else None


def _read(
    qp: Any, call: Call, num_qubits: int | None, wires: Sequence[Any] | None
) -> tuple[Program, Observables | None]:
    sizes = len(call.inputs), len(call.weights)

    def read(x: Tensor, w: Tensor) -> tuple[Any, list[tuple[int, Step]], Any]:
        tape = call.tape(x, w)
        return tape, *_steps(qp, tape)

    tape, found, state = read(*sample_point(*sizes, seed=1))
    order = _wire_order(tape, num_qubits, wires)
    uses = _uses(found, order)
    observables = observables_of(tape, list(order))
    point = sample_point(*sizes, seed=2)
    other_tape, other, other_state = read(*point)
    for preparation in (state, other_state):
        if preparation is not None:
            _real_state(preparation)
    if (
        _uses(other, order) != uses
        or (state is None) != (other_state is None)
        or observables_of(other_tape, list(order)) != observables
    ):
        raise ValueError(_CHANGING)

    def angles(x: Tensor, w: Tensor) -> list[Tensor]:
        _, now, amplitudes = read(x, w)
        if _uses(now, order) != uses:
            raise ValueError(_CHANGING)
        values = [to_tensor(a).reshape(1) for _, step in now for a in step.angles]
        return (
            values if amplitudes is None else [*values, to_tensor(amplitudes.data[0]).reshape(-1)]
        )

    angle_map = angle_map_of(angles, call.inputs, call.weights, any_scale=state is not None)
    prepare = None
    if state is not None:
        first = sum(len(use.slots) for use in uses)
        used = {s for s, _, _ in angle_map.terms} | set(
            angle_map.nonlinear.slots if angle_map.nonlinear else ()
        )
        last = max(
            (s for s in range(first, angle_map.num_slots) if s in used or angle_map.constants[s]),
            default=first,
        )
        angle_map = replace(angle_map, constants=angle_map.constants[: last + 1])
        prepare = Prepare(
            tuple(order[w] for w in reversed(state.wires)), tuple(range(first, last + 1))
        )
        batched = set(angle_map.batched_slots) & set(prepare.slots)
        if batched and len(batched) < len(prepare.slots):
            raise ValueError(
                f"the amplitudes of {state.name} must all be inputs or all be weights, not a "
                "mixture with constants (zeros at the end may be left out with pad_with=0)"
            )
    program = Program(len(order), uses, angle_map, prepare)
    _compare(program, torch.cat([*angles(*point), point[0].new_zeros(0)]), point)
    return program, observables


def tape_weights(tape: Any) -> Tensor:
    """Values of the weights of ``from_pennylane(tape)``, shape ``(num_weights,)``, float64.

    Example:
        >>> import pennylane as qp
        >>> tape = qp.tape.QuantumScript([qp.RX(0.1, wires=0), qp.Rot(0.2, 0.3, 0.4, wires=0)])
        >>> tape_weights(tape)
        tensor([0.1000, 0.2000, 0.3000, 0.4000], dtype=torch.float64)
    """
    parameters = tape.get_parameters(trainable_only=False)
    values = [to_tensor(parameters[index]).reshape(-1) for index in trainable_angles(tape)]
    return torch.cat([torch.zeros(0, dtype=torch.float64), *values]).detach()


def observables_of(tape: Any, wires: Sequence[Any] | None = None) -> Observables | None:
    """What a tape measures; ``None`` if nothing.

    ``qp.probs`` of all wires becomes all probabilities, with columns in Qiskit's order: in column
    ``i``, bit ``k`` of ``i`` is wire ``k``. PennyLane takes the first wire as the most significant.

    Args:
        tape: With ``expval`` of Pauli sums or Hermitian matrices, or one ``probs`` of all wires.
        wires: The wire of each qubit; default the tape's wires, sorted.

    Raises:
        ValueError: Any other measurement, or an observable that is not Hermitian.

    Example:
        >>> import pennylane as qp
        >>> measured = [qp.expval(0.5 * qp.X(0) @ qp.Y(1)), qp.expval(qp.Z(0))]
        >>> observables_of(qp.tape.QuantumScript([], measured)).sums
        ((('YX', 0.5),), (('IZ', 1.0),))
    """
    qp = import_pennylane()
    order = {wire: k for k, wire in enumerate(sorted(tape.wires) if wires is None else wires)}
    if not tape.measurements:
        return None
    if [type(m) for m in tape.measurements] == [qp.measurements.ProbabilityMP]:
        (measured,) = tape.measurements
        if (
            measured.obs is None
            and measured.mv is None
            and set(measured.wires or order) == set(order)
        ):
            return Observables(len(order), None)
    if any(
        not isinstance(m, qp.measurements.ExpectationMP) or m.obs is None for m in tape.measurements
    ):
        given = ", ".join(map(str, tape.measurements))
        raise ValueError(
            f"a layer cannot measure {given}: return qp.expval of observables, or qp.probs of all "
            "wires alone"
        )
    return Observables.parse([_pauli_sum(qp, m.obs, order) for m in tape.measurements], len(order))


def _pauli_sum(qp: Any, observable: Any, order: Mapping[Any, int]) -> SparsePauliOp:
    sentence = observable.pauli_rep
    if sentence is None:
        matrix = observable.matrix(wire_order=observable.wires)
        sentence = qp.pauli_decompose(np.asarray(matrix), wire_order=observable.wires, pauli=True)
    terms = [
        ("".join(word.values()), [_qubit(w, order) for w in word], complex(coefficient))
        for word, coefficient in sentence.items()
    ]
    return SparsePauliOp.from_sparse_list(terms or [("", [], 0)], num_qubits=len(order))


def _steps(qp: Any, tape: Any) -> tuple[list[tuple[int, Step]], Any]:
    """The gates of a tape, each with the number of its operation, and its state preparation."""
    found: list[tuple[int, Step]] = []
    state = None
    for group, operation in enumerate(tape.operations):
        if isinstance(operation, qp.StatePrep):
            if state is not None or {w for _, step in found for w in step.wires} & set(
                operation.wires
            ):
                raise ValueError(
                    f"{operation.name} prepares the initial state: it must come once, and before "
                    "every gate on its wires"
                )
            state = operation
            continue
        found += [(group, step) for step in steps(operation)]
    return found, state


def _uses(found: Sequence[tuple[int, Step]], order: Mapping[Any, int]) -> tuple[GateUse, ...]:
    """The gates of a program; slots are numbered through."""
    uses, slot = [], 0
    for group, step in found:
        slots = tuple(range(slot, slot + len(step.angles)))
        slot += len(slots)
        uses.append(
            GateUse(
                step.name, tuple(_qubit(w, order) for w in step.wires), slots, step.matrix, group
            )
        )
    return tuple(uses)


def _qubit(wire: Any, order: Mapping[Any, int]) -> int:
    if wire not in order:
        raise ValueError(
            f"wire {wire!r} is not among the wires {list(order)}: give wires= or more num_qubits"
        )
    return order[wire]


def _wire_order(tape: Any, num_qubits: int | None, wires: Sequence[Any] | None) -> dict[Any, int]:
    """The qubit of each wire."""
    if wires is not None:
        if num_qubits is not None and num_qubits != len(wires):
            raise ValueError(
                f"num_qubits={num_qubits} does not fit the {len(wires)} wires {list(wires)}"
            )
        return {wire: k for k, wire in enumerate(wires)}
    if any(not isinstance(w, int) for w in tape.wires):
        raise ValueError(
            f"the wires {tape.wires.tolist()} are not numbers: give wires=, the wire of each qubit"
        )
    count = max(tape.wires, default=0) + 1 if num_qubits is None else num_qubits
    return {wire: wire for wire in range(count)}


def _real_state(state: Any) -> None:
    values: Any = np.asarray(torch.as_tensor(state.data[0]).detach())
    if values.ndim != 1:
        raise ValueError(
            f"{state.name} got a batch of states: the quantum function is called with one sample"
        )
    if np.abs(values.imag).max() > 1e-9:
        raise ValueError(
            f"{state.name} has complex amplitudes: a layer loads real ones, and gates make phases"
        )


def _compare(program: Program, expected: Tensor, point: tuple[Tensor, Tensor]) -> None:
    """The program's angles must be those of the function (amplitudes up to their norm)."""
    found = program.angles(point[0][None], point[1])[0]
    if program.prepare is not None:
        first = program.prepare.slots[0]
        rest, state = expected[:first], expected[first:]
        expected = torch.cat([rest, state / state.norm()])[: len(found)]
    assert found.shape == expected.shape
    if not torch.allclose(found, expected, rtol=1e-9, atol=1e-9):
        slot = int((found - expected).abs().nan_to_num(torch.inf).argmax())
        use = next((u for u in program.gates if slot in u.slots), None)
        where = f"gate {use.name!r} on qubits {use.qubits}" if use else "an amplitude"
        raise ValueError(
            f"the angle of {where} leaves torch on the way from the parameters (NumPy, .item(), "
            "random numbers?), or is not finite: compute it with torch functions only, so that it "
            "can be differentiated"
        )
