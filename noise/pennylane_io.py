"""Noise models and noisy programs for PennyLane, and PennyLane's noise models for nisqkit.

Wire ``k`` is qubit ``k``. PennyLane reads the first wire of a matrix as the most significant bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from nisqkit.circuits.gates import GATES
from nisqkit.circuits.pennylane_gates import import_pennylane, operators, reverse_bits

from .channels import Channel
from .confusion import Confusion
from .model import Noise, NoiseModel
from .noisy_program import NoiseUse, NoisyProgram
from .schedule import Use

_NOT_GATES = ("Barrier", "Snapshot", "GlobalPhase", "StatePrep", "BasisState", "WireCut")
_PROBES = ((0.3, 0.5, 0.7, 0.9), (1.1, 0.2, 2.3, 0.4))  # angles at which noise is read


def to_pennylane(model: NoiseModel) -> Any:
    """A `qp.NoiseModel` for `qp.add_noise`, with the same channels and readout errors.

    A gate or a wire of the circuit that the model knows neither as noisy nor as ideal is an error
    in PennyLane too. `reset` is left out, as it is no operator of PennyLane's. PennyLane decomposes
    ``qp.adjoint(...)`` before it adds noise unless it is told ``level="top"``.

    Readout errors, asymmetric and correlated ones too, are channels before each measurement: they
    read the wires in the basis of its observable and confuse what is read. (The option
    ``readout_prob`` of ``default.mixed`` is one probability for all, and PennyLane 0.45 fails
    when it is used, its issue 9612.)

    Raises:
        ValueError: The model has idle noise, or noise of a gate that is no single operator of
            PennyLane's.
        ImportError: PennyLane is not installed.

    Example:
        >>> import pennylane as qp
        >>> flips = Confusion.flips(None, read_1_after_0=0.1, read_0_after_1=0.2)
        >>> model = NoiseModel("flips", {("x", ()): Channel.pauli({"X": 0.1})}, readout=[flips])
        >>> @qp.qnode(qp.device("default.mixed", wires=1))
        ... def function():
        ...     qp.X(0)
        ...     return qp.probs(wires=[0])
        >>> qp.add_noise(function, to_pennylane(model))().round(3)
        array([0.27, 0.73])
    """
    qp = import_pennylane()
    if model.idle is not None:
        raise ValueError(
            f"{model.name} has idle noise, which depends on the schedule of a circuit, and a "
            f"PennyLane noise model knows operators only: bind it and use pennylane_operations"
        )
    names = _names(model)

    def is_gate(operator: Any) -> bool:
        return not isinstance(operator, qp.operation.Channel) and operator.name not in _NOT_GATES

    def follow(op: Any, **_: Any) -> None:
        wires = tuple(op.wires)
        noises = model.noise_after(names[op.name], wires) if op.name in names else None
        if noises is None:
            raise ValueError(
                f"{op.name} on wires {list(wires)} is not covered by {model.name}: write the "
                f"circuit in its gates ({', '.join(sorted(names))}) and on its wires"
            )
        for noise in noises:
            _apply(noise.channel, [wires[k] for k in noise.on])

    def read(mp: Any, **_: Any) -> None:
        letters = _basis(qp, mp)
        found = model.readout_of(sorted(letters))
        for wire in letters:
            known = "measure" in model.ideal or ("measure", (wire,)) in model.ideal
            if not known and not any(wire in confusion.qubits for confusion in found):
                raise ValueError(
                    f"wire {wire!r} is measured, and {model.name} has no readout error for it: add "
                    f"a Confusion to `readout`, or 'measure' to `ideal`"
                )
        for confusion in found:
            _apply_reading(confusion, letters)

    gates = qp.BooleanFn(is_gate, name=f"gates of {model.name}")
    measurements = qp.BooleanFn(lambda mp: True, name=f"measurements of {model.name}")
    if "measure" in model.ideal and not model.readout:
        return qp.NoiseModel({gates: follow})
    return qp.NoiseModel({gates: follow}, meas_map={measurements: read})


def _names(model: NoiseModel) -> dict[str, str]:
    """For each PennyLane operator that the model covers, the name of the gate."""
    names: dict[str, str] = {}
    known = [name for name, _ in model.gates] + [
        entry if isinstance(entry, str) else entry[0] for entry in model.ideal
    ]
    for name in dict.fromkeys(known):
        if name not in GATES:  # reset, measure, prepare
            continue
        single = _operator(name, range(GATES[name].num_qubits), _PROBES[0])
        if single is None:
            if name in model.ideal:
                continue
            raise ValueError(
                f"{model.name} has noise for {name}, which PennyLane writes as several operators: "
                f"bind the model and use pennylane_operations"
            )
        if (other := names.setdefault(single.name, name)) != name:
            raise ValueError(
                f"{model.name} has {other} and {name}, which are both {single.name} in PennyLane: "
                f"keep one of them"
            )
    return names


def _basis(qp: Any, mp: Any) -> dict[Any, str]:
    """The basis that a measurement reads each of its wires in."""
    of_state = not isinstance(mp, qp.measurements.SampleMeasurement)
    if of_state or (mp.obs is None and (mp.mv is not None or not mp.wires)):
        raise ValueError(
            f"readout errors do not apply to {mp}: use qp.expval, qp.var, qp.sample, qp.counts or "
            f"qp.probs, and give the wires"
        )
    if mp.obs is None:
        return dict.fromkeys(mp.wires, "Z")
    letters: dict[Any, str] = {}
    for word in mp.obs.pauli_rep or [None]:
        for wire, letter in {} if word is None else word.items():
            if letters.setdefault(wire, letter) != letter:
                word = None
                break
        if word is None:
            raise ValueError(
                f"{mp.obs} is not read in one Pauli basis: measure its Pauli words one by one"
            )
    return letters


def _apply_reading(confusion: Confusion, letters: dict[Any, str]) -> None:
    """Read wires in a basis, and leave them in the state that was read, which may be wrong."""
    qp = import_pennylane()
    turn = {"X": [[1, 1], [1, -1]], "Y": [[1, 1], [1j, -1j]], "Z": [[2**0.5, 0], [0, 2**0.5]]}
    basis = np.ones((1, 1), dtype=complex)  # columns are the states of the basis
    for q in confusion.qubits:
        basis = np.kron(np.array(turn[letters.get(q, "Z")]) / 2**0.5, basis)
    operators = [
        reverse_bits(p**0.5 * np.outer(basis[:, read], basis[:, prepared].conj()))
        for read, row in enumerate(confusion.matrix)
        for prepared, p in enumerate(row)
        if p > 0
    ]
    qp.QubitChannel(operators, wires=list(confusion.qubits))


def _operator(name: str, wires: Sequence[int], angles: Sequence[float]) -> Any | None:
    """A gate as a PennyLane operator; None where it takes several."""
    qp = import_pennylane()
    with qp.QueuingManager.stop_recording():
        found = operators(name, wires, angles[: GATES[name].num_params])
    return found[0] if len(found) == 1 else None


def _apply(channel: Channel, wires: Sequence[int]) -> Any:
    """The channel as a PennyLane operator, which is queued."""
    qp = import_pennylane()
    return qp.QubitChannel([reverse_bits(k) for k in channel.kraus_operators], wires=list(wires))


def from_pennylane(
    model: Any, num_qubits: int, ideal: Iterable[str] = (), readout: Iterable[Confusion] = ()
) -> NoiseModel:
    """A PennyLane `qp.NoiseModel` as one of nisqkit's.

    The conditions of a PennyLane model are functions, so they are tried on every gate of the gate
    table that is one PennyLane operator, on all wires. PennyLane runs gates that match no condition
    without noise; here such a gate is an error when a program is bound, unless it is in ``ideal``.

    Args:
        model: The noise model.
        num_qubits: Wires 0 to ``num_qubits - 1`` are tried.
        ideal: Gates that are exact wherever no condition matches (names of the gate table).
        readout: Readout errors, which are no part of a model without ``meas_map``; without them
            readout is ideal.

    Raises:
        TypeError: Not a PennyLane noise model.
        ValueError: Noise that depends on the gate's angles, acts before the gate or on other wires;
            noise of measurements (``meas_map``).
        ImportError: PennyLane is not installed.

    Example:
        >>> import pennylane as qp
        >>> noise = qp.NoiseModel(
        ...     {qp.noise.op_eq(qp.RX): qp.noise.partial_wires(qp.PhaseDamping, 0.1)}
        ... )
        >>> from_pennylane(noise, num_qubits=2, ideal=["rz"])
        NoiseModel('from PennyLane', custom, rx 0.017 (2); exact: measure, rz)
    """
    qp = import_pennylane()
    if not isinstance(model, qp.NoiseModel):
        raise TypeError(f"from_pennylane takes a qp.NoiseModel, not {type(model).__name__}")
    if model.meas_map:
        raise ValueError(
            "the PennyLane noise model has noise for measurements (meas_map), which may depend on "
            "the observable: leave it out, and give the readout errors as readout=[Confusion, ...]"
        )
    gates: dict[Use, list[Noise]] = {}
    for name, gate in GATES.items():
        if _operator(name, range(gate.num_qubits), _PROBES[0]) is None:
            continue
        for wires in permutations(range(num_qubits), gate.num_qubits):
            noises, again = (_noise_of(qp, model, name, wires, probe) for probe in _PROBES)
            if noises != again:
                raise ValueError(
                    f"the noise of {name} on wires {list(wires)} depends on its angles: a channel "
                    f"has fixed parameters"
                )
            if noises:
                gates[name, wires] = noises
    confusions = list(readout)
    exact = {*ideal, *(() if confusions else ["measure"])}
    return NoiseModel("from PennyLane", gates, exact, confusions)


def _noise_of(
    qp: Any, model: Any, name: str, wires: tuple[int, ...], angles: Sequence[float]
) -> list[Noise]:
    operator = _operator(name, wires, angles)
    found = []
    for condition, noise in model.model_map.items():
        if not condition(operator):
            continue
        for part in qp.tape.make_qscript(noise)(operator, **model.metadata).operations:
            if not set(part.wires) <= set(wires):
                raise ValueError(
                    f"the noise of {name} on wires {list(wires)} acts on wires "
                    f"{part.wires.tolist()}: only noise on the gate's own wires can be read"
                )
            if qp.equal(part, operator):
                raise ValueError(
                    f"the noise of {name} on wires {list(wires)} repeats the gate, to act before "
                    f"it: only noise after the gate can be read"
                )
            is_channel = isinstance(part, qp.operation.Channel)
            matrices = part.kraus_matrices() if is_channel else [part.matrix()]
            channel = Channel.kraus(
                [reverse_bits(np.asarray(matrix, dtype=complex)) for matrix in matrices]
            )
            found.append(Noise(channel, tuple(wires.index(w) for w in part.wires)))
    return found


def pennylane_operations(noisy: NoisyProgram, angles: Sequence[Any]) -> list[Any]:
    """A noisy program as PennyLane operators for ``default.mixed``, every channel among them.

    Readout errors are not part of it: put the observables through
    `nisqkit.noise.through_readout`, or the probabilities through `nisqkit.noise.confuse`.

    Args:
        noisy: The program, without an initial state.
        angles: The value of every slot of ``noisy.program``: numbers, or tensors of shape ``()`` or
            ``(batch,)``.

    Raises:
        ValueError: Another number of angles than the program has slots.
        ImportError: PennyLane is not installed.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from nisqkit.circuits import lower
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.x(0)
        >>> flip = Channel.pauli({"X": 0.1})
        >>> noisy = NoiseModel("flips", {("x", ()): flip}, ["measure"]).bind(lower(circuit))
        >>> [operation.name for operation in pennylane_operations(noisy, [])]
        ['PauliX', 'QubitChannel']
    """
    program = noisy.program
    if len(angles) != program.angle_map.num_slots:
        raise ValueError(
            f"{len(angles)} angles for a program with {program.angle_map.num_slots} slots: give "
            f"one for each"
        )
    operations: list[Any] = []
    if program.prepare is not None:
        qp = import_pennylane()
        state = np.zeros(2 ** len(program.prepare.qubits))
        state[: len(program.prepare.slots)] = [float(angles[s]) for s in program.prepare.slots]
        state /= np.linalg.norm(state)
        operations.append(qp.StatePrep(state, wires=program.prepare.qubits[::-1]))
    for use in noisy.operations:
        if isinstance(use, NoiseUse):
            operations.append(_apply(use.channel, use.qubits))
            continue
        matrix = None if use.matrix is None else np.array(use.matrix)
        if matrix is not None:
            matrix = matrix.reshape(2 ** len(use.qubits), -1)
        operations += operators(use.name, use.qubits, [angles[s] for s in use.slots], matrix)
    return operations
