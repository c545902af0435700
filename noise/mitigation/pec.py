"""Probabilistic error cancellation: random Pauli gates with signs undo the noise on average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from nisqkit.circuits.program import GateUse, Program
from nisqkit.circuits.task import Task

from ..channels import Channel, total_ptm
from ..model import Noise, NoiseModel
from ..pauli_basis import signs
from .base import Cost, Estimate, Mitigator, Round, of_part
from .twirling import PAULI_GATES, has_old_gates

_WORST = 1e-3
"""Pauli fidelity below which a gate's noise is taken for one that cannot be undone."""


@dataclass(frozen=True)
class PEC(Mitigator):
    r"""Probabilistic error cancellation.

    The inverse of a Pauli channel is a mixture of Pauli operators with weights :math:`\eta_P` of
    both signs. Behind every noisy gate a Pauli is drawn with probability :math:`|\eta_P| / \gamma`,
    :math:`\gamma = \sum_P |\eta_P|`, and the value of the circuit counts with the product of all
    signs and gammas. The mean is unbiased; the price is a standard error about :math:`\prod \gamma`
    times larger. The Paulis are gates of the device, and their own noise is part of the weights.
    Readout errors stay: add `ReadoutMitigation`.

    It is exact for Pauli noise (``NoiseModel.from_device(device, kind="pauli")``). Of other noise
    the Pauli twirl is undone, which leaves a bias: that of the model `cancelled`. It is smaller
    with `PauliTwirling` before it.

    Angles stay symbolic: all samples of a batch share the patterns, and gradients flow through.

    Source: Temme et al., Phys. Rev. Lett. 119, 180509 (2017); van den Berg et al., Nat. Phys. 19,
    1116 (2023).

    Args:
        num: Number of random patterns, among which the shots are divided.
        seed: Of the patterns; each task draws its own.

    Raises:
        ValueError: Less than two patterns; when it runs: no known noise, idle noise, or a gate
            whose noise cannot be undone.

    Example:
        >>> PEC(200).cost()
        Cost(circuits=200, shots=1)
    """

    num: int = 100
    seed: int = 0
    rank = 2

    def __post_init__(self) -> None:
        if self.num < 2:
            raise ValueError(f"num={self.num} must be at least 2, since one pattern has no error")

    def cost(self) -> Cost:
        """More circuits; the shots are divided among them."""
        return Cost(self.num, 1)

    def check(self, task: Task, model: NoiseModel | None) -> None:
        """See `Mitigator.check`."""
        if model is None:
            raise ValueError(
                "PEC inverts the noise of the backend, and this backend has none that is known: "
                "give noise=, or use ZNE"
            )
        if model.idle is not None:
            raise ValueError(
                f"PEC inverts the noise behind gates, and {model.name} has idle noise as well: use "
                "a model with idle=False, or ZNE"
            )
        if task.shots is not None and task.shots < self.num:
            raise ValueError(
                f"shots={task.shots} cannot be divided among {self.num} patterns: take more shots, "
                "or a smaller num"
            )
        overhead(task, model)

    def run(self, task: Task, model: NoiseModel | None) -> Round:
        """See `Mitigator.run`."""
        assert model is not None
        weights = _weights(task, model)
        run, step, number = task.seed
        random = np.random.default_rng((self.seed, run, step, number))
        old = has_old_gates(model)
        shots = None if task.shots is None else task.shots // self.num
        programs, factors = [], []
        known: dict[tuple[int, ...], Program] = {}
        for _ in range(self.num):
            pattern, factor = _draw(weights, random)
            if pattern not in known:
                known[pattern] = _inserted(task.program, pattern, old)
            programs.append(known[pattern])
            factors.append(factor)
        distinct = list(known.values())
        # without shots, patterns that came up twice have the same value
        asked = distinct if shots is None else programs
        results = yield [
            replace(task, program=program, shots=shots, seed=of_part(task, k))
            for k, program in enumerate(asked)
        ]
        where = [distinct.index(p) if shots is None else k for k, p in enumerate(programs)]
        values = torch.stack([results[k].values for k in where])
        signed = values * values.new_tensor(factors).reshape(-1, 1, 1)
        std = signed.detach().std(dim=0) / self.num**0.5
        return Estimate(signed.mean(dim=0), std)


def overhead(task: Task, model: NoiseModel) -> float:
    """By how much the standard error grows: the product of gamma over all gates.

    Raises:
        ValueError: A gate whose noise cannot be undone.
    """
    return float(np.prod([np.abs(eta).sum() for eta in _weights(task, model) if eta is not None]))


def cancelled(tasks: Sequence[Task], model: NoiseModel) -> NoiseModel:
    """The noise that is left on average: what infinitely many patterns would see.

    Behind each noisy gate of the tasks it has the mixture of Paulis that undoes its twirl. Weights
    have both signs, so that these are no channels, but a simulator takes them as ones. The values
    of the tasks under this model are those of `PEC` without its standard error: noise-free for
    Pauli noise, and else with the bias that twirling leaves.

    Raises:
        ValueError: A gate whose noise cannot be undone.
    """
    gates = dict(model.gates)
    flip = "u3" if has_old_gates(model) else "x"
    known: dict[tuple[str, tuple[int, ...]], NDArray[np.float64]] = {}
    for task in tasks:
        at = range(task.program.num_qubits) if task.placement is None else task.placement.physical
        for use, eta in zip(task.program.gates, _weights(task, model), strict=True):
            if eta is not None:
                known[use.name, tuple(at[q] for q in use.qubits)] = eta
    for (name, qubits), eta in known.items():
        of_x = [_full_ptm(model.noise_after(flip, (q,)) or (), 1) for q in qubits]
        noises = model.noise_after(name, qubits) or ()
        gates[name, qubits] = (*noises, Noise(_mixture(eta, of_x), tuple(range(len(qubits)))))
    return replace(model, name=f"{model.name}, what PEC leaves", gates=gates)


