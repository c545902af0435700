"""The noise model of a device: depolarising and thermal relaxation, as IBM defines it."""

from __future__ import annotations

import math

from .age import warn_if_old
from .channels import Channel, pauli_of_diagonal, total_ptm
from .confusion import Confusion
from .device import Device, GateCalibration
from .model import Noise, NoiseLike, NoiseModel
from .schedule import Idle, Use
from .thermal import thermal_channels


def from_device(device: Device, kind: str = "full", idle: bool = False) -> NoiseModel:
    r"""The noise of a device.

    ``kind="full"`` is IBM's own definition. Each gate is followed by a depolarising channel on all
    of its qubits (cause ``"cx 0-1"``) with

    .. math:: p = \frac{d\,(F_r - F)}{d\,F_r - 1}, \qquad d = 2^{\text{qubits}},

    and then on each qubit by relaxation (``"T1 of 0"``) and pure dephasing (``"T2 of 0"``) over the
    gate's duration, where :math:`F = 1 - \text{error}` is the reported average gate fidelity and
    :math:`F_r` that of relaxation and dephasing. So all together have the reported error. Where
    relaxation alone has a larger error there is no depolarising part. T2 is cut at 2 T1. Errors
    above d / (d + 1), the largest that depolarising can give, are cut there. ``reset`` only
    relaxes.

    ``kind="pauli"`` has one Pauli channel per gate, the twirl of these: probabilities instead of
    rates, at the same average fidelity.

    Gates with error 0 and duration 0 (`rz`) are exact. Readout of each qubit has the two
    probabilities of ``device.readout``.

    Not modelled: crosstalk, coherent errors, leakage, drift, and without ``idle`` waiting qubits.

    Args:
        device: The device; physical numbering is kept.
        kind: ``"full"`` or ``"pauli"``.
        idle: Whether waiting qubits relax and dephase (``"idle of 0"``): `NoiseModel.bind` then
            schedules the program as late as possible with the durations of the device.

    Raises:
        ValueError: Another kind.
        TypeError: Not a device.

    Warns:
        CalibrationWarning: The device was taken from a machine, more than a week ago.

    Example:
        >>> model = from_device(Device.load("fake_santiago"))
        >>> [noise.cause for noise in model.gates["cx", (0, 1)]]
        ['cx 0-1', 'T1 of 0', 'T2 of 0', 'T1 of 1', 'T2 of 1']
        >>> twirled = from_device(Device.load("fake_santiago"), kind="pauli")
        >>> [noise.channel.kind for noise in twirled.gates["cx", (0, 1)]]
        ['pauli']
    """
    if not isinstance(device, Device):
        raise TypeError(
            f"a noise model is made from a Device (Device.load, Device.from_backend), not from "
            f"{type(device).__name__}"
        )
    if kind not in ("full", "pauli"):
        raise ValueError(f"kind is {kind!r}: give 'full' or 'pauli'")
    warn_if_old(device)
    gates: dict[Use, NoiseLike] = {}
    for calibration in device.gates:
        noises = _gate_noise(device, calibration)
        if noises and kind == "pauli":
            total = total_ptm([(n.channel, n.on) for n in noises], len(calibration.qubits))
            twirl = pauli_of_diagonal(total.diagonal(), len(calibration.qubits))
            noises = [Noise(twirl, tuple(range(twirl.num_qubits)), _cause(calibration))]
        if noises or calibration.duration:
            gates[calibration.gate, calibration.qubits] = noises
    return NoiseModel(
        device.name,
        gates,
        ideal={(g.gate, g.qubits) for g in device.gates if g.is_virtual},
        readout=[
            Confusion.flips(q, read_1_after_0=pair[0], read_0_after_1=pair[1])
            for q, pair in enumerate(device.readout)
            if pair is not None
        ],
        idle=_idle(device, kind) if idle else None,
        device=device,
        kind=kind,
        date=device.date,
    )


def _cause(calibration: GateCalibration) -> str:
    return f"{calibration.gate} {'-'.join(map(str, calibration.qubits))}"


def _gate_noise(device: Device, calibration: GateCalibration) -> list[Noise]:
    thermal: list[Noise] = []
    infidelity = 0.0
    width = len(calibration.qubits)
    dim = 2**width
    if calibration.duration:
        trace = 1.0  # of the Pauli transfer matrix
        for position, q in enumerate(calibration.qubits):
            # IBM's reading of times that are not reported; `bind` refuses such gates
            t1 = device.t1[q] or math.inf
            t2 = min(device.t2[q] or math.inf, 2 * t1)
            relaxed, dephased = thermal_channels(calibration.duration, t1, t2)
            if relaxed is not None:
                thermal.append(Noise(relaxed, (position,), f"T1 of {q}"))
            if dephased is not None:
                thermal.append(Noise(dephased, (position,), f"T2 of {q}"))
            time = calibration.duration
            trace *= 1 + 2 * math.exp(-time / t2) + math.exp(-time / t1)
        infidelity = (1 - trace / dim**2) * dim / (dim + 1)
    error = 0.0 if calibration.gate == "reset" else (calibration.error or 0.0)
    if error <= infidelity:
        return thermal
    error = min(error, dim / (dim + 1))
    largest = 4**width / (4**width - 1)
    p = min(dim * (error - infidelity) / (dim * (1 - infidelity) - 1), largest)
    return [
        Noise(Channel.depolarizing(p, width), tuple(range(width)), _cause(calibration)),
        *thermal,
    ]


def _idle(device: Device, kind: str) -> Idle:
    times = tuple(
        None if t1 is None or t2 is None else (t1, t2)
        for t1, t2 in zip(device.t1, device.t2, strict=True)
    )
    durations = {(g.gate, g.qubits): g.duration for g in device.gates if g.duration is not None}
    return Idle(times, durations, twirled=kind == "pauli")
