"""What a circuit is good for before it is trained: noise resilience, and telling classes apart.

Source: Anagolum et al., Elivagar, ASPLOS 2024 (arXiv:2401.09393).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import numpy as np
import torch
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.circuits.to_qiskit import circuit_of
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.native_blocks import NativeBlocks
from nisqkit.noise.model import NoiseModel

REPLICAS = 32
_EXACT_QUBITS = 7
_CONTROLLED = ((0.0, 0.0, 0.0), (0.0, 0.0, pi), (pi, 0.0, pi), (pi, pi / 2, pi / 2))
"""Angles with which cu3 is a Clifford gate: the identity, CZ, CX and CY."""
_HALF_TURNS = ("crx", "cry", "crz", "cp", "cu1")


def clifford_noise_resilience(
    program: Program,
    layout: Sequence[int],
    noise: NoiseModel,
    *,
    replicas: int = REPLICAS,
    shots: int | None = None,
    seed: int = 0,
    blocks: NativeBlocks | None = None,
) -> float:
    """How near the noisy outcomes of a circuit stay to the right ones: CNR, from 0 to 1.

    One minus the mean total variation distance between outcomes with and without noise, over copies
    of the circuit at random angles that make all of its gates Clifford gates. These take a
    stabiliser simulator no time, however many qubits there are.

    Args:
        program: The logical circuit.
        layout: Its qubits on the device.
        noise: Noise of a device, of the kind ``"pauli"``, which stabilisers need.
        replicas: Number of copies.
        shots: Of Aer's stabiliser simulator for each copy, noisy and not; None: exactly, by density
            matrices, for at most 7 qubits in use, and 1,024 shots beyond.
        seed: Of the angles and shots.
        blocks: Of the device, to share them.

    Raises:
        ValueError: Other noise, or gates without Clifford angles.

    Example:
        >>> from nisqkit.circuits import lower, u3_cu3
        >>> from nisqkit.noise import Device
        >>> noise = NoiseModel.from_device(Device.load("fake_santiago"), kind="pauli")
        >>> short, long = (lower(u3_cu3(2, blocks=b)) for b in (1, 8))
        >>> resilient = [clifford_noise_resilience(p, (0, 1), noise) for p in (short, long)]
        >>> resilient[0] > 0.95 > resilient[1] > 0.5
        True
    """
    if noise.device is None or noise.kind != "pauli":
        raise ValueError(
            f"{noise.name} is not the Pauli noise of a device: use "
            "NoiseModel.from_device(device, kind='pauli')"
        )
    blocks = blocks or NativeBlocks(noise.device)
    routed = blocks.route(program.by_slots, layout)
    angles = clifford_angles(program, replicas, seed)
    if shots is None and len(routed.active) > _EXACT_QUBITS:
        shots = 1024
    placed, placement = blocks.program(program.by_slots, routed)
    logical = Observables(program.num_qubits, None)
    none = angles.new_zeros(0)
    with torch.no_grad():
        ideal_task = Task(program.by_slots, angles, none, logical)
        ideal = execute([ideal_task], Execution())[0].values.numpy()
        if shots is None:
            task = Task(placed, angles, none, logical, placement=placement)
            noisy = execute([task], Execution(noise=noise))[0].values.numpy()
        else:
            noisy = _sampled(
                placed, placement.measured, placement.physical, angles, noise, shots, seed
            )
    distances = np.abs(noisy - ideal).sum(axis=1) / 2
    return float(1 - distances.mean())


def clifford_angles(program: Program, replicas: int, seed: int) -> Tensor:
    """Random angles at which every gate is a Clifford gate, ``(replicas, num_slots)``.

    Raises:
        ValueError: A gate that has none.
    """
    rng = np.random.default_rng(seed)
    found = np.zeros((replicas, program.angle_map.num_slots))
    for use in program.gates:
        if not use.slots:
            continue
        slots = list(use.slots)
        if use.name == "cu3":
            found[:, slots] = np.array(_CONTROLLED)[rng.integers(4, size=replicas)]
        elif use.name in _HALF_TURNS:
            found[:, slots] = pi * rng.integers(2, size=(replicas, len(slots)))
        elif use.name == "cu" or len(use.qubits) > 2:
            raise ValueError(f"{use.name} has no Clifford angles here: use cu3, or rotations")
        else:
            found[:, slots] = pi / 2 * rng.integers(4, size=(replicas, len(slots)))
    return torch.from_numpy(found)


def _sampled(
    placed: Program,
    measured: Sequence[int],
    physical: Sequence[int],
    angles: Tensor,
    noise: NoiseModel,
    shots: int,
    seed: int,
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Outcomes of Clifford circuits by Aer's stabiliser simulator, ``(replicas, 2**n)``."""
    from qiskit import QuantumCircuit
    from qiskit_aer import AerSimulator

    assert noise.device is not None
    circuit = QuantumCircuit(noise.device.num_qubits, len(measured))
    circuit.compose(circuit_of(placed.by_slots), list(physical), inplace=True)
    circuit.measure([physical[q] for q in measured], range(len(measured)))
    slots = {p: int(p.name.split("[")[1][:-1]) for p in circuit.parameters}
    bound = [
        circuit.assign_parameters({p: _exact(row[slot]) for p, slot in slots.items()})
        for row in placed.angles(angles, angles.new_zeros(0)).tolist()
    ]
    simulator = AerSimulator(method="stabilizer", noise_model=noise.to_aer(), seed_simulator=seed)
    counts = simulator.run(bound, shots=shots).result().get_counts()
    found = np.zeros((len(bound), 2 ** len(measured)))
    for k, one in enumerate(counts if isinstance(counts, list) else [counts]):
        for bits, number in one.items():
            found[k, int(bits, 2)] = number / shots
    return found


