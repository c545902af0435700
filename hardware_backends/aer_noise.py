"""A device's noise for Qiskit Aer: IBM's own definition, with the readout errors kept apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from qiskit_aer.noise import NoiseModel, ReadoutError
from qiskit_aer.noise.device.models import basic_device_gate_errors

from ..noise.device import Device


def aer_noise_model(device: Device, qubits: Iterable[int] | None = None) -> NoiseModel:
    r"""Return the full noise model of a device for `AerSimulator(noise_model=...)`.

    Gates are defined as in `NoiseModel.from_backend`: thermal relaxation over the gate's duration
    on each of its qubits (T2 is cut at 2 T1, as longer ones are unphysical), after a depolarising
    channel with

    .. math:: p = \frac{d\,(F_r - F)}{d\,F_r - 1}, \qquad d = 2^{\text{qubits}},

    where :math:`F = 1 - \text{error}` is the reported and :math:`F_r` the relaxation's average gate
    fidelity. Both together have the reported error. Where relaxation alone has a larger error there
    is no depolarising part, and the larger error stands. Errors above d / (d + 1), the largest that
    depolarising can give, are cut there: this is how dead gates (error 1) look.

    Readout of qubit q is wrong with the two probabilities of `device.readout[q]`, where
    `from_backend` uses their mean for both.

    Not modelled: idle time (delays included), crosstalk, coherent errors, leakage, drift. Gates
    that the device does not have get no noise at all: call `coverage(circuit, device).check()`
    before the circuit runs.

    Args:
        device: the device; physical numbering is kept.
        qubits: build channels only for gates and readouts within these qubits. Building takes a
            few seconds for 150 qubits. Give `coverage(circuit, device).qubits` for one circuit,
            since all other qubits become noise-free, or simulate on `device.reduced(qubits)`.

    Raises:
        ValueError: if a qubit is not on the device.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from qiskit_aer import AerSimulator
        >>> circuit = QuantumCircuit(1)
        >>> circuit.measure_all()
        >>> noise = aer_noise_model(Device.load("fake_santiago"))
        >>> simulator = AerSimulator(noise_model=noise, seed_simulator=7)
        >>> counts = simulator.run(circuit, shots=10_000).result().get_counts()
        >>> abs(counts["1"] - 64) < 40  # P(1|0) = 0.0064
        True
    """
    kept = set(range(device.num_qubits)) if qubits is None else set(qubits)
    if outside := kept - set(range(device.num_qubits)):
        raise ValueError(
            f"qubits {sorted(outside)} are not on {device.name}: give qubits between 0 and "
            f"{device.num_qubits - 1}"
        )
    gates = tuple(gate for gate in device.gates if kept.issuperset(gate.qubits))
    target = replace(device, gates=gates).target(dead_edges=True)
    model = NoiseModel(basis_gates=list(device.native_gates))
    for name, on, error in basic_device_gate_errors(target=target):
        model.add_quantum_error(error, name, on)
    for q in sorted(kept):
        if (pair := device.readout[q]) is not None:
            p10, p01 = pair
            model.add_readout_error(ReadoutError([[1 - p10, p10], [p01, 1 - p01]]), [q])
    return model
