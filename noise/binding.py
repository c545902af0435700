"""Binding: a program and a noise model become a noisy program, if the noise covers the program."""

from __future__ import annotations

from collections import Counter

from nisqkit.circuits.program import GateUse, Program

from .coverage import Coverage, gap
from .coverage import GateUse as Counted
from .model import NoiseModel
from .noisy_program import NoiseUse, NoisyProgram
from .schedule import idle_gaps


def bind(
    model: NoiseModel, program: Program, measured: tuple[int, ...], physical: tuple[int, ...]
) -> NoisyProgram:
    """Join a noise model to a program.

    Noise follows the gate that it belongs to. With idle noise, gates are scheduled as late as
    possible (`idle_gaps`), and what waiting does comes after the gate before it. Gates with the tag
    ``"basis"`` (rotations into a measurement basis) are exact on models without a device.

    Args:
        model: The noise model.
        program: The program.
        measured: The qubit of the program that each logical qubit is read on.
        physical: The model's qubit for each qubit of the program.

    Raises:
        ValueError: A gate or a measurement is not covered: the model does not know it on these
            qubits, it is dead, or its calibration is missing (the message lists them); or
            ``measured`` or ``physical`` are not distinct qubits.
    """
    _check_qubits(model, program, measured, physical)
    gaps: list[tuple[int, int, float]] = []
    if model.idle is not None:
        known = model.idle.durations
        times = [known.get((use.name, _on(use, physical)), 0.0) for use in program.gates]
        gaps = idle_gaps(program, times)
    _cover(model, program, measured, physical, {physical[q] for _, q, _ in gaps}).check()

    waiting: dict[int, list[NoiseUse]] = {}
    for index, q, time in gaps:
        assert model.idle is not None
        waiting.setdefault(index, []).extend(
            NoiseUse(channel, (q,), f"idle of {physical[q]}")
            for channel in model.idle.channels(physical[q], time)
        )
    operations: list[GateUse | NoiseUse] = list(waiting.get(-1, []))
    for index, use in enumerate(program.gates):
        if use.name != "barrier":
            operations.append(use)
            exact = _exact(model, use)
            noises = () if exact else model.noise_after(use.name, _on(use, physical))
            assert noises is not None, "coverage has been checked"
            for noise in noises:
                qubits = tuple(use.qubits[k] for k in noise.on)
                operations.append(NoiseUse(noise.channel, qubits, noise.cause))
        operations += waiting.get(index, [])
    place = {p: q for q, p in enumerate(physical)}
    readout = tuple(
        c.moved([place[p] for p in c.qubits])
        for c in model.readout_of([physical[q] for q in measured])
    )
    return NoisyProgram(program, tuple(operations), readout, measured, physical, model)


def _on(use: GateUse, physical: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(physical[q] for q in use.qubits)


def _exact(model: NoiseModel, use: GateUse) -> bool:
    """Whether it is a rotation into a measurement basis that only a device makes noisy."""
    return model.device is None and "basis" in use.tags


def _check_qubits(
    model: NoiseModel, program: Program, measured: tuple[int, ...], physical: tuple[int, ...]
) -> None:
    n = program.num_qubits
    if len(set(measured)) != len(measured) or not set(measured) <= set(range(n)) or not measured:
        raise ValueError(
            f"measured is {list(measured)}: give one or more distinct qubits of the program, "
            f"between 0 and {n - 1}"
        )
    top = "" if model.device is None else f" between 0 and {model.device.num_qubits - 1}"
    allowed = range(model.device.num_qubits) if model.device else None
    if (
        len(physical) != n
        or len(set(physical)) != n
        or any(q < 0 or (allowed is not None and q not in allowed) for q in physical)
    ):
        raise ValueError(
            f"physical is {list(physical)}: give one distinct qubit of {model.name}{top} for each "
            f"of the {n} qubits of the program"
        )


def _cover(
    model: NoiseModel,
    program: Program,
    measured: tuple[int, ...],
    physical: tuple[int, ...],
    waiting: set[int],
) -> Coverage:
    """What the model does and does not cover in a program, on the model's qubits."""
    counts: Counter[tuple[str, tuple[int, ...]]] = Counter()
    exact: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for use in program.gates:
        if use.name != "barrier":
            (exact if _exact(model, use) else counts)[use.name, _on(use, physical)] += 1
    noisy: list[Counted] = []
    uncovered: list[Counted] = []
    virtual = [Counted(*use, count) for use, count in sorted(exact.items())]
    for (name, qubits), count in sorted(counts.items()):
        if reason := _gap(model, name, qubits):
            uncovered.append(Counted(name, qubits, count, reason))
        else:
            kind = noisy if model.noise_after(name, qubits) else virtual
            kind.append(Counted(name, qubits, count))
    if program.prepare is not None and "prepare" not in model.ideal:
        qubits = tuple(physical[q] for q in program.prepare.qubits)
        reason = (
            "amplitudes are loaded without gates and so without noise: write them as gates, or add "
            "'prepare' to `ideal`"
        )
        uncovered.append(Counted("prepare", qubits, 1, reason))
    for q in sorted(waiting):
        if model.idle is not None and not model.idle.knows(q):
            reason = f"it waits, and T1 or T2 of qubit {q} is not known: use other qubits"
            uncovered.append(Counted("idle", (q,), 1, reason))
    read = sorted(physical[q] for q in measured)
    for q in read:
        if reason := _readout_gap(model, q, read):
            uncovered.append(Counted("measure", (q,), 1, reason))
    used = {q for _, qubits in counts for q in qubits}.union(read)
    return Coverage(
        device=model.name,
        noisy=tuple(noisy),
        virtual=tuple(virtual),
        uncovered=tuple(uncovered),
        measured=tuple(q for q in read if not _readout_gap(model, q, read)),
        delays=0,
        qubits=tuple(sorted(used)),
    )


def _gap(model: NoiseModel, name: str, qubits: tuple[int, ...]) -> str:
    """Why a gate would run without its noise; "" if it would not."""
    if model.device is not None and (reason := gap(model.device, name, qubits)):
        return reason
    if model.noise_after(name, qubits) is None:
        known = sorted({gate for gate, _ in model.gates})
        if name in known:
            return (
                f"{model.name} has noise for {name}, but not on these qubits in this order: add "
                f"it to `gates`, there or on all qubits with the key ({name!r}, ())"
            )
        return (
            f"{model.name} has no noise for it (it has {', '.join(known) or 'none'}): add it to "
            f"`gates`, or to `ideal` if it is exact"
        )
    if model.idle is not None and (name, qubits) not in model.idle.durations:
        return "its duration is not known, which idle noise needs: use other qubits, or idle=False"
    return ""


def _readout_gap(model: NoiseModel, qubit: int, read: list[int]) -> str:
    """Why a qubit would be read without its errors; "" if it would not."""
    if model.device is not None and (reason := gap(model.device, "measure", (qubit,))):
        return reason
    found = model.readout_of([qubit])
    for confusion in found:
        if missing := sorted(set(confusion.qubits) - set(read)):
            return (
                f"its readout error is known together with that of qubit {missing[0]} only, which "
                f"is not measured: measure both, or give a confusion of this qubit alone"
            )
    ideal = "measure" in model.ideal or ("measure", (qubit,)) in model.ideal
    if not found and not ideal:
        return (
            f"{model.name} has no readout error for this qubit: add a Confusion to `readout`, or "
            f"'measure' to `ideal`"
        )
    return ""