def _exact(angle: float) -> float:
    """A multiple of a quarter turn, which Aer's check of Clifford gates takes literally."""
    return float(round(angle / (pi / 2)) % 4 * (pi / 2))


def representational_capacity(
    program: Program, inputs: Tensor, labels: Tensor, *, draws: int = 32, seed: int = 0
) -> float:
    """Whether states of one class are alike, and of different ones are not: RepCap, up to 1.

    For random weights, samples count as alike if the overlap of their states is above the mean. The
    mean of that over draws of weights is compared with the matrix that says whether they are of one
    class: ``1 - |difference|^2 / samples^2``, where entries of different classes count
    ``1 / (classes - 1)``. States are those of the single qubits, whose overlaps are multiplied: a
    circuit without inputs behind the encoder does not change overlaps of whole states.

    Args:
        program: The circuit.
        inputs: Samples, ``(samples, num_inputs)``; Elivagar takes 16 of each class.
        labels: Their classes.
        draws: How many random weight vectors.
        seed: Of the weights.

    Raises:
        ValueError: Less than two classes.
    """
    classes = len(torch.unique(labels))
    if classes < 2:
        raise ValueError("capacity needs samples of two classes or more")
    n = program.num_qubits
    strings = ["I" * (n - 1 - q) + letter + "I" * q for q in range(n) for letter in "XYZ"]
    observables = Observables.parse(strings, n)
    rng = np.random.default_rng(seed)
    weights = torch.from_numpy(rng.uniform(-pi, pi, (draws, len(program.weights))))
    tasks = [Task(program, inputs.double(), w, observables) for w in weights]
    with torch.no_grad():
        results = execute(tasks, Execution())
    alike = torch.zeros(len(inputs), len(inputs), dtype=torch.float64)
    for result in results:
        vectors = result.values.reshape(len(inputs), n, 3)
        overlaps = ((1 + torch.einsum("aqk,bqk->qab", vectors, vectors)) / 2).prod(dim=0)
        alike += (overlaps > overlaps.mean()).double() / draws
    same = (labels[:, None] == labels[None]).double()
    weight = torch.where(same == 1, 1.0, 1 / (classes - 1))
    return float(1 - ((alike - same) * weight).square().sum() / len(inputs) ** 2)