def _mixture(eta: NDArray[np.float64], of_x: Sequence[NDArray[np.float64]]) -> Channel:
    """Paulis with weights of both signs, each X and Y followed by its own noise."""
    k = len(of_x)
    total = np.zeros((4**k, 4**k))
    for inserted, (weight, row) in enumerate(zip(eta, signs(k), strict=True)):
        noise: NDArray[np.float64] = np.ones((1, 1))
        for q in range(k):
            flips = inserted >> 2 * q & 3 in (1, 2)
            noise = np.asarray(np.kron(of_x[q] if flips else np.eye(4), noise), np.float64)
        total += weight * noise @ np.diag(row.astype(float))
    # not completely positive, which a channel is checked for when it is made
    found = object.__new__(Channel)
    parts = {"num_qubits": k, "kind": "general", "parameters": tuple(total.ravel().tolist())}
    for name, value in parts.items():
        object.__setattr__(found, name, value)
    return found


def inverse_weights(
    ptm: NDArray[np.float64], of_x: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Weights of Pauli operators behind a noisy gate that undo the twirl of its noise.

    Args:
        ptm: Pauli transfer matrix of the noise, ``(4**k, 4**k)``; its diagonal is what counts.
        of_x: For each qubit, the diagonal (4,) of the noise that follows an inserted X or Y.

    Returns:
        Shape ``(4**k,)``, in the order of the Pauli basis; they sum to 1 if inserted gates are
        exact.

    Example:
        >>> flips = np.diag([1, 1, 0.8, 0.8])  # X with probability 0.1
        >>> [round(weight, 4) + 0 for weight in inverse_weights(flips, [np.ones(4)]).tolist()]
        [1.125, -0.125, 0.0, 0.0]
    """
    k = len(of_x)
    columns = signs(k).astype(float).T.copy()  # [operator Q, inserted P]
    for inserted in range(4**k):
        for q in range(k):
            if inserted >> 2 * q & 3 in (1, 2):
                seen = np.arange(4**k) >> 2 * q & 3
                columns[:, inserted] *= np.asarray(of_x[q])[seen]
    return np.asarray(np.linalg.solve(columns, 1 / np.diag(ptm)), np.float64)


def _weights(task: Task, model: NoiseModel) -> list[NDArray[np.float64] | None]:
    """For each gate of the program, `inverse_weights`; None where it is exact."""
    key = "pec", model, task.placement
    if key not in task.program.cache:
        task.program.cache[key] = [_of_gate(use, task, model) for use in task.program.gates]
    found: list[NDArray[np.float64] | None] = task.program.cache[key]
    return found


def _of_gate(use: GateUse, task: Task, model: NoiseModel) -> NDArray[np.float64] | None:
    if use.name == "barrier" or (model.device is None and "basis" in use.tags):
        return None
    at = range(task.program.num_qubits) if task.placement is None else task.placement.physical
    qubits = tuple(at[q] for q in use.qubits)
    noises = model.noise_after(use.name, qubits)
    if not noises:
        return None
    ptm = _ptm(noises, len(qubits))
    if np.diag(ptm).min() < _WORST:
        raise ValueError(
            f"the noise of {use.name} on {qubits} cannot be undone: a Pauli operator keeps "
            f"{np.diag(ptm).min():.2g} of its value there. Choose other qubits (layout=...), or ZNE"
        )
    flip = "u3" if has_old_gates(model) else "x"
    of_x = [np.diag(_ptm(model.noise_after(flip, (q,)) or (), 1)) for q in qubits]
    return inverse_weights(ptm, of_x)


def _full_ptm(noises: Sequence[Noise], width: int) -> NDArray[np.float64]:
    parts = [(noise.channel, noise.on) for noise in noises]
    return np.asarray(total_ptm(parts, width)) if parts else np.eye(4**width)


def _ptm(noises: Sequence[Noise], width: int) -> NDArray[np.float64]:
    twirled = [(noise.channel.twirled(), noise.on) for noise in noises]
    return np.asarray(total_ptm(twirled, width)) if twirled else np.eye(4**width)


def _draw(
    weights: Sequence[NDArray[np.float64] | None], random: np.random.Generator
) -> tuple[tuple[int, ...], float]:
    """A Pauli for each gate, and what the value counts."""
    pattern, factor = [], 1.0
    for eta in weights:
        if eta is None:
            pattern.append(0)
            continue
        gamma = np.abs(eta).sum()
        chosen = int(random.choice(len(eta), p=np.abs(eta) / gamma))
        pattern.append(chosen)
        factor *= gamma * np.sign(eta[chosen])
    return tuple(pattern), factor


def _inserted(program: Program, pattern: Sequence[int], old: bool) -> Program:
    """The circuit with Paulis behind its gates."""
    gates: list[GateUse] = []
    constants: list[float] = []
    for use, pauli in zip(program.gates, pattern, strict=True):
        gates.append(use)
        for position, q in enumerate(use.qubits):
            for name, angles in PAULI_GATES[old][pauli >> 2 * position & 3]:
                first = program.angle_map.num_slots + len(constants)
                constants.extend(angles)
                slots = tuple(range(first, first + len(angles)))
                gates.append(GateUse(name, (q,), slots, tags=("pec",)))
    angle_map = program.angle_map.extended([(0, 0.0, c) for c in constants])
    return replace(program, gates=tuple(gates), angle_map=angle_map)
