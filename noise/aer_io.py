"""Noise models and noisy programs for Qiskit Aer, and Aer's noise models for nisqkit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Instruction, ParameterExpression
from qiskit.circuit.library import UnitaryGate
from qiskit_aer.noise import NoiseModel as AerNoiseModel
from qiskit_aer.noise import QuantumError, ReadoutError
from qiskit_aer.noise.errors import pauli_error

from nisqkit.circuits.lower import gate_class
from nisqkit.circuits.program import GateUse

from .channel_checks import letters
from .channels import Channel
from .confusion import Confusion
from .model import Noise, NoiseModel
from .noisy_program import NoiseUse, NoisyProgram
from .pauli_basis import FloatArray
from .schedule import Use

_VIRTUAL = ("id", "p", "rz", "u1")
# in our gate table, but unknown to Aer's simulators
_NOT_IN_AER = ("ch", "cs", "csdg", "dcx", "iswap", "xx_plus_yy", "xx_minus_yy")


def to_aer(model: NoiseModel) -> AerNoiseModel:
    """A noise model for ``AerSimulator(noise_model=...)``, with the same channels and readout.

    Aer runs gates that are not in the model without noise and without a word: compare the circuit
    with the model first (`NoiseModel.bind`, `nisqkit.noise.coverage`). Channels and confusions
    closer to the identity than Aer's tolerance, 1e-8, are dropped by Aer.

    Raises:
        ValueError: What Aer cannot say: idle noise, which depends on the circuit's schedule;
            correlated readout errors; a gate that is exact on some qubits and noisy on all others.

    Example:
        >>> flip = Channel.pauli({"X": 0.1})
        >>> to_aer(NoiseModel("flips", {("x", ()): flip}, ["rz", "measure"])).noise_instructions
        ['x']
    """
    if model.idle is not None:
        raise ValueError(
            f"{model.name} has idle noise, which depends on the schedule of a circuit, and an Aer "
            f"noise model knows gates only: bind it and export the program with aer_circuit"
        )
    named = {name for name, _ in model.gates} | {e for e in model.ideal if isinstance(e, str)}
    named |= {entry[0] for entry in model.ideal if not isinstance(entry, str)}
    found = AerNoiseModel(basis_gates=sorted(named - {"measure", "prepare", "reset"}))
    everywhere = {name for name, qubits in model.gates if not qubits}
    for (name, qubits), noises in model.gates.items():
        error = _quantum_error(noises, len(qubits) or None)
        exact = error is None or error.ideal()
        if exact and qubits and name in everywhere:
            raise _masked(model, name, qubits)
        if error is not None and not exact:
            if qubits:
                found.add_quantum_error(error, name, qubits)
            else:
                found.add_all_qubit_quantum_error(error, name)
    for entry in model.ideal:
        if not isinstance(entry, str) and entry[0] in everywhere:
            raise _masked(model, *entry)
    # those of all qubits first: Aer logs a warning the other way round
    for confusion in sorted(model.readout, key=lambda c: c.qubits):
        if len(confusion.qubits) > 1:
            raise ValueError(
                f"the {confusion.what} of {model.name} is correlated, and Aer drops such errors "
                f"for circuits that measure qubit by qubit, as QuantumCircuit.measure does: put "
                f"observables through nisqkit.noise.through_readout, or probabilities through "
                f"nisqkit.noise.confuse"
            )
        readout = ReadoutError(confusion.array.T)
        if confusion.qubits:
            found.add_readout_error(readout, confusion.qubits)
        else:
            found.add_all_qubit_readout_error(readout)
    return found


def _masked(model: NoiseModel, name: str, qubits: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"{model.name} has {name} exact on {qubits} and noisy on all other qubits, which an Aer "
        f"noise model cannot say: list the noisy qubits one by one"
    )


def _quantum_error(noises: Sequence[Noise], width: int | None) -> QuantumError | None:
    if not noises:
        return None
    size = width or 1 + max(q for noise in noises for q in noise.on)
    circuit = QuantumCircuit(size)
    circuit.id(range(size))
    total = QuantumError([(circuit, 1.0)])
    for noise in noises:
        total = total.compose(_error_of(noise.channel), qargs=list(noise.on))
    return total


def _error_of(channel: Channel) -> QuantumError:
    mixture = channel.pauli_probabilities
    if mixture is not None:
        terms = [(letters(j, channel.num_qubits), p) for j, p in enumerate(mixture) if p > 0]
        return pauli_error(terms)
    return QuantumError([(_kraus(channel), 1.0)])


def _kraus(channel: Channel) -> Instruction:
    # made directly, since Qiskit's classes drop operators that are smaller than 1e-4
    operators: list[Any] = [np.array(k) for k in channel.kraus_operators]
    return Instruction("kraus", channel.num_qubits, 0, operators)


def from_aer(model: AerNoiseModel, ideal: Iterable[str] | None = None) -> NoiseModel:
    """A Qiskit Aer noise model as one of nisqkit's.

    The error of each gate becomes one channel. Aer runs gates that its model does not mention
    without noise; here such a gate is an error when a program is bound, unless it is ideal. Ideal
    are those of ``id``, ``p``, ``rz`` and ``u1`` that are among the model's basis gates without
    noise; readout, if the model has no readout errors; and what is given here.

    Args:
        model: The noise model.
        ideal: More gates that are exact wherever they have no noise; ``"measure"`` for readout.

    Raises:
        TypeError: Not an Aer noise model.
        ValueError: Errors of measurements other than readout errors, passes for idle noise, or
            readout errors that overlap.

    Example:
        >>> from qiskit_aer.noise import depolarizing_error
        >>> aer = AerNoiseModel()
        >>> aer.add_all_qubit_quantum_error(depolarizing_error(0.04, 2), "cx")
        >>> from_aer(aer, ideal=["sx"])
        NoiseModel('from Aer', custom, cx 0.030 (all); exact: id, measure, rz, sx)
    """
    if not isinstance(model, AerNoiseModel):
        raise TypeError(f"from_aer takes a qiskit_aer.noise.NoiseModel, not {type(model).__name__}")
    if getattr(model, "_custom_noise_passes", None):
        raise ValueError(
            "the Aer noise model has passes that add noise to a circuit (idle time, for example), "
            "which cannot be read: make the model with NoiseModel.from_device(device, idle=True)"
        )
    gates: dict[Use, Channel] = {}
    every: list[tuple[str, tuple[int, ...], QuantumError]] = [
        *((name, (), error) for name, error in model._default_quantum_errors.items()),
        *(
            (name, qubits, error)
            for name, errors in model._local_quantum_errors.items()
            for qubits, error in errors.items()
        ),
    ]
    for name, qubits, error in every:
        if name == "measure":
            raise ValueError(
                "the Aer noise model has a quantum error on measurements: give it as a readout "
                "error instead"
            )
        gates[name, tuple(qubits)] = Channel.superop(error.to_quantumchannel().data)
    readout = [
        Confusion(tuple(qubits), tuple(map(tuple, error.probabilities.T.tolist())))
        for qubits, error in model._local_readout_errors.items()
    ]
    if (anyone := model._default_readout_error) is not None:
        readout.append(Confusion((), tuple(map(tuple, anyone.probabilities.T.tolist()))))
    noisy = {name for name, _ in gates}
    exact = {name for name in _VIRTUAL if name in model.basis_gates and name not in noisy}
    exact |= set(ideal or ())
    if not readout:
        exact.add("measure")
    return NoiseModel("from Aer", gates, exact, readout)


def aer_circuit(
    noisy: NoisyProgram, angles: Sequence[float | ParameterExpression]
) -> QuantumCircuit:
    """A noisy program as a circuit for Aer's density matrices, every channel an instruction.

    Readout errors are not part of it: put the observables through
    `nisqkit.noise.through_readout`, or the probabilities through `nisqkit.noise.confuse`.

    Args:
        noisy: The program.
        angles: The value of every slot of ``noisy.program``: numbers, or parameters. Amplitudes of
            an initial state must be numbers.

    Raises:
        ValueError: Another number of angles than the program has slots.

    Example:
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.x(0)
        >>> from nisqkit.circuits import lower
        >>> flip = Channel.pauli({"X": 0.1})
        >>> noisy = NoiseModel("flips", {("x", ()): flip}, ["measure"]).bind(lower(circuit))
        >>> [(i.operation.name, len(i.operation.params)) for i in aer_circuit(noisy, [])]
        [('x', 0), ('kraus', 2)]
    """
    program = noisy.program
    if len(angles) != program.angle_map.num_slots:
        raise ValueError(
            f"{len(angles)} angles for a program with {program.angle_map.num_slots} slots: give "
            f"one for each"
        )
    circuit = QuantumCircuit(program.num_qubits)
    if program.prepare is not None:
        state = np.zeros(2 ** len(program.prepare.qubits))
        state[: len(program.prepare.slots)] = [float(angles[s]) for s in program.prepare.slots]
        # Aer's density matrices have no `initialize`
        circuit.append(UnitaryGate(_loading(state)), program.prepare.qubits)
    known: dict[Channel, Instruction] = {}
    for use in noisy.operations:
        if isinstance(use, NoiseUse):
            if use.channel not in known:
                known[use.channel] = _kraus(use.channel)
            circuit.append(known[use.channel], use.qubits)
        else:
            circuit.append(_gate(use, [angles[s] for s in use.slots]), use.qubits)
    return circuit


def _loading(amplitudes: FloatArray) -> FloatArray:
    """A unitary that takes state 0 to given amplitudes: a Householder reflection."""
    target = amplitudes / np.linalg.norm(amplitudes)
    difference: FloatArray = -target
    difference[0] += 1.0
    if (square := difference @ difference) < 1e-30:
        return np.eye(len(target))
    return np.asarray(np.eye(len(target)) - 2 / square * np.outer(difference, difference))


def _gate(use: GateUse, angles: Sequence[float | ParameterExpression]) -> Instruction:
    if use.name == "unitary":
        dim = 2 ** len(use.qubits)
        return UnitaryGate(np.array(use.matrix).reshape(dim, dim))
    gate: Instruction = gate_class(use.name)(*angles)
    if use.name in _NOT_IN_AER and not any(isinstance(a, ParameterExpression) for a in angles):
        return UnitaryGate(gate.to_matrix())
    return gate
